/** Whole texts of other people (captures/wild/text-files), none of a guest whose memory is converted. */
import { describe, expect, it } from 'vitest';
import { filesOf, hasWild, outcomeOf, REFUSALS } from '../support/wild-files.js';

describe.skipIf(!hasWild)('whole traces of other people: no claim of a guest, or refused with the reason', () => {
  it.each(filesOf('text-files'))('%s', async (name) => {
    const { refusal, claims, lost, lossFindings } = await outcomeOf(name);
    if (refusal) expect(REFUSALS).toContain(refusal.code);
    if (refusal) expect(refusal.message).not.toBe('');
    expect(claims).toEqual([]);
    if (lost === 0) expect(lossFindings).toBe(0);
  });
});
