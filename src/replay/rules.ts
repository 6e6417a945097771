/**
 * Rules: SQL files that judge (rules/*.sql and those of --rules DIR). The header names the rule, its severity, what it
 * needs and its parameters with defaults; the body is one SELECT of the finding columns. Facts are the replay's, what
 * is wrong is said here and nowhere else.
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TraceError } from '../base/errors.js';
import { lockDown, runAtOnce, sqlText, type Row, type Store } from '../store/db.js';
import { createTableSql, RESULT_TABLES, TABLES } from '../store/schema.js';
import { runTogether } from '../store/together.js';
import { FIGURE_NAMES } from './figures.js';
import { KINDS } from './kinds.js';
import { NEIGHBOUR_RUNS } from './neighbour-runs.js';
import { checkFound, checkRuleSql } from './user-rules.js';
import { fillSources, readRuleSources, type Lack, type RuleSources } from './rule-sources.js';

export type Severity = 'error' | 'warning' | 'info';

export interface RuleParam {
  readonly name: string;
  readonly value: number;
  readonly doc: string;
}

export interface Rule {
  readonly name: string;
  readonly severity: Severity;
  /** Figures of the table `unavailable` without which the rule cannot be judged; `a or b`: one is enough. */
  readonly needs: readonly string[];
  /** Platforms (vm.platform) that it is about; empty: any. */
  readonly platforms: readonly string[];
  /** Tables without whose rows it has nothing to say, and need not run. */
  readonly rows: readonly string[];
  readonly params: readonly RuleParam[];
  readonly summary: string;
  readonly sql: string;
  /** Line of the file, from 1, that the SQL begins on. */
  readonly sqlLine: number;
  readonly path: string;
  readonly builtIn: boolean;
}

/** What this recording has and lacks. */
interface Known {
  readonly unavailable: readonly Row[];
  readonly sources: RuleSources;
  /** Platforms of the VMs; null is one that is not known. */
  readonly platforms: ReadonlySet<string | null>;
  /** Tables that have no rows, of those that the rules name. */
  readonly empty: ReadonlySet<string>;
}

/** Parameters set by the user: `rule.name` → value. */
export type RuleParams = ReadonlyMap<string, number>;

const SEVERITIES: readonly Severity[] = ['error', 'warning', 'info'];
const FINDING_COLUMNS = [
  'severity',
  'verdict',
  'vm_id',
  'gmem_id',
  'vcpu',
  'title',
  'since_ns',
  'until_ns',
  'count',
  'certainty',
  'hint',
  'evidence',
] as const;

/** A column that a rule may leave out. */
const DETAILS = 'details';

const FORM = `a rule is one SELECT of the columns ${FINDING_COLUMNS.join(', ')}, and ${DETAILS} if it has any`;

function headerValue(text: string, key: string): string | null {
  return new RegExp(`^--\\s*${key}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]?.trim() ?? null;
}

function headerList(text: string, key: string): string[] {
  return (headerValue(text, key) ?? '').split(',').flatMap((item) => (item.trim() === '' ? [] : [item.trim()]));
}

/** A need that is a tracepoint of its own: `event kmem.mm_page_free`. */
const EVENT_NEED = /^event (\w+\.\w+)$/;

const alternatives = (need: string): readonly string[] => need.split(' or ');

function invalid(path: string, message: string, hint: string, line = 1): TraceError {
  return new TraceError('rule-invalid', `${path}: ${message}`, { input: path, line, hint });
}

/** Line, from 1, of a key of the header; 1 where it is missing. */
function headerLine(text: string, key: string): number {
  return lineAt(text, new RegExp(`^--\\s*${key}:`, 'm').exec(text)?.index ?? 0);
}

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;

function headerParams(text: string, path: string): RuleParam[] {
  return [...text.matchAll(/^--\s*param\s+(.*)$/gm)].map((line) => {
    const match = /^(\w+)\s*=\s*(-?\d+(?:\.\d+)?)\s*:\s*(.+)$/.exec(line[1]!);
    if (!match)
      throw invalid(
        path,
        `\`${line[0].trim()}\` is no parameter`,
        'it reads `-- param name = 10 : what it means`',
        lineAt(text, line.index),
      );
    return { name: match[1]!, value: Number(match[2]), doc: match[3]!.trim() };
  });
}

