import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { TraceError } from '../../../src/base/errors.js';
import { memorySource } from '../../../src/parse/source.js';
import { CAPTURES, hasCaptures, readSource } from './collect.js';
import type { Recording } from './collect.js';
import { makeHeaderAttr, makePipe, makeRaw, makeRecord, makeTracingData, Writer } from './make-perf.js';

const SAMPLE_TYPE = 2 | 4 | 128 | 1024;

function read(bytes: Uint8Array): Promise<Recording> {
  return readSource(memorySource('bad.data', bytes));
}

function sample(raw: Writer): Writer {
  return makeRecord(true, 9, new Writer(true).u32(1).u32(1).u64(5).u32(0).u32(0).add(raw));
}

const head = [makeHeaderAttr(true, { config: 77, sampleType: SAMPLE_TYPE }), makeTracingData(true)];
const good = sample(makeRaw(true, 1, 1, 0n));
const zeros = (length: number): Writer => new Writer(true).add(new Uint8Array(length));

describe('damaged records', () => {
  const start = makePipe(true, [...head, good]).length;

  it.each([
    ['a record of size 0', zeros(64), `record of an impossible size; the 64 bytes from there on are not read`],
    [
      'a record that is cut off',
      new Writer(true).u32(9).u16(0).u16(400).u64(0),
      'record cut off at the end of the data',
    ],
    ['a header that is cut off', zeros(5), 'record cut off at the end of the data'],
    [
      'raw data longer than its record',
      sample(new Writer(true).u32(0xffff_fff0).u32(77)),
      'sample whose lengths do not fit into it',
    ],
    ['a sample that is too short', makeRecord(true, 9, zeros(8)), 'sample shorter than its event says'],
    ['a type that nobody knows', makeRecord(true, 4711, zeros(8)), 'record of unknown type 4711'],
    ['a LOST without a count', makeRecord(true, 2, zeros(8)), 'record of type 2 that is too short'],
    [
      'an attr of an impossible size',
      makeRecord(true, 64, new Writer(true).u32(2).u32(60_000).add(zeros(60))),
      'event description that is cut off or damaged',
    ],
    [
      'auxiliary data beyond the end',
      makeRecord(true, 71, new Writer(true).u64(0x7fff_ffff_ffff_ffffn)),
      'the file ends inside the data of a record',
    ],
    [
      'tracing data beyond the end',
      makeRecord(true, 66, new Writer(true).u32(0xffff_ffff).u32(0)),
      'the file ends inside the data of a record',
    ],
    [
      'compressed data that is not zstd',
      makeRecord(true, 81, new Writer(true).add(Buffer.alloc(40, 0x77))),
      'compressed records: zstd data is damaged within its first 40 compressed bytes',
    ],
  ])('%s: what is before it is read, the rest counted', async (_, record, reason) => {
    const { rows, summary } = await read(makePipe(true, [...head, good, record]));
    expect(rows).toHaveLength(1);
    expect(summary.skipped).toContainEqual({ reason, count: 1, first: `byte ${start}` });
  });

  it('counts compressed records behind the damage', async () => {
    const compressed = makeRecord(true, 83, new Writer(true).u64(40).add(Buffer.alloc(40, 0x77)));
    const { summary } = await read(makePipe(true, [...head, compressed, compressed, compressed, good]));
    expect(summary.events).toBe(1);
    expect(summary.skipped.map(({ reason, count }) => [reason, count])).toEqual([
      ['compressed records: zstd data is damaged within its first 40 compressed bytes', 1],
      ['compressed records behind the damage', 2],
    ]);
  });

  it('reads on behind tracing data that cannot be read, without fields', async () => {
    const garbage = new Writer(true).add(makeRecord(true, 66, new Writer(true).u32(64).u32(0)), zeros(64));
    const { rows, summary } = await read(makePipe(true, [head[0]!, garbage, good]));
    expect(rows).toMatchObject([{ event: 'unknown:event_77', fields: {} }]);
    expect(summary.skipped[0]!.reason).toMatch(/^tracing data cannot be read: /);
  });
});

