/** Whatever is done to a file: a result or a TraceError, in bounded time. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { TraceError } from '../../../src/base/errors.js';
import { tracedatFormat } from '../../../src/parse/tracedat/index.js';
import { capturePath, decodeBytes, hasCaptures } from './captures.js';

/** A small generator of pseudo-random numbers (mulberry32), so that a failure can be repeated. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** The number of events, or the code of the error. Anything but a TraceError fails the test. */
async function outcome(bytes: Uint8Array): Promise<number | string> {
  try {
    return (await decodeBytes(bytes)).summary.events;
  } catch (error) {
    if (error instanceof TraceError) return error.code;
    throw error;
  }
}

const SMALL_FILES = ['clock-mono', 'v6-tc31', 'v7-zlib-tc33', 'be-s390x-v7z-broken', 'instances-v6'];

describe.skipIf(!hasCaptures)('any damage', () => {
  it.each(SMALL_FILES)('flipped bytes of %s', async (name) => {
    const sound = readFileSync(capturePath(`formats/${name}.dat`));
    const random = makeRandom(sound.length);
    for (let round = 0; round < 60; round++) {
      const bytes = new Uint8Array(sound);
      // Half of the rounds hit the metadata, where lengths and offsets are.
      const reach = round % 2 === 0 ? 2048 : bytes.length;
      for (let k = 0; k <= round % 5; k++) bytes[random(Math.min(reach, bytes.length))] = random(256);
      expect(['number', 'string']).toContain(typeof (await outcome(bytes)));
    }
  });

  it.each(SMALL_FILES)('%s cut anywhere', async (name) => {
    const sound = readFileSync(capturePath(`formats/${name}.dat`));
    const random = makeRandom(sound.length + 1);
    const whole = (await outcome(sound)) as number;
    for (let round = 0; round < 40; round++) {
      const result = await outcome(new Uint8Array(sound.subarray(0, random(sound.length))));
      if (typeof result === 'number') expect(result).toBeLessThanOrEqual(whole);
      else expect(['truncated', 'corrupt', 'unknown-format']).toContain(result);
    }
  });
});

describe('what is no trace.dat', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

  it('is refused by its content', () => {
    expect(tracedatFormat.detect(bytes('# tracer: nop\n'))).toEqual({ no: 'does not start with 17 08 44 "tracing"' });
    expect(tracedatFormat.detect(bytes('\x17\x08\x44tracing0.6\0'))).toEqual({
      no: 'is the tracing data of a perf.data, not a file of its own',
    });
    expect(tracedatFormat.detect(bytes('\x17\x08\x44tracing6\0'))).toBe('yes');
  });

  it('names a version that it does not know', async () => {
    await expect(decodeBytes(bytes('\x17\x08\x44tracing8\0'))).rejects.toMatchObject({
      code: 'unsupported-version',
      message: 'trace.dat version "8" is not known',
    });
  });

  it('tells an unfinished recording', async () => {
    const head = bytes('\x17\x08\x44tracing7\0\0\x08\0\x10\0\0zstd\x001.5.7\0');
    const unfinished = new Uint8Array(head.length + 8);
    unfinished.set(head);
    await expect(decodeBytes(unfinished)).rejects.toMatchObject({
      code: 'truncated',
      place: { hint: expect.stringContaining('the recorder was killed') as string },
    });
  });

  it('does not walk a file of zeros section by section for ever', async () => {
    const head = bytes('\x17\x08\x44tracing7\0\0\x08\0\x10\0\0zstd\x001.5.7\0');
    const zeros = new Uint8Array(64 * 1024 * 1024);
    zeros.set(head);
    await expect(decodeBytes(zeros)).rejects.toBeInstanceOf(TraceError);
  });
});
