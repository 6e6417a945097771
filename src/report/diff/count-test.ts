/** Does something happen more often in B than in A? Counts against exposure, and shares of a whole. */
import { logChoose, twoSidedNormal } from './distributions.js';

/** Sums of probabilities take those as equal that differ by rounding only. */
const TOLERANCE = 1 + 1e-7;
/** Beyond so many cases the normal approximation is as good as the sum. */
const SUMMED_UP_TO = 20_000;

/** Sum of all probabilities that are at most that of `seen`; `logP` gives the ln of each from `first` to `last`. */
function sumOfRarer(seen: number, first: number, last: number, logP: (k: number) => number): number {
  const limit = logP(seen) + Math.log(TOLERANCE);
  let sum = 0;
  for (let k = first; k <= last; k++) {
    const log = logP(k);
    if (log <= limit) sum += Math.exp(log);
  }
  return Math.min(1, sum);
}

/** Two-sided exact binomial test of `seen` successes in `trials` (that of R's binom.test). */
export function binomialP(seen: number, trials: number, chance: number): number {
  if (trials === 0 || chance <= 0 || chance >= 1) return 1;
  if (trials > SUMMED_UP_TO) {
    const distance = Math.abs(seen - trials * chance);
    return twoSidedNormal(Math.max(0, distance - 0.5) / Math.sqrt(trials * chance * (1 - chance)));
  }
  const [hit, miss] = [Math.log(chance), Math.log(1 - chance)];
  return sumOfRarer(seen, 0, trials, (k) => logChoose(trials, k) + k * hit + (trials - k) * miss);
}

/** Two-sided Fisher's exact test of two shares: `a` of `ofA` against `b` of `ofB`. */
export function fisherP(a: number, ofA: number, b: number, ofB: number): number {
  const cases = a + b;
  const total = ofA + ofB;
  if (ofA === 0 || ofB === 0 || cases === 0 || cases === total) return 1;
  const [first, last] = [Math.max(0, cases - ofB), Math.min(cases, ofA)];
  if (last - first > SUMMED_UP_TO) {
    const share = cases / total;
    const error = Math.sqrt(share * (1 - share) * (1 / ofA + 1 / ofB));
    return twoSidedNormal((a / ofA - b / ofB) / error);
  }
  const all = logChoose(total, cases);
  return sumOfRarer(a, first, last, (k) => logChoose(ofA, k) + logChoose(ofB, cases - k) - all);
}

/** What was counted, in equal pieces of what it was counted over (stretches of time, boots). */
export interface Counted {
  readonly pieces: readonly number[];
  /** Seconds, boots: what the whole count is divided by. */
  readonly exposure: number;
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/**
 * How much more the pieces scatter than independent events would: variance over mean (Pearson's dispersion of both
 * sides about their own means), at least 1; null where no side has two pieces. Bursts count as few, not as many.
 */
export function dispersionOf(a: Counted, b: Counted): number | null {
  let scatter = 0;
  let freedom = 0;
  for (const { pieces } of [a, b]) {
    const mean = sum(pieces) / Math.max(1, pieces.length);
    if (pieces.length < 2) continue;
    freedom += pieces.length - 1;
    if (mean > 0) scatter += sum(pieces.map((count) => (count - mean) ** 2)) / mean;
  }
  return freedom === 0 ? null : Math.max(1, scatter / freedom);
}

/**
 * Conditional test of two Poisson rates (of all events, so many are A's: binomial), its counts divided by the dispersion
 * (quasi-Poisson). With `missed` the side whose rate is lower gets so many events more: those that may have been lost.
 */
export function rateP(a: Counted, b: Counted, dispersion: number, missed = 0): number {
  const [x, y] = [sum(a.pieces), sum(b.pieces)];
  const isAFewer = x * b.exposure < y * a.exposure;
  const [ofA, ofB] = isAFewer ? [x + missed, y] : [x, y + missed];
  // More may have been lost than the sides differ by: then nothing is left of the difference.
  if (missed > 0 && isAFewer !== ofA * b.exposure < ofB * a.exposure) return 1;
  const events = Math.round((ofA + ofB) / dispersion);
  const seen = Math.round((ofA / Math.max(1, ofA + ofB)) * events);
  return binomialP(seen, events, a.exposure / (a.exposure + b.exposure));
}
