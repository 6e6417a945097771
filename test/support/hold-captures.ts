import { describe, expect, it } from 'vitest';
import { answerTo } from './answer.js';
import { captureNames, CAPTURES, readRecordings } from './capture.js';
import { holdAgainstTruth } from './truth.js';

/** Every recording of the captures whose name starts with `prefix`; skipped where the collection is not there. */
export function holdCaptures(prefix: string): void {
  const names = captureNames(CAPTURES, prefix);
  describe.skipIf(names.length === 0)(`captures ${prefix}*`, () => {
    it.each(names.flatMap((capture) => readRecordings(CAPTURES, capture).map((recording) => ({ capture, recording }))))(
      '$capture $recording.name',
      async ({ recording }) => {
        const verdict = holdAgainstTruth(recording, await answerTo(recording.files));
        expect(verdict.wrong).toEqual([]);
        expect(verdict.missing).toEqual([]);
        expect(verdict.right).toBeGreaterThan(0);
      },
    );
  });
}
