/** Are the latencies of B longer than those of A, and by which factor? Samples are sorted ascending. */
import { twoSidedNormal } from './distributions.js';

/** Up to so many samples in both together the permutation distribution is counted out. */
const EXACT_UP_TO = 50;

export type Samples = readonly number[] | Float64Array;

interface Ranks {
  /** Twice the sum of the (mid)ranks of A: a whole number even with ties. */
  readonly sumOfA: number;
  /** Twice the midrank of every sample of both, ascending. */
  readonly doubled: readonly number[];
  /** Sum of t³ - t over the groups of t equal samples. */
  readonly ties: number;
}

function rank(a: Samples, b: Samples): Ranks {
  const doubled: number[] = [];
  let [i, j, sumOfA, ties] = [0, 0, 0, 0];
  while (i < a.length || j < b.length) {
    const value = Math.min(i < a.length ? a[i]! : Infinity, j < b.length ? b[j]! : Infinity);
    const before = i + j;
    const firstOfA = i;
    while (i < a.length && a[i] === value) i++;
    while (j < b.length && b[j] === value) j++;
    const equal = i + j - before;
    const twice = 2 * before + equal + 1;
    for (let k = 0; k < equal; k++) doubled.push(twice);
    sumOfA += (i - firstOfA) * twice;
    ties += equal ** 3 - equal;
  }
  return { sumOfA, doubled, ties };
}

/** Share of all ways to choose `size` of the ranks whose sum lies as far from its mean as `sumOfA`, or further. */
function exactP({ doubled, sumOfA }: Ranks, size: number): number {
  const total = doubled.reduce((sum, r) => sum + r, 0);
  // ways[k][s]: how many sets of k ranks sum up to s. Below C(50, 25) = 1.3e14, so a number holds each exactly.
  const ways = Array.from({ length: size + 1 }, () => new Float64Array(total + 1));
  ways[0]![0] = 1;
  for (const r of doubled) {
    for (let k = size; k > 0; k--) {
      const [to, from] = [ways[k]!, ways[k - 1]!];
      for (let s = r; s <= total; s++) to[s]! += from[s - r]!;
    }
  }
  const mean = (total * size) / doubled.length;
  const distance = Math.abs(sumOfA - mean) - 1e-9;
  let all = 0;
  let far = 0;
  for (const [s, count] of ways[size]!.entries()) {
    all += count;
    if (Math.abs(s - mean) >= distance) far += count;
  }
  return far / all;
}

/**
 * Two-sided Mann-Whitney U test: the probability of ranks as lopsided as these where A and B are draws from one
 * distribution. Exact, ties included, up to 50 samples; beyond, the normal approximation with corrections for ties and
 * continuity (Hollander and Wolfe, Nonparametric Statistical Methods, 4.1).
 */
export function mannWhitney(a: Samples, b: Samples): number {
  const [n, m] = [a.length, b.length];
  const total = n + m;
  if (n === 0 || m === 0) return 1;
  const ranks = rank(a, b);
  if (total <= EXACT_UP_TO) return exactP(ranks, n);
  const variance = ((n * m) / 12) * (total + 1 - ranks.ties / (total * (total - 1)));
  if (variance <= 0) return 1;
  const distance = Math.abs(ranks.sumOfA / 2 - (n * (total + 1)) / 2);
  return twoSidedNormal(Math.max(0, distance - 0.5) / Math.sqrt(variance));
}

/** The smallest p that so many samples can give: without ties, all of one below all of the other. */
export function leastP(n: number, m: number): number {
  const few = Math.min(n, m);
  let sets = 1;
  for (let k = 1; k <= few; k++) sets *= (n + m - few + k) / k;
  return Math.min(1, 2 / sets);
}

export interface Ratio {
  /** Hodges-Lehmann estimate: the median of all B/A. */
  readonly ratio: number;
  /** Its 95 % interval; null where there are too few samples for one. */
  readonly low: number | null;
  readonly high: number | null;
}

/** Pairs (a, b) with b - a ≤ limit: for each b those a that are at least b - limit. */
function pairsUpTo(a: Float64Array, b: Float64Array, limit: number): number {
  let pairs = 0;
  let below = 0;
  for (const value of b) {
    while (below < a.length && value - a[below]! > limit) below++;
    pairs += a.length - below;
  }
  return pairs;
}

/** The number-th smallest b - a, by bisection: O(n + m) a step where listing all pairs would be O(n m). */
function nthDifference(a: Float64Array, b: Float64Array, number: number): number {
  let low = b[0]! - a.at(-1)!;
  let high = b.at(-1)! - a[0]!;
  while (high - low > 1e-10) {
    const middle = (low + high) / 2;
    if (pairsUpTo(a, b, middle) >= number) high = middle;
    else low = middle;
  }
  return (low + high) / 2;
}

/** ln of durations in ns; what is below the stamps' resolution of 1 ns counts as 1 ns. */
const logs = (samples: Samples): Float64Array => Float64Array.from(samples, (ns) => Math.log(Math.max(1, ns)));

/**
 * By which factor B is longer than A: Hodges-Lehmann shift of the logarithms, with its distribution-free interval
 * (Hollander and Wolfe 4.2 and 4.3, normal approximation of the order statistic).
 */
export function ratioOf(a: Samples, b: Samples): Ratio {
  const [x, y] = [logs(a), logs(b)];
  const pairs = x.length * y.length;
  const median = (nthDifference(x, y, Math.ceil(pairs / 2)) + nthDifference(x, y, Math.floor(pairs / 2) + 1)) / 2;
  const spread = 1.959964 * Math.sqrt((pairs * (x.length + y.length + 1)) / 12);
  const first = Math.floor(pairs / 2 - spread);
  if (first < 1) return { ratio: Math.exp(median), low: null, high: null };
  return {
    ratio: Math.exp(median),
    low: Math.exp(nthDifference(x, y, first)),
    high: Math.exp(nthDifference(x, y, pairs - first + 1)),
  };
}
