import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../src/cli/app.js';
import { makeSink, runCli } from './run-cli.js';

const captures = fileURLToPath(new URL('../../../shared/captures/', import.meta.url));
const basic = join(captures, 'x86-basic/a.dat');
const stalls = join(captures, 'x86-stalls/a.dat');

describe.skipIf(!existsSync(basic))('on real captures', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-test-'));
  const database = join(folder, 'basic.duckdb');
  beforeAll(async () => {
    const imported = await runCli(['import', basic, '--db', database]);
    expect(imported).toMatchObject({ status: 0, stdout: '' });
    expect(imported.stderr).toMatch(/^wrote .*basic\.duckdb: 9,838 events/);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(['analyze', 'conversions', 'latency', 'state'])(
    '%s answers the same from the trace and its database',
    async (command) => {
      for (const format of ['json', 'text']) {
        const fromTrace = await runCli([command, basic, '--format', format]);
        expect(fromTrace).toMatchObject({ status: 0, stderr: '' });
        expect(await runCli([command, database, '--format', format])).toEqual(fromTrace);
      }
    },
  );

  it('does not write into a database that it reads', async () => {
    const before = readFileSync(database);
    await runCli(['analyze', database, '--param', 'conversion-stall.min_ns=1']);
    expect(readFileSync(database).equals(before)).toBe(true);
    expect(readdirSync(folder)).toEqual(['basic.duckdb']);
  });

  it('judges a database by other parameters when asked', async () => {
    const strict = [
      '--param',
      'conversion-stall.min_ns=1000000',
      '--param',
      'conversion-stall.factor=2',
      '--format',
      'json',
    ];
    const fromTrace = await runCli(['analyze', basic, ...strict]);
    expect(await runCli(['analyze', database, ...strict])).toEqual(fromTrace);
    const count = (text: string): number =>
      (JSON.parse(text) as { findings: { count: number }[] }).findings.reduce((sum, f) => sum + f.count, 0);
    expect(count(fromTrace.stdout)).toBeGreaterThan(
      count((await runCli(['analyze', basic, '--format', 'json'])).stdout),
    );
  });

  it('ends with 1 only where --fail-on is reached', async () => {
    expect((await runCli(['analyze', stalls])).status).toBe(0);
    expect((await runCli(['analyze', stalls, '--fail-on', 'error'])).status).toBe(1);
    expect((await runCli(['analyze', stalls, '--fail-on', 'error', '--select', 'lost-events'])).status).toBe(0);
  });

  it('names stalled, refused and unanswered requests of x86-stalls', async () => {
    const { stdout } = await runCli(['analyze', stalls]);
    expect(stdout).toMatch(/^error\[conversion-never-completed\] vm1 vcpu1 .*gpa\s+0x1001b4000/m);
    expect(stdout).toMatch(/^(error|warning)\[conversion-stall\] vm1 vcpu0/m);
    expect(stdout).toMatch(/^warning\[conversion-retry-loop\] vm1 vcpu1/m);
    expect(stdout).toContain('nothing was lost');
  });

  it('has no line over 80 columns at 80, and no colour without a terminal', async () => {
    for (const command of ['analyze', 'latency', 'conversions', 'state']) {
      const { stdout } = await runCli([command, stalls]);
      expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
      expect(stdout).not.toMatch(/\u001b/);
    }
  });

  it('ends quietly with 0 when the reader of its output goes away', async () => {
    const stdout = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('gone'), { code: 'EPIPE' })),
    });
    const stderr = makeSink(false);
    const stdin = process.stdin;
    const signal = new AbortController().signal;
    const status = await run(['conversions', basic, '--format', 'json'], {
      io: { stdin, stdout, stderr, env: {} },
      signal,
    });
    expect(status).toBe(0);
    expect(stderr.text).toBe('');
  });

  it('ends with 130 when interrupted and leaves nothing behind', async () => {
    const target = join(folder, 'interrupted.duckdb');
    const interrupt = new AbortController();
    interrupt.abort();
    const { status, stdout } = await runCli(['import', basic, '--db', target], { signal: interrupt.signal });
    expect(status).toBe(130);
    expect(stdout).toBe('');
    expect(readdirSync(folder).filter((name) => name.includes('interrupted'))).toEqual([]);
  });

  it('lets a query touch the database only', async () => {
    const one = await runCli(['sql', database, 'SELECT 40 + 2 AS answer', '--format', 'csv']);
    expect(one).toEqual({ status: 0, stdout: 'answer\n42\n', stderr: '' });
    const piped = await runCli(['sql', database, '--format', 'json'], { stdin: 'SELECT rule FROM finding LIMIT 0' });
    expect(piped).toEqual({ status: 0, stdout: '[]\n', stderr: '' });
    for (const query of [
      `SELECT * FROM read_text('/etc/hostname')`,
      `COPY vm TO '${join(folder, 'vm.csv')}'`,
      `SET enable_external_access = true`,
    ]) {
      const { status, stderr } = await runCli(['sql', database, query]);
      expect(stderr).toMatch(/^error: /);
      expect(status).toBe(2);
    }
    expect(readdirSync(folder)).toEqual(['basic.duckdb']);
  });

  it('says where a time lies outside the trace', async () => {
    const { status, stderr } = await runCli(['state', basic, '--at', '5']);
    expect(stderr).toContain('lies outside the trace, which goes from 16191555749 to 17901279818 ns');
    expect(status).toBe(2);
  });

  it('state: both stores of an attribute, in every machine format', async () => {
    const json = JSON.parse((await runCli(['state', database, '--at', '+1s', '--format', 'json'])).stdout) as {
      ranges: Readonly<Record<string, unknown>>[];
    };
    expect(json.ranges[0]).toMatchObject({ attribute: 'private', shareability: 'unknown' });
    for (const format of ['csv', 'markdown']) {
      const { stdout } = await runCli(['state', database, '--at', '+1s', '--format', format]);
      expect(stdout.split('\n')[0]).toMatch(/attribute.*shareability.*conversion/);
    }
  });

  it.each([
    [['--gmem', 'gmem99'], /no guest_memfd gmem99 in this trace[^]*it shows gmem1/],
    [['--diff', '+1s..+0.5s'], /the second instant lies before the first/],
    [['--diff', '+1s'], /--diff takes two times[^]*\+1s\.\.\+2s/],
  ])('state %j: refused, and what to write instead', async (args, message) => {
    const { status, stderr } = await runCli(['state', database, ...args]);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });
});
