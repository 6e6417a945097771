/** Drives readers into the database: one table a tracepoint, and what the reader says of the trace at its end. */
import { TraceError } from '../base/errors.js';
import type { EventReader, EventSchema, LostStretch, ReadOptions, ReadSummary, TaskSighting } from '../parse/model.js';
import { openRowWriter, type RowValue } from './bulk.js';
import { sqlText, type Store } from './db.js';
import { EventTables } from './event-tables.js';
import { INPUT_TABLES } from './schema.js';
import { createTables } from './tables.js';

/** Largest trace_id (UTINYINT). */
const MAX_TRACES = 255;

export interface TraceInput extends Pick<ReadOptions, 'clock' | 'clockOffsetNs' | 'probes'> {
  /** As the user named it. */
  readonly path: string;
  readonly reader: EventReader;
  /** Of the file as it lies on disk (sha256.ts); null where it was not computed. */
  readonly sha256: string | null;
}

type InputRow = Readonly<Record<string, RowValue>>;

function writeRows(store: Store, table: string, rows: readonly InputRow[]): void {
  const definition = INPUT_TABLES.find((candidate) => candidate.name === table)!;
  const writer = openRowWriter(store, definition);
  for (const row of rows) writer.add(row);
  writer.close();
}

function sqlList(items: readonly string[] | null): string {
  return items === null ? 'NULL' : `[${items.map(sqlText).join(', ')}]::VARCHAR[]`;
}

/** Events known to be lost; null where any stretch has no count. */
export function totalLost(lost: readonly LostStretch[]): number | null {
  let sum = 0;
  for (const stretch of lost) {
    if (stretch.count === null) return null;
    sum += stretch.count;
  }
  return sum;
}

function traceSql(traceId: number, input: TraceInput, summary: ReadSummary, clockOffsetNs: bigint): string {
  const { meta } = summary;
  const lost = totalLost(summary.lost);
  const values = [
    traceId,
    sqlText(input.path),
    sqlText(input.sha256),
    sqlText(meta.format),
    sqlText(meta.version),
    sqlText(meta.kernel),
    sqlText(meta.arch),
    sqlText(meta.clock),
    sqlText(meta.clockUnit),
    meta.resolutionNs,
    clockOffsetNs,
    summary.firstNs ?? 'NULL',
    summary.lastNs ?? 'NULL',
    summary.events,
    lost ?? 'NULL',
    sqlText(meta.recorder),
    sqlText(meta.host),
    meta.cpus ?? 'NULL',
    sqlList(meta.enabledEvents),
    sqlList(meta.notes),
  ];
  return `INSERT INTO trace VALUES (${values.join(', ')})`;
}

function eventTypeSql(traceId: number, schema: EventSchema, table: string, rows: number): string {
  const fields = schema.fields.map(
    (field) =>
      `{name: ${sqlText(field.name)}, type: ${sqlText(field.type)}, c_type: ${sqlText(field.cType)}, radix: ${field.radix}}`,
  );
  const values = [
    traceId,
    sqlText(schema.system),
    sqlText(schema.name),
    sqlText(table),
    schema.id ?? 'NULL',
    `[${fields.join(', ')}]`,
    sqlText(schema.printFmt),
    sqlText(schema.formatSource),
    sqlText(schema.probe?.fn ?? null),
    schema.probe ? String(schema.probe.isReturn) : 'NULL',
    rows,
  ];
  return `(${values.join(', ')})`;
}

/** Sightings of one thread in order of time; each lasts until the next. */
function taskRows(traceId: number, tasks: readonly TaskSighting[]): InputRow[] {
  const startOf = (task: TaskSighting): bigint => task.fromNs ?? -(2n ** 63n);
  const sorted = [...tasks].sort(
    (a, b) => a.tid - b.tid || (startOf(a) < startOf(b) ? -1 : startOf(a) > startOf(b) ? 1 : 0),
  );
  return sorted.map((task, k) => {
    const next = sorted[k + 1];
    const until = next?.tid === task.tid ? next.fromNs : null;
    return { trace_id: traceId, tid: task.tid, tgid: task.tgid, comm: task.comm, from_ns: task.fromNs, to_ns: until };
  });
}

async function writeSummary(
  store: Store,
  tables: EventTables,
  traceId: number,
  input: TraceInput,
  summary: ReadSummary,
  clockOffsetNs: bigint,
): Promise<void> {
  const statements = [traceSql(traceId, input, summary, clockOffsetNs)];
  const types = summary.schemas.flatMap((schema) => {
    const written = tables.written(schema);
    return written ? [eventTypeSql(traceId, schema, written.table, written.rows)] : [];
  });
  if (types.length > 0) statements.push(`INSERT INTO event_type VALUES ${types.join(', ')}`);
  await store.run(statements.join(';\n'));
  const lost = summary.lost.map((l) => ({
    trace_id: traceId,
    cpu: l.cpu,
    from_ns: l.fromNs,
    to_ns: l.toNs,
    count: l.count,
    source: l.source,
  }));
  writeRows(store, 'lost', lost);
  writeRows(
    store,
    'skipped',
    summary.skipped.map((s) => ({ trace_id: traceId, ...s })),
  );
  writeRows(store, 'task', taskRows(traceId, summary.tasks));
}

/**
 * Reads one trace into the tables (createTables has made them) within the transaction that the caller has opened.
 * Throws TraceError: the reader's own, `cancelled`, `db`.
 */
export async function ingestTrace(
  store: Store,
  tables: EventTables,
  traceId: number,
  input: TraceInput,
  options: ReadOptions = {},
): Promise<ReadSummary> {
  const { clock, clockOffsetNs, probes } = input;
  const read: ReadOptions = {
    ...options,
    ...(clock === undefined ? {} : { clock }),
    ...(clockOffsetNs === undefined ? {} : { clockOffsetNs }),
    ...(probes === undefined ? {} : { probes }),
  };
  tables.startTrace(traceId);
  const summary = await input.reader.read((batch) => {
    if (read.signal?.aborted) throw new TraceError('cancelled', 'interrupted', { input: input.path });
    if (batch.length > 0) return tables.write(batch);
  }, read);
  tables.close();
  await writeSummary(store, tables, traceId, input, summary, read.clockOffsetNs ?? 0n);
  return summary;
}

/**
 * Reads all inputs into a new database, in one transaction: all or nothing. Trace ids are 1, 2, … in the order given.
 * Makes every table, the macros, and the view `event` over the common columns of all tracepoints.
 */
export async function ingestAll(
  store: Store,
  inputs: readonly TraceInput[],
  options: ReadOptions = {},
): Promise<ReadSummary[]> {
  if (inputs.length > MAX_TRACES) {
    throw new TraceError('usage', `${inputs.length} inputs: one analysis holds at most ${MAX_TRACES}`);
  }
  const tables = new EventTables(store);
  const summaries: ReadSummary[] = [];
  await store.run('BEGIN');
  try {
    await createTables(store);
    for (const [k, input] of inputs.entries()) {
      summaries.push(await ingestTrace(store, tables, k + 1, input, options));
    }
    await store.run(tables.eventViewSql());
    await store.run('COMMIT');
  } catch (error) {
    tables.discard();
    await store.run('ROLLBACK').catch(() => undefined);
    throw error;
  }
  return summaries;
}
