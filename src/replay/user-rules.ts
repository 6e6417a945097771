/** What is checked of a rule that a user wrote, beyond its header; errors tell the line of the rule's file. */
import { TraceError } from '../base/errors.js';
import { singleSelect, sqlText, type Store } from '../store/db.js';

/** A rule's file, and the line of it (from 1) that its SQL begins on. */
export interface RulePlace {
  readonly name: string;
  readonly path: string;
  readonly sqlLine: number;
}

/** DuckDB counts lines from the SQL's first, people from the file's first. */
function invalidSql({ path, sqlLine }: RulePlace, cause: unknown, hint: string): TraceError {
  const text = (cause as Error).message;
  const found = /\bLINE (\d+):/.exec(text)?.[1];
  if (found === undefined) return new TraceError('rule-invalid', `${path}: ${text}`, { input: path, hint, cause });
  const line = Number(found) + sqlLine - 1;
  const message = text.replace(/\bLINE \d+:/, `LINE ${line}:`);
  return new TraceError('rule-invalid', `${path}: ${message}`, { input: path, line, hint, cause });
}

/** It can read and nothing else: one statement, a SELECT, that gives all these columns. Throws TraceError `rule-invalid`. */
export async function checkRuleSql(
  store: Store,
  rule: RulePlace,
  sql: string,
  columns: readonly string[],
): Promise<void> {
  const form = `a rule is one SELECT of the columns ${columns.join(', ')}`;
  let given: readonly string[];
  try {
    await singleSelect(store, sql, 'rule-invalid');
    given = (await store.rows(`DESCRIBE ${sql}`)).map((row) => row['column_name'] as string);
  } catch (cause) {
    throw invalidSql(rule, cause, form);
  }
  const missing = columns.filter((name) => !given.includes(name));
  if (missing.length === 0) return;
  throw new TraceError('rule-invalid', `${rule.path}: the SELECT does not give ${missing.join(', ')}`, {
    ...{ input: rule.path, line: rule.sqlLine, hint: form },
  });
}

/** Values that every finding has, as SQL conditions over `found`. */
const VALUES: Readonly<Record<string, string>> = {
  severity: `severity IN ('error', 'warning', 'info')`,
  verdict: `verdict IN ('fail', 'inconclusive', 'pass')`,
  certainty: `certainty IN ('observed', 'inferred', 'assumed', 'unknown')`,
  title: 'title IS NOT NULL',
  count: 'count IS NOT NULL',
};

/** The rows that a rule put into `found` are findings. Throws TraceError `rule-invalid` on a value that none can have. */
export async function checkFound(store: Store, { name, path, sqlLine }: RulePlace): Promise<void> {
  for (const [column, condition] of Object.entries(VALUES)) {
    const [row] = await store.rows(`
      SELECT "${column}"::VARCHAR AS value FROM found WHERE rule = ${sqlText(name)} AND NOT coalesce(${condition}, false)
      ORDER BY value LIMIT 1`);
    if (row === undefined) continue;
    const value = row['value'] === null ? 'NULL' : JSON.stringify(row['value']);
    const words = [...condition.matchAll(/'(\w+)'/g)].map((word) => word[1]);
    const hint = words.length === 0 ? 'every finding has one' : `it is one of ${words.join(', ')}`;
    throw new TraceError('rule-invalid', `${path}: gives a finding whose ${column} is ${value}`, {
      ...{ input: path, line: sqlLine, hint },
    });
  }
}
