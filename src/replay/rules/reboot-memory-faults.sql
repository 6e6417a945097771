-- name: reboot-memory-faults
-- severity: warning
-- needs: memory_faults, reboots
-- rows: reboot, memory_fault
-- summary: After a reboot the guest runs into memory that the boot before left shared, one exit a page.
-- param excess = 16 : excess faults of one boot
-- param error_excess = 100 : excess faults from which it can be an error
-- param error_ratio = 3 : times the cost of resetting the ranges instead, from which it is an error
WITH excess AS (
  SELECT f.vm_id, f.epoch, f.gpa, min(f.ts_ns) AS ts_ns, min(coalesce(f.resume_ns - coalesce(f.fault_ns, f.ts_ns), 0)) AS cost_ns,
    arg_min(struct_pack(trace_id := f.evidence_trace, cpu := f.evidence_cpu, seq := f.evidence_seq, ts_ns := f.ts_ns), f.ts_ns) AS evidence,
    min(f.certainty) AS certainty
  FROM memory_fault f
  WHERE f.epoch > 0 AND f.cause = 'stale-after-reboot' AND f.certainty IN ('observed', 'inferred')
    -- A page that cost a fault at its first touch in the first boot, too, costs nothing in excess.
    AND NOT EXISTS (SELECT 1 FROM memory_fault b WHERE b.vm_id = f.vm_id AND b.epoch = 0 AND b.gpa = f.gpa AND b.wanted = f.wanted
      AND NOT EXISTS (SELECT 1 FROM conversion c WHERE c.vm_id = b.vm_id AND c.origin <> 'vmm' AND c.gpa <= b.gpa
        AND c.gpa + c.size > b.gpa AND coalesce(c.request_ns, c.exit_ns) < coalesce(b.fault_ns, b.ts_ns)))
  GROUP BY f.vm_id, f.epoch, f.gpa
), page_cost AS (
  SELECT c.vm_id, median((a.end_ns - a.start_ns) / greatest(c.size / 4096, 1)) AS ns
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  WHERE c.outcome = 'done' AND a.end_ns IS NOT NULL GROUP BY c.vm_id
), per_epoch AS (
  SELECT e.vm_id, e.epoch, count(*) AS n, sum(e.cost_ns) AS cost_ns, min(e.ts_ns) AS since_ns, max(e.ts_ns) AS until_ns,
    min(e.certainty) AS certainty, list(e.evidence ORDER BY e.ts_ns)[1:10] AS evidence
  FROM excess e GROUP BY e.vm_id, e.epoch HAVING count(*) >= $excess
), judged AS (
  SELECT p.*, r.ts_ns AS reboot_ns, r.shared_pages, r.how, coalesce(r.shared_pages, n) * c.ns AS reset_ns
  FROM per_epoch p JOIN reboot r USING (vm_id, epoch) LEFT JOIN page_cost c USING (vm_id)
)
SELECT CASE WHEN n >= $error_excess AND cost_ns > $error_ratio * reset_ns THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN EXISTS (SELECT 1 FROM lost WHERE coalesce(from_ns, 0) <= j.until_ns
    AND coalesce(to_ns, 9223372036854775807) >= j.reboot_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(n, ' memory faults after reboot ', epoch, ' on pages left shared', ', ', fmt_ns(cost_ns), ' in all',
    CASE WHEN reset_ns IS NOT NULL THEN concat('; resetting the ', shared_pages, ' shared pages would have cost about ', fmt_ns(reset_ns)) ELSE '' END) AS title,
  reboot_ns AS since_ns, until_ns, n AS count, certainty,
  'reset the shared ranges to private when the guest reboots' AS hint,
  evidence
FROM judged j
