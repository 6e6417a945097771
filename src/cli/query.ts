import { TraceError } from '../base/errors.js';
import type { Table } from '../report/index.js';
import type { Row, Store, Value } from '../store/db.js';

type Cell = Table['rows'][number][number];

/** A value as a cell: lists and structs as JSON text. */
function toCell(value: Value): Cell {
  if (value === null || typeof value !== 'object') return value;
  return JSON.stringify(value, (_key, entry: unknown) => (typeof entry === 'bigint' ? Number(entry) : entry));
}

const isNumber = (value: Value | undefined): boolean => typeof value === 'number' || typeof value === 'bigint';

/** Column names of a query that gave no row; none where the statement has no result. */
async function describe(store: Store, query: string): Promise<readonly string[]> {
  const rows = await store.rows(`DESCRIBE ${query}`).catch((): Row[] => []);
  return rows.flatMap(({ column_name: name }) => (typeof name === 'string' ? [name] : []));
}

/** Runs a query and gives at most `limit` rows (0 = all) with how many there were. Throws TraceError with DuckDB's text. */
export async function readQuery(
  store: Store,
  query: string,
  limit: number,
): Promise<{ readonly table: Table; readonly total: number }> {
  if (query.trim() === '') throw new TraceError('usage', 'the query is empty');
  const rows = await store.rows(query);
  const names = rows.length > 0 ? Object.keys(rows[0]!) : await describe(store, query);
  const shown = limit === 0 ? rows : rows.slice(0, limit);
  return {
    total: rows.length,
    table: {
      columns: names.map((name) => ({
        name,
        align: rows.some((row) => isNumber(row[name])) ? ('right' as const) : ('left' as const),
      })),
      rows: shown.map((row) => names.map((name) => toCell(row[name] ?? null))),
    },
  };
}
