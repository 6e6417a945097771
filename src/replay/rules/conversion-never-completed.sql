-- name: conversion-never-completed
-- severity: error
-- needs: conversions
-- rows: conversion
-- summary: A guest asked for a conversion and never got its answer.
-- param open_ns = 5000000000 : how long a request must be open at the end of the trace, ns
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
open_requests AS (
  SELECT c.*, e.trace_end, coalesce(v.to_ns, m.to_ns) AS end_ns
  FROM conversion c CROSS JOIN ends e
  LEFT JOIN vcpu v ON v.vm_id = c.vm_id AND v.tid = c.tid
  LEFT JOIN vm m ON m.vm_id = c.vm_id
  WHERE c.outcome = 'pending' AND c.origin <> 'vmm' AND c.certainty IN ('observed', 'inferred')
), never AS (
  SELECT *,
    EXISTS (SELECT 1 FROM lost l WHERE coalesce(l.to_ns, 9223372036854775807) >= o.exit_ns) AS doubtful
  FROM open_requests o
  WHERE end_ns >= exit_ns OR trace_end - exit_ns >= $open_ns
)
SELECT 'error' AS severity, CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, vcpu,
  concat(direction, ' ', fmt_range(gpa, size), ': asked, ',
    CASE WHEN end_ns >= exit_ns THEN concat('not answered when its thread ended ', fmt_ns(end_ns - exit_ns), ' later')
      ELSE concat('not answered in the ', fmt_ns(trace_end - exit_ns), ' to the end of the trace') END,
    CASE WHEN failed_attempts > 0 THEN concat('; ', failed_attempts, ' attempts failed') ELSE '' END) AS title,
  coalesce(request_ns, exit_ns) AS since_ns, coalesce(end_ns, trace_end) AS until_ns, 1 AS count, certainty,
  CASE WHEN attempts = 0 THEN 'the VMM never tried: look at what its thread did after the exit (stack, log, strace)'
    ELSE 'every try failed: see references for who holds the memory' END AS hint,
  [struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)] AS evidence
FROM never
