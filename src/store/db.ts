/**
 * The database: opening, settings, queries. One Store is one DuckDB instance, owned by one thread (a file opened twice
 * from one process gives two instances that do not see each other).
 */
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection, Database } from '@duckdb/node-bindings';
import { TraceError } from '../base/errors.js';
import { loadBindings } from './native.js';
import { readRows, type Row } from './result-rows.js';
import type { StringWords } from './string-words.js';

export type { Row, Value } from './result-rows.js';

export interface StoreOptions {
  /** DuckDB's memory_limit (`200MB`). A sort overshoots it by some 400 MB, so the default is far below the bar. */
  readonly memory?: string;
  /** Default: all cores, as DuckDB does. */
  readonly threads?: number;
  readonly readOnly?: boolean;
}

export interface Store {
  /** The database file; null when it is in memory. */
  readonly path: string | null;
  /** Runs one or more statements. */
  run(sql: string): Promise<void>;
  /** Runs statements and gives the rows of the last one. For small results: see stream.ts for large ones. */
  rows(sql: string): Promise<Row[]>;
  /** Stops what is running; its promise rejects with the code `cancelled`. */
  interrupt(): void;
  /** Ends all connections and writes a file's pending pages. Safe to call twice. */
  close(): void;
  /** For bulk-writer.ts and stream.ts only. */
  readonly native: NativeStore;
}

export interface NativeStore {
  readonly database: Database;
  readonly connection: Connection;
  /** Encoded strings of each string table that a BulkWriter has met, shared by all its writers. */
  readonly stringWords: WeakMap<readonly string[], StringWords>;
  /** Where a further connection looks names up, as SQL; null: as by default. */
  searchPath: string | null;
  /** Further connections that are open: `interrupt` stops what they run, too. */
  readonly beside: Set<Connection>;
}

/** Default memory_limit of a file's store: appending 10 M rows stays below 300 MB resident, a sort below 650 MB. */
const FILE_MEMORY = '200MB';
/** An in-memory database holds its tables within the limit (spilling what does not fit), so it gets more. */
const MEMORY_MEMORY = '300MB';

function settings(path: string | null, options: StoreOptions): Record<string, string> {
  const wanted: Record<string, string> = {
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    memory_limit: options.memory ?? (path === null ? MEMORY_MEMORY : FILE_MEMORY),
    temp_directory: path === null || options.readOnly ? join(tmpdir(), `gmemtrace-${randomUUID()}.tmp`) : `${path}.tmp`,
    // With `false` the appender takes twice the CPU and, into a file, twice the memory (1.5.6, 4 M rows).
    preserve_insertion_order: 'true',
  };
  if (options.threads !== undefined) wanted['threads'] = String(options.threads);
  if (options.readOnly) wanted['access_mode'] = 'READ_ONLY';
  return wanted;
}

/** What the binding says instead of a reason when a text holds no statement at all. */
const NO_STATEMENT = 'Error in native callback';
/** Kinds of DuckDB's errors that mean a mistake in the SQL text itself. */
const USAGE_KINDS = /^(Parser|Binder|Catalog|Permission|Conversion|Invalid Input|Not implemented|Syntax) Error/;

/** A DuckDB error as ours, with DuckDB's own text and caret. Code `usage` where the SQL is wrong, else `db`. */
export function toTraceError(error: unknown): TraceError {
  if (error instanceof TraceError) return error;
  const message = (error instanceof Error ? error.message : String(error)).replace(
    /^Failed to extract statements: /,
    '',
  );
  if (message === NO_STATEMENT) return new TraceError('usage', 'expected a statement, found none', { cause: error });
  if (message.startsWith('INTERRUPT Error')) return new TraceError('cancelled', 'interrupted', { cause: error });
  const hint = message.startsWith('Out of Memory') ? { hint: 'raise the limit with --memory' } : {};
  return new TraceError(USAGE_KINDS.test(message) ? 'usage' : 'db', message, { cause: error, ...hint });
}

/** Runs `action`, turning what DuckDB throws into a TraceError. */
export async function guarded<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw toTraceError(error);
  }
}

