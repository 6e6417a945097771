/** Exact statistics against the plainest way to reckon them. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bucketWidth, MOST_BUCKETS } from '../../src/report/fault-rate.js';
import { bucketSql, bucketStart } from '../../src/report/histogram.js';
import { readStats, statsSql, type Stats } from '../../src/report/stats.js';
import { percent } from '../../src/report/share.js';
import { openStore, type Store } from '../../src/store/db.js';

/** Nearest rank: the value with rank ceil(p · n). */
function naive(samples: readonly number[]): Stats {
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = (perMille: number): number => sorted[Math.max(1, Math.ceil((perMille * sorted.length) / 1000)) - 1]!;
  const sum = samples.reduce((a, b) => a + b, 0);
  return {
    count: samples.length,
    ...{ min: sorted[0]!, p50: rank(500), p90: rank(900), p99: rank(990), p999: rank(999), max: sorted.at(-1)! },
    ...{ mean: Math.round(sum / samples.length), sum },
  };
}

describe('statistics', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openStore(null);
  });
  afterAll(() => store.close());

  const statsOf = async (samples: readonly (number | null)[]): Promise<Stats> => {
    const values = samples.map((ns) => `(${ns === null ? 'NULL' : ns})`).join(', ');
    const [row] = await store.rows(`SELECT ${statsSql('ns')} FROM (VALUES ${values}) AS t(ns)`);
    return readStats(row!);
  };

  it('are those of a naive computation, percentiles by nearest rank', async () => {
    const duration = fc.oneof(fc.nat(100), fc.nat(2 ** 31 - 1), fc.integer({ min: 0, max: 10 ** 13 }));
    await fc.assert(
      fc.asyncProperty(fc.array(duration, { minLength: 1, maxLength: 1500 }), async (samples) => {
        const { mean, ...ours } = await statsOf(samples.map(Number));
        const { mean: wanted, ...exact } = naive(samples);
        expect(ours).toEqual(exact);
        expect(Math.abs(mean! - wanted!)).toBeLessThanOrEqual(1);
      }),
      { numRuns: 60, seed: 7 },
    );
  });

  it('take NULL for no sample, and know nothing of none', async () => {
    expect(await statsOf([null, 5, null])).toMatchObject({ count: 1, min: 5, p999: 5, mean: 5 });
    expect(await statsOf([null])).toMatchObject({ count: 0, min: null, p50: null, mean: null });
  });

  it('have histograms in which every duration lies between the borders of its bucket', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 10 ** 12 }), { minLength: 1, maxLength: 200 }),
        async (all) => {
          const values = all.map((ns) => `(${ns})`).join(', ');
          const rows = await store.rows(
            `SELECT ns::DOUBLE AS ns, ${bucketSql('ns')} AS bucket FROM (VALUES ${values}) AS t(ns)`,
          );
          for (const row of rows) {
            const ns = Math.max(1, row['ns'] as number);
            const bucket = row['bucket'] as number;
            expect(bucketStart(bucket)).toBeLessThanOrEqual(ns * (1 + 1e-8));
            expect(bucketStart(bucket + 1)).toBeGreaterThan(ns * (1 - 1e-8));
          }
        },
      ),
      { numRuns: 30, seed: 7 },
    );
  });
});

describe('buckets of time', () => {
  it('are the narrowest of 1, 2, 5 times a power of ten with which a line spans the trace', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 15 }), (span) => {
        const width = bucketWidth(span);
        expect(['1', '2', '5']).toContain(String(width).replace(/0+$/, ''));
        expect(Math.floor(span / width) + 1).toBeLessThanOrEqual(MOST_BUCKETS);
        const narrower = String(width).startsWith('5') ? (width * 2) / 5 : width / 2;
        if (width > 1) expect(Math.floor(span / Math.floor(narrower)) + 1).toBeGreaterThan(MOST_BUCKETS);
      }),
      { seed: 7 },
    );
  });
});

describe('shares', () => {
  it.each([
    [0, 10, '0%'],
    [10, 10, '100%'],
    [1, 100_000, '<0.1%'],
    [99_999, 100_000, '>99.9%'],
    [1, 3, '33.3%'],
    [0, 0, '—'],
  ])('%d of %d is %s', (part, whole, text) => expect(percent(part, whole)).toBe(text));
});
