/** Databases as files: made atomically, told from other files, opened for reading, exported to Parquet. */
import { existsSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { TraceError } from '../base/errors.js';
import { openStore, sqlName, sqlText, type Store, type StoreOptions } from './db.js';
import { createTableSql, RESULT_TABLES, SCHEMA_VERSION, VERSION_TABLE } from './schema.js';

/** Eight bytes of checksum precede it: DuckDB's src/include/duckdb/storage/storage_info.hpp, MainHeader. */
const MAGIC = 'DUCK';
const MAGIC_OFFSET = 8;

/** Whether a file is a DuckDB database, by content. False for what cannot be read: its reader says why. */
export async function isDuckdbFile(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'r');
    try {
      const head = Buffer.alloc(MAGIC.length);
      const { bytesRead } = await file.read(head, 0, head.length, MAGIC_OFFSET);
      return bytesRead === head.length && head.toString('latin1') === MAGIC;
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

/** Tables that rules write; of an imported database they are copied, so that rules can run again without touching it. */
const JUDGED = RESULT_TABLES.filter((table) =>
  ['finding', 'finding_evidence', 'dismissed', 'unavailable'].includes(table.name),
);

async function checkVersion(store: Store, path: string): Promise<void> {
  const hint = 'import the trace again with this version: gmemtrace import TRACE --db FILE';
  const tables = await store.rows(
    `SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = 'imported' AND table_name = '${VERSION_TABLE.name}'`,
  );
  if (tables[0]?.['n'] !== 1n) {
    throw new TraceError('unknown-format', `${path}: a DuckDB database, but not one that gmemtrace import has made`, {
      input: path,
      hint,
    });
  }
  const [row] = await store.rows(`SELECT schema_version FROM imported.${VERSION_TABLE.name}`);
  const version = row?.['schema_version'] as number | undefined;
  if (version === SCHEMA_VERSION) return;
  throw new TraceError(
    'unsupported-version',
    `${path}: its layout is version ${version ?? 'none'}, this gmemtrace reads version ${SCHEMA_VERSION}`,
    { input: path, hint },
  );
}

/**
 * Opens a database that `import` made. The file is only read: findings are copied to memory, where rules may replace
 * them. Throws TraceError: `not-found`, `unknown-format` (not ours), `unsupported-version`, `db`.
 */
export async function openImported(path: string, options: StoreOptions = {}): Promise<Store> {
  if (!existsSync(path)) throw new TraceError('not-found', `${path}: no such file`, { input: path });
  const store = await openStore(null, options);
  try {
    await store.run(`ATTACH ${sqlText(path)} AS imported (READ_ONLY)`).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new TraceError('db', `${path}: ${why}`, { input: path, cause: error });
    });
    await checkVersion(store, path);
    const searchPath = "SET search_path = 'memory.main,imported.main'";
    const copies = JUDGED.map(
      (table) => `${createTableSql(table)}; INSERT INTO ${table.name} FROM imported.${table.name}`,
    );
    await store.run([...copies, searchPath].join('; '));
    store.native.searchPath = searchPath;
    return store;
  } catch (error) {
    store.close();
    throw error;
  }
}

/** Removes a database with its log and temporary folder, as far as that is allowed: opening it says what is not. */
async function removeAll(path: string): Promise<void> {
  for (const suffix of ['', '.wal', '.tmp']) {
    await rm(`${path}${suffix}`, { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * Makes a database file: `fill` writes it under a temporary name beside the target, which then takes the target's
 * place. Whatever fails or is aborted leaves the target as it was. Refuses to replace a file that is no database.
 */
export async function writeDatabase<T>(
  target: string,
  options: StoreOptions & { readonly signal?: AbortSignal },
  fill: (store: Store) => Promise<T>,
): Promise<T> {
  if (existsSync(target) && !(await isDuckdbFile(target))) {
    throw new TraceError('usage', `${target}: exists and is not a database; it is left as it is`, { input: target });
  }
  const partial = join(dirname(target), `.${basename(target)}.${process.pid}.part`);
  await removeAll(partial);
  const store = await openStore(partial, options);
  const stop = (): void => store.interrupt();
  options.signal?.addEventListener('abort', stop);
  try {
    const result = await fill(store);
    await store.run('CHECKPOINT');
    store.close();
    if (options.signal?.aborted) throw new TraceError('cancelled', 'interrupted', { input: target });
    // A log that a killed process left beside the old file must not be played into the new one.
    await rm(`${target}.wal`, { force: true });
    await rename(partial, target).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new TraceError('db', `${target}: ${why}`, { input: target, cause: error });
    });
    return result;
  } finally {
    options.signal?.removeEventListener('abort', stop);
    store.close();
    await removeAll(partial);
  }
}

/** A value as one segment of a path: what a file system or a `key=value` folder may trip over is percent-encoded. */
function segment(value: string): string {
  const encoded = encodeURIComponent(value).replaceAll('*', '%2A');
  return encoded.replace(/^\.+$/, (dots) => dots.replaceAll('.', '%2E')) || 'unknown';
}

/**
 * Copies every table of the store to `dir/host=HOST/trace=TRACE/<table>.parquet` (zstd), the layout that query engines
 * read as partitions. An existing folder of that host and trace is replaced as a whole. The store must not be locked down.
 * Returns the folder.
 */
export async function exportParquet(store: Store, dir: string, host: string, trace: string): Promise<string> {
  const parent = join(dir, `host=${segment(host)}`);
  const folder = join(parent, `trace=${segment(trace)}`);
  const partial = join(parent, `.${segment(trace)}.${process.pid}.part`);
  const tables = await store.rows(
    'SELECT DISTINCT table_name AS name FROM duckdb_tables() WHERE NOT temporary ORDER BY name',
  );
  try {
    await mkdir(partial, { recursive: true });
    for (const row of tables) {
      const name = row['name'] as string;
      const file = join(partial, `${name}.parquet`);
      await store.run(`COPY ${sqlName(name)} TO ${sqlText(file)} (FORMAT parquet, COMPRESSION zstd)`);
    }
    await rm(folder, { recursive: true, force: true });
    await rename(partial, folder);
    return folder;
  } catch (error) {
    if (error instanceof TraceError) throw error;
    throw new TraceError('db', `${folder}: ${(error as Error).message}`, { input: folder, cause: error });
  } finally {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
  }
}
