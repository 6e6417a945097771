/** What happens how often on two sides: rates by time or boot, shares, and a figure that is no rate. */
import { dispersionOf, fisherP, rateP, type Counted } from './count-test.js';
import { untested, type Draft, type Outcome } from './outcome.js';
import { STALE_METRIC, TIMED_METRICS, type CountMetric, type ShareMetric } from './read-counts.js';
import type { DiffSide } from './side.js';

/** A count of both sides. `T` is Draft until all are judged. */
export interface CountComparison<T = Outcome> {
  readonly metric: string;
  readonly label: string;
  /** What it is counted over: seconds, boots, or (a share) the cases that it could have been. */
  readonly unit: 'second' | 'boot' | 'case' | null;
  readonly a: number | null;
  readonly b: number | null;
  /** Seconds, boots or cases of each side. */
  readonly ofA: number | null;
  readonly ofB: number | null;
  /** How much more it scatters than independent events would; 1 of a share. */
  readonly dispersion: number | null;
  readonly outcome: T;
}

/** Compares rates, then shares, then what is outstanding at the end. */
export function compareCounts(a: DiffSide, b: DiffSide, alpha: number): readonly CountComparison<Draft>[] {
  return [
    ...TIMED_METRICS.flatMap(({ metric, needs }) => compareTimed(metric, needs, { a, b, alpha })),
    ...compareStale({ a, b, alpha }),
    ...compareShares(a, b),
    ...compareOutstanding(a, b),
  ];
}

interface Sides {
  readonly a: DiffSide;
  readonly b: DiffSide;
  readonly alpha: number;
}

const total = ({ pieces }: Counted): number => pieces.reduce((sum, n) => sum + n, 0);

const NOTHING = { unit: null, a: null, b: null, ofA: null, ofB: null, dispersion: null } as const;

/** Why a side cannot give a metric, in words; null: it can. */
function lackOf(side: DiffSide, metric: string, needs: string | null): string | null {
  const missing = needs === null ? undefined : side.unavailable.get(needs);
  if (missing !== undefined) return missing;
  if (side.seconds === null) return 'its length in seconds is not known';
  // An exit happens in any run: where none came, none was recorded.
  return needs === null && !side.counts.some((c) => c.metric === metric) ? 'none recorded' : null;
}

function compareTimed(metric: string, needs: string | null, sides: Sides): readonly CountComparison<Draft>[] {
  const { a, b } = sides;
  const lacks = [lackOf(a, metric, needs), lackOf(b, metric, needs)];
  if (lacks.some((lack) => lack !== null)) return [incomparable(metric, '', lacks)];
  const isTimed = (c: CountMetric): boolean => c.metric === metric && c.unit === 'second';
  const own = [a.counts.filter(isTimed), b.counts.filter(isTimed)] as const;
  const labels = [...new Set([...own[0], ...own[1]].map((c) => c.label))];
  return labels.map((label) => {
    const [x, y] = own.map((counts) => counts.find((c) => c.label === label)) as [CountMetric?, CountMetric?];
    const known = (x ?? y)!;
    const none = (side: DiffSide): Counted => ({ pieces: known.pieces.map(() => 0), exposure: side.seconds! });
    return compareRates(known, [x ?? none(a), y ?? none(b)], sides);
  });
}

function incomparable(metric: string, label: string, lacks: readonly (string | null)[]): CountComparison<Draft> {
  const words = lacks.flatMap((lack, k) => (lack === null ? [] : [`${k === 0 ? 'A' : 'B'}: ${lack}`]));
  return { metric, label, ...NOTHING, outcome: untested('not-comparable', words.join('; ')) };
}