/** Reads one rule file. Throws TraceError('rule-invalid') where the header lacks something. */
export function parseRule(text: string, path: string, builtIn: boolean): Rule {
  const name = headerValue(text, 'name');
  if (!name || !/^[a-z][a-z0-9-]*$/.test(name))
    throw invalid(
      path,
      'the header has no valid `-- name:`',
      'a rule begins with `-- name: some-rule`',
      headerLine(text, 'name'),
    );
  const severity = SEVERITIES.find((s) => s === headerValue(text, 'severity'));
  if (!severity)
    throw invalid(
      path,
      '`-- severity:` is not error, warning or info',
      'add `-- severity: warning`',
      headerLine(text, 'severity'),
    );
  const summary = headerValue(text, 'summary');
  if (!summary) throw invalid(path, 'the header has no `-- summary:`', 'say in one line what the rule means');
  const params = headerParams(text, path);
  const needs = headerList(text, 'needs');
  const unknown = needs.flatMap(alternatives).find((need) => !EVENT_NEED.test(need) && !FIGURE_NAMES.includes(need));
  if (unknown !== undefined)
    throw invalid(
      path,
      `\`${unknown}\` is nothing that a rule can need`,
      `one of ${FIGURE_NAMES.join(', ')}`,
      headerLine(text, 'needs'),
    );
  const platforms = headerList(text, 'platforms');
  const rows = headerList(text, 'rows');
  const noTable = rows.find((name) => !TABLES.some((table) => table.name === name));
  if (noTable !== undefined)
    throw invalid(path, `\`${noTable}\` is no table`, 'docs/schema.md names the tables', headerLine(text, 'rows'));
  const body = text.replace(/^--.*$/gm, '');
  const sql = body.trim();
  if (sql === '') throw invalid(path, 'no SELECT follows the header', FORM);
  const sqlLine = lineAt(body, body.search(/\S/));
  return { name, severity, needs, platforms, rows, params, summary, sql, sqlLine, path, builtIn };
}

function readFolder(folder: string, builtIn: boolean): Rule[] {
  let names: string[];
  try {
    names = statSync(folder).isDirectory() ? readdirSync(folder) : [];
  } catch (cause) {
    throw new TraceError('not-found', `${folder}: no such folder of rules`, { input: folder, cause });
  }
  return names
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name) => parseRule(readFileSync(join(folder, name), 'utf8'), builtIn ? name : join(folder, name), builtIn));
}

/**
 * The built-in rules and those of the given folders, by name. A rule of the user replaces a built-in one of its name; two
 * of the user's with one name throw TraceError `rule-invalid`.
 */
export function loadRules(folders: readonly string[] = []): Rule[] {
  const rules = new Map<string, Rule>();
  for (const rule of readFolder(fileURLToPath(new URL('./rules/', import.meta.url)), true)) rules.set(rule.name, rule);
  for (const rule of [...new Set(folders)].flatMap((folder) => readFolder(folder, false))) {
    const other = rules.get(rule.name);
    if (other !== undefined && !other.builtIn) {
      throw invalid(rule.path, `the rule ${rule.name} is in ${other.path}, too`, 'give one of them another name');
    }
    rules.set(rule.name, rule);
  }
  return [...rules.values()].sort((a, b) => a.name.localeCompare(b.name));
}

/** The value of each parameter of a rule: the user's, else the default. */
export function paramsOf(rule: Rule, params: RuleParams): RuleParam[] {
  return rule.params.map((p) => ({ ...p, value: params.get(`${rule.name}.${p.name}`) ?? p.value }));
}

/** The page that explains a rule (Markdown): the file of its name beside its SQL; null where there is none. */
export function readRulePage({ name, path, builtIn }: Rule): string | null {
  const page = builtIn
    ? fileURLToPath(new URL(`./rules/${name}.md`, import.meta.url))
    : join(dirname(path), `${name}.md`);
  return existsSync(page) ? readFileSync(page, 'utf8') : null;
}

