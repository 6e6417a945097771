-- name: reboot-memory-faults
-- severity: warning
-- needs: memory_faults, reboots
-- rows: reboot
-- summary: After a reboot the guest runs into memory that the boot before left in the other state, one exit a page.
-- param excess = 16 : excess faults of one boot
-- param error_excess = 100 : excess faults from which it can be an error
-- param error_ratio = 3 : times the cost of resetting the ranges instead, from which it is an error
-- param boot_ns = 60000000000 : longest time after the reboot that counts as the boot, ns
-- param quiet_ns = 1000000000 : time without such a fault after which the boot is over, ns
WITH boots AS (
  SELECT r.vm_id, r.epoch, r.ts_ns AS reboot_ns, r.shared_pages, r.reset_ns, r.how, r.certainty AS reboot_certainty, b.guest, b.to_ns AS end_ns
  FROM reboot r JOIN boot_epoch b USING (vm_id, epoch)
), first_boots AS (
  -- The VM object of the guest's first boot, where a reboot makes a new one.
  SELECT b.vm_id, b.epoch, f.vm_id AS first_vm FROM boots b JOIN boot_epoch f ON f.guest = b.guest AND f.epoch = 0
), stale AS (
  -- Same VM object: pages left over from the boot before, not set since.
  SELECT f.*, 'left' AS what FROM memory_fault f
  WHERE f.epoch > 0 AND f.cause = 'stale-after-reboot' AND f.certainty IN ('observed', 'inferred')
    -- A page that cost a fault at its first touch in the first boot, too, costs nothing in excess.
    AND NOT EXISTS (SELECT 1 FROM memory_fault b WHERE b.vm_id = f.vm_id AND b.epoch = 0 AND b.gpa = f.gpa AND b.wanted = f.wanted
      AND NOT EXISTS (SELECT 1 FROM conversion c WHERE c.vm_id = b.vm_id AND c.origin <> 'vmm' AND c.gpa <= b.gpa
        AND c.gpa + c.size > b.gpa AND coalesce(c.request_ns, c.exit_ns) < coalesce(b.fault_ns, b.ts_ns)))
  UNION ALL
  -- New VM object: memory that the VMM set private before the first boot and not before this one, at its first touch.
  SELECT f.*, 're-created' AS what FROM memory_fault f JOIN first_boots b ON b.vm_id = f.vm_id AND b.epoch = f.epoch AND b.first_vm <> b.vm_id
  WHERE f.wanted = 'private' AND f.gpa IS NOT NULL AND f.certainty IN ('observed', 'inferred')
    AND EXISTS (SELECT 1 FROM conversion c WHERE c.vm_id = b.first_vm AND c.origin = 'vmm' AND c.direction = 'to_private' AND c.outcome IN ('done', 'noop')
      AND c.gpa <= f.gpa AND c.gpa + c.size > f.gpa)
    AND NOT EXISTS (SELECT 1 FROM conversion c WHERE c.vm_id = f.vm_id AND c.gpa <= f.gpa AND c.gpa + c.size > f.gpa
      AND coalesce(c.request_ns, c.exit_ns) < coalesce(f.fault_ns, f.ts_ns))
), excess AS (
  SELECT vm_id, epoch, what, gpa, wanted, min(ts_ns) AS ts_ns, min(greatest(coalesce(resume_ns - coalesce(fault_ns, ts_ns), 0), 0)) AS cost_ns,
    min_by(evidence_of(evidence_trace, evidence_cpu, evidence_seq, ts_ns), ts_ns) AS evidence, min(certainty) AS certainty
  FROM stale GROUP BY vm_id, epoch, what, gpa, wanted
), multiplicity AS (
  SELECT e.vm_id, e.epoch, count(*) AS exits FROM excess e
  JOIN memory_fault f ON f.vm_id = e.vm_id AND f.epoch = e.epoch AND f.gpa = e.gpa AND f.wanted = e.wanted AND f.ts_ns >= e.ts_ns GROUP BY ALL
), stepped AS (
  SELECT *, ts_ns - lag(ts_ns) OVER (PARTITION BY vm_id, epoch ORDER BY ts_ns, gpa) AS gap_ns,
    CASE WHEN gpa - 4096 = lag(gpa) OVER (PARTITION BY vm_id, epoch, wanted ORDER BY gpa) THEN 0 ELSE 1 END AS is_new
  FROM excess
), placed AS (
  SELECT *, sum(is_new) OVER (PARTITION BY vm_id, epoch ORDER BY wanted, gpa ROWS UNBOUNDED PRECEDING) AS run FROM stepped
), runs AS (
  SELECT vm_id, epoch, run, min(gpa) AS gpa, count(*) AS pages FROM placed GROUP BY vm_id, epoch, run
), ranges AS (
  SELECT vm_id, epoch, count(*) AS runs, max(pages) AS longest,
    array_to_string(list(concat(fmt_range(gpa, pages * 4096)) ORDER BY pages DESC, gpa)[1:5], ', ') AS top
  FROM runs GROUP BY vm_id, epoch
), quiet AS (
  -- The boot window ends where the faults pause, or after boot_ns.
  SELECT b.vm_id, b.epoch, min(p.ts_ns - p.gap_ns) AS quiet_ns FROM placed p JOIN boots b USING (vm_id, epoch)
  WHERE p.gap_ns > $quiet_ns GROUP BY b.vm_id, b.epoch
), page_cost AS (
  SELECT c.vm_id, median((a.end_ns - a.start_ns) / greatest(c.size / 4096, 1)) AS ns
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  WHERE c.outcome = 'done' AND a.end_ns IS NOT NULL GROUP BY c.vm_id
), fault_cost AS (
  SELECT vm_id, median(resume_ns - coalesce(fault_ns, ts_ns)) AS ns FROM memory_fault WHERE resume_ns IS NOT NULL GROUP BY vm_id HAVING count(*) >= 3
), taken_back AS (
  -- Of the pages left shared: what the guest (its firmware, its kernel) asked for in this boot by itself, without a fault.
  SELECT b.vm_id, b.epoch, count(*) AS requests, sum(least(c.gpa + c.size, i.gpa + i.size) - greatest(c.gpa, i.gpa)) / 4096 AS pages,
    min(c.request_ns) - any_value(b.reboot_ns) AS after_ns
  FROM boots b JOIN gmem_interval i ON i.vm_id = b.vm_id AND (i.attribute = 'shared' OR i.shareability = 'shared') AND i.gpa IS NOT NULL
    AND i.from_ns < b.reboot_ns AND coalesce(i.to_ns, 9223372036854775807) > b.reboot_ns
  JOIN conversion c ON c.vm_id = b.vm_id AND c.epoch = b.epoch AND c.origin = 'explicit' AND c.direction = 'to_private' AND c.outcome = 'done'
    AND c.gpa < i.gpa + i.size AND c.gpa + c.size > i.gpa AND c.commit_ns - 1000000 <= coalesce(i.to_ns, 9223372036854775807)
  GROUP BY b.vm_id, b.epoch
), resets AS (
  SELECT b.vm_id, b.epoch, sum(c.size) / 4096 AS pages, count(*) AS calls, list(struct_pack(gpa := c.gpa, size := c.size)) AS places
  FROM boots b JOIN conversion c ON c.vm_id = b.vm_id AND c.epoch = b.epoch AND c.origin = 'vmm' AND c.direction = 'to_private' AND c.outcome = 'done'
    AND c.certainty IN ('observed', 'inferred')
  GROUP BY b.vm_id, b.epoch
), touched AS (
  -- Of the pages that were reset: those that this boot touched as private memory afterwards (stage-2 faults show first touches).
  SELECT b.vm_id, b.epoch, count(DISTINCT floor(e.address / 4096)) AS pages
  FROM boots b JOIN resets r USING (vm_id, epoch) JOIN conversion c ON c.vm_id = b.vm_id AND c.epoch = b.epoch AND c.origin = 'vmm'
    AND c.direction = 'to_private' AND c.outcome = 'done'
  JOIN vcpu v ON v.vm_id = b.vm_id
  JOIN memory_event e ON e.kind = kind_code('guest_fault') AND e.tid = v.tid AND e.ts_ns >= b.reboot_ns AND e.ts_ns < coalesce(b.end_ns, 9223372036854775807)
    AND e.address >= c.gpa AND e.address < c.gpa + c.size
  GROUP BY b.vm_id, b.epoch
), summed AS (
  SELECT vm_id, epoch, count(*) AS n, count(*) FILTER (wanted = 'private') AS to_private, bool_or(what = 're-created') AS is_new_vm, sum(cost_ns) AS cost_ns,
    max(ts_ns) AS until_ns, min(certainty) AS certainty, list(evidence ORDER BY ts_ns, gpa)[1:10] AS evidence
  FROM excess GROUP BY vm_id, epoch
), judged AS (
  SELECT b.*, coalesce(s.n, 0) AS n, s.to_private, coalesce(s.is_new_vm, false) AS is_new_vm, coalesce(s.cost_ns, 0) AS cost_ns, s.until_ns, s.certainty, s.evidence,
    m.exits, g.runs, g.longest, g.top, t.requests, t.pages AS taken_pages, t.after_ns, x.pages AS reset_pages, x.calls, f.ns AS fault_ns,
    CASE WHEN EXISTS (SELECT 1 FROM memory_event WHERE kind = kind_code('guest_fault')) THEN coalesce(o.pages, 0) END AS touched_pages,
    coalesce(b.end_ns, (SELECT max(last_ns) FROM trace)) - b.reboot_ns AS seen_ns,
    (coalesce(b.shared_pages, s.to_private) + coalesce(s.n - s.to_private, 0)) * c.ns AS estimate_ns, greatest((SELECT count(*) FROM vcpu v WHERE v.vm_id = b.vm_id), 1) AS vcpus,
    least(coalesce(q.quiet_ns, s.until_ns), b.reboot_ns + $boot_ns) - b.reboot_ns AS window_ns,
    lost_within(b.reboot_ns, coalesce(s.until_ns, b.reboot_ns)) AS doubtful
  FROM boots b LEFT JOIN summed s USING (vm_id, epoch) LEFT JOIN multiplicity m USING (vm_id, epoch) LEFT JOIN ranges g USING (vm_id, epoch)
  LEFT JOIN quiet q USING (vm_id, epoch) LEFT JOIN page_cost c ON c.vm_id = b.vm_id LEFT JOIN fault_cost f ON f.vm_id = b.vm_id
  LEFT JOIN taken_back t USING (vm_id, epoch) LEFT JOIN resets x USING (vm_id, epoch) LEFT JOIN touched o USING (vm_id, epoch)
)
SELECT CASE WHEN n >= $error_excess AND cost_ns > $error_ratio * estimate_ns THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(n, ' memory faults after reboot ', epoch,
    CASE WHEN is_new_vm THEN ' on pages that were set private before the first boot and not before this one'
      WHEN to_private = 0 THEN ' on pages left private' WHEN to_private = n THEN ' on pages left shared' ELSE ' on pages left over' END, ', ', fmt_ns(cost_ns), ' in all',
    CASE WHEN NOT is_new_vm AND estimate_ns IS NOT NULL THEN concat('; resetting the ', CASE WHEN to_private = n THEN concat(shared_pages, ' shared pages') ELSE concat(shared_pages + n - to_private, ' pages') END,
      ' would have cost about ', fmt_ns(estimate_ns)) ELSE '' END) AS title,
  list_filter([
    concat(fmt_count(n), ' pages in ', fmt_count(runs), ' runs of contiguous memory, the longest ', fmt_count(longest), ' pages; ', fmt_count(exits), ' exits, ', printf('%.1f', exits / n), ' a page'),
    concat('most of them in ', top),
    CASE WHEN window_ns > 0 THEN concat(CAST(100 * least(cost_ns / (window_ns * vcpus), 1) AS INTEGER), ' % of the time of ', fmt_counted(vcpus, 'vCPU'), ' in the boot so far, ', fmt_ns(window_ns), ' from the reboot to the last of them (',
      fmt_ns($quiet_ns), ' without one, or ', fmt_ns($boot_ns), ', end it)') END,
    CASE WHEN is_new_vm THEN 'the guest was made anew' ELSE concat('the memory was left as it was at the reboot, ', fmt_count(shared_pages), ' pages shared') END,
    CASE WHEN to_private BETWEEN 1 AND n - 1 THEN concat(fmt_count(to_private), ' of them wanted private, ', fmt_count(n - to_private), ' shared') END,
    CASE WHEN requests > 0 THEN concat('the guest itself took back ', fmt_count(taken_pages), ' of the shared pages by ', fmt_count(requests), ' requests, the first ', fmt_ns(after_ns), ' after the reboot') END,
    CASE WHEN reset_pages > 0 THEN concat('the VMM reset ', fmt_count(reset_pages), ' pages in ', fmt_count(calls), ' ioctls (', fmt_ns(reset_ns), '), and these were not among them') END,
    concat('the reboot is ', reboot_certainty, ': ', how)
  ], lambda line: line IS NOT NULL) AS details,
  reboot_ns AS since_ns, until_ns, n AS count, certainty,
  CASE WHEN is_new_vm THEN 'set the guest''s memory private before the first KVM_RUN at every boot, as before the first'
    WHEN reset_pages > 0 THEN 'the reset at the reboot does not cover all that was shared: reset every shared range'
    WHEN to_private = 0 THEN 'the guest takes as shared what its boot before made private again: reset its memory to what the first boot began with'
    ELSE 'reset the shared ranges to private when the guest reboots' END AS hint,
  evidence
