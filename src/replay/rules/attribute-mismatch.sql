-- name: attribute-mismatch
-- severity: error
-- needs: conversions
-- rows: gmem_interval
-- summary: Two places that say whether memory is private disagree.
-- param after_ns = 1000000000 : how long they must disagree, ns
-- param pages = 1 : pages that count
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
intervals AS (
  SELECT i.*, coalesce(i.to_ns, e.trace_end) AS end_ns FROM last_seen_intervals() i CROSS JOIN ends e
  WHERE i.certainty IN ('observed', 'inferred') AND i.conversion = 'idle'
), places AS (
  -- A binding shows as one distance between gpa and offset. Only where two of them overlap need intervals be compared.
  SELECT vm_id, gmem_id, gpa - "offset" AS distance, min("offset") AS first, max("offset" + size) AS past FROM intervals
  WHERE gmem_id IS NOT NULL AND "offset" IS NOT NULL GROUP BY ALL
), twice AS (
  SELECT a.vm_id, a.gmem_id, a.distance AS a_distance, b.distance AS b_distance,
    greatest(a.first, b.first) AS first, least(a.past, b.past) AS past
  FROM places a JOIN places b ON a.vm_id = b.vm_id AND a.gmem_id = b.gmem_id AND a.distance <> b.distance
    AND a.first < b.past AND b.first < a.past
), disagreements AS (
  SELECT vm_id, gmem_id, 'stores' AS what, gpa, "offset", size, from_ns AS since_ns, end_ns AS until_ns, certainty,
    NULL::BIGINT AS other_gpa
  FROM intervals WHERE state = 'mismatch'
  UNION ALL BY NAME
  -- One page of the file bound at two places of the guest, private at one and shared at the other.
  SELECT a.vm_id, a.gmem_id, 'alias' AS what, a.gpa, greatest(a."offset", b."offset") AS "offset",
    least(a."offset" + a.size, b."offset" + b.size) - greatest(a."offset", b."offset") AS size,
    greatest(a.from_ns, b.from_ns) AS since_ns, least(a.end_ns, b.end_ns) AS until_ns, least(a.certainty, b.certainty) AS certainty,
    b.gpa AS other_gpa
  FROM twice t
  JOIN intervals a ON a.vm_id = t.vm_id AND a.gmem_id = t.gmem_id AND a.gpa - a."offset" = t.a_distance
    AND a."offset" < t.past AND a."offset" + a.size > t.first
  JOIN intervals b ON b.vm_id = t.vm_id AND b.gmem_id = t.gmem_id AND b.gpa - b."offset" = t.b_distance
    AND a."offset" < b."offset" + b.size AND b."offset" < a."offset" + a.size
    AND a.from_ns < b.end_ns AND b.from_ns < a.end_ns
  WHERE a.attribute = 'private' AND b.attribute = 'shared'
), lasting AS (
  SELECT * FROM disagreements WHERE until_ns - since_ns >= $after_ns
)
SELECT 'error' AS severity,
  CASE WHEN lost_within(min(since_ns), max(until_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  CASE what WHEN 'stores' THEN concat('the VM''s attribute and the guest_memfd''s disagree on ', fmt_count(sum(size) / 4096),
      ' page(s) from ', fmt_range(min(gpa), 4096), ' for ', fmt_ns(max(until_ns - since_ns)))
    ELSE concat(fmt_count(sum(size) / 4096), ' page(s) from offset ', fmt_hex(min("offset")), ' are private at gpa ', fmt_hex(min(gpa)),
      ' and shared at gpa ', fmt_hex(min(other_gpa)), ' for ', fmt_ns(max(until_ns - since_ns))) END AS title,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, min(certainty) AS certainty,
  CASE what WHEN 'stores' THEN 'both ioctls are used on one VM: use the guest_memfd''s alone where it is there'
    ELSE 'two memslots show one page of the file: set both ranges, or bind it once' END AS hint,
  []::STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[] AS evidence
FROM lasting GROUP BY vm_id, gmem_id, what HAVING sum(size) / 4096 >= $pages
