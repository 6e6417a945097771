/** Binary recordings of other people (captures/wild/dat, perf), none of a guest whose memory is converted. */
import { describe, expect, it } from 'vitest';
import { datCounts, filesOf, hasWild, outcomeOf, REFUSALS } from '../support/wild-files.js';

describe.skipIf(!hasWild)('whole traces of other people: no claim of a guest, or refused with the reason', () => {
  it.each([...filesOf('dat'), ...filesOf('perf')])('%s', async (name) => {
    const { refusal, claims, lost, lossFindings, events } = await outcomeOf(name);
    if (refusal) expect(REFUSALS).toContain(refusal.code);
    if (refusal) expect(refusal.message).not.toBe('');
    expect(claims).toEqual([]);
    if (lost === 0) expect(lossFindings).toBe(0);
    const expected = datCounts().get(name);
    if (expected !== undefined) expect(events).toBe(expected);
  });
});
