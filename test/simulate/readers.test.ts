import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EventBatch } from '../../src/parse/batch.js';
import { openTrace } from '../../src/parse/index.js';
import type { ReadSummary } from '../../src/parse/model.js';
import { completeOptions, simulate, textLines, truthOf, writeTraceDat } from '../../src/simulate/index.js';
import type { LossMarks, SimulatedRun } from '../../src/simulate/index.js';
import { COMBINATIONS, optionsOf } from './simulated.js';

interface Row {
  readonly cpu: number;
  readonly seq: bigint;
  /** Event, thread, and time to the µs that a text keeps. */
  readonly head: string;
  readonly fields: ReadonlyMap<string, string>;
}

interface Rows {
  readonly summary: ReadSummary;
  /** By CPU, in the order of each CPU's events. */
  readonly rows: readonly Row[];
}

/** The trace marker's event has another name in a text than in a trace.dat. */
const nameOf = (name: string): string => (name === 'print' ? 'tracing_mark_write' : name);

/** Fields that the kernel's text does not print, or not as they are: the marker's address, hashed pointers, symbols. */
const NOT_PRINTED = /^(?:__probe_|__syscall_nr$|ip$|buf$|mapping$|mt$)/;

function rowsOf(batch: EventBatch): Row[] {
  const name = nameOf(batch.schema.name);
  return Array.from({ length: batch.length }, (_, k) => {
    const fields = new Map<string, string>();
    for (const [at, { name: field }] of batch.schema.fields.entries()) {
      const { data, type, valid } = batch.columns[at]!;
      if (NOT_PRINTED.test(field) || (valid && valid[k] === 0)) continue;
      fields.set(field, type === 'string' ? batch.strings.values[Number(data[k])]! : String(data[k]));
    }
    const head = `${name} ${batch.tid[k]} ${(batch.tsNs[k]! + 500n) / 1000n}`;
    return { cpu: batch.cpu[k]!, seq: batch.seq[k]!, head, fields };
  });
}

async function readRows(path: string): Promise<Rows> {
  const { source, reader } = await openTrace(path);
  const rows: Row[] = [];
  try {
    const summary = await reader.read((batch) => void rows.push(...rowsOf(batch)));
    rows.sort((a, b) => a.cpu - b.cpu || (a.seq < b.seq ? -1 : 1));
    return { summary, rows };
  } finally {
    source.close();
  }
}

/** Rows as text, with those of their fields that the other side has, too. */
function showRows(rows: readonly Row[], others: readonly Row[]): string[] {
  return rows.map(({ cpu, head, fields }, k) => {
    const shared = [...fields].filter(([field]) => others[k]?.fields.has(field) === true);
    return `${cpu} ${head} ${shared
      .map(([field, value]) => `${field}=${value}`)
      .sort()
      .join(' ')}`;
  });
}

const bytesOf = (run: SimulatedRun): readonly string[] => [
  [...textLines(run)].join(''),
  Buffer.from(writeTraceDat(run)).toString('base64'),
  JSON.stringify(truthOf(run)),
];

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gmemtrace-readers-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function readBoth(run: SimulatedRun): Promise<readonly [Rows, Rows]> {
  writeFileSync(join(folder, 'trace.txt'), [...textLines(run)].join(''));
  writeFileSync(join(folder, 'trace.dat'), writeTraceDat(run));
  return [await readRows(join(folder, 'trace.txt')), await readRows(join(folder, 'trace.dat'))];
}

describe.each(COMBINATIONS)('%s by %s', (platform, mechanism) => {
  it('gives the same bytes for the same seed, and others for another', () => {
    const bytes = bytesOf(simulate(optionsOf(platform, mechanism, 5)));
    expect(bytesOf(simulate(optionsOf(platform, mechanism, 5)))).toEqual(bytes);
    expect(bytesOf(simulate(optionsOf(platform, mechanism, 6)))).not.toEqual(bytes);
  });

  it('is read alike from its text and its trace.dat', async () => {
    const run = simulate(optionsOf(platform, mechanism, 5));
    const [text, dat] = await readBoth(run);
    expect(text.summary.skipped).toEqual([]);
    expect(dat.summary.skipped).toEqual([]);
    expect(text.summary.events).toBe(run.events.length);
    expect(showRows(dat.rows, text.rows)).toEqual(showRows(text.rows, dat.rows));
  });
});

it('tells both readers of every stretch that was lost, with its count', async () => {
  const run = simulate(completeOptions({ platform: 'tdx', seed: 3, lost: 0.2 }));
  const told = ({ summary }: Rows): string[] => summary.lost.map(({ cpu, count }) => `${cpu}: ${count}`).sort();
  const [text, dat] = await readBoth(run);
  expect(run.losses.length).toBeGreaterThan(5);
  expect(told(text)).toEqual(run.losses.map(({ cpu, count }) => `${cpu}: ${count}`).sort());
  expect(told(dat)).toEqual(told(text));
  expect(showRows(dat.rows, text.rows)).toEqual(showRows(text.rows, dat.rows));
});

describe('a recorder that does not count what it loses', () => {
  const lossy = (lostMarks: LossMarks): SimulatedRun =>
    simulate(completeOptions({ platform: 'snp', seed: 3, lost: 0.1, lostBurst: 3, lostMarks }));

  it('tells both readers where, but not how many', async () => {
    const run = lossy('bare');
    expect(Math.max(...run.losses.map(({ count }) => count))).toBe(3);
    const where = run.losses.map(({ cpu }) => `${cpu}: null`).sort();
    for (const { summary } of await readBoth(run))
      expect(summary.lost.map(({ cpu, count }) => `${cpu}: ${count}`).sort()).toEqual(where);
  });

  it('or leaves it to the counts in the header of a text', async () => {
    const run = lossy('none');
    const [text, dat] = await readBoth(run);
    const lost = run.losses.reduce((sum, { count }) => sum + count, 0);
    expect(lost).toBeGreaterThan(20);
    expect(text.summary.lost.filter(({ count }) => count !== null)).toMatchObject([{ cpu: null, count: lost }]);
    expect(dat.summary.lost).toEqual([]);
  });
});

it('says in itself that it is synthetic', () => {
  const run = simulate(completeOptions({ platform: 'snp' }));
  const text = [...textLines(run)].join('');
  expect(text).toMatch(/^# synthetic: written by gmemtrace simulate/m);
  expect(text).toMatch(/: tracing_mark_write: synthetic: written by gmemtrace simulate/);
  expect(Buffer.from(writeTraceDat(run)).includes('synthetic: written by gmemtrace simulate')).toBe(true);
  expect(truthOf(run)).toMatchObject({ synthetic: true });
});