/** A file-form header with attrs, ids and data where the test wants them. */
function fileForm(
  fields: Partial<Record<'attrSize' | 'attrs' | 'attrsSize' | 'data' | 'dataSize', number>>,
): Uint8Array {
  return new Writer(true)
    .add(Buffer.from('PERFILE2'))
    .u64(104)
    .u64(fields.attrSize ?? 152)
    .u64(fields.attrs ?? 104)
    .u64(fields.attrsSize ?? 152)
    .u64(fields.data ?? 256)
    .u64(fields.dataSize ?? 0)
    .add(zeros(48))
    .add(makeHeaderAttr(true, { config: 77, sampleType: SAMPLE_TYPE }).done().subarray(8), zeros(16))
    .add(good)
    .done();
}

describe('a damaged header', () => {
  it('is the fact of the error', async () => {
    expect((await read(fileForm({}))).summary.events).toBe(1);
    await expect(read(Buffer.from('PERFILE2abc'))).rejects.toMatchObject({
      code: 'truncated',
      message: 'perf.data ends within its header, at byte 11',
      place: { input: 'bad.data', byteOffset: 11 },
    });
    await expect(read(fileForm({}).subarray(0, 90))).rejects.toMatchObject({ code: 'truncated' });
    await expect(read(Buffer.from('PERFFILE-------------------'))).rejects.toMatchObject({
      code: 'unsupported-version',
    });
  });

  it.each([
    [{ attrSize: 0 }, 'corrupt'],
    [{ attrSize: 2 ** 52 }, 'corrupt'],
    [{ attrs: 2 ** 60 }, 'corrupt'],
    [{ attrsSize: 8 }, 'corrupt'],
    [{ attrs: 0 }, 'corrupt'],
    [{ data: 8 }, 'truncated'],
    [{ data: 2 ** 62 }, 'truncated'],
  ])('with %j is %s', async (fields, code) => {
    await expect(read(fileForm(fields))).rejects.toMatchObject({ code, place: { input: 'bad.data' } });
  });

  it('with more data than the file has reads what there is', async () => {
    const { summary } = await read(fileForm({ dataSize: 2 ** 40 }));
    expect(summary.events).toBe(1);
    expect(summary.skipped[0]!.reason).toMatch(/^the file is cut off: \d+ bytes of records and all event formats/);
  });
});

/** A generator of the same numbers each time (mulberry32). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** The summary, or the TraceError; anything else fails the test. */
async function outcome(bytes: Uint8Array): Promise<Recording['summary'] | TraceError> {
  try {
    return (await read(bytes)).summary;
  } catch (error) {
    if (error instanceof TraceError) return error;
    throw error;
  }
}

describe.skipIf(!hasCaptures)('recordings with random damage', () => {
  const FILES = ['perf73.data', 'perf73-zstd.data', 'perf61-pipe.data.gz', 'perf73-task.data', 'perf73-killed.data'];

  it.each(FILES)('%s: any cut gives a result or a TraceError', async (name) => {
    const bytes = load(name);
    const random = randomNumbers(11);
    for (let k = 0; k < 40; k++) {
      const cut = await outcome(bytes.subarray(0, random(bytes.length)));
      if (cut instanceof TraceError) expect(['truncated', 'corrupt', 'unsupported-version']).toContain(cut.code);
      else expect(cut.events).toBeLessThanOrEqual(2000);
    }
  });

  it.each(FILES)('%s: any flipped bytes give a result or a TraceError', async (name) => {
    const bytes = load(name);
    const random = randomNumbers(12);
    for (let k = 0; k < 60; k++) {
      const damaged = Uint8Array.from(bytes);
      // Half of the damage goes to the head, where the offsets are.
      for (let n = 0; n <= random(8); n++) {
        damaged[random(k % 2 === 0 ? Math.min(2048, bytes.length) : bytes.length)] = random(256);
      }
      const result = await outcome(damaged);
      if (!(result instanceof TraceError)) expect(result.events).toBeLessThanOrEqual(bytes.length / 8);
    }
    expect(process.memoryUsage().rss).toBeLessThan(1.5e9);
  });

  function load(name: string): Uint8Array {
    const bytes = readFileSync(`${CAPTURES}formats/${name}`);
    return name.endsWith('.gz') ? gunzipSync(bytes) : bytes;
  }
});
