/** The examples of docs/ci/ do what they say: their steps are run here, on a recording in the place of the host's. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { XMLValidator } from 'fast-xml-parser';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { sarifFaults } from './support/sarif-schema.js';

const MAIN = process.env['GMEMTRACE_MAIN'] ?? fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'gmemtrace-docs-ci-'));
afterAll(() => rmSync(root, { recursive: true }));

/** A checked-out repository with the example's spec, where `npx gmemtrace` is this gmemtrace. */
function makeRepository(name: string) {
  const folder = join(root, name);
  mkdirSync(join(folder, 'bin'), { recursive: true });
  const npx = `#!/bin/sh\n[ "$1" = gmemtrace ] || exit 127\nshift\nexec '${process.execPath}' '${MAIN}' "$@"\n`;
  writeFileSync(join(folder, 'bin/npx'), npx, { mode: 0o755 });
  copyFileSync(at('docs/ci/traces.check.yaml'), join(folder, 'traces.check.yaml'));
  return {
    folder,
    read: (file: string): string => readFileSync(join(folder, file), 'utf8'),
    has: (file: string): boolean => existsSync(join(folder, file)),
    /** Runs a step as the runner does: bash, ending at the first command that fails. */
    run: (script: string, env: Readonly<Record<string, string>> = {}) =>
      spawnSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', script], {
        stdio: ['ignore', 'pipe', 'pipe'],
        cwd: folder,
        encoding: 'utf8',
        env: { PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH']}`, TMPDIR: root, ...env },
      }),
  };
}

/** What only a host with confidential VMs can do: `record`. */
const isOfHost = (script: string): boolean => /\bsudo\b/.test(script);

interface Step {
  readonly name?: string;
  readonly run?: string;
  readonly uses?: string;
  readonly if?: string;
  readonly with?: Readonly<Record<string, string | number>>;
}

interface Workflow {
  readonly jobs: { readonly check: { readonly steps: readonly Step[] } };
}

const { steps } = (parse(readFileSync(at('docs/ci/github.yml'), 'utf8')) as Workflow).jobs.check;

/** Runs all steps on a recording, as the runner does: after a failure only those with `if: always()`. */
function runWorkflow(name: string, recording: string) {
  const repository = makeRepository(name);
  const env = {
    GITHUB_ACTIONS: 'true',
    GITHUB_WORKSPACE: repository.folder,
    GITHUB_STEP_SUMMARY: join(repository.folder, 'summary.md'),
  };
  const results = new Map<
    string,
    { readonly status: number | null; readonly stdout: string; readonly stderr: string }
  >();
  let failed = false;
  for (const step of steps) {
    if (step.run === undefined || (failed && step.if !== 'always()')) continue;
    if (isOfHost(step.run)) {
      expect(step.run).toContain('-o boot.dat');
      copyFileSync(at(recording), join(repository.folder, 'boot.dat'));
      continue;
    }
    const result = repository.run(step.run, env);
    results.set(step.name!, result);
    failed ||= result.status !== 0;
  }
  return { ...repository, results };
}

describe('the workflow for GitHub', () => {
  it('passes on a good recording and makes every file that it uploads', () => {
    const { results, read, has } = runWorkflow('good', 'fixtures/x86-basic/a.dat');
    expect([...results.keys()]).toEqual(['check', 'report']);
    for (const result of results.values()) expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(results.get('check')!.stdout).toMatch(
      /^ ok {4}boot\.dat.*\n skip {2}reboot\.dat {4}not there \(optional\)\n/,
    );
    const uploaded = steps.flatMap((step) =>
      String(step.with?.['path'] ?? step.with?.['sarif_file'] ?? '').split(/\s+/),
    );
    const files = uploaded.filter((file) => file !== '');
    expect(files).toEqual(['check.sarif', 'boot.dat', 'boot.json', 'junit.xml']);
    expect(files.filter((file) => !has(file))).toEqual([]);
    expect(XMLValidator.validate(read('junit.xml'))).toBe(true);
    expect(sarifFaults(JSON.parse(read('check.sarif')))).toEqual([]);
    expect(JSON.parse(read('boot.json'))).toMatchObject({ conversions: { total: 110 } });
    expect(read('summary.md')).toMatch(/^## gmemtrace check: PASS: 2 traces, 0 failed\n[^]*\n## gmemtrace: /);
  });

  it('fails on a bad one, marks the spec, and still reports', () => {
    const { results, read } = runWorkflow('bad', 'fixtures/x86-stalls/a.dat');
    const check = results.get('check')!;
    expect(check.status).toBe(1);
    expect(check.stdout).toContain('conversion-never-completed was found once, expected none');
    expect(check.stderr).toMatch(
      /^::error file=traces\.check\.yaml,line=\d+,col=\d+,title=boot\.dat%3A vms::vms: 2, expected 1$/m,
    );
    expect(results.get('report')!.status).toBe(0);
    expect(read('junit.xml')).toContain('<failure ');
    expect(read('summary.md')).toContain('## gmemtrace check: FAIL');
    expect(read('summary.md')).toContain('## gmemtrace: FAIL');
    const log = JSON.parse(read('check.sarif')) as {
      readonly runs: readonly [{ readonly results: readonly object[] }];
    };
    expect(sarifFaults(log)).toEqual([]);
    expect(log.runs[0].results.length).toBeGreaterThan(0);
  });
});

interface Job {
  readonly script: readonly string[];
  readonly after_script: readonly string[];
  readonly artifacts: { readonly paths: readonly string[]; readonly reports: { readonly junit: string } };
}

describe('the job for GitLab', () => {
  it('runs, and makes the artifacts that it names', () => {
    const { conversions } = parse(readFileSync(at('docs/ci/gitlab.yml'), 'utf8')) as { readonly conversions: Job };
    const { run, has, folder } = makeRepository('gitlab');
    copyFileSync(at('fixtures/x86-basic/a.dat'), join(folder, 'boot.dat'));
    const lines = [...conversions.script, ...conversions.after_script];
    expect(lines.filter(isOfHost)).toHaveLength(1);
    for (const line of lines.filter((one) => !isOfHost(one))) {
      expect(run(line, { GITLAB_CI: 'true' })).toMatchObject({ status: 0, stderr: '' });
    }
    const { paths, reports } = conversions.artifacts;
    expect([...paths, reports.junit].filter((file) => !has(file))).toEqual([]);
  });
});

describe('the specs of the page', () => {
  it('are specs', () => {
    const page = readFileSync(at('docs/ci/README.md'), 'utf8');
    const specs = [...page.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, text]) => text!);
    expect(specs).toHaveLength(2);
    const { run, folder } = makeRepository('page');
    for (const [i, text] of specs.entries()) {
      writeFileSync(join(folder, `${i}.yaml`), text);
      const listed = run(`npx gmemtrace check ${i}.yaml --list`);
      expect(listed.stderr).toBe('');
      expect(listed.stdout).toContain('boot.dat');
    }
  });
});
