/** Options that people mistype, combine wrongly or push to their ends: what is said, and the status. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './run-cli.js';

const MAIN = process.env['GMEMTRACE_MAIN'] ?? fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const fixtures = fileURLToPath(new URL('../../fixtures/', import.meta.url));
const stalls = join(fixtures, 'x86-stalls/a.dat');
const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-line-'));
const database = join(folder, 'stalls.duckdb');
beforeAll(async () => {
  expect(await runCli(['import', stalls, '--db', database, '-q'])).toMatchObject({ status: 0, stderr: '' });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('standard input', () => {
  const text = readFileSync(join(fixtures, 'formats/v7-zlib-tc33.dat'));

  it('is the input of the run that names it', async () => {
    const piped = await runCli(['analyze', '-', '--format', 'json'], { stdin: text });
    expect(piped).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(piped.stdout)).toMatchObject({ traces: [{ path: '-', format: 'trace.dat', events: 644 }] });
  });

  it('that is empty is refused, as an empty file is', async () => {
    expect(await runCli(['analyze', '-'], { stdin: '' })).toMatchObject({ status: 3, stdout: '' });
  });

  it('can be read once only', async () => {
    const { status, stderr } = await runCli(['analyze', '-', '-'], { stdin: text });
    expect(stderr).toBe('error: standard input (-) can be read only once\n');
    expect(status).toBe(2);
  });
});

describe('--output', () => {
  it('a folder is refused before anything is read', async () => {
    const { status, stderr } = await runCli(['analyze', join(folder, 'nope'), '--output', folder]);
    expect(stderr).toBe(`error: ${folder}: cannot be written: it is a folder\n`);
    expect(status).toBe(2);
  });

  it('a link stays one, and the file that it names is replaced', async () => {
    const [file, link] = [join(folder, 'real.txt'), join(folder, 'link.txt')];
    writeFileSync(file, 'old');
    symlinkSync(file, link);
    expect(await runCli(['rules', '--output', link])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readFileSync(file, 'utf8')).toContain('conversion-stall');
  });

  it.skipIf(!existsSync('/dev/null'))('a device stays one', async () => {
    expect(await runCli(['rules', '--output', '/dev/null'])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  it.skipIf(!existsSync('/dev/full'))('that is full is said to be, whether it has a name or not', async () => {
    expect(await runCli(['rules', '--output', '/dev/full'])).toEqual({
      status: 2,
      stdout: '',
      stderr: 'error: /dev/full: cannot be written: no space left on the device\n',
    });
    for (const args of ['rules', '--help']) {
      const full = openSync('/dev/full', 'w');
      const { status, stderr } = spawnSync(process.execPath, [MAIN, args], {
        stdio: ['ignore', full, 'pipe'],
        encoding: 'utf8',
      });
      closeSync(full);
      expect({ status, stderr }).toEqual({
        status: 2,
        stderr: 'error: the output: cannot be written: no space left on the device\n',
      });
    }
  });
});

describe('help', () => {
  it('comes for the word, too, and not for a topic that there is not', async () => {
    const { status, stdout } = await runCli(['help']);
    expect(stdout).toMatch(/^Usage: gmemtrace COMMAND/);
    expect(status).toBe(0);
    const wrong = await runCli(['--help', 'format']);
    expect(wrong.stderr).toBe('error: --help format: no such topic\n  hint: did you mean formats?\n');
    expect(wrong.status).toBe(2);
  });
});

describe('analyze --limit', () => {
  const findings = async (...args: string[]): Promise<{ readonly shown: number; readonly stderr: string }> => {
    const { stdout, stderr } = await runCli(['analyze', database, '--format', 'json', ...args]);
    return { shown: (JSON.parse(stdout) as { findings: object[] }).findings.length, stderr };
  };

  it('holds for every format, and says that it cut', async () => {
    const { shown: all } = await findings();
    expect(all).toBeGreaterThan(2);
    expect(await findings('--limit', '2')).toEqual({
      shown: 2,
      stderr: `note: showing 2 of ${all} findings; --limit 0 shows all\n`,
    });
    expect(await findings('--limit', '0')).toEqual({ shown: all, stderr: '' });
    expect(await findings('--limit', '9007199254740991')).toEqual({ shown: all, stderr: '' });
    const csv = await runCli(['analyze', database, '--format', 'csv', '--limit', '1', '--quiet']);
    expect(csv.stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(csv.stderr).toBe('');
    for (const format of ['text', 'markdown']) {
      const { stdout } = await runCli(['analyze', database, '--format', format, '--limit', '1']);
      expect(stdout).toMatch(new RegExp(`showing 1 of ${all} findings`, 'i'));
      expect(stdout.match(/conversion-retry-loop/g)).toBeNull();
    }
  });

  it('does not change the verdict', async () => {
    const { stdout, status } = await runCli(['analyze', database, '--limit', '1', '--fail-on', 'warning']);
    expect(stdout).toMatch(/^FAIL {2}2 errors, \d warnings/m);
    expect(status).toBe(1);
  });
});

describe('analyze --format json', () => {
  it('tells the vCPU and the thresholds of a finding', async () => {
    const { stdout } = await runCli(['analyze', database, '--format', 'json', '--param', 'conversion-stall.factor=9']);
    const { findings } = JSON.parse(stdout) as { findings: { rule: string; vcpu: number; thresholds: string }[] };
    const stall = findings.find(({ rule }) => rule === 'conversion-stall')!;
    expect(stall.vcpu).toBe(0);
    expect(stall.thresholds).toMatch(/min_ns = 10000000, factor = 9\b/);
  });
});

describe('latency', () => {
  it('counts a grouping once that is named twice', async () => {
    const twice = await runCli(['latency', database, '--by', 'direction, direction']);
    expect(twice).toEqual(await runCli(['latency', database, '--by', 'direction']));
  });

  it('lists as many of the slowest as there are, or none', async () => {
    const args = ['latency', database, '--show', 'conversions', '--format', 'json', '--slowest'];
    const slowest = async (n: string): Promise<number> => {
      const { stdout } = await runCli([...args, n]);
      return (JSON.parse(stdout) as { conversions: { slowest: object[] } }).conversions.slowest.length;
    };
    expect(await slowest('9007199254740991')).toBe(86);
    expect(await slowest('0')).toBe(0);
  });

  it('says that nothing fits', async () => {
    const { stdout, status } = await runCli(['latency', database, '--where', 'vm_id = 99', '--show', 'conversions']);
    expect({ stdout, status }).toEqual({ stdout: 'no conversion fits --where vm_id = 99\n', status: 0 });
  });
});

describe('conversions', () => {
  it.each([
    [['--slowest', '3'], 'showing the slowest 3 of 141 conversions; --slowest N shows more'],
    [['--slowest', '3', '--limit', '1'], 'showing the slowest 1 of 141 conversions; --limit 0 shows all'],
    [['--limit', '2'], 'showing 2 of 141 conversions; --limit 0 shows all'],
  ])('%j says which option hides the rest', async (args, message) => {
    expect((await runCli(['conversions', database, ...args])).stdout).toContain(`\n${message}\n`);
  });

  it('fits 80 and 120 columns', async () => {
    for (const columns of ['80', '120']) {
      const { stdout } = await runCli(['conversions', database], { env: { COLUMNS: columns } });
      expect(stdout.split('\n').filter((line) => [...line].length > Number(columns))).toEqual([]);
    }
  });
});

describe('check', () => {
  const save = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const spec = (): string =>
    save('a.yaml', 'version: 1\ntraces: [{ path: a.dat }, { path: b.dat, optional: true, name: B }]\n');

  it('lists traces in the format that is asked for', async () => {
    expect((await runCli(['check', spec(), '--list'])).stdout).toBe('a.dat  a.dat\nB  (optional)  b.dat\n');
    expect(JSON.parse((await runCli(['check', spec(), '--list', '--format', 'json'])).stdout)).toEqual([
      { name: 'a.dat', optional: false, paths: 'a.dat' },
      { name: 'B', optional: true, paths: 'b.dat' },
    ]);
  });

  it('says of a trace that cannot be read which file, where, and what to do', async () => {
    save('empty.dat', '');
    writeFileSync(join(folder, 'cut.dat'), readFileSync(stalls).subarray(0, 5000));
    const { status, stdout } = await runCli([
      'check',
      save('b.yaml', 'version: 1\ntraces: [{ path: empty.dat }, { path: cut.dat }]\n'),
    ]);
    expect(stdout).toContain(`${join(folder, 'empty.dat')}: is empty; was the recorder stopped before it wrote?\n`);
    expect(stdout).toMatch(/cut\.dat: no events are in the file: .* \(at byte 5000\); copy the file again/);
    expect(status).toBe(3);
  });

  it.each(['--update-baseline', '--junit=x.xml', '--sarif=x.sarif', '--summary=x.md'])(
    '--list and %s exclude each other',
    async (option) => {
      const { status, stderr } = await runCli(['check', spec(), '--list', option]);
      expect(stderr).toMatch(/'--list' cannot be used with option '--/);
      expect(status).toBe(2);
    },
  );

  it.each([
    ['a trace', 'spec.dat', 'tracing\0\u0001\0 {', 'it holds binary data'],
    ['prose', 'prose.yaml', '# Heading\n\nSome text: that: goes\non', 'at line'],
  ])('%s is no spec', async (_what, name, content, message) => {
    const { status, stdout, stderr } = await runCli(['check', save(name, content)]);
    expect(stderr).toContain(message);
    expect(stderr).toContain('hint: it must be YAML or JSON');
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });
});
