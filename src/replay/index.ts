/**
 * The replay: stored events → memory events (vocabulary) → who is who (first pass) → state, conversions, references,
 * reboots (second pass) → result tables. Run on a store that an import has filled; runs again from scratch each time.
 */
import { alignHypervisorClocks } from './clocks.js';
import { runAtOnce, type Store } from '../store/db.js';
import { createTableSql, RESULT_TABLES } from '../store/schema.js';
import type { MemoryEvent } from './event.js';
import { COLLECTED_KINDS, makeFactCollector, type Facts, type InPlaceIoctl } from './facts.js';
import { createExitView } from './exit-view.js';
import { settleIdentity, type Identity } from './identity.js';
import { KIND } from './kinds.js';
import { readLives, type Lives } from './lives.js';
import { followLosses } from './losses.js';
import { finishReplay, step, taint, taintEl2 } from './machine.js';
import { buildMemoryEvents, countThreads, forEachMemoryEvent, readBaseNs } from './memory-events.js';
import { closeSpill } from './paged-rows.js';
import type { TaskFacts } from './processes.js';
import { makeReferences, type References } from './references.js';
import { makeReplay, type LostSpan, type Replay, type Sources } from './state.js';
import { readTasks } from './tasks.js';
import type { Statement } from './vocabulary.js';
import { forgetGaps, writeGaps } from './write-gaps.js';
import { writeResults } from './write.js';

export interface ReplayOptions {
  readonly signal?: AbortSignal;
}

/** What the recording can show, by the vocabulary's sources that exist and the kinds that came. */
function settleSources(
  statements: readonly Statement[],
  seen: ReadonlySet<number>,
  inPlaceBy: Sources['inPlaceBy'],
  { isArm, sharedInodes }: Pick<Sources, 'isArm' | 'sharedInodes'>,
): Sources {
  const has = (source: string): boolean => statements.some((s) => s.source === source && s.sql !== null);
  const came = (kind: keyof typeof KIND): boolean => seen.has(KIND[kind]);
  return {
    ioctls: came('ioctl_enter'),
    ioctlExits: came('ioctl_exit'),
    attrEvents: came('attr_event'),
    vmAttrRet: came('vm_attr_ret'),
    gmemAttrProbe: came('gmem_attr_call'),
    gmemAttrRet: came('gmem_attr_ret'),
    bindRet: came('bind_ret'),
    inPlaceBy,
    guestExits: came('guest_exit'),
    guestEntries: came('guest_entry'),
    hypercalls: came('hypercall'),
    guestFaults: came('guest_fault'),
    userExits: came('user_exit'),
    pageRefs: came('page_ref'),
    spteRequested: came('spte_requested'),
    fallocate: came('fallocate_exit'),
    switches: has('event sched.sched_switch'),
    isArm,
    sharedInodes,
    hypPages: came('hyp_hvc') || came('hyp_share') || came('hyp_unshare'),
    donateRet: came('donate_ret'),
    hostReclaims: came('host_reclaim'),
    hostReclaimRet: came('host_reclaim_ret'),
  };
}

/** The series that converts in place, by its ioctls on descriptors of guest_memfds, or by a probe inside. */
function settleSeries({ inPlace, showsInPlace }: Facts, identity: Identity): Sources['inPlaceBy'] {
  const isOfGmem = ({ tid, fd, ts }: InPlaceIoctl): boolean => identity.fdOf(tid, fd, ts)?.record.what === 'gmem';
  const seen = inPlace.filter(isOfGmem).map(({ series }) => series);
  if (seen.includes('convert')) return 'convert';
  return showsInPlace || seen.length > 0 ? 'attributes' : null;
}

async function readLost(store: Store, baseNs: bigint): Promise<LostSpan[]> {
  const rows = await store.rows(
    `SELECT trace_id IN (SELECT trace_id FROM event_type WHERE rows > 0 AND system = 'hypervisor') AS el2,
      trace_id IN (SELECT trace_id FROM event_type WHERE rows > 0 AND system <> 'hypervisor') AS host,
      cpu, coalesce((from_ns - ${baseNs})::DOUBLE, '-inf'::DOUBLE) AS from_ns,
      coalesce((to_ns - ${baseNs})::DOUBLE, 'inf'::DOUBLE) AS to_ns, coalesce(count::DOUBLE, 'inf'::DOUBLE) AS count
     FROM lost WHERE from_ns IS NOT NULL OR to_ns IS NOT NULL ORDER BY to_ns, from_ns, cpu`,
  );
  return rows.map((r) => ({
    side: r['el2'] !== true ? 'host' : r['host'] === true ? 'both' : 'el2',
    cpu: r['cpu'] as number | null,
    from: r['from_ns'] as number,
    to: r['to_ns'] as number,
    count: r['count'] as number,
  }));
}

