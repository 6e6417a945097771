/** Events out of a database: in order, in bounded memory, or a few by their keys as the evidence of findings. */
import { TraceError } from '../../base/errors.js';
import { singleSelect, sqlText, type Store } from '../../store/db.js';
import { big, num, textOrNull } from '../rows.js';
import { selectColumns, toEventRow, type EventRow } from './rows.js';
import { readTasks, type TaskLookup } from './tasks.js';
import { readEventTypes, type EventType } from './types.js';

export { readEventLines, type EventKey, type EventLine } from './lines.js';

export interface EventQuery {
  /** Patterns with `*` and `?` of event names, or of `system:name`; empty = all. */
  readonly events?: readonly string[];
  readonly systems?: readonly string[];
  /** Thread ids or names (patterns). */
  readonly tasks?: readonly string[];
  readonly cpus?: readonly number[];
  /** Half-open range of stamps, ns. */
  readonly fromNs?: bigint | null;
  readonly toNs?: bigint | null;
  /** SQL condition on an event's columns, `system` and `event`. */
  readonly where?: string | null;
}

/** The tracepoints that a query selects, with what is needed to read them. */
export interface EventSelection {
  readonly types: readonly EventType[];
  readonly condition: string;
  readonly where: string | null;
  readonly tasks: TaskLookup;
  readonly isTask: (row: EventRow) => boolean;
  readonly isCpu: (cpu: number) => boolean;
  readonly isAfterStart: (tsNs: bigint) => boolean;
}

