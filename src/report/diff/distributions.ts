/** The few functions of mathematical statistics that the tests of `diff` rest on. */

/** Below this, the series for erf converges fast and loses no digits; from here on the continued fraction does. */
const SERIES_BELOW = 2.5;

/** Complementary error function, relative error under 1e-12 (Abramowitz and Stegun 7.1.6 and 7.1.14). */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < SERIES_BELOW) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - ((2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum || 0);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** Probability that a standard normal variable is at least |z| away from 0. */
export function twoSidedNormal(z: number): number {
  return erfc(Math.abs(z) / Math.SQRT2);
}

/** ln n! for whole n: summed for small n, Stirling's series (error under 1e-12) beyond. */
export function logFactorial(n: number): number {
  if (n < 32) {
    let sum = 0;
    for (let k = 2; k <= n; k++) sum += Math.log(k);
    return sum;
  }
  const x = n + 1;
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}

/** ln of the binomial coefficient n over k. */
export function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

/** p values adjusted for testing them all: the chance of even one false alarm stays as small as said (Holm 1979). */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, k) => k).sort((x, y) => pValues[x]! - pValues[y]!);
  const adjusted = pValues.map(() => 1);
  let least = 0;
  for (const [rank, k] of order.entries()) {
    least = Math.max(least, Math.min(1, (pValues.length - rank) * pValues[k]!));
    adjusted[k] = least;
  }
  return adjusted;
}