/** Numbers of inodes that the page cache has of more than one device. */
async function readSharedInodes(store: Store): Promise<ReadonlySet<number>> {
  const rows = await store.rows(`SELECT inode FROM memory_event WHERE kind IN (${KIND.page_add}, ${KIND.page_delete})
    GROUP BY inode HAVING count(DISTINCT extra) > 1`);
  return new Set(rows.map((row) => row['inode'] as number));
}

/** By what the file says of its machine, else by events that only arm64's KVM has (arch/arm64/kvm/trace_arm.h). */
async function readIsArm(store: Store): Promise<boolean> {
  const rows = await store.rows(
    `SELECT count(*) FILTER (arch IN ('aarch64', 'arm64')) > 0
      OR (SELECT count(*) FROM event_type, unnest(fields) AS f(field)
          WHERE name IN ('kvm_exit', 'kvm_entry') AND field.name = 'vcpu_pc' AND rows > 0) > 0
      OR (SELECT count(*) FROM event_type WHERE rows > 0 AND (system = 'hypervisor'
          OR name IN ('kvm_guest_fault', 'kvm_hvc_arm64', 'kvm_wfx_arm64', 'kvm_arm_set_dreg32'))) > 0 AS arm FROM trace`,
  );
  return rows[0]?.['arm'] === true;
}

/** What is settled before the second pass: who is who, and what the recording can show. */
export interface Prepared {
  readonly statements: readonly Statement[];
  readonly baseNs: bigint;
  readonly lives: Lives;
  readonly tasks: TaskFacts;
  readonly facts: Facts;
  readonly identity: Identity;
  readonly sources: Sources;
  readonly lost: readonly LostSpan[];
}

/** Builds memory_event and runs the first pass over it. */
export async function prepareReplay(store: Store, { signal }: ReplayOptions = {}): Promise<Prepared> {
  await forgetGaps(store);
  const tables = RESULT_TABLES.map((table) => `DROP TABLE IF EXISTS "${table.name}"; ${createTableSql(table)}`);
  await runAtOnce(store, tables.join('; '));
  await alignHypervisorClocks(store);
  const statements = await buildMemoryEvents(store);
  const baseNs = await readBaseNs(store);
  const lives = await readLives(store, baseNs);
  const counts = await countThreads(store, baseNs, lives);
  const collector = makeFactCollector(counts);
  const wanted = `kind IN (${COLLECTED_KINDS.join(', ')}) OR vm_key IS NOT NULL OR (kind = ${KIND.switch_out} AND value = 3)`;
  const lost = await readLost(store, baseNs);
  const loseBefore = followLosses(lost, new Map(), () => collector.forget());
  const visit = (event: MemoryEvent): void => {
    loseBefore(event.ts, event.cpu);
    collector.collect(event);
  };
  await forEachMemoryEvent(store, { baseNs, lives }, visit, { where: wanted, signal });
  const { facts } = collector;
  const tasks = await readTasks(store, baseNs, lives);
  const identity = settleIdentity(facts, tasks);
  const sources = settleSources(statements, new Set(counts.map((c) => c.kind)), settleSeries(facts, identity), {
    isArm: await readIsArm(store),
    sharedInodes: await readSharedInodes(store),
  });
  return { statements, baseNs, lives, tasks, facts, identity, sources, lost };
}

/** The second pass: every memory event in order. */
export async function replayEvents(
  store: Store,
  { identity, sources, lost, baseNs, lives }: Prepared,
  { signal }: ReplayOptions = {},
): Promise<{ readonly replay: Replay; readonly references: References }> {
  const state = makeReplay(identity, sources, lost);
  const references = makeReferences();
  const ofHost = lost.filter(({ side }) => side !== 'el2');
  const ofEl2 = lost.filter(({ side }) => side !== 'host');
  const loseBefore = followLosses(ofHost, state.openLosses, (cpu, border) => taint(state, cpu, border));
  const loseEl2Before = followLosses(ofEl2, new Map(), (_cpu, { atNs }) => taintEl2(state, atNs));
  const visit = (event: MemoryEvent): void => {
    loseBefore(event.ts, event.cpu);
    loseEl2Before(event.ts, event.cpu);
    step(state, references, event);
  };
  await forEachMemoryEvent(store, { baseNs, lives }, visit, { signal });
  finishReplay(state);
  return { replay: state, references };
}

/** Fills every result table of the schema but the findings (rules.ts). */
export async function replay(store: Store, options: ReplayOptions = {}): Promise<void> {
  const prepared = await prepareReplay(store, options);
  const results = await replayEvents(store, prepared, options);
  try {
    await createExitView(store);
    await writeResults(store, { ...prepared, ...results });
    await writeGaps(store, results.replay.gaps, prepared.baseNs);
  } finally {
    closeSpill(results.replay.spill);
  }
}
