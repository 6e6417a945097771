/** Latencies of two sides, group by group: the median by Mann-Whitney, the tails by Fisher's test. */
import type { Stats } from '../stats.js';
import { fisherP } from './count-test.js';
import { untested, type Draft, type Outcome } from './outcome.js';
import { leastP, mannWhitney, ratioOf } from './rank-test.js';
import type { DiffSide, Sampled, SideGroup } from './side.js';

/** Fewer samples than these on a side say nothing, however far they lie from the others. */
const MIN_SAMPLES = 5;

/** Percentiles that are tested, from how many samples on each side on. */
const TAILS = [
  { statistic: 'p90', share: 0.9, from: 20 },
  { statistic: 'p99', share: 0.99, from: 500 },
] as const;

/** One test of a group or phase. `T` is Draft until all are judged. */
export interface LatencyTest<T = Outcome> {
  readonly statistic: 'median' | 'p90' | 'p99';
  readonly outcome: T;
}

export interface PhaseComparison<T = Outcome> {
  readonly phase: string;
  readonly a: Stats | null;
  readonly b: Stats | null;
  readonly outcome: T;
}

export interface LatencyComparison<T = Outcome> {
  /** Value of each grouping; null = not known. */
  readonly key: readonly (string | null)[];
  /** null: the side has no such conversion. */
  readonly a: Stats | null;
  readonly b: Stats | null;
  /** The median first; the tails where there are enough samples. */
  readonly tests: readonly LatencyTest<T>[];
  /** Where the time went: medians; told, they make no regression. */
  readonly phases: readonly PhaseComparison<T>[];
}

interface LatencyContext {
  readonly alpha: number;
  /** Why durations of the two sides cannot be compared; null: they can. */
  readonly unitsDiffer: string | null;
  readonly resolution: number;
}

/** Compares all groups that a side has, those of A first. */
export function compareLatency(a: DiffSide, b: DiffSide, alpha: number): readonly LatencyComparison<Draft>[] {
  const units = a.clockUnit !== null && a.clockUnit === b.clockUnit;
  const context = {
    alpha,
    unitsDiffer: units ? null : `stamps in ${a.clockUnit ?? 'several units'} and ${b.clockUnit ?? 'several units'}`,
    resolution: Math.max(a.resolution, b.resolution),
  };
  const keyOf = (group: SideGroup): string => JSON.stringify(group.key);
  const known = new Set(a.groups.map(keyOf));
  const all = [...a.groups, ...b.groups.filter((group) => !known.has(keyOf(group)))];
  return all.map(({ key }) => {
    const isSame = (group: SideGroup): boolean => keyOf(group) === JSON.stringify(key);
    return compareGroup(key, [a.groups.find(isSame) ?? null, b.groups.find(isSame) ?? null], context);
  });
}

type Pair<T> = readonly [a: T | null, b: T | null];

function compareGroup(
  key: SideGroup['key'],
  [a, b]: Pair<SideGroup>,
  context: LatencyContext,
): LatencyComparison<Draft> {
  const names = [...new Set([...(a?.phases.keys() ?? []), ...(b?.phases.keys() ?? [])])];
  return {
    key,
    a: a?.stats ?? null,
    b: b?.stats ?? null,
    tests: [
      { statistic: 'median', outcome: compareMedians([a, b], 'judged', context) },
      ...(a === null || b === null ? [] : compareTails(a, b, context)),
    ],
    phases: names.map((phase) => {
      const pair = [a?.phases.get(phase) ?? null, b?.phases.get(phase) ?? null] as const;
      const outcome = compareMedians(pair, 'told', context);
      return { phase, a: pair[0]?.stats ?? null, b: pair[1]?.stats ?? null, outcome };
    }),
  };
}

function compareMedians([a, b]: Pair<Sampled>, family: Draft['family'], context: LatencyContext): Draft {
  const [n, m] = [a?.samples.length ?? 0, b?.samples.length ?? 0];
  if (a === null || b === null || n === 0 || m === 0) {
    return untested('not-comparable', n === 0 ? 'none in A' : 'none in B');
  }
  if (context.unitsDiffer !== null) return untested('not-comparable', context.unitsDiffer);
  const ratio = ratioOf(a.samples, b.samples);
  if (Math.min(n, m) < MIN_SAMPLES || leastP(n, m) > context.alpha) {
    return untested('too-few', `${n} and ${m} samples`, ratio.ratio);
  }
  return {
    ...{ family, sense: 'bad', verdict: null, reason: null, withoutLoss: null },
    ...ratio,
    p: mannWhitney(a.samples, b.samples),
    rises: ratio.ratio > 1,
    isTooSmall: Math.abs((b.stats.p50 ?? 0) - (a.stats.p50 ?? 0)) < context.resolution,
  };
}

/** Under one distribution, the samples above a percentile of both together fall on A and B by chance. */
function compareTails(a: SideGroup, b: SideGroup, context: LatencyContext): readonly LatencyTest<Draft>[] {
  if (context.unitsDiffer !== null) return [];
  const [n, m] = [a.samples.length, b.samples.length];
  return TAILS.filter(({ from }) => Math.min(n, m) >= from).map(({ statistic, share }) => {
    const pooled = [...a.samples, ...b.samples].sort((x, y) => x - y);
    const limit = pooled[Math.ceil(share * pooled.length) - 1]!;
    const [ofA, ofB] = [a.stats[statistic] ?? 0, b.stats[statistic] ?? 0];
    const above = (samples: readonly number[]): number => samples.reduce((sum, ns) => sum + (ns > limit ? 1 : 0), 0);
    const outcome: Draft = {
      ...{ family: 'judged', sense: 'bad', verdict: null, reason: null, withoutLoss: null, low: null, high: null },
      ratio: Math.max(1, ofB) / Math.max(1, ofA),
      p: fisherP(above(a.samples), n, above(b.samples), m),
      rises: ofB > ofA,
      isTooSmall: Math.abs(ofB - ofA) < context.resolution,
    };
    return { statistic, outcome };
  });
}
