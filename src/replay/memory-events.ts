/**
 * Makes the table memory_event from the tracepoints' own tables by the vocabulary, and streams it in order.
 */
import { sqlText, type Store } from '../store/db.js';
import { streamColumns } from '../store/stream.js';
import { makeEvent, type MemoryEvent } from './event.js';
import type { ThreadCount } from './facts.js';
import { KIND, KINDS, PAYLOAD_COLUMNS } from './kinds.js';
import type { Lives } from './lives.js';
import { loadVocabulary, type EventTable, type Statement } from './vocabulary.js';

/** Kinds that count only for threads, files and pages that have to do with a VM: the rest of the host is noise. */
const OF_VM_THREADS = [
  KIND.ioctl_exit,
  KIND.fd_close,
  KIND.fallocate_enter,
  KIND.fallocate_exit,
  KIND.discard_enter,
  KIND.mmap_enter,
  KIND.mmap_exit,
  KIND.host_fault,
  KIND.switch_in,
  KIND.switch_out,
  KIND.task_exit,
  KIND.task_new,
];

/** Kinds that tie a page frame to guest memory. */
const NAMES_FRAME = [KIND.page_add, KIND.pfn_found, KIND.spte_requested];

/** Kinds that show that a thread has to do with a VM. */
const SHOWS_VM_THREAD = [
  KIND.guest_exit,
  KIND.guest_entry,
  KIND.user_exit,
  KIND.ioctl_enter,
  KIND.attr_event,
  KIND.vm_attr_call,
  KIND.gmem_attr_call,
  KIND.punch_call,
  KIND.gmem_create,
];

/**
 * Events of a trace from which on the rows of memory_event are collected before they are sorted: a sort that reads two
 * dozen tables itself runs out of memory at the default limit (DuckDB 1.5.6, 3 M rows), as fast as it is for fewer.
 */
const SORTED_AT_ONCE = 1_500_000;

/** The event tables that have rows, with what they are recognised by. */
export async function readEventTables(store: Store): Promise<EventTable[]> {
  const rows = await store.rows(`
    SELECT system, name, table_name, list_distinct(flatten(list(list_transform(fields, f -> f.name)))) AS fields,
      (SELECT coalesce(list(column_name), []) FROM duckdb_columns() c
        WHERE c.table_name = event_type.table_name AND data_type = 'VARCHAR') AS texts,
      max(probe_fn) AS probe_fn, max(probe_return) AS probe_return, sum(rows)::DOUBLE AS rows
    FROM event_type GROUP BY ALL HAVING sum(rows) > 0 ORDER BY system, name`);
  return rows.map((row) => ({
    system: row['system'] as string,
    name: row['name'] as string,
    table: row['table_name'] as string,
    fields: row['fields'] as string[],
    texts: new Set(row['texts'] as string[]),
    probeFn: row['probe_fn'] as string | null,
    isReturn: row['probe_return'] as boolean | null,
    rows: row['rows'] as number,
  }));
}

/** Columns come as the typed array of their DuckDB type. */
type NumberColumn = Float64Array | Int32Array | Uint16Array | Uint8Array;

const COLUMNS = ['kind', 'trace_id', 'ts_ns', 'cpu', 'tid', 'seq', ...PAYLOAD_COLUMNS];

function emptySelect(): string {
  const payload = PAYLOAD_COLUMNS.map((name) => `NULL::DOUBLE AS ${name}`).join(', ');
  return `SELECT 0::UTINYINT AS kind, 0::UTINYINT AS trace_id, 0::BIGINT AS ts_ns, 0::USMALLINT AS cpu, 0::INTEGER AS tid, 0::BIGINT AS seq, ${payload} WHERE false`;
}

/** The statements' SELECTs of some kinds as one; null where none of them has a source. */
function unionOf(statements: readonly Statement[], kinds: readonly number[]): string | null {
  const selects = statements.flatMap((s) => (s.sql !== null && kinds.includes(KIND[s.kind]) ? [s.sql] : []));
  return selects.length === 0 ? null : selects.join('\nUNION ALL BY NAME ');
}

