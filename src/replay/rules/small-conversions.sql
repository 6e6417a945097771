-- name: small-conversions
-- severity: info
-- needs: conversions
-- rows: conversion
-- summary: A vCPU converts neighbouring pages one after the other: one request would do.
-- param requests = 8 : requests in a row
-- param pages = 16 : most pages of one request
-- param gap_ns = 1000000 : longest time between the end of one request and the next, ns
-- param boot_ns = 60000000000 : time from a boot's start after which a guest needs no GHCB MSR protocol any more, ns
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
), split AS (
  -- One request of the guest, many ioctls of the VMM, none of which failed.
  SELECT c.conversion_id, c.vm_id, c.gmem_id, c.vcpu, c.direction, c.gpa, c.size, c.request_ns, c.commit_ns, c.certainty, count(*) AS n,
    sum(a.end_ns - a.start_ns) AS in_ioctl, evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  WHERE c.origin <> 'vmm' AND c.outcome = 'done' AND c.attempts >= $requests AND c.failed_attempts = 0 AND c.size IS NOT NULL AND c.certainty IN ('observed', 'inferred')
  GROUP BY ALL HAVING count(*) >= $requests AND c.size <= count(*) * $pages * 4096
), late AS (
  SELECT c.*, c.request_ns - b.from_ns AS after_ns FROM conversion c JOIN boot_epoch b USING (vm_id, epoch)
  WHERE c.request = 'snp-psc-msr' AND c.outcome = 'done' AND c.request_ns - b.from_ns > $boot_ns AND c.certainty IN ('observed', 'inferred')
)
SELECT 'info' AS severity, 'fail' AS verdict, g.vm_id, min(gmem_id) AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat(fmt_count(sum(n)), ' requests ', direction, ' of ', fmt_count(sum(pages)), ' neighbouring pages in ', fmt_counted(count(*), 'run'), ', the longest ', max(n),
    ' from gpa ', fmt_hex(arg_max(gpa, rank)), '; merged they would have saved about ', fmt_ns(sum((n - 1) * f.cost_ns))) AS title,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, sum(n) AS count, min(certainty) AS certainty,
  CASE WHEN origin = 'implicit' THEN 'the guest relies on faults: let it ask for the range, or let the VMM convert around the fault'
    ELSE 'let the guest ask for the whole range at once' END AS hint,
  list(evidence ORDER BY since_ns)[1:10] AS evidence
FROM (SELECT *, struct_pack(n := n, since := -since_ns, tid := tid) AS rank FROM groups) g LEFT JOIN fixed f ON f.vm_id = g.vm_id
GROUP BY g.vm_id, direction, origin
UNION ALL BY NAME
SELECT 'info' AS severity, 'fail' AS verdict, vm_id, min(gmem_id) AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat('the VMM split ', fmt_counted(count(*), 'request'), ' ', direction, ' into ', fmt_count(sum(n)), ' ioctls of ', printf('%.1f', sum(size) / 4096 / sum(n)), ' pages each, the most (', max(n),
    ') for ', fmt_range(arg_max(gpa, rank), arg_max(size, rank)), '; ', fmt_ns(sum(in_ioctl)), ' in them') AS title,
  min(request_ns) AS since_ns, max(commit_ns) AS until_ns, CAST(sum(n) AS BIGINT) AS count, min(certainty) AS certainty,
  'let the VMM set the whole range with one ioctl: KVM walks it in one go, over memslots, too' AS hint,
  list(evidence ORDER BY request_ns)[1:10] AS evidence
FROM (SELECT *, struct_pack(n := n, since := -request_ns) AS rank FROM split) GROUP BY vm_id, direction
UNION ALL BY NAME
SELECT 'info' AS severity, 'fail' AS verdict, vm_id, min(gmem_id) AS gmem_id, min(vcpu) AS vcpu,
  concat(fmt_counted(count(*), 'page'), one_or_more(count(*), ' was', ' were'), ' asked for one by one by the GHCB MSR protocol, the last ', fmt_ns(max(after_ns)), ' after the boot began') AS title,
  min(request_ns) AS since_ns, max(coalesce(resume_ns, request_ns)) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  'this protocol is for the time before a vCPU has its GHCB: look why the guest has none' AS hint,
  list(evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns) ORDER BY request_ns)[1:10] AS evidence
FROM late GROUP BY vm_id HAVING count(*) >= $requests
