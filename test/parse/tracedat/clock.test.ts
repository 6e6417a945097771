/** Conversions of stamps by two 32-bit halves, against the same in BigInt. */
import { describe, expect, it } from 'vitest';
import { clockFacts, CpuClock } from '../../../src/parse/tracedat/clock.js';
import { noOptions } from '../../../src/parse/tracedat/options.js';
import type { Options, ShiftSample } from '../../../src/parse/tracedat/options.js';

function convert(options: Options, stamp: bigint, cpu = 0, extraNs = 0n): bigint {
  const clock = new CpuClock(options, clockFacts(options, null), cpu, extraNs);
  clock.convert(Number(stamp & 0xffffffffn), Number(stamp >> 32n));
  return (BigInt(clock.hi) << 32n) | BigInt(clock.lo);
}

const STAMPS = [0n, 1n, 4367770395613n, 0xffffffffn, 0x100000000n, 0x123456789abcdefn, 0xfffffffffffffn];

describe('stamps', () => {
  it.each([
    [827187000, 31],
    [0xffffffff, 32],
    [0xffffffff, 1],
    [1, 0],
    [0x80000001, 40],
    [10_000_000, 22],
  ])('of cycles become ns by mult %i and shift %i', (mult, shift) => {
    const options = { ...noOptions(), traceClock: 'x86-tsc', tsc2nsec: { mult, shift } };
    for (const stamp of STAMPS) {
      expect(convert(options, stamp)).toBe(BigInt.asUintN(64, (stamp * BigInt(mult)) >> BigInt(shift)));
    }
  });

  it('get date and offset after the conversion, also a negative one', () => {
    const options = { ...noOptions(), dateNs: 1_795_408_064_398_881_000n, offsetNs: -5n };
    expect(convert(options, 7n, 0, 2n)).toBe(1_795_408_064_398_881_004n);
    expect(convert({ ...noOptions(), offsetNs: -1n }, 0x100000000n)).toBe(0xffffffffn);
  });

  it('of ticks become ns exactly', () => {
    const options = { ...noOptions(), traceClock: 'uptime' };
    expect(convert(options, 123_456_789_012n)).toBe(1_234_567_890_120_000_000n);
  });

  it('of a guest are corrected by the samples around them', () => {
    const sample = (time: bigint, offset: bigint): ShiftSample => ({
      time,
      offset,
      scaling: 1n,
      fraction: 0n,
    });
    const cpus = [[sample(1000n, 50n), sample(2000n, 70n), sample(3000n, 40n)]];
    const stepwise = { ...noOptions(), timeShift: { interpolate: false, cpus } };
    const smooth = { ...noOptions(), timeShift: { interpolate: true, cpus } };
    expect([500n, 1500n, 2500n, 9000n].map((stamp) => convert(stepwise, stamp))).toEqual([550n, 1550n, 2570n, 9070n]);
    expect([1500n, 2000n, 2500n].map((stamp) => convert(smooth, stamp))).toEqual([1560n, 2070n, 2556n]);
    expect(convert(smooth, 1500n, 1)).toBe(1500n);
  });
});
