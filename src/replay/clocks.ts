/**
 * One time axis for the host's trace and the hypervisor's buffer. The hypervisor stamps with the host's boot clock
 * (arch/arm64/kvm/hyp_trace.c); a host trace with another clock is lined up by what both saw: each KVM_RUN is a
 * kvm_entry of the host and, microseconds later, a `hvc → eret_guest` of the hypervisor for the same thread.
 */
import { eventTableName } from '../store/schema.js';
import { sqlText, type Store } from '../store/db.js';

/** enum hyp_enter_exit_reason (arch/arm64/include/asm/kvm_hypevents.h). */
const HVC = 1;
const ERET_GUEST = 7;

/** Entries of one thread that are compared with each other: enough to tell, little to compute. */
const MOST_ENTRIES = 600;
const BUCKET_NS = 1_000_000;
/** An entry of the guest comes at most this long after the host's tracepoint. */
const LATEST_NS = 5_000_000;
/** Most come within this time of each other. */
const USUAL_NS = 200_000;
const FEWEST = 3;
/** Part of the entries that must agree on an offset. */
const SHARE = 0.6;
/** An offset with this part of the best one's agreement makes the best one doubtful. */
const RIVAL = 0.8;

/** The stamps of one thread's entries into the guest as each side has them, ns, sorted. */
export interface Entries {
  readonly hyp: readonly number[];
  readonly host: readonly number[];
}

/**
 * The first entries of each thread. With `together` only those of the time that both recordings cover, should their
 * clocks be one: recordings begin and end at different times.
 */
async function readEntries(store: Store, hypTrace: number, hostTrace: number, together: boolean): Promise<Entries[]> {
  const enter = eventTableName('hypervisor', 'hyp_enter');
  const exit = eventTableName('hypervisor', 'hyp_exit');
  const span = `(SELECT max(first_ns) FROM trace WHERE trace_id IN (${hypTrace}, ${hostTrace})) - ${LATEST_NS}
    AND (SELECT min(last_ns) FROM trace WHERE trace_id IN (${hypTrace}, ${hostTrace})) + ${LATEST_NS}`;
  const within = together ? `AND ts_ns BETWEEN ${span}` : '';
  const rows = await store.rows(`
    WITH edges AS (
      SELECT ts_ns, cpu, seq, reason, NULL AS vcpu FROM "${enter}" WHERE trace_id = ${hypTrace}
      UNION ALL SELECT ts_ns, cpu, seq, reason, vcpu FROM "${exit}" WHERE trace_id = ${hypTrace}
    ), hyp AS (
      SELECT ts_ns, vcpu AS tid FROM (SELECT *, lag(reason) OVER (PARTITION BY cpu ORDER BY ts_ns, seq) AS before FROM edges)
      WHERE reason = ${ERET_GUEST} AND before = ${HVC} AND vcpu > 0 ${within}
      QUALIFY row_number() OVER (PARTITION BY vcpu ORDER BY ts_ns, seq) <= ${MOST_ENTRIES}
    ), host AS (
      SELECT ts_ns, tid FROM "${eventTableName('kvm', 'kvm_entry')}" WHERE trace_id = ${hostTrace} ${within}
      QUALIFY row_number() OVER (PARTITION BY tid ORDER BY ts_ns, seq) <= ${MOST_ENTRIES}
    )
    SELECT tid, list(DISTINCT h.ts_ns ORDER BY h.ts_ns) AS hyp, list(DISTINCT o.ts_ns ORDER BY o.ts_ns) AS host
    FROM hyp h JOIN host o USING (tid) GROUP BY tid ORDER BY tid`);
  const numbers = (list: unknown): number[] => (list as bigint[]).map(Number);
  return rows.map((row) => ({ hyp: numbers(row['hyp']), host: numbers(row['host']) }));
}

/** Differences hypervisor − host of all entries of a thread with each other, ns, sorted. */
function differencesOf(threads: readonly Entries[]): Float64Array {
  const all = threads.flatMap(({ hyp, host }) => hyp.flatMap((a) => host.map((b) => a - b)));
  return Float64Array.from(all).sort();
}

/** How many entries must agree on an offset. */
function enough(threads: readonly Entries[]): number {
  const possible = threads.reduce((sum, { hyp, host }) => sum + Math.min(hyp.length, host.length), 0);
  return Math.max(FEWEST, possible * SHARE);
}

/** How many entries of the host have one of the hypervisor's of their own, if that is `offset` ns later. */
function countMatches(threads: readonly Entries[], offset: number): number {
  let matches = 0;
  for (const { hyp, host } of threads) {
    let next = 0;
    for (const ts of host) {
      while (next < hyp.length && hyp[next]! < ts + offset - BUCKET_NS) next++;
      if (next < hyp.length && hyp[next]! <= ts + offset + LATEST_NS) {
        matches++;
        next++;
      }
    }
  }
  return matches;
}

