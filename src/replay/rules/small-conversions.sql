-- name: small-conversions
-- severity: info
-- needs: conversions
-- rows: conversion
-- summary: A vCPU converts neighbouring pages one after the other: one request would do.
-- param requests = 8 : requests in a row
-- param pages = 16 : most pages of one request
-- param gap_ns = 1000000 : longest time between the end of one request and the next, ns
WITH asked AS (
  SELECT *, row_number() OVER w AS place,
    lag(gpa) OVER w AS last_gpa, lag(size) OVER w AS last_size, lag(resume_ns) OVER w AS last_resume
  FROM conversion
  -- One page a request is all that these can do: GHCB MSR protocol, pKVM calls.
  WHERE outcome = 'done' AND origin <> 'vmm' AND request NOT IN ('snp-psc-msr', 'pkvm-hvc') AND gpa IS NOT NULL
    AND size BETWEEN 1 AND $pages * 4096 AND request_ns IS NOT NULL AND certainty IN ('observed', 'inferred')
    -- Those after a reboot have a rule of their own.
    AND conversion_id NOT IN (SELECT conversion_id FROM memory_fault WHERE cause = 'stale-after-reboot' AND conversion_id IS NOT NULL)
  WINDOW w AS (PARTITION BY vm_id, tid, direction, origin ORDER BY request_ns, conversion_id)
), stepped AS (
  SELECT *, CASE WHEN request_ns - last_resume > $gap_ns OR last_resume IS NULL THEN 0
    WHEN gpa = last_gpa + last_size THEN 1 WHEN gpa + size = last_gpa THEN -1 ELSE 0 END AS step
  FROM asked
), runs AS (
  -- A sum over ROWS: DuckDB takes fifty times as long for count(*) FILTER over the default frame.
  SELECT *, sum(CASE WHEN step = 0 THEN 1 ELSE 0 END)
    OVER (PARTITION BY vm_id, tid, direction, origin ORDER BY request_ns, conversion_id ROWS UNBOUNDED PRECEDING) AS run
  FROM stepped
), groups AS (
  SELECT vm_id, min(gmem_id) AS gmem_id, tid, min(vcpu) AS vcpu, direction, origin, run, count(*) AS n,
    sum(size) / 4096 AS pages, min(gpa) AS gpa, min(request_ns) AS since_ns, max(resume_ns) AS until_ns, min(certainty) AS certainty,
    min_by(evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns), request_ns) AS evidence
  FROM runs GROUP BY vm_id, tid, direction, origin, run
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
