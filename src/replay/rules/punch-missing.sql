-- name: punch-missing
-- severity: warning
-- needs: conversions, page-cache, discards
-- rows: gmem_interval
-- summary: Memory became shared, and its private copy was never freed: both are allocated.
-- param after_ns = 1000000000 : how long the private copy may stay, ns
-- param pages = 1 : pages that count
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
stale AS (
  SELECT i.vm_id, i.gmem_id, i.gpa, i."offset", i.size, i.from_ns, coalesce(i.to_ns, e.trace_end) AS end_ns,
    EXISTS (SELECT 1 FROM gmem_interval n WHERE n.vm_id = i.vm_id AND n.gpa < i.gpa + i.size AND n.gpa + n.size > i.gpa
      AND n.from_ns >= i.to_ns AND n.attribute = 'private' AND n.allocation = 'allocated') AS is_used_again,
    i.certainty
  FROM last_seen_intervals() i CROSS JOIN ends e
  WHERE i.state = 'shared-stale' AND i.certainty IN ('observed', 'inferred')
), lasting AS (
  SELECT s.*, c.evidence_ns, evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM stale s JOIN conversion c ON c.vm_id = s.vm_id AND c.direction = 'to_shared' AND c.outcome = 'done'
    AND c.mechanism = 'vm-attributes' AND s.from_ns BETWEEN c.commit_ns AND coalesce(c.resume_ns, c.commit_ns) AND c.gpa < s.gpa + s.size AND c.gpa + c.size > s.gpa
  WHERE s.end_ns - s.from_ns >= $after_ns
)
SELECT 'warning' AS severity,
  CASE WHEN bool_and(lost_within(from_ns, end_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_count(sum(size) / 4096), ' page(s) from offset ', fmt_hex(min("offset")), ' became shared and kept their private copy for ',
    fmt_ns(max(end_ns - from_ns)), CASE WHEN bool_or(is_used_again) THEN '; later conversions found the old copy again' ELSE '' END) AS title,
  min(from_ns) AS since_ns, max(end_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, min(certainty) AS certainty,
  'the VMM must punch a hole into the guest_memfd (fallocate) after converting to shared; look whether it did and what it returned' AS hint,
  list(DISTINCT evidence ORDER BY evidence)[1:10] AS evidence
FROM lasting GROUP BY vm_id, gmem_id HAVING sum(size) / 4096 >= $pages
