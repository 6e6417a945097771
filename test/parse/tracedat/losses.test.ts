import { describe, expect, it } from 'vitest';
import { limitStreams } from '../../../src/parse/tracedat/file.js';
import { buildLosses } from '../../../src/parse/tracedat/losses.js';
import { SkipLog } from '../../../src/parse/skips.js';

const gap = (
  count: number | null,
): { cpu: number; fromNs: bigint; toNs: bigint; count: number | null; source: string } => ({
  cpu: 0,
  fromNs: 10n,
  toNs: 20n,
  count,
  source: 'page-header',
});
const stat = { buffer: '', cpu: 0, overrun: 0, commitOverrun: 0, dropped: 0 };

describe('overwritten events', () => {
  it('that page headers count are not counted again', () => {
    const lost = [gap(60), gap(40)];
    expect(buildLosses([{ cpu: 0, firstNs: 1n, lost }], [{ ...stat, overrun: 100 }])).toEqual({ lost, notes: [] });
  });

  it('give the one gap of unknown size its count', () => {
    const { lost } = buildLosses([{ cpu: 0, firstNs: 1n, lost: [gap(60), gap(null)] }], [{ ...stat, overrun: 100 }]);
    expect(lost.map((stretch) => stretch.count)).toEqual([60, 40]);
  });

  it('that no gap explains are before the first event', () => {
    const { lost } = buildLosses([{ cpu: 0, firstNs: 7n, lost: [gap(60)] }], [{ ...stat, overrun: 100 }]);
    expect(lost[0]).toEqual({ cpu: 0, fromNs: null, toNs: 7n, count: 40, source: 'ring-start' });
  });

  it('of a CPU without any data, and dropped ones, are open at both ends', () => {
    const { lost } = buildLosses([], [{ ...stat, overrun: 5, dropped: 3 }]);
    expect(lost).toEqual([
      { cpu: 0, fromNs: null, toNs: null, count: 5, source: 'overwritten' },
      { cpu: 0, fromNs: null, toNs: null, count: 3, source: 'dropped' },
    ]);
  });
});

describe('ranges of CPU data', () => {
  it('are read once, and not into the next one', () => {
    const skips = new SkipLog();
    const range = { cpu: 0, offset: 4096, size: 8192, compressed: false };
    const streams = limitStreams([range, { ...range, cpu: 1 }, { ...range, cpu: 2, offset: 8192 }], [], 16_384, skips);
    expect(streams.map(({ size, limit }) => [size, limit])).toEqual([
      [4096, 8192],
      [0, 8192],
      [8192, 16_384],
    ]);
    expect(skips.list()).toEqual([
      { reason: 'bytes of CPU data that overlap other data', count: 4096 + 8192, first: 'cpu 0, byte 4096' },
    ]);
  });
});
