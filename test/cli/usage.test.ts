import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli } from './run-cli.js';

const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileWith(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('wrong usage', () => {
  it('ends with 2 and the help when nothing is asked', async () => {
    const { status, stdout, stderr } = await runCli([]);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('Usage: gmemtrace COMMAND INPUT...');
  });

  it.each([
    [['analize', 'x'], 'unknown command "analize"\n  hint: did you mean analyze?'],
    [['analyze'], `missing required argument 'input'`],
    [['analyze', 'x', '--formta', 'json'], `unknown option '--formta'\n(Did you mean --format?)`],
    [
      ['analyze', 'x', '--format', 'xml'],
      `argument 'xml' is invalid. Allowed choices are text, json, markdown, csv, sarif.`,
    ],
    [['analyze', 'x', '--threads', '0'], '--threads 0: must be 1 to 1024'],
    [['analyze', 'x', '--memory', 'much'], '--memory much: not a size\n  hint: write it like 500MB or 2GB'],
    [['analyze', 'x', '--param', 'stall'], '--param stall: not of the form rule.name=value'],
    [
      ['analyze', 'x', '--select', 'conversion-stal'],
      '--select conversion-stal: no such rule\n  hint: did you mean conversion-stall?',
    ],
    [['analyze', 'x', '--param', 'conversion-stall.factr=2'], 'no such parameter\n  hint: did you mean factor?'],
    [['latency', 'x', '--by', 'directoin'], '--by directoin: not a grouping'],
    [['state', 'x', '--at', '+1s', '--diff', '1..2'], '--at and --diff exclude each other'],
    [['state', 'x', '--offset', 'many'], '--offset many: not a number of bytes'],
    [['import', 'x'], 'import needs --db FILE or --parquet DIR'],
    [['rules', 'conversion-stal'], 'no rule is called "conversion-stal"\n  hint: did you mean conversion-stall?'],
  ])('gmemtrace %j says what is wrong and ends with 2', async (args, message) => {
    const { status, stdout, stderr } = await runCli(args);
    expect(stderr).toContain(message);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  it('tells someone who names a file first what to write', async () => {
    const path = fileWith('some.dat', 'x');
    const { status, stderr } = await runCli([path]);
    expect(stderr).toContain(`hint: gmemtrace analyze ${path}`);
    expect(status).toBe(2);
  });

  it.each([
    ['{"rulez": {}}', 'unknown key "rulez" in the configuration\n  at line 1'],
    ['[]', 'the configuration is a list, expected keys with values'],
    ['{', 'at line 1'],
    [
      '{"rules": {"conversion-stall": {"factor": []}}}',
      '"rules"."conversion-stall"."factor" is a list, expected a single value',
    ],
  ])('refuses the configuration %s', async (text, message) => {
    const { status, stderr } = await runCli(['analyze', 'x', '--config', fileWith('config.json', text)]);
    expect(stderr).toContain(message);
    expect(status).toBe(2);
  });
});

describe('unreadable input', () => {
  it('ends with 3 for a file that is not there', async () => {
    expect(await runCli(['analyze', join(folder, 'nope')])).toEqual({
      status: 3,
      stdout: '',
      stderr: `error: ${join(folder, 'nope')}: no such file or folder\n`,
    });
  });

  it('ends with 3 for a file that is no trace, and leaves no output behind', async () => {
    const { status, stderr } = await runCli([
      'analyze',
      fileWith('notes.pdf', '%PDF-1.7\n'),
      '-o',
      join(folder, 'out.txt'),
    ]);
    expect(stderr).toContain('not a trace that gmemtrace knows');
    expect(stderr).not.toMatch(/\n\s+at .*\.[jt]s:/);
    expect(status).toBe(3);
    expect(readdirSync(folder).filter((name) => name.startsWith('out.txt'))).toEqual([]);
  });

  it('ends with 2 for an output that cannot be written, before it reads anything', async () => {
    const { status, stderr } = await runCli(['analyze', join(folder, 'nope'), '-o', join(folder, 'no', 'out')]);
    expect(stderr).toContain('cannot be written: no such file or folder');
    expect(status).toBe(2);
  });
});

describe('help', () => {
  it('lists commands, exit statuses and examples', async () => {
    const { status, stdout } = await runCli(['--help']);
    expect(status).toBe(0);
    for (const word of [
      'analyze',
      'conversions',
      'latency',
      'state',
      'events',
      'check',
      'import',
      'sql',
      'rules',
      '130  interrupted',
      'Examples:',
    ]) {
      expect(stdout).toContain(word);
    }
  });

  it('has three examples for every command', async () => {
    for (const name of ['analyze', 'conversions', 'latency', 'state', 'import', 'sql', 'rules']) {
      const { status, stdout } = await runCli([name, '--help']);
      expect(status).toBe(0);
      expect(stdout.match(/^ {2}\$ gmemtrace /gm)).toHaveLength(3);
    }
  });

  it('lists what can be read', async () => {
    const { stdout } = await runCli(['--help', 'formats']);
    expect(stdout).toContain('trace.dat');
    expect(stdout).toContain('perf.data');
  });

  it('prints the version', async () => {
    expect((await runCli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('rules', () => {
  it('explains one', async () => {
    const { status, stdout } = await runCli(['rules', 'conversion-stall']);
    expect(status).toBe(0);
    expect(stdout).toContain('parameters (--param conversion-stall.NAME=VALUE)');
    expect(stdout).toContain('factor');
  });

  it('lists the rules of a folder, and says what is wrong with one', async () => {
    const path = fileWith('mine.sql', '-- name: mine\n-- severity: grave\nSELECT 1');
    const { status, stderr } = await runCli(['rules', '--rules', folder]);
    expect(stderr).toContain(path);
    expect(stderr).toContain('severity');
    expect(status).toBe(2);
  });
});
