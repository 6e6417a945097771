-- name: rmp-contention
-- severity: warning
-- needs:
-- platforms: snp
-- summary: RMP faults beyond the one that each first private touch costs.
-- param repeats = 3 : RMP faults on one page that count
-- param within_ns = 100000000 : within this time, ns
-- param pages = 4 : pages that must show it
-- param psmash_rate = 64 : 2 MiB entries split in a second that count
-- param spins = 100 : faults with the RMP bit on one page, without an RMP fault handled, that count
WITH owners AS (
  SELECT tid, min(vm_id) AS vm_id, min(vcpu) AS vcpu FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1
), rmp AS (
  SELECT e.trace_id, e.ts_ns, e.tid, o.vm_id, coalesce(o.vcpu, e.vcpu_id) AS vcpu, CAST(e.gpa AS BIGINT) // 4096 * 4096 AS gpa, e.rmp_level,
    e.psmash_ret, evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) AS evidence
  FROM {event kvm.kvm_rmp_fault: vcpu_id, gpa, rmp_level, psmash_ret} e LEFT JOIN owners o USING (tid)
), repeated AS (
  SELECT *, lag(ts_ns, $repeats - 1) OVER (PARTITION BY vm_id, gpa ORDER BY ts_ns) AS first_ns FROM rmp
), storms AS (
  SELECT *, count(*) FILTER (rmp_level >= 2) OVER (PARTITION BY vm_id ORDER BY ts_ns RANGE BETWEEN 1000000000 PRECEDING AND CURRENT ROW) AS rate
  FROM rmp
), spins AS (
  -- Bit 31 of the error code: the RMP refused the access (PFERR_GUEST_RMP). Nobody handles it where KVM does not know the page.
  SELECT o.vm_id, e.vcpu, floor(e.address / 4096) * 4096 AS gpa, count(*) AS n, min(e.ts_ns) AS since_ns, max(e.ts_ns) AS until_ns,
    list(evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) ORDER BY e.ts_ns)[1:10] AS evidence
  FROM memory_event e JOIN owners o USING (tid)
  WHERE e.kind = kind_code('guest_fault') AND floor(e.value / 2147483648) % 2 = 1
  GROUP BY o.vm_id, e.vcpu, floor(e.address / 4096) * 4096
  HAVING count(*) >= $spins
), problems AS (
  SELECT vm_id, 'repeated' AS what, min(vcpu) AS vcpu, count(*) AS n, count(DISTINCT gpa) AS pages, min(gpa) AS gpa, NULL::BIGINT AS status,
    min(first_ns) AS since_ns, max(ts_ns) AS until_ns, list(evidence ORDER BY ts_ns)[1:10] AS evidence
  FROM repeated WHERE ts_ns - first_ns <= $within_ns GROUP BY vm_id HAVING count(DISTINCT gpa) >= $pages
  UNION ALL BY NAME
  SELECT vm_id, 'storm' AS what, min(vcpu) AS vcpu, max(rate) AS n, count(DISTINCT gpa) AS pages, min(gpa) AS gpa,
    min(ts_ns) - 1000000000 AS since_ns, max(ts_ns) AS until_ns, list(evidence ORDER BY ts_ns)[1:10] AS evidence
  FROM storms WHERE rate >= $psmash_rate GROUP BY vm_id
  UNION ALL BY NAME
  SELECT vm_id, 'failed' AS what, min(vcpu) AS vcpu, count(*) AS n, count(DISTINCT gpa) AS pages, min(gpa) AS gpa,
    max(psmash_ret) AS status, min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, list(evidence ORDER BY ts_ns)[1:10] AS evidence
  FROM rmp WHERE psmash_ret <> 0 GROUP BY vm_id
  UNION ALL BY NAME
  SELECT vm_id, 'spin' AS what, min(vcpu) AS vcpu, sum(n) AS n, count(*) AS pages, CAST(min(gpa) AS BIGINT) AS gpa, min(since_ns) AS since_ns,
    max(until_ns) AS until_ns, arg_min(evidence, since_ns) AS evidence
  FROM spins s WHERE NOT EXISTS (SELECT 1 FROM rmp r WHERE r.vm_id = s.vm_id AND r.gpa = s.gpa) GROUP BY vm_id
)
SELECT CASE what WHEN 'failed' THEN 'error' WHEN 'spin' THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN what = 'spin' AND lost_within(since_ns, until_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, CAST(vcpu AS INTEGER) AS vcpu,
  CASE what
    WHEN 'repeated' THEN concat(fmt_count(pages), ' page(s) from ', fmt_range(gpa, 4096), ' had ', $repeats, ' RMP faults and more within ', fmt_ns($within_ns))
    WHEN 'storm' THEN concat('up to ', fmt_count(n), ' 2 MiB RMP entries a second were split')
    WHEN 'failed' THEN concat('splitting an RMP entry failed ', fmt_count(n), ' times (PSMASH returned ', status, ')')
    ELSE concat('the guest faults on the RMP at ', fmt_range(gpa, 4096), CASE WHEN pages > 1 THEN concat(' and ', pages - 1, ' more') ELSE '' END,
      ' again and again (', fmt_count(n), ' times) and nothing handles it') END AS title,
  since_ns, until_ns, CAST(n AS BIGINT) AS count, 'observed' AS certainty,
  CASE what
    WHEN 'storm' THEN 'each split zaps 512 pages that fault again: guest_memfd in 2 MiB pages with conversions of 4 KiB does this'
    WHEN 'failed' THEN 'the firmware refused the split: look for the page''s state in the RMP (dmesg)'
    WHEN 'spin' THEN 'look for "SEV: Unexpected RMP fault" in dmesg: the page is not private, has no slot or is not assigned'
    ELSE 'vCPUs touch one page while its size in the RMP and in the nested page table differ: accept and map at the same size' END AS hint,
  evidence
FROM problems
