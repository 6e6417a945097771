-- name: host-access-to-private
-- severity: error
-- needs:
-- rows: host_access
-- summary: The host touched memory that a guest keeps to itself.
-- param count = 1 : accesses of one thread that count
WITH grouped AS (
  SELECT vm_id, how = 'forced-reclaim' AS is_lost, tid, any_value(comm) AS comm, count(*) AS n,
    count(DISTINCT gpa) AS pages, min(gpa) AS gpa, min(ts_ns) AS since_ns, max(ts_ns) AS until_ns,
    string_agg(DISTINCT how, ', ' ORDER BY how) AS how,
    bool_or(certainty IN ('observed', 'inferred')) AS is_sure,
    CASE WHEN bool_or(certainty = 'observed') THEN 'observed' WHEN bool_or(certainty = 'inferred') THEN 'inferred'
      ELSE 'assumed' END AS certainty,
    list(struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := ts_ns)
      ORDER BY ts_ns)[1:10] AS evidence
  FROM host_access GROUP BY vm_id, is_lost, tid HAVING count(*) >= $count
)
SELECT CASE WHEN is_lost THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN is_sure THEN 'fail' ELSE 'inconclusive' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(coalesce(comm, 'the host'), CASE WHEN tid IS NOT NULL THEN concat(' (', tid, ')') ELSE '' END,
    CASE WHEN is_lost THEN ' made the kernel read private memory: the hypervisor zeroed and took '
      ELSE ' touched private memory and was refused: ' END,
    CASE WHEN pages = 0 THEN 'an unknown page' WHEN pages = 1 THEN fmt_range(gpa, 4096)
      ELSE concat(pages, ' pages from ', fmt_range(gpa, 4096)) END,
    CASE WHEN is_lost THEN '' ELSE concat(' (', how, ')') END,
    CASE WHEN n > 1 THEN concat(', ', n, ' times') ELSE '' END) AS title,
  since_ns, until_ns, n AS count, certainty,
  CASE WHEN is_lost THEN 'the guest''s next touch of the page ends its KVM_RUN with EFAULT: drop references (pipes, O_DIRECT, vhost) before the guest takes a page back'
    ELSE 'look for what still uses the address: a device model, a dump or a debugger' END AS hint,
  evidence
FROM grouped
