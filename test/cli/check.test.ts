/** `check` as a CI system runs it: baselines, reports beside the result, several traces at a time. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { sarifFaults } from '../support/sarif-schema.js';
import { runCli } from './run-cli.js';

const MAIN = process.env['GMEMTRACE_MAIN'] ?? fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const fixture = (name: string): string => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'gmemtrace-gate-'));
afterAll(() => rmSync(root, { recursive: true }));

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'));
});

function save(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const read = (name: string): string => readFileSync(join(folder, name), 'utf8');

/** A few events: enough for the import, nothing to find. `count` hypercalls in the kernel's text. */
function saveTrace(name: string, count: number): string {
  const lines = Array.from(
    { length: count },
    (_, i) =>
      `          gmemvm-97      [001] .....     1.0000${i + 10}: kvm_hypercall: nr 0xc a0 0x1000 a1 0x5 a2 0x0 a3 0x0\n`,
  );
  return save(name, `# tracer: nop\n#\n${lines.join('')}`);
}

describe('a baseline', () => {
  const spec = (body = ''): string =>
    save(
      'a.yaml',
      `version: 1\nbaseline: base.json\ntraces:\n  - path: a.txt\n${body}  - { path: b.txt, baseline: false }\n`,
    );

  it('is written, met, missed when the trace is another one, and met again when it is written anew', async () => {
    saveTrace('a.txt', 3);
    saveTrace('b.txt', 1);
    const written = await runCli(['check', spec(), '--update-baseline']);
    expect(written).toMatchObject({ status: 0, stderr: '' });
    expect(written.stdout).toContain(`2 traces, 0 failed · wrote ${join(folder, 'base.json')}`);
    expect(Object.keys((JSON.parse(read('base.json')) as { traces: object }).traces)).toEqual(['a.txt']);
    expect(await runCli(['check', spec()])).toMatchObject({ status: 0, stderr: '' });

    saveTrace('a.txt', 4);
    const drifted = await runCli(['check', spec()]);
    expect(drifted.status).toBe(1);
    expect(drifted.stdout).toContain('baseline counts: not as it was\n          events: 4, was 3\n');
    expect((await runCli(['check', spec('    tolerance: { counts: 50% }\n')])).status).toBe(0);

    expect((await runCli(['check', spec(), '--update-baseline'])).status).toBe(0);
    expect((await runCli(['check', spec()])).status).toBe(0);
  });

  it('of a recording agrees with its schema and holds what was found', async () => {
    copyFileSync(fixture('x86-stalls/a.dat'), join(folder, 'a.txt'));
    saveTrace('b.txt', 1);
    expect((await runCli(['check', spec(), '--update-baseline'])).status).toBe(0);
    const baseline: unknown = JSON.parse(read('base.json'));
    const schema = JSON.parse(readFileSync(fixture('../schema/baseline.schema.json'), 'utf8')) as object;
    expect(new Ajv2020({ allowUnionTypes: true }).validate(schema, baseline)).toBe(true);
    expect(baseline).toMatchObject({
      traces: {
        'a.txt': {
          counts: { 'conversions.total': 141, 'conversions.outcome.refused': 51, references: null },
          findings: { 'error conversion-never-completed vm1': 1 },
          rules: { 'conversion-stall': 'judged', 'dma-blocks-conversion': 'unavailable' },
        },
      },
    });
    expect((await runCli(['check', spec()])).status).toBe(0);
  });

  it('keeps what was not checked or could not be read, and forgets what the spec does not name', async () => {
    const entries = (): readonly string[] => Object.keys((JSON.parse(read('base.json')) as { traces: object }).traces);
    saveTrace('a.txt', 1);
    saveTrace('b.txt', 2);
    const two = save('a.yaml', 'version: 1\nbaseline: base.json\ntraces: [{ path: a.txt }, { path: b.txt }]\n');
    await runCli(['check', two, '--update-baseline']);
    rmSync(join(folder, 'a.txt'));
    expect((await runCli(['check', two, '--update-baseline'])).status).toBe(3);
    expect((await runCli(['check', two, '--update-baseline', '--filter', 'b*'])).status).toBe(0);
    expect(entries()).toEqual(['a.txt', 'b.txt']);
    const one = save('a.yaml', 'version: 1\nbaseline: base.json\ntraces: [{ path: b.txt }]\n');
    await runCli(['check', one, '--update-baseline']);
    expect(entries()).toEqual(['b.txt']);
  });

  it('still holds what the spec says itself against the trace', async () => {
    saveTrace('a.txt', 3);
    saveTrace('b.txt', 1);
    const result = await runCli(['check', spec('    expect: { events: 5 }\n'), '--update-baseline']);
    expect(result.status).toBe(1);
    expect(result.stdout).toContain('events: 3, expected 5');
    expect(existsSync(join(folder, 'base.json'))).toBe(true);
  });

  it('is asked for where it is not there, and is refused where it is none', async () => {
    saveTrace('a.txt', 3);
    const missing = await runCli(['check', spec()]);
    expect(missing.status).toBe(2);
    expect(missing.stderr).toContain('base.json: cannot be read: no such file or folder');
    expect(missing.stderr).toContain('hint: check --update-baseline writes it');
    save('base.json', '{}');
    expect((await runCli(['check', spec(), '--update-baseline'])).status).toBe(2);
    const none = save('none.yaml', 'version: 1\ntraces: [{ path: a.txt }]\n');
    const result = await runCli(['check', none, '--update-baseline']);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain('none.yaml names no baseline');
  });
});

