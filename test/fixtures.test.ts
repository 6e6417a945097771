import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { answerTo, type Answer, type AnswerConversion } from './support/answer.js';
import { captureNames, FIXTURES, readJson, readRecordings } from './support/capture.js';
import { holdAgainstTruth } from './support/truth.js';

/** Each recording is analysed once for the tests of this file. */
const answers = new Map<string, Promise<Answer>>();
function answerOnce(files: readonly string[]): Promise<Answer> {
  const key = files.join('\n');
  const answer = answers.get(key) ?? answerTo(files);
  answers.set(key, answer);
  return answer;
}

describe.each(captureNames(FIXTURES))('%s', (capture) => {
  it.each(readRecordings(FIXTURES, capture))('$name: what happened, all of it, and nothing else', async (recording) => {
    const verdict = holdAgainstTruth(recording, await answerOnce(recording.files));
    expect(verdict.wrong).toEqual([]);
    expect(verdict.missing).toEqual([]);
    expect(verdict.right).toBeGreaterThan(0);
  });
});

/** What does not depend on when a recorder stamped an event. */
function timeless(row: AnswerConversion): string {
  const errnos = row.attempts.map((attempt) => attempt.errno ?? 0).join(',');
  const { vcpu, gpa, offset, size, direction, origin, request, mechanism, outcome } = row;
  return JSON.stringify({ vcpu, gpa, offset, size, direction, origin, request, mechanism, outcome, errnos });
}

describe('one run by several recorders', () => {
  const byName = new Map(readRecordings(FIXTURES, 'x86-basic').map((recording) => [recording.name, recording.files]));
  const listed = async (name: string): Promise<readonly string[]> =>
    (await answerOnce(byName.get(name)!)).conversions.map(timeless).sort();

  it.each(['perf', 'text', 'pipe', 'report', 'report-N', 'report-R', 'script'])(
    '%s gives the conversions that trace.dat gives',
    async (name) => {
      const conversions = await listed(name);
      expect(conversions).toEqual(await listed('dat'));
      expect(conversions).toHaveLength(110);
    },
  );
});

interface Expected {
  readonly file: string;
  readonly events: number | { readonly min: number; readonly max: number };
  readonly first_ns: number;
  readonly last_ns: number | null;
  readonly lost: number | null;
  readonly skipped: boolean;
}

describe('container formats', () => {
  const { files } = readJson<{ files: readonly Expected[] }>(join(FIXTURES, 'formats/expected.json'));

  it.each(files)('$file: every event, the losses, and what cannot be read', async (expected) => {
    const [trace] = (await answerTo([join(FIXTURES, 'formats', expected.file)])).analysis.traces;
    if (typeof expected.events === 'number') expect(trace!.events).toBe(expected.events);
    else {
      expect(trace!.events).toBeGreaterThanOrEqual(expected.events.min);
      expect(trace!.events).toBeLessThanOrEqual(expected.events.max);
    }
    expect(trace!.start_ns).toBe(expected.first_ns);
    if (expected.last_ns !== null) expect(trace!.end_ns).toBe(expected.last_ns);
    expect(trace!.lost).toBe(expected.lost);
    expect(trace!.skipped.length > 0).toBe(expected.skipped);
  });
});

describe('the comparison with the truth', () => {
  const [recording] = readRecordings(FIXTURES, 'x86-basic');
  const altered = async (change: (answer: Answer) => Answer) =>
    holdAgainstTruth(recording!, change(await answerOnce(recording!.files)));
  const onFirst =
    (change: (row: AnswerConversion) => AnswerConversion | null) =>
    (answer: Answer): Answer => {
      const index = answer.conversions.findIndex((row) => row.origin === 'explicit' && row.outcome === 'done');
      const rows = answer.conversions.map((row, k) => (k === index ? change(row) : row));
      return { ...answer, conversions: rows.filter((row) => row !== null) };
    };

  it('misses a conversion that is left out', async () => {
    const { missing, wrong } = await altered(onFirst(() => null));
    expect(missing).toEqual([expect.stringContaining('conversion: explicit')]);
    expect(wrong).toEqual([]);
  });

  it.each([
    ['vcpu', { vcpu: 7 }, 'vcpu of'],
    ['offset', { offset: 0x7777_0000 }, 'offset of'],
    ['outcome', { outcome: 'failed' }, 'outcome of'],
    ['origin', { origin: 'vmm' }, 'origin of'],
    ['time of resuming', { resume_ns: 1 }, 'resume_ns of'],
    ['place', { gpa: 0x1000 }, 'did not happen'],
    ['errno', { attempts: [{ start_ns: null, end_ns: null, errno: 11, error_offset: null }] }, 'errnos of'],
  ] as const)('finds a wrong %s', async (_what, change, message) => {
    const { wrong } = await altered(onFirst((row) => ({ ...row, ...change })));
    expect(wrong).toContainEqual(expect.stringContaining(message));
  });

  it('does not take a doubt for a claim, nor for an answer', async () => {
    const { missing, wrong } = await altered(onFirst((row) => ({ ...row, certainty: 'assumed', vcpu: 7 })));
    expect(wrong).toEqual([]);
    expect(missing).toHaveLength(1);
  });

  it('finds a finding that should not be, and a count that is off', async () => {
    const finding = { rule: 'refcount-leak', severity: 'error', verdict: 'fail', vm: 1, title: 'made up' };
    const { wrong } = await altered((answer) => ({
      ...answer,
      analysis: { ...answer.analysis, findings: [finding], memory_faults: { total: 999 } },
    }));
    expect(wrong).toEqual(['faults: said 999, was 46', 'finding refcount-leak: made up']);
  });
});
