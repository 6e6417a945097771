/** Numbers byte strings in the order they come: a hash table over bytes, so that no JS string is made for a known one. */
export class ByteTable {
  length = 0;
  private slots = new Int32Array(256);
  private starts = new Int32Array(64);
  private hashes = new Int32Array(64);
  private bytes = new Uint8Array(1024);
  /** The id found last for each of 256 shapes (length and four bytes): most look-ups end there. */
  private readonly recent = new Int32Array(256).fill(-1);

  /** The id of buf[from, to), or -1. */
  find(buf: Uint8Array, from: number, to: number): number {
    const length = to - from;
    const shape =
      length * 31 + buf[from]! + buf[from + (length >> 1)]! * 5 + (buf[to - 1] ?? 0) * 3 + (buf[to - 2] ?? 0) * 7;
    const guess = this.recent[shape & 255]!;
    if (guess >= 0 && this.equals(guess, buf, from, to)) return guess;
    const hash = hashBytes(buf, from, to);
    const mask = this.slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const id = this.slots[slot]! - 1;
      if (id < 0) return -1;
      if (this.hashes[id] !== hash || !this.equals(id, buf, from, to)) continue;
      this.recent[shape & 255] = id;
      return id;
    }
  }

  /** Adds buf[from, to), which must not be there yet; gives its id. */
  add(buf: Uint8Array, from: number, to: number): number {
    const id = this.length++;
    const start = this.starts[id]!;
    this.reserve(id, start + to - from);
    this.bytes.set(buf.subarray(from, to), start);
    this.starts[id + 1] = start + to - from;
    const hash = hashBytes(buf, from, to);
    this.hashes[id] = hash;
    this.insert(id, hash);
    return id;
  }

  private equals(id: number, buf: Uint8Array, from: number, to: number): boolean {
    const start = this.starts[id]!;
    if (this.starts[id + 1]! - start !== to - from) return false;
    const { bytes } = this;
    for (let k = from, at = start; k < to; k++, at++) {
      if (bytes[at] !== buf[k]) return false;
    }
    return true;
  }

  private insert(id: number, hash: number): void {
    const mask = this.slots.length - 1;
    let slot = hash & mask;
    while (this.slots[slot] !== 0) slot = (slot + 1) & mask;
    this.slots[slot] = id + 1;
  }

  private reserve(id: number, byteLength: number): void {
    if (byteLength > this.bytes.length) {
      const bytes = new Uint8Array(Math.max(byteLength, this.bytes.length * 2));
      bytes.set(this.bytes);
      this.bytes = bytes;
    }
    if (id + 2 > this.starts.length) {
      this.starts = grown(this.starts);
      this.hashes = grown(this.hashes);
    }
    if ((id + 1) * 2 > this.slots.length) {
      this.slots = new Int32Array(this.slots.length * 4);
      for (let k = 0; k < id; k++) this.insert(k, this.hashes[k]!);
    }
  }
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const bigger = new Int32Array(array.length * 2);
  bigger.set(array);
  return bigger;
}

/** FNV-1a, with a last mix because only the low bits choose the slot. */
function hashBytes(buf: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let k = from; k < to; k++) hash = Math.imul(hash ^ buf[k]!, 0x01000193);
  return hash ^ (hash >>> 15);
}
