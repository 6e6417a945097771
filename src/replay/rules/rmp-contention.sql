-- name: rmp-contention
-- severity: warning
-- needs:
-- platforms: snp
-- summary: RMP faults beyond the one that each first private touch costs.
-- param repeats = 3 : RMP faults on one page that count
-- param within_ns = 100000000 : within this time, ns
-- param pages = 4 : pages that must show it
-- param psmash_rate = 64 : 2 MiB entries split in a second that count
-- param installs = 2 : RMP faults in a second for each mapping set in it that count, where they are at least psmash_rate
-- param gap_factor = 8 : times the median that an RMP fault must take from the exit to its end to be slow
-- param gap_ns = 1000000 : and at least this, ns
-- param refault_ns = 100000000 : mappings set in a 2 MiB range this soon after it was split count as faulting again, ns
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
), seconds AS (
  SELECT vm_id, ts_ns // 1000000000 AS second, count(*) AS n, count(DISTINCT gpa) AS pages, min(gpa) AS gpa, min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, min(vcpu) AS vcpu,
    list(evidence ORDER BY ts_ns)[1:10] AS evidence
  FROM rmp GROUP BY vm_id, ts_ns // 1000000000 HAVING count(*) >= $psmash_rate
), installs AS (
  SELECT o.vm_id, e.ts_ns // 1000000000 AS second, count(*) AS n FROM memory_event e JOIN owners o USING (tid)
  WHERE e.kind = kind_code('spte_set') GROUP BY o.vm_id, e.ts_ns // 1000000000
), refaults AS (
  SELECT r.vm_id, count(*) AS n FROM (SELECT vm_id, gpa // 2097152 AS region, ts_ns FROM rmp WHERE rmp_level >= 2) r
  JOIN (SELECT o.vm_id, floor(e.address / 2097152) AS region, e.ts_ns FROM memory_event e JOIN owners o USING (tid) WHERE e.kind = kind_code('spte_set')) s
    ON s.vm_id = r.vm_id AND s.region = r.region AND s.ts_ns BETWEEN r.ts_ns AND r.ts_ns + $refault_ns
  GROUP BY r.vm_id
), gaps AS (
  SELECT r.*, r.ts_ns - x.ts_ns AS gap_ns FROM rmp r ASOF JOIN (SELECT tid, ts_ns FROM memory_event WHERE kind = kind_code('guest_exit')) x ON x.tid = r.tid AND r.ts_ns >= x.ts_ns
), usual AS (
  SELECT vm_id, median(gap_ns) AS gap_ns FROM gaps GROUP BY vm_id HAVING count(*) >= 20
), spins AS (
  -- Bit 31 of the error code: the RMP refused the access (PFERR_GUEST_RMP). Nobody handles it where KVM does not know the page.
  SELECT o.vm_id, e.vcpu, floor(e.address / 4096) * 4096 AS gpa, count(*) AS n, min(e.ts_ns) AS since_ns, max(e.ts_ns) AS until_ns,
    list(evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) ORDER BY e.ts_ns)[1:10] AS evidence
  FROM memory_event e JOIN owners o USING (tid)
  WHERE e.kind = kind_code('guest_fault') AND floor(e.value / 2147483648) % 2 = 1
  GROUP BY o.vm_id, e.vcpu, floor(e.address / 4096) * 4096
  HAVING count(*) >= $spins
), problems AS (
  SELECT s.vm_id, 'rate' AS what, min(s.vcpu) AS vcpu, max(s.n) AS n, max(s.pages) AS pages, min(s.gpa) AS gpa, NULL::BIGINT AS status, min(s.since_ns) AS since_ns,
    max(s.until_ns) AS until_ns, arg_max(s.evidence, s.n) AS evidence
  FROM seconds s LEFT JOIN installs i USING (vm_id, second)
  -- Where mappings are not recorded their number is not zero.
  WHERE s.vm_id IN (SELECT vm_id FROM installs) AND s.n > $installs * coalesce(i.n, 0)
    AND s.vm_id NOT IN (SELECT vm_id FROM storms WHERE rate >= $psmash_rate AND vm_id IS NOT NULL) GROUP BY s.vm_id
  UNION ALL BY NAME
  -- guest_memfd's folios are of one page, unless the page cache shows others.
  SELECT vm_id, 'large' AS what, min(vcpu) AS vcpu, count(*) AS n, count(DISTINCT gpa) AS pages, min(gpa) AS gpa, min(ts_ns) AS since_ns, max(ts_ns) AS until_ns,
    list(evidence ORDER BY ts_ns)[1:10] AS evidence
  FROM rmp WHERE rmp_level >= 2 AND psmash_ret = 0 AND vm_id NOT IN (SELECT vm_id FROM storms WHERE rate >= $psmash_rate AND vm_id IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM {event? filemap.mm_filemap_add_to_page_cache: order?, i_ino} a JOIN gmem g ON g.inode = a.i_ino WHERE a."order" > 0) GROUP BY vm_id
  UNION ALL BY NAME
  SELECT g.vm_id, 'slow' AS what, min(vcpu) AS vcpu, count(*) AS n, count(DISTINCT gpa) AS pages, arg_max(gpa, g.gap_ns) AS gpa, max(g.gap_ns) AS status,
    min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, list(evidence ORDER BY g.gap_ns DESC, ts_ns)[1:10] AS evidence
  FROM gaps g JOIN usual u USING (vm_id) WHERE g.gap_ns > $gap_factor * u.gap_ns AND g.gap_ns > $gap_ns GROUP BY g.vm_id HAVING count(DISTINCT gpa) >= $pages
  UNION ALL BY NAME
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
SELECT CASE what WHEN 'failed' THEN 'error' WHEN 'spin' THEN 'error' WHEN 'large' THEN 'info' WHEN 'slow' THEN 'info' ELSE 'warning' END AS severity,
  CASE WHEN what IN ('spin', 'rate') AND lost_within(since_ns, until_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  p.vm_id, NULL::INTEGER AS gmem_id, CAST(vcpu AS INTEGER) AS vcpu,
  CASE what
    WHEN 'repeated' THEN concat(fmt_counted(pages, 'page'), ' from ', fmt_range(gpa, 4096), ' had ', $repeats, ' RMP faults and more within ', fmt_ns($within_ns))
    WHEN 'storm' THEN concat('up to ', fmt_count(p.n), ' 2 MiB RMP entries a second were split',
      CASE WHEN r.n > 0 THEN concat(', ', printf('%.1f', r.n / (SELECT count(*) FROM rmp WHERE rmp_level >= 2 AND rmp.vm_id = p.vm_id)), ' mappings set anew for each') ELSE '' END)
    WHEN 'rate' THEN concat('up to ', fmt_count(p.n), ' RMP faults a second, more than ', $installs, ' for each mapping that was set')
    WHEN 'large' THEN concat(fmt_counted(p.n, 'RMP fault'), ' on 2 MiB entries from ', fmt_range(gpa, 4096), ', where guest_memfd has pages of 4 KiB only')
    WHEN 'slow' THEN concat(fmt_counted(p.n, 'RMP fault'), ' took up to ', fmt_ns(status), ' from the exit on (', fmt_range(gpa, 4096), '), over ', $gap_factor, ' x the usual')
    WHEN 'failed' THEN concat('splitting an RMP entry failed ', fmt_count(p.n), ' times (PSMASH returned ', status, ')')
    ELSE concat('the guest faults on the RMP at ', fmt_range(gpa, 4096), CASE WHEN pages > 1 THEN concat(' and ', pages - 1, ' more') ELSE '' END,
      ' again and again (', fmt_count(p.n), ' times) and nothing handles it') END AS title,
  since_ns, until_ns, CAST(p.n AS BIGINT) AS count, 'observed' AS certainty,
  CASE what
    WHEN 'storm' THEN 'each split zaps 512 pages that fault again: guest_memfd in 2 MiB pages with conversions of 4 KiB does this'
    WHEN 'large' THEN 'something assigned 2 MiB at once: look for a kernel with large guest_memfd pages, or for who assigned them (SNP_LAUNCH_UPDATE)'
    WHEN 'slow' THEN 'vCPUs split or use entries of one range at the same time: the kernel waits for the RMP in a loop'
    WHEN 'failed' THEN 'the firmware refused the split: look for the page''s state in the RMP (dmesg)'
    WHEN 'spin' THEN 'look for "SEV: Unexpected RMP fault" in dmesg: the page is not private, has no slot or is not assigned'
    ELSE 'vCPUs touch one page while its size in the RMP and in the nested page table differ: accept and map at the same size' END AS hint,
  evidence
FROM problems p LEFT JOIN refaults r ON r.vm_id = p.vm_id AND p.what = 'storm'