/** A SELECT with the rows left out that have nothing to do with a VM. */
function relevant(statement: Statement): string {
  const kind = KIND[statement.kind];
  if (OF_VM_THREADS.includes(kind))
    return `SELECT * FROM (${statement.sql}) WHERE (trace_id, tid) IN (SELECT (trace_id, tid) FROM vm_task)`;
  if (kind === KIND.page_ref) return `SELECT * FROM (${statement.sql}) WHERE value IN (SELECT pfn FROM vm_frame)`;
  return statement.sql!;
}

async function findVmTasks(store: Store, statements: readonly Statement[]): Promise<void> {
  const shows = unionOf(statements, SHOWS_VM_THREAD) ?? emptySelect();
  const made = unionOf(statements, [KIND.task_new]) ?? emptySelect();
  await store.run(`CREATE OR REPLACE TEMP TABLE vm_task AS
    WITH seen AS (SELECT DISTINCT trace_id, tid FROM (${shows})),
      tgids AS (SELECT DISTINCT t.trace_id, t.tgid FROM task t JOIN seen USING (trace_id, tid) WHERE t.tgid IS NOT NULL)
    SELECT trace_id, tid FROM seen UNION SELECT t.trace_id, t.tid FROM task t JOIN tgids USING (trace_id, tgid)
    UNION SELECT n.trace_id, n.tid FROM (${made}) n JOIN seen s ON s.trace_id = n.trace_id AND s.tid = n.extra`);
}

async function findVmFrames(store: Store, statements: readonly Statement[]): Promise<void> {
  if (unionOf(statements, [KIND.page_ref]) === null) return;
  const frames = unionOf(statements, NAMES_FRAME) ?? emptySelect();
  const donated = unionOf(statements, [KIND.donate, KIND.hyp_donate]) ?? emptySelect();
  await store.run(`CREATE OR REPLACE TEMP TABLE vm_frame AS
    SELECT DISTINCT value AS pfn FROM (${frames}) UNION SELECT DISTINCT floor(value / 4096) FROM (${donated})`);
}

/**
 * Builds memory_event; gives the vocabulary's statements, so that what is missing can be said. Its rows are in
 * order of time: DuckDB sorts them out of core, once, before the replay needs memory, and a SELECT without ORDER BY keeps
 * the order of the table (preserve_insertion_order).
 */
export async function buildMemoryEvents(store: Store): Promise<Statement[]> {
  const tables = await readEventTables(store);
  const statements = loadVocabulary(tables);
  const collected = tables.reduce((sum, table) => sum + table.rows, 0) > SORTED_AT_ONCE ? 'TABLE' : 'VIEW';
  await store.run(
    'CREATE OR REPLACE MACRO pages(n) AS TRY_CAST(n AS DOUBLE) * 4096; DROP TABLE IF EXISTS memory_event',
  );
  await findVmTasks(store, statements);
  await findVmFrames(store, statements);
  const selects = statements.flatMap((s) => (s.sql === null ? [] : [relevant(s)]));
  const names = KINDS.map(sqlText).join(', ');
  await store.run(`
    CREATE TEMP ${collected} collected AS SELECT ${COLUMNS.join(', ')}
      FROM (${[emptySelect(), ...selects].join('\nUNION ALL BY NAME ')});
    CREATE TABLE memory_event AS FROM collected ORDER BY ts_ns, cpu, seq;
    DROP ${collected} collected; DROP TABLE vm_task; DROP TABLE IF EXISTS vm_frame;
    CREATE OR REPLACE VIEW memory_event_named AS SELECT * REPLACE (([${names}])[kind + 1] AS kind) FROM memory_event`);
  return statements;
}

