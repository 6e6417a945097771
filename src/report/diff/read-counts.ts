/** What happens how often: counts by stretch of time or by boot, and shares of a whole. */
import type { Store } from '../../store/db.js';
import { num, text, type Row } from '../rows.js';
import type { Counted } from './count-test.js';
import { GUEST_EXIT_LABEL, readGuestExitNames, USER_EXIT_LABEL, userExitName } from './exit-names.js';

/** What a rise of a count means. */
export type Sense = 'bad' | 'neutral';

export interface CountMetric extends Counted {
  /** `memory faults`, `guest exits`, … */
  readonly metric: string;
  /** Reason, cause or group; empty where there is only one. */
  readonly label: string;
  readonly unit: 'second' | 'boot';
  readonly sense: Sense;
}

/** So many of so many; more is worse. */
export interface ShareMetric {
  readonly metric: string;
  readonly label: string;
  readonly count: number;
  readonly of: number;
}

export interface SideCounts {
  readonly counts: readonly CountMetric[];
  readonly shares: readonly ShareMetric[];
}

/** Equal stretches that a trace is cut into, to see how much its counts scatter. */
const STRETCHES = 20;

/** A metric whose events are counted over time; `events` gives label and ts_ns, `needs` is the figure it rests on. */
interface TimedMetric {
  readonly metric: string;
  readonly sense: Sense;
  readonly needs: string | null;
  readonly events: string;
}

export const TIMED_METRICS: readonly TimedMetric[] = [
  {
    metric: 'memory faults',
    sense: 'bad',
    needs: 'memory_faults',
    events: `SELECT cause AS label, ts_ns FROM memory_fault WHERE cause <> 'stale-after-reboot'`,
  },
  {
    metric: 'guest exits',
    sense: 'neutral',
    needs: null,
    events: `SELECT ${GUEST_EXIT_LABEL} AS label, ts_ns FROM exit WHERE level = 'guest' AND label IS NOT NULL`,
  },
  {
    metric: 'exits to userspace',
    sense: 'neutral',
    needs: null,
    events: `SELECT ${USER_EXIT_LABEL} AS label, ts_ns FROM exit WHERE level = 'userspace' AND label IS NOT NULL`,
  },
  {
    metric: 'conversions',
    sense: 'neutral',
    needs: 'conversions',
    events: `SELECT concat_ws(' ', coalesce(direction, 'unknown'), origin) AS label, request_ns AS ts_ns FROM conversion
      WHERE request_ns IS NOT NULL`,
  },
  {
    metric: 'attempts failed',
    sense: 'neutral',
    needs: 'attempts',
    events: `SELECT '' AS label, coalesce(end_ns, start_ns) AS ts_ns FROM conversion_attempt WHERE errno <> 0`,
  },
  {
    metric: 'punched holes',
    sense: 'neutral',
    needs: 'punches',
    events: `SELECT '' AS label, start_ns AS ts_ns FROM punch WHERE errno IS NULL OR errno = 0`,
  },
  { metric: 'reboots', sense: 'neutral', needs: 'reboots', events: `SELECT '' AS label, ts_ns FROM reboot` },
];

/** After a reboot the guest runs into memory left shared: so many faults a reboot, however long the trace. */
export const STALE_METRIC = { metric: 'memory faults', label: 'stale-after-reboot' } as const;

export interface CountContext {
  readonly seconds: number | null;
  readonly unavailable: ReadonlyMap<string, string>;
}

/** Reads all counts that this recording can give. What it cannot is left out here, and said by the comparison. */
export async function readCounts(store: Store, context: CountContext): Promise<SideCounts> {
  return {
    counts: [...(await readTimed(store, context)), ...(await readStale(store, context))],
    shares: await readShares(store, context),
  };
}

async function readTimed(store: Store, { seconds, unavailable }: CountContext): Promise<readonly CountMetric[]> {
  if (seconds === null) return [];
  const metrics = TIMED_METRICS.filter(({ needs }) => needs === null || !unavailable.has(needs));
  const all = metrics.map(({ metric, events }) => `SELECT '${metric}' AS metric, label, ts_ns FROM (${events})`);
  const rows = await store.rows(`
    WITH span AS (SELECT min(first_ns) AS since, max(last_ns) - min(first_ns) AS length FROM trace)
    SELECT metric, label, least(${STRETCHES - 1}, greatest(0, (ts_ns - since) * ${STRETCHES} // length))::INTEGER AS stretch,
      count(*) AS n
    FROM (${all.join(' UNION ALL ')}), span GROUP BY ALL ORDER BY ALL`);
  const names = await readGuestExitNames(store);
  const nameOf = (metric: string, label: string): string => {
    if (metric === 'guest exits') return names.get(label) ?? label;
    return metric === 'exits to userspace' ? userExitName(label) : label;
  };
  return metrics.flatMap(({ metric, sense }) => {
    const own = rows.filter((row) => text(row, 'metric') === metric);
    return [...new Set(own.map((row) => text(row, 'label')))].map((label) => ({
      metric,
      label: nameOf(metric, label),
      unit: 'second' as const,
      sense,
      exposure: seconds,
      pieces: piecesOf(own.filter((row) => text(row, 'label') === label)),
    }));
  });
}

function piecesOf(rows: readonly Row[]): readonly number[] {
  const pieces = Array.from({ length: STRETCHES }, () => 0);
  for (const row of rows) pieces[num(row, 'stretch')]! += num(row, 'n');
  return pieces;
}

async function readStale(store: Store, { unavailable }: CountContext): Promise<readonly CountMetric[]> {
  if (unavailable.has('memory_faults') || unavailable.has('reboots')) return [];
  const rows = await store.rows(`
    SELECT (SELECT count(*) FROM memory_fault f WHERE f.cause = 'stale-after-reboot' AND f.epoch = r.epoch
        AND f.vm_id IS NOT DISTINCT FROM r.vm_id) AS n
    FROM reboot r ORDER BY ts_ns, vm_id, epoch`);
  const pieces = rows.map((row) => num(row, 'n'));
  return pieces.length === 0 ? [] : [{ ...STALE_METRIC, unit: 'boot', sense: 'bad', pieces, exposure: pieces.length }];
}

async function readShares(store: Store, { unavailable }: CountContext): Promise<readonly ShareMetric[]> {
  const outcomes = await store.rows(`
    SELECT 'conversions refused or failed' AS metric, coalesce(direction, 'unknown') AS label,
      count(*) FILTER (outcome IN ('refused', 'failed')) AS n, count(*) AS total
    FROM conversion WHERE origin <> 'vmm' AND outcome IN ('done', 'noop', 'refused', 'failed')
    GROUP BY label ORDER BY label`);
  const attempts = await store.rows(`
    SELECT 'conversions with a failed attempt' AS metric, '' AS label, count(*) FILTER (failed) AS n, count(*) AS total
    FROM (SELECT bool_or(errno <> 0) AS failed FROM conversion_attempt WHERE errno IS NOT NULL GROUP BY conversion_id)`);
  const rows = [
    ...(unavailable.has('conversions') ? [] : outcomes),
    ...(unavailable.has('attempts') ? [] : attempts.filter((row) => num(row, 'total') > 0)),
  ];
  return rows.map((row) => ({
    metric: text(row, 'metric'),
    label: text(row, 'label'),
    count: num(row, 'n'),
    of: num(row, 'total'),
  }));
}
