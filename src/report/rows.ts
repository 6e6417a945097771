/** Narrowing of database rows at the border: a column is what the schema says, or a bug that names itself. */
import { TraceError } from '../base/errors.js';
import type { Row, Value } from '../store/db.js';

export type { Row };

function wrongType(row: Row, column: string, wanted: string): never {
  throw new TraceError('internal', `column ${column} is ${typeof row[column]}, not ${wanted}`);
}

/** A text column; null stays null. */
export function textOrNull(row: Row, column: string): string | null {
  const value = row[column] ?? null;
  if (value === null) return null;
  return typeof value === 'string' ? value : wrongType(row, column, 'text');
}

/** A text column that always has a value. */
export function text(row: Row, column: string): string {
  return textOrNull(row, column) ?? wrongType(row, column, 'text');
}

/** An integer as bigint (times, addresses); null stays null. */
export function bigOrNull(row: Row, column: string): bigint | null {
  const value = row[column] ?? null;
  if (value === null || typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value);
  return wrongType(row, column, 'an integer');
}

/** An integer as bigint that always has a value. */
export function big(row: Row, column: string): bigint {
  return bigOrNull(row, column) ?? wrongType(row, column, 'an integer');
}

/** A number (counts, ids, durations, sizes: below 2^53); null stays null. */
export function numOrNull(row: Row, column: string): number | null {
  const value = row[column] ?? null;
  if (value === null || typeof value === 'number') return value;
  return typeof value === 'bigint' ? Number(value) : wrongType(row, column, 'a number');
}

/** A number that always has a value. */
export function num(row: Row, column: string): number {
  return numOrNull(row, column) ?? wrongType(row, column, 'a number');
}

/** A list column; null is an empty list. */
export function list(row: Row, column: string): readonly Value[] {
  const value = row[column] ?? null;
  if (value === null) return [];
  return Array.isArray(value) ? (value as readonly Value[]) : wrongType(row, column, 'a list');
}

/** Rows by a number of theirs, in their order: what belongs to one is found without looking at all. */
export function groupRows(rows: readonly Row[], name: string): ReadonlyMap<number, readonly Row[]> {
  const groups = new Map<number, Row[]>();
  for (const row of rows) {
    const key = num(row, name);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return groups;
}
