/**
 * What each boot lost to memory faults, and what resetting the memory that the boot before left over would have cost
 * (reference chapter 07 §5). Both need all conversions and faults, so they follow when those are written.
 */
import type { Store } from '../store/db.js';

const CLAIMS = `certainty IN ('observed', 'inferred')`;

/**
 * The reverse of memory left shared: pages that the boot before had shared and then made private, and that this boot takes
 * as shared at its first touch. Nobody has set them since the reboot. What was private from the start is none of them; and where
 * the first boot had as many faults that wanted shared, that is how this guest asks.
 */
const LEFT_PRIVATE = `
  WITH touched AS (
    SELECT f.vm_id, f.epoch, f.gpa, r.ts_ns AS reboot_ns, min(f.ts_ns) AS ts_ns
    FROM memory_fault f JOIN reboot r USING (vm_id, epoch) JOIN boot_epoch b ON b.vm_id = r.vm_id AND b.epoch = r.epoch - 1
    WHERE f.wanted = 'shared' AND f.cause = 'mismatch' AND f.gpa IS NOT NULL AND f.${CLAIMS} GROUP BY ALL
  ), changes AS (
    SELECT vm_id, gpa, gpa + size AS past, coalesce(commit_ns, resume_ns) AS at_ns, conversion_id,
      CASE WHEN outcome IN ('done', 'noop') AND ${CLAIMS} THEN direction ELSE 'unsure' END AS way
    FROM conversion WHERE gpa IS NOT NULL AND outcome IN ('done', 'noop', 'failed', 'unknown')
  ), histories AS (
    SELECT t.vm_id, t.epoch, t.gpa, t.ts_ns,
      arg_max(c.way, struct_pack(at := c.at_ns, id := c.conversion_id)) FILTER (c.at_ns < t.reboot_ns) AS last_way,
      bool_or(c.way = 'to_shared' AND c.at_ns < t.reboot_ns) AS was_shared, bool_or(c.at_ns >= t.reboot_ns AND c.at_ns < t.ts_ns) AS is_set_since
    FROM touched t JOIN changes c ON c.gpa <= t.gpa AND c.past > t.gpa
    -- No equality: with one DuckDB compares every range of a VM with every page of it, without one it sorts both.
    WHERE c.vm_id - t.vm_id = 0 GROUP BY ALL
  ), left_private AS (
    SELECT *, count(*) OVER (PARTITION BY vm_id, epoch) AS n FROM histories WHERE last_way = 'to_private' AND was_shared AND NOT is_set_since
  ), first_boot AS (
    SELECT vm_id, count(DISTINCT gpa) AS n FROM memory_fault WHERE epoch = 0 AND wanted = 'shared' GROUP BY vm_id
  )
  UPDATE memory_fault f SET cause = 'stale-after-reboot'
  FROM (SELECT l.* FROM left_private l LEFT JOIN first_boot b USING (vm_id) WHERE l.n > coalesce(b.n, 0)) h
  WHERE f.vm_id = h.vm_id AND f.epoch = h.epoch AND f.gpa = h.gpa AND f.ts_ns = h.ts_ns AND f.wanted = 'shared'`;

/** A page's time in an attribute ioctl is the median of its VM's. */
const COSTS = `
  WITH faults AS (
    SELECT vm_id, epoch, count(*) AS n, sum(greatest(resume_ns - coalesce(fault_ns, ts_ns), 0)) AS ns,
      count(DISTINCT struct_pack(gpa := gpa, wanted := wanted)) FILTER (cause = 'stale-after-reboot') AS stale_n,
      sum(greatest(resume_ns - coalesce(fault_ns, ts_ns), 0)) FILTER (cause = 'stale-after-reboot') AS stale_ns
    FROM memory_fault WHERE ${CLAIMS} GROUP BY vm_id, epoch
  ), page_cost AS (
    SELECT c.vm_id, median((a.end_ns - a.start_ns) / greatest(c.size / 4096, 1)) AS ns
    FROM conversion c JOIN conversion_attempt a USING (conversion_id)
    WHERE c.outcome = 'done' AND a.end_ns IS NOT NULL GROUP BY c.vm_id
  )
  UPDATE boot_epoch b SET faults = coalesce(c.n, 0), faults_ns = coalesce(c.ns, 0), stale_faults = coalesce(c.stale_n, 0),
    stale_ns = coalesce(c.stale_ns, 0), reset_estimate_ns = CAST(c.pages * c.page_ns AS BIGINT)
  FROM (
    SELECT e.vm_id, e.epoch, f.n, f.ns, f.stale_n, f.stale_ns, r.shared_pages AS pages, p.ns AS page_ns
    FROM boot_epoch e LEFT JOIN faults f USING (vm_id, epoch) LEFT JOIN reboot r USING (vm_id, epoch) LEFT JOIN page_cost p ON p.vm_id = e.vm_id
    -- A count that never shows is not zero.
    WHERE NOT EXISTS (SELECT 1 FROM unavailable WHERE what = 'memory_faults')
  ) c WHERE c.vm_id = b.vm_id AND c.epoch = b.epoch`;

/** Completes memory_fault.cause and boot_epoch; every other table of the replay is written before. */
export async function writeEpochCosts(store: Store): Promise<void> {
  await store.run(LEFT_PRIVATE);
  await store.run(COSTS);
}
