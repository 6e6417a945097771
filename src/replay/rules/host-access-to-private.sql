-- name: host-access-to-private
-- severity: error
-- needs:
-- summary: The host touched memory that a guest keeps to itself.
-- param count = 1 : accesses of one thread that count
-- param repeats = 3 : faults of one thread on one address that the RMP refuses which count (nothing handles them)
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
), people AS (
  SELECT t.tid, any_value(t.comm) AS comm, CASE WHEN count(DISTINCT v.vm_id) = 1 THEN min(v.vm_id) END AS vm_id
  FROM task t LEFT JOIN vm v ON v.pid = t.tgid GROUP BY t.tid
), refused AS (
  -- X86_PF_RMP, bit 31 of the error code: SNP's RMP refused the host's write.
  SELECT e.tid, true AS is_kernel, address, ts_ns, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
  FROM {event? exceptions.page_fault_kernel: address, error_code} e WHERE CAST(error_code AS HUGEINT) & 2147483648 <> 0
  UNION ALL
  SELECT e.tid, false AS is_kernel, address, ts_ns, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
  FROM {event? exceptions.page_fault_user: address, error_code} e WHERE CAST(error_code AS HUGEINT) & 2147483648 <> 0
  QUALIFY count(*) OVER (PARTITION BY tid, CAST(address AS HUGEINT) // 4096) >= $repeats
), poisoned AS (
  -- BUS_MCEERR_AR and _AO: the machine check of a TD's page that the host had written to, or of bad memory.
  SELECT TRY_CAST(pid AS INTEGER) AS tid, ts_ns, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
  FROM {event? signal.signal_generate: sig, code, pid} WHERE sig = 7 AND code IN (4, 5)
)
SELECT CASE WHEN is_lost OR how LIKE '%sigbus%' THEN 'error' ELSE 'warning' END AS severity,
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
UNION ALL BY NAME
SELECT 'error' AS severity, 'fail' AS verdict, vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(coalesce(any_value(comm), 'the host'), ' (', r.tid, ') wrote to a page that the RMP gives to a guest, ', CASE WHEN is_kernel THEN 'in the kernel' ELSE 'in userspace, where nothing handles it' END,
    CASE WHEN count(*) > 1 THEN concat(', ', count(*), ' times') ELSE '' END) AS title,
  min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, count(*) AS count, CASE WHEN is_kernel THEN 'observed' ELSE 'inferred' END AS certainty,
  CASE WHEN is_kernel THEN 'the kernel oopses on it: look at dmesg for who it was' ELSE 'the thread faults at the same place for ever: look at its stack' END AS hint,
  list(evidence ORDER BY ts_ns)[1:10] AS evidence
FROM refused r LEFT JOIN people USING (tid) GROUP BY vm_id, r.tid, is_kernel HAVING count(*) >= $count
UNION ALL BY NAME
SELECT 'warning' AS severity, 'fail' AS verdict, p.vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat('a machine check hit ', coalesce(any_value(p.comm), 'the VMM'), ' (', s.tid, ') of a TD', CASE WHEN count(*) > 1 THEN concat(', ', count(*), ' times') ELSE '' END,
    ': its memory is poisoned, or the host had written to a private page') AS title,
  min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, count(*) AS count, 'inferred' AS certainty,
  'dmesg tells the frame (mce, memory_failure): a write of the host breaks the integrity of a TD''s page, and its next reader takes the machine check' AS hint,
  list(evidence ORDER BY ts_ns)[1:10] AS evidence
FROM poisoned s JOIN people p USING (tid) JOIN vm v ON v.vm_id = p.vm_id AND v.platform = 'tdx' GROUP BY p.vm_id, s.tid HAVING count(*) >= $count
