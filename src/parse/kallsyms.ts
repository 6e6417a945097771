/**
 * Function names by address out of the kernel's /proc/kallsyms text (`ffffffff8102b969 t name\t[module]` a line),
 * kept as bytes: a file brings some 5 MB of it and a trace needs a handful of names.
 */

/** Farthest that a probe is taken to sit behind its function's start, in bytes; beyond it the table has a hole there. */
const LONGEST_OFFSET = 4096;

export interface Kallsyms {
  /** Name of the function that holds the address (two 32-bit halves), without compiler suffixes; null if not in the table. */
  nameOf(lo: number, hi: number): string | null;
}

/** Looks into `text` when first asked, not before. */
export function makeKallsyms(text: Uint8Array): Kallsyms {
  let index: SymbolIndex | null = null;
  return {
    nameOf(lo, hi) {
      index ??= indexSymbols(text);
      return nearest(index, text, lo >>> 0, hi >>> 0);
    },
  };
}

interface SymbolIndex {
  readonly count: number;
  readonly lo: Uint32Array;
  readonly hi: Uint32Array;
  /** Where the name starts in the text. */
  readonly name: Uint32Array;
}

function indexSymbols(text: Uint8Array): SymbolIndex {
  const capacity = Math.ceil(text.length / 12) + 1;
  const lo = new Uint32Array(capacity);
  const hi = new Uint32Array(capacity);
  const name = new Uint32Array(capacity);
  let count = 0;
  let pos = 0;
  while (pos < text.length) {
    let low = 0;
    let high = 0;
    let digit: number;
    const start = pos;
    while (pos < text.length && (digit = hexDigit(text[pos]!)) >= 0) {
      high = ((high << 4) | (low >>> 28)) >>> 0;
      low = ((low << 4) | digit) >>> 0;
      pos++;
    }
    // `ADDR t name`: only code can hold a probe; data and absolute symbols are left out.
    const isCode = pos - start >= 8 && text[pos] === 0x20 && text[pos + 2] === 0x20 && isCodeType(text[pos + 1]!);
    if (isCode && count < capacity) {
      lo[count] = low;
      hi[count] = high;
      name[count++] = pos + 3;
    }
    while (pos < text.length && text[pos] !== 0x0a) pos++;
    pos++;
  }
  return { count, lo, hi, name };
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  return byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : -1;
}

/** `T`, `t`, `W`, `w`. */
function isCodeType(byte: number): boolean {
  const lower = byte | 0x20;
  return lower === 0x74 || lower === 0x77;
}

function nearest(index: SymbolIndex, text: Uint8Array, lo: number, hi: number): string | null {
  let best = -1;
  let bestDistance = LONGEST_OFFSET + 1;
  for (let k = 0; k < index.count; k++) {
    const distance = (hi - index.hi[k]!) * 4294967296 + (lo - index.lo[k]!);
    if (distance >= 0 && distance < bestDistance) {
      best = k;
      bestDistance = distance;
    }
  }
  if (best < 0 || (lo === 0 && hi === 0)) return null;
  let end = index.name[best]!;
  const start = end;
  while (end < text.length && text[end]! > 0x20) end++;
  const full = new TextDecoder().decode(text.subarray(start, end));
  const name = full.replace(/\..*$/, '');
  return name === '' ? null : name;
}
