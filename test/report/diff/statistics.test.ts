/** The tests of `diff` against published examples, brute force and the promise that noise is not called a change. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binomialP, dispersionOf, fisherP, rateP } from '../../../src/report/diff/count-test.js';
import { erfc, holm, logFactorial, twoSidedNormal } from '../../../src/report/diff/distributions.js';
import { leastP, mannWhitney, ratioOf } from '../../../src/report/diff/rank-test.js';

const ascending = (values: readonly number[]): number[] => [...values].sort((x, y) => x - y);

/** Permeability of the human chorioamnion at term and before: Hollander and Wolfe (1973), table 4.1; R's ?wilcox.test. */
const AT_TERM = ascending([0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]);
const BEFORE = ascending([1.15, 0.88, 0.9, 0.74, 1.21]);

describe('distributions', () => {
  it.each([
    [0, 1],
    [0.5, 0.4795001221869535],
    [1, 0.15729920705028513],
    [2, 0.004677734981047266],
    [2.5, 0.00040695201744495894],
    [3, 2.209049699858544e-5],
    [5, 1.5374597944280349e-12],
    [-1, 1.8427007929497148],
  ])('erfc(%d)', (x, value) => {
    expect(erfc(x) / value).toBeCloseTo(1, 10);
  });

  it('knows the quantiles of the normal distribution', () => {
    expect(twoSidedNormal(1.959963984540054)).toBeCloseTo(0.05, 12);
    expect(twoSidedNormal(-2.5758293035489004)).toBeCloseTo(0.01, 12);
  });

  it('ln n! is continuous where the series takes over', () => {
    let sum = 0;
    for (let n = 1; n <= 60; n++) {
      sum += Math.log(n);
      expect(logFactorial(n)).toBeCloseTo(sum, 10);
    }
  });

  it('adjusts p values as Holm (1979) does: R, p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")', () => {
    const adjusted = [0.05, 0.08, 0.09, 0.09, 0.09];
    holm([0.01, 0.02, 0.03, 0.04, 0.05]).forEach((p, k) => expect(p).toBeCloseTo(adjusted[k]!, 12));
    expect(holm([0.5, 0.001])).toEqual([0.5, 0.002]);
    expect(holm([])).toEqual([]);
  });
});

/** p by listing every way to choose A's samples out of all. */
function permutationP(a: readonly number[], b: readonly number[]): number {
  const all = [...a, ...b];
  const rankOf = (x: number): number => all.filter((y) => y < x).length + (all.filter((y) => y === x).length + 1) / 2;
  const ranks = all.map(rankOf);
  const mean = (a.length * (all.length + 1)) / 2;
  const distanceOf = (members: readonly number[]): number =>
    Math.abs(members.reduce((sum, k) => sum + ranks[k]!, 0) - mean);
  const seen = distanceOf(a.map((_, k) => k));
  let [sets, far] = [0, 0];
  for (let mask = 0; mask < 2 ** all.length; mask++) {
    const members = all.flatMap((_, k) => ((mask >> k) & 1 ? [k] : []));
    if (members.length !== a.length) continue;
    sets++;
    if (distanceOf(members) >= seen - 1e-9) far++;
  }
  return far / sets;
}