describe('reports', () => {
  const unmet = (): string => {
    saveTrace('a.txt', 3);
    return save('a.yaml', 'version: 1\ntraces:\n  - path: a.txt\n    expect: { events: 4 }\n');
  };

  it('are all written, the summary behind what is there', async () => {
    const path = unmet();
    save('summary.md', 'before\n');
    const files = ['junit.xml', 'a.sarif', 'summary.md'].map((name) => join(folder, name));
    const result = await runCli(
      ['check', path, '--junit', files[0]!, '--sarif', files[1]!, '--summary', files[2]!].concat('--format', 'json'),
    );
    expect(result).toMatchObject({ status: 1, stderr: '' });
    expect(JSON.parse(result.stdout)).toMatchObject({ schema: 'gmemtrace.check/1', ok: false });
    expect(read('junit.xml')).toContain('<failure message="events: 3, expected 4"/>');
    expect(read('summary.md')).toMatch(/^before\n## gmemtrace check: FAIL: 1 trace, 1 failed\n/);
    const log = JSON.parse(read('a.sarif')) as { readonly runs: readonly [{ readonly results: readonly object[] }] };
    expect(sarifFaults(log)).toEqual([]);
    expect(log.runs[0].results).toMatchObject([
      { ruleId: 'expected-count', locations: [{ physicalLocation: { region: { startLine: 4, startColumn: 23 } } }] },
    ]);
  });

  it.each(['--junit', '--sarif', '--summary'])('%s to a place that cannot be written ends at once', async (flag) => {
    const result = await runCli(['check', unmet(), '--junit', join(folder, 'j.xml'), flag, join(folder, 'no/x')]);
    expect(result.status).toBe(2);
    expect(result.stdout).toBe('');
    expect(result.stderr).toContain('no/x: cannot be written: no such file or folder');
    expect(readdirSync(folder).sort()).toEqual(['a.txt', 'a.yaml']);
  });

  it('annotate on GitHub or when told to, with the path from the root of the repository', async () => {
    const path = unmet();
    const github = { GITHUB_ACTIONS: 'true', GITHUB_WORKSPACE: root };
    const inside = path.slice(root.length + 1);
    const line = (file: string): string =>
      `::error file=${file},line=4,col=23,title=a.txt%3A events::events: 3, expected 4\n`;
    expect((await runCli(['check', path])).stderr).toBe('');
    expect((await runCli(['check', path], { env: github })).stderr).toBe(line(inside));
    expect((await runCli(['check', path, '--annotations', 'none'], { env: github })).stderr).toBe('');
    expect((await runCli(['check', path, '--annotations', 'github'])).stderr).toBe(line(path));
  });

  it('annotate a spec that is wrong, too', async () => {
    const path = save('wrong.yaml', 'version: 1\ntraces:\n  - path: a.txt\n    expects: {}\n');
    const result = await runCli(['check', path, '--annotations', 'github']);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain(`::error file=${path},line=4,col=5,title=gmemtrace check%3A wrong specification::`);
    expect(result.stderr).toContain('unknown key "expects" in a trace%0Ahint: did you mean expect?\n');
    expect(result.stderr).toContain('at line 4, column 5\n');
  });
});

describe('rules of a trace', () => {
  it('are those that judge; --select stands before them, --ignore takes from them', async () => {
    saveTrace('a.txt', 2);
    const path = save('a.yaml', 'version: 1\ntraces: [{ path: a.txt, rules: [conversion-stall, lost-events] }]\n');
    const names = async (...args: string[]): Promise<readonly string[]> => {
      const { stdout } = await runCli(['check', path, '--format', 'json', ...args]);
      const { traces } = JSON.parse(stdout) as { traces: readonly [{ cases: readonly { name: string }[] }] };
      return traces[0].cases.map((one) => one.name);
    };
    expect(await names()).toEqual(['rule conversion-stall', 'rule lost-events']);
    expect(await names('--select', 'lost-events,refcount-leak')).toEqual(['rule lost-events', 'rule refcount-leak']);
    expect(await names('--ignore', 'lost-events')).toEqual(['rule conversion-stall']);
  });
});

describe('--jobs', () => {
  const gmemtrace = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', cwd: folder });

  it('gives the same as one trace after the other, messages too', () => {
    saveTrace('a.txt', 3);
    saveTrace('b.txt', 9);
    copyFileSync(fixture('x86-basic/a.dat'), join(folder, 'c.dat'));
    save('notes.pdf', '%PDF-1.7');
    const paths = ['c.dat', 'a.txt', 'notes.pdf', 'gone.dat', 'b.txt'];
    save(
      'a.yaml',
      `version: 1\ntraces:\n${paths.map((path) => `  - { path: ${path}, expect: { events: 3 } }\n`).join('')}`,
    );
    const [one, three] = ['1', '3'].map((jobs) => {
      const { status, stdout, stderr } = gmemtrace('check', 'a.yaml', '--jobs', jobs, '--sarif', `${jobs}.sarif`);
      return { status, stdout: stdout.replace(/wrote .*/, ''), stderr, sarif: read(`${jobs}.sarif`) };
    });
    expect(one!.status).toBe(3);
    expect(one!.stdout).toContain('events: 9,838, expected 3');
    expect(three).toEqual(one);
  });

  it('ends with the error of the first trace that has one', () => {
    saveTrace('a.txt', 3);
    saveTrace('b.txt', 9);
    save('a.yaml', 'version: 1\ntraces: [{ path: a.txt }, { path: b.txt }]\n');
    const [one, two] = ['1', '2'].map((jobs) => gmemtrace('check', 'a.yaml', '--clock-offset', 'x=1', '--jobs', jobs));
    expect(one!.status).toBe(2);
    expect([two!.status, two!.stdout, two!.stderr]).toEqual([one!.status, one!.stdout, one!.stderr]);
  });

  it.each(['0', 'two', '-1'])('%s is refused', async (jobs) => {
    saveTrace('a.txt', 1);
    const path = save('a.yaml', 'version: 1\ntraces: [{ path: a.txt }]\n');
    const result = await runCli(['check', path, '--jobs', jobs]);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain(`--jobs ${jobs}:`);
  });
});
