-- name: conversion-retry-loop
-- severity: warning
-- needs: conversions
-- rows: conversion
-- summary: The same conversion is tried again and again without progress.
-- param attempts = 10 : tries without progress
-- param enomem_attempts = 2 : tries that failed for lack of memory (ENOMEM)
-- param tdx_attempts = 2 : requests without progress of a TDX guest, which gives up at three
-- param faults = 3 : faults on one page that was converted already
WITH failing AS (
  SELECT c.conversion_id, c.vm_id, a.error_offset, a.errno, count(*) AS tries, min(a.start_ns) AS since_ns, max(coalesce(a.end_ns, a.start_ns)) AS until_ns
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  WHERE a.errno > 0 GROUP BY ALL
), by_attempts AS (
  SELECT c.vm_id, c.gmem_id, c.vcpu, c.direction, c.gpa, c.size, f.tries, f.since_ns, f.until_ns, f.errno, c.certainty,
    'attempts' AS what, [struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)] AS evidence
  FROM failing f JOIN conversion c USING (conversion_id)
  WHERE f.tries >= CASE WHEN f.errno = 12 THEN $enomem_attempts ELSE $attempts END AND c.certainty IN ('observed', 'inferred')
), asked AS (
  SELECT *, outcome IN ('done', 'noop') AS progress,
    sum(CASE WHEN outcome IN ('done', 'noop') THEN 1 ELSE 0 END)
      OVER (PARTITION BY vm_id, direction, gpa ORDER BY request_ns, conversion_id ROWS UNBOUNDED PRECEDING) AS island
  FROM conversion
  WHERE origin = 'explicit' AND gpa IS NOT NULL AND outcome IN ('done', 'noop', 'refused', 'failed')
    AND certainty IN ('observed', 'inferred')
), by_requests AS (
  SELECT vm_id, min(gmem_id) AS gmem_id, arg_min(vcpu, conversion_id) AS vcpu, direction, gpa, max(size) AS size,
    sum(greatest(failed_attempts, 1)) AS tries, min(request_ns) AS since_ns, max(coalesce(resume_ns, request_ns)) AS until_ns,
    max(last_errno) AS errno, min(certainty) AS certainty, CASE WHEN max(last_errno) > 0 THEN 'attempts' ELSE 'requests' END AS what,
    list(struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns) ORDER BY request_ns)[1:10] AS evidence
  FROM asked WHERE NOT progress
  GROUP BY vm_id, direction, gpa, island
  HAVING count(*) > 1 AND sum(greatest(failed_attempts, 1)) >= CASE WHEN any_value(request) = 'tdx-mapgpa' THEN $tdx_attempts ELSE $attempts END
), by_exits AS (
  SELECT vm_id, gmem_id, vcpu, direction, gpa, size, chunks AS tries, request_ns AS since_ns,
    coalesce(resume_ns, exit_ns) AS until_ns, NULL AS errno, certainty, 'exits' AS what,
    [struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)] AS evidence
  FROM conversion WHERE mechanism = 'vcpu-run' AND chunks >= $attempts AND certainty IN ('observed', 'inferred')
), raced AS (
  -- Two vCPUs that fault on one page get two answers, of which one has nothing to do: those count once a conversion.
  SELECT f.*, c.gmem_id, c.direction, (SELECT count(*) FROM conversion d WHERE d.vm_id = f.vm_id AND d.outcome = 'done' AND d.gpa <= f.gpa
    AND d.gpa + d.size > f.gpa AND coalesce(d.commit_ns, d.resume_ns) <= f.ts_ns) AS island
  FROM memory_fault f JOIN conversion c USING (conversion_id)
  WHERE c.outcome = 'noop' AND f.gpa IS NOT NULL AND f.certainty IN ('observed', 'inferred')
), by_faults AS (
  SELECT f.vm_id, min(f.gmem_id) AS gmem_id, f.vcpu, min(f.direction) AS direction, f.gpa, 4096 AS size,
    count(*) AS tries, min(f.ts_ns) AS since_ns, max(f.ts_ns) AS until_ns, NULL AS errno, min(f.certainty) AS certainty,
    'faults on memory that was converted already' AS what,
    list(struct_pack(trace_id := f.evidence_trace, cpu := f.evidence_cpu, seq := f.evidence_seq, ts_ns := f.ts_ns) ORDER BY f.ts_ns)[1:10] AS evidence
  FROM raced f
  GROUP BY f.vm_id, f.vcpu, f.gpa, f.wanted, f.island HAVING count(*) >= $faults
), loops AS (
  SELECT * FROM by_attempts UNION ALL BY NAME SELECT * FROM by_requests
  UNION ALL BY NAME SELECT * FROM by_exits UNION ALL BY NAME SELECT * FROM by_faults
)
SELECT 'warning' AS severity,
  CASE WHEN EXISTS (SELECT 1 FROM lost WHERE coalesce(from_ns, 0) <= l.until_ns
    AND coalesce(to_ns, 9223372036854775807) >= l.since_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, vcpu,
  concat(direction, ' ', fmt_range(gpa, size), ': ', tries, ' ', what, ' without progress in ', fmt_ns(until_ns - since_ns),
    CASE WHEN errno = 11 THEN ' (EAGAIN)' WHEN errno = 12 THEN ' (ENOMEM)' WHEN errno > 0 THEN concat(' (errno ', errno, ')') ELSE '' END) AS title,
  since_ns, until_ns, tries AS count, certainty,
  CASE WHEN what = 'requests' THEN 'the VMM refuses and the guest asks again: look at why the VMM says no'
    WHEN what LIKE 'faults%' THEN 'the memory is in the wanted state and the guest faults all the same: a slot without guest_memfd, a closed descriptor, or the wrong range'
    WHEN errno = 12 THEN 'the memory cgroup of the VMM is at its limit: attributes are accounted to it'
    ELSE 'somebody holds a reference on the page and never drops it: see references' END AS hint,
  evidence
FROM loops l
