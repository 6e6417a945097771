-- name: lost-events
-- severity: warning
-- needs:
-- rows: lost
-- summary: The recording lost events: what rests on absence cannot be judged there.
-- param count = 1 : lost events that count
WITH per_trace AS (
  SELECT trace_id, sum(count) AS n, bool_or(count IS NULL) AS unknown, count(*) AS stretches,
    min(from_ns) AS since_ns, max(to_ns) AS until_ns, string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
  FROM lost GROUP BY trace_id
)
SELECT 'warning' AS severity, 'fail' AS verdict, NULL::INTEGER AS vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(CASE WHEN n IS NULL THEN 'an unknown number of' WHEN unknown THEN concat('at least ', fmt_count(n)) ELSE fmt_count(n) END,
    ' events were lost in ', path, ' (', stretches, ' stretch', CASE WHEN stretches > 1 THEN 'es' ELSE '' END, ': ', sources, ')') AS title,
  since_ns, until_ns, coalesce(n, stretches) AS count, 'observed' AS certainty,
  'record with larger buffers (trace-cmd record -b, perf record -m) or fewer events' AS hint,
  []::STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[] AS evidence
FROM per_trace JOIN trace USING (trace_id)
WHERE coalesce(n, $count) >= $count
