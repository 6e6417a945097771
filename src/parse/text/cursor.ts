/** A place in a line of bytes, and the number read last. One is made per reader and used for every line. */
export class Cursor {
  buf: Uint8Array = new Uint8Array(0);
  pos = 0;
  end = 0;
  /** The number read last as two 32-bit words (two's complement where it is negative). */
  lo = 0;
  hi = 0;
}

const NO_DIGIT = 255;
const HEX = new Uint8Array(256).fill(NO_DIGIT);
for (let k = 0; k < 10; k++) HEX[0x30 + k] = k;
for (let k = 0; k < 6; k++) {
  HEX[0x61 + k] = 10 + k;
  HEX[0x41 + k] = 10 + k;
}

const TWO32 = 4294967296;

export function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** Reads up to 16 hexadecimal digits (without 0x); false, with nothing consumed, where there are none or more. */
export function readHex(cursor: Cursor): boolean {
  const { buf, end } = cursor;
  const from = cursor.pos;
  let pos = from;
  let lo = 0;
  let hi = 0;
  for (const stop = Math.min(end, from + 8); pos < stop; pos++) {
    const digit = HEX[buf[pos]!]!;
    if (digit === NO_DIGIT) break;
    lo = (lo << 4) | digit;
  }
  if (pos === from) return false;
  if (pos === from + 8) {
    for (; pos < end; pos++) {
      const digit = HEX[buf[pos]!]!;
      if (digit === NO_DIGIT) break;
      hi = (hi << 4) | (lo >>> 28);
      lo = (lo << 4) | digit;
    }
    if (pos - from > 16) return false;
  }
  cursor.pos = pos;
  cursor.lo = lo;
  cursor.hi = hi;
  return true;
}

/** Reads up to 20 decimal digits; false, with nothing consumed, where there are none or more. */
export function readDecimal(cursor: Cursor): boolean {
  const { buf, end } = cursor;
  const from = cursor.pos;
  let pos = from;
  let value = 0;
  // 15 digits are exact in a double
  for (const stop = Math.min(end, from + 15); pos < stop; pos++) {
    const digit = buf[pos]! - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  if (pos === from) return false;
  let lo = value | 0;
  let hi = 0;
  if (value >= TWO32) hi = Math.floor(value / TWO32);
  if (pos < from + 15) {
    cursor.pos = pos;
    cursor.lo = lo;
    cursor.hi = hi;
    return true;
  }
  for (; pos < end; pos++) {
    const digit = buf[pos]! - 0x30;
    if (digit < 0 || digit > 9) break;
    const low = (lo >>> 0) * 10 + digit;
    hi = (Math.imul(hi, 10) + Math.floor(low / TWO32)) | 0;
    lo = low | 0;
  }
  if (pos - from > 20) return false;
  cursor.pos = pos;
  cursor.lo = lo;
  cursor.hi = hi;
  return true;
}

/** Reads `[-](0x)?digits`: hexadecimal after 0x, else of the given radix. False, with nothing consumed, where there is none. */
export function readNumber(cursor: Cursor, radix: number): boolean {
  const from = cursor.pos;
  const { buf } = cursor;
  const negative = from < cursor.end && buf[from] === 0x2d;
  let pos = negative ? from + 1 : from;
  let hex = radix === 16;
  if (pos + 2 < cursor.end && buf[pos] === 0x30 && (buf[pos + 1]! | 0x20) === 0x78) {
    pos += 2;
    hex = true;
  }
  cursor.pos = pos;
  if (!(hex ? readHex(cursor) : readDecimal(cursor))) {
    cursor.pos = from;
    return false;
  }
  if (negative) {
    const lo = -cursor.lo | 0;
    cursor.hi = (~cursor.hi + (lo === 0 ? 1 : 0)) | 0;
    cursor.lo = lo;
  }
  return true;
}

/** The two words as one number of the given sign; for cold code. */
export function wordsToBigInt(lo: number, hi: number, signed: boolean): bigint {
  const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  return signed ? BigInt.asIntN(64, value) : value;
}
