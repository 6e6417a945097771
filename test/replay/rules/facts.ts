/** Facts laid into the tables by hand, and what one rule says of them. Times are ms from the start of the trace. */
import { KINDS, PAYLOAD_COLUMNS, type Kind } from '../../../src/replay/kinds.js';
import { loadRules, runRules, type RuleParams } from '../../../src/replay/rules.js';
import { openStore, sqlText, type Row, type Store } from '../../../src/store/db.js';
import { createTables } from '../../../src/store/tables.js';

export type Value = string | number | boolean | null;
export type Fields = Readonly<Record<string, Value>>;

/** Rows of a tracepoint or probe: what it is called, and its fields. */
export interface EventRows {
  readonly system: string;
  readonly name: string;
  readonly probeFn?: string;
  /** A return probe. */
  readonly isReturn?: boolean;
  readonly rows: readonly Fields[];
}

export interface Facts {
  /** Rows by table; columns that end in `_ms` become the `_ns` column of that name. */
  readonly tables?: Readonly<Record<string, readonly Fields[]>>;
  readonly memoryEvents?: readonly (Fields & { readonly kind: Kind })[];
  readonly events?: readonly EventRows[];
  readonly platform?: string;
  /** system:name of what was recorded, where the trace says so. */
  readonly enabled?: readonly string[];
}

export interface Finding {
  readonly severity: string;
  readonly verdict: string;
  readonly title: string;
  readonly count: number;
}

export interface Verdict {
  readonly findings: readonly Finding[];
  readonly unavailable: readonly string[];
}

export const PAGE = 4096;
const BASE_NS = 100_000_000_000;
export const LAST_MS = 60_000;

function literal(value: Value): string {
  return typeof value === 'string' ? sqlText(value) : String(value);
}

function insertSql(table: string, fields: Fields): string {
  const columns = Object.entries(fields).map(([name, value]) => {
    if (!name.endsWith('_ms')) return `${literal(value)} AS "${name}"`;
    const ns = typeof value === 'number' ? BASE_NS + Math.round(value * 1e6) : value;
    return `${literal(ns)} AS "${name.replace(/_ms$/, '_ns')}"`;
  });
  return `INSERT INTO "${table}" BY NAME SELECT ${columns.join(', ')};`;
}

const EVENT_HEAD = 'trace_id UTINYINT, ts_ns BIGINT, cpu USMALLINT, tid INTEGER, seq BIGINT';

async function addEvents(store: Store, events: readonly EventRows[]): Promise<void> {
  for (const { system, name, probeFn, isReturn = false, rows } of events) {
    const fields = Object.keys(rows[0] ?? {}).filter((key) => !['ts_ms', 'tid', 'cpu', 'seq'].includes(key));
    const table = `ev_${system}_${name}`;
    const list = fields.map((f) => `{name: '${f}', type: 'u64', c_type: 'u64', radix: 10}`).join(', ');
    await store.run(`
      CREATE TABLE "${table}" (${EVENT_HEAD}${fields.map((f) => `, "${f}" HUGEINT`).join('')});
      INSERT INTO event_type SELECT 1, '${system}', '${name}', '${table}', 1, [${list}], NULL, 'file',
        ${probeFn === undefined ? 'NULL, NULL' : `'${probeFn}', ${isReturn}`}, ${rows.length};
      ${rows.map((row, k) => insertSql(table, { trace_id: 1, cpu: 0, seq: k, tid: 101, ...row })).join('\n')}`);
  }
}

const TRACE: Fields = {
  trace_id: 1,
  path: 'hand-made',
  format: 'ftrace-text',
  version: '',
  clock: 'mono',
  clock_unit: 'ns',
  resolution_ns: 1000,
  clock_offset_ns: 0,
  first_ms: 0,
  last_ms: LAST_MS,
  events: 1,
};

async function fill(store: Store, facts: Facts): Promise<void> {
  const { tables = {}, memoryEvents = [], events = [], platform, enabled = null } = facts;
  await createTables(store);
  const payload = PAYLOAD_COLUMNS.map((name) => `, ${name} DOUBLE`).join('');
  await store.run(`CREATE TABLE memory_event (kind UTINYINT, ${EVENT_HEAD}${payload})`);
  await store.run(
    insertSql('trace', TRACE).replace(
      / SELECT /,
      ` SELECT []::VARCHAR[] AS notes, ${enabled === null ? 'NULL' : `[${enabled.map(sqlText).join(', ')}]`} AS enabled_events, `,
    ),
  );
  const vm = {
    vm_id: 1,
    platform: platform ?? 'x86-sw-protected',
    pid: 100,
    comm: 'vmm',
    how: 'test',
    certainty: 'observed',
  };
  const vcpus = [0, 1].map((vcpu) => ({ vm_id: 1, vcpu, tid: 101 + vcpu, how: 'test', certainty: 'observed' }));
  const rows: Readonly<Record<string, readonly Fields[]>> = { vm: [vm], vcpu: vcpus, ...tables };
  const inserts = Object.entries(rows).flatMap(([table, list]) => list.map((fields) => insertSql(table, fields)));
  const moves = memoryEvents.map((event, k) =>
    insertSql('memory_event', { trace_id: 1, cpu: 0, seq: k, tid: 101, ...event, kind: KINDS.indexOf(event.kind) }),
  );
  await store.run([...inserts, ...moves].join('\n'));
  await addEvents(store, events);
}

