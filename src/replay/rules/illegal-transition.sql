-- name: illegal-transition
-- severity: error
-- needs:
-- summary: Something happened that no unmodified kernel does: a kernel bug, or events that are missing or out of order.
-- param skew_ns = 100000 : events this close together may be out of order, ns
-- param count = 1 : cases that count
WITH own AS (
  SELECT gmem_id, vm_id, inode, dev FROM gmem WHERE inode IS NOT NULL AND certainty IN ('observed', 'inferred')
), pages AS (
  -- Folios of more than one page say nothing of the pages inside.
  SELECT *, true AS is_add FROM {event? filemap.mm_filemap_add_to_page_cache: i_ino, s_dev, pfn, index, order?} WHERE coalesce("order", 0) = 0
  UNION ALL BY NAME
  SELECT *, false AS is_add FROM {event? filemap.mm_filemap_delete_from_page_cache: i_ino, s_dev, pfn, index, order?} WHERE coalesce("order", 0) = 0
), cache AS (
  -- The number of an inode is its own only within a device.
  SELECT o.gmem_id, o.vm_id, e.* FROM pages e JOIN own o ON o.inode = e.i_ino
  WHERE coalesce(o.dev = e.s_dev, (SELECT count(DISTINCT d.s_dev) FROM pages d WHERE d.i_ino = e.i_ino) = 1)
), ordered AS (
  SELECT *, lag(is_add) OVER at_page AS was_add, lag(ts_ns) OVER at_page AS last_ns, lag(pfn) OVER at_page AS last_pfn,
    lead(is_add) OVER at_page AS next_add, lead(ts_ns) OVER at_page AS next_ns,
    lag(is_add) OVER of_frame AS frame_was_add, lag(ts_ns) OVER of_frame AS frame_last_ns, lag("index") OVER of_frame AS frame_index,
    lag(i_ino) OVER of_frame AS frame_inode, lead(is_add) OVER of_frame AS frame_next_add, lead(ts_ns) OVER of_frame AS frame_next_ns
  FROM cache
  WINDOW at_page AS (PARTITION BY i_ino, "index" ORDER BY ts_ns, cpu, seq), of_frame AS (PARTITION BY pfn ORDER BY ts_ns, cpu, seq)
), recorded AS (
  -- Of a recording without the one tracepoint the other says nothing.
  SELECT coalesce(bool_or(is_add) AND bool_or(NOT is_add), false) AS has_both FROM cache
), host_faults AS (
  -- VM_FAULT_LOCKED (0x200): the guest_memfd gave the host the page.
  SELECT r.trace_id, r.cpu, r.seq, f.ts_ns AS began_ns, r.ts_ns, f.ino, TRY_CAST(CAST(f.pgoff AS HUGEINT) * 4096 AS BIGINT) AS place
  FROM {retprobe? kvm_gmem_fault_user_mapping: ret} r
  ASOF JOIN (SELECT * FROM {probe? kvm_gmem_fault_user_mapping: ino, pgoff}) f ON f.tid = r.tid AND r.ts_ns >= f.ts_ns
  WHERE CAST(r.ret AS HUGEINT) & 512 <> 0
), owners AS (
  SELECT tid, min(vm_id) AS vm_id FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1
), cases AS (
  SELECT 'a page of the file was added twice without a removal between' AS what, vm_id, gmem_id, ts_ns, last_ns, "index" * 4096 AS place,
    'offset' AS place_of, 'observed' AS certainty, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
  FROM ordered, recorded WHERE has_both AND is_add AND was_add AND NOT coalesce(NOT next_add AND next_ns - ts_ns <= $skew_ns, false)
  UNION ALL BY NAME
  SELECT 'a page of the file was removed twice' AS what, vm_id, gmem_id, ts_ns, last_ns, "index" * 4096 AS place, 'offset' AS place_of,
    'observed' AS certainty, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
  FROM ordered, recorded WHERE has_both AND NOT is_add AND NOT was_add AND NOT coalesce(next_add AND next_ns - ts_ns <= $skew_ns, false)
  UNION ALL BY NAME
  SELECT 'one page frame is at two places of guest memory' AS what, vm_id, gmem_id, ts_ns, frame_last_ns AS last_ns, "index" * 4096 AS place,
    'offset' AS place_of, 'observed' AS certainty, evidence_of(trace_id, cpu, seq, ts_ns) AS evidence
  FROM ordered, recorded WHERE has_both AND is_add AND frame_was_add AND (frame_index <> "index" OR frame_inode <> i_ino)
    AND NOT coalesce(NOT frame_next_add AND frame_next_ns - ts_ns <= $skew_ns, false)
  UNION ALL BY NAME
  -- Bit 11: present (SPTE_MMU_PRESENT); the frame is in bits 12 and above, those from 46 on may be flags.
  SELECT 'a mapping changed to another frame without being removed' AS what, o.vm_id, e.ts_ns, e.ts_ns AS last_ns, CAST(e.gfn AS BIGINT) * 4096 AS place,
    'gpa' AS place_of, 'observed' AS certainty, evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) AS evidence
  FROM {event? kvmmmu.kvm_tdp_mmu_spte_changed: gfn, old_spte, new_spte, level} e LEFT JOIN owners o USING (tid)
  WHERE e.level = 1 AND CAST(e.old_spte AS HUGEINT) & 2048 <> 0 AND CAST(e.new_spte AS HUGEINT) & 2048 <> 0
    AND (CAST(e.old_spte AS HUGEINT) >> 12) & 17179869183 <> (CAST(e.new_spte AS HUGEINT) >> 12) & 17179869183
  UNION ALL BY NAME
  SELECT 'the host was given a page of the file that was private' AS what, o.vm_id, o.gmem_id, h.ts_ns, h.began_ns AS last_ns, h.place, 'offset' AS place_of,
    i.certainty, evidence_of(h.trace_id, h.cpu, h.seq, h.ts_ns) AS evidence
  FROM host_faults h JOIN own o ON o.inode = h.ino JOIN gmem_interval i ON i."offset" <= h.place AND i."offset" + i.size > h.place
  -- No equality in the join: with one DuckDB compares each with each, without one it sorts both.
  WHERE i.gmem_id - o.gmem_id = 0 AND i.shareability = 'private' AND i.conversion = 'idle' AND i.certainty = 'observed' AND h.began_ns > i.from_ns + $skew_ns AND h.ts_ns + $skew_ns < coalesce(i.to_ns, (SELECT max(last_ns) FROM trace))
  UNION ALL BY NAME
  -- 8: KVM_MEMORY_ATTRIBUTE_PRIVATE, the only one there is.
  SELECT 'memory got attributes that do not exist' AS what, o.vm_id, e.ts_ns, e.ts_ns AS last_ns, TRY_CAST(CAST(e."start" AS HUGEINT) * 4096 AS BIGINT) AS place, 'gpa' AS place_of,
    'observed' AS certainty, evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) AS evidence
  FROM {event? kvm.kvm_vm_set_mem_attributes: start, attr} e LEFT JOIN owners o USING (tid) WHERE CAST(e.attr AS HUGEINT) NOT IN (0, 8)
  UNION ALL BY NAME
  SELECT 'memory of a VM without private memory became private' AS what, c.vm_id, c.gmem_id, c.commit_ns AS ts_ns, c.commit_ns AS last_ns,
    c.gpa AS place, 'gpa' AS place_of, c.certainty,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM conversion c JOIN vm v USING (vm_id)
  WHERE v.platform = 'plain' AND v.certainty = 'observed' AND c.direction = 'to_private' AND c.outcome = 'done' AND c.certainty = 'observed'
    AND c.mechanism = 'vm-attributes'
  UNION ALL BY NAME
  SELECT 'two memslots are bound to the same range of a guest_memfd' AS what, b.vm_id, b.gmem_id, b.from_ns AS ts_ns, a.from_ns AS last_ns,
    b."offset" AS place, 'offset' AS place_of, 'observed' AS certainty,
    evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) AS evidence
  FROM binding a JOIN binding b ON a.gmem_id = b.gmem_id AND a.from_ns < b.from_ns AND coalesce(a.to_ns, 9223372036854775807) > b.from_ns
    AND a."offset" < b."offset" + b.size AND b."offset" < a."offset" + a.size
  JOIN memory_event e ON e.kind IN (kind_code('bind'), kind_code('bind_done')) AND e.ts_ns = b.from_ns
  WHERE a.certainty = 'observed' AND b.certainty = 'observed' AND a.slot IS NOT NULL AND b.slot IS NOT NULL AND a.slot <> b.slot
)
SELECT 'error' AS severity,
  CASE WHEN bool_and(lost_within(last_ns, ts_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(what, ' (', place_of, ' ', fmt_hex(min_by(place, ts_ns)), ')', CASE WHEN count(*) > 1 THEN concat('; ', fmt_count(count(*)), ' cases') ELSE '' END) AS title,
  min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  'events between the two may be missing without a sign (an event or pid filter, a probe that missed): record again; if it stays, it is the kernel' AS hint,
  list(evidence ORDER BY ts_ns)[1:10] AS evidence
FROM cases GROUP BY what, place_of, vm_id, gmem_id HAVING count(*) >= $count
