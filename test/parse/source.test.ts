import { execFileSync } from 'node:child_process';
import { chmodSync, createWriteStream, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { memorySource, openSource } from '../../src/parse/source.js';
import type { Source } from '../../src/parse/source.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'source-test-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function put(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Bytes that do not repeat within any window. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  return bytes;
}

async function readStream(source: Source): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source.stream()) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** A zstd frame of one raw block (RFC 8878). */
function zstdOf(text: string, last = true): Buffer {
  const header = (last ? 1 : 0) | (text.length << 3);
  return Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50, header & 0xff, (header >> 8) & 0xff, header >> 16]),
    Buffer.from(text),
  ]);
}

describe('a plain file', () => {
  it('is read at any position, in any order, across windows', async () => {
    const bytes = pattern(9_000_000);
    const source = await openSource(put('plain', bytes));
    expect(source.size).toBe(bytes.length);
    expect(source.parts).toBeNull();
    const places = [0, 8_999_000, 1_048_500, 4_000_001, 3_999_999, 1_048_570, 7_777_777, 2, 5_242_879, 8_388_600];
    for (const at of places) {
      for (const length of [1, 100, 70_000, 1_044_480, 2_500_000]) {
        expect(bytes.subarray(at, at + length).equals(source.readAt(at, length)), `${at}+${length}`).toBe(true);
      }
    }
    source.close();
  });

  it('gives fewer bytes at its end, and none beyond', async () => {
    const source = await openSource(put('short', 'abcdef'));
    expect(Buffer.from(source.readAt(4, 100)).toString()).toBe('ef');
    expect(source.readAt(6, 1)).toHaveLength(0);
    expect(source.readAt(1e15, 10)).toHaveLength(0);
    source.close();
  });

  it('streams all its bytes', async () => {
    const bytes = pattern(3_000_000);
    const source = await openSource(put('streamed', bytes));
    expect(bytes.equals(await readStream(source))).toBe(true);
    source.close();
  });
});

describe('a compressed file', () => {
  it('is told by its content and read as if it were plain', async () => {
    const bytes = pattern(2_500_000);
    const source = await openSource(put('name.tells.nothing', gzipSync(bytes)));
    expect(source.size).toBe(bytes.length);
    expect(bytes.subarray(2_000_001, 2_100_000).equals(source.readAt(2_000_001, 99_999))).toBe(true);
    expect(bytes.equals(await readStream(source))).toBe(true);
    expect(source.damage).toBeNull();
    source.close();
  });

  it('may be zstd', async () => {
    const source = await openSource(put('a.zst', Buffer.concat([zstdOf('one '), zstdOf('two')])));
    expect(Buffer.from(source.readAt(0, 99)).toString()).toBe('one two');
    expect(source.damage).toBeNull();
    source.close();
  });

  it('may have several gzip members, and bytes behind them that are none', async () => {
    const members = Buffer.concat([gzipSync('one '), gzipSync('two'), Buffer.from('\0\0garbage')]);
    const source = await openSource(put('members.gz', members));
    expect(Buffer.from(source.readAt(0, 99)).toString()).toBe('one two');
    source.close();
  });

  it('goes to a file without a name where it is large', async () => {
    const temporary = mkdtempSync(join(tmpdir(), 'source-test-'));
    vi.stubEnv('TMPDIR', temporary);
    const bytes = Buffer.alloc(70 * 1024 * 1024);
    bytes.writeUInt32LE(0xdeadbeef, 68 * 1024 * 1024);
    const source = await openSource(put('large.gz', gzipSync(bytes, { level: 1 })));
    expect(source.size).toBe(bytes.length);
    expect(Buffer.from(source.readAt(68 * 1024 * 1024, 4)).readUInt32LE()).toBe(0xdeadbeef);
    expect(readdirSync(temporary)).toEqual([]);
    source.close();
    vi.unstubAllEnvs();
    rmSync(temporary, { recursive: true });
  });

  it('is streamed where it is a large text', async () => {
    const text = Buffer.from('a line of a trace\n'.repeat(150_000));
    const source = await openSource(put('text.gz', gzipSync(text)));
    expect(source.size).toBeNull();
    expect(Buffer.from(source.readAt(0, 18)).toString()).toBe('a line of a trace\n');
    expect(text.equals(await readStream(source))).toBe(true);
    expect(text.equals(await readStream(source))).toBe(true);
    source.close();
  });

  it.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1), /^gzip data ends early, after \d+ decompressed/],
    [
      'damaged',
      (bytes: Buffer) => {
        const copy = Buffer.from(bytes);
        copy.fill(0xff, copy.length >> 1, (copy.length >> 1) + 64);
        return copy;
      },
      /^gzip data is damaged after \d+ decompressed/,
    ],
  ])('gives what is before the place where it is %s', async (name, spoil, damage) => {
    const bytes = pattern(2_000_000);
    const source = await openSource(put(`${name}.gz`, spoil(gzipSync(bytes))));
    expect(source.damage).toMatch(damage);
    expect(source.size).toBeGreaterThan(500_000);
    expect(bytes.subarray(0, source.size!).equals(source.readAt(0, bytes.length))).toBe(true);
    source.close();
  });

  it('says so where a text that is streamed is cut', async () => {
    const text = Buffer.concat(Array.from({ length: 200_000 }, (_, k) => Buffer.from(`line ${k}\n`)));
    const packed = gzipSync(text);
    const source = await openSource(put('cut-text.gz', packed.subarray(0, packed.length - 1000)));
    expect(source.damage).toBeNull();
    const read = await readStream(source);
    expect(text.subarray(0, read.length).equals(read)).toBe(true);
    expect(source.damage).toBe(`gzip data ends early, after ${read.length} decompressed bytes`);
    source.close();
  });

  it('keeps what is before the damage of zstd', async () => {
    const cut = await openSource(put('cut.zst', zstdOf('never ended', false)));
    expect(Buffer.from(cut.readAt(0, 99)).toString()).toBe('never ended');
    expect(cut.damage).toBe('zstd data ends early, after 11 decompressed bytes');
    const damaged = await openSource(put('bad.zst', Buffer.concat([zstdOf('good'), Buffer.alloc(50, 0xee)])));
    expect(Buffer.from(damaged.readAt(0, 99)).toString()).toBe('good');
    expect(damaged.damage).toBe('zstd data is damaged after 4 decompressed bytes');
    cut.close();
    damaged.close();
  });

  it.each([
    ['gzip', gzipSync('text').subarray(0, 10), 'gzip data ends early, after 0 decompressed bytes'],
    ['zstd', zstdOf('text').subarray(0, 6), 'zstd data ends early, after 0 decompressed bytes'],
    ['gzip', gzipSync(''), 'is empty inside its gzip compression'],
  ])('is refused where nothing is in its %s data', async (kind, bytes, message) => {
    const path = put(`nothing.${kind}`, bytes);
    await expect(openSource(path)).rejects.toMatchObject({ code: 'corrupt', message, place: { input: path } });
  });
});

