import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeRange, forEachOfAll, forEachRun, makeIntervalMap, stateAt } from '../../src/replay/intervals.js';

const PAGES = 2000;

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
});