FROM judged WHERE n >= $excess
UNION ALL BY NAME
-- A reset of much of which the boot then used little.
SELECT 'info' AS severity,
  CASE WHEN reset_pages >= $error_excess AND touched_pages * fault_ns * $error_ratio < reset_ns AND seen_ns >= $boot_ns AND NOT lost_within(reboot_ns, reboot_ns + seen_ns)
    THEN 'fail' ELSE 'pass' END AS verdict, vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat('reboot ', epoch, ': ', CASE WHEN reset_pages > 0 THEN concat('the VMM reset ', fmt_count(reset_pages), ' pages in ', fmt_ns(reset_ns), ', ') ELSE '' END, n, ' excess memory faults',
    CASE WHEN shared_pages > 0 THEN concat(', ', fmt_count(shared_pages), ' pages left shared') ELSE '' END) AS title,
  NULL::VARCHAR[] AS details, reboot_ns AS since_ns, until_ns, n AS count, coalesce(certainty, reboot_certainty) AS certainty,
  CASE WHEN reset_pages > 0 AND fault_ns IS NOT NULL AND touched_pages IS NOT NULL THEN concat('the boot touched ', fmt_count(touched_pages), ' of the pages that were reset; their faults would have cost ',
      fmt_ns(touched_pages * fault_ns), CASE WHEN touched_pages * fault_ns * $error_ratio < reset_ns THEN ': the reset costs more than it saves' ELSE '' END)
    ELSE concat('under ', $excess) END AS hint,
  []::STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[] AS evidence
FROM judged WHERE n < $excess
