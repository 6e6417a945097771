/** Inputs → a store that is ready to be reported on: imported, replayed, judged. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TraceError } from '../base/errors.js';
import { lockDown, openStore, type Store } from '../store/db.js';
import { isDuckdbFile, openImported } from '../store/database-file.js';
import { ingestAll, type TraceInput } from '../store/ingest.js';
import { sha256Of } from '../store/sha256.js';
import { openTrace, type OpenTrace } from '../parse/index.js';
import { replay } from '../replay/index.js';
import type { Cli } from './command.js';
import type { RuleSettings } from './config.js';
import { findTraces, type FoundTrace } from './inputs.js';
import { judge, settleRules, type Judgement } from './judging.js';
import type { InputOptions } from './options.js';
import { makeProgress, type Progress } from './progress.js';

export interface SessionOptions extends InputOptions {
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  /** How far to go: `events` (imported only), `replay`, or rules to judge by. */
  readonly until: 'events' | 'replay' | RuleSettings;
  /** Leave files and settings open to the SQL that follows. */
  readonly unlocked?: boolean;
}

/** Inputs larger than this together go to a temporary file instead of memory, bytes. */
const IN_MEMORY_LIMIT = 200 * 1024 * 1024;

export interface Session {
  readonly store: Store;
  /** Ends the database and removes what was temporary. */
  close(): Promise<void>;
}

/** Runs `work` on the inputs' store and closes it, whatever happens. Errors as those of import, replay and rules. */
export async function withSession<T>(
  cli: Cli,
  inputs: readonly string[],
  options: SessionOptions,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const session = await openSession(cli, inputs, options);
  try {
    return await work(session.store);
  } finally {
    await session.close();
  }
}

/** Opens the inputs: one database made by `import`, or traces. The caller closes the session. */
export async function openSession(cli: Cli, inputs: readonly string[], options: SessionOptions): Promise<Session> {
  const judgement = typeof options.until === 'object' ? settleRules(options.until) : null;
  const progress = makeProgress(cli.io.stderr, {
    quiet: options.quiet ?? false,
    verbose: options.verbose ?? false,
    now: () => performance.now(),
  });
  try {
    const database = await findDatabase(inputs);
    if (database !== null) return await openDatabase(database, { options, judgement, progress });
    return await openTraces(cli, inputs, { options, judgement, progress });
  } finally {
    progress.end();
  }
}

/** Locks what is not locked yet: rules of the user's own have done so before they ran. */
async function lock(store: Store): Promise<void> {
  const [row] = await store.rows(`SELECT current_setting('lock_configuration') AS locked`);
  if (row?.['locked'] !== true) await lockDown(store);
}

async function findDatabase(inputs: readonly string[]): Promise<string | null> {
  for (const path of inputs) {
    if (path === '-' || !(await isDuckdbFile(path))) continue;
    if (inputs.length === 1) return path;
    throw new TraceError('usage', `${path}: a database is read alone, not together with other inputs`, { input: path });
  }
  return null;
}

interface Opening {
  readonly options: SessionOptions;
  readonly judgement: Judgement | null;
  readonly progress: Progress;
}

/** The file is only read; rules judge anew in memory, so that other parameters and newer rules hold for it, too. */
async function openDatabase(path: string, { options, judgement, progress }: Opening): Promise<Session> {
  const store = await openImported(path, storeOptions(options));
  try {
    if (judgement !== null) {
      progress.stage('rules');
      await judge(store, judgement);
    }
    if (options.unlocked !== true) await lock(store);
  } catch (error) {
    store.close();
    throw error;
  }
  return { store, close: () => Promise.resolve(store.close()) };
}

async function openTraces(cli: Cli, paths: readonly string[], opening: Opening): Promise<Session> {
  const { options } = opening;
  const warn = (message: string): void => {
    if (!options.quiet) cli.io.stderr.write(`note: ${message}\n`);
  };
  const traces = await findTraces(paths, options, warn);
  const size = traces.reduce((sum, trace) => sum + trace.size, 0);
  const folder = size > IN_MEMORY_LIMIT ? await mkdtemp(join(tmpdir(), 'gmemtrace-')) : null;
  let store: Store | null = null;
  const close = async (): Promise<void> => {
    store?.close();
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  };
  const stop = (): void => store?.interrupt();
  cli.signal.addEventListener('abort', stop);
  try {
    store = await openStore(folder === null ? null : join(folder, 'trace.duckdb'), storeOptions(options));
    await fillStore(store, traces, { ...opening, stdin: cli.io.stdin, signal: cli.signal, hash: false });
    if (options.unlocked !== true) await lock(store);
    return { store, close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    cli.signal.removeEventListener('abort', stop);
  }
}

export interface Filling {
  readonly options: Pick<SessionOptions, 'until'>;
  readonly judgement: Judgement | null;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** What the input `-` reads. */
  readonly stdin: NodeJS.ReadableStream;
  /** Also note the files' SHA-256, which means to read them once more. */
  readonly hash: boolean;
}

/** Imports, replays and judges, as far as the options say. */
export async function fillStore(store: Store, traces: readonly FoundTrace[], filling: Filling): Promise<void> {
  const { options, judgement, progress, signal } = filling;
  progress.stage(traces.length === 1 ? `import ${traces[0]!.path}` : `import ${traces.length} traces`);
  await ingestFiles(store, traces, filling);
  if (options.until === 'events') return;
  progress.stage('replay');
  await replay(store, { signal });
  if (judgement === null) return;
  progress.stage('rules');
  await judge(store, judgement);
}

async function ingestFiles(store: Store, traces: readonly FoundTrace[], filling: Filling): Promise<void> {
  const { progress, signal, stdin, hash } = filling;
  const opened: OpenTrace[] = [];
  try {
    const inputs: TraceInput[] = [];
    for (const { path, read } of traces) {
      const trace = await openTrace(path, stdin);
      opened.push(trace);
      const sha256 = hash && path !== '-' && trace.source.parts === null ? await sha256Of(path, signal) : null;
      inputs.push({ path, reader: trace.reader, sha256, ...read });
    }
    await ingestAll(store, inputs, {
      signal,
      onProgress: (bytes, total, events) => progress.update(bytes, total, events),
    });
  } finally {
    for (const trace of opened) trace.source.close();
  }
}

/** The database's share of the options. */
export function storeOptions(options: InputOptions): { readonly memory?: string; readonly threads?: number } {
  return {
    ...(options.memory === undefined ? {} : { memory: options.memory }),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  };
}
