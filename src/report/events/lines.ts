/** Events as lines of text. */
import type { FieldGetter } from '../../parse/print-fmt/index.js';
import type { Store, Value } from '../../store/db.js';
import { big, num, text, textOrNull } from '../rows.js';
import { selectColumns, toEventRow, type EventRow } from './rows.js';
import { eventPrinter } from './render.js';
import { formatLine, hasLazyResched, type LineContext, type LineOptions, type LineStyle } from './styles.js';
import { readTasks, type TaskLookup } from './tasks.js';
import { readEventTypes, type EventType } from './types.js';

/** Where an event lies: what `finding_evidence` keeps of it. */
export interface EventKey {
  readonly traceId: number;
  readonly cpu: number;
  readonly seq: bigint;
  readonly tsNs: bigint;
}

export interface EventLine {
  /** `line 12` of a text, `byte 184320` of a perf.data, `cpu 1 byte 4711` of the pages of a trace.dat. */
  readonly position: string;
  /** The line that the kernel prints for the event, without leading blanks. */
  readonly text: string;
}

/** What the lines of one trace have in common. */
export interface TraceFacts {
  readonly path: string;
  readonly format: string;
  readonly clockUnit: string;
  readonly hasLazyResched: boolean;
}

/** The facts of every trace, by trace_id. */
export async function readTraceFacts(store: Store): Promise<ReadonlyMap<number, TraceFacts>> {
  const rows = await store.rows('SELECT trace_id, path, format, clock_unit, kernel FROM trace ORDER BY trace_id');
  return new Map(
    rows.map((row) => [
      num(row, 'trace_id'),
      {
        path: text(row, 'path'),
        format: text(row, 'format'),
        clockUnit: text(row, 'clock_unit'),
        hasLazyResched: hasLazyResched(textOrNull(row, 'kernel')),
      },
    ]),
  );
}

/** A value of the database as the print fmts take it. */
export function toFieldValue(value: Value | undefined): bigint | string | null {
  switch (typeof value) {
    case 'bigint':
    case 'string':
      return value;
    case 'number':
      return BigInt(Math.trunc(value));
    case 'boolean':
      return value ? 1n : 0n;
    default:
      return null;
  }
}

/** Turns events into lines of one style (`textOnly`: into their own text); printers are compiled once a tracepoint. */
export function lineWriter(
  traces: ReadonlyMap<number, TraceFacts>,
  types: readonly EventType[],
  tasks: TaskLookup,
  style: LineStyle,
  options: LineOptions & { readonly textOnly?: boolean },
): (event: EventRow) => string {
  const nameWidth = Math.max(0, ...types.map((type) => type.system.length + 1 + type.name.length));
  const writers = new Map<EventType, (event: EventRow) => string>();
  const make = (type: EventType) => {
    const facts = traces.get(type.traceId);
    const context: LineContext = {
      format: facts?.format ?? '',
      clockUnit: facts?.clockUnit ?? 'ns',
      hasLazyResched: facts?.hasLazyResched ?? true,
      nameWidth,
    };
    const printer = eventPrinter(type, style);
    const print = eventText(type, printer.text);
    const title = printer.title ? eventText(type, printer.title) : () => type.name;
    if (options.textOnly) return print;
    return (event: EventRow) => {
      const { tsNs, cpu, tid, flags } = event;
      const task = tasks(type.traceId, tid, tsNs);
      const { system } = type;
      const name = title(event);
      return formatLine(style, { tsNs, cpu, tid, flags, system, name, ...task, text: print(event) }, context, options);
    };
  };
  return (event) => {
    let write = writers.get(event.type);
    if (!write) writers.set(event.type, (write = make(event.type)));
    return write(event);
  };
}

/** The text of an event's own fields; one getter is made a tracepoint, not one an event. */
export function eventText(type: EventType, print: (get: FieldGetter) => string): (event: EventRow) => string {
  const places = new Map(type.fields.map((field, k) => [field.name, k]));
  let current: readonly Value[] = [];
  const get: FieldGetter = (name) => {
    const place = places.get(name);
    return place === undefined ? null : toFieldValue(current[place]);
  };
  return (event) => {
    current = event.values;
    return print(get);
  };
}

const EVIDENCE_LINE: LineOptions = { tgid: false, nanoseconds: false };

/**
 * The lines of the events with these keys, in their order. A key without an event gives an empty text (the position still
 * says where it was).
 */
export async function readEventLines(store: Store, keys: readonly EventKey[]): Promise<readonly EventLine[]> {
  if (keys.length === 0) return [];
  const traces = await readTraceFacts(store);
  const wanted = new Set(keys.map((key) => key.traceId));
  const types = (await readEventTypes(store)).filter((type) => wanted.has(type.traceId));
  const write = lineWriter(traces, types, await readTasks(store), 'kernel', EVIDENCE_LINE);
  const found = new Map<string, string>();
  const hits = await findTables(store, types, keys);
  for (const [index, own] of hits) {
    const type = types[index]!;
    const condition = `trace_id = ${type.traceId} AND (cpu, seq, ts_ns) IN (${own.join(', ')})`;
    const rows = await store.rows(`${selectColumns(type)} FROM "${type.tableName}" WHERE ${condition}`);
    for (const row of rows) {
      const event = toEventRow(type, row);
      found.set(keyText(type.traceId, event.cpu, event.seq, event.tsNs), write(event).trim());
    }
  }
  return keys.map((key) => ({
    position: positionText(traces.get(key.traceId)?.format ?? '', key),
    text: found.get(keyText(key.traceId, key.cpu, key.seq, key.tsNs)) ?? '',
  }));
}

function keyText(traceId: number, cpu: number, seq: bigint, tsNs: bigint): string {
  return `${traceId}/${cpu}/${seq}/${tsNs}`;
}

function positionText(format: string, key: EventKey): string {
  if (format === 'trace.dat') return `cpu ${key.cpu} byte ${key.seq}`;
  return format === 'perf.data' ? `byte ${key.seq}` : `line ${key.seq}`;
}

/** Which tracepoints hold the keys: type index → tuples of its keys. One query over the narrow common columns of all tables. */
async function findTables(
  store: Store,
  types: readonly EventType[],
  keys: readonly EventKey[],
): Promise<ReadonlyMap<number, readonly string[]>> {
  const hits = new Map<number, string[]>();
  if (types.length === 0) return hits;
  const tuples = [...new Set(keys.map((key) => `(${key.traceId}, ${key.cpu}, ${key.seq}, ${key.tsNs})`))];
  const parts = types.map(
    (type, k) =>
      `SELECT ${k} AS k, trace_id, cpu, seq, ts_ns FROM "${type.tableName}" WHERE trace_id = ${type.traceId}`,
  );
  // One join over all tables, not one a table: planning those takes longer than the search.
  const rows = await store.rows(`
    WITH wanted(trace_id, cpu, seq, ts_ns) AS (VALUES ${tuples.join(', ')})
    SELECT k, cpu, seq, ts_ns FROM (${parts.join(' UNION ALL ')}) JOIN wanted USING (trace_id, cpu, seq, ts_ns)
    ORDER BY k, ts_ns, cpu, seq`);
  for (const row of rows) {
    const k = num(row, 'k');
    const tuple = `(${num(row, 'cpu')}, ${big(row, 'seq')}, ${big(row, 'ts_ns')})`;
    const list = hits.get(k);
    if (list) list.push(tuple);
    else hits.set(k, [tuple]);
  }
  return hits;
}
