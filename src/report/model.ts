/** The Analysis: everything that the renderers of `analyze` show, read once from the tables as plain data. */
import type { ClockUnit } from '../base/units.js';
import type { Store } from '../store/db.js';
import { runTogether } from '../store/together.js';
import { readConversionSummary, type ConversionSummary } from './model-conversions.js';
import { readDismissed, readFindings, type Dismissed, type Finding } from './model-findings.js';
import { readIdentity, type GmemSummary, type VmSummary } from './model-identity.js';
import { big, bigOrNull, list, num, numOrNull, text, textOrNull, type Row } from './rows.js';

export interface SkippedInput {
  readonly reason: string;
  readonly count: number;
  readonly first: string;
}

export interface TraceSummary {
  readonly id: number;
  readonly path: string;
  readonly format: string;
  readonly version: string;
  readonly kernel: string | null;
  readonly arch: string | null;
  readonly clock: string;
  readonly clockUnit: ClockUnit;
  readonly recorder: string | null;
  readonly startNs: bigint | null;
  readonly endNs: bigint | null;
  readonly events: number;
  /** Events known to be lost; null where a loss has no count. */
  readonly lost: number | null;
  /** Stretches of single CPUs in which events may be missing. */
  readonly lostStretches: number;
  /** Sum of the losses that have a count: at least so many events are missing. */
  readonly lostAtLeast: number;
  readonly skipped: readonly SkippedInput[];
  readonly notes: readonly string[];
}

/** A KVM_EXIT_MEMORY_FAULT count; null total: the trace cannot show them. */
export interface MemoryFaults {
  readonly total: number | null;
  readonly byVm: readonly {
    readonly vm: number | null;
    readonly count: number;
    readonly toPrivate: number;
    readonly toShared: number;
  }[];
  readonly byCause: readonly { readonly cause: string; readonly count: number }[];
}

export interface Reboot {
  readonly vm: number | null;
  readonly tsNs: bigint;
  readonly epoch: number;
  readonly how: string;
  readonly certainty: string;
  /** Pages left shared at its start; null = not known. */
  readonly sharedPages: number | null;
  /** Time that the VMM spent in resetting attributes, ns. */
  readonly resetNs: number | null;
}

/** A reference on guest memory that nobody dropped while the trace ran. */
export interface Reference {
  readonly gmem: number | null;
  readonly offset: bigint | null;
  readonly size: number;
  readonly holder: { readonly task: string | null; readonly tid: number | null; readonly how: string };
  readonly sinceNs: bigint;
  /** conversion_id that it made fail. */
  readonly blocksConversion: number | null;
}

export interface Unavailable {
  readonly what: string;
  readonly missing: string;
  readonly record: string;
}

export interface Analysis {
  readonly traces: readonly TraceSummary[];
  readonly vms: readonly VmSummary[];
  readonly gmems: readonly GmemSummary[];
  readonly conversions: ConversionSummary;
  readonly memoryFaults: MemoryFaults;
  readonly punches: { readonly total: number | null; readonly bytes: number | null };
  /** null: the trace cannot show them. */
  readonly reboots: readonly Reboot[] | null;
  readonly references: {
    readonly outstanding: readonly Reference[] | null;
    /** References that fell only when their VM or process ended. */
    readonly untilTeardown: number;
  };
  readonly findings: readonly Finding[];
  readonly dismissed: readonly Dismissed[];
  readonly unavailable: readonly Unavailable[];
}

/** First stamp of the analysis, ns; null where no trace has one. */
export function startOf(traces: readonly Pick<TraceSummary, 'startNs'>[]): bigint | null {
  return traces.reduce<bigint | null>((least, { startNs }) => {
    if (startNs === null) return least;
    return least === null || startNs < least ? startNs : least;
  }, null);
}

/** What the stamps of an analysis count. Of several units the one that is no time: nothing is called ns that is not. */
export function unitOf(traces: readonly Pick<TraceSummary, 'clockUnit'>[]): ClockUnit {
  return traces.find(({ clockUnit }) => clockUnit !== 'ns')?.clockUnit ?? 'ns';
}

/** The same, read from a store. */
export async function readUnit(store: Store): Promise<ClockUnit> {
  return unitOf(await readTraces(store));
}

/** Reads the whole analysis from a store that was replayed and judged. */
export async function readAnalysis(store: Store): Promise<Analysis> {
  const unavailable = await readUnavailable(store);
  const cannot = new Set(unavailable.map((u) => u.what));
  const traces = await readTraces(store);
  const [findings, conversions, { vms, gmems }, memoryFaults, punches, reboots, outstanding, untilTeardown, dismissed] =
    await runTogether(store, [
      (of) => readFindings(of, traces),
      (of) => readConversionSummary(of, cannot),
      readIdentity,
      (of) => readMemoryFaults(of, cannot.has('memory_faults')),
      (of) => readPunches(of, cannot.has('punches')),
      (of) => readReboots(of, cannot.has('reboots')),
      (of) => readReferences(of, cannot.has('references')),
      countUntilTeardown,
      readDismissed,
    ]);
  const references = { outstanding, untilTeardown };
  return {
    traces,
    vms,
    gmems,
    conversions,
    memoryFaults,
    punches,
    reboots,
    references,
    findings,
    dismissed,
    unavailable,
  };
}

