import type { StringTable } from './batch.js';

/** Bytes of remembered keys; beyond it the memory starts anew (a trace of unique texts must not grow without end). */
const ARENA_LIMIT = 8 * 1024 * 1024;
const LONGEST_KEY = 512;

/**
 * Ids of texts by their bytes, so that the same bytes (task names come again and again) are decoded once.
 * Hash table with open addressing over one arena of key bytes.
 */
export class ByteStrings {
  private slots = new Int32Array(1024);
  private starts = new Uint32Array(512);
  private lengths = new Uint32Array(512);
  private hashes = new Int32Array(512);
  private ids = new Uint32Array(512);
  private arena = new Uint8Array(16_384);
  private arenaLength = 0;
  private count = 0;

  private readonly strings: StringTable;
  private readonly decode: (bytes: Uint8Array) => string;

  constructor(strings: StringTable, decode: (bytes: Uint8Array) => string) {
    this.strings = strings;
    this.decode = decode;
  }

  /** Id of the bytes [start, end), cut at the first NUL. */
  idOfText(bytes: Uint8Array, start: number, end: number): number {
    let hash = 0x811c9dc5 | 0;
    let stop = start;
    while (stop < end) {
      const byte = bytes[stop]!;
      if (byte === 0) break;
      hash = Math.imul(hash ^ byte, 0x01000193);
      stop++;
    }
    return stop === start ? 0 : this.lookUp(bytes, start, stop, hash);
  }

  /** Id of all the bytes [start, end). */
  idOfBytes(bytes: Uint8Array, start: number, end: number): number {
    let hash = 0x811c9dc5 | 0;
    for (let k = start; k < end; k++) hash = Math.imul(hash ^ bytes[k]!, 0x01000193);
    return this.lookUp(bytes, start, end, hash);
  }

  private lookUp(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const length = end - start;
    const mask = this.slots.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    for (;;) {
      const entry = this.slots[slot]! - 1;
      if (entry < 0) break;
      if (this.hashes[entry] === hash && this.lengths[entry] === length && this.holds(entry, bytes, start)) {
        return this.ids[entry]!;
      }
      slot = (slot + 1) & mask;
    }
    const id = this.strings.intern(this.decode(bytes.subarray(start, end)));
    if (length <= LONGEST_KEY) this.remember(bytes, start, end, hash, id);
    return id;
  }

  private holds(entry: number, bytes: Uint8Array, start: number): boolean {
    const from = this.starts[entry]!;
    const length = this.lengths[entry]!;
    for (let k = 0; k < length; k++) if (this.arena[from + k] !== bytes[start + k]) return false;
    return true;
  }

  private remember(bytes: Uint8Array, start: number, end: number, hash: number, id: number): void {
    if (this.arenaLength + end - start > ARENA_LIMIT) this.forget();
    if (this.arenaLength + end - start > this.arena.length)
      this.arena = enlarge(this.arena, new Uint8Array(this.arena.length * 2));
    if (this.count === this.starts.length) this.growTable();
    const entry = this.count++;
    this.arena.set(bytes.subarray(start, end), this.arenaLength);
    this.starts[entry] = this.arenaLength;
    this.lengths[entry] = end - start;
    this.hashes[entry] = hash;
    this.ids[entry] = id;
    this.arenaLength += end - start;
    this.place(entry);
  }

  private place(entry: number): void {
    const mask = this.slots.length - 1;
    const hash = this.hashes[entry]!;
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (this.slots[slot] !== 0) slot = (slot + 1) & mask;
    this.slots[slot] = entry + 1;
  }

  private growTable(): void {
    const entries = this.starts.length * 2;
    this.starts = enlarge(this.starts, new Uint32Array(entries));
    this.lengths = enlarge(this.lengths, new Uint32Array(entries));
    this.hashes = enlarge(this.hashes, new Int32Array(entries));
    this.ids = enlarge(this.ids, new Uint32Array(entries));
    this.slots = new Int32Array(entries * 2);
    for (let entry = 0; entry < this.count; entry++) this.place(entry);
  }

  private forget(): void {
    this.slots.fill(0);
    this.arenaLength = 0;
    this.count = 0;
  }
}

function enlarge<T extends Uint8Array | Uint32Array | Int32Array>(old: T, bigger: T): T {
  bigger.set(old);
  return bigger;
}
