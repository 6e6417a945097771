import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawHistogram, drawSparkline } from '../../src/report/histogram.js';
import { GROUPING_NAMES, parseGroupings, readLatency } from '../../src/report/latency.js';
import { PLAIN } from '../../src/report/render.js';
import { renderLatency } from '../../src/report/text/latency.js';
import { pieces } from '../../src/report/text/slowest.js';
import type { Store } from '../../src/store/db.js';
import { openFilledStore } from './filled-store.js';

describe('latency', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openFilledStore();
  });
  afterAll(() => store.close());

  it('gives percentiles that are samples, whole and by phase', async () => {
    const { groups } = await readLatency(store, { by: ['direction'], slowest: 0 });
    const shared = groups.find((group) => group.key[0] === 'to_shared')!;
    expect(shared).toMatchObject({
      count: 2,
      pages: 4,
      whole: { min: 100_000, p50: 100_000, p99: 2_000_000, max: 2_000_000 },
    });
    expect(shared.phases.map((p) => [p.phase, p.max])).toEqual([
      ['to_userspace', 20_000],
      ['coordination', 80_000],
      ['commit', 1_850_000],
      ['resume', 50_000],
      ['first_use', 10_000],
    ]);
  });

  it('merges the phases on both sides of a border that was not seen, and says so', async () => {
    const report = await readLatency(store, { by: ['origin'], slowest: 1, where: `origin = 'implicit'` });
    expect(report.groups[0]!.phases.map((p) => p.phase)).toEqual([
      'to_userspace',
      'coordination+commit',
      'resume',
      'first_use',
    ]);
    const text = [...renderLatency({ conversions: report }, PLAIN)].join('');
    expect(text).toContain('coordination + commit');
    expect(text).toContain('the border between the two phases was not seen');
  });

  it('keeps refused ones, pending ones and the VMM’s own out of the figures, and says so', async () => {
    const { leftOut } = await readLatency(store, { by: ['direction'], slowest: 0 });
    expect(leftOut).toEqual([
      { reason: 'pending, start or end of the stop not seen', count: 1 },
      { reason: 'refused (--by outcome shows them)', count: 1 },
      { reason: 'the VMM’s own (no vCPU waited; --by origin shows them)', count: 1 },
    ]);
  });

  it('takes the time of the ioctl for the VMM’s own when origins are apart', async () => {
    const { groups } = await readLatency(store, { by: ['origin'], slowest: 0 });
    expect(groups.find((group) => group.key[0] === 'vmm')?.whole.max).toBe(50_000);
  });

  it('shows the slowest with their phases in proportion', async () => {
    const conversions = await readLatency(store, { by: ['direction'], slowest: 5 });
    const text = [...renderLatency({ conversions }, { ...PLAIN, width: 80 })].join('');
    await expect(text).toMatchFileSnapshot('snapshots/latency.80.txt');
    expect(text.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });

  it('tells the wait for the next try after a refused one as a part of the commit', async () => {
    const { groups, slowest } = await readLatency(store, { by: ['direction'], slowest: 1 });
    const shared = groups.find((group) => group.key[0] === 'to_shared')!;
    // Refused at 420 us, tried again at 2,200 us.
    expect(shared.retryWait).toMatchObject({ count: 1, max: 1_780_000 });
    expect(pieces(slowest[0]!).map((piece) => [piece.phase, piece.ns / 1000])).toEqual([
      ['to_userspace', 20],
      ['coordination', 80],
      ['commit', 20],
      ['retry_wait', 1780],
      ['commit', 50],
      ['resume', 50],
    ]);
  });

  it('tells pages a second of stops and exits by page', async () => {
    const { groups } = await readLatency(store, { by: ['direction'], slowest: 0 });
    const shared = groups.find((group) => group.key[0] === 'to_shared')!;
    // 4 pages in 100 us and 2 ms, by one exit each.
    expect(shared.pagesPerSecond).toBeCloseTo(4 / 2.1e-3, 6);
    expect(shared.exitsPerPage).toBe(0.5);
  });

  it('counts a stop once that several ranges of a PSC share', async () => {
    await store.run('UPDATE conversion SET batch = 1 WHERE conversion_id IN (2, 3)');
    const { groups } = await readLatency(store, { by: ['direction'], slowest: 0 });
    await store.run('UPDATE conversion SET batch = NULL');
    expect(groups.find((group) => group.key[0] === 'to_shared')!.pagesPerSecond).toBeCloseTo(4 / 2e-3, 6);
  });

  it.each(GROUPING_NAMES)('groups by %s', async (name) => {
    const { groups } = await readLatency(store, { by: [name], slowest: 0 });
    expect(groups.reduce((sum, group) => sum + group.count, 0)).toBeGreaterThanOrEqual(3);
    expect(groups.every((group) => group.key.length === 1)).toBe(true);
  });

  it('names the groupings there are when one is wrong', () => {
    expect(() => parseGroupings('direction,speed')).toThrow(
      expect.objectContaining({ code: 'usage', message: '--by speed: not a grouping' }),
    );
  });
});

describe('histograms', () => {
  it('draw every filled bucket, however small', () => {
    const lines = drawHistogram(
      [
        { index: 15, count: 1000 },
        { index: 17, count: 1 },
      ],
      { ...PLAIN, width: 60 },
    );
    expect(lines).toHaveLength(3);
    expect(lines[1]).toBe('  215 µs │');
    expect(lines[2]).toBe('  464 µs │▏ 1');
  });

  it('have borders without a unit of time where the clock counts cycles', () => {
    const [line] = drawHistogram([{ index: 18, count: 3 }], { width: 40, unicode: false, unit: 'cycles' });
    expect(line).toMatch(/^ +1\.00 M \|#+ 3$/);
  });

  it('draw sparklines on a common axis; an empty bucket is blank, a filled one never', () => {
    const options = { width: 6, unicode: true };
    const axis = { from: 10, to: 15 };
    expect(
      drawSparkline(
        [
          { index: 10, count: 800 },
          { index: 15, count: 1 },
        ],
        axis,
        options,
      ),
    ).toBe('█    ▁');
    expect(drawSparkline([{ index: 12, count: 3 }], axis, options)).toBe('  █   ');
  });
});
