/** The tracepoints of a database and how each prints its events. */
import type { ColumnType, EventSchema, FieldSpec } from '../../parse/model.js';
import { fieldColumnNames } from '../../store/event-columns.js';
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

/** All tracepoints with at least one event, by trace, system and name. */
export async function readEventTypes(store: Store): Promise<readonly EventType[]> {
  const rows = await store.rows('SELECT * FROM event_type WHERE rows > 0 ORDER BY trace_id, system, name, table_name');
  const columns = await store.rows(`
    SELECT table_name, list(column_name ORDER BY column_index) AS names FROM duckdb_columns()
    WHERE starts_with(table_name, 'ev_') GROUP BY table_name ORDER BY table_name`);
  const byTable = new Map(columns.map((row) => [text(row, 'table_name'), strings(row['names'])]));
  const types = new Map<string, EventType>();
  for (const row of rows) {
    const names = byTable.get(text(row, 'table_name'));
    if (!names) continue;
    const type = readEventType(row, names);
    const key = `${type.traceId}/${type.tableName}`;
    const other = types.get(key);
    types.set(key, other ? merge(other, type) : type);
  }
  return [...types.values()];
}

function readEventType(row: Row, names: readonly string[]): EventType {
  const fields = readFields(row['fields']);
  const system = text(row, 'system');
  const name = text(row, 'name');
  const printFmt = textOrNull(row, 'print_fmt');
  return {
    traceId: num(row, 'trace_id'),
    system,
    name,
    tableName: text(row, 'table_name'),
    fields,
    printFmt,
    probeFn: textOrNull(row, 'probe_fn'),
    probeReturn: typeof row['probe_return'] === 'boolean' ? row['probe_return'] : null,
    rows: num(row, 'rows'),
    columns: columnsOf({ system, name, id: null, fields, formatSource: '', printFmt, probe: null }, names),
  };
}

/** A text trace may have an event in several wordings; they share a table, in which their rows cannot be told apart. */
function merge(a: EventType, b: EventType): EventType {
  const known = new Set(a.fields.map((field) => field.name));
  const added = b.fields.flatMap((field, k) => (known.has(field.name) ? [] : [k]));
  return {
    ...a,
    fields: [...a.fields, ...added.map((k) => b.fields[k]!)],
    columns: [...a.columns, ...added.map((k) => b.columns[k]!)],
    printFmt: a.printFmt ?? b.printFmt,
    probeFn: a.probeFn ?? b.probeFn,
    rows: a.rows + b.rows,
  };
}

/** The column of each field; NULL where the table has none. */
function columnsOf(schema: EventSchema, names: readonly string[]): string[] {
  const known = new Set(names.map((name) => name.toLowerCase()));
  return fieldColumnNames(schema).map((name) => (known.has(name.toLowerCase()) ? sqlName(name) : 'NULL'));
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
