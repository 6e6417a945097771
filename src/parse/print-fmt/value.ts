/** What a compiled expression is: a closure over one event's fields, with the C type it yields. */
import type { FieldSpec } from '../model.js';
import { integerType, type IntType } from './c-types.js';

/** One event's fields by name: numbers as bigint, texts as string, null where the event has no value. */
export type FieldGetter = (name: string) => bigint | string | null;

export type Compiled =
  | {
      readonly kind: 'int';
      readonly type: IntType;
      readonly constant: bigint | null;
      readonly eval: (get: FieldGetter) => bigint;
      /** Set where the expression is a field as it stands (casts aside). */
      readonly field?: string;
    }
  | { readonly kind: 'str'; readonly eval: (get: FieldGetter) => string; readonly field?: string }
  | {
      readonly kind: 'array';
      readonly element: IntType;
      readonly eval: (get: FieldGetter) => readonly bigint[];
      readonly field?: string;
    }
  | { readonly kind: 'unknown'; readonly why: string };

export type CompiledInt = Extract<Compiled, { kind: 'int' }>;

/** Thrown inside an evaluation where a number is needed and the event has a text or nothing; caught by the conversion. */
export class NoNumber extends Error {
  readonly text: string;

  constructor(text: string) {
    super('no number');
    this.text = text;
  }
}

export interface Context {
  readonly fields: ReadonlyMap<string, FieldSpec>;
  readonly longBits: 32 | 64;
  /** Values of enumerators that the print fmt uses by name. */
  readonly constants: ReadonlyMap<string, bigint>;
  /** Parts that cannot be evaluated, for whoever asks why an event is shown raw. */
  readonly notes: Set<string>;
}

const STORED: Readonly<Record<FieldSpec['type'], IntType | null>> = {
  u8: { bits: 8, signed: false },
  u16: { bits: 16, signed: false },
  u32: { bits: 32, signed: false },
  u64: { bits: 64, signed: false },
  i8: { bits: 8, signed: true },
  i16: { bits: 16, signed: true },
  i32: { bits: 32, signed: true },
  i64: { bits: 64, signed: true },
  bool: { bits: 8, signed: false },
  string: null,
};

/** The integer type of a field's column; null for a text. */
export function storedType(field: FieldSpec): IntType | null {
  return STORED[field.type];
}

/**
 * The integer type by which a field is read in expressions. Syscall arguments are stored 8 bytes wide whatever their
 * C type: the upper half of an `int` is what user space left in the register, and is cut off.
 */
export function fieldType(field: FieldSpec, longBits: 32 | 64): IntType | null {
  const stored = storedType(field);
  if (!stored || field.cType === '' || /[*[]/.test(field.cType)) return stored;
  const declared = integerType(field.cType.split(/\s+/), longBits);
  return declared && declared.bits < stored.bits ? declared : stored;
}

/** Width of the kernel's `long`, told by the fields that are declared so; 64 where none is. */
export function longBitsOf(fields: readonly FieldSpec[]): 32 | 64 {
  for (const field of fields) {
    const isLong = /\blong\b/.test(field.cType) && !/\blong long\b/.test(field.cType);
    if (!isLong && !field.cType.endsWith('*')) continue;
    const type = storedType(field);
    if (type) return type.bits === 32 ? 32 : 64;
  }
  return 64;
}

/** Elements of an array field: columns `name_0`, `name_1` …, or the text `ARRAY[0f, 01]` (hexadecimal). */
export function arrayReader(name: string, context: Context): (get: FieldGetter) => readonly bigint[] {
  const columns: string[] = [];
  while (context.fields.has(`${name}_${columns.length}`)) columns.push(`${name}_${columns.length}`);
  if (columns.length > 0) return (get) => columns.map((column) => numberOf(get(column)));
  return (get) => {
    const value = get(name);
    return typeof value === 'string' ? parseArray(value) : [numberOf(value)];
  };
}

/** The numbers of `ARRAY[0f, 01]`; a plain text gives its UTF-8 bytes. */
export function parseArray(text: string): bigint[] {
  const list = /^ARRAY\[(.*)\]$/.exec(text);
  if (!list) return Array.from(new TextEncoder().encode(text), BigInt);
  return list[1]!
    .split(/[\s,]+/)
    .filter((item) => /^(0x)?[0-9a-fA-F]+$/.test(item))
    .map((item) => BigInt(item.startsWith('0x') ? item : `0x${item}`));
}

/** A field's value as a number; throws NoNumber for a text or nothing. */
export function numberOf(value: bigint | string | null): bigint {
  if (typeof value === 'bigint') return value;
  throw new NoNumber(value ?? '?');
}

/** A field's value where a text is expected; an address stays an address. */
export function textOf(value: bigint | string | null): string {
  if (typeof value === 'string') return value;
  return value === null ? '?' : `0x${BigInt.asUintN(64, value).toString(16)}`;
}

/** A value where the kernel passes a `char *`: a number is an address, of which 0 prints as `(null)`. */
export function asText(value: Exclude<Compiled, { kind: 'unknown' }>): (get: FieldGetter) => string {
  if (value.kind === 'str') return value.eval;
  if (value.kind === 'array') {
    return (get) =>
      value
        .eval(get)
        .map((item) => item.toString(16).padStart(2, '0'))
        .join(' ');
  }
  if (value.field !== undefined) {
    const name = value.field;
    return (get) => textOf(get(name));
  }
  return (get) => {
    const number = value.eval(get);
    return number === 0n ? '(null)' : `0x${BigInt.asUintN(64, number).toString(16)}`;
  };
}
