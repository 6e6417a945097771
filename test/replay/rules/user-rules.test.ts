/** Rules of the user (--rules DIR): what is read, and what is said of a file that is no rule. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadRules, runRules } from '../../../src/replay/rules.js';
import { openStore } from '../../../src/store/db.js';
import { createTables } from '../../../src/store/tables.js';
import { openFilledStore } from '../../report/filled-store.js';

const HEADER = `-- name: my-rule
-- severity: info
-- needs:
-- summary: One line.
-- param least = 3 : how many
`;
const COLUMNS = `'info' AS severity, 'fail' AS verdict, NULL::INTEGER AS vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat('at least ', $least) AS title, NULL::BIGINT AS since_ns, NULL::BIGINT AS until_ns, $least AS count,
  'observed' AS certainty, NULL::VARCHAR AS hint, []::STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[] AS evidence`;
const RULE = `${HEADER}SELECT ${COLUMNS}`;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gmemtrace-rules-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Runs the only rule of a folder on an empty database; gives the titles of its findings. */
async function run(text: string, params = new Map<string, number>()): Promise<unknown[]> {
  writeFileSync(join(folder, 'my-rule.sql'), text);
  const rules = loadRules([folder]).filter((rule) => rule.name === 'my-rule');
  const store = await openStore(null, { threads: 1 });
  try {
    await createTables(store);
    await runRules(store, rules, params);
    return (await store.rows('SELECT title FROM finding')).map((row) => row['title']);
  } finally {
    store.close();
  }
}

describe('a rule of the user', () => {
  it('judges with its defaults, or with what the user sets', async () => {
    expect(await run(RULE)).toEqual(['at least 3']);
    expect(await run(RULE, new Map([['my-rule.least', 5]]))).toEqual(['at least 5']);
  });

  it('may use the macros and tables of the built-in ones, and comments', async () => {
    const text = RULE.replace('$least)', 'fmt_ns($least))').replace('SELECT', '-- why\nSELECT');
    expect(await run(text)).toEqual(['at least 3 ns']);
  });

  it('may read tracepoints, and is unavailable without them', async () => {
    expect(await run(`${RULE} FROM {event kvm.kvm_exit: vcpu_id}`)).toEqual([]);
  });

  it('replaces the built-in rule of its name', () => {
    writeFileSync(join(folder, 'stall.sql'), RULE.replace('my-rule', 'conversion-stall'));
    const rules = loadRules([folder]).filter((rule) => rule.name === 'conversion-stall');
    expect(rules).toMatchObject([{ summary: 'One line.', builtIn: false }]);
  });
});

describe('a file that is no rule is refused by name and reason', () => {
  it.each([
    ['no name', RULE.replace('-- name: my-rule\n', ''), /my-rule\.sql: the header has no valid `-- name:`/],
    ['a name with blanks', RULE.replace('my-rule', 'my rule'), /my-rule\.sql: the header has no valid `-- name:`/],
    [
      'an unknown severity',
      RULE.replace('severity: info', 'severity: fatal'),
      /`-- severity:` is not error, warning or info/,
    ],
    ['no summary', RULE.replace('-- summary: One line.\n', ''), /the header has no `-- summary:`/],
    ['a header alone', HEADER, /no SELECT follows the header/],
    [
      'a parameter that is no number',
      RULE.replace('least = 3', 'least = many'),
      /`-- param least = many : how many` is no parameter/,
    ],
    ['an unknown need', RULE.replace('needs:', 'needs: luck'), /`luck` is nothing that a rule can need/],
  ])('%s', async (_, text, message) => {
    await expect(run(text)).rejects.toMatchObject({
      code: 'rule-invalid',
      message: expect.stringMatching(message) as string,
    });
  });

  it.each([
    ['two statements', `${RULE}; SELECT 1`, /my-rule\.sql: expected one SELECT, found 2 statements/],
    [
      'COPY',
      `${HEADER}COPY (SELECT $least) TO 'x.csv'`,
      /my-rule\.sql: .*(disabled by configuration|expected one SELECT)/s,
    ],
    ['ATTACH', `${HEADER}ATTACH 'x.duckdb'`, /my-rule\.sql: expected one SELECT, found ATTACH/],
    ['SQL that does not parse', `${HEADER}SELEC $least`, /my-rule\.sql: Parser Error: syntax error at or near "SELEC"/],
    ['an unknown parameter', RULE.replaceAll('$least', '$most'), /my-rule\.sql: `\$most` is no parameter of the rule/],
    [
      'a missing column',
      `${HEADER}SELECT $least AS count`,
      /my-rule\.sql: the SELECT does not give severity, verdict, .*evidence/,
    ],
    ['a file of the machine', `${HEADER}SELECT * FROM read_csv('/etc/passwd') WHERE $least > 0`, /disabled/],
    ['an unknown table', `${RULE} FROM nowhere`, /nowhere does not exist/],
  ])('%s', async (_, text, message) => {
    await expect(run(text)).rejects.toMatchObject({
      code: 'rule-invalid',
      message: expect.stringMatching(message) as string,
    });
  });

  it('a folder that is not there', () => {
    expect(() => loadRules([join(folder, 'no')])).toThrow(/no: no such folder of rules/);
  });
});