describe('a directory', () => {
  it('of perf record has its parts in order of their numbers', async () => {
    const path = join(folder, 'perf-dir');
    mkdirSync(path);
    for (const name of ['data', 'data.10', 'data.2', 'data.0']) writeFileSync(join(path, name), name);
    writeFileSync(join(path, 'data.1'), '');
    writeFileSync(join(path, 'data.old'), 'x');
    const source = await openSource(path);
    expect(source.parts!.map((part) => Buffer.from(part.readAt(0, 99)).toString())).toEqual([
      'data',
      'data.0',
      'data.2',
      'data.10',
    ]);
    expect(Buffer.from(source.readAt(0, 99)).toString()).toBe('data');
    source.close();
  });

  it('of anything else is refused', async () => {
    await expect(openSource(folder)).rejects.toMatchObject({
      code: 'unknown-format',
      place: { input: folder, hint: 'name the trace files in it' },
    });
  });
});

describe('what cannot be opened', () => {
  it('is named with the reason', async () => {
    const missing = join(folder, 'missing');
    await expect(openSource(missing)).rejects.toMatchObject({
      code: 'not-found',
      message: 'no such file',
      place: { input: missing },
    });
    await expect(openSource(put('empty', ''))).rejects.toMatchObject({ code: 'truncated', message: 'is empty' });
    await expect(openSource('/dev/null')).rejects.toMatchObject({ code: 'unknown-format' });
  });

  it.skipIf(process.getuid?.() === 0)('is named where permission is missing', async () => {
    const path = put('secret', 'x');
    chmodSync(path, 0);
    await expect(openSource(path)).rejects.toMatchObject({ code: 'not-found', message: 'no permission to read it' });
  });
});

describe('a stream', () => {
  it('from standard input may be compressed too', async () => {
    const bytes = pattern(300_000);
    const stdin = Object.getOwnPropertyDescriptor(process, 'stdin')!;
    const packed = gzipSync(bytes);
    Object.defineProperty(process, 'stdin', {
      configurable: true,
      value: Readable.from([packed.subarray(0, 1), packed.subarray(1)]),
    });
    try {
      const source = await openSource('-');
      expect(source.path).toBe('-');
      expect(bytes.equals(source.readAt(0, bytes.length))).toBe(true);
      source.close();
    } finally {
      Object.defineProperty(process, 'stdin', stdin);
    }
  });

  it('may be a named pipe', async () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    const writer = createWriteStream(path);
    writer.end('through the pipe');
    const source = await openSource(path);
    expect(Buffer.from(source.readAt(0, 99)).toString()).toBe('through the pipe');
    source.close();
  });
});

describe('memorySource', () => {
  it('takes the bytes as they are', async () => {
    const packed = gzipSync('text');
    const source = memorySource('inline', packed);
    expect(source.size).toBe(packed.length);
    expect(packed.equals(source.readAt(0, 999))).toBe(true);
    expect(packed.equals(await readStream(source))).toBe(true);
  });
});