function fillIn(rule: Rule, params: RuleParams): string {
  const values = new Map(paramsOf(rule, params).map((p) => [p.name, p.value]));
  return rule.sql.replace(/\$(\w+)/g, (whole, name: string) => {
    const value = values.get(name);
    if (value === undefined)
      throw invalid(rule.path, `\`${whole}\` is no parameter of the rule`, `add \`-- param ${name} = 1 : …\``);
    return String(value);
  });
}

/**
 * What rules are written with: how findings print numbers, whether events may be missing in a stretch, memory as it was
 * last seen (with the time after a loss, when it is assumed to be so still), the code of a kind of memory_event, an event as evidence. Part of every database, so that a user's rule can use them, too.
 */
const RULE_MACROS = `
  CREATE OR REPLACE MACRO lost_within(since_at, until_at) AS EXISTS (SELECT 1 FROM lost
    WHERE coalesce(from_ns, 0) <= coalesce(until_at, 9223372036854775807)
      AND coalesce(to_ns, 9223372036854775807) >= coalesce(since_at, 0));
  CREATE OR REPLACE MACRO last_seen_intervals() AS TABLE
    SELECT i.* REPLACE (CASE WHEN d.vm_id IS NULL THEN i.to_ns ELSE d.to_ns END AS to_ns)
    FROM gmem_interval i LEFT JOIN gmem_interval d ON i.certainty <> 'assumed' AND d.certainty = 'assumed' AND d.vm_id = i.vm_id
      AND d.gpa = i.gpa AND d.size = i.size AND d.from_ns = i.to_ns AND d.state = i.state AND d.allocation = i.allocation;
  CREATE OR REPLACE MACRO kind_code(kind_name) AS list_position([${KINDS.map(sqlText).join(', ')}], kind_name) - 1;
  CREATE OR REPLACE MACRO evidence_of(of_trace, of_cpu, of_seq, of_ns) AS
    struct_pack(trace_id := of_trace, cpu := CAST(of_cpu AS INTEGER), seq := of_seq, ts_ns := of_ns);
  CREATE OR REPLACE MACRO fmt_ns(ns) AS CASE
    WHEN ns IS NULL THEN '?'
    WHEN abs(ns) >= 1e9 THEN printf('%.2f s', ns / 1e9)
    WHEN abs(ns) >= 1e8 THEN printf('%.0f ms', ns / 1e6)
    WHEN abs(ns) >= 1e6 THEN printf('%.1f ms', ns / 1e6)
    WHEN abs(ns) >= 1e3 THEN printf('%.1f µs', ns / 1e3)
    ELSE printf('%d ns', CAST(ns AS BIGINT)) END;
  CREATE OR REPLACE MACRO fmt_hex(n) AS CASE WHEN n IS NULL THEN '?' ELSE '0x' || lower(to_hex(CAST(n AS BIGINT))) END;
  CREATE OR REPLACE MACRO fmt_bytes(n) AS CASE
    WHEN n IS NULL THEN '?'
    WHEN n >= 1073741824 AND n % 1073741824 = 0 THEN concat(CAST(n // 1073741824 AS BIGINT), 'G')
    WHEN n >= 1048576 AND n % 1048576 = 0 THEN concat(CAST(n // 1048576 AS BIGINT), 'M')
    ELSE concat(CAST(n // 1024 AS BIGINT), 'K') END;
  CREATE OR REPLACE MACRO fmt_range(gpa, size) AS CASE
    WHEN gpa IS NULL THEN 'an unknown range'
    ELSE concat('gpa ', fmt_hex(gpa), '+', fmt_bytes(size)) END;
  CREATE OR REPLACE MACRO fmt_count(n) AS format('{:,}', CAST(round(n) AS BIGINT));
  CREATE OR REPLACE MACRO fmt_counted(n, noun) AS concat(fmt_count(n), ' ', noun, CASE WHEN round(n) = 1 THEN '' ELSE 's' END);
  CREATE OR REPLACE MACRO one_or_more(n, one, more) AS CASE WHEN round(n) = 1 THEN one ELSE more END;`;