/** The least stamp of the analysis, ns; times inside the replay are relative to it. */
export async function readBaseNs(store: Store): Promise<bigint> {
  const rows = await store.rows('SELECT min(first_ns) AS base FROM trace');
  return (rows[0]?.['base'] as bigint | null) ?? 0n;
}

/** How many events of each kind each thread has, by vcpu_id, in order of the thread's first event. */
export async function countThreads(store: Store, baseNs: bigint, lives: Lives): Promise<ThreadCount[]> {
  const reused = lives.reused.length > 0 ? `tid IN (${lives.reused.join(', ')})` : 'false';
  const rows = await store.rows(`
    SELECT tid, kind, coalesce(vcpu, 'nan'::DOUBLE) AS vcpu, count(*)::DOUBLE AS n, (min(ts_ns) - ${baseNs})::DOUBLE AS first_ts
    FROM memory_event WHERE NOT (${reused}) GROUP BY tid, kind, vcpu`);
  const counts: ThreadCount[] = rows.map((r) => ({
    tid: r['tid'] as number,
    kind: r['kind'] as number,
    vcpu: r['vcpu'] as number,
    count: r['n'] as number,
    firstTs: r['first_ts'] as number,
  }));
  // The lives of one number are told apart event by event.
  if (lives.reused.length > 0) {
    await forEachMemoryEvent(
      store,
      { baseNs, lives },
      ({ tid, kind, vcpu, ts: firstTs }) => void counts.push({ tid, kind, vcpu, count: 1, firstTs }),
      { where: reused },
    );
  }
  return counts.sort((a, b) => a.firstTs - b.firstTs || a.tid - b.tid || a.kind - b.kind || a.vcpu - b.vcpu);
}

/** What a stream of memory events is read with: the analysis' start, and which thread a number was when. */
export interface EventFrame {
  readonly baseNs: bigint;
  readonly lives: Lives;
}

/**
 * Calls `visit` with every memory event in order (those of `where` only); the event object is filled anew each time.
 * Threads are named by their keys (lives.ts).
 */
export async function forEachMemoryEvent(
  store: Store,
  { baseNs, lives }: EventFrame,
  visit: (ev: MemoryEvent) => void,
  options: { readonly where?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const ev = makeEvent();
  const isReused = lives.reused.length > 0;
  const payload = PAYLOAD_COLUMNS.map((name) => `coalesce(${name}, 'nan'::DOUBLE)`).join(', ');
  const sql = `SELECT kind, trace_id, (ts_ns - ${baseNs})::DOUBLE, cpu, tid, seq::DOUBLE, ${payload}
    FROM memory_event ${options.where ? `WHERE ${options.where}` : ''}`;
  for await (const chunk of streamColumns(store, sql)) {
    options.signal?.throwIfAborted();
    const c = chunk.columns as readonly NumberColumn[];
    for (let i = 0; i < chunk.rows; i++) {
      ev.kind = c[0]![i]!;
      ev.traceId = c[1]![i]!;
      ev.ts = c[2]![i]!;
      ev.cpu = c[3]![i]!;
      ev.tid = c[4]![i]!;
      ev.seq = c[5]![i]!;
      ev.vmKey = c[6]![i]!;
      ev.vcpu = c[7]![i]!;
      ev.inode = c[8]![i]!;
      ev.fd = c[9]![i]!;
      ev.address = c[10]![i]!;
      ev.size = c[11]![i]!;
      ev.value = c[12]![i]!;
      ev.extra = c[13]![i]!;
      ev.result = c[14]![i]!;
      if (isReused) nameByKeys(ev, lives);
      visit(ev);
    }
  }
}

function nameByKeys(ev: MemoryEvent, lives: Lives): void {
  ev.tid = lives.keyOf(ev.tid, ev.ts);
  const { kind } = ev;
  // who made it, and the vCPU's thread
  if (kind === KIND.task_new || kind === KIND.hyp_enter || kind === KIND.hyp_exit)
    ev.extra = lives.keyOf(ev.extra, ev.ts);
}
