/** Time stamps of texts, by digits: seconds with a fraction → ns as two words, integers as they are. */
import { isDigit, readDecimal } from './cursor.js';
import type { Cursor } from './cursor.js';
import type { LineContext } from './context.js';

const TWO32 = 4294967296;
const NS = 1_000_000_000;
const POWERS = [1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 100, 10, 1];

/** Reads stamps, and remembers in which forms they came. */
export class StampReader {
  /** Most fraction digits seen; 0 while all stamps were integers. */
  decimals = 0;
  integers = 0;
  fractions = 0;
  private lastSeconds = -1;
  private secondsLo = 0;
  private secondsHi = 0;
  private readonly offsetLo: number;
  private readonly offsetHi: number;

  /** @param offsetNs is added to every stamp */
  constructor(offsetNs: bigint) {
    this.offsetLo = Number(BigInt.asIntN(32, offsetNs));
    this.offsetHi = Number(BigInt.asIntN(32, offsetNs >> 32n));
  }

  /** Reads `12.345678` or `12345` at the cursor, which ends behind it. False where there is no number. */
  read(cursor: Cursor, context: LineContext): boolean {
    const { buf, end } = cursor;
    let pos = cursor.pos;
    let seconds = 0;
    const from = pos;
    for (; pos < end; pos++) {
      const digit = buf[pos]! - 0x30;
      if (digit < 0 || digit > 9) break;
      seconds = seconds * 10 + digit;
    }
    if (pos === from) return false;
    if (pos + 1 >= end || buf[pos] !== 0x2e || !isDigit(buf[pos + 1]!)) return this.readInteger(cursor, context);
    const fractionFrom = ++pos;
    let fraction = 0;
    for (; pos < end; pos++) {
      const digit = buf[pos]! - 0x30;
      if (digit < 0 || digit > 9) break;
      fraction = fraction * 10 + digit;
    }
    const digits = pos - fractionFrom;
    if (digits > 9 || seconds >= TWO32) return false;
    if (digits > this.decimals) this.decimals = digits;
    this.fractions++;
    cursor.pos = pos;
    this.fromSeconds(seconds, fraction * POWERS[digits]!, context);
    return true;
  }

  private readInteger(cursor: Cursor, context: LineContext): boolean {
    if (!readDecimal(cursor)) return false;
    this.integers++;
    this.setWords(context, cursor.lo, cursor.hi);
    return true;
  }

  /** @param seconds below 2^32 @param ns below 2^32 */
  fromSeconds(seconds: number, ns: number, context: LineContext): void {
    if (seconds !== this.lastSeconds) {
      this.lastSeconds = seconds;
      const low = (seconds & 0xffff) * NS;
      const high = (seconds >>> 16) * NS;
      const sum = (high % 65536) * 65536 + low;
      this.setWords(context, sum | 0, Math.floor(high / 65536) + Math.floor(sum / TWO32));
      this.secondsLo = context.tsLo >>> 0;
      this.secondsHi = context.tsHi;
    }
    const lo = this.secondsLo + ns;
    context.tsLo = lo | 0;
    context.tsHi = lo >= TWO32 ? (this.secondsHi + 1) | 0 : this.secondsHi;
  }

  /** Sets a stamp of µs, as the latency format has them. */
  fromMicros(micros: number, context: LineContext): void {
    this.fractions++;
    this.decimals = Math.max(this.decimals, 6);
    const seconds = Math.floor(micros / 1e6);
    this.fromSeconds(seconds, (micros - seconds * 1e6) * 1000, context);
  }

  private setWords(context: LineContext, lo: number, hi: number): void {
    const sum = (lo >>> 0) + (this.offsetLo >>> 0);
    context.tsLo = sum | 0;
    context.tsHi = (hi + this.offsetHi + (sum >= TWO32 ? 1 : 0)) | 0;
  }
}
