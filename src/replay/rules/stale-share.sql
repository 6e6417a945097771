-- name: stale-share
-- severity: warning
-- needs: reboots, pkvm-conversions
-- rows: reboot
-- platforms: pkvm
-- summary: Pages that a guest shared before its reset stay shared with the host, and the next boot never takes them back.
-- param pages = 1 : pages that count
-- param after_ns = 5000000000 : how long a boot must have been seen where it had not ended, ns
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
boots AS (
  SELECT r.vm_id, r.epoch, r.ts_ns AS reboot_ns, r.how, r.certainty, b.to_ns AS boot_end, e.trace_end
  FROM reboot r JOIN vm v USING (vm_id) JOIN boot_epoch b USING (vm_id, epoch) CROSS JOIN ends e
  WHERE v.platform = 'pkvm'
), stale AS (
  SELECT b.*, i.gpa, i.size FROM boots b JOIN last_seen_intervals() i USING (vm_id)
  WHERE i.attribute = 'shared' AND i.gpa IS NOT NULL AND i.certainty IN ('observed', 'inferred')
    AND i.from_ns < reboot_ns AND coalesce(i.to_ns, 9223372036854775807) > reboot_ns
    AND NOT EXISTS (SELECT 1 FROM gmem_interval n WHERE n.vm_id = i.vm_id AND n.attribute = 'private'
      AND n.gpa < i.gpa + i.size AND n.gpa + n.size > i.gpa AND n.from_ns >= reboot_ns
      AND n.from_ns < coalesce(b.boot_end, 9223372036854775807))
), grouped AS (
  SELECT vm_id, epoch, any_value(reboot_ns) AS reboot_ns, any_value(boot_end) AS boot_end, any_value(how) AS how,
    any_value(trace_end) AS trace_end, any_value(certainty) AS certainty, sum(size) / 4096 AS n, min(gpa) AS gpa
  FROM stale GROUP BY vm_id, epoch HAVING sum(size) / 4096 >= $pages
)
SELECT 'warning' AS severity,
  CASE WHEN EXISTS (SELECT 1 FROM lost l WHERE coalesce(l.from_ns, 0) <= coalesce(g.boot_end, g.trace_end)
    AND coalesce(l.to_ns, 9223372036854775807) >= g.reboot_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(n, 'page'), ' from ', fmt_range(gpa, 4096), one_or_more(n, ' was', ' were'), ' shared before reset ', epoch,
    ' and never taken back after it') AS title,
  reboot_ns AS since_ns, coalesce(boot_end, trace_end) AS until_ns, CAST(n AS BIGINT) AS count, certainty,
  'the host can still read and write them, and the new boot does not know: make a new VM on reset, or let the guest''s firmware unshare' AS hint,
  (SELECT list(struct_pack(trace_id := c.evidence_trace, cpu := c.evidence_cpu, seq := c.evidence_seq, ts_ns := c.evidence_ns)
      ORDER BY c.evidence_ns)[1:10]
    FROM conversion c JOIN stale s ON s.vm_id = c.vm_id AND s.epoch = g.epoch AND c.gpa >= s.gpa AND c.gpa < s.gpa + s.size
    WHERE c.vm_id = g.vm_id AND c.direction = 'to_shared' AND c.outcome = 'done' AND c.request_ns < g.reboot_ns) AS evidence
FROM grouped g
WHERE boot_end IS NOT NULL OR trace_end - reboot_ns >= $after_ns
