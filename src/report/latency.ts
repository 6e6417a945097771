/** The latency report: how long conversions take, whole and by phase. */
import { TraceError } from '../base/errors.js';
import type { Store } from '../store/db.js';
import { bucketSql, readBuckets, type Bucket } from './histogram.js';
import { filteredSql } from './model-conversions.js';
import { PHASES, phasesSql, RETRY_WAITS_SQL, SIZE_BUCKET_SQL } from './phases.js';
import { big, bigOrNull, groupRows, num, numOrNull, text, textOrNull, type Row } from './rows.js';
import { readStats, statsSql, type Stats } from './stats.js';

/** What the report can be grouped by, as an SQL expression over the columns of a conversion. */
const GROUPINGS = {
  direction: 'direction',
  mechanism: 'mechanism',
  origin: 'origin',
  request: 'request',
  vm: `'vm' || vm_id`,
  vcpu: `'vm' || vm_id || ' vcpu' || vcpu`,
  size: SIZE_BUCKET_SQL,
  platform: 'platform',
  outcome: 'outcome',
  epoch: `'boot ' || epoch`,
} as const;

export type Grouping = keyof typeof GROUPINGS;

export const GROUPING_NAMES = Object.keys(GROUPINGS) as readonly Grouping[];

export interface PhaseStats extends Stats {
  /** `coordination`, or several joined by `+` where the border between them was not seen. */
  readonly phase: string;
}

export interface LatencyGroup {
  /** Value of each grouping, in the order of `by`; null = not known. */
  readonly key: readonly (string | null)[];
  readonly count: number;
  readonly pages: number | null;
  /** Pages a second of the guest's stops: how fast one conversion after the other goes. */
  readonly pagesPerSecond: number | null;
  /** Exits to userspace that carried them, by page. */
  readonly exitsPerPage: number | null;
  /** The guest's stop; of the VMM's own conversions the time of the ioctls. ns. */
  readonly whole: Stats;
  readonly phases: readonly PhaseStats[];
  /** Of the commit of those that were refused before they were done: waits until the next attempt. */
  readonly retryWait: Stats;
  readonly histogram: readonly Bucket[];
}

/** One of the slowest, with its phases in order. */
export interface SlowConversion {
  readonly id: number;
  readonly vm: number | null;
  readonly vcpu: number | null;
  readonly gpa: bigint | null;
  readonly size: bigint | null;
  readonly direction: string | null;
  readonly requestNs: bigint | null;
  readonly latencyNs: number;
  readonly phases: readonly PhaseTime[];
  /** Waits between a refused attempt and the next one, within the phases. */
  readonly waits: readonly { readonly sinceNs: bigint; readonly ns: number }[];
}

/** A phase of one conversion. */
export interface PhaseTime {
  readonly phase: string;
  readonly sinceNs: bigint;
  readonly ns: number;
}

export interface LatencyReport {
  /** The user's choice of conversions, as SQL. */
  readonly where: string | null;
  readonly by: readonly Grouping[];
  readonly groups: readonly LatencyGroup[];
  readonly slowest: readonly SlowConversion[];
  /** First stamp of the trace. */
  readonly startNs: bigint | null;
  /** Conversions that are in no group, and why: without them percentiles would look complete. */
  readonly leftOut: readonly { readonly reason: string; readonly count: number }[];
}

export interface LatencyOptions {
  readonly by: readonly Grouping[];
  readonly where?: string;
  readonly slowest: number;
}

/** Reads a `--by` list; a name that comes twice counts once. Throws TraceError `usage` on a word that is none. */
export function parseGroupings(words: string): readonly Grouping[] {
  const names = words.split(',').map((word) => {
    const name = word.trim();
    if (!Object.hasOwn(GROUPINGS, name)) {
      throw new TraceError('usage', name === '' ? `--by "${words}": a name is empty` : `--by ${name}: not a grouping`, {
        hint: `there are: ${GROUPING_NAMES.join(', ')}`,
      });
    }
    return name as Grouping;
  });
  return [...new Set(names)];
}

/**
 * Conversions that count: those that were done and whose stop was seen. Refused and failed ones take another way (and
 * would pull the median down), so they count only when asked for by outcome; the VMM's own stop nobody and count
 * only when origins are kept apart.
 */
function keptSql(options: Pick<LatencyOptions, 'by' | 'where'>): string {
  const byOutcome = options.by.includes('outcome') || /\boutcome\b/.test(options.where ?? '');
  const byOrigin = options.by.includes('origin') || /\borigin\b/.test(options.where ?? '');
  return [
    'latency_ns IS NOT NULL',
    ...(byOutcome ? [] : [`outcome = 'done'`]),
    ...(byOrigin ? [] : [`origin <> 'vmm'`]),
  ].join(' AND ');
}

/**
 * Query of the conversions that the report counts: the columns of conversion, latency_ns, pages, and k0, k1, … the value
 * of each grouping. Throws TraceError `usage` where `where` is not an SQL expression.
 */
export async function countedSql(store: Store, options: Pick<LatencyOptions, 'by' | 'where'>): Promise<string> {
  const keys = options.by.map((name, k) => `${GROUPINGS[name]} AS k${k}`);
  return `SELECT *, ${keys.join(', ')} FROM (${await filteredSql(store, options.where)}) WHERE ${keptSql(options)}`;
}

/** Makes the report. Throws TraceError `usage` where `where` is not an SQL expression. */
export async function readLatency(store: Store, options: LatencyOptions): Promise<LatencyReport> {
  const all = await filteredSql(store, options.where);
  const kept = keptSql(options);
  const from = await countedSql(store, options);
  const [span] = await store.rows('SELECT min(first_ns) AS start FROM trace');
  return {
    where: options.where ?? null,
    by: options.by,
    groups: await readGroups(store, from, options.by.length),
    slowest: await readSlowest(store, from, options.slowest),
    startNs: bigOrNull(span!, 'start'),
    leftOut: await readLeftOut(store, all, kept),
  };
}

