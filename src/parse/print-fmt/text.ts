/** Format pieces with their compiled arguments → one closure that prints an event. */
import { conversionBits, formatInteger, type Conversion, type Piece } from './conversion.js';
import {
  asText,
  NoNumber,
  parseArray,
  type Compiled,
  type CompiledInt,
  type Context,
  type FieldGetter,
} from './value.js';

type Print = (get: FieldGetter) => string;

/** Joins pieces and arguments. `unknown` where an argument cannot be evaluated and cannot be left out. */
export function renderPieces(
  pieces: readonly Piece[],
  args: readonly Compiled[],
  context: Context,
): Extract<Compiled, { kind: 'str' | 'unknown' }> {
  const parts: (string | Print)[] = [];
  let at = 0;
  let skipSpace = false;
  for (const piece of pieces) {
    if (typeof piece === 'string') {
      parts.push(skipSpace ? piece.replace(/^ /, '') : piece);
      skipSpace = false;
      continue;
    }
    const width = piece.width === '*' ? args[at++] : piece.width;
    const precision = piece.precision === '*' ? args[at++] : piece.precision;
    const arg = args[at++];
    if (!arg) return { kind: 'unknown', why: 'the format has more conversions than arguments' };
    if (arg.kind === 'unknown') {
      if (piece.type !== 'p' || !dropLabel(parts)) return arg;
      // vmemmap_base + pfn: the address of a struct page, of which the trace knows only the pfn
      context.notes.add(arg.why);
      skipSpace = true;
      continue;
    }
    parts.push(guard(printer(piece, number(width), number(precision), arg, context)));
  }
  return { kind: 'str', eval: joined(parts) };
}

/** Takes the `page=` off the end of what was printed so far; false where there is no such label. */
function dropLabel(parts: (string | Print)[]): boolean {
  const last = parts.at(-1);
  if (typeof last !== 'string' || !/\w+=$/.test(last)) return false;
  parts[parts.length - 1] = last.replace(/\w+=$/, '');
  return true;
}

function joined(parts: readonly (string | Print)[]): Print {
  return (get) => {
    let text = '';
    for (const part of parts) text += typeof part === 'string' ? part : part(get);
    return text;
  };
}

/** A number that is not there prints as `?`, one that a text trace gave as a word prints as that word. */
function guard(print: Print): Print {
  return (get) => {
    try {
      return print(get);
    } catch (error) {
      if (error instanceof NoNumber) return error.text;
      throw error;
    }
  };
}

function number(value: Compiled | number | null | undefined): (get: FieldGetter) => number {
  if (typeof value === 'number') return () => value;
  if (value?.kind !== 'int') return () => -1;
  return (get) => Math.min(Number(BigInt.asIntN(32, value.eval(get))), 4096);
}

type Size = (get: FieldGetter) => number;

function printer(conversion: Conversion, width: Size, precision: Size, arg: Known, context: Context): Print {
  switch (conversion.type) {
    case 's':
      return printText(asText(arg), conversion, width, precision);
    case 'c':
      if (arg.kind === 'int') return (get) => String.fromCharCode(Number(BigInt.asUintN(8, arg.eval(get))));
      return asText(arg);
    case 'p':
      return printPointer(conversion, width, arg, context);
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
      return arg.kind === 'int' ? printInteger(conversion, width, precision, arg, context) : asText(arg);
    default:
      return asText(arg);
  }
}

type Known = Exclude<Compiled, { kind: 'unknown' }>;

function printText(text: Print, conversion: Conversion, width: Size, precision: Size): Print {
  if (conversion.width === null && conversion.precision === null) return text;
  return (get) => {
    const limit = precision(get);
    const whole = text(get);
    const cut = limit >= 0 ? whole.slice(0, limit) : whole;
    const columns = width(get);
    return conversion.minus ? cut.padEnd(columns) : cut.padStart(columns);
  };
}

function printInteger(conv: Conversion, width: Size, precision: Size, arg: CompiledInt, context: Context): Print {
  const bits = conversionBits(conv, context.longBits);
  const signed = conv.type === 'd' || conv.type === 'i';
  const cut = (value: bigint) => (signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value));
  const evaluate = arg.eval;
  const plain = conv.width === null && conv.precision === null && !conv.hash && !conv.plus && !conv.space;
  if (plain && conv.type !== 'o' && conv.type !== 'X') {
    const radix = conv.type === 'x' ? 16 : 10;
    return (get) => cut(evaluate(get)).toString(radix);
  }
  return (get) => formatInteger(cut(evaluate(get)), conv, width(get), precision(get));
}

/**
 * `%p` is hashed in the kernel's own text and raw in a file: printed raw, with 0x. `%ps` and its kin want a symbol table,
 * without which the kernel, too, prints the plain address (kernel/kallsyms.c: sprint_symbol).
 */
function printPointer(conversion: Conversion, width: Size, arg: Known, context: Context): Print {
  const extension = conversion.extension;
  if (arg.kind === 'str') {
    const print = printBytes(extension, width, (get) => parseArray(arg.eval(get)));
    return (get) => (arg.eval(get).startsWith('ARRAY[') ? print(get) : arg.eval(get));
  }
  if (arg.kind === 'array') return printBytes(extension, width, arg.eval);
  const { longBits } = context;
  if (extension === 'e') return (get) => BigInt.asIntN(longBits, arg.eval(get)).toString();
  return (get) => `0x${BigInt.asUintN(longBits, arg.eval(get)).toString(16)}`;
}

/** `%pM` (MAC), `%pI4`, `%pU` (UUID) and `%*ph` (hex) of an array. */
function printBytes(extension: string, width: Size, read: (get: FieldGetter) => readonly bigint[]): Print {
  const hex = (item: bigint) => (item & 0xffn).toString(16).padStart(2, '0');
  const kind = extension.slice(0, 1);
  if (kind === 'M') return (get) => read(get).slice(0, 6).map(hex).join(':');
  if (extension.toLowerCase().startsWith('i4')) return (get) => read(get).slice(0, 4).join('.');
  if (kind === 'U') {
    return (get) => {
      const text = read(get).slice(0, 16).map(hex).join('');
      return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    };
  }
  const separator = extension === 'hC' ? ':' : extension === 'hD' ? '-' : extension === 'hN' ? '' : ' ';
  return (get) => {
    const length = width(get);
    const items = read(get);
    return (length > 0 ? items.slice(0, length) : items).map(hex).join(separator);
  };
}
