/** What `import` does: a database file, or Parquet made from one. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { exportParquet, openImported, writeDatabase } from '../store/database-file.js';
import type { Store } from '../store/db.js';
import type { Cli } from './command.js';
import type { RuleSettings } from './config.js';
import { findTraces } from './inputs.js';
import { settleRules } from './judging.js';
import type { InputOptions } from './options.js';
import type { Progress } from './progress.js';
import { fillStore, storeOptions } from './session.js';

export interface Importing extends Omit<InputOptions, 'rules'> {
  readonly db?: string;
  readonly parquet?: string;
  readonly quiet?: boolean;
  readonly rules: RuleSettings;
  readonly progress: Progress;
}

export interface Imported {
  readonly path: string;
  /** Size of the database file; null where only Parquet was written. */
  readonly bytes: number | null;
  readonly events: number;
}

/** Imports, replays, judges and writes. Nothing is left under the final name when it fails or is interrupted. */
export async function importTraces(cli: Cli, inputs: readonly string[], options: Importing): Promise<Imported> {
  const { rules, progress, db, parquet } = options;
  const judgement = settleRules(rules);
  const warn = (message: string): void => {
    if (options.quiet !== true) cli.io.stderr.write(`note: ${message}\n`);
  };
  const traces = await findTraces(inputs, options, warn);
  const folder = db === undefined ? await mkdtemp(join(tmpdir(), 'gmemtrace-')) : null;
  const target = db ?? join(folder!, 'trace.duckdb');
  try {
    const events = await writeDatabase(target, { ...storeOptions(options), signal: cli.signal }, async (store) => {
      await fillStore(store, traces, {
        options: { until: rules },
        judgement,
        progress,
        signal: cli.signal,
        stdin: cli.io.stdin,
        hash: true,
      });
      return countEvents(store);
    });
    const exported = parquet === undefined ? null : await writeParquet(target, parquet, options);
    const bytes = db === undefined ? null : (await stat(db)).size;
    return { path: [db, exported].filter((path) => path != null).join(' and '), bytes, events };
  } finally {
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  }
}

async function countEvents(store: Store): Promise<number> {
  const [row] = await store.rows('SELECT sum(events)::BIGINT AS n FROM trace');
  return Number(row?.['n'] ?? 0);
}

/** One partition for the run; its first trace names it. The file is opened anew: rules may have locked the other store. */
async function writeParquet(database: string, folder: string, options: InputOptions): Promise<string> {
  const store = await openImported(database, storeOptions(options));
  try {
    const [trace] = await store.rows('SELECT host, path FROM trace ORDER BY trace_id LIMIT 1');
    const host = trace?.['host'] ?? null;
    const path = trace?.['path'] ?? null;
    const names = {
      host: typeof host === 'string' ? host : 'unknown',
      trace: typeof path === 'string' ? path : 'trace',
    };
    return await exportParquet(store, folder, names.host, basename(names.trace));
  } finally {
    store.close();
  }
}
