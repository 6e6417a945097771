/** One event as it comes out of its table. */
import type { Row, Value } from '../../store/db.js';
import { big, num, numOrNull } from '../rows.js';
import type { EventType } from './types.js';

/** One event with its own fields as they lie in the database. */
export interface EventRow {
  readonly type: EventType;
  readonly tsNs: bigint;
  readonly cpu: number;
  readonly tid: number;
  readonly seq: bigint;
  /** 0xffff where the trace has none. */
  readonly flags: number;
  /** In the order of `type.fields`. */
  readonly values: readonly Value[];
}

/** The SELECT list that toEventRow reads. */
export function selectColumns(type: EventType): string {
  const fields = type.columns.map((column, k) => `, ${column} AS f${k}`).join('');
  return `SELECT ts_ns AS t, cpu AS c, tid AS p, seq AS s, flags AS g${fields}`;
}

/** A row of selectColumns as an event. */
export function toEventRow(type: EventType, row: Row): EventRow {
  return {
    type,
    tsNs: big(row, 't'),
    cpu: num(row, 'c'),
    tid: numOrNull(row, 'p') ?? -1,
    seq: big(row, 's'),
    flags: numOrNull(row, 'g') ?? 0xffff,
    values: type.columns.map((_, k) => row[`f${k}`] ?? null),
  };
}
