/** Bad input through the built command line: a clear message with file and position, the documented status, nothing else. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { decompress } from 'fzstd';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AnswerAnalysis } from './support/answer.js';
import { FIXTURES } from './support/capture.js';

const MAIN = process.env['GMEMTRACE_MAIN'] ?? fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
/** Only a hang takes so long. */
const HANG_MS = 90_000;
/** DESIGN's bound for files of any size. */
const MAX_MEMORY_KB = 600 * 1024;
const TELL_MEMORY = `data:text/javascript,import{writeSync}from'node:fs';process.on('exit',()=>writeSync(2,'\\npeak-kb='+process.resourceUsage().maxRSS))`;

const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-bad-'));
beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is not there: npm run build makes it`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly peakKb: number;
}

/** Runs `gmemtrace ARGS` in a process of its own. A status of null: it had to be ended. */
function gmemtrace(args: readonly string[], stdin: Buffer | null = null): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { timeout: HANG_MS, maxBuffer: 1 << 28, cwd: folder };
    const child = execFile(
      process.execPath,
      ['--import', TELL_MEMORY, MAIN, ...args],
      options,
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        const [text = '', peak] = stderr.split('\npeak-kb=');
        resolve({ status, stdout, stderr: text, peakKb: Number(peak) });
      },
    );
    child.stdin!.on('error', () => {});
    child.stdin!.end(stdin ?? undefined);
  });
}

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const fixture = (path: string): Buffer => readFileSync(join(FIXTURES, path));
const dat = fixture('formats/v7-zlib-tc33.dat');
const dat6 = gunzipSync(fixture('formats/v6-tc33.dat.gz'));
const perf = Buffer.from(decompress(fixture('x86-basic/a.perf.data.zst')));
const pipe = gunzipSync(fixture('formats/perf73-pipe.data.gz'));
const text = Buffer.from(decompress(fixture('x86-basic/a.trace.txt.zst')));
const textGz = fixture('sim-tdx-mapgpa/full.trace.txt.gz');
const TEXT_EVENTS = 9838;
const TEXT_CONVERSIONS = 110;

/** A pseudo-random sequence in [0, 1), the same in every run. */
function sequence(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function randomBytes(length: number, seed: number): Buffer {
  const next = sequence(seed);
  return Buffer.from(Uint8Array.from({ length }, () => Math.floor(next() * 256)));
}

function withFlippedBits(bytes: Buffer, count: number, seed: number): Buffer {
  const next = sequence(seed);
  const flipped = Buffer.from(bytes);
  for (let k = 0; k < count; k++) flipped[Math.floor(next() * bytes.length)]! ^= 1 << Math.floor(next() * 8);
  return flipped;
}

/** The bytes of `what` put in before line `line` (from 1). */
function withLine(bytes: Buffer, line: number, what: Buffer): Buffer {
  let at = 0;
  for (let k = 1; k < line; k++) at = bytes.indexOf(10, at) + 1;
  return Buffer.concat([bytes.subarray(0, at), what, Buffer.from('\n'), bytes.subarray(at)]);
}

function withNumber(bytes: Buffer, at: number, value: bigint): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeBigUInt64LE(value, at);
  return changed;
}

function expectNoTrouble({ stderr, peakKb }: Outcome): void {
  expect(stderr).not.toMatch(/^\s+at .*[(:]\d+:\d+\)?$/m);
  expect(stderr).not.toMatch(/internal|RangeError|TypeError|Parser Error|Conversion Error/);
  expect(peakKb).toBeLessThan(MAX_MEMORY_KB);
}

/** The message names the input; nothing is on standard output. */
function expectRefused(outcome: Outcome, status: number, message: string | RegExp): void {
  expectNoTrouble(outcome);
  expect(outcome.stderr).toMatch(message);
  expect(outcome.stderr).toMatch(/^error: /);
  expect(outcome.stdout).toBe('');
  expect(outcome.status).toBe(status);
}

/** What could be read is analysed. */
function expectAnalysed(outcome: Outcome): AnswerAnalysis & { readonly conversions: { readonly total: number } } {
  expectNoTrouble(outcome);
  expect(outcome.stderr).toBe('');
  expect(outcome.status).toBe(0);
  return JSON.parse(outcome.stdout) as AnswerAnalysis & { readonly conversions: { readonly total: number } };
}

const analyze = (path: string): Promise<Outcome> => gmemtrace(['analyze', path, '--format', 'json']);

describe('nothing can be read: status 3', () => {
  it.each([
    ['empty.dat', Buffer.alloc(0), 'is empty'],
    ['paper.pdf', '%PDF-1.7\n%\u00e2\u00e3\n1 0 obj\n<< >>\n', 'it is a PDF'],
    ['picture.png', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex'), 'not a trace that gmemtrace knows'],
    ['random.bin', randomBytes(70_000, 1), 'not a trace that gmemtrace knows'],
    ['prose.txt', 'Dear Sir,\n\nnothing here is an event.\n', 'not a trace that gmemtrace knows'],
    ['head.dat', dat.subarray(0, 100), /at byte 100$/m],
    ['head.perf.data', perf.subarray(0, 50), /at byte 50$/m],
  ])('%s', async (name, content, message) => {
    const path = write(name, content);
    const outcome = await analyze(path);
    expectRefused(outcome, 3, message);
    expect(outcome.stderr).toContain(`error: ${path}: `);
  });

  it('a file that is not there', async () => {
    expectRefused(await analyze('nowhere.dat'), 3, 'error: nowhere.dat: no such file or folder');
  });

  it('a folder without a trace', async () => {
    const path = join(folder, 'bare');
    mkdirSync(path);
    expectRefused(await analyze(path), 3, `${path}: no trace lies in this folder`);
  });

  it.skipIf(process.getuid?.() === 0)('a file that may not be read', async () => {
    const path = write('secret.dat', dat);
    chmodSync(path, 0o000);
    expectRefused(await analyze(path), 3, `${path}: `);
  });

  it.each([
    ['nothing', Buffer.alloc(0), 'is empty'],
    ['no trace', Buffer.from('89504e470d0a1a0a', 'hex'), 'not a trace that gmemtrace knows'],
  ])('%s on standard input', async (_what, content, message) => {
    expectRefused(await gmemtrace(['analyze', '-'], content), 3, message);
  });
});

describe('wrong usage: status 2', () => {
  const path = write('good.txt', text);

  it.each([
    ['option', ['--colour'], `unknown option '--colour'`],
    ['format', ['--format', 'xml'], 'Allowed choices are text, json'],
    ['clock', ['--clock', 'marsian'], /marsian/],
    ['rule', ['--select', 'conversion-stal'], 'did you mean conversion-stall?'],
    ['clock offset', ['--clock-offset', 'soon'], '--clock-offset soon'],
  ])('an unknown %s', async (_what, options, message) => {
    expectRefused(await gmemtrace(['analyze', path, ...options]), 2, message);
  });
});

describe('a part can be read: it is analysed, the rest is counted with its position', () => {
  it.each([
    ['cut.dat', fixture('formats/trunc-v7.dat'), 741],
    ['cut-v6.dat', dat6.subarray(0, 90_000), 1],
    ['cut.perf.data', perf.subarray(0, 200_000), 1216],
    ['cut.perf.pipe', pipe.subarray(0, pipe.length - 20_000), 100],
    ['cut.txt.gz', textGz.subarray(0, 20_000), 100],
    ['cut.txt.zst', fixture('x86-basic/a.trace.txt.zst').subarray(0, 30_000), 1000],
    ['damaged-pages.dat', gunzipSync(fixture('formats/corrupt-pages-v6.dat.gz')), 346],
  ])('%s', async (name, content, atLeast) => {
    const [trace] = expectAnalysed(await analyze(write(name, content))).traces;
    expect(trace!.events).toBeGreaterThanOrEqual(atLeast);
    expect(trace!.skipped.length).toBeGreaterThan(0);
    for (const { reason, count, first } of trace!.skipped) {
      expect(reason).not.toBe('');
      expect(count).toBeGreaterThan(0);
      expect(first).toMatch(/\d/);
    }
  });

  it.each([
    ['binary between the lines', withLine(text, 401, randomBytes(3000, 7)), /^line 401$/],
    ['a line of 1 MB', withLine(text, 401, Buffer.alloc(1_000_000, 'x')), /^line 401$/],
  ])('text with %s loses no event', async (_what, content, first) => {
    const { traces, conversions } = expectAnalysed(await analyze(write('mixed.txt', content)));
    expect(traces[0]!.skipped[0]!.first).toMatch(first);
    expect(traces[0]!.events).toBe(TEXT_EVENTS);
    expect(conversions.total).toBe(TEXT_CONVERSIONS);
  });

  it('text with CRLF is read as it is without', async () => {
    const { traces, conversions } = expectAnalysed(
      await analyze(write('crlf.txt', text.toString('latin1').replaceAll('\n', '\r\n'))),
    );
    expect(traces[0]).toMatchObject({ events: TEXT_EVENTS, skipped: [] });
    expect(conversions.total).toBe(TEXT_CONVERSIONS);
  });
});

describe('hostile lengths', () => {
  const huge = 0x7fff_ffff_ffff_ff00n;
  it.each([
    ['trace.dat: size of the header page', withNumber(dat6, dat6.indexOf('header_page\0') + 12, huge)],
    ['perf.data: size of the attributes', withNumber(perf, 32, huge)],
    ['perf.data: size of the data', withNumber(perf, 48, huge)],
    ['perf.data: place of the data', withNumber(perf, 40, huge)],
    ['zstd: a frame that says to hold 16 EiB', Buffer.from('28b52ffde0ffffffffffffff7f010000', 'hex')],
  ])('%s', async (_what, content) => {
    const outcome = await analyze(write('hostile', content));
    if (outcome.status === 3) expectRefused(outcome, 3, join(folder, 'hostile'));
    else expect(expectAnalysed(outcome).traces[0]!.skipped.length).toBeGreaterThan(0);
  });
});

describe('flipped bits: an analysis or a refusal', () => {
  const inputs = [
    ['v7', dat],
    ['v6', dat6],
    ['perf', perf],
    ['perf pipe', pipe],
    ['text', text],
  ] as const;
  const cases = inputs.flatMap(([name, bytes]) => [1, 3, 4].map((seed) => [name, seed, bytes] as const));

  it.each(cases)('%s, seed %i', async (_name, seed, bytes) => {
    const outcome = await analyze(write('flipped', withFlippedBits(bytes, 200, seed)));
    if (outcome.status === 3) {
      expectRefused(outcome, 3, join(folder, 'flipped'));
      return;
    }
    const [trace] = expectAnalysed(outcome).traces;
    expect(trace!.events > 0 || trace!.skipped.length > 0).toBe(true);
  });
});
