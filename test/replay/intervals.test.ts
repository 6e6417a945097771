import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  changeRange,
  forEachOfAll,
  forEachRun,
  makeIntervalMap,
  stateAt,
  type IntervalMap,
} from '../../src/replay/intervals.js';

const PAGES = 2000;
const ignore = (): void => undefined;

/** Distinct pages, no two of them neighbours, in no order. */
function* scattered(count: number, pages: number): Generator<number> {
  const stride = Math.floor(pages / count);
  for (let k = 0; k < count; k++) yield ((k * 7919) % count) * stride;
}

function runsOf(map: IntervalMap): number[][] {
  const runs: number[][] = [];
  forEachOfAll(map, (...run) => runs.push(run));
  return runs;
}

describe('interval map', () => {
  it('holds the same states as one number a page, whatever the order of changes', () => {
    const change = fc.record({
      first: fc.integer({ min: 0, max: PAGES - 1 }),
      count: fc.integer({ min: 1, max: 60 }),
      state: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 400 }), (changes) => {
        const map = makeIntervalMap();
        const naive = new Array<number>(PAGES + 60).fill(0);
        const since = new Array<number>(PAGES + 60).fill(0);
        changes.forEach(({ first, count, state }, step) => {
          const now = step + 1;
          const closed: number[] = [];
          changeRange(
            map,
            first,
            count,
            () => state,
            now,
            (from, n, old, began) => {
              for (let p = from; p < from + n; p++) {
                expect([old, began]).toEqual([naive[p], since[p]]);
                closed.push(p);
              }
            },
          );
          const ended: number[] = [];
          for (let p = first; p < first + count; p++) {
            if (naive[p] !== state && naive[p] !== 0) ended.push(p);
            if (naive[p] !== state) since[p] = now;
            naive[p] = state;
          }
          expect(closed).toEqual(ended);
        });
        const seen = new Array<number>(PAGES + 60).fill(0);
        let end = 0;
        forEachOfAll(map, (first, count, state) => {
          expect(first).toBeGreaterThanOrEqual(end);
          end = first + count;
          for (let p = first; p < end; p++) seen[p] = state;
        });
        expect(seen).toEqual(naive);
      }),
      { numRuns: 150, seed: 7 },
    );
  });

  it('clips runs to the range asked for', () => {
    const map = makeIntervalMap();
    changeRange(
      map,
      10,
      20,
      () => 3,
      5,
      () => undefined,
    );
    const runs: number[][] = [];
    forEachRun(map, 25, 100, (...run) => runs.push(run));
    expect(runs).toEqual([[25, 5, 3, 5]]);
    expect([stateAt(map, 9), stateAt(map, 10), stateAt(map, 29), stateAt(map, 30)]).toEqual([0, 3, 3, 0]);
  });

  it('costs runs, not pages: scattered pages of 1 TiB are a run each, a sweep over all of them is one', () => {
    const TIB = 2 ** 28;
    const map = makeIntervalMap();
    const pages = [...scattered(20_000, TIB)];
    pages.forEach((page, k) => changeRange(map, page, 1, () => 1 + (k % 2), k, ignore));
    expect(runsOf(map)).toEqual(pages.map((page, k) => [page, 1, 1 + (k % 2), k]).sort((a, b) => a[0]! - b[0]!));
    expect(map.leaves.length).toBeLessThan(20_000 / 32);

    const closed: number[] = [];
    changeRange(
      map,
      0,
      TIB,
      () => 3,
      20_000,
      (first) => closed.push(first),
    );
    expect(closed).toEqual(pages.toSorted((a, b) => a - b));
    expect(runsOf(map)).toEqual([[0, TIB, 3, 20_000]]);
    expect(map.leaves).toHaveLength(1);
  });

  it('forgets what falls back to state 0', () => {
    const map = makeIntervalMap();
    for (const page of scattered(5000, 2 ** 28)) changeRange(map, page, 1, () => 1, 1, ignore);
    changeRange(map, 0, 2 ** 28, () => 0, 2, ignore);
    expect(runsOf(map)).toEqual([]);
    expect(map.leaves).toHaveLength(0);
    changeRange(map, 0, 2 ** 28, (state) => state, 3, ignore);
    expect(map.leaves).toHaveLength(0);
  });

  it('keeps the time of a state that stays, and joins what is alike again', () => {
    const map = makeIntervalMap();
    changeRange(map, 0, 1000, () => 1, 1, ignore);
    for (let page = 0; page < 1000; page += 2) changeRange(map, page, 1, () => 2, 2, ignore);
    changeRange(map, 0, 1000, () => 2, 3, ignore);
    expect(runsOf(map).slice(0, 3)).toEqual([
      [0, 1, 2, 2],
      [1, 1, 2, 3],
      [2, 1, 2, 2],
    ]);
    changeRange(map, 0, 1000, () => 4, 4, ignore);
    expect(runsOf(map)).toEqual([[0, 1000, 4, 4]]);
  });
});
