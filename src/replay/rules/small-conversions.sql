-- name: small-conversions
-- severity: info
-- needs: conversions
-- rows: conversion
-- summary: A vCPU converts neighbouring pages one after the other: one request would do.
-- param requests = 8 : requests in a row
-- param pages = 16 : most pages of one request
-- param gap_ns = 1000000 : longest time between the end of one request and the next, ns
WITH groups AS (
  SELECT vm_id, min(gmem_id) AS gmem_id, tid, min(vcpu) AS vcpu, direction, origin, run, count(*) AS n,
    sum(size) / 4096 AS pages, min(gpa) AS gpa, min(request_ns) AS since_ns, max(resume_ns) AS until_ns, min(certainty) AS certainty,
    min_by(evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns), request_ns) AS evidence
  FROM neighbour_runs($pages, $gap_ns) GROUP BY vm_id, tid, direction, origin, run
  HAVING count(*) >= $requests
), fixed AS (
  SELECT vm_id, CASE WHEN count(*) >= 50 AND count(DISTINCT size) >= 2 AND regr_intercept(stop_ns, size / 4096) > 0
      THEN regr_intercept(stop_ns, size / 4096) ELSE median(stop_ns) FILTER (size = 4096) END AS cost_ns
  FROM conversion WHERE outcome = 'done' AND origin <> 'vmm' AND stop_ns IS NOT NULL GROUP BY vm_id
)
SELECT 'info' AS severity, 'fail' AS verdict, g.vm_id, min(gmem_id) AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat(fmt_count(sum(n)), ' requests ', direction, ' of ', fmt_count(sum(pages)), ' neighbouring pages in ', fmt_count(count(*)), ' run(s), the longest ', max(n),
    ' from gpa ', fmt_hex(arg_max(gpa, rank)), '; merged they would have saved about ', fmt_ns(sum((n - 1) * f.cost_ns))) AS title,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, sum(n) AS count, min(certainty) AS certainty,
  CASE WHEN origin = 'implicit' THEN 'the guest relies on faults: let it ask for the range, or let the VMM convert around the fault'
    ELSE 'let the guest ask for the whole range at once' END AS hint,
  list(evidence ORDER BY since_ns)[1:10] AS evidence
FROM (SELECT *, struct_pack(n := n, since := -since_ns, tid := tid) AS rank FROM groups) g LEFT JOIN fixed f ON f.vm_id = g.vm_id
GROUP BY g.vm_id, direction, origin
