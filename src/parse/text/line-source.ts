/** Cuts a stream of bytes into lines without copying more than those that two chunks share. */

/** Longer lines than any trace has; what is longer is passed over and counted. */
export const MAX_LINE_BYTES = 256 * 1024;

const NEWLINE = 0x0a;

/** Lines of a stream. `next` gives one line at a time as [from, to) of `buf`. */
export class LineSource {
  buf: Uint8Array = new Uint8Array(0);
  from = 0;
  to = 0;
  /** 1-based number of the current line. */
  line = 0;
  /** Bytes of the input before the end of the current chunk. */
  bytesRead = 0;
  /** Called with the number of a line that was too long. */
  onLongLine: (line: number) => void = () => undefined;
  private chunk: Uint8Array = new Uint8Array(0);
  private at = 0;
  private carry: Uint8Array = new Uint8Array(0);
  private isSkipping = false;

  /** Gives the source its next bytes; the ones before must be used up (`next` gave false). */
  feed(chunk: Uint8Array): void {
    this.chunk = chunk;
    this.at = 0;
    this.bytesRead += chunk.length;
  }

  /** Moves to the next whole line; false where more bytes are needed. */
  next(): boolean {
    const { chunk } = this;
    const end = chunk.indexOf(NEWLINE, this.at);
    if (end < 0) {
      this.keep(chunk.subarray(this.at));
      this.at = chunk.length;
      return false;
    }
    const from = this.at;
    this.at = end + 1;
    this.line++;
    if (this.isSkipping) {
      this.isSkipping = false;
      return this.next();
    }
    if (this.carry.length > 0) return this.join(chunk.subarray(from, end));
    if (end - from > MAX_LINE_BYTES) {
      this.onLongLine(this.line);
      return this.next();
    }
    this.buf = chunk;
    this.from = from;
    this.to = end;
    return true;
  }

  /** The last line, where the input does not end with a newline. */
  last(): boolean {
    if (this.carry.length === 0) return false;
    this.line++;
    return this.join(new Uint8Array(0));
  }

  private join(rest: Uint8Array): boolean {
    const length = this.carry.length + rest.length;
    if (length > MAX_LINE_BYTES) {
      this.carry = new Uint8Array(0);
      this.onLongLine(this.line);
      return this.next();
    }
    const joined = new Uint8Array(length);
    joined.set(this.carry);
    joined.set(rest, this.carry.length);
    this.carry = new Uint8Array(0);
    this.buf = joined;
    this.from = 0;
    this.to = length;
    return true;
  }

  private keep(rest: Uint8Array): void {
    if (this.isSkipping || rest.length === 0) return;
    if (this.carry.length + rest.length > MAX_LINE_BYTES) {
      this.carry = new Uint8Array(0);
      this.isSkipping = true;
      this.onLongLine(this.line + 1);
      return;
    }
    const carry = new Uint8Array(this.carry.length + rest.length);
    carry.set(this.carry);
    carry.set(rest, this.carry.length);
    this.carry = carry;
  }
}
