-- name: punch-missing
-- severity: warning
-- needs: conversions, page-cache, discards
-- rows: gmem_interval
-- summary: Memory became shared, and its private copy was never freed: both are allocated.
-- param after_ns = 1000000000 : how long the private copy may stay, ns
-- param pages = 1 : pages that count
-- param followed = 4 : conversions to private after which the VMM must have discarded the shared copy for one without to count
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
), sizes AS (
  SELECT vm_id, gmem_id, max(total) AS peak FROM (
    SELECT vm_id, gmem_id, sum(delta) OVER (PARTITION BY vm_id, gmem_id ORDER BY at_ns, delta ROWS UNBOUNDED PRECEDING) AS total
    FROM (SELECT vm_id, gmem_id, from_ns AS at_ns, size AS delta FROM lasting UNION ALL SELECT vm_id, gmem_id, end_ns, -size FROM lasting))
  GROUP BY vm_id, gmem_id
), discarded AS (
  -- Of the shared copy: by address (madvise), or as a hole in another file than the guest_memfd, by its descriptor.
  SELECT tid, ts_ns, -1 AS fd, CAST(address AS BIGINT) AS place, CAST(size AS BIGINT) AS size FROM memory_event WHERE kind = kind_code('discard_enter') AND address < 4e18 AND size < 4e18
  UNION ALL
  SELECT tid, ts_ns, TRY_CAST(fd AS INTEGER), CAST(address AS BIGINT), CAST(size AS BIGINT) FROM memory_event e
  WHERE kind = kind_code('fallocate_enter') AND address < 4e18 AND size < 4e18 AND TRY_CAST(value AS BIGINT) & 2 <> 0 AND NOT EXISTS (SELECT 1 FROM gmem g WHERE g.fd = e.fd)
), taken AS (
  SELECT * FROM conversion WHERE direction = 'to_private' AND outcome = 'done' AND mechanism = 'vm-attributes' AND origin <> 'vmm'
    AND gpa IS NOT NULL AND commit_ns IS NOT NULL AND certainty IN ('observed', 'inferred')
), habits AS (
  -- Where the VMM discards after such conversions, it shows where the shared copy of guest memory lies.
  SELECT c.vm_id, d.fd, d.place - c.gpa AS distance, count(*) AS n, min(c.size) AS least_size, min(c.gpa) AS first, max(c.gpa + c.size) AS past
  FROM taken c JOIN discarded d ON d.tid = c.tid AND d.size = c.size AND d.ts_ns BETWEEN c.commit_ns AND coalesce(c.resume_ns, c.commit_ns + $after_ns)
  GROUP BY ALL HAVING count(*) >= $followed
), candidates AS (
  SELECT c.*, h.n, h.fd, c.gpa + h.distance AS place FROM taken c JOIN habits h ON h.vm_id = c.vm_id AND c.gpa >= h.first AND c.gpa + c.size <= h.past AND c.size >= h.least_size
  CROSS JOIN ends e
  WHERE e.trace_end - c.commit_ns >= $after_ns
    AND NOT EXISTS (SELECT 1 FROM discarded d WHERE d.fd = h.fd AND d.place = c.gpa + h.distance AND d.size = c.size AND d.ts_ns BETWEEN c.commit_ns AND c.commit_ns + $after_ns)
), otherwise AS (
  -- As a part of a larger or another discard. What is compared has no equality: with one DuckDB compares each with each, without one it sorts both.
  SELECT DISTINCT c.conversion_id FROM candidates c JOIN discarded d ON d.place < c.place + c.size AND d.place + d.size > c.place
  WHERE d.fd - c.fd = 0 AND d.ts_ns BETWEEN coalesce(c.request_ns, c.commit_ns) AND c.commit_ns + $after_ns
), shared AS (
  SELECT c.conversion_id, bool_or(b.outcome = 'done' AND b.origin <> 'vmm' AND b.gpa <= c.gpa AND b.past >= c.gpa + c.size AND b.at_ns < c.commit_ns) AS is_before,
    bool_or(b.at_ns BETWEEN c.commit_ns AND c.commit_ns + $after_ns) AS is_again
  FROM candidates c JOIN (SELECT vm_id, outcome, origin, gpa, gpa + size AS past, coalesce(commit_ns, request_ns, exit_ns) AS at_ns FROM conversion WHERE direction = 'to_shared') b
    ON b.gpa < c.gpa + c.size AND b.past > c.gpa
  WHERE b.vm_id - c.vm_id = 0 GROUP BY c.conversion_id
), left_over AS (
  -- Only what was shared before has a copy there, and only what stays private keeps it for nothing.
  SELECT c.*, evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence FROM candidates c JOIN shared s USING (conversion_id)
  WHERE s.is_before AND NOT s.is_again AND c.conversion_id NOT IN (SELECT conversion_id FROM otherwise)
)
SELECT 'warning' AS severity,
  CASE WHEN bool_and(lost_within(from_ns, end_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(sum(size) / 4096, 'page'), ' from offset ', fmt_hex(min("offset")), ' became shared and kept the private copy for ',
    fmt_ns(max(end_ns - from_ns)), CASE WHEN bool_or(is_used_again) THEN '; later conversions found the old copy again' ELSE '' END) AS title,
  [concat('allocated twice: ', fmt_bytes(any_value(z.peak)), ' at the peak, ', fmt_bytes(coalesce(sum(size) FILTER (end_ns >= (SELECT trace_end FROM ends)), 0)), ' at the end of the trace; of ',
    CAST(100 * coalesce(sum(size) FILTER (is_used_again), 0) / sum(size) AS INTEGER), ' % the old copy was used again')] AS details,
  min(from_ns) AS since_ns, max(end_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, min(certainty) AS certainty,
  'the VMM must punch a hole into the guest_memfd (fallocate) after converting to shared; look whether it did and what it returned' AS hint,
  list(DISTINCT evidence ORDER BY evidence)[1:10] AS evidence
FROM lasting JOIN sizes z USING (vm_id, gmem_id) GROUP BY vm_id, gmem_id HAVING sum(size) / 4096 >= $pages
UNION ALL BY NAME
SELECT 'warning' AS severity, CASE WHEN bool_and(lost_within(request_ns, commit_ns + $after_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(sum(size) / 4096, 'page'), ' from ', fmt_range(min(gpa), 4096), ' became private and kept the shared copy; after ', fmt_count(max(n)), ' other conversions the VMM discarded it') AS title,
  NULL::VARCHAR[] AS details, min(commit_ns) AS since_ns, max(commit_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, 'inferred' AS certainty,
  'the VMM must discard the shared copy (madvise, or a hole in its file) after converting to private; look why it did not' AS hint,
  list(evidence ORDER BY commit_ns)[1:10] AS evidence
-- A VMM that keeps more than it discards does so by design.
FROM left_over GROUP BY vm_id HAVING sum(size) / 4096 >= $pages AND count(*) < max(n)
