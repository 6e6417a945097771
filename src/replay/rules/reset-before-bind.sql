-- name: reset-before-bind
-- severity: warning
-- needs: reboots, bindings
-- rows: reboot, binding
-- summary: At a reboot memory was reset to private before its guest_memfd was bound elsewhere, and stayed shared there.
-- param pages = 1 : pages that count
WITH boots AS (
  SELECT r.vm_id, r.epoch, r.ts_ns AS reboot_ns, b.to_ns AS boot_end
  FROM reboot r JOIN boot_epoch b USING (vm_id, epoch) WHERE r.certainty IN ('observed', 'inferred')
), resets AS (
  SELECT b.*, c.gpa, c.size, coalesce(c.commit_ns, c.request_ns) AS reset_ns,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM boots b JOIN conversion c ON c.vm_id = b.vm_id AND c.epoch = b.epoch
  WHERE c.origin = 'vmm' AND c.direction = 'to_private' AND c.outcome IN ('done', 'noop') AND c.mechanism = 'vm-attributes'
    AND c.certainty IN ('observed', 'inferred') AND c.gpa IS NOT NULL
), early AS (
  -- The first reset of the boot that no memslot with a guest_memfd covered then.
  SELECT vm_id, epoch, any_value(reboot_ns) AS reboot_ns, any_value(boot_end) AS boot_end, min(reset_ns) AS reset_ns, min_by(evidence, reset_ns) AS evidence
  FROM resets r WHERE NOT EXISTS (SELECT 1 FROM binding n WHERE n.vm_id = r.vm_id AND n.gpa < r.gpa + r.size AND n.gpa + n.size > r.gpa
    AND coalesce(n.from_ns, 0) <= r.reset_ns AND coalesce(n.to_ns, 9223372036854775807) > r.reset_ns)
  GROUP BY vm_id, epoch
), moved AS (
  SELECT e.*, n.gmem_id, n.gpa + greatest(i."offset", n."offset") - n."offset" AS gpa,
    least(i."offset" + i.size, n."offset" + n.size) - greatest(i."offset", n."offset") AS size, n.from_ns AS bound_ns,
    least(i.certainty, n.certainty) AS certainty
  FROM early e JOIN binding n ON n.vm_id = e.vm_id AND n.from_ns > e.reset_ns AND n.from_ns < coalesce(e.boot_end, 9223372036854775807)
    AND n.certainty = 'observed'
  JOIN last_seen_intervals() i ON i.gmem_id = n.gmem_id AND i.attribute = 'shared' AND i.certainty IN ('observed', 'inferred')
    AND i.from_ns < e.reboot_ns AND coalesce(i.to_ns, 9223372036854775807) > e.reboot_ns
    AND i."offset" < n."offset" + n.size AND i."offset" + i.size > n."offset" AND i.gpa - i."offset" <> n.gpa - n."offset"
), missed AS (
  SELECT m.* FROM moved m WHERE NOT EXISTS (SELECT 1 FROM resets r WHERE r.vm_id = m.vm_id AND r.epoch = m.epoch
    AND r.gpa <= m.gpa AND r.gpa + r.size >= m.gpa + m.size)
), judged AS (
  SELECT m.*, (SELECT count(DISTINCT f.gpa) FROM memory_fault f WHERE f.vm_id = m.vm_id AND f.epoch = m.epoch AND f.wanted = 'private'
    AND f.gpa >= m.gpa AND f.gpa < m.gpa + m.size) AS faults
  FROM missed m
)
SELECT CASE WHEN sum(faults) > 0 THEN 'warning' ELSE 'info' END AS severity,
  CASE WHEN lost_within(min(reboot_ns), max(bound_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(sum(size) / 4096, 'page'), ' left shared before reboot ', epoch, one_or_more(sum(size) / 4096, ' was', ' were'), ' bound at ', fmt_range(min(gpa), arg_min(size, gpa)),
    ' after the reset to private, which did not cover that',
    CASE WHEN sum(faults) > 0 THEN concat('; ', fmt_count(sum(faults)), ' of them faulted') ELSE '' END) AS title,
  min(reset_ns) AS since_ns, max(bound_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, min(certainty) AS certainty,
  'bind the memslots first, then set the memory private: KVM_SET_MEMORY_ATTRIBUTES speaks of guest addresses, not of the file' AS hint,
  list_sort(list(DISTINCT evidence)) AS evidence
FROM judged GROUP BY vm_id, epoch HAVING sum(size) / 4096 >= $pages
