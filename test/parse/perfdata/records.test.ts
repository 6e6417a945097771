import { describe, expect, it } from 'vitest';
import { memorySource } from '../../../src/parse/source.js';
import { readSource } from './collect.js';
import type { Recording } from './collect.js';
import { makeHeaderAttr, makePipe, makeRaw, makeRecord, makeTracingData, Writer } from './make-perf.js';

const IP = 1;
const TID = 2;
const TIME = 4;
const ADDR = 8;
const READ = 16;
const CALLCHAIN = 32;
const ID = 64;
const CPU = 128;
const PERIOD = 256;
const RAW = 1024;
const IDENTIFIER = 1 << 16;
const SAMPLE_ID_ALL = 18;
const USE_CLOCKID = 25;

function read(little: boolean, records: readonly Writer[]): Promise<Recording> {
  return readSource(memorySource('made.data', makePipe(little, records)));
}

describe.each([
  ['little-endian', true],
  ['big-endian', false],
])('%s recording', (_, little) => {
  const writer = (): Writer => new Writer(little);
  const attr = (sampleType: number, ids: number[] = [], readFormat = 0): Writer =>
    makeHeaderAttr(
      little,
      { config: 77, sampleType, readFormat, flags: [SAMPLE_ID_ALL, USE_CLOCKID], clockid: 7 },
      ids,
    );

  it('decodes every field of a tracepoint sample', async () => {
    const sample = writer()
      .u32(40)
      .u32(41)
      .u64(0x1_0000_0005n)
      .u32(3)
      .u32(0)
      .add(makeRaw(little, 41, 7, -2n));
    const { rows, summary } = await read(little, [
      attr(TID | TIME | CPU | RAW),
      makeTracingData(little),
      makeRecord(little, 9, sample),
    ]);
    expect(rows).toEqual([
      {
        event: 'test:probe',
        tsNs: 0x1_0000_0005n,
        cpu: 3,
        tid: 41,
        seq: expect.any(BigInt) as bigint,
        flags: 0x0321,
        fields: { small: 7, large: -2n },
      },
    ]);
    expect(summary.meta).toMatchObject({ clock: 'boot', version: little ? 'pipe' : 'pipe big-endian' });
    expect(summary.meta.enabledEvents).toEqual(['test:probe']);
    expect(summary.tasks).toEqual([{ tid: 41, tgid: 40, comm: 'CPU 0/KVM', fromNs: null }]);
  });

  it('finds raw data behind a group read and a callchain', async () => {
    const group = writer().u64(2).u64(99).u64(1).u64(10).u64(0).u64(2).u64(20).u64(0);
    const sample = writer()
      .u64(0xffff_8000_0000_0000n)
      .u32(40)
      .u32(41)
      .u64(50)
      .u64(1)
      .add(group)
      .u64(3)
      .u64(-128n)
      .u64(1)
      .u64(2)
      .add(makeRaw(little, 41, 8, 0n));
    const GROUP_ENABLED_ID_LOST = 8 | 1 | 4 | 16;
    const { rows, summary } = await read(little, [
      attr(IP | TID | TIME | PERIOD | READ | CALLCHAIN | RAW, [], GROUP_ENABLED_ID_LOST),
      makeTracingData(little),
      makeRecord(little, 9, sample),
    ]);
    expect(summary.skipped).toEqual([]);
    expect(rows[0]).toMatchObject({ event: 'test:probe', fields: { small: 8 } });
  });

  it('tells two events with different layouts apart by the identifier', async () => {
    const faults = makeHeaderAttr(
      little,
      { type: 1, config: 2, sampleType: IDENTIFIER | IP | TID | TIME | ADDR | CPU, flags: [SAMPLE_ID_ALL] },
      [11],
    );
    const { rows, summary } = await read(little, [
      faults,
      attr(IDENTIFIER | TID | TIME | CPU | RAW, [12, 13]),
      makeTracingData(little),
      makeRecord(little, 9, writer().u64(11).u64(0xabc).u32(1).u32(2).u64(5).u64(0xffff_ffff_8000_1000n).u32(1).u32(0)),
      makeRecord(
        little,
        9,
        writer()
          .u64(13)
          .u32(40)
          .u32(41)
          .u64(6)
          .u32(1)
          .u32(0)
          .add(makeRaw(little, 41, 9, 1n)),
      ),
      makeRecord(
        little,
        9,
        writer()
          .u64(99)
          .u32(40)
          .u32(41)
          .u64(6)
          .u32(1)
          .u32(0)
          .add(makeRaw(little, 41, 9, 1n)),
      ),
    ]);
    expect(rows.map(({ event, fields }) => [event, fields])).toEqual([
      ['perf:page-faults', { ip: 0xabcn, addr: 0xffff_ffff_8000_1000n }],
      ['test:probe', { small: 9, large: 1n }],
    ]);
    expect(summary.skipped).toMatchObject([{ reason: 'sample of an event that the file does not describe', count: 1 }]);
  });

  it('reads the CPU of a sample id from ID_INDEX where the sample does not say it', async () => {
    const index = writer().u64(2).u64(21).u64(0).u64(4).u64(-1n).u64(22).u64(1).u64(5).u64(-1n);
    const sample = (id: number): Writer =>
      makeRecord(
        little,
        9,
        writer()
          .u32(1)
          .u32(1)
          .u64(id)
          .u64(id)
          .add(makeRaw(little, 1, id, 0n)),
      );
    const { rows, summary } = await read(little, [
      attr(TID | TIME | ID | RAW, [21, 22]),
      makeTracingData(little),
      makeRecord(little, 69, index),
      sample(21),
      sample(22),
    ]);
    expect(rows.map((row) => row.cpu)).toEqual([4, 5]);
    expect(summary.meta.notes).toEqual([]);
  });

  it('follows names through FORK and COMM, in order of time and not of the file', async () => {
    const trailer = (time: number): Writer => writer().u32(0).u32(0).u64(time).u32(0).u32(0);
    const { summary } = await read(little, [
      attr(TID | TIME | CPU | RAW),
      makeRecord(little, 3, writer().u32(70).u32(71).text('worker', true).add(trailer(300))),
      makeRecord(little, 3, writer().u32(70).u32(70).text('vmm', true).add(trailer(0))),
      makeRecord(little, 7, writer().u32(70).u32(70).u32(71).u32(70).u64(200).add(trailer(200))),
      makeRecord(little, 4, writer().u32(90).u32(1).u32(90).u32(1).u64(400).add(trailer(400))),
    ]);
    expect(summary.tasks).toEqual([
      { tid: 70, tgid: 70, comm: 'vmm', fromNs: null },
      { tid: 90, tgid: 90, comm: null, fromNs: null },
      { tid: 71, tgid: 70, comm: 'vmm', fromNs: 200n },
      { tid: 71, tgid: 70, comm: 'worker', fromNs: 300n },
    ]);
  });

  it('keeps a tracepoint sample without raw data and says so', async () => {
    const { rows, summary } = await read(little, [
      attr(TID | TIME | CPU),
      makeTracingData(little),
      makeRecord(little, 9, writer().u32(40).u32(41).u64(5).u32(1).u32(0)),
    ]);
    expect(rows).toMatchObject([{ event: 'test:probe', tid: 41, flags: 0xffff, fields: {} }]);
    expect(summary.meta.notes).toEqual(['1 tracepoint samples without raw data']);
  });

  it('takes the thread of the sample, and that of the record where the task is already gone', async () => {
    const { rows } = await read(little, [
      attr(TID | TIME | CPU | RAW),
      makeTracingData(little),
      makeRecord(
        little,
        9,
        writer()
          .u32(7)
          .u32(8)
          .u64(1)
          .u32(0)
          .u32(0)
          .add(makeRaw(little, 4108, 1, 0n)),
      ),
      makeRecord(
        little,
        9,
        writer()
          .u32(-1)
          .u32(-1)
          .u64(2)
          .u32(0)
          .u32(0)
          .add(makeRaw(little, 4109, 2, 0n)),
      ),
    ]);
    expect(rows.map(({ tid, fields }) => [tid, fields['small']])).toEqual([
      [8, 1],
      [4109, 2],
    ]);
  });
});