function compareStale(sides: Sides): readonly CountComparison<Draft>[] {
  const isStale = (c: CountMetric): boolean => c.metric === STALE_METRIC.metric && c.label === STALE_METRIC.label;
  const [x, y] = [sides.a.counts.find(isStale), sides.b.counts.find(isStale)];
  if (x !== undefined && y !== undefined) return [compareRates(x, [x, y], sides)];
  if (x === undefined && y === undefined) return [];
  const lacks = [x, y].map((side) => (side === undefined ? 'no reboot seen' : null));
  return [incomparable(STALE_METRIC.metric, STALE_METRIC.label, lacks)];
}

function compareRates(
  { metric, label, unit, sense }: CountMetric,
  [a, b]: readonly [Counted, Counted],
  sides: Sides,
): CountComparison<Draft> {
  const [x, y] = [total(a), total(b)];
  const dispersion = dispersionOf(a, b) ?? 1;
  const rates = [x / a.exposure, y / b.exposure] as const;
  const ratio = x === 0 ? null : rates[1] / rates[0];
  const head = { metric, label, unit, a: x, b: y, ofA: a.exposure, ofB: b.exposure, dispersion };
  const events = Math.round((x + y) / dispersion);
  const chance = a.exposure / (a.exposure + b.exposure);
  if (2 * Math.min(chance ** events, (1 - chance) ** events) > sides.alpha) {
    const bursts = dispersion > 1.5 ? `, in bursts: as good as ${events}` : '';
    return { ...head, outcome: untested('too-few', `${x} and ${y}${bursts}`, ratio) };
  }
  const p = rateP(a, b, dispersion);
  const [name, lost] = rates[0] < rates[1] ? (['A', sides.a.lost] as const) : (['B', sides.b.lost] as const);
  const count = lost === null ? 'an unknown number of' : String(lost);
  return {
    ...head,
    outcome: {
      ...{ family: sense === 'bad' ? 'judged' : 'told', sense, verdict: null, reason: null },
      ...{ ratio, low: null, high: null, rises: rates[1] > rates[0], isTooSmall: x === 0 && y === 0 },
      p: lost === 0 ? p : rateP(a, b, dispersion, lost ?? Infinity),
      withoutLoss: lost === 0 ? null : { p, reason: `${name} lost ${count} events, which could be the difference` },
    },
  };
}

function compareShares(a: DiffSide, b: DiffSide): readonly CountComparison<Draft>[] {
  const nameOf = ({ metric, label }: ShareMetric): string => `${metric}/${label}`;
  const all = new Map([...a.shares, ...b.shares].map((share) => [nameOf(share), share]));
  return [...all.values()].map(({ metric, label }) => {
    const find = (side: DiffSide): ShareMetric | undefined =>
      side.shares.find((s) => s.metric === metric && s.label === label);
    const [x, y] = [find(a), find(b)];
    if (x === undefined || y === undefined) {
      return incomparable(
        metric,
        label,
        [x, y].map((side) => (side === undefined ? 'no such case seen' : null)),
      );
    }
    const head = { metric, label, unit: 'case' as const, a: x.count, b: y.count, ofA: x.of, ofB: y.of, dispersion: 1 };
    const ratio = x.count === 0 ? null : y.count / y.of / (x.count / x.of);
    const outcome: Draft = {
      ...{ family: 'judged', sense: 'bad', verdict: null, reason: null, withoutLoss: null, low: null, high: null },
      ratio,
      p: fisherP(x.count, x.of, y.count, y.of),
      rises: y.count / y.of > x.count / x.of,
      isTooSmall: x.count === 0 && y.count === 0,
    };
    return { ...head, outcome };
  });
}

/** The state at the end of a trace is one observation: told, not tested. */
function compareOutstanding(a: DiffSide, b: DiffSide): readonly CountComparison<Draft>[] {
  const metric = 'references outstanding at the end';
  const lacks = [a, b].map((side) => (side.outstanding === null ? (side.unavailable.get('references') ?? '') : null));
  if (a.outstanding === null || b.outstanding === null) return [incomparable(metric, '', lacks)];
  const outcome = untested('too-few', 'one observation each');
  return [{ metric, label: '', ...NOTHING, a: a.outstanding, b: b.outstanding, outcome }];
}