/** fmt_ns where the clock counts no time: a number of that unit is no duration. */
function spanMacro(unit: string): string {
  const words = unit === 'count' ? 'counts' : unit;
  return `CREATE OR REPLACE MACRO fmt_ns(ns) AS CASE
    WHEN ns IS NULL THEN '?'
    WHEN abs(ns) >= 1e9 THEN printf('%.2f G ${words}', ns / 1e9)
    WHEN abs(ns) >= 1e6 THEN printf('%.1f M ${words}', ns / 1e6)
    ELSE concat(CAST(ns AS BIGINT), ' ${words}') END;`;
}

async function runRule(store: Store, rule: Rule, sql: string, params: RuleParams): Promise<void> {
  const columns = /\bAS details\b/i.test(sql) ? [...FINDING_COLUMNS, DETAILS] : FINDING_COLUMNS;
  const thresholds = paramsOf(rule, params)
    .map((p) => `${p.name} = ${p.value}`)
    .join(', ');
  try {
    await store.run(`INSERT INTO found BY NAME
      SELECT ${sqlText(rule.name)} AS rule, ${sqlText(thresholds)} AS thresholds, ${columns.join(', ')} FROM (${sql})`);
  } catch (cause) {
    if (!(cause instanceof TraceError)) throw cause;
    throw new TraceError('rule-invalid', `rule ${rule.name}: ${cause.message}`, {
      input: rule.path,
      cause,
      hint: FORM,
    });
  }
  if (!rule.builtIn) await checkFound(store, rule);
}

function isRecorded({ tables, enabled }: RuleSources, event: string): boolean {
  const [system, name] = event.split('.');
  return (
    enabled.includes(`${system}:${name}`) || tables.some((table) => table.system === system && table.name === name)
  );
}

/** What the recording lacks of a rule's needs: of those with alternatives the first, where none is there. */
function missingNeeds(rule: Rule, { unavailable, sources }: Known): Lack[] {
  const rowOf = (need: string): Row | undefined => unavailable.find((row) => row['what'] === need);
  const isThere = (need: string): boolean => {
    const event = EVENT_NEED.exec(need)?.[1];
    return event === undefined ? rowOf(need) === undefined : isRecorded(sources, event);
  };
  return rule.needs.flatMap((need) => {
    const row = alternatives(need).some(isThere) ? undefined : rowOf(alternatives(need)[0]!);
    return row === undefined ? [] : [{ missing: row['missing'] as string, record: row['record'] as string }];
  });
}

async function readKnown(store: Store, rules: readonly Rule[]): Promise<Known> {
  const names = [...new Set(rules.flatMap((rule) => rule.rows))];
  const tests = names.map((name) => `SELECT '${name}' AS name WHERE NOT EXISTS (SELECT 1 FROM "${name}")`);
  const empty = tests.length === 0 ? [] : await store.rows(tests.join(' UNION ALL '));
  const platforms = await store.rows('SELECT DISTINCT platform FROM vm');
  return {
    unavailable: await store.rows('SELECT what, missing, record FROM unavailable ORDER BY what'),
    sources: await readRuleSources(store),
    platforms: new Set(platforms.map((row) => row['platform'] as string | null)),
    empty: new Set(empty.map((row) => row['name'] as string)),
  };
}

/** A rule about other platforms than those that were seen has nothing to say. */
function isAbout({ platforms }: Rule, known: Known): boolean {
  return platforms.length === 0 || known.platforms.has(null) || platforms.some((name) => known.platforms.has(name));
}

/** Runs a rule, or says in `unavailable` what it lacks. */
async function judgeBy(store: Store, rule: Rule, params: RuleParams, known: Known): Promise<void> {
  if (!isAbout(rule, known)) return;
  const { sql, lacks } = fillSources(fillIn(rule, params), known.sources);
  const missing = [...missingNeeds(rule, known), ...lacks];
  if (missing.length === 0) {
    if (!rule.builtIn) await checkRuleSql(store, rule, sql, FINDING_COLUMNS);
    if (!rule.rows.some((name) => known.empty.has(name))) await runRule(store, rule, sql, params);
    return;
  }
  const words = (key: keyof Lack): string => sqlText(missing.map((lack) => lack[key]).join('; '));
  await store.run(`INSERT INTO unavailable VALUES (${sqlText(rule.name)}, ${words('missing')}, ${words('record')})`);
}

