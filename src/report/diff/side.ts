/** One side of a diff: what is compared, read from a store that was replayed and judged. */
import type { Store } from '../../store/db.js';
import { countedSql, readLatency, type Grouping } from '../latency.js';
import { readTraces, type TraceSummary } from '../model.js';
import { readFindings, type Finding } from '../model-findings.js';
import { phasesSql } from '../phases.js';
import { list, num, text, textOrNull, type Row } from '../rows.js';
import type { Stats } from '../stats.js';
import { readCounts, type CountMetric, type ShareMetric } from './read-counts.js';

/** Latencies with all their samples. */
export interface Sampled {
  readonly stats: Stats;
  /** ns, ascending. */
  readonly samples: readonly number[];
}

export interface SideGroup extends Sampled {
  /** Value of each grouping; null = not known. */
  readonly key: readonly (string | null)[];
  /** By name; a border that was not seen merges two: `coordination+commit`. In their order in time. */
  readonly phases: ReadonlyMap<string, Sampled>;
}

export interface DiffSide {
  readonly traces: readonly TraceSummary[];
  /** Unit of all stamps: `ns`, `cycles`, …; null: its traces have several. */
  readonly clockUnit: string | null;
  /** Coarsest resolution of its stamps, in that unit. */
  readonly resolution: number;
  /** From the first event to the last; null: not in seconds, or no event. */
  readonly seconds: number | null;
  readonly platforms: readonly string[];
  readonly vms: number;
  /** Events known to be lost; null: some, nobody knows how many. */
  readonly lost: number | null;
  readonly groups: readonly SideGroup[];
  /** Conversions that are in no group, and why. */
  readonly leftOut: readonly { readonly reason: string; readonly count: number }[];
  readonly counts: readonly CountMetric[];
  readonly shares: readonly ShareMetric[];
  /** References on guest memory that nobody had dropped at the trace's end; null: the trace cannot show them. */
  readonly outstanding: number | null;
  readonly findings: readonly Finding[];
  /** Rule or figure that the trace cannot give → what it lacks. */
  readonly unavailable: ReadonlyMap<string, string>;
}

export interface SideOptions {
  readonly by: readonly Grouping[];
  readonly where?: string;
}

/** Reads everything that is compared. Throws TraceError `usage` where `where` is not an SQL expression. */
export async function readSide(store: Store, options: SideOptions): Promise<DiffSide> {
  const traces = await readTraces(store);
  const units = [...new Set(traces.map((t) => t.clockUnit))];
  const clockUnit = units.length === 1 ? units[0]! : null;
  const unavailable = await readUnavailable(store);
  const seconds = clockUnit === 'ns' ? secondsOf(traces) : null;
  const [head] = await store.rows(`
    SELECT (SELECT coalesce(max(resolution_ns), 1) FROM trace) AS resolution, (SELECT count(*) FROM vm) AS vms,
      (SELECT list(DISTINCT platform ORDER BY platform) FROM vm WHERE platform IS NOT NULL) AS platforms,
      (SELECT count(*) FROM page_ref WHERE dropped_ns IS NULL) AS outstanding`);
  return {
    traces,
    clockUnit,
    resolution: num(head!, 'resolution'),
    seconds,
    platforms: list(head!, 'platforms').map(String),
    vms: num(head!, 'vms'),
    lost: lostOf(traces),
    ...(await readGroups(store, options)),
    ...(await readCounts(store, { seconds, unavailable })),
    outstanding: unavailable.has('references') ? null : num(head!, 'outstanding'),
    findings: await readFindings(store, traces),
    unavailable,
  };
}

function secondsOf(traces: readonly TraceSummary[]): number | null {
  const first = traces.flatMap((t) => (t.startNs === null ? [] : [t.startNs]));
  const last = traces.flatMap((t) => (t.endNs === null ? [] : [t.endNs]));
  if (first.length === 0 || last.length === 0) return null;
  const span = last.reduce((a, b) => (b > a ? b : a)) - first.reduce((a, b) => (b < a ? b : a));
  return span > 0n ? Number(span) / 1e9 : null;
}

function lostOf(traces: readonly TraceSummary[]): number | null {
  const isCounted = traces.every((t) => t.lost !== null && (t.lost > 0 || t.lostStretches === 0));
  return isCounted ? traces.reduce((sum, t) => sum + (t.lost ?? 0), 0) : null;
}

async function readUnavailable(store: Store): Promise<ReadonlyMap<string, string>> {
  const rows = await store.rows(
    `SELECT what, string_agg(DISTINCT missing, '; ' ORDER BY missing) AS missing FROM unavailable GROUP BY what ORDER BY what`,
  );
  return new Map(rows.map((row) => [text(row, 'what'), text(row, 'missing')]));
}

async function readGroups(store: Store, { by, where }: SideOptions): Promise<Pick<DiffSide, 'groups' | 'leftOut'>> {
  const counted = { by, ...(where === undefined ? {} : { where }) };
  const report = await readLatency(store, { ...counted, slowest: 0 });
  const from = await countedSql(store, counted);
  const keys = by.map((_, k) => `k${k}`).join(', ');
  const keyOf = (row: Row): string => JSON.stringify(by.map((_, k) => textOrNull(row, `k${k}`)));
  const wholes = await store.rows(
    `SELECT ${keys}, list(latency_ns::DOUBLE ORDER BY latency_ns) AS samples FROM (${from}) GROUP BY ${keys}`,
  );
  const phases = await store.rows(`
    WITH f AS (${from}) SELECT ${keys}, phase, list(ns::DOUBLE ORDER BY ns) AS samples
    FROM (${phasesSql('SELECT * FROM f')}) JOIN f USING (conversion_id) GROUP BY ${keys}, phase`);
  const samplesOf = (row: Row | undefined): readonly number[] =>
    row === undefined ? [] : (list(row, 'samples') as readonly number[]);
  const groups = report.groups.map(({ key, whole, phases: ofGroup }) => {
    const isSame = (row: Row): boolean => keyOf(row) === JSON.stringify(key);
    const own = phases.filter(isSame);
    return {
      key,
      stats: whole,
      samples: samplesOf(wholes.find(isSame)),
      phases: new Map(
        ofGroup.map(({ phase, ...stats }): [string, Sampled] => [
          phase,
          { stats, samples: samplesOf(own.find((row) => text(row, 'phase') === phase)) },
        ]),
      ),
    };
  });
  return { groups, leftOut: report.leftOut };
}