function plain(row: Row): Finding {
  return {
    severity: row['severity'] as string,
    verdict: row['verdict'] as string,
    title: row['title'] as string,
    count: Number(row['count']),
  };
}

async function withJudged<T>(
  name: string,
  facts: Facts,
  params: RuleParams,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  const store = await openStore(null, { threads: 1 });
  try {
    await fill(store, facts);
    await runRules(
      store,
      loadRules().filter((rule) => rule.name === name),
      params,
    );
    return await use(store);
  } finally {
    store.close();
  }
}

/** What one rule says of the facts. */
export function judge(name: string, facts: Facts, params: RuleParams = new Map()): Promise<Verdict> {
  return withJudged(name, facts, params, async (store) => {
    const findings = await store.rows('SELECT * FROM finding ORDER BY finding_id');
    const gaps = await store.rows(`SELECT missing FROM unavailable WHERE what = ${sqlText(name)}`);
    return { findings: findings.map(plain), unavailable: gaps.map((row) => row['missing'] as string) };
  });
}

/** Each finding of one rule as one text, its details and hint included, and what it let go, with the reason. */
export function explain(
  name: string,
  facts: Facts,
  params: RuleParams = new Map(),
): Promise<{ readonly findings: readonly string[]; readonly dismissed: readonly string[] }> {
  return withJudged(name, facts, params, async (store) => {
    const findings = await store.rows(
      "SELECT concat_ws('\n', title, array_to_string(details, '\n'), hint) AS text FROM finding ORDER BY finding_id",
    );
    const dismissed = await store.rows("SELECT concat(title, '\n', reason) AS text FROM dismissed ORDER BY ALL");
    const texts = (rows: readonly Row[]): string[] => rows.map((row) => row['text'] as string);
    return { findings: texts(findings), dismissed: texts(dismissed) };
  });
}

/** The same facts in a recording that lost events all the time. */
export function withLosses(facts: Facts): Facts {
  const lost = [{ trace_id: 1, cpu: 0, from_ms: 0, to_ms: LAST_MS, count: 7, source: 'test' }];
  return { ...facts, tables: { ...facts.tables, lost } };
}

let ids = 0;

/** A conversion of one page that went well, asked for by vCPU 0; `at_ms` is when, the rest as given. */
export function conversion(atMs: number, fields: Fields = {}): Fields {
  ids++;
  return {
    conversion_id: ids,
    vm_id: 1,
    vcpu: 0,
    tid: 101,
    gmem_id: 1,
    gpa: 0,
    offset: 0,
    size: PAGE,
    direction: 'to_shared',
    origin: 'explicit',
    request: 'map-gpa-range',
    mechanism: 'vm-attributes',
    outcome: 'done',
    request_ms: atMs,
    exit_ms: atMs + 0.01,
    commit_ms: atMs + 0.08,
    resume_ms: atMs + 0.1,
    stop_ns: 100_000,
    attempts: 1,
    failed_attempts: 0,
    chunks: 1,
    epoch: 0,
    evidence_trace: 1,
    evidence_cpu: 0,
    evidence_seq: ids,
    evidence_ms: atMs,
    certainty: 'observed',
    ...fields,
  };
}

/** One try of a conversion. */
export function attempt(of: Fields, n: number, startMs: number, endMs: number, fields: Fields = {}): Fields {
  return {
    conversion_id: of['conversion_id']!,
    attempt: n,
    start_ms: startMs,
    end_ms: endMs,
    errno: 0,
    tid: 101,
    ...fields,
  };
}

/** A memory fault of vCPU 0 that was answered within 0.1 ms. */
export function memoryFault(tsMs: number, fields: Fields = {}): Fields {
  return {
    vm_id: 1,
    vcpu: 0,
    tid: 101,
    ts_ms: tsMs,
    fault_ms: tsMs - 0.01,
    resume_ms: tsMs + 0.09,
    gpa: 0,
    size: PAGE,
    wanted: 'private',
    cause: 'mismatch',
    epoch: 0,
    evidence_trace: 1,
    evidence_cpu: 0,
    evidence_seq: Math.round(tsMs * 1000),
    certainty: 'observed',
    ...fields,
  };
}

/** A stretch of state of one page, shared and allocated unless said otherwise. */
export function interval(fromMs: number, toMs: number | null, fields: Fields = {}): Fields {
  return {
    vm_id: 1,
    gmem_id: 1,
    gpa: 0,
    offset: 0,
    size: PAGE,
    from_ms: fromMs,
    to_ms: toMs,
    allocation: 'allocated',
    attribute: 'shared',
    shareability: 'unknown',
    conversion: 'idle',
    state: 'shared',
    certainty: 'observed',
    ...fields,
  };
}

/** A reboot at which `pages` were left shared, and the boot that it begins. */
export function reboot(tsMs: number, pages: number): Readonly<Record<string, readonly Fields[]>> {
  return {
    reboot: [{ vm_id: 1, ts_ms: tsMs, epoch: 1, how: 'test', shared_pages: pages, reset_ns: 0, certainty: 'observed' }],
    boot_epoch: [
      { vm_id: 1, epoch: 0, guest: 1, from_ms: 0, to_ms: tsMs, certainty: 'observed' },
      { vm_id: 1, epoch: 1, guest: 1, from_ms: tsMs, to_ms: null, certainty: 'observed' },
    ],
  };
}

export function times<T>(n: number, make: (k: number) => T): T[] {
  return Array.from({ length: n }, (_, k) => make(k));
}