/** Macros, and the tables to fill, empty. */
async function startJudging(store: Store, rules: readonly Rule[]): Promise<void> {
  const evidence = 'STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[]';
  const found = `CREATE OR REPLACE TABLE found (rule VARCHAR, thresholds VARCHAR, severity VARCHAR, verdict VARCHAR, vm_id INTEGER,
      gmem_id INTEGER, vcpu INTEGER, title VARCHAR, since_ns BIGINT, until_ns BIGINT, count BIGINT, certainty VARCHAR,
      hint VARCHAR, details VARCHAR[], evidence ${evidence})`;
  const judged = ['finding', 'finding_evidence', 'dismissed'].map((name) => {
    const table = RESULT_TABLES.find((t) => t.name === name)!;
    return `DROP TABLE IF EXISTS ${name}; ${createTableSql(table)}`;
  });
  const names = rules.map((r) => sqlText(r.name)).join(', ');
  const unavailable = names === '' ? [] : [`DELETE FROM unavailable WHERE what IN (${names})`];
  const [other] = await store.rows(
    `SELECT DISTINCT clock_unit AS unit FROM trace WHERE clock_unit <> 'ns' ORDER BY unit`,
  );
  const span = other === undefined ? '' : spanMacro(other['unit'] as string);
  await runAtOnce(store, `${RULE_MACROS}${NEIGHBOUR_RUNS}${span}${[found, ...judged, ...unavailable].join('; ')}`);
}

/** Table found → finding, finding_evidence and dismissed. */
async function rankFindings(store: Store): Promise<void> {
  await runAtOnce(
    store,
    `CREATE OR REPLACE TEMP TABLE ranked AS SELECT *, row_number() OVER (
        ORDER BY CASE severity WHEN 'error' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END, verdict = 'inconclusive', rule,
          since_ns NULLS LAST, vm_id NULLS LAST, title) AS finding_id FROM found WHERE verdict <> 'pass';
    INSERT INTO finding BY NAME SELECT * EXCLUDE (evidence) FROM ranked;
    INSERT INTO finding_evidence BY NAME
      -- An event that is not known (a conversion without its first event) is no evidence.
      SELECT finding_id, generate_subscripts(events, 1) AS rank, unnest(events, recursive := true)
      FROM (SELECT finding_id, list_filter(evidence, lambda e: e.trace_id IS NOT NULL AND e.cpu IS NOT NULL
          AND e.seq IS NOT NULL AND e.ts_ns IS NOT NULL) AS events FROM ranked)
      WHERE len(events) > 0;
    INSERT INTO dismissed BY NAME
      SELECT rule, vm_id, gmem_id, vcpu, title, hint AS reason, since_ns, until_ns, count, certainty FROM found WHERE verdict = 'pass'
      ORDER BY rule, since_ns NULLS LAST, vm_id NULLS LAST, title;
    DROP TABLE found; DROP TABLE ranked`,
  );
}

/**
 * Judges: fills finding and finding_evidence, `dismissed` with the rows of verdict `pass` (looked at, and none; the hint is
 * why), and adds to `unavailable` what could not be judged.
 */
export async function runRules(store: Store, rules: readonly Rule[], params: RuleParams = new Map()): Promise<void> {
  await startJudging(store, rules);
  const known = await readKnown(store, rules);
  if (rules.some((rule) => !rule.builtIn)) await lockDown(store);
  const builtIn = rules.filter((rule) => rule.builtIn);
  await runTogether(
    store,
    builtIn.map((rule) => (connection: Store) => judgeBy(connection, rule, params, known)),
  );
  for (const rule of rules) if (!rule.builtIn) await judgeBy(store, rule, params, known);
  await rankFindings(store);
}
