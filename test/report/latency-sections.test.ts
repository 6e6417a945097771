/** The whole report of a recording, in every format; parts of it; what is refused. */
import { join } from 'node:path';
import papa from 'papaparse';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Session } from '../../src/cli/session.js';
import { csvOutput } from '../../src/report/csv/index.js';
import { LATENCY_SECTIONS, readLatencySections, type LatencySections } from '../../src/report/latency-sections.js';
import { markdownOutput } from '../../src/report/markdown/index.js';
import { PLAIN, type Chunks } from '../../src/report/render.js';
import { renderLatency as renderJson } from '../../src/report/json/latency.js';
import { renderLatency } from '../../src/report/text/latency.js';
import { runRules, loadRules } from '../../src/replay/rules.js';
import { runCli } from '../cli/run-cli.js';
import { FIXTURES } from '../support/capture.js';
import {
  asksByHypercall,
  convertsTo,
  makesVm,
  runsAgain,
  setsPrivate,
  starts,
  traceText,
} from '../support/trace-text.js';
import { latencyOf, latencyOfStore, openTraces, withTrace, type JsonLatency } from './latency-json.js';

const STALLS = join(FIXTURES, 'x86-stalls', 'a.dat');

const collect = async (chunks: Chunks): Promise<string> => {
  let text = '';
  for await (const chunk of chunks) text += chunk;
  return text;
};

describe('latency of x86-stalls', () => {
  let session: Session;
  let sections: LatencySections;
  beforeAll(async () => {
    session = await openTraces(STALLS);
    sections = await readLatencySections(session.store, {
      ...{ by: ['direction'], slowest: 5, show: LATENCY_SECTIONS, exits: 'vmexit', order: 'samples' },
    });
  });
  afterAll(() => session.close());

  it.each([80, 120])('fits %d columns', async (width) => {
    const text = [...renderLatency(sections, { ...PLAIN, width })].join('');
    await expect(text).toMatchFileSnapshot(`snapshots/latency-stalls.${width}.txt`);
    expect(text.split('\n').filter((line) => [...line].length > width)).toEqual([]);
    expect(text).not.toMatch(/\u001b/);
  });

  it.each([40, 60])('loses no line in %d columns', (width) => {
    const text = [...renderLatency(sections, { ...PLAIN, width })].join('');
    for (const word of ['coordination', 'slowest 5', 'HYPERCALL', 'npf', 'memory faults']) expect(text).toContain(word);
  });

  it('draws with ASCII where the terminal has no more', () => {
    const text = [...renderLatency(sections, { ...PLAIN, unicode: false })].join('');
    expect(text).not.toMatch(/[▁-█▒│]/);
  });

  it('writes a table for each part as Markdown', async () => {
    await expect(await collect(markdownOutput.latency!(sections, PLAIN))).toMatchFileSnapshot(
      'snapshots/latency-stalls.md.txt',
    );
  });

  it('writes all parts as one CSV table, the first column says which', async () => {
    const csv = await collect(csvOutput.latency!(sections, PLAIN));
    await expect(csv).toMatchFileSnapshot('snapshots/latency-stalls.csv.txt');
    const { data } = papa.parse<Readonly<Record<string, string>>>(csv.trimEnd(), { header: true });
    const of = (part: string): readonly Readonly<Record<string, string>>[] =>
      data.filter((row) => row['part'] === part);
    expect(new Set(data.map((row) => Object.keys(row).length)).size).toBe(1);
    expect(of('conversions')[0]).toMatchObject({ direction: 'to_private', phase: 'whole', count: '43' });
    const slow = of('slowest').filter((row) => row['id'] === '112' && row['phase'] !== 'whole');
    expect(slow.reduce((sum, row) => sum + Number(row['ns']), 0)).toBe(1_029_047_629);
    expect(of('histogram').reduce((sum, row) => sum + Number(row['count']), 0)).toBe(86);
    expect(of('left_out').reduce((sum, row) => sum + Number(row['count']), 0)).toBe(55);
    expect(of('guest_exits').find((row) => row['reason'] === '(not followed by an entry)')).toMatchObject({
      samples: '3',
    });
    expect(of('memory_faults').map((row) => row['count'])).toEqual(['1', '1']);
  });

  it('has only the columns of the parts that --show names in CSV', async () => {
    const exits = await collect(csvOutput.latency!({ guestExits: sections.guestExits! }, PLAIN));
    expect(exits.split('\n')[0]).toMatch(/^part,reason,samples,samples_percent,time_percent,min_ns/);
  });

  it('says in Markdown what the trace cannot show', async () => {
    const text = await collect(markdownOutput.latency!({ userExits: null, memoryFaults: null }, PLAIN));
    expect(text).toContain('### Exits to userspace\n\nNot known: no kvm:kvm_userspace_exit in the trace\n');
    expect(text).toContain('memory faults not known');
  });

  it('calls nothing a time where the clock counts cycles', async () => {
    const options = { ...PLAIN, unit: 'cycles' } as const;
    const text = [...renderLatency(sections, options)].join('');
    const json = JSON.parse([...renderJson(sections, options)].join('')) as JsonLatency;
    for (const output of [text, await collect(markdownOutput.latency!(sections, options))]) {
      expect(output).toMatch(/durations are in cycles of the trace’s clock/i);
      expect(output).not.toMatch(/\d (ns|µs|ms|s)\b|pages\/s \||faults\/s/);
    }
    expect(json.clock_unit).toBe('cycles');
    expect(json.conversions.groups.map((group) => group.pages_per_s)).toEqual([null, null]);
  });

  it('is valid JSON whatever it is grouped by, and of nothing', async () => {
    const grouped = await latencyOfStore(session.store, { by: ['vm', 'vcpu', 'size', 'epoch'], slowest: 2 });
    expect(grouped.conversions.slowest).toHaveLength(2);
    expect(new Set(grouped.guest_exits.reasons.map((exit) => exit.vm))).toEqual(new Set([1, 2]));
    const none = await latencyOfStore(session.store, { where: 'false' });
    expect(none).toMatchObject({
      conversions: { where: 'false', groups: [], slowest: [], left_out: [] },
      sizes: { count: 0, mergeable: 0, runs: 0, unknown: 0, buckets: [] },
    });
    expect([...renderLatency({ conversions: (await readNone(session)).conversions! }, PLAIN)]).toEqual([
      'no conversion fits --where false\n',
    ]);
  });

  const readNone = ({ store }: Session): Promise<LatencySections> =>
    readLatencySections(store, {
      ...{ by: ['direction'], where: 'false', slowest: 5, show: ['conversions'], exits: 'vmexit', order: 'samples' },
    });

  it('leaves out what --show leaves out', async () => {
    const some = await latencyOfStore(session.store, { show: ['memory-faults', 'sizes'] });
    expect(Object.keys(some)).toEqual(['schema', 'clock_unit', 'sizes', 'memory_faults']);
  });

  it('counts every memory fault once', async () => {
    const { memory_faults: faults } = await latencyOfStore(session.store, { show: ['memory-faults'] });
    expect(faults).toMatchObject({ total: 2, by_vm: [{ vm: 1, count: 2 }] });
    expect(faults!.by_vm[0]!.counts.reduce((a, b) => a + b, 0)).toBe(2);
  });
});

