import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { TraceError } from '../../src/base/errors.js';
import { detectFormat, FORMATS, openTrace } from '../../src/parse/index.js';
import { memorySource } from '../../src/parse/source.js';

const CAPTURES = fileURLToPath(new URL('../../../shared/captures/', import.meta.url));

function refusal(bytes: Uint8Array | string): TraceError {
  try {
    detectFormat(memorySource('notes.bin', Buffer.from(bytes)));
  } catch (error) {
    if (error instanceof TraceError) return error;
    throw error;
  }
  throw new Error('it was taken for a trace');
}

describe.skipIf(!existsSync(CAPTURES))('a trace is known by its content', () => {
  it.each([
    ['formats/perf73.data', 'perf.data'],
    ['formats/perf73-pipe.data.gz', 'perf.data'],
    ['formats/perf73-zdir', 'perf.data'],
    ['x86-basic/a.perf.data.zst', 'perf.data'],
    ['wild/perf/kdab-fork_static_gcc-perf.data.zstd', 'perf.data'],
    ['formats/v7-zstd-tc33.dat', 'trace.dat'],
    ['formats/v6-tc31.dat', 'trace.dat'],
    ['formats/be-s390x-v7.dat', 'trace.dat'],
    ['pkvm-basic/trace.boot.txt', 'ftrace-text'],
    ['formats/txt/kvm.trace.txt.gz', 'ftrace-text'],
    ['formats/expected/kvm.tc331-report-t.txt.gz', 'trace-cmd-report'],
    ['x86-basic/a.script.txt.zst', 'perf-script'],
    ['pkvm-basic/hyp.trace.txt', 'hyp-text'],
  ])('%s is %s', async (name, format) => {
    const trace = await openTrace(CAPTURES + name);
    expect(trace.format.name).toBe(format);
    const summary = await trace.reader.read(() => undefined);
    expect(summary.meta.format).toBe(format);
    expect(summary.events).toBeGreaterThan(0);
    trace.source.close();
  });
});

it('every format has a name of its own', () => {
  expect(new Set(FORMATS.map((format) => format.name)).size).toBe(FORMATS.length);
});

describe('what is no trace', () => {
  it('is refused with the reason of every format', () => {
    const error = refusal('%PDF-1.7\n%\xe2\xe3');
    expect(error.code).toBe('unknown-format');
    expect(error.place).toEqual({ input: 'notes.bin', hint: 'it is a PDF' });
    expect(error.message).toMatch(/^not a trace that gmemtrace knows \(first bytes are "%PDF-1\.7"\)\n/);
    for (const { name } of FORMATS) expect(error.message).toContain(`\n  ${name}: `);
    expect(error.message).toContain('\n  perf.data: it does not begin with PERFILE2');
  });

  it.each([
    [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 1], /compressed with xz: `xz -dc FILE \| gmemtrace/],
    [[0x04, 0x22, 0x4d, 0x18, 0x60], /compressed with lz4/],
    [[...Buffer.from('BZh91AY')], /compressed with bzip2/],
    [[0x50, 0x4b, 3, 4, 20], /zip archive/],
    [[0x7f, 0x45, 0x4c, 0x46, 2], /program, library or core dump/],
    [[0xc1, 0x1f, 0xfc, 0xc1, 0], /CTF trace/],
    [[...Buffer.alloc(257, 97), ...Buffer.from('ustar\0')], /tar archive/],
    [[...Buffer.alloc(8, 1), ...Buffer.from('DUCK')], /database made by `gmemtrace import`/],
    [[0xff, 0xfe, 0x23, 0x00], /UTF-16 text/],
    [[...Buffer.from('{\n\t"linux-perf-json-version": 1,')], /has no event names: give the perf.data itself/],
    [[...Buffer.from('[{"a": 1}]')], /it is JSON/],
    [[0, 0, 0, 0, 0, 0, 0, 0, 0], /all zero/],
    [[0x01, 0x02, 0x03], /--help formats/],
  ])('is called by its name: %j', (bytes, hint) => {
    const error = refusal(Uint8Array.from(bytes));
    expect(error.place.hint).toMatch(hint);
  });

  it('is shown in hex where its first bytes are no text', () => {
    expect(refusal(Uint8Array.of(0, 1, 0xfe, 9)).message).toContain('(first bytes are 0001fe09)');
  });

  it('is closed again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'detect-test-'));
    const path = join(folder, 'trace.dat');
    writeFileSync(path, '\x7fELF not what its name says');
    await expect(openTrace(path)).rejects.toMatchObject({ code: 'unknown-format', place: { input: path } });
    rmSync(folder, { recursive: true });
  });
});