/** The window that holds most differences: its start and how many it holds. */
function densest(differences: Float64Array, width: number): { start: number; count: number } {
  let best = { start: NaN, count: 0 };
  let end = 0;
  for (let from = 0; from < differences.length; from++) {
    while (end < differences.length && differences[end]! - differences[from]! <= width) end++;
    if (end - from > best.count) best = { start: differences[from]!, count: end - from };
  }
  return best;
}

/** Whether the stamps fit as they are. */
export function isAligned(threads: readonly Entries[]): boolean {
  return countMatches(threads, 0) >= enough(threads);
}

/**
 * ns to add to the hypervisor's stamps, null where the two do not tell: too few entries agree on one offset, or nearly
 * as many agree on another (a guest that enters by the beat of a timer).
 */
export function findOffset(threads: readonly Entries[]): number | null {
  const differences = differencesOf(threads);
  const offset = densest(differences, USUAL_NS).start;
  const agree = countMatches(threads, offset);
  if (!(agree >= enough(threads))) return null;
  const others = [
    differences.filter((d) => d < offset - 2 * LATEST_NS),
    differences.filter((d) => d > offset + 2 * LATEST_NS),
  ];
  const rivals = others.map((far) => countMatches(threads, densest(far, USUAL_NS).start));
  return rivals.some((rival) => rival > agree * RIVAL) ? null : -offset;
}

async function shift(store: Store, traceId: number, offsetNs: number): Promise<void> {
  const tables = await store.rows(
    `SELECT DISTINCT table_name FROM event_type WHERE trace_id = ${traceId} AND rows > 0 ORDER BY table_name`,
  );
  const by = `${offsetNs}::BIGINT`;
  for (const row of tables)
    await store.run(`UPDATE "${row['table_name'] as string}" SET ts_ns = ts_ns + ${by} WHERE trace_id = ${traceId}`);
  for (const table of ['lost', 'task'])
    await store.run(`UPDATE ${table} SET from_ns = from_ns + ${by}, to_ns = to_ns + ${by} WHERE trace_id = ${traceId}`);
  await store.run(`UPDATE trace SET first_ns = first_ns + ${by}, last_ns = last_ns + ${by},
    clock_offset_ns = clock_offset_ns + ${by} WHERE trace_id = ${traceId}`);
}

async function addNote(store: Store, traceId: number, note: string): Promise<void> {
  await store.run(`UPDATE trace SET notes = list_append(notes, ${sqlText(note)}) WHERE trace_id = ${traceId}`);
}

async function alignWith(store: Store, hyp: number, host: { id: number; path: string }): Promise<boolean> {
  if (isAligned(await readEntries(store, hyp, host.id, true))) return true;
  const threads = await readEntries(store, hyp, host.id, false);
  if (threads.length === 0) return false;
  const offset = findOffset(threads);
  if (offset === null) {
    await addNote(store, hyp, `its entries into guests do not match those of ${host.path}: times are left as they are`);
    return false;
  }
  await shift(store, hyp, offset);
  await addNote(
    store,
    hyp,
    `stamps were moved by ${offset} ns so that entries into guests follow those of ${host.path}`,
  );
  return true;
}

/**
 * Lines hypervisor texts up with the host's trace where their clocks differ. What a user gave as offset stays; so does
 * a host trace with the boot clock, which is the hypervisor's own. Says what it did in trace.notes.
 */
export async function alignHypervisorClocks(store: Store): Promise<void> {
  const traces = await store.rows(`SELECT trace_id, path, clock, clock_offset_ns,
      trace_id IN (SELECT trace_id FROM event_type WHERE system = 'hypervisor' AND name = 'hyp_exit' AND rows > 0) AS is_hyp,
      trace_id IN (SELECT trace_id FROM event_type WHERE system = 'kvm' AND name = 'kvm_entry' AND rows > 0) AS is_host
    FROM trace ORDER BY trace_id`);
  const hosts = traces.filter((t) => t['is_host'] === true);
  for (const trace of traces) {
    if (trace['is_hyp'] !== true || trace['is_host'] === true || trace['clock_offset_ns'] !== 0n) continue;
    for (const host of hosts) {
      if (host['clock'] === 'boot' && host['clock_offset_ns'] === 0n) break;
      const found = { id: host['trace_id'] as number, path: host['path'] as string };
      if (await alignWith(store, trace['trace_id'] as number, found)) break;
    }
  }
}