describe('sizes', () => {
  const RAM = 0x1_0000_0000;
  const asks = (page: number): string[] => [
    asksByHypercall(0, 'shared', RAM + page * 4096, 4096),
    convertsTo('shared', RAM + page * 4096, 4096, 'vcpu0'),
    runsAgain(0),
  ];
  const story = (pages: readonly number[]): string =>
    traceText([makesVm(), setsPrivate(RAM, 0x400000), starts(0), ...pages.flatMap(asks)]);

  it('call mergeable what the rule small-conversions finds, by the same runs', async () => {
    const neighbours = Array.from({ length: 9 }, (_, k) => 40 - k);
    await withTrace(story([3, 100, ...neighbours, 200]), async (path) => {
      const session = await openTraces(path);
      const { store } = session;
      const { sizes } = await latencyOfStore(store, { show: ['sizes'] });
      await runRules(store, loadRules());
      const [finding] = await store.rows(`SELECT count FROM finding WHERE rule = 'small-conversions'`);
      await session.close();
      expect(sizes).toMatchObject({ count: 12, mergeable: 9, runs: 1, unknown: 0 });
      expect(sizes.buckets).toEqual([{ from_pages: 1, to_pages: 2, count: 12, pages: 12, mergeable: 9 }]);
      expect(finding).toEqual({ count: 9n });
    });
  });

  it('call none mergeable in a run that is too short, or over pages that do not touch', async () => {
    for (const pages of [
      [1, 2, 3, 4, 5, 6, 7],
      [1, 3, 5, 7, 9, 11, 13, 15, 17],
    ]) {
      const { sizes } = await withTrace(story(pages), (path) => latencyOf(path, '--show', 'sizes'));
      expect(sizes).toMatchObject({ count: pages.length, mergeable: 0, runs: 0 });
    }
  });
});

describe('gmemtrace latency refuses with status 2', () => {
  it.each([
    ['--by', 'speed', '--by speed: not a grouping'],
    ['--show', 'conversion', '--show conversion: not a part of the report'],
    ['--exits', 'hypercall', /--exits.*hypercall.*vmexit, mmio, ioport, msr/s],
    ['--sort', 'name', /--sort.*name.*samples, time/s],
    ['--by', 'direction,', '--by "direction,": a name is empty'],
    ['--show', '', '--show "": a name is empty'],
    ['--where', 'latency > 5', /^error: --where latency > 5: .*column "latency" not found[^]*hint: .*\blatency_ns\b/],
    ['--where', 'latency_ns >', '--where latency_ns >: a syntax error at its end'],
    ['--where', '', 'a syntax error at its end'],
    ['--where', 'count(*) > 1', 'WHERE clause cannot contain aggregates'],
    ['--where', `size::VARCHAR::DATE > '2020-01-01'`, 'invalid date field format'],
    ['--where', 'size * 9223372036854775807 > 1', /Overflow/],
    ['--where', '1 = 1) --', 'syntax error'],
    ['--slowest', '-1', '--slowest -1: not a whole number from 0'],
  ])('%s %s', async (option, value, message) => {
    const { status, stdout, stderr } = await runCli(['latency', STALLS, option, value]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/ at .*\.[jt]s:\d+|LINE \d|Error:|internal/);
  });
});
