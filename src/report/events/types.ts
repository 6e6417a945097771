/** The tracepoints of a database and how each prints its events. */
import type { ColumnType, FieldSpec } from '../../parse/model.js';
import { sqlName, type Store, type Value } from '../../store/db.js';
import { num, text, textOrNull, type Row } from '../rows.js';

/** One tracepoint of one trace. */
export interface EventType {
  readonly traceId: number;
  readonly system: string;
  readonly name: string;
  readonly tableName: string;
  readonly fields: readonly FieldSpec[];
  readonly printFmt: string | null;
  /** Function that a probe sits on; null for tracepoints and where it is not known. */
  readonly probeFn: string | null;
  /** true for a return probe, false for any other, null for a tracepoint. */
  readonly probeReturn: boolean | null;
  readonly rows: number;
  /** Columns of the table that hold `fields`, in their order. */
  readonly columns: readonly string[];
}

/** ts_ns, cpu, tid, seq and flags, which every event table has beside trace_id. */
export const COMMON_COLUMNS = ['trace_id', 'ts_ns', 'cpu', 'tid', 'seq', 'flags'] as const;

/** All tracepoints with at least one event, by trace, system and name. */
export async function readEventTypes(store: Store): Promise<readonly EventType[]> {
  const rows = await store.rows('SELECT * FROM event_type WHERE rows > 0 ORDER BY trace_id, system, name, table_name');
  const columns = await store.rows(`
    SELECT table_name, list(column_name ORDER BY column_index) AS names FROM duckdb_columns()
    WHERE starts_with(table_name, 'ev_') GROUP BY table_name ORDER BY table_name`);
  const byTable = new Map(columns.map((row) => [text(row, 'table_name'), strings(row['names'])]));
  const types: EventType[] = [];
  for (const row of rows) {
    const tableName = text(row, 'table_name');
    const names = byTable.get(tableName);
    if (!names) continue;
    const fields = readFields(row['fields']);
    types.push({
      traceId: num(row, 'trace_id'),
      system: text(row, 'system'),
      name: text(row, 'name'),
      tableName,
      fields,
      printFmt: textOrNull(row, 'print_fmt'),
      probeFn: textOrNull(row, 'probe_fn'),
      probeReturn: typeof row['probe_return'] === 'boolean' ? row['probe_return'] : null,
      rows: num(row, 'rows'),
      columns: columnsOf(fields, names),
    });
  }
  return types;
}

/**
 * The column of each field. A table shared by traces of several kernels has the columns of all; a field whose name is
 * taken by a common column (`flags`) lies in one with a suffix.
 */
function columnsOf(fields: readonly FieldSpec[], names: readonly string[]): string[] {
  const own = names.slice(COMMON_COLUMNS.length);
  const lower = new Map(own.map((name) => [name.toLowerCase(), name]));
  return fields.map((field) => {
    const plain = lower.get(field.name.toLowerCase());
    if (plain !== undefined) return sqlName(plain);
    const renamed = own.find(
      (name) => name.toLowerCase().replace(/^field_|_+\d*$|_field$/g, '') === field.name.toLowerCase(),
    );
    return renamed === undefined ? 'NULL' : sqlName(renamed);
  });
}

function strings(value: Value | undefined): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function readFields(value: Value | undefined): FieldSpec[] {
  if (!Array.isArray(value)) return [];
  return (value as readonly Row[]).map((entry) => ({
    name: text(entry, 'name'),
    type: text(entry, 'type') as ColumnType,
    cType: text(entry, 'c_type'),
    radix: entry['radix'] === 16 ? 16 : 10,
  }));
}
