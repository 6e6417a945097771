/** `gmemtrace diff` on the fixtures: what it prints, in every format, and how it ends. */
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../cli/run-cli.js';

const fixtures = fileURLToPath(new URL('../../../fixtures/', import.meta.url));
const basic = join(fixtures, 'x86-basic/a.dat');
const basicText = join(fixtures, 'x86-basic/a.trace.txt.zst');
const stalls = join(fixtures, 'x86-stalls/a.dat');
const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-diff-'));
/** Databases of the two: a diff of them need not import and replay. */
const databases = { basic: join(folder, 'basic.duckdb'), stalls: join(folder, 'stalls.duckdb') };
beforeAll(async () => {
  for (const [trace, db] of [
    [basic, databases.basic],
    [stalls, databases.stalls],
  ] as const) {
    expect(await runCli(['import', trace, '--db', db, '-q'])).toMatchObject({ status: 0 });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const validate = new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true }).compile(
  JSON.parse(readFileSync(new URL('../../../schema/diff.schema.json', import.meta.url), 'utf8')) as object,
);

interface DiffJson {
  readonly regressions: number;
  readonly summary: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  readonly counts: readonly { readonly metric: string; readonly verdict: string; readonly reason: string | null }[];
}

async function diffJson(...args: string[]): Promise<DiffJson> {
  const { status, stdout, stderr } = await runCli(['diff', ...args, '--format', 'json', '-q']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const value = JSON.parse(stdout) as DiffJson;
  expect(validate(value), JSON.stringify(validate.errors)).toBe(true);
  return value;
}

describe('output', () => {
  // Paths as they would be typed: lines are wrapped by their length.
  it.each([
    ['text', 'diff.80.txt', 'fixtures/x86-basic/a.dat', 'fixtures/x86-stalls/a.dat'],
    ['markdown', 'diff.md.txt', databases.basic, databases.stalls],
    ['csv', 'diff.csv.txt', databases.basic, databases.stalls],
  ])('%s', async (format, file, a, b) => {
    const { status, stdout, stderr } = await runCli(['diff', a, b, '--format', format]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    await expect(stdout.replaceAll(fixtures, 'fixtures/')).toMatchFileSnapshot(`../snapshots/${file}`);
  });

  it('fits 80 columns', async () => {
    const { stdout } = await runCli(['diff', databases.basic, databases.stalls, '--verbose']);
    const wide = stdout.split('\n').filter((line) => [...line].length > 80 && !line.includes(fixtures));
    expect(wide).toEqual([]);
  });

  it('json is what its schema says', async () => {
    const { regressions, summary } = await diffJson(databases.basic, databases.stalls);
    expect(regressions).toBeGreaterThan(4);
    expect(summary['worse']).toBe(regressions);
  });
});

describe('what it says', () => {
  it('a trace against itself, its database or its text form has not changed', async () => {
    for (const other of [basic, databases.basic, basicText]) {
      const { regressions, summary } = await diffJson(databases.basic, other);
      expect({ other, regressions, summary }).toMatchObject({
        regressions: 0,
        summary: { worse: 0, better: 0, more: 0, less: 0 },
      });
    }
  });

  it('what only one recording shows is said', async () => {
    const { counts } = await diffJson(databases.basic, join(fixtures, 'x86-inplace-refs/a.trace.txt.zst'));
    const references = counts.find((c) => c.metric === 'references outstanding at the end');
    expect(references).toMatchObject({ verdict: 'not-comparable', reason: 'A: no page_ref events' });
  });

  it('takes folders, and further files of a run', async () => {
    const run = join(folder, 'run');
    cpSync(join(fixtures, 'pkvm-refs-labhyp'), run, { recursive: true });
    const hyp = join(run, 'hyp.trace.txt.gz');
    const files = [join(run, 'trace.dat'), '--with-b', hyp];
    expect(await diffJson(run, ...files)).toMatchObject({ regressions: 0, summary: { worse: 0, better: 0 } });
    const offset = await diffJson(run, ...files, '--clock-offset', `${hyp}=0`);
    expect(offset.regressions).toBe(0);
  });
});

describe('exit status', () => {
  it.each([
    [['--fail-on-regression'], 1],
    [[], 0],
  ])('of a worse trace with %j is %d', async (options, status) => {
    expect(await runCli(['diff', databases.basic, databases.stalls, ...options])).toMatchObject({ status, stderr: '' });
  });

  it('is 0 where nothing got worse', async () => {
    expect(await runCli(['diff', databases.stalls, databases.stalls, '--fail-on-regression'])).toMatchObject({
      status: 0,
    });
  });

  it.each([
    [[basic], "missing required argument 'B'"],
    [[basic, stalls, stalls], 'too many arguments'],
    [[basic, stalls, '--by', 'colour'], '--by colour: not a grouping'],
    [[databases.basic, databases.stalls, '--where', 'no such'], '--where no such: syntax error at or near "such"'],
    [[basic, stalls, '--alpha', '2'], '--alpha 2: not a number above 0 and below 0.5'],
    [[basic, stalls, '--min-change', 'much'], '--min-change much: not a number'],
    [[basic, stalls, '--clock-offset', '5'], 'with two runs it must name the file'],
    [[basic, stalls, '--clock-offset', 'c.dat=5'], '--clock-offset c.dat=5: no such input'],
    [['-', '-'], 'standard input (-) can be read only once'],
  ])('of %j is 2', async (args, message) => {
    const { status, stdout, stderr } = await runCli(['diff', ...args]);
    expect(stderr).toContain(message);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });

  it('of a trace that is not there is 3', async () => {
    const { status, stderr } = await runCli(['diff', basic, join(folder, 'nope')]);
    expect(stderr).toContain('nope: no such file or folder');
    expect(status).toBe(3);
  });
});
