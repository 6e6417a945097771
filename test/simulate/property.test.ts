import { describe, expect, it } from 'vitest';
import { COMBINATIONS, judgeRun, optionsOf } from './simulated.js';

/** `SIMULATE_SEEDS=1-1000` for a long run (scripts/simulate-many.mjs); the suite takes a few. */
const [FIRST, LAST] = (process.env['SIMULATE_SEEDS'] ?? '1-1').split('-').map(Number) as [number, number];
const SEEDS = Array.from({ length: LAST - FIRST + 1 }, (_, k) => FIRST + k);
const ONLY = process.env['SIMULATE_ONLY'];
const CASES = COMBINATIONS.filter((names) => ONLY === undefined || names.join(' ') === ONLY);

describe.each(CASES)('%s by %s', (platform, mechanism) => {
  it.each(SEEDS)('is replayed exactly as it was, seed %i', async (seed) => {
    const format = seed % 2 === 0 ? 'text' : 'dat';
    const { right, missing, wrong } = await judgeRun(optionsOf(platform, mechanism, seed), format);
    expect({ missing, wrong }).toEqual({ missing: [], wrong: [] });
    expect(right).toBeGreaterThan(0);
  });

  it.each(SEEDS)('is never told of falsely where events are lost, seed %i', async (seed) => {
    const options = { ...optionsOf(platform, mechanism, seed), lost: 0.02 + (seed % 5) * 0.08 };
    const { wrong } = await judgeRun(options, seed % 2 === 0 ? 'dat' : 'text');
    expect(wrong).toEqual([]);
  });
});