/** A `*` and `?` pattern as a regular expression over the whole name. */
export function globPattern(glob: string): RegExp {
  const body = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${body}$`);
}

/**
 * Finds what a query selects. Throws TraceError('usage') where a pattern matches no event of the traces, or where `where`
 * is wrong for every event (events that lack its columns are left out).
 */
export async function selectEvents(store: Store, query: EventQuery): Promise<EventSelection> {
  const tasks = await readTasks(store);
  let types = await readEventTypes(store);
  types = filterNames(types, query.systems ?? [], 'system', (type) => [type.system]);
  types = filterNames(types, query.events ?? [], 'event', (type) => [type.name, `${type.system}:${type.name}`]);
  const where = query.where ?? null;
  if (where !== null) types = await filterByWhere(store, types, where);
  const conditions: string[] = [];
  if (query.cpus && query.cpus.length > 0) conditions.push(`cpu IN (${query.cpus.join(', ')})`);
  if (query.fromNs != null) conditions.push(`ts_ns >= ${query.fromNs}`);
  if (query.toNs != null) conditions.push(`ts_ns < ${query.toNs}`);
  const wanted = query.tasks ?? [];
  if (wanted.length > 0) conditions.push(await taskCondition(store, wanted));
  const cpus = query.cpus ?? [];
  const fromNs = query.fromNs ?? null;
  return {
    types,
    condition: conditions.join(' AND '),
    where,
    tasks,
    isTask: taskFilter(wanted, tasks),
    isCpu: (cpu) => cpus.length === 0 || cpus.includes(cpu),
    isAfterStart: (tsNs) => fromNs === null || tsNs >= fromNs,
  };
}

function filterNames(
  types: readonly EventType[],
  globs: readonly string[],
  what: string,
  namesOf: (type: EventType) => readonly string[],
): readonly EventType[] {
  if (globs.length === 0) return types;
  const patterns = globs.map(globPattern);
  const known = [...new Set(types.map((type) => namesOf(type).at(-1)!))];
  patterns.forEach((pattern, k) => {
    if (types.some((type) => namesOf(type).some((name) => pattern.test(name)))) return;
    const hint =
      known.length === 0
        ? 'there are none'
        : `there are: ${known.slice(0, 40).join(', ')}${known.length > 40 ? ', …' : ''}`;
    throw new TraceError('usage', `no ${what} matches "${globs[k]!}"`, { hint });
  });
  return types.filter((type) => namesOf(type).some((name) => patterns.some((pattern) => pattern.test(name))));
}

async function filterByWhere(store: Store, types: readonly EventType[], where: string): Promise<readonly EventType[]> {
  const kept: EventType[] = [];
  let refusal: TraceError | null = null;
  for (const type of types) {
    try {
      await singleSelect(store, `SELECT 1 FROM (${sourceOf(type)}) WHERE (${where}\n)`);
      kept.push(type);
    } catch (error) {
      if (!(error instanceof TraceError) || error.code !== 'usage') throw error;
      if (!/Referenced column/.test(error.message)) throw new TraceError('usage', `--where: ${error.message}`);
      refusal = error;
    }
  }
  if (kept.length === 0 && refusal) {
    const hint = 'columns are ts_ns, cpu, tid, seq, flags, system, event and the fields of the event';
    throw new TraceError('usage', `--where: no event has all its columns: ${refusal.message}`, { hint });
  }
  return kept;
}

function sourceOf(type: EventType): string {
  const names = `${sqlText(type.system)} AS system, ${sqlText(type.name)} AS event`;
  return `SELECT *, ${names} FROM "${type.tableName}" WHERE trace_id = ${type.traceId}`;
}

function isTid(task: string): boolean {
  return /^\d+$/.test(task);
}

async function taskCondition(store: Store, wanted: readonly string[]): Promise<string> {
  const tids = new Set(wanted.filter(isTid).map(Number));
  const patterns = wanted.filter((task) => !isTid(task)).map(globPattern);
  if (patterns.length > 0) {
    if (patterns.some((pattern) => pattern.test('<idle>'))) tids.add(0);
    const rows = await store.rows('SELECT DISTINCT tid, comm FROM task ORDER BY tid, comm');
    for (const row of rows) {
      if (patterns.some((pattern) => pattern.test(textOrNull(row, 'comm') ?? ''))) tids.add(num(row, 'tid'));
    }
  }
  return tids.size === 0 ? 'false' : `tid IN (${[...tids].join(', ')})`;
}

/** A thread changes its name: those found by name are kept only while they have it. */
function taskFilter(wanted: readonly string[], tasks: TaskLookup): (row: EventRow) => boolean {
  const patterns = wanted.filter((task) => !isTid(task)).map(globPattern);
  if (patterns.length === 0) return () => true;
  const tids = new Set(wanted.filter(isTid).map(Number));
  return (row) => {
    if (tids.has(row.tid)) return true;
    const { comm } = tasks(row.type.traceId, row.tid, row.tsNs);
    return comm !== null && patterns.some((pattern) => pattern.test(comm));
  };
}

/** Events that are read and sorted at once. */
const WINDOW_EVENTS = 32_768;
const WINDOW_BUCKETS = 512n;

interface Window {
  readonly fromNs: bigint;
  readonly toNs: bigint;
  /** Indexes of the types that have events in it. */
  readonly types: readonly number[];
}

/**
 * Yields the selected events in order of (ts_ns, cpu, seq, trace), some ten thousand at a time, with a memory that does not
 * depend on how many there are.
 */
export async function* readEvents(
  store: Store,
  selection: EventSelection,
): AsyncGenerator<readonly EventRow[], void, void> {
  const span = await readSpan(store, selection);
  if (!span) return;
  for await (const window of windows(store, selection, span.fromNs, span.toNs)) {
    const rows: EventRow[] = [];
    for (const index of window.types) {
      await readType(store, selection, selection.types[index]!, window, rows);
    }
    rows.sort(compareRows);
    yield rows;
  }
}

/** Number of selected events by type, in the order of `selection.types`. */
export async function countEvents(store: Store, selection: EventSelection): Promise<readonly number[]> {
  const counts: number[] = [];
  for (const type of selection.types) {
    const [row] = await store.rows(`SELECT count(*) AS n FROM ${filtered(selection, type)}`);
    counts.push(num(row!, 'n'));
  }
  return counts;
}

function filtered(selection: EventSelection, type: EventType, window?: Window): string {
  const conditions = [
    selection.condition,
    selection.where === null ? '' : `(${selection.where}\n)`,
    window ? `ts_ns >= ${window.fromNs} AND ts_ns < ${window.toNs}` : '',
  ].filter((condition) => condition !== '');
  return `(${sourceOf(type)}) WHERE ${conditions.length === 0 ? 'true' : conditions.join(' AND ')}`;
}

async function readSpan(store: Store, selection: EventSelection): Promise<{ fromNs: bigint; toNs: bigint } | null> {
  let from: bigint | null = null;
  let to: bigint | null = null;
  for (const type of selection.types) {
    const [row] = await store.rows(`SELECT min(ts_ns) AS a, max(ts_ns) AS b FROM ${filtered(selection, type)}`);
    const first = row?.['a'];
    const last = row?.['b'];
    if (typeof first !== 'bigint' || typeof last !== 'bigint') continue;
    if (from === null || first < from) from = first;
    if (to === null || last > to) to = last;
  }
  return from === null || to === null ? null : { fromNs: from, toNs: to + 1n };
}

/** Cuts a time span so that no window holds many more events than WINDOW_EVENTS (but for those of one nanosecond). */
async function* windows(store: Store, selection: EventSelection, fromNs: bigint, toNs: bigint): AsyncGenerator<Window> {
  const step = (toNs - fromNs + WINDOW_BUCKETS - 1n) / WINDOW_BUCKETS;
  const whole: Window = { fromNs, toNs, types: [] };
  const parts = selection.types.map(
    (type, k) => `SELECT ${k} AS k, (ts_ns - ${fromNs}) // ${step} AS b, count(*) AS n
      FROM ${filtered(selection, type, whole)} GROUP BY b`,
  );
  const counts = await store.rows(`SELECT * FROM (${parts.join(' UNION ALL ')}) ORDER BY b, k`);
  let open: { first: bigint; next: bigint; events: number; types: Set<number> } | null = null;
  const close = (): Window => {
    const { first, next, types } = open!;
    open = null;
    const end = fromNs + next * step;
    return { fromNs: fromNs + first * step, toNs: end < toNs ? end : toNs, types: [...types].sort((a, b) => a - b) };
  };
  for (let at = 0; at < counts.length;) {
    const bucket = big(counts[at]!, 'b');
    const types: number[] = [];
    let events = 0;
    for (; at < counts.length && big(counts[at]!, 'b') === bucket; at++) {
      types.push(num(counts[at]!, 'k'));
      events += num(counts[at]!, 'n');
    }
    if (open && open.events + events > WINDOW_EVENTS) yield close();
    if (events > WINDOW_EVENTS && step > 1n) {
      const end = fromNs + (bucket + 1n) * step;
      yield* windows(store, selection, fromNs + bucket * step, end < toNs ? end : toNs);
      continue;
    }
    open ??= { first: bucket, next: bucket, events: 0, types: new Set() };
    open.next = bucket + 1n;
    open.events += events;
    for (const type of types) open.types.add(type);
  }
  if (open) yield close();
}

async function readType(
  store: Store,
  selection: EventSelection,
  type: EventType,
  window: Window,
  into: EventRow[],
): Promise<void> {
  const rows = await store.rows(`${selectColumns(type)} FROM ${filtered(selection, type, window)}`);
  for (const row of rows) {
    const event = toEventRow(type, row);
    if (selection.isTask(event)) into.push(event);
  }
}

function compareRows(a: EventRow, b: EventRow): number {
  if (a.tsNs !== b.tsNs) return a.tsNs < b.tsNs ? -1 : 1;
  if (a.cpu !== b.cpu) return a.cpu - b.cpu;
  if (a.seq !== b.seq) return a.seq < b.seq ? -1 : 1;
  return a.type.traceId - b.type.traceId;
}
