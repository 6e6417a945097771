/** A few seeds of what scripts/simulate-many.mjs asks about by the hundred. */
import { describe, expect, it } from 'vitest';
import { COMBINATIONS, judgeLossy, judgeRare, judgeWhole } from './simulated.js';

describe.each(COMBINATIONS)('%s by %s', (platform, mechanism) => {
  it.each([1, 2, 3])('is replayed exactly as it was, seed %i', async (seed) => {
    const { right, missing, wrong } = await judgeWhole(platform, mechanism, seed);
    expect({ missing, wrong }).toEqual({ missing: [], wrong: [] });
    expect(right).toBeGreaterThan(0);
  });

  it.each([1])('is replayed exactly as it was in a rarer run, seed %i', async (seed) => {
    const { right, missing, wrong } = await judgeRare(platform, mechanism, seed);
    expect({ missing, wrong }).toEqual({ missing: [], wrong: [] });
    expect(right).toBeGreaterThan(0);
  });

  it.each(['stretches', 'bursts'] as const)('is never told of falsely where events are lost in %s', async (how) => {
    const { wrong } = await judgeLossy(platform, mechanism, 1, how);
    expect(wrong).toEqual([]);
  });
});
