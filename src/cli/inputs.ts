/** What the user named, as files to read: folders opened, databases told apart, probe definitions and offsets found. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TraceError } from '../base/errors.js';
import type { ProbeInfo, ReadOptions } from '../parse/model.js';
import type { InputOptions } from './options.js';
import { reasonOf } from './output.js';
import { parseProbeDefinitions } from './probe-definitions.js';

/** One trace to import. */
export interface FoundTrace {
  readonly path: string;
  /** Bytes on disk; 0 for standard input. */
  readonly size: number;
  readonly read: Pick<ReadOptions, 'clock' | 'clockOffsetNs' | 'probes'>;
}

const PROBE_FILES = ['probes.txt', 'kprobe_events'];
/** Files that lie beside traces in a saved folder and are none. */
const NO_TRACE =
  /\.(json|jsonl|md|sh|log|html|csv|sql|duckdb|yaml|yml|part)(\.gz|\.zst)?$|^(README|host|kallsyms|saved_)/i;

async function sizeOf(path: string): Promise<{ readonly size: number; readonly isFolder: boolean }> {
  if (path === '-') return { size: 0, isFolder: false };
  try {
    const found = await stat(path);
    return { size: found.size, isFolder: found.isDirectory() };
  } catch (error) {
    throw new TraceError('not-found', `${path}: ${reasonOf(error)}`, { input: path, cause: error });
  }
}

async function readProbes(path: string): Promise<ReadonlyMap<string, ProbeInfo>> {
  try {
    return parseProbeDefinitions(await readFile(path, 'utf8'), path);
  } catch (error) {
    if (error instanceof TraceError) throw error;
    throw new TraceError('not-found', `${path}: ${reasonOf(error)}`, { input: path, cause: error });
  }
}

interface Found {
  readonly path: string;
  readonly size: number;
  readonly probes: ReadonlyMap<string, ProbeInfo> | null;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    throw new TraceError('not-found', `${folder}: ${reasonOf(error)}`, { input: folder, cause: error });
  }
}

/** Traces of a folder that a capture script saved, in order of name; a perf.data directory is one trace. */
async function openFolder(folder: string): Promise<readonly Found[]> {
  const names = await namesIn(folder);
  if (names.includes('data') && names.some((name) => /^data\.\d+$/.test(name))) {
    return [{ path: folder, size: await totalSize(folder, names), probes: null }];
  }
  const definitions = names.find((name) => PROBE_FILES.includes(name));
  const probes = definitions === undefined ? null : await readProbes(join(folder, definitions));
  const found: Found[] = [];
  for (const name of names) {
    if (NO_TRACE.test(name) || PROBE_FILES.includes(name)) continue;
    const path = join(folder, name);
    const { size, isFolder } = await sizeOf(path);
    if (isFolder || size === 0 || !(await isTrace(path))) continue;
    found.push({ path, size, probes });
  }
  if (found.length === 0)
    throw new TraceError('unknown-format', `${folder}: no trace lies in this folder`, { input: folder });
  return found;
}

async function totalSize(folder: string, names: readonly string[]): Promise<number> {
  let total = 0;
  for (const name of names) total += (await sizeOf(join(folder, name))).size;
  return total;
}

async function isTrace(path: string): Promise<boolean> {
  const { openTrace } = await import('../parse/index.js');
  try {
    const trace = await openTrace(path);
    trace.source.close();
    return true;
  } catch (error) {
    if (error instanceof TraceError && error.code === 'unknown-format') return false;
    throw error;
  }
}

/** `FILE=NS` and bare `NS` options → offset of each input. */
function offsetsOf(options: readonly string[], paths: readonly string[]): ReadonlyMap<string, bigint> {
  const offsets = new Map<string, bigint>();
  const bare = paths.length === 1 ? [...paths] : paths.slice(1);
  for (const option of options) {
    const match = /^(?:(.*)=)?([+-]?\d+)(?:ns)?$/.exec(option);
    const [, name, ns] = match ?? [];
    if (ns === undefined) throw new TraceError('usage', `--clock-offset ${option}: not FILE=NS or NS`);
    const path = name === undefined ? bare.shift() : paths.find((p) => p === name || basename(p) === name);
    if (path === undefined) {
      throw new TraceError(
        'usage',
        `--clock-offset ${option}: ${name === undefined ? 'no input is left for it' : 'no such input'}`,
      );
    }
    offsets.set(path, BigInt(ns));
  }
  return offsets;
}

/** Clocks of the kernel's tracers (kernel/trace/trace.c, trace_clocks) and of perf_event_open. */
const CLOCKS = [
  'local',
  'global',
  'counter',
  'uptime',
  'perf',
  'mono',
  'mono_raw',
  'boot',
  'tai',
  'realtime',
  'x86-tsc',
  's390-tod',
  'ppc-tb',
];

function checkClock(clock: string | undefined): void {
  if (clock === undefined || CLOCKS.includes(clock)) return;
  throw new TraceError('usage', `--clock ${clock}: not a clock of the kernel`, { hint: `one of ${CLOCKS.join(', ')}` });
}

/** Standard input is gone once it is read. Throws TraceError `usage` where it is named twice. */
export function checkStdin(paths: readonly string[]): void {
  if (paths.filter((path) => path === '-').length <= 1) return;
  throw new TraceError('usage', 'standard input (-) can be read only once');
}

/** Opens folders and gives each trace its clock, offset and probes. `warn` gets what the user should know. */
export async function findTraces(
  paths: readonly string[],
  options: InputOptions,
  warn: (message: string) => void,
): Promise<readonly FoundTrace[]> {
  checkClock(options.clock);
  checkStdin(paths);
  const probes = options.probes === undefined ? null : await readProbes(options.probes);
  const found: Found[] = [];
  for (const path of paths) {
    const { size, isFolder } = await sizeOf(path);
    if (!isFolder) found.push({ path, size, probes: null });
    else {
      const inside = await openFolder(path);
      if (inside.length > 1) {
        warn(
          `${path}: ${inside.map((f) => basename(f.path)).join(', ')} are read as parts of one run; name a file to read it alone`,
        );
      }
      found.push(...inside);
    }
  }
  const offsets = offsetsOf(
    options.clockOffset,
    found.map((f) => f.path),
  );
  return found.map(({ path, size, probes: own }) => {
    const definitions = probes ?? own;
    const offset = offsets.get(path);
    return {
      path,
      size,
      read: {
        ...(options.clock === undefined ? {} : { clock: options.clock }),
        ...(offset === undefined ? {} : { clockOffsetNs: offset }),
        ...(definitions === null ? {} : { probes: definitions }),
      },
    };
  });
}