/** The inputs with what they lost and what could not be read of them. */
export async function readTraces(store: Store): Promise<readonly TraceSummary[]> {
  const traces = await store.rows('SELECT * FROM trace ORDER BY trace_id');
  const skipped = await store.rows('SELECT * FROM skipped ORDER BY trace_id, count DESC, reason');
  const lost = await store.rows(
    'SELECT trace_id, count(*) AS stretches, coalesce(sum(count), 0)::BIGINT AS known FROM lost GROUP BY trace_id ORDER BY trace_id',
  );
  return traces.map((row) => {
    const id = num(row, 'trace_id');
    const of = (r: Row): boolean => num(r, 'trace_id') === id;
    const stretches = lost.find(of);
    return {
      id,
      path: text(row, 'path'),
      format: text(row, 'format'),
      version: text(row, 'version'),
      kernel: textOrNull(row, 'kernel'),
      arch: textOrNull(row, 'arch'),
      clock: text(row, 'clock'),
      clockUnit: text(row, 'clock_unit') as ClockUnit,
      recorder: textOrNull(row, 'recorder'),
      startNs: bigOrNull(row, 'first_ns'),
      endNs: bigOrNull(row, 'last_ns'),
      events: num(row, 'events'),
      lost: numOrNull(row, 'lost'),
      lostStretches: stretches === undefined ? 0 : num(stretches, 'stretches'),
      lostAtLeast: stretches === undefined ? 0 : num(stretches, 'known'),
      skipped: skipped
        .filter(of)
        .map((s) => ({ reason: text(s, 'reason'), count: num(s, 'count'), first: text(s, 'first') })),
      notes: list(row, 'notes').map(String),
    };
  });
}

async function readUnavailable(store: Store): Promise<readonly Unavailable[]> {
  const rows = await store.rows(
    'SELECT DISTINCT what, missing, record FROM unavailable ORDER BY what, missing, record',
  );
  return rows.map((row) => ({ what: text(row, 'what'), missing: text(row, 'missing'), record: text(row, 'record') }));
}

async function readMemoryFaults(store: Store, unknown: boolean): Promise<MemoryFaults> {
  if (unknown) return { total: null, byVm: [], byCause: [] };
  const byVm = await store.rows(`
    SELECT vm_id, count(*) AS n, count(*) FILTER (wanted = 'private') AS to_private,
      count(*) FILTER (wanted = 'shared') AS to_shared
    FROM memory_fault GROUP BY vm_id ORDER BY vm_id NULLS LAST`);
  const byCause = await store.rows(
    'SELECT cause, count(*) AS n FROM memory_fault GROUP BY cause ORDER BY n DESC, cause',
  );
  return {
    total: byVm.reduce((sum, row) => sum + num(row, 'n'), 0),
    byVm: byVm.map((row) => ({
      vm: numOrNull(row, 'vm_id'),
      count: num(row, 'n'),
      toPrivate: num(row, 'to_private'),
      toShared: num(row, 'to_shared'),
    })),
    byCause: byCause.map((row) => ({ cause: text(row, 'cause'), count: num(row, 'n') })),
  };
}

async function readPunches(store: Store, unknown: boolean): Promise<Analysis['punches']> {
  if (unknown) return { total: null, bytes: null };
  const [row] = await store.rows(`
    SELECT count(*) AS n, CASE WHEN count(size) = count(*) THEN coalesce(sum(size), 0)::BIGINT END AS bytes
    FROM punch WHERE errno IS NULL OR errno = 0`);
  return { total: num(row!, 'n'), bytes: numOrNull(row!, 'bytes') };
}

async function readReboots(store: Store, unknown: boolean): Promise<readonly Reboot[] | null> {
  if (unknown) return null;
  const rows = await store.rows('SELECT * FROM reboot ORDER BY ts_ns, vm_id NULLS LAST, epoch');
  return rows.map((row) => ({
    vm: numOrNull(row, 'vm_id'),
    tsNs: big(row, 'ts_ns'),
    epoch: num(row, 'epoch'),
    how: text(row, 'how'),
    certainty: text(row, 'certainty'),
    sharedPages: numOrNull(row, 'shared_pages'),
    resetNs: numOrNull(row, 'reset_ns'),
  }));
}

async function readReferences(store: Store, unknown: boolean): Promise<readonly Reference[] | null> {
  if (unknown) return null;
  const rows = await store.rows(`
    SELECT * FROM page_ref WHERE dropped_ns IS NULL
    ORDER BY gmem_id NULLS LAST, "offset" NULLS LAST, taken_ns, tid NULLS LAST, size`);
  return rows.map((row) => ({
    gmem: numOrNull(row, 'gmem_id'),
    offset: bigOrNull(row, 'offset'),
    size: num(row, 'size'),
    holder: { task: textOrNull(row, 'comm'), tid: numOrNull(row, 'tid'), how: text(row, 'how') },
    sinceNs: big(row, 'taken_ns'),
    blocksConversion: numOrNull(row, 'blocks_conversion'),
  }));
}

async function countUntilTeardown(store: Store): Promise<number> {
  const [row] = await store.rows(`SELECT count(*) AS n FROM page_ref WHERE dropped_by = 'teardown'`);
  return num(row!, 'n');
}
