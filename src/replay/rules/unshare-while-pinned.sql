-- name: unshare-while-pinned
-- severity: warning
-- needs: pkvm-conversions
-- rows: page_ref, conversion
-- platforms: pkvm
-- summary: A guest took a page back that the host still holds a reference on; the hypervisor does not know of those.
-- param count = 1 : pages that count
WITH taken_back AS (
  SELECT c.*, r.tid AS holder, r.comm AS holder_comm, r.how AS ref_how, r.taken_ns, r.dropped_ns,
    EXISTS (SELECT 1 FROM host_access a WHERE a.vm_id = c.vm_id AND a.gpa = c.gpa AND a.how = 'forced-reclaim'
      AND a.ts_ns >= coalesce(c.commit_ns, c.request_ns)) AS is_lost
  FROM conversion c JOIN page_ref r ON r.vm_id = c.vm_id AND r.gpa < c.gpa + c.size AND r.gpa + r.size > c.gpa
  WHERE c.mechanism = 'pkvm-hyp' AND c.direction = 'to_private' AND c.outcome = 'done'
    AND c.certainty IN ('observed', 'inferred') AND r.certainty IN ('observed', 'inferred')
    AND r.taken_ns < coalesce(c.commit_ns, c.request_ns)
    AND (r.dropped_ns IS NULL OR r.dropped_ns > coalesce(c.commit_ns, c.request_ns))
), grouped AS (
  SELECT vm_id, holder, any_value(holder_comm) AS holder_comm, count(DISTINCT conversion_id) AS n, min(gpa) AS gpa,
    bool_or(ref_how = 'pin') AS is_pin, bool_or(is_lost) AS is_lost, min(request_ns) AS since_ns, min(taken_ns) AS taken_ns, max(coalesce(commit_ns, request_ns)) AS last_ns,
    max(coalesce(dropped_ns, commit_ns)) AS until_ns, bool_or(dropped_ns IS NULL) AS is_held, min(certainty) AS certainty,
    list(DISTINCT struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq,
      ts_ns := evidence_ns)) AS evidence
  FROM taken_back GROUP BY vm_id, holder HAVING count(DISTINCT conversion_id) >= $count
)
SELECT 'warning' AS severity,
  -- The reference may have been dropped in between, unseen.
  CASE WHEN NOT is_lost AND lost_within(taken_ns, last_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict, vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat('the guest took back ', fmt_range(gpa, 4096), CASE WHEN n > 1 THEN concat(' and ', n - 1, ' more') ELSE '' END,
    ' while ', coalesce(holder_comm, 'thread'), ' (', holder, ') held a ', CASE WHEN is_pin THEN 'pin' ELSE 'reference' END,
    CASE WHEN is_held THEN ', which was not dropped' ELSE '' END,
    CASE WHEN is_lost THEN '; the host kernel touched it then and the contents were lost' ELSE '' END) AS title,
  since_ns, until_ns, n AS count, certainty,
  'the host must let go of a page before it tells the guest that it is done with it' AS hint,
  list_sort(evidence)[1:10] AS evidence
FROM grouped
