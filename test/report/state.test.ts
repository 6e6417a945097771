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
