import { describe, expect, it } from 'vitest';
import { BATCH_ROWS } from '../../../src/parse/batch.js';
import { memorySource } from '../../../src/parse/source.js';
import { TEXT_FORMATS } from '../../../src/parse/text/index.js';
import { readText, traceLine } from './read-text.js';

const LINE = traceLine('kvm_hypercall: nr 0xc a0 0x10016e000 a1 0x5 a2 0x0 a3 0x24000');

/** A generator of numbers that is the same in every run. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

describe('bad input', () => {
  it('a line of 1 MB is counted, what stands around it is read', async () => {
    const { summary } = await readText(`${LINE}${'x'.repeat(1024 * 1024)}\n${LINE}${'y'.repeat(2_500_000)}\n${LINE}`);
    expect(summary.events).toBe(3);
    expect(summary.skipped).toEqual([{ reason: 'line longer than 262144 bytes', count: 2, first: 'line 2' }]);
  });

  it('seq is the line’s number also behind a long line', async () => {
    const { rows } = await readText(`${LINE}${'x'.repeat(3_000_000)}\n${LINE}`);
    expect(rows.map((row) => row.seq)).toEqual([1n, 3n]);
  });

  it('binary in text is counted with its line', async () => {
    const binary = Buffer.from([0, 1, 2, 0xff, 0xfe, 0x80, 0x1b, 0x5b, 0x0a]);
    const { summary } = await readText(Buffer.concat([Buffer.from(LINE), binary, Buffer.from(LINE)]));
    expect(summary.events).toBe(2);
    expect(summary.skipped).toEqual([{ reason: 'line that is no event', count: 1, first: 'line 2' }]);
  });

  it('a cut last line is counted', async () => {
    const { summary } = await readText(LINE + LINE.slice(0, 70));
    expect(summary.events).toBe(1);
    expect(summary.skipped).toEqual([{ reason: 'line that is no event', count: 1, first: 'line 2' }]);
  });

  it('an empty input and one without any event say so, with the line', async () => {
    const ftrace = TEXT_FORMATS[0]!;
    const read = (text: string) => ftrace.open(memorySource('x.txt', Buffer.from(text))).read(() => undefined);
    await expect(read('')).rejects.toMatchObject({ code: 'truncated', place: { input: 'x.txt' } });
    await expect(read('\nhello\n')).rejects.toMatchObject({
      code: 'unknown-format',
      place: { input: 'x.txt', line: 2 },
    });
  });

  it('numbers too large for their digits do not fit', async () => {
    const { rows, summary } = await readText(
      LINE + traceLine(`kvm_hypercall: nr 0x${'f'.repeat(17)} a0 0x0 a1 0x0 a2 0x0 a3 0x0`),
    );
    expect(rows[1]!.values['nr']).toBeNull();
    expect(summary.skipped[0]!.reason).toBe('text of kvm:kvm_hypercall that is not understood');
  });

  it('a cancelled reading stops', async () => {
    const reading = readText(LINE, { signal: AbortSignal.abort() });
    await expect(reading).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('any damage of a text gives a result or a reason', async () => {
    const random = makeRandom(7);
    const base = Buffer.from(
      `# tracer: nop\n${LINE}${traceLine('sys_ioctl -> 0x5')}CPU:0 [LOST 5 EVENTS]\n${traceLine('get_pfn: (a+0x0/0x1) kvm=0x5 x="q"')}${traceLine('sched_switch: prev_comm=a prev_pid=1 prev_prio=2 prev_state=R ==> next_comm=b next_pid=3 next_prio=4')}`.repeat(
        3,
      ),
    );
    for (let round = 0; round < 400; round++) {
      const bytes = Buffer.from(base);
      for (let k = 0; k < 1 + random() * 20; k++)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      const cut = bytes.subarray(0, Math.floor(random() * bytes.length));
      for (const format of TEXT_FORMATS) {
        const outcome = await format
          .open(memorySource('x', cut))
          .read(() => undefined)
          .then((summary) => summary.events >= 0)
          .catch((error: unknown) => error instanceof Error && error.name === 'TraceError');
        expect(outcome).toBe(true);
      }
    }
  });

  it('batches come in full pieces and hold every row once', async () => {
    const lines = 150_000;
    const text = Buffer.from(LINE.repeat(lines));
    const sizes: number[] = [];
    let last = 0n;
    await TEXT_FORMATS[0]!.open(memorySource('x', text)).read((batch) => {
      sizes.push(batch.length);
      for (let row = 0; row < batch.length; row++) {
        if (batch.seq[row] !== last + 1n) throw new Error(`row ${row} has line ${String(batch.seq[row])}`);
        last++;
      }
    });
    const full = Math.floor(lines / BATCH_ROWS);
    expect(sizes).toEqual([...Array<number>(full).fill(BATCH_ROWS), lines % BATCH_ROWS]);
    expect(last).toBe(BigInt(lines));
  });
});