const columns = (count: number): readonly string[] => Array.from({ length: count }, (_, k) => `k${k}`);

async function readGroups(store: Store, from: string, keyCount: number): Promise<readonly LatencyGroup[]> {
  const keys = columns(keyCount).join(', ');
  const keyOf = (row: Row): readonly (string | null)[] => columns(keyCount).map((k) => textOrNull(row, k));
  // Ranges of one SNP PSC share a stop: its time counts once, by the longest.
  const stops = `SELECT *, row_number() OVER (PARTITION BY ${keys}, vm_id, coalesce(batch, -conversion_id)
    ORDER BY latency_ns DESC, conversion_id) AS of_stop FROM (${from})`;
  const groups = await store.rows(`
    SELECT ${keys}, count(*) AS n, (sum(size) // 4096)::BIGINT AS pages, min(size) AS least, ${statsSql('latency_ns')},
      sum(size) / 4096 * 1e9 / nullif(sum(latency_ns) FILTER (size IS NOT NULL AND of_stop = 1), 0) AS pages_per_s,
      sum(chunks) FILTER (size IS NOT NULL) * 4096 / nullif(sum(size), 0) AS exits_per_page
    FROM (${stops}) GROUP BY ${keys} ORDER BY least NULLS LAST, n DESC, ${keys}`);
  const phases = await store.rows(`
    WITH f AS (${from}) SELECT ${keys}, phase, min(first_border) AS first_border, ${statsSql('ns')}
    FROM (${phasesSql('SELECT * FROM f')}) JOIN f USING (conversion_id)
    GROUP BY ${keys}, phase ORDER BY first_border, phase`);
  const waits = await store.rows(`
    WITH f AS (${from}), waits AS (SELECT conversion_id, sum(ns)::BIGINT AS ns FROM (${RETRY_WAITS_SQL}) GROUP BY conversion_id)
    SELECT ${keys}, ${statsSql('ns')} FROM f JOIN waits USING (conversion_id) GROUP BY ${keys}`);
  const buckets = await store.rows(
    `SELECT ${keys}, ${bucketSql('latency_ns')} AS bucket, count(*) AS n FROM (${from}) GROUP BY ALL`,
  );
  return groups.map((row) => {
    const key = keyOf(row);
    const same = (r: Row): boolean => keyOf(r).every((value, k) => value === key[k]);
    return {
      key,
      count: num(row, 'n'),
      pages: numOrNull(row, 'pages'),
      pagesPerSecond: numOrNull(row, 'pages_per_s'),
      exitsPerPage: numOrNull(row, 'exits_per_page'),
      whole: readStats(row),
      phases: phases.filter(same).map((p) => ({ phase: text(p, 'phase'), ...readStats(p) })),
      retryWait: readStats(waits.find(same) ?? {}),
      histogram: readBuckets(buckets.filter(same)),
    };
  });
}

async function readSlowest(store: Store, from: string, limit: number): Promise<readonly SlowConversion[]> {
  const slowest = `SELECT * FROM (${from}) ORDER BY latency_ns DESC, conversion_id LIMIT ${limit}`;
  const rows = await store.rows(slowest);
  const phases = await store.rows(`SELECT * FROM (${phasesSql(slowest)}) ORDER BY conversion_id, first_border`);
  const waits = await store.rows(`
    WITH w AS (${RETRY_WAITS_SQL}) SELECT w.* FROM w SEMI JOIN (${slowest}) USING (conversion_id) ORDER BY conversion_id, since_ns`);
  const phasesOf = groupRows(phases, 'conversion_id');
  const waitsOf = groupRows(waits, 'conversion_id');
  return rows.map((row) => {
    const id = num(row, 'conversion_id');
    const timeOf = (other: Row): { sinceNs: bigint; ns: number } => ({
      sinceNs: big(other, 'since_ns'),
      ns: num(other, 'ns'),
    });
    return {
      id,
      vm: numOrNull(row, 'vm_id'),
      vcpu: numOrNull(row, 'vcpu'),
      gpa: bigOrNull(row, 'gpa'),
      size: bigOrNull(row, 'size'),
      direction: textOrNull(row, 'direction'),
      requestNs: bigOrNull(row, 'request_ns'),
      latencyNs: num(row, 'latency_ns'),
      phases: (phasesOf.get(id) ?? [])
        .filter((p) => !text(p, 'phase').endsWith('first_use'))
        .map((p) => ({ phase: text(p, 'phase'), ...timeOf(p) })),
      waits: (waitsOf.get(id) ?? []).map(timeOf),
    };
  });
}

async function readLeftOut(store: Store, all: string, kept: string): Promise<LatencyReport['leftOut']> {
  const rows = await store.rows(`
    SELECT CASE WHEN origin = 'vmm' THEN 'the VMM’s own (no vCPU waited; --by origin shows them)'
        WHEN outcome = 'done' OR latency_ns IS NULL THEN outcome || ', start or end of the stop not seen'
        ELSE outcome || ' (--by outcome shows them)' END AS reason, count(*) AS n
    FROM (${all}) WHERE NOT coalesce(${kept}, false) GROUP BY reason ORDER BY n DESC, reason`);
  return rows.map((row) => ({ reason: text(row, 'reason'), count: num(row, 'n') }));
}

/** Index of a phase name (or of the first of merged ones) in the order of the phases. */
export function phaseIndex(phase: string): number {
  return PHASES.findIndex((name) => phase.startsWith(name));
}
