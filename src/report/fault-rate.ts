/** How the rate of memory faults went over the trace. */
import type { Store } from '../store/db.js';
import { big, num, numOrNull } from './rows.js';

export interface FaultRateLine {
  /** null: nobody knows which VM. */
  readonly vm: number | null;
  readonly count: number;
  /** Faults of each bucket, from the trace's start. */
  readonly counts: readonly number[];
}

export interface FaultRate {
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Width of a bucket, ns: 1, 2 or 5 times a power of ten, so that at most `MOST_BUCKETS` cover the trace. */
  readonly bucketNs: number;
  readonly total: number;
  readonly lines: readonly FaultRateLine[];
}

/** As many as fit into a line of 80 columns. */
export const MOST_BUCKETS = 60;

/** The narrowest bucket of 1, 2 or 5 times a power of ten ns, of which `most` cover a span in ns. */
export function bucketWidth(spanNs: number, most = MOST_BUCKETS): number {
  for (let decade = 1; ; decade *= 10) {
    for (const step of [1, 2, 5]) if (Math.floor(spanNs / (decade * step)) + 1 <= most) return decade * step;
  }
}

/** Reads the faults by VM. null: the trace cannot show memory faults, or has no span. */
export async function readFaultRate(store: Store): Promise<FaultRate | null> {
  const [span] = await store.rows(`
    SELECT min(first_ns) AS since, max(last_ns) AS until, EXISTS (SELECT 1 FROM unavailable WHERE what = 'memory_faults') AS unknown
    FROM trace`);
  if (span === undefined || span['since'] === null || span['unknown'] === true) return null;
  const startNs = big(span, 'since');
  const endNs = big(span, 'until');
  const bucketNs = bucketWidth(Number(endNs - startNs));
  const rows = await store.rows(`
    SELECT vm_id, ((ts_ns - ${startNs}) // ${bucketNs})::INTEGER AS bucket, count(*) AS n FROM memory_fault
    GROUP BY ALL ORDER BY vm_id NULLS LAST, bucket`);
  const buckets = Math.floor(Number(endNs - startNs) / bucketNs) + 1;
  const byVm = new Map<number | null, number[]>();
  for (const row of rows) {
    const vm = numOrNull(row, 'vm_id');
    const counts = byVm.get(vm) ?? Array.from({ length: buckets }, () => 0);
    counts[Math.min(buckets - 1, Math.max(0, num(row, 'bucket')))]! += num(row, 'n');
    byVm.set(vm, counts);
  }
  const lines = [...byVm].map(([vm, counts]) => ({ vm, counts, count: counts.reduce((a, b) => a + b, 0) }));
  return { startNs, endNs, bucketNs, total: lines.reduce((sum, line) => sum + line.count, 0), lines };
}
