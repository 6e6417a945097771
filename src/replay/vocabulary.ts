/**
 * Loads the vocabulary (vocabulary/*.sql) and turns each SELECT into one over the tables that this database has.
 *
 * A SELECT reads from a placeholder:
 *   {event SYSTEM.NAME: field, …}         a tracepoint; fields that this kernel lacks read as NULL
 *   {probe FUNCTION: arg|alias, arg?, …}  the probe on that function, whatever its name; `?` = may be missing
 *   {retprobe FUNCTION: …}                its return probe
 * A placeholder without a table (or with a required argument that no probe fetches) leaves the SELECT out; what was
 * left out is a missing source.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { TraceError } from '../base/errors.js';
import { EVENT_COLUMNS } from '../store/schema.js';
import { guessProbeFunction } from './probe-names.js';
import { KIND, PAYLOAD_COLUMNS, POINTER_MASK, type Kind } from './kinds.js';

/** What the vocabulary needs to know of an event table. */
export interface EventTable {
  readonly system: string;
  readonly name: string;
  readonly table: string;
  readonly fields: readonly string[];
  /** Columns that hold text: of numbers, where one value of a probe was damaged or could not be fetched. */
  readonly texts: ReadonlySet<string>;
  readonly probeFn: string | null;
  /** null: a tracepoint. */
  readonly isReturn: boolean | null;
  readonly rows: number;
}

export interface Statement {
  readonly kind: Kind;
  readonly file: string;
  /** What it reads, as written: `event kvm.kvm_exit`. */
  readonly source: string;
  /** Complete SELECT of the memory_event columns, or null where its source is missing. */
  readonly sql: string | null;
}

interface Wanted {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly optional: boolean;
}

const PLACEHOLDER = /\{(event|probe|retprobe)\s+([\w.]+):\s*([^}]*)\}/;
const BASE_COLUMNS = 'trace_id, ts_ns, cpu, tid, seq';

function parseWanted(list: string): Wanted[] {
  return list.split(',').map((item) => {
    const text = item.trim();
    const optional = text.endsWith('?');
    const aliases = text.replace('?', '').split('|');
    return { name: aliases[0]!, aliases, optional };
  });
}

/** A field named like one of the columns that every event table has is stored with `_` appended (store/event-columns.ts). */
function columnOf(field: string): string {
  return EVENT_COLUMNS.some((column) => column.name === field.toLowerCase()) ? `${field}_` : field;
}

function selectFrom(table: EventTable, wanted: readonly Wanted[]): string {
  const columns = wanted.map((w) => {
    const found = w.aliases.find((alias) => table.fields.includes(alias));
    return `${found === undefined ? 'NULL::BIGINT' : valueOf(table, columnOf(found))} AS "${w.name}"`;
  });
  return `SELECT ${BASE_COLUMNS}, ${columns.join(', ')} FROM "${table.table}"`;
}

/** The column as a number; text that is none reads as NULL. */
function valueOf(table: EventTable, column: string): string {
  if (!table.texts.has(column)) return `"${column}"`;
  return `coalesce(TRY_CAST("${column}" AS BIGINT)::HUGEINT, TRY_CAST("${column}" AS UBIGINT)::HUGEINT)`;
}

function covers(table: EventTable, wanted: readonly Wanted[]): boolean {
  return wanted.every((w) => w.optional || w.aliases.some((alias) => table.fields.includes(alias)));
}

function coverage(table: EventTable, wanted: readonly Wanted[]): number {
  return wanted.filter((w) => w.aliases.some((alias) => table.fields.includes(alias))).length;
}

/** Two probes on one function fire for one call: the one that fetches most of what is wanted speaks for it. */
function bestProbe(
  tables: readonly EventTable[],
  fn: string,
  isReturn: boolean,
  wanted: readonly Wanted[],
): EventTable | null {
  const candidates = tables
    .filter((t) => t.isReturn === isReturn && covers(t, wanted))
    .filter((t) => (t.probeFn ?? guessProbeFunction(t.name, t.fields, isReturn)) === fn)
    .sort((a, b) => coverage(b, wanted) - coverage(a, wanted) || b.rows - a.rows || a.name.localeCompare(b.name));
  return candidates[0] ?? null;
}

/** SELECT of the rows of one source, as a placeholder names it; null where this database has none. */
export function resolveSource(tables: readonly EventTable[], kind: string, name: string, list: string): string | null {
  const wanted = parseWanted(list);
  if (kind === 'event') {
    const [system, event] = name.split('.') as [string, string];
    const found = tables.find((t) => t.system === system && t.name === event);
    return found ? selectFrom(found, wanted) : null;
  }
  const found = bestProbe(tables, name, kind === 'retprobe', wanted);
  return found ? selectFrom(found, wanted) : null;
}

function outerColumn(name: string, given: ReadonlySet<string>): string {
  if (!given.has(name)) return `NULL::DOUBLE AS ${name}`;
  if (name === 'vm_key') return `CAST(TRY_CAST(vm_key AS HUGEINT) & ${POINTER_MASK}::HUGEINT AS DOUBLE) AS vm_key`;
  return `TRY_CAST(${name} AS DOUBLE) AS ${name}`;
}

function buildStatement(text: string, file: string, tables: readonly EventTable[]): Statement {
  const kindMatch = /^SELECT\s+'(\w+)'\s+AS\s+kind/i.exec(text);
  const place = PLACEHOLDER.exec(text);
  if (!kindMatch || !place || !(kindMatch[1]! in KIND)) {
    throw new TraceError('internal', `${file}: a vocabulary SELECT starts with a known kind and reads one placeholder`);
  }
  const kind = kindMatch[1] as Kind;
  const source = `${place[1]!} ${place[2]!}`;
  const from = resolveSource(tables, place[1]!, place[2]!, place[3]!);
  if (from === null) return { kind, file, source, sql: null };
  const selectList = text.slice(0, place.index);
  const given = new Set([...selectList.matchAll(/\bAS\s+(\w+)/gi)].map((m) => m[1]!));
  const inner = text
    .replace(
      /^SELECT\s+'\w+'\s+AS\s+kind\s*,?/i,
      (head) => `SELECT trace_id, ts_ns, cpu, tid AS own_tid, seq${head.trimEnd().endsWith(',') ? ', ' : ' '}`,
    )
    .replace(PLACEHOLDER, `(${from})`);
  const tid = given.has('tid') ? 'CAST(tid AS INTEGER)' : 'own_tid';
  const payload = PAYLOAD_COLUMNS.map((name) => outerColumn(name, given)).join(', ');
  const sql = `SELECT ${KIND[kind]}::UTINYINT AS kind, trace_id, ts_ns, cpu, ${tid} AS tid, seq, ${payload} FROM (${inner})`;
  return { kind, file, source, sql };
}

/** SQL text split at semicolons, comments stripped; vocabulary files hold no string with either. */
function splitStatements(text: string): string[] {
  const bare = text.replace(/--.*$/gm, '');
  return bare.split(';').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]));
}

/** Every statement of the vocabulary against the event tables of one database. */
export function loadVocabulary(tables: readonly EventTable[]): Statement[] {
  const folder = new URL('./vocabulary/', import.meta.url);
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .sort();
  return files.flatMap((file) =>
    splitStatements(readFileSync(new URL(file, folder), 'utf8')).map((text) => buildStatement(text, file, tables)),
  );
}
