/** A few seeds of what scripts/simulate-many.mjs asks about by the hundred. */
import { describe, expect, it } from 'vitest';
import { completeOptions } from '../../src/simulate/index.js';
import { answerTo } from '../support/answer.js';
import { COMBINATIONS, judgeLossy, judgeRare, judgeWhole, withRecording } from './simulated.js';

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

it('who held a page is told, who only went over it is not', async () => {
  const options = { platform: 'x86-sw', mechanism: 'gmem-attributes', seed: 1, retries: 4, noise: 6 } as const;
  await withRecording(completeOptions(options), 'dat', async ({ run: { events, truth }, recording }) => {
    const speculative = events.filter(
      ({ comm, definition: { name } }) => comm === 'kcompactd0' && /^page_ref/.test(name),
    );
    expect(speculative.length).toBeGreaterThan(20);
    const { holders } = await answerTo(recording.files);
    expect(holders.length).toBeGreaterThan(0);
    const pins = new Set(truth.pins.map(({ tid, offset }) => `${tid} ${offset}`));
    expect(holders.filter(({ tid, offset }) => !pins.has(`${tid} ${offset}`))).toEqual([]);
  });
});