describe('Mann-Whitney', () => {
  it('gives the published exact p of the chorioamnion data', () => {
    // One-sided 0.1272 (R and the book), the distribution is symmetric.
    expect(mannWhitney(AT_TERM, BEFORE)).toBeCloseTo(0.2544, 4);
  });

  it('gives 2 of all ways where all of A lie below all of B', () => {
    expect(mannWhitney([1, 2, 3, 4], [5, 6, 7, 8])).toBeCloseTo(2 / 70, 12);
    expect(leastP(4, 4)).toBeCloseTo(2 / 70, 12);
    expect(leastP(3, 3)).toBeCloseTo(0.1, 12);
    expect(leastP(10_000, 10_000)).toBeLessThan(1e-100);
  });

  it('equals brute force, ties included', () => {
    const samples = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(samples, samples, (a, b) => {
        expect(mannWhitney(ascending(a), ascending(b))).toBeCloseTo(permutationP(a, b), 10);
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  it('goes over to the normal approximation without a step, and corrects it for ties', () => {
    const a = Array.from({ length: 25 }, (_, k) => 2 * k);
    const b = Array.from({ length: 25 }, (_, k) => 2 * k + 9);
    const exact = mannWhitney(a, b);
    const approximate = mannWhitney(a, [...b.slice(0, 12), 32, ...b.slice(12)]);
    expect(exact).toBeGreaterThan(0.02);
    expect(exact).toBeLessThan(0.2);
    expect(Math.abs(approximate - exact)).toBeLessThan(0.01);
    // By hand: 60 equal samples have no variance; 30 zeros against 30 ones: U = 0, ties 2 × (30³ - 30).
    expect(mannWhitney(new Float64Array(30), new Float64Array(30))).toBe(1);
    const z = (900 / 2 - 0.5) / Math.sqrt(75 * (61 - (2 * (27_000 - 30)) / (60 * 59)));
    expect(mannWhitney(new Float64Array(30), new Float64Array(30).fill(1))).toBeCloseTo(twoSidedNormal(z), 15);
  });
});

describe('the ratio of latencies', () => {
  it('is the Hodges-Lehmann estimate of the logarithms: published shift 0.305 of the chorioamnion data', () => {
    const exp = (values: readonly number[]): number[] => values.map((x) => Math.exp(x + 1));
    expect(Math.log(ratioOf(exp(BEFORE), exp(AT_TERM)).ratio)).toBeCloseTo(0.305, 6);
  });

  it('and its interval equal the order statistics of all quotients', () => {
    const samples = fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 5, maxLength: 12 });
    fc.assert(
      fc.property(samples, samples, (a, b) => {
        const quotients = ascending(b.flatMap((y) => a.map((x) => Math.log(y / x))));
        const n = quotients.length;
        const k = Math.floor(n / 2 - 1.959964 * Math.sqrt((n * (a.length + b.length + 1)) / 12));
        const { ratio, low, high } = ratioOf(ascending(a), ascending(b));
        const middle = (quotients[Math.ceil(n / 2) - 1]! + quotients[Math.floor(n / 2)]!) / 2;
        expect(Math.log(ratio)).toBeCloseTo(middle, 8);
        expect(k).toBeGreaterThan(0);
        expect(Math.log(low!)).toBeCloseTo(quotients[k - 1]!, 8);
        expect(Math.log(high!)).toBeCloseTo(quotients[n - k]!, 8);
      }),
      { numRuns: 50, seed: 2 },
    );
  });

  it('has no interval where there are too few samples, and is 1 for the same', () => {
    expect(ratioOf([1, 2, 3], [1, 2, 3])).toEqual({ ratio: expect.closeTo(1, 8) as number, low: null, high: null });
    expect(ratioOf([0, 0], [0, 0]).ratio).toBe(1);
  });
});

describe('counts', () => {
  it('the binomial test: Conover (1971), 682 of 925 against 3/4 gives 0.3825 (R, ?binom.test)', () => {
    expect(binomialP(682, 925, 0.75)).toBeCloseTo(0.3825, 4);
    expect(binomialP(0, 0, 0.5)).toBe(1);
    expect(binomialP(10_400, 20_001, 0.5)).toBeCloseTo(binomialP(10_400, 20_000, 0.5), 7);
  });

  it('Fisher’s tea: 3 of 4 against 1 of 4 gives 0.4857; Agresti (2002)', () => {
    expect(fisherP(3, 4, 1, 4)).toBeCloseTo(0.4857, 4);
    expect(fisherP(0, 10, 0, 20)).toBe(1);
    // Convictions of twins, Fisher (1962): 2 of 17 dizygotic, 10 of 13 monozygotic; R gives 0.0005367.
    expect(fisherP(2, 17, 10, 13)).toBeCloseTo(0.0005367, 7);
  });

  it('two Poisson rates: 11 in 800 and 21 in 3011 person-years give 0.07967 (R, ?poisson.test)', () => {
    expect(rateP({ pieces: [11], exposure: 800 }, { pieces: [6, 8, 7], exposure: 3011 }, 1)).toBeCloseTo(0.07967, 5);
  });

  it('bursts make the noise larger: one burst of 100 is not 100 events', () => {
    const quiet = { pieces: [0, 0, 0, 0, 0], exposure: 5 };
    const burst = { pieces: [0, 0, 100, 0, 0], exposure: 5 };
    const steady = { pieces: [20, 20, 20, 20, 20], exposure: 5 };
    expect(dispersionOf(quiet, steady)).toBe(1);
    // By hand: mean 20, sum of squares 4 × 400 + 6400 = 8000, 8000 / 20 / (4 + 4) = 50.
    expect(dispersionOf(quiet, burst)).toBe(50);
    expect(rateP(quiet, steady, 1)).toBeLessThan(1e-20);
    expect(rateP(quiet, burst, 50)).toBe(0.5);
    expect(dispersionOf({ pieces: [3], exposure: 1 }, { pieces: [4], exposure: 1 })).toBeNull();
  });

  it('lost events that could be the difference take it away', () => {
    const [a, b] = [
      { pieces: [5, 5], exposure: 1 },
      { pieces: [30, 30], exposure: 1 },
    ];
    expect(rateP(a, b, 1)).toBeLessThan(1e-8);
    expect(rateP(a, b, 1, 40)).toBeGreaterThan(0.2);
    expect(rateP(a, b, 1, 1000)).toBe(1);
  });
});
