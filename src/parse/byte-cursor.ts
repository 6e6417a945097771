import { TraceError } from '../base/errors.js';

/** Gives bytes [offset, offset+length), fewer at the end; the view is valid until the next call. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

/** Longest NUL-terminated string that is believed, in bytes. */
const LONGEST_STRING = 65_536;

/**
 * Reads numbers and strings one after another. Whatever lies beyond `end` is a TraceError('truncated') with its byte, so that
 * no length of the input is believed before the bytes are there.
 */
export class ByteCursor {
  /** The next byte to be read. */
  pos: number;
  /** First byte that is out of reach. */
  readonly end: number;
  bigEndian: boolean;
  private readonly readAt: ReadAt;

  constructor(readAt: ReadAt, pos: number, end: number, bigEndian: boolean) {
    this.readAt = readAt;
    this.pos = pos;
    this.end = end;
    this.bigEndian = bigEndian;
  }

  get left(): number {
    return this.end - this.pos;
  }

  /** The next `length` bytes, copied. */
  bytes(length: number): Uint8Array {
    return this.take(length).slice();
  }

  skip(length: number): void {
    this.demand(length);
    this.pos += length;
  }

  u8(): number {
    return this.take(1)[0]!;
  }

  u16(): number {
    return this.number(2, (view, little) => view.getUint16(0, little));
  }

  u32(): number {
    return this.number(4, (view, little) => view.getUint32(0, little));
  }

  u64(): bigint {
    return this.number(8, (view, little) => view.getBigUint64(0, little));
  }

  /** A 64-bit size or offset as a number; TraceError('corrupt') beyond 2^53. */
  size(): number {
    const at = this.pos;
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new TraceError('corrupt', `length or offset 0x${value.toString(16)} at byte ${at} is beyond any file`, {
        byteOffset: at,
      });
    }
    return Number(value);
  }

  /** A string up to its NUL, which is consumed. */
  zString(): string {
    const window = this.readAt(this.pos, Math.min(this.left, LONGEST_STRING));
    const length = window.indexOf(0);
    if (length < 0) {
      throw new TraceError('truncated', `string at byte ${this.pos} does not end`, { byteOffset: this.pos });
    }
    this.pos += length + 1;
    return new TextDecoder().decode(window.subarray(0, length));
  }

  /** The next `length` bytes as text. */
  text(length: number): string {
    return new TextDecoder().decode(this.take(length));
  }

  private number<T>(length: number, read: (view: DataView, little: boolean) => T): T {
    const bytes = this.take(length);
    return read(new DataView(bytes.buffer, bytes.byteOffset, length), !this.bigEndian);
  }

  private take(length: number): Uint8Array {
    this.demand(length);
    const bytes = this.readAt(this.pos, length);
    if (bytes.length < length) this.demand(Infinity);
    this.pos += length;
    return bytes;
  }

  private demand(length: number): void {
    if (length <= this.left) return;
    throw new TraceError('truncated', `the input ends at byte ${this.end}, inside what starts at byte ${this.pos}`, {
      byteOffset: this.pos,
    });
  }
}

/** A cursor over bytes in memory. */
export function cursorOver(bytes: Uint8Array, bigEndian: boolean): ByteCursor {
  return new ByteCursor((offset, length) => bytes.subarray(offset, offset + length), 0, bytes.length, bigEndian);
}
