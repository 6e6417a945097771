/**
 * How a tracepoint's fields become columns of its ev_ table, and how a column widens when two traces (or two formats of
 * one name in a trace) do not agree on its type.
 */
import type { BatchColumn, NumericArray } from '../parse/batch.js';
import type { ColumnType, EventSchema } from '../parse/model.js';
import type { ArrayColumn } from './bulk.js';
import { EVENT_COLUMNS } from './schema.js';

/** DuckDB types of event fields. HUGEINT only where traces disagree on the sign of a 64-bit field. */
export type FieldType =
  | 'UTINYINT'
  | 'USMALLINT'
  | 'UINTEGER'
  | 'UBIGINT'
  | 'TINYINT'
  | 'SMALLINT'
  | 'INTEGER'
  | 'BIGINT'
  | 'HUGEINT'
  | 'BOOLEAN'
  | 'VARCHAR';

export const FIELD_TYPES: Readonly<Record<ColumnType, FieldType>> = {
  u8: 'UTINYINT',
  u16: 'USMALLINT',
  u32: 'UINTEGER',
  u64: 'UBIGINT',
  i8: 'TINYINT',
  i16: 'SMALLINT',
  i32: 'INTEGER',
  i64: 'BIGINT',
  bool: 'BOOLEAN',
  string: 'VARCHAR',
};

const UNSIGNED: readonly FieldType[] = ['UTINYINT', 'USMALLINT', 'UINTEGER', 'UBIGINT'];
const SIGNED: readonly FieldType[] = ['TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT'];

/** The narrowest type that holds every value of both. */
export function widerType(a: FieldType, b: FieldType): FieldType {
  if (a === b) return a;
  if (a === 'VARCHAR' || b === 'VARCHAR') return 'VARCHAR';
  if (a === 'BOOLEAN') return b;
  if (b === 'BOOLEAN') return a;
  const unsigned = Math.max(UNSIGNED.indexOf(a), UNSIGNED.indexOf(b));
  const signed = Math.max(SIGNED.indexOf(a), SIGNED.indexOf(b));
  if (signed < 0) return UNSIGNED[unsigned]!;
  // A signed type needs one size more than an unsigned one to hold its values.
  return SIGNED[Math.max(signed, unsigned + 1)]!;
}

/**
 * Column names of a schema's fields, in their order. A name that is taken (DuckDB does not tell `A` from `a`), by a
 * common column or an earlier field, gets `_` appended.
 */
export function fieldColumnNames(schema: EventSchema): string[] {
  const taken = new Set(EVENT_COLUMNS.map((column) => column.name));
  return schema.fields.map((field) => {
    // DuckDB ends an identifier at NUL; the other control characters only harm terminals.
    let name = field.name.replace(/[\u0000-\u001f]/g, '_') || '_';
    while (taken.has(name.toLowerCase())) name += '_';
    taken.add(name.toLowerCase());
    return name;
  });
}

function toSixtyFour(data: NumericArray, rows: number): Uint32Array {
  const words = new Uint32Array(2 * rows);
  for (let i = 0; i < rows; i++) {
    const value = data[i] as number;
    words[2 * i] = value;
    words[2 * i + 1] = value < 0 ? 0xffff_ffff : 0;
  }
  return words;
}

function toHuge(data: NumericArray, rows: number): BigInt64Array {
  const out = new BigInt64Array(2 * rows);
  for (let i = 0; i < rows; i++) {
    const value = BigInt(data[i]!);
    out[2 * i] = BigInt.asIntN(64, value);
    out[2 * i + 1] = value < 0n ? -1n : 0n;
  }
  return out;
}

function toText(data: NumericArray, rows: number, isBool: boolean): { data: Uint32Array; strings: string[] } {
  const ids = new Map<string, number>();
  const out = new Uint32Array(rows);
  for (let i = 0; i < rows; i++) {
    const text = isBool ? String(data[i] !== 0) : String(data[i]);
    let id = ids.get(text);
    if (id === undefined) ids.set(text, (id = ids.size));
    out[i] = id;
  }
  return { data: out, strings: [...ids.keys()] };
}

const NARROW_ARRAYS = {
  UTINYINT: Uint8Array,
  USMALLINT: Uint16Array,
  UINTEGER: Uint32Array,
  TINYINT: Int8Array,
  SMALLINT: Int16Array,
  INTEGER: Int32Array,
} as const;

/** A batch's column as its table wants it: as it is, or copied into the wider type that another trace has asked for. */
export function widenColumn(
  column: BatchColumn,
  strings: readonly string[],
  type: FieldType,
  rows: number,
): ArrayColumn {
  const { data, valid } = column;
  const own = FIELD_TYPES[column.type];
  if (own === type) return column.type === 'string' ? { data, valid, strings } : { data, valid };
  switch (type) {
    case 'VARCHAR':
      return { ...toText(data, rows, column.type === 'bool'), valid };
    case 'HUGEINT':
      return { data: toHuge(data, rows), valid };
    case 'BIGINT':
      return { data: new BigInt64Array(toSixtyFour(data, rows).buffer), valid };
    case 'UBIGINT':
      return { data: new BigUint64Array(toSixtyFour(data, rows).buffer), valid };
    case 'BOOLEAN':
      return { data, valid };
    default:
      return { data: NARROW_ARRAYS[type].from((data as Uint8Array).subarray(0, rows)), valid };
  }
}
