-- name: conversion-never-completed
-- severity: error
-- needs: conversions
-- rows: conversion
-- summary: A guest asked for a conversion and never got it: no answer, or an answer without a conversion.
-- param open_ns = 5000000000 : how long a request must be open at the end of the trace, ns
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
open_requests AS (
  SELECT c.*, e.trace_end, coalesce(v.to_ns, m.to_ns) AS end_ns
  FROM conversion c CROSS JOIN ends e
  LEFT JOIN vcpu v ON v.vm_id = c.vm_id AND v.tid = c.tid
  LEFT JOIN vm m ON m.vm_id = c.vm_id
  WHERE c.outcome = 'pending' AND c.origin <> 'vmm' AND c.certainty IN ('observed', 'inferred')
), never AS (
  SELECT *, EXISTS (SELECT 1 FROM conversion_attempt a WHERE a.conversion_id = o.conversion_id AND a.end_ns IS NULL) AS is_in_kernel,
    lost_within(exit_ns, trace_end) AS doubtful
  FROM open_requests o
  WHERE end_ns >= exit_ns OR trace_end - exit_ns >= $open_ns
), dropped AS (
  -- Told that it was done, the guest touches the memory as it asked for it, and faults: nobody had converted it.
  SELECT c.*, f.ts_ns AS fault_ns, lost_within(coalesce(c.request_ns, c.exit_ns), f.ts_ns) AS doubtful
  FROM conversion c JOIN memory_fault f ON f.vm_id = c.vm_id AND f.gpa >= c.gpa AND f.gpa < c.gpa + c.size AND f.ts_ns > c.resume_ns
    AND f.wanted = CASE c.direction WHEN 'to_private' THEN 'private' ELSE 'shared' END AND f.certainty IN ('observed', 'inferred')
  WHERE c.origin = 'explicit' AND c.outcome = 'unknown' AND c.attempts = 0 AND c.certainty IN ('observed', 'inferred')
    AND NOT EXISTS (SELECT 1 FROM conversion d WHERE d.vm_id = c.vm_id AND d.conversion_id <> c.conversion_id AND d.gpa < c.gpa + c.size
      AND d.gpa + d.size > c.gpa AND coalesce(d.commit_ns, d.request_ns, d.exit_ns) BETWEEN c.request_ns AND f.ts_ns)
  QUALIFY row_number() OVER (PARTITION BY c.conversion_id ORDER BY f.ts_ns) = 1
)
SELECT 'error' AS severity, CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, vcpu,
  concat(direction, ' ', fmt_range(gpa, size), ': asked, ',
    CASE WHEN end_ns >= exit_ns THEN concat('not answered when its thread ended ', fmt_ns(end_ns - exit_ns), ' later')
      ELSE concat('not answered in the ', fmt_ns(trace_end - exit_ns), ' to the end of the trace') END,
    CASE WHEN failed_attempts > 0 THEN concat('; ', failed_attempts, ' attempts failed') ELSE '' END) AS title,
  coalesce(request_ns, exit_ns) AS since_ns, coalesce(end_ns, trace_end) AS until_ns, 1 AS count, certainty,
  CASE WHEN is_in_kernel THEN 'the ioctl never returned: look at /proc/<tid>/stack and for a hung task'
    WHEN attempts = 0 THEN 'the VMM never tried: look at what its thread did after the exit (stack, log, strace)'
    ELSE 'every try failed: see references for who holds the memory' END AS hint,
  [struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)] AS evidence
FROM never
UNION ALL
SELECT 'error', CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END, vm_id, gmem_id, vcpu,
  concat(direction, ' ', fmt_range(gpa, size), ': the vCPU ran on without it, and the guest faulted on the memory ',
    fmt_ns(fault_ns - resume_ns), ' later'),
  coalesce(request_ns, exit_ns), fault_ns, 1, certainty,
  'the VMM dropped the request and told the guest nothing: look at how it handles KVM_EXIT_HYPERCALL',
  [struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)]
FROM dropped
