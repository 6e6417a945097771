import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildChanges, mergeNeighbours, readStateAt } from '../../src/report/model-state.js';
import type { Store } from '../../src/store/db.js';
import { openFilledStore, stampAt } from './filled-store.js';

describe('state', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openFilledStore();
  });
  afterAll(() => store.close());

  it('gives the ranges at an instant; an interval begins at its first ns and ends before its last', async () => {
    const before = await readStateAt(store, stampAt(1000) - 1n, {});
    expect(before.map((r) => [r.offset, r.size, r.state])).toEqual([
      [0n, 8192n, 'private'],
      [8192n, 4096n, 'private'],
    ]);
    const after = await readStateAt(store, stampAt(1000), {});
    expect(after.map((r) => [r.offset, r.state, r.certainty])).toEqual([
      [0n, 'shared', 'inferred'],
      [4096n, 'private', 'observed'],
      [8192n, 'private', 'observed'],
    ]);
  });

  it('joins neighbours that look the same', async () => {
    const merged = mergeNeighbours(await readStateAt(store, stampAt(1000), {}));
    expect(merged.map((r) => [r.offset, r.size, r.state])).toEqual([
      [0n, 4096n, 'shared'],
      [4096n, 8192n, 'private'],
    ]);
  });

  it('finds what changed, with the lower certainty of both', async () => {
    const changes = buildChanges(
      await readStateAt(store, stampAt(100), {}),
      await readStateAt(store, stampAt(1000), {}),
    );
    expect(changes).toEqual([
      {
        vm: 1,
        gmem: 1,
        gpa: 4294967296n,
        offset: 0n,
        size: 4096n,
        before: 'private',
        after: 'shared',
        certainty: 'inferred',
      },
      {
        vm: 1,
        gmem: 1,
        gpa: 4294975488n,
        offset: 8192n,
        size: 4096n,
        before: null,
        after: 'private',
        certainty: 'unknown',
      },
    ]);
  });

  it('filters by offset and gpa', async () => {
    const offset = { from: 4096n, size: 1n };
    expect(await readStateAt(store, stampAt(1000), { offset })).toHaveLength(1);
    expect(await readStateAt(store, stampAt(1000), { gpa: { from: 4294967296n, size: 8192n } })).toHaveLength(2);
    expect(await readStateAt(store, stampAt(1000), { gmem: 2 })).toEqual([]);
  });
});

describe('state --diff and the macro state_diff', () => {
  const PAGE = 4096;
  const range = fc.record({
    gmem: fc.constantFrom(1, null),
    page: fc.nat(20),
    pages: fc.integer({ min: 1, max: 6 }),
    side: fc.constantFrom(1, 2, 3),
    state: fc.constantFrom('private', 'shared', 'converting'),
    certainty: fc.constantFrom('observed', 'inferred', 'assumed', 'unknown'),
  });
  type Range = typeof range extends fc.Arbitrary<infer T> ? T : never;

  /** Rows of gmem_interval, disjoint at each instant: side 1 is there at 10, 2 at 20, 3 at both. */
  function disjoint(ranges: readonly Range[]): Range[] {
    const taken = new Set<string>();
    return ranges.filter(({ gmem, page, pages, side }) => {
      const cells = Array.from({ length: pages }, (_, k) => `${gmem} ${page + k}`);
      const keys = cells.flatMap((cell) => [1, 2].filter((s) => (side & s) !== 0).map((s) => `${cell} ${s}`));
      if (keys.some((key) => taken.has(key))) return false;
      for (const key of keys) taken.add(key);
      return true;
    });
  }

  async function fill(store: Store, ranges: readonly Range[]): Promise<void> {
    await store.run('DELETE FROM gmem_interval');
    for (const { gmem, page, pages, side, state, certainty } of disjoint(ranges))
      await store.run(`INSERT INTO gmem_interval BY NAME SELECT 1 AS vm_id, ${gmem ?? 'NULL'} AS gmem_id,
        ${page * PAGE} AS gpa, ${gmem === null ? 'NULL' : page * PAGE} AS "offset", ${pages * PAGE} AS size,
        ${side === 2 ? 15 : 5} AS from_ns, ${side === 1 ? 15 : 'NULL'} AS to_ns, 'unknown' AS allocation,
        '${state}' AS attribute, 'unknown' AS shareability, 'idle' AS conversion, '${state}' AS state,
        '${certainty}' AS certainty`);
  }

  it('say the same of every page', async () => {
    const store = await openFilledStore();
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(range, { maxLength: 8 }), async (ranges) => {
          await fill(store, ranges);
          const told = buildChanges(await readStateAt(store, 10n, {}), await readStateAt(store, 20n, {}));
          const rows = await store.rows('FROM state_diff(10, 20)');
          const pagesOf = (gmem: unknown, gpa: unknown, size: unknown, ...what: unknown[]): string[] =>
            Array.from({ length: Number(size) / PAGE }, (_, k) =>
              [gmem, Number(gpa) / PAGE + k, ...what].map(String).join(' '),
            );
          expect(
            rows
              .flatMap((r) =>
                pagesOf(r['gmem_id'], r['gpa'], r['size'], r['state_before'], r['state_after'], r['certainty']),
              )
              .sort(),
          ).toEqual(told.flatMap((c) => pagesOf(c.gmem, c.gpa, c.size, c.before, c.after, c.certainty)).sort());
        }),
        { numRuns: 40 },
      );
    } finally {
      store.close();
    }
  });
});