describe('an error tells the line of the file', () => {
  it.each([
    ['of a wrong header', RULE.replace('needs:', 'needs: luck'), 3, '`luck` is nothing'],
    ['of a wrong parameter', RULE.replace('least = 3', 'least = many'), 5, 'is no parameter'],
    ['of a word that is no SQL', RULE.replace('FROM', '').replace("'observed' AS", "'observed' ASS AS"), 8, 'LINE 8:'],
    ['of an unknown column', RULE.replace("'observed' AS certainty", 'surely AS certainty'), 8, '"surely"'],
    ['of a SELECT that lacks a column', RULE.replace("'info' AS severity, ", ''), 6, 'does not give severity'],
    ['of a severity that is none', RULE.replace("'info' AS severity", "'fatal' AS severity"), 6, 'severity is "fatal"'],
    ['of a title that is missing', RULE.replace("concat('at least ', $least)", 'NULL'), 6, 'title is NULL'],
  ])('%s', async (_, text, line, message) => {
    await expect(run(text)).rejects.toMatchObject({
      code: 'rule-invalid',
      message: expect.stringContaining(message) as string,
      place: { line, input: join(folder, 'my-rule.sql') },
    });
  });

  it('is found where the rule has nothing to look at, too', async () => {
    const text = RULE.replace('-- needs:', '-- needs:\n-- rows: conversion');
    expect(await run(text)).toEqual([]);
    await expect(run(text.replace("'observed' AS", 'surely AS'))).rejects.toMatchObject({ place: { line: 9 } });
  });

  it('two rules of one name are refused, a folder named twice is not', () => {
    for (const name of ['one.sql', 'two.sql']) writeFileSync(join(folder, name), RULE);
    expect(() => loadRules([folder])).toThrow(/two\.sql: the rule my-rule is in .*one\.sql, too/);
    rmSync(join(folder, 'two.sql'));
    expect(loadRules([folder, folder]).filter((rule) => rule.name === 'my-rule')).toHaveLength(1);
  });
});

describe('the example of docs/rules', () => {
  const page = readFileSync(new URL('../../../docs/rules/README.md', import.meta.url), 'utf8');
  const [, example = ''] = /```sql\n([\s\S]*?)```/.exec(page) ?? [];

  it('is a rule, and finds what it says', async () => {
    writeFileSync(join(folder, 'large.sql'), example);
    const rules = loadRules([folder]).filter((rule) => rule.name === 'large-conversions');
    const store = await openFilledStore([]);
    try {
      await runRules(store, rules, new Map([['large-conversions.bytes', 8192]]));
      const found = await store.rows('SELECT rule, severity, title FROM finding ORDER BY title');
      expect(found).toHaveLength(6);
      expect(found[0]).toMatchObject({ rule: 'large-conversions', title: 'to_private of gpa 0x100010000+8K' });
    } finally {
      store.close();
    }
  });
});
