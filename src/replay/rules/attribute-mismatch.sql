-- name: attribute-mismatch
-- severity: error
-- needs: conversions
-- rows: gmem_interval
-- summary: Two places that say whether memory is private disagree.
-- param after_ns = 1000000000 : how long they must disagree, ns
-- param pages = 1 : pages that count
-- param skew_ns = 1000000 : a mapping this close to a conversion is not judged, ns
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
intervals AS (
  SELECT i.*, coalesce(i.to_ns, e.trace_end) AS end_ns FROM last_seen_intervals() i CROSS JOIN ends e
  WHERE i.certainty IN ('observed', 'inferred') AND i.conversion = 'idle'
), places AS (
  -- A binding shows as one distance between gpa and offset. Only where two of them overlap need intervals be compared.
  SELECT vm_id, gmem_id, gpa - "offset" AS distance, min("offset") AS first, max("offset" + size) AS past FROM intervals
  WHERE gmem_id IS NOT NULL AND "offset" IS NOT NULL GROUP BY ALL
), twice AS (
  SELECT a.vm_id, a.gmem_id, a.distance AS a_distance, b.distance AS b_distance,
    greatest(a.first, b.first) AS first, least(a.past, b.past) AS past
  FROM places a JOIN places b ON a.vm_id = b.vm_id AND a.gmem_id = b.gmem_id AND a.distance <> b.distance
    AND a.first < b.past AND b.first < a.past
), disagreements AS (
  SELECT vm_id, gmem_id, 'stores' AS what, gpa, "offset", size, from_ns AS since_ns, end_ns AS until_ns, certainty,
    NULL::BIGINT AS other_gpa
  FROM intervals WHERE state = 'mismatch'
  UNION ALL BY NAME
  -- One page of the file bound at two places of the guest, private at one and shared at the other.
  SELECT a.vm_id, a.gmem_id, 'alias' AS what, a.gpa, greatest(a."offset", b."offset") AS "offset",
    least(a."offset" + a.size, b."offset" + b.size) - greatest(a."offset", b."offset") AS size,
    greatest(a.from_ns, b.from_ns) AS since_ns, least(a.end_ns, b.end_ns) AS until_ns, least(a.certainty, b.certainty) AS certainty,
    b.gpa AS other_gpa
  FROM twice t
  JOIN intervals a ON a.vm_id = t.vm_id AND a.gmem_id = t.gmem_id AND a.gpa - a."offset" = t.a_distance
    AND a."offset" < t.past AND a."offset" + a.size > t.first
  JOIN intervals b ON b.vm_id = t.vm_id AND b.gmem_id = t.gmem_id AND b.gpa - b."offset" = t.b_distance
    AND a."offset" < b."offset" + b.size AND b."offset" < a."offset" + a.size
    AND a.from_ns < b.end_ns AND b.from_ns < a.end_ns
  WHERE a.attribute = 'private' AND b.attribute = 'shared'
), lasting AS (
  SELECT * FROM disagreements WHERE until_ns - since_ns >= $after_ns
), owners AS (
  SELECT tid, min(vm_id) AS vm_id FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1
), cached AS (
  SELECT pfn, ts_ns, i_ino, true AS is_add FROM {event? filemap.mm_filemap_add_to_page_cache: pfn, i_ino}
  UNION ALL SELECT pfn, ts_ns, i_ino, false FROM {event? filemap.mm_filemap_delete_from_page_cache: pfn, i_ino}
), mapped AS (
  -- The frame of a leaf mapping: bits 12 to 45.
  SELECT o.vm_id, TRY_CAST(CAST(e.gfn AS HUGEINT) * 4096 AS BIGINT) AS gpa, CAST((CAST(e.spte AS HUGEINT) >> 12) & 17179869183 AS BIGINT) AS pfn, e.ts_ns,
    evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) AS evidence
  FROM {event? kvmmmu.kvm_mmu_set_spte: gfn, spte, level} e JOIN owners o USING (tid) WHERE e.level = 1
), uses AS (
  -- A guest_memfd that cannot be mapped by the host (flags without MMAP) holds private memory alone.
  SELECT m.*, g.gmem_id, i."offset", greatest(m.ts_ns - i.from_ns, 0) AS after_ns, i.certainty
  FROM mapped m ASOF JOIN cached c ON m.pfn = c.pfn AND m.ts_ns >= c.ts_ns
  JOIN gmem g ON g.inode = c.i_ino AND g.vm_id = m.vm_id AND g.flags IS NOT NULL AND g.flags % 2 = 0
  JOIN intervals i ON i.gpa <= m.gpa AND i.gpa + i.size > m.gpa
  -- No equality in the join: with one DuckDB compares each with each, without one it sorts both.
  WHERE c.is_add AND i.vm_id - m.vm_id = 0 AND i.attribute = 'shared' AND i.end_ns - i.from_ns > 2 * $skew_ns AND m.ts_ns > i.from_ns + $skew_ns AND m.ts_ns + $skew_ns < i.end_ns
), plain_slots AS (
  -- struct kvm_userspace_memory_region2: slot, flags (bit 2: KVM_MEM_GUEST_MEMFD), gpa, size; the older ioctl has no such flag.
  SELECT v.vm_id, s.*, lead(s.ts_ns) OVER (PARTITION BY v.vm_id, s.slot ORDER BY s.ts_ns) AS to_ns
  FROM (
    SELECT ts_ns, tid, CAST(CAST(a0 AS HUGEINT) & 4294967295 AS BIGINT) AS slot, TRY_CAST(a1 AS BIGINT) AS gpa, TRY_CAST(a2 AS BIGINT) AS size,
      cmd = 1084272201 AND (CAST(a0 AS HUGEINT) >> 34) & 1 = 1 AS has_gmem, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
    FROM {probe? kvm_vm_ioctl: cmd|ioctl, a0, a1, a2} WHERE cmd IN (1084272201, 1075883590)) s
  JOIN task t ON t.tid = s.tid JOIN vm v ON v.pid = t.tgid
  WHERE (SELECT count(*) FROM vm o WHERE o.pid = v.pid) = 1
), hollow AS (
  SELECT s.vm_id, s.slot, i.gpa, least(i.gpa + i.size, s.gpa + s.size) - greatest(i.gpa, s.gpa) AS size, greatest(i.from_ns, s.ts_ns) AS since_ns,
    least(i.end_ns, coalesce(s.to_ns, 9223372036854775807)) AS until_ns, i.from_ns < s.ts_ns AS is_before, i.certainty, s.evidence,
    (SELECT count(*) FROM memory_fault f WHERE f.vm_id = s.vm_id AND f.gpa >= greatest(i.gpa, s.gpa) AND f.gpa < least(i.gpa + i.size, s.gpa + s.size)
      AND f.ts_ns BETWEEN greatest(i.from_ns, s.ts_ns) AND least(i.end_ns, coalesce(s.to_ns, 9223372036854775807))) AS faults
  FROM (SELECT * FROM plain_slots WHERE gpa < 4e18 AND size < 4e18) s JOIN intervals i ON i.vm_id = s.vm_id AND i.attribute = 'private' AND i.gpa < s.gpa + s.size AND i.gpa + i.size > s.gpa
    AND i.from_ns < coalesce(s.to_ns, 9223372036854775807) AND i.end_ns > s.ts_ns
  WHERE NOT s.has_gmem AND s.size > 0
)
SELECT 'error' AS severity,
  CASE WHEN lost_within(min(since_ns), max(until_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  CASE what WHEN 'stores' THEN concat('the VM''s attribute and the guest_memfd''s disagree on ', fmt_counted(sum(size) / 4096, 'page'),
      ' from ', fmt_range(min(gpa), 4096), ' for ', fmt_ns(max(until_ns - since_ns)))
    ELSE concat(fmt_counted(sum(size) / 4096, 'page'), ' from offset ', fmt_hex(min("offset")), one_or_more(sum(size) / 4096, ' is', ' are'), ' private at gpa ', fmt_hex(min(gpa)),
      ' and shared at gpa ', fmt_hex(min(other_gpa)), ' for ', fmt_ns(max(until_ns - since_ns))) END AS title,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, min(certainty) AS certainty,
  CASE what WHEN 'stores' THEN 'both ioctls are used on one VM: use the guest_memfd''s alone where it is there'
    ELSE 'two memslots show one page of the file: set both ranges, or bind it once' END AS hint,
  []::STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[] AS evidence
FROM lasting GROUP BY vm_id, gmem_id, what HAVING sum(size) / 4096 >= $pages
UNION ALL BY NAME
SELECT 'error' AS severity, CASE WHEN bool_and(lost_within(ts_ns - after_ns, ts_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(count(DISTINCT gpa), 'page'), ' of the guest_memfd mapped into the guest while the attribute was shared, the first ', fmt_range(arg_min(gpa, ts_ns), 4096),
    ', ', fmt_ns(arg_min(after_ns, ts_ns)), ' after it was set') AS title,
  min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, count(DISTINCT gpa) AS count, 'inferred' AS certainty,
  'KVM maps the file only where the attribute is private: an attribute change may be missing without a sign (a filter); if not, it is the kernel' AS hint,
  list(evidence ORDER BY ts_ns)[1:10] AS evidence
FROM uses GROUP BY vm_id, gmem_id HAVING count(DISTINCT gpa) >= $pages
UNION ALL BY NAME
SELECT CASE WHEN sum(faults) > 0 THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN lost_within(min(since_ns), max(since_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(sum(size) / 4096, 'page'), ' from ', fmt_range(min(gpa), 4096), one_or_more(sum(size) / 4096, ' is', ' are'), ' private in memslot ', slot, ', which has no guest_memfd',
    CASE WHEN bool_or(is_before) THEN '; they were set before the memslot came' ELSE '' END,
    CASE WHEN sum(faults) > 0 THEN concat('; ', fmt_count(sum(faults)), ' memory faults there') ELSE '' END) AS title,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, CAST(sum(size) / 4096 AS BIGINT) AS count, min(certainty) AS certainty,
  'each touch of such a page as private ends in a memory fault: bind a guest_memfd to the memslot, or leave its attribute alone' AS hint,
  list(DISTINCT evidence ORDER BY evidence)[1:10] AS evidence
FROM hollow WHERE until_ns - since_ns >= $after_ns OR faults > 0 GROUP BY vm_id, slot HAVING sum(size) / 4096 >= $pages
UNION ALL BY NAME
-- Kernels with in-place conversion in their final form refuse the VM's ioctl.
SELECT 'info' AS severity, 'fail' AS verdict, vm_id, NULL::INTEGER AS gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_count(count(*)), ' conversions: some by the VM''s attributes, some by the guest_memfd''s') AS title,
  min(coalesce(commit_ns, request_ns)) AS since_ns, max(coalesce(commit_ns, request_ns)) AS until_ns, count(*) AS count, 'observed' AS certainty,
  'an early form of the in-place series, or recordings of two kernels: which of the two holds is not known' AS hint,
  list(evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns) ORDER BY conversion_id)[1:2] AS evidence
FROM conversion WHERE outcome = 'done' AND certainty = 'observed' AND mechanism IN ('vm-attributes', 'gmem-attributes', 'gmem-convert')
  -- Where they disagree that is the finding.
  AND NOT EXISTS (SELECT 1 FROM lasting l WHERE l.vm_id = conversion.vm_id AND l.what = 'stores')
GROUP BY vm_id HAVING bool_or(mechanism = 'vm-attributes') AND bool_or(mechanism <> 'vm-attributes')
