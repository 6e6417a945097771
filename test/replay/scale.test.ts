/** Many conversions of single pages, scattered over a large guest: rows grow with events, and each is right. */
import { beforeAll, describe, expect, it } from 'vitest';
import { TEXT_FORMATS } from '../../src/parse/text/index.js';
import { memorySource } from '../../src/parse/source.js';
import { replay } from '../../src/replay/index.js';
import { openStore, type Store } from '../../src/store/db.js';
import { ingestAll } from '../../src/store/ingest.js';
import { asksByHypercall, convertsTo, makesVm, runsAgain, starts, traceText } from '../support/trace-text.js';

const CONVERSIONS = 10_000;
const PAGES = 6000;
const PAGE = 4096;
const TIB = 2 ** 40;

interface Wish {
  readonly gpa: number;
  readonly to: 'private' | 'shared';
}

/** Pages of 1 TiB, some of them several times; a fixed sequence that looks like none (Lehmer's generator). */
function makeWishes(): Wish[] {
  let seed = 20_250_101;
  const draw = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  return Array.from({ length: CONVERSIONS }, () => ({
    gpa: draw(PAGES) * Math.floor(TIB / PAGES / PAGE) * PAGE,
    to: draw(2) === 0 ? 'private' : 'shared',
  }));
}

const wishes = makeWishes();

async function replayed(): Promise<Store> {
  const story = wishes.map(
    ({ gpa, to }) => asksByHypercall(0, to, gpa, PAGE) + convertsTo(to, gpa, PAGE, 'vcpu0') + runsAgain(0),
  );
  const text = traceText([makesVm(), starts(0), ...story]);
  const reader = TEXT_FORMATS.find((f) => f.name === 'ftrace-text')!.open(memorySource('made.txt', Buffer.from(text)));
  const store = await openStore(null);
  await ingestAll(store, [{ path: 'made.txt', reader, sha256: null }]);
  await replay(store);
  return store;
}

/** State of each page after the first `count` wishes, by the plainest of models. */
function naive(count: number): [number, string][] {
  const states = new Map(wishes.slice(0, count).map(({ gpa, to }) => [gpa, to]));
  return [...states].sort((a, b) => a[0] - b[0]);
}

describe('ten thousand scattered conversions', () => {
  let store: Store;
  beforeAll(async () => {
    store = await replayed();
    return () => store.close();
  });

  it.each([1, 17, 2500, 5000, CONVERSIONS])('each page is as it was after conversion %i', async (count) => {
    const rows = await store.rows(`SELECT gpa::DOUBLE AS gpa, size::DOUBLE AS size, attribute, certainty
      FROM state_at((SELECT resume_ns FROM conversion WHERE conversion_id = ${count})) ORDER BY gpa`);
    expect(rows.every((row) => row['size'] === PAGE && row['certainty'] === 'observed')).toBe(true);
    expect(rows.map((row) => [row['gpa'], row['attribute']])).toEqual(naive(count));
  });

  it('every one is a row, in order, and what changed nothing is a no-op', async () => {
    const rows = await store.rows(
      'SELECT gpa::DOUBLE AS gpa, direction, outcome FROM conversion ORDER BY conversion_id',
    );
    const states = new Map<number, string>();
    const expected = wishes.map(({ gpa, to }) => {
      const outcome = states.get(gpa) === to ? 'noop' : 'done';
      states.set(gpa, to);
      return { gpa, direction: `to_${to}`, outcome };
    });
    expect(rows).toEqual(expected);
  });

  it('a page has as many intervals as its state changed, and one that is still open', async () => {
    const [row] = await store.rows(`SELECT count(*)::DOUBLE AS n, count(*) FILTER (to_ns IS NULL)::DOUBLE AS open,
      count(*) FILTER (conversion <> 'idle')::DOUBLE AS converting FROM gmem_interval`);
    const touched = naive(CONVERSIONS).length;
    expect(row!['open']).toBe(touched);
    expect(row!['n']).toBeLessThanOrEqual(3 * CONVERSIONS);
    expect(row!['converting']).toBeGreaterThanOrEqual(CONVERSIONS);
  });
});
