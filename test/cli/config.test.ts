/** The configuration file: where it is found, what it sets, and what is said of a wrong one. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { runCli } from './run-cli.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const validate = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(
  JSON.parse(readFileSync(join(root, 'schema/config.schema.json'), 'utf8')) as object,
);
const RULE = `-- name: my-rule
-- severity: info
-- summary: Mine.
-- param least = 3 : how many
SELECT 'info' AS severity, 'fail' AS verdict, vm_id, NULL AS gmem_id, NULL AS vcpu, 'seen' AS title, NULL AS since_ns,
  NULL AS until_ns, $least AS count, certainty, NULL AS hint, NULL AS evidence FROM vm
`;

let folder = '';
const before = process.cwd();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gmemtrace-config-'));
  mkdirSync(join(folder, 'rules'));
  writeFileSync(join(folder, 'rules/my-rule.sql'), RULE);
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true });
});

const CONFIG = `
rules:
  my-rule: { least: 4 }
ruleDirs: [rules]
format: json
failOn: info
`;
const trace = join(root, 'fixtures/x86-basic/kvmonly.trace.txt.zst');

interface Found {
  readonly findings: readonly { readonly rule: string; readonly count: number }[];
}

describe('the configuration', () => {
  it('of the working directory sets rules, parameters and defaults of options; options win', async () => {
    writeFileSync('gmemtrace.config.yaml', CONFIG);
    const { status, stdout } = await runCli(['analyze', trace, '--select', 'my-rule']);
    expect((JSON.parse(stdout) as Found).findings).toMatchObject([{ rule: 'my-rule', count: 4 }]);
    expect(status).toBe(1);
    const options = ['--param', 'my-rule.least=5', '--format', 'csv', '--fail-on', 'error'];
    const other = await runCli(['analyze', trace, '--select', 'my-rule', ...options]);
    expect(other.stdout).toContain('my-rule,info,fail,1,,,seen,,,5,');
    expect(other.status).toBe(0);
  });

  it('named by --config has its paths beside it; a command without such an option is not disturbed', async () => {
    writeFileSync('mine.json', JSON.stringify({ ruleDirs: ['rules'], failOn: 'error' }));
    process.chdir(before);
    const { status, stdout } = await runCli(['rules', '--config', join(folder, 'mine.json')]);
    expect(stdout).toMatch(/info {5}my-rule +Mine\./);
    expect(status).toBe(0);
  });

  it('may be one of two only where --config says which', async () => {
    for (const name of ['gmemtrace.config.json', 'gmemtrace.config.yaml']) writeFileSync(name, '{}');
    const { status, stderr } = await runCli(['rules']);
    expect(stderr).toContain('gmemtrace.config.json and gmemtrace.config.yaml: two configurations');
    expect(status).toBe(2);
    expect(await runCli(['rules', '--config', 'gmemtrace.config.json'])).toMatchObject({ status: 0 });
  });

  it.each([
    ['rules: {}\nruleDir: [x]\n', 'unknown key "ruleDir"', 2, 'did you mean ruleDirs?'],
    ['\nformat: xml\n', '"format" is "xml"', 2, ''],
    ['failOn: eror\n', '"failOn" is "eror"', 1, 'did you mean error?'],
    ['ruleDirs: rules\n', '"ruleDirs" is "rules", expected a list', 1, ''],
    [
      'rules:\n  conversion-stal:\n    factor: 3\n',
      'parameter of conversion-stal: no such rule',
      3,
      'did you mean conversion-stall?',
    ],
    ['rules:\n  conversion-stall:\n    facto: 3\n', 'the rule has no such parameter', 3, 'did you mean factor?'],
    ['rules:\n  conversion-stall:\n    factor: much\n', 'conversion-stall.factor = much: not a number', 3, ''],
    ['rules: {a: [}\n', '', 1, ''],
  ])('%j is refused with its line', async (text, message, line, hint) => {
    writeFileSync('c.yaml', text);
    const { status, stdout, stderr } = await runCli(['analyze', trace, '--config', 'c.yaml']);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    for (const part of ['c.yaml', message, `at line ${line}`, hint]) expect(stderr).toContain(part);
  });

  it('is what its schema says', () => {
    expect(validate(parse(CONFIG)), JSON.stringify(validate.errors)).toBe(true);
    for (const wrong of ['ruleDir: [x]', 'format: xml', 'failOn: eror', 'ruleDirs: rules']) {
      expect(validate(parse(wrong)), wrong).toBe(false);
    }
  });
});
