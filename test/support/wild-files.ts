/** Whole traces of other people (captures/wild: dat, perf, text-files), read, replayed and judged. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TraceError } from '../../src/base/errors.js';
import { openTrace } from '../../src/parse/index.js';
import { replay } from '../../src/replay/index.js';
import { loadRules, runRules } from '../../src/replay/rules.js';
import { openStore, type Store } from '../../src/store/db.js';
import { ingestAll } from '../../src/store/ingest.js';

const WILD = fileURLToPath(new URL('../../../shared/captures/wild/', import.meta.url));
const hasXz = spawnSync('xz', ['--version']).status === 0;

export const hasWild = existsSync(WILD);

/** The files of a folder of captures/wild, by their path in it; without xz those that need it are left out. */
export function filesOf(folder: string): string[] {
  if (!existsSync(join(WILD, folder))) return [];
  return readdirSync(join(WILD, folder))
    .map((name) => `${folder}/${name}`)
    .filter((name) => statSync(join(WILD, name)).isFile() && (hasXz || !name.endsWith('.xz')));
}

/** Events of each trace.dat, as its table has them. */
export function datCounts(): ReadonlyMap<string, number> {
  const text = readFileSync(join(WILD, 'README.md'), 'utf8');
  return new Map(
    [...text.matchAll(/^\| (\S+\.dat\.xz) \|(?:[^|]*\|){4} (\d+) \|/gm)].map((m) => [`dat/${m[1]!}`, Number(m[2])]),
  );
}

/** What a reader may say that cannot read a file; anything else is a crash. */
export const REFUSALS = ['unknown-format', 'corrupt', 'truncated', 'unsupported-version', 'field-missing'];

/** Rows of each table that would tell of guests or their memory, and of findings other than of lost events. */
const CLAIMS = ['vm', 'gmem', 'gmem_interval', 'conversion', 'memory_fault', 'punch', 'reboot', 'page_ref', 'dma_map'];

async function claimsOf(store: Store): Promise<string[]> {
  const claims: string[] = [];
  for (const table of CLAIMS) if ((await store.rows(`FROM "${table}" LIMIT 1`)).length > 0) claims.push(table);
  const findings = await store.rows("SELECT rule FROM finding WHERE rule <> 'lost-events'");
  return [...claims, ...findings.map((row) => row['rule'] as string)];
}

export interface Outcome {
  /** Why it was refused, null where it was read. */
  readonly refusal: TraceError | null;
  readonly events: number;
  readonly claims: readonly string[];
  readonly lost: number;
  readonly lossFindings: number;
}

/** Its path; what is packed by xz is unpacked into `folder`. */
function unpacked(name: string, folder: string): string {
  const path = join(WILD, name);
  if (!name.endsWith('.xz')) return path;
  const to = join(folder, name.replaceAll('/', '-').slice(0, -3));
  writeFileSync(to, execFileSync('xz', ['-dc', path], { maxBuffer: 1 << 28 }));
  return to;
}

async function judged(name: string, path: string, store: Store): Promise<Outcome> {
  const { reader, source } = await openTrace(path);
  try {
    await ingestAll(store, [{ path: name, reader, sha256: null }]);
  } finally {
    source.close();
  }
  await replay(store);
  await runRules(store, loadRules());
  const [row] = await store.rows(`SELECT (SELECT coalesce(sum(rows), 0) FROM event_type)::INTEGER AS events,
    (SELECT count(*) FROM lost)::INTEGER AS lost,
    (SELECT count(*) FROM finding WHERE rule = 'lost-events')::INTEGER AS found`);
  const { events, lost, found } = row as { events: number; lost: number; found: number };
  return { refusal: null, events, lost, lossFindings: found, claims: await claimsOf(store) };
}

/** What comes of a file; throws what is no refusal. */
export async function outcomeOf(name: string): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-wild-'));
  const store = await openStore(null);
  try {
    return await judged(name, unpacked(name, folder), store);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    return { refusal: error, events: 0, lost: 0, lossFindings: 0, claims: [] };
  } finally {
    store.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