describe('losses', () => {
  const trailer = (time: number, cpu: number): Writer => new Writer(true).u32(1).u32(1).u64(time).u32(cpu).u32(0);
  const start = [
    makeHeaderAttr(true, { config: 77, sampleType: TID | TIME | CPU | RAW, flags: [SAMPLE_ID_ALL] }),
    makeTracingData(true),
    makeRecord(
      true,
      9,
      new Writer(true)
        .u32(1)
        .u32(1)
        .u64(100)
        .u32(2)
        .u32(0)
        .add(makeRaw(true, 1, 1, 0n)),
    ),
    makeRecord(true, 2, new Writer(true).u64(0).u64(5).add(trailer(200, 2))),
    makeRecord(true, 2, new Writer(true).u64(0).u64(1).add(trailer(300, 0))),
  ];
  const records = [
    { cpu: 2, fromNs: 100n, toNs: 200n, count: 5, source: 'perf-lost' },
    { cpu: 0, fromNs: null, toNs: 300n, count: 1, source: 'perf-lost' },
  ];

  it('lie between the record before on that CPU and the LOST record', async () => {
    expect((await read(true, start)).summary.lost).toEqual(records);
  });

  it('are not counted again by LOST_SAMPLES', async () => {
    const total = makeRecord(true, 13, new Writer(true).u64(6).add(trailer(0, 0)));
    expect((await read(true, [...start, total])).summary.lost).toEqual(records);
  });

  it('are completed by LOST_SAMPLES where those know of more', async () => {
    const totals = [4, 6].map((count) => makeRecord(true, 13, new Writer(true).u64(count).add(trailer(0, 0))));
    expect((await read(true, [...start, ...totals])).summary.lost).toEqual([
      ...records,
      { cpu: null, fromNs: null, toNs: null, count: 4, source: 'perf-lost-samples' },
    ]);
  });

  it('are none where a BPF filter dropped the samples', async () => {
    const filtered = makeRecord(true, 13, new Writer(true).u64(50).add(trailer(0, 0)), 1 << 15);
    expect((await read(true, [...start, filtered])).summary.lost).toEqual(records);
  });
});
