-- name: conversion-retry-loop
-- severity: warning
-- needs: conversions
-- rows: conversion
-- summary: The same conversion is tried again and again without progress.
-- param attempts = 10 : tries without progress
-- param enomem_attempts = 2 : tries that failed for lack of memory (ENOMEM)
-- param tdx_attempts = 2 : requests without progress of a TDX guest, which gives up at three
-- param psc_requests = 3 : page state requests of an SNP guest for the same range (Linux ends at the first that fails)
-- param faults = 3 : faults on one page without a flip between
WITH failing AS (
  SELECT c.conversion_id, c.vm_id, a.error_offset, a.errno, count(*) AS tries, min(a.start_ns) AS since_ns, max(coalesce(a.end_ns, a.start_ns)) AS until_ns
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  WHERE a.errno > 0 GROUP BY ALL
), by_attempts AS (
  SELECT c.conversion_id, c.vm_id, c.gmem_id, c.vcpu, c.direction, c.gpa, c.size, f.tries, f.since_ns, f.until_ns, f.errno, c.certainty,
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
  SELECT min(conversion_id) AS conversion_id, vm_id, min(gmem_id) AS gmem_id, arg_min(vcpu, conversion_id) AS vcpu, direction, gpa, max(size) AS size,
    sum(greatest(failed_attempts, 1)) AS tries, min(request_ns) AS since_ns, max(coalesce(resume_ns, request_ns)) AS until_ns,
    max(last_errno) AS errno, min(certainty) AS certainty, CASE WHEN max(last_errno) > 0 THEN 'attempts' ELSE 'requests' END AS what,
    list(struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns) ORDER BY request_ns)[1:10] AS evidence
  FROM asked WHERE NOT progress
  GROUP BY vm_id, direction, gpa, island
  HAVING count(*) > 1 AND sum(greatest(failed_attempts, 1)) >= CASE any_value(request) WHEN 'tdx-mapgpa' THEN $tdx_attempts WHEN 'snp-psc' THEN $psc_requests
    WHEN 'snp-psc-msr' THEN $psc_requests ELSE $attempts END
), by_exits AS (
  SELECT conversion_id, vm_id, gmem_id, vcpu, direction, gpa, size, chunks AS tries, request_ns AS since_ns,
    coalesce(resume_ns, exit_ns) AS until_ns, NULL AS errno, certainty, 'exits' AS what,
    [struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)] AS evidence
  FROM conversion WHERE mechanism = 'vcpu-run' AND chunks >= $attempts AND certainty IN ('observed', 'inferred')
), repeated AS (
  -- Faults that changed nothing: the page was as wanted already, or the VMM did nothing. Two vCPUs that fault on one page get two
  -- answers, of which one has nothing to do: a flip between starts the count anew, and so does a wish for the other view.
  SELECT f.*, c.gmem_id, c.outcome, concat('to_', f.wanted) AS direction, f.conversion_id IS NULL AS is_unanswered,
    count(*) OVER (PARTITION BY f.vm_id, f.vcpu, f.gpa, f.wanted) AS n
  FROM memory_fault f LEFT JOIN conversion c USING (conversion_id)
  WHERE f.gpa IS NOT NULL AND f.wanted IS NOT NULL AND f.certainty IN ('observed', 'inferred') AND f.cause <> 'pending-conversion'
    -- A fault without a flip says something only where flips are recorded.
    AND (c.outcome = 'noop' OR f.conversion_id IS NULL AND f.resume_ns IS NOT NULL AND NOT EXISTS (SELECT 1 FROM unavailable WHERE what = 'attempts'))
), islands AS (
  SELECT f.*, (SELECT count(*) FROM conversion d WHERE d.vm_id = f.vm_id AND d.outcome IN ('done', 'unknown', 'failed') AND d.gpa <= f.gpa
      AND d.gpa + d.size > f.gpa AND coalesce(d.commit_ns, d.resume_ns) <= f.ts_ns)
    + (SELECT count(*) FROM memory_fault o WHERE o.vm_id = f.vm_id AND o.gpa = f.gpa AND o.wanted <> f.wanted AND o.ts_ns <= f.ts_ns) AS island
  FROM repeated f WHERE n >= $faults
), by_faults AS (
  SELECT min(conversion_id) AS conversion_id, vm_id, min(gmem_id) AS gmem_id, vcpu, min(direction) AS direction, gpa, 4096 AS size,
    count(*) AS tries, min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, NULL AS errno, min(certainty) AS certainty,
    CASE WHEN bool_and(is_unanswered) THEN 'faults that the VMM did nothing about' ELSE 'faults on memory that was converted already' END AS what,
    list(evidence_of(evidence_trace, evidence_cpu, evidence_seq, ts_ns) ORDER BY ts_ns)[1:10] AS evidence
  FROM islands GROUP BY vm_id, vcpu, gpa, wanted, island HAVING count(*) >= $faults
), loops AS (
  SELECT * FROM by_attempts UNION ALL BY NAME SELECT * FROM by_requests
  UNION ALL BY NAME SELECT * FROM by_exits UNION ALL BY NAME SELECT * FROM by_faults
), held AS (
  -- Loops that meet one holder are one finding.
  SELECT l.*, (SELECT arg_min(struct_pack(tid := r.tid, comm := r.comm, how := r.how, place := r."offset", taken_ns := r.taken_ns), r.taken_ns) FROM page_ref r
      JOIN conversion c ON c.conversion_id = r.blocks_conversion
      WHERE c.vm_id = l.vm_id AND c.direction = l.direction AND c.gpa = l.gpa AND c.request_ns BETWEEN l.since_ns - 1000000000 AND l.until_ns) AS holder
  FROM loops l QUALIFY row_number() OVER (PARTITION BY vm_id, direction, gpa, what ORDER BY tries DESC, since_ns) = 1
), summed AS (
  SELECT vm_id, direction, what, errno, holder.tid AS holder_tid, count(*) AS n, min(since_ns) AS since_ns, max(until_ns) AS until_ns, sum(tries) AS total,
    arg_max(struct_pack(gmem_id, vcpu, gpa, size, tries, since_ns, until_ns, holder, conversion_id), struct_pack(tries := tries, since := -since_ns)) AS worst,
    min(certainty) AS certainty, bool_and(lost_within(since_ns, until_ns)) AS doubtful,
    string_agg(concat(fmt_range(gpa, size), ' (', tries, ')'), ', ' ORDER BY tries DESC, since_ns) AS places,
    arg_max(evidence, struct_pack(tries := tries, since := -since_ns)) AS evidence
  FROM held GROUP BY vm_id, direction, what, errno, holder.tid
), unmapped AS (
  -- Every failed try to make memory private in place has unmapped it from the host first.
  SELECT c.vm_id, count(*) AS unmaps FROM memory_event h JOIN conversion_attempt a ON a.tid = h.tid AND h.ts_ns BETWEEN a.start_ns AND a.end_ns
  JOIN conversion c USING (conversion_id) WHERE h.kind = kind_code('hva_unmap') AND a.errno > 0 GROUP BY c.vm_id
)
SELECT 'warning' AS severity, CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, worst.gmem_id AS gmem_id, worst.vcpu AS vcpu,
  concat(direction, ' ', fmt_range(worst.gpa, worst.size), ': ', worst.tries, ' ', what, ' without progress in ', fmt_ns(worst.until_ns - worst.since_ns),
    CASE WHEN errno = 11 THEN ' (EAGAIN)' WHEN errno = 12 THEN ' (ENOMEM)' WHEN errno > 0 THEN concat(' (errno ', errno, ')') ELSE '' END,
    CASE WHEN n > 1 THEN concat('; ', n, ' such loops') ELSE '' END) AS title,
  list_filter([
    CASE WHEN worst.holder IS NULL THEN NULL ELSE concat('met: ', CASE worst.holder.how WHEN 'pin' THEN 'a pin' WHEN 'dma' THEN 'a DMA pin' ELSE 'a reference' END, ' of ', coalesce(worst.holder.comm, 'thread'),
      ' (', coalesce(CAST(worst.holder.tid AS VARCHAR), '?'), ') on offset ', fmt_hex(worst.holder.place), ', taken ', fmt_ns(worst.since_ns - worst.holder.taken_ns), ' before the first try') END,
    CASE WHEN errno = 11 AND u.unmaps > 0 THEN concat('the failed tries of the VM unmapped memory from the host ', u.unmaps, ' times, to be faulted in again') END,
    CASE WHEN n > 1 THEN concat('all, with their number of tries: ', places) END
  ], lambda line: line IS NOT NULL) AS details,
  since_ns, until_ns, CAST(total AS BIGINT) AS count, certainty,
  CASE WHEN what = 'requests' THEN 'the VMM refuses and the guest asks again: look at why the VMM says no'
    WHEN what LIKE 'faults%' THEN 'the memory is in the wanted state and the guest faults all the same: a slot without guest_memfd, a closed descriptor, or the wrong range'
    WHEN errno = 12 THEN 'the memory cgroup of the VMM is at its limit: attributes are accounted to it'
    ELSE 'somebody holds a reference on the page and never drops it: see references' END AS hint,
  evidence
FROM summed LEFT JOIN unmapped u USING (vm_id)
