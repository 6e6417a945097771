/** printf as the kernel does it (lib/vsprintf.c: format_decode, number, string): splitting a format, and printing integers. */
export interface Conversion {
  readonly minus: boolean;
  readonly plus: boolean;
  readonly space: boolean;
  readonly hash: boolean;
  readonly zero: boolean;
  /** `*` = taken from an argument; null = none. */
  readonly width: number | '*' | null;
  readonly precision: number | '*' | null;
  readonly length: string;
  /** d i u x X o c s p */
  readonly type: string;
  /** What follows %p: `s`, `S`, `I4`, `hD`, … */
  readonly extension: string;
}

export type Piece = string | Conversion;

const SPEC = /%([-+ #0]*)(\*|\d+)?(?:\.(\*|-?\d*))?(hh|h|ll|l|L|z|Z|t|j|q)?([%a-zA-Z])/g;

function count(text: string | undefined): number | '*' | null {
  if (text === undefined) return null;
  return text === '*' ? '*' : Math.min(Math.max(Number(text) || 0, 0), 4096);
}

/** Splits a format into literal text and conversions; `%%` is text. */
export function splitFormat(format: string): Piece[] {
  const pieces: Piece[] = [];
  let literal = '';
  let from = 0;
  SPEC.lastIndex = 0;
  for (let match = SPEC.exec(format); match; match = SPEC.exec(format)) {
    literal += format.slice(from, match.index);
    from = SPEC.lastIndex;
    const flags = match[1]!;
    const type = match[5]!;
    if (type === '%') {
      literal += '%';
      continue;
    }
    // the kernel takes every letter and digit after %p as its extension (lib/vsprintf.c: vsnprintf)
    const extension = type === 'p' ? /^[A-Za-z0-9]*/.exec(format.slice(from))![0] : '';
    from += extension.length;
    SPEC.lastIndex = from;
    if (literal) pieces.push(literal);
    literal = '';
    pieces.push({
      minus: flags.includes('-'),
      plus: flags.includes('+'),
      space: flags.includes(' '),
      hash: flags.includes('#'),
      zero: flags.includes('0'),
      width: count(match[2]),
      precision: count(match[3]),
      length: match[4] ?? '',
      type,
      extension,
    });
  }
  literal += format.slice(from);
  if (literal) pieces.push(literal);
  return pieces;
}

/** Bits of the argument that a conversion takes, by its length modifier. */
export function conversionBits(conversion: Conversion, longBits: 32 | 64): 8 | 16 | 32 | 64 {
  switch (conversion.length) {
    case 'hh':
      return 8;
    case 'h':
      return 16;
    case 'l':
    case 'z':
    case 'Z':
    case 't':
      return longBits;
    case 'll':
    case 'L':
    case 'j':
    case 'q':
      return 64;
    default:
      return conversion.type === 'p' ? longBits : 32;
  }
}

/**
 * Prints an integer already cut to the conversion's width. The width of `%#016llx` counts the `0x`, and the kernel
 * prints the `0x` of zero, too (lib/vsprintf.c: number), unlike a C library.
 */
export function formatInteger(value: bigint, conversion: Conversion, width: number, precision: number): string {
  const negative = value < 0n;
  const magnitude = negative ? -value : value;
  let digits: string;
  let prefix = '';
  switch (conversion.type) {
    case 'x':
    case 'X':
      digits = magnitude.toString(16);
      if (conversion.hash) prefix = '0x';
      break;
    case 'o':
      digits = magnitude.toString(8);
      if (conversion.hash && magnitude !== 0n) prefix = '0';
      break;
    default:
      digits = magnitude.toString();
  }
  if (conversion.type === 'X') {
    digits = digits.toUpperCase();
    prefix = prefix.toUpperCase();
  }
  const signed = conversion.type === 'd' || conversion.type === 'i';
  if (signed) prefix = (negative ? '-' : conversion.plus ? '+' : conversion.space ? ' ' : '') + prefix;
  if (precision > digits.length) digits = digits.padStart(precision, '0');
  if (conversion.minus) return (prefix + digits).padEnd(width);
  if (conversion.zero) return prefix + digits.padStart(width - prefix.length, '0');
  return (prefix + digits).padStart(width);
}