async function openNative(path: string | null, options: StoreOptions): Promise<NativeStore> {
  const bindings = loadBindings();
  const config = bindings.create_config();
  bindings.set_config(config, 'duckdb_api', 'gmemtrace');
  try {
    for (const [name, value] of Object.entries(settings(path, options))) bindings.set_config(config, name, value);
    const database = await bindings.open(path ?? ':memory:', config);
    const connection = await bindings.connect(database);
    return { database, connection, stringWords: new WeakMap(), searchPath: null, beside: new Set() };
  } catch (error) {
    const { message } = toTraceError(error);
    throw new TraceError('db', message, path === null ? { cause: error } : { input: path, cause: error });
  }
}

function makeStore(path: string | null, native: NativeStore, end: () => void): Store {
  const bindings = loadBindings();
  const { connection } = native;
  let isOpen = true;
  return {
    path,
    native,
    async run(sql) {
      await guarded(() => bindings.query(connection, sql));
    },
    rows: (sql) => guarded(async () => readRows(await bindings.query(connection, sql))),
    interrupt() {
      for (const each of [connection, ...native.beside]) bindings.interrupt(each);
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      bindings.disconnect_sync(connection);
      end();
    },
  };
}

/** Opens a database file (made where it is not there), or one in memory for `null`. */
export async function openStore(path: string | null, options: StoreOptions = {}): Promise<Store> {
  const native = await openNative(path, options);
  return makeStore(path, native, () => loadBindings().close_sync(native.database));
}

/**
 * A further connection to the store's database, for what runs at the same time. It sees what is committed, and no
 * temporary tables. Close it before the store.
 */
export async function connectBeside(store: Store): Promise<Store> {
  const bindings = loadBindings();
  const { native } = store;
  const connection = await guarded(() => bindings.connect(native.database));
  native.beside.add(connection);
  const beside = makeStore(store.path, { ...native, connection, beside: new Set() }, () => {
    native.beside.delete(connection);
  });
  if (native.searchPath !== null) await beside.run(native.searchPath);
  return beside;
}

/** Runs statements as one transaction: all or nothing, and a file is synchronised once, not for each of them. */
export async function runAtOnce(store: Store, statements: string): Promise<void> {
  try {
    await store.run(`BEGIN; ${statements}; COMMIT`);
  } catch (error) {
    await store.run('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** Denies file and network access from here on, and any change of settings: for SQL that a user wrote. */
export async function lockDown(store: Store): Promise<void> {
  await store.run('SET enable_external_access = false; SET lock_configuration = true');
}

/**
 * Checks that a text is exactly one SELECT (WITH, VALUES and FROM-first count as one). `code` is that of the
 * TraceError otherwise: `rule-invalid` for a rule, `usage` for what came from the command line.
 */
export async function singleSelect(store: Store, sql: string, code: 'rule-invalid' | 'usage' = 'usage'): Promise<void> {
  const bindings = loadBindings();
  const { connection } = store.native;
  try {
    const { extracted_statements: statements, statement_count: count } = await bindings.extract_statements(
      connection,
      sql,
    );
    if (count === 0) throw new Error(bindings.extract_statements_error(statements));
    if (count !== 1) throw new TraceError(code, `expected one SELECT, found ${count} statements`);
    const prepared = await bindings.prepare_extracted_statement(connection, statements, 0);
    const type = bindings.prepared_statement_type(prepared);
    bindings.destroy_prepare_sync(prepared);
    if (type !== bindings.StatementType.SELECT) {
      throw new TraceError(code, `expected one SELECT, found ${bindings.StatementType[type]}`);
    }
  } catch (error) {
    if (error instanceof TraceError) throw error;
    throw new TraceError(code, toTraceError(error).message, { cause: error });
  }
}

/** A text as an SQL string literal. */
export function sqlText(text: string | null): string {
  // A statement ends at a NUL byte, wherever it stands.
  return text === null ? 'NULL' : `'${text.replaceAll("'", "''").replaceAll('\0', '\uFFFD')}'`;
}

/** A name as a quoted SQL identifier. */
export function sqlName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
