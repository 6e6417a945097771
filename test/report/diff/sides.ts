/** Sides of a diff made by hand or drawn at random. */
import type { Finding } from '../../../src/report/model-findings.js';
import type { CountMetric } from '../../../src/report/diff/read-counts.js';
import type { DiffSide, SideGroup } from '../../../src/report/diff/side.js';
import type { Stats } from '../../../src/report/stats.js';

function statsOf(sorted: readonly number[]): Stats {
  const at = (share: number): number | null => sorted[Math.ceil(share * sorted.length) - 1] ?? null;
  const sum = sorted.reduce((all, ns) => all + ns, 0);
  const ends = { min: sorted[0] ?? null, max: sorted.at(-1) ?? null };
  return {
    ...{ count: sorted.length, ...ends, sum, mean: sum / sorted.length },
    ...{ p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999) },
  };
}

/** Latencies in ns of one group, in any order. */
export function makeGroup(name: string, latencies: readonly number[]): SideGroup {
  const samples = [...latencies].sort((x, y) => x - y);
  return { key: [name], samples, stats: statsOf(samples), phases: new Map() };
}

/** Counts in 20 stretches of a trace of 10 s. */
export function makeCount(metric: string, label: string, pieces: readonly number[]): CountMetric {
  const sense = metric === 'memory faults' ? 'bad' : 'neutral';
  return { metric, label, unit: 'second', sense, pieces, exposure: 10 };
}

export function makeFinding(rule: string, change: Partial<Finding> = {}): Finding {
  return {
    ...{
      id: 1,
      rule,
      severity: 'warning',
      verdict: 'fail',
      vm: 1,
      gmem: 1,
      vcpu: 0,
      title: `${rule} took 3 ms`,
      details: [],
    },
    ...{ sinceNs: 1n, untilNs: 2n, count: 1, certainty: 'observed', hint: null, thresholds: null, evidence: [] },
    ...change,
  };
}

/** A trace of 10 s that lost nothing and recorded exits, of which the metric must have one. */
export function makeSide(change: Partial<DiffSide> = {}): DiffSide {
  return {
    ...{ traces: [], clockUnit: 'ns', resolution: 1, seconds: 10, platforms: ['tdx'], vms: 1, lost: 0, groups: [] },
    ...{ leftOut: [], counts: [], shares: [], outstanding: 0, findings: [], unavailable: new Map() },
    ...change,
  };
}

/** Random numbers in [0, 1) from a seed (Mulberry32). */
export function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A log-normal latency in ns: median times e^(spread × normal), as real conversions are spread. */
export function drawLatency(random: () => number, median: number, spread: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.round(median * Math.exp(spread * normal));
}

/** A Poisson count (Knuth): how many exponential steps fit. */
export function drawCount(random: () => number, mean: number): number {
  let product = random();
  let count = 0;
  for (const limit = Math.exp(-mean); product > limit; count++) product *= random();
  return count;
}
