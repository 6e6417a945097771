import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decompress as fzstdDecompress } from 'fzstd';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  decompressZstd,
  decompressZstdParts,
  initZstd,
  isZstd,
  makeZstdStream,
  MAX_ZSTD_BLOCK,
} from '../../src/parse/zstd.js';

const CAPTURES = fileURLToPath(new URL('../../../shared/captures/', import.meta.url));

beforeAll(() => initZstd());

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

function block(last: boolean, type: 'raw' | 'rle', bytes: readonly number[], size = bytes.length): number[] {
  const header = (last ? 1 : 0) | (type === 'raw' ? 0 : 2) | (size << 3);
  return [header & 0xff, (header >> 8) & 0xff, header >> 16, ...bytes];
}

/** A frame without content size, with a window of 1 MiB (RFC 8878, 3.1.1). */
function frame(...blocks: readonly number[][]): Uint8Array {
  return Uint8Array.from([...MAGIC, 0x00, 0x50, ...blocks.flat()]);
}

const HELLO = [...Buffer.from('hello')];
const hello = frame(block(true, 'raw', HELLO));
const skippable = Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);

function collect(parts: Iterable<Uint8Array>): { text: string; complete: boolean } {
  const pieces = decompressZstdParts(parts);
  let text = '';
  for (;;) {
    const next = pieces.next();
    if (next.done === true) return { text, complete: next.value };
    text += Buffer.from(next.value).toString();
  }
}

describe('decompressZstd', () => {
  it('gives exactly the stated bytes', () => {
    expect(Buffer.from(decompressZstd(hello, 5)).toString()).toBe('hello');
    expect(decompressZstd(new Uint8Array(0), 0)).toHaveLength(0);
  });

  it('decodes a large block as a stream', () => {
    const rle = Array.from({ length: 50 }, (_, k) => block(k === 49, 'rle', [7], 128 * 1024));
    const output = decompressZstd(frame(...rle), 50 * 128 * 1024);
    expect(output).toHaveLength(50 * 128 * 1024);
    expect(output.every((byte) => byte === 7)).toBe(true);
    expect(() => decompressZstd(frame(...rle), 49 * 128 * 1024)).toThrow(/does not give the stated/);
  });

  it.each([
    ['a size that is too small', hello, 4],
    ['a size that is too large', hello, 6],
    ['a cut frame', hello.subarray(0, 8), 5],
    ['no frame at all', Uint8Array.from(HELLO), 5],
    ['nothing', new Uint8Array(0), 5],
    ['a size beyond the cap', hello, MAX_ZSTD_BLOCK + 1],
    ['a negative size', hello, -1],
    ['a size that is no number', hello, NaN],
  ])('calls %s corrupt', (_, bytes, size) => {
    expect(() => decompressZstd(bytes, size)).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });
});

describe('decompressZstdParts', () => {
  it('reads frames and skippable frames one after another, however they are cut', () => {
    const whole = Buffer.concat([skippable, hello, skippable, skippable, hello]);
    for (const size of [1, 2, 7, 1000]) {
      const parts = [];
      for (let at = 0; at < whole.length; at += size) parts.push(whole.subarray(at, at + size));
      expect(collect(parts)).toEqual({ text: 'hellohello', complete: true });
    }
  });

  it('gives what is there of a frame that never ends', () => {
    expect(collect([frame(block(false, 'raw', HELLO))])).toEqual({ text: 'hello', complete: false });
  });

  it.each([1, 2, 9])('gives all of %i full blocks, and knows whether the frame ended', (blocks) => {
    for (const ended of [true, false]) {
      const parts = Array.from({ length: blocks }, (_, k) => block(ended && k === blocks - 1, 'rle', [65], 128 * 1024));
      const { text, complete } = collect([frame(...parts)]);
      expect([text.length, complete]).toEqual([blocks * 128 * 1024, ended]);
    }
  });

  it('throws at damage, after what came before it', () => {
    const damaged = Buffer.concat([hello, Buffer.from('this is no frame')]);
    const pieces = decompressZstdParts([damaged]);
    expect(Buffer.from(pieces.next().value as Uint8Array).toString()).toBe('hello');
    expect(() => [...pieces]).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  it.skipIf(!existsSync(CAPTURES))('gives the same bytes as another decoder', () => {
    const bytes = readFileSync(`${CAPTURES}x86-basic/a.script.txt.zst`);
    expect(Buffer.concat([...decompressZstdParts([bytes])]).equals(Buffer.from(fzstdDecompress(bytes)))).toBe(true);
  });
});

describe('makeZstdStream', () => {
  it('decodes one frame that comes in flushed pieces', () => {
    const stream = makeZstdStream();
    const first = frame(block(false, 'raw', HELLO));
    const second = Uint8Array.from(block(false, 'raw', [...Buffer.from(' world')]));
    const text = (pieces: Iterable<Uint8Array>): string => Buffer.concat([...pieces]).toString();
    expect(text(stream.push(first))).toBe('hello');
    expect(text(stream.push(new Uint8Array(0)))).toBe('');
    expect(text(stream.push(second))).toBe(' world');
    expect(text(stream.finish())).toBe('');
  });

  it('gives all of a part that decodes to many pieces by the end', () => {
    const stream = makeZstdStream();
    const big = frame(...Array.from({ length: 9 }, () => block(false, 'rle', [65], 128 * 1024)));
    const length = (pieces: Iterable<Uint8Array>): number => Buffer.concat([...pieces]).length;
    const early = length(stream.push(big));
    expect(early).toBeGreaterThan(0);
    expect(early + length(stream.finish())).toBe(9 * 128 * 1024);
  });

  it('throws at damage', () => {
    const stream = makeZstdStream();
    const damaged = Buffer.concat([frame(block(false, 'raw', HELLO)), Uint8Array.of(0xff, 0xff, 0xff, 1, 2, 3)]);
    expect(() => [...stream.push(damaged), ...stream.finish()]).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });
});

describe('isZstd', () => {
  it('knows frames and skippable frames by their magic', () => {
    expect(isZstd(hello)).toBe(true);
    expect(isZstd(skippable)).toBe(true);
    expect(isZstd(Uint8Array.from(HELLO))).toBe(false);
    expect(isZstd(Uint8Array.from(MAGIC.slice(0, 3)))).toBe(false);
  });
});
