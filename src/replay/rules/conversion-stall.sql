-- name: conversion-stall
-- severity: warning
-- needs: conversions
-- rows: conversion
-- summary: A vCPU stood still for long because a conversion that its guest asked for took long.
-- param min_ns = 10000000 : shortest stop that counts, ns
-- param factor = 8 : times the median of its group
-- param min_samples = 20 : conversions a group needs for its median to count
-- param alone_ns = 100000000 : shortest stop that counts in a smaller group, ns
-- param error_ns = 1000000000 : a stop from which the finding is an error, ns
WITH asked AS (
  SELECT conversion_id, vm_id, direction, origin, outcome, batch, stop_ns, size / 4096 AS pages,
    CASE WHEN size IS NULL THEN -1 WHEN size <= 4096 THEN 1 WHEN size < 16 * 4096 THEN 2 WHEN size < 512 * 4096 THEN 16
      WHEN size = 512 * 4096 THEN 512 ELSE 513 END AS bucket,
    coalesce(commit_ns, resume_ns) - exit_ns AS work_ns
  FROM conversion
  -- A call that pKVM answers at EL2 waits for nobody; what its stop has above that is the page's donation.
  WHERE origin <> 'vmm' AND mechanism <> 'pkvm-hyp' AND outcome IN ('done', 'failed', 'noop')
    AND certainty IN ('observed', 'inferred')
), whole AS (
  SELECT *, stop_ns AS whole_ns FROM asked WHERE batch IS NULL
  UNION ALL
  -- Ranges of one SNP request are one stop, blamed on the range that took longest.
  SELECT *, max(stop_ns) OVER (PARTITION BY batch) AS whole_ns FROM asked WHERE batch IS NOT NULL
  QUALIFY row_number() OVER (PARTITION BY batch ORDER BY work_ns DESC NULLS LAST, conversion_id) = 1
), stops AS (
  SELECT *, CASE WHEN bucket = 513 THEN whole_ns / pages ELSE whole_ns END AS measure FROM whole WHERE whole_ns IS NOT NULL
), medians AS (
  SELECT vm_id, direction, origin, bucket,
    median(measure) FILTER (outcome = 'done') AS usual, count(*) FILTER (outcome = 'done') AS samples
  FROM stops GROUP BY vm_id, direction, origin, bucket
), grouped AS (
  SELECT c.*, s.whole_ns, s.measure, m.usual, m.samples
  FROM stops s JOIN medians m ON m.vm_id IS NOT DISTINCT FROM s.vm_id AND m.direction IS NOT DISTINCT FROM s.direction
    AND m.origin = s.origin AND m.bucket = s.bucket
  JOIN conversion c ON c.conversion_id = s.conversion_id
), tries AS (
  SELECT conversion_id, min(start_ns) AS first_try FROM conversion_attempt GROUP BY conversion_id
), stalled AS (
  SELECT g.*, t.first_try,
    greatest(coalesce(exit_ns - request_ns, 0), 0) AS p_exit,
    greatest(coalesce(first_try, commit_ns, resume_ns) - exit_ns, 0) AS p_coordination,
    CASE WHEN first_try IS NULL THEN 0 ELSE greatest(coalesce(commit_ns, resume_ns) - first_try, 0) END AS p_commit,
    CASE WHEN commit_ns IS NULL THEN 0 ELSE greatest(resume_ns - commit_ns, 0) END AS p_resume
  FROM grouped g LEFT JOIN tries t USING (conversion_id)
  WHERE CASE WHEN samples >= $min_samples THEN whole_ns > $min_ns AND measure > $factor * usual
        ELSE whole_ns > $alone_ns END
), blamed AS (
  SELECT *,
    CASE WHEN runnable_ns * 2 > whole_ns THEN 'waiting for a CPU' ELSE CASE greatest(p_exit, p_coordination, p_commit, p_resume)
      WHEN p_coordination THEN 'coordination' WHEN p_commit THEN 'commit' WHEN p_resume THEN 'resume'
      ELSE 'to_userspace' END END AS phase,
    EXISTS (SELECT 1 FROM lost l WHERE coalesce(l.from_ns, 0) <= s.resume_ns
      AND coalesce(l.to_ns, 9223372036854775807) >= s.request_ns) AS doubtful
  FROM stalled s
), grouped_findings AS (
  SELECT vm_id, direction, origin, phase, count(*) AS n, bool_and(doubtful) AS doubtful,
    min(coalesce(request_ns, exit_ns)) AS since_ns, max(resume_ns) AS until_ns,
    arg_max(struct_pack(gmem_id, vcpu, gpa, size, whole_ns, usual, samples, failed_attempts, certainty), whole_ns) AS worst,
    list(struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)
      ORDER BY whole_ns DESC)[1:10] AS evidence
  FROM blamed GROUP BY vm_id, direction, origin, phase
)
SELECT
  CASE WHEN worst.whole_ns > $error_ns THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, worst.gmem_id AS gmem_id, worst.vcpu AS vcpu,
  concat(direction, ' ', fmt_range(worst.gpa, worst.size), ' stopped its vCPU for ', fmt_ns(worst.whole_ns),
    CASE WHEN worst.samples >= $min_samples THEN concat(' (', fmt_count(worst.whole_ns / worst.usual), ' x median)') ELSE '' END,
    ', most of it in ', phase,
    CASE WHEN n > 1 THEN concat('; ', n, ' such stops') ELSE '' END) AS title,
  since_ns, until_ns, n AS count, worst.certainty AS certainty,
  CASE phase
    WHEN 'waiting for a CPU' THEN 'the thread was ready to run and had no CPU for most of it: the host is overcommitted, or the vCPU thread has a low priority'
    WHEN 'coordination' THEN 'the VMM took its time before the ioctl: look at what it does between KVM_RUN and the ioctl (locks, DMA unmapping, a thread without CPU)'
    WHEN 'commit' THEN CASE WHEN worst.failed_attempts > 0
      THEN 'the ioctl failed and was tried again: a reference held the memory; see references'
      ELSE 'the kernel took its time in the ioctl: record function_graph of kvm_vm_ioctl' END
    WHEN 'resume' THEN 'the vCPU ran late after the ioctl: look at the discard of the old copy and at the thread''s scheduling'
    ELSE 'the exit to userspace came late: the vCPU thread waited for a CPU or for a lock in KVM' END AS hint,
  evidence
FROM grouped_findings
