import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CAPTURES, hasCaptures, readCapture } from './read-text.js';

/** File, lines and records of the table of whole texts in wild/README.md. */
function readCounts(): [string, number][] {
  if (!hasCaptures) return [];
  const text = readFileSync(new URL('wild/README.md', CAPTURES), 'utf8');
  const table = text.slice(text.indexOf('## text-files'));
  return [...table.matchAll(/^\| (\S+) \| [^|]*\| \d+\/(\d+) \|/gm)].map((match) => [match[1]!, Number(match[2])]);
}

describe.skipIf(!hasCaptures)('traces made by other people', () => {
  it.each(
    readCounts().filter(([file, records]) => records > 0 && existsSync(new URL(`wild/text-files/${file}`, CAPTURES))),
  )('%s has %i records', async (file, records) => {
    const { summary } = await readCapture(`wild/text-files/${file}`);
    expect(summary.events).toBe(records);
  });

  it('refuses a text of function_graph alone', async () => {
    await expect(readCapture('wild/text-files/brendangregg-funcgraph_example.txt')).rejects.toMatchObject({
      code: 'unknown-format',
    });
  });
});

describe.skipIf(!hasCaptures)('one file of each ftrace option', () => {
  it.each([
    ['trace.default.txt', 48],
    ['trace.no-irq-info.txt', 39],
    ['trace.tgid.txt', 38],
    ['trace.latency.txt', 42],
    ['trace.latency-verbose.txt', 41],
    ['trace.fields.txt', 18],
    ['trace.marker.txt', 5],
    ['trace.overrun.txt', 17],
    ['kvm.trace.txt.gz', 3266],
  ])('%s has %i events', async (file, events) => {
    const { summary } = await readCapture(`formats/txt/${file}`);
    expect(summary.events).toBe(events);
    expect(summary.skipped).toEqual([]);
  });

  it('stack traces are no events', async () => {
    const { summary } = await readCapture('formats/txt/trace.stacktrace.txt');
    expect(summary.events).toBe(5);
    expect(summary.skipped).toEqual([{ reason: 'stack trace (not kept)', count: 4, first: 'line 15' }]);
  });

  it.each([
    ['trace.raw.txt', 'raw'],
    ['trace.hex.txt', 'hex'],
    ['trace.bin.txt', 'bin'],
    ['trace.no-context-info.txt', 'context-info'],
    ['bpftrace.txt', 'bpftrace'],
    ['bpftrace.json', 'bpftrace'],
  ])('%s is refused, and why', async (file, word) => {
    const error = await readCapture(`formats/txt/${file}`).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'unknown-format' });
    expect(String(error)).toContain(word);
  });

  it('verbose latency lines have absolute times', async () => {
    const { rows } = await readCapture('formats/txt/trace.latency-verbose.txt');
    expect(rows[0]).toMatchObject({ tsNs: 2124798003000n, tid: 9610, cpu: 0 });
  });
});
