-- name: refcount-leak
-- severity: error
-- needs: attempts or references or event kmem.mm_page_free
-- summary: A reference on guest memory outlives its user or keeps a conversion from succeeding, and is never dropped.
-- param after_holder_ns = 2000000000 : how long after the end of its holder a reference must still be there, ns
-- param orphan_ns = 10000000000 : how long a page may take to be freed after it left the file, ns
-- param tries = 3 : failed attempts on one page that show a reference where the trace has no page_ref events, or whose holder may still let go
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
taking AS (
  SELECT trace_id, cpu, seq, ts_ns, pfn FROM {event? page_ref.page_ref_mod: pfn}
  UNION ALL SELECT trace_id, cpu, seq, ts_ns, pfn FROM {event? page_ref.page_ref_mod_unless: pfn}
), stacks AS (
  -- A stacktrace trigger writes the stack right after its event.
  SELECT t.ts_ns AS taken_ns, t.pfn, min(evidence_of(k.trace_id, k.cpu, k.seq, k.ts_ns)) AS stack_at
  FROM (SELECT * FROM taking t SEMI JOIN page_ref r ON r.pfn = t.pfn AND r.taken_ns = t.ts_ns) t
  ASOF JOIN (SELECT * FROM {event? ftrace.kernel_stack: caller}) k ON k.trace_id = t.trace_id AND k.cpu = t.cpu AND t.seq < k.seq
  WHERE k.ts_ns BETWEEN t.ts_ns AND t.ts_ns + 100000
  GROUP BY t.ts_ns, t.pfn
),
held AS (
  SELECT r.*, c.failed_attempts, c.direction, e.trace_end, m.to_ns AS vm_end,
    EXISTS (SELECT 1 FROM dma_map d WHERE d.gmem_id = r.gmem_id AND d."offset" < r."offset" + r.size
      AND d."offset" + d.size > r."offset" AND d.mapped_ns <= coalesce(r.dropped_ns, e.trace_end)
      AND d.unmapped_ns IS NULL) AS is_dma,
    -- A pin that VFIO took for a mapping (same thread, then mapped) ends with that mapping.
    (SELECT max(d.unmapped_ns) FROM dma_map d WHERE r.how <> 'get' AND d.gmem_id = r.gmem_id AND d.tid = r.tid AND d."offset" < r."offset" + r.size
      AND d."offset" + d.size > r."offset" AND d.mapped_ns BETWEEN r.taken_ns AND r.taken_ns + 1000000000) AS unmapped_ns,
    (SELECT struct_pack(n := count(*), conversions := count(DISTINCT a.conversion_id), since_ns := min(a.start_ns), vcpus := list(DISTINCT b.vcpu)) FROM conversion_attempt a JOIN conversion b USING (conversion_id)
      WHERE r.blocks_conversion IS NOT NULL AND b.gmem_id = r.gmem_id AND a.errno = 11 AND a.start_ns >= r.taken_ns
        AND a.start_ns <= coalesce(r.dropped_ns, e.trace_end)
        AND coalesce(a.error_offset, b."offset") < r."offset" + r.size
        AND CASE WHEN a.error_offset IS NULL THEN b."offset" + b.size ELSE a.error_offset + 1 END > r."offset") AS met,
    (SELECT min(evidence_of(t.trace_id, t.cpu, t.seq, t.ts_ns)) FROM taking t WHERE t.pfn = r.pfn AND t.ts_ns = r.taken_ns) AS taken_at,
    (SELECT stack_at FROM stacks k WHERE k.pfn = r.pfn AND k.taken_ns = r.taken_ns) AS stack_at,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS asked_at
  FROM page_ref r CROSS JOIN ends e
  LEFT JOIN conversion c ON c.conversion_id = r.blocks_conversion
  LEFT JOIN vm m ON m.vm_id = r.vm_id
  -- Of one that was seen taken while events were lost, the verdict is inconclusive.
  WHERE (r.certainty IN ('observed', 'inferred') OR r.how <> 'unknown')
    AND (r.dropped_ns IS NULL OR r.dropped_by = 'teardown' OR r.blocks_conversion IS NOT NULL)
    -- A place in an idle CPU's batch of additions to the LRU may last; nobody holds it.
    AND r.taken_as IS DISTINCT FROM 'lru-batch'
), freed AS (
  SELECT pfn, ts_ns FROM {event? kmem.mm_page_free: pfn}
  UNION ALL SELECT pfn, ts_ns FROM {event? kmem.mm_page_free_batched: pfn}
  UNION ALL SELECT pfn, ts_ns FROM {event? filemap.mm_filemap_add_to_page_cache: pfn}
), gone AS (
  SELECT d.trace_id, d.cpu, d.seq, d.ts_ns, d."index" AS page, g.vm_id, g.gmem_id,
    EXISTS (SELECT 1 FROM freed f WHERE f.pfn = d.pfn AND f.ts_ns >= d.ts_ns AND f.ts_ns <= d.ts_ns + $orphan_ns) AS is_freed
  FROM {event? filemap.mm_filemap_delete_from_page_cache: i_ino, pfn, index, order?} d JOIN gmem g ON g.inode = d.i_ino CROSS JOIN ends e
  WHERE coalesce(d."order", 0) = 0 AND e.trace_end - d.ts_ns >= $orphan_ns
), classed AS (
  SELECT *, CASE WHEN dropped_by = 'holder' THEN NULL
    WHEN blocks_conversion IS NOT NULL AND (how <> 'unknown' OR failed_attempts >= $tries)
      AND (dropped_by = 'teardown' OR vm_end IS NOT NULL) THEN 'never'
    WHEN blocks_conversion IS NOT NULL AND how <> 'unknown' AND trace_end - taken_ns >= $after_holder_ns AND NOT is_dma
      AND holder_end_ns IS NOT NULL THEN 'never'
    WHEN dropped_ns IS NULL AND trace_end - holder_end_ns >= $after_holder_ns THEN 'ended'
    WHEN dropped_ns IS NULL AND NOT is_dma AND trace_end - unmapped_ns >= $after_holder_ns THEN 'unmapped'
    -- Its holder lives, and tries go on failing on it: nothing says that it ever lets go, and nothing that it does not.
    WHEN dropped_ns IS NULL AND NOT is_dma AND met.n >= $tries AND trace_end - met.since_ns >= $after_holder_ns THEN 'blocker' END AS class
  FROM held
), summed AS (
  SELECT vm_id, tid, how, any_value(gmem_id) AS gmem_id, any_value(comm) AS comm, sum(size) / 4096 AS pages, min("offset") AS first_offset,
    count(*) AS n, count(blocks_conversion) AS blocking, sum(met.n) AS failed, sum(met.conversions) AS conversions,
    array_to_string(list_sort(list_distinct(flatten(list(met.vcpus)))), ', ') AS vcpus, bool_or(taken_as = 'gup-fast') AS is_fast,
    max(seen_count) FILTER (seen_count > expected_count) AS seen_count, max(expected_count) FILTER (seen_count > expected_count) AS expected_count,
    min(taken_ns) AS since_ns,
    max(coalesce(dropped_ns, trace_end)) AS until_ns, max(coalesce(dropped_ns, trace_end) - taken_ns) AS age_ns, min(certainty) AS certainty,
    bool_or(is_dma) AS is_dma, max(class) AS class, bool_or(class <> 'blocker') AS is_leak, max(holder_end_ns) AS holder_end_ns, max(unmapped_ns) AS unmapped_ns, any_value(trace_end) AS trace_end,
    bool_or(dropped_by = 'teardown') AS is_torn_down,
    lost_within(min(taken_ns), NULL) AS doubtful,
    array_to_string(list(concat('offset ', fmt_hex("offset"), CASE WHEN size > 4096 THEN concat('+', fmt_bytes(size)) ELSE '' END,
      CASE WHEN pfn IS NOT NULL THEN concat(' (pfn ', fmt_hex(pfn), ')') ELSE '' END) ORDER BY "offset", taken_ns)[1:5], ', ') AS folios,
    list(taken_at ORDER BY taken_ns, "offset") FILTER (taken_at IS NOT NULL) AS takings, list(stack_at ORDER BY taken_ns, "offset") FILTER (stack_at IS NOT NULL) AS stacks, list(asked_at ORDER BY asked_at) FILTER (asked_at.trace_id IS NOT NULL) AS askings
  FROM classed WHERE class IS NOT NULL GROUP BY vm_id, tid, how
), spared AS (
  SELECT vm_id, tid, how, CASE
      WHEN dropped_by = 'holder' THEN 'busy' WHEN dropped_by = 'teardown' THEN 'teardown' WHEN is_dma THEN 'dma'
      WHEN how = 'unknown' THEN 'few' WHEN holder_end_ns IS NOT NULL OR unmapped_ns IS NOT NULL THEN 'late' ELSE 'alive' END AS reason,
    any_value(gmem_id) AS gmem_id, any_value(comm) AS comm, sum(size) / 4096 AS pages, min("offset") AS first_offset, count(*) AS n,
    count(blocks_conversion) AS blocking, min(taken_ns) AS since_ns, max(coalesce(dropped_ns, trace_end)) AS until_ns,
    max(coalesce(dropped_ns, trace_end) - taken_ns) AS age_ns, min(certainty) AS certainty
  FROM classed WHERE class IS NULL GROUP BY ALL
)
SELECT CASE WHEN is_leak THEN 'error' ELSE 'warning' END AS severity, CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(pages, 'page'), ' at offset ', fmt_hex(first_offset), ': ',
    CASE how WHEN 'pin' THEN 'pinned' WHEN 'dma' THEN 'pinned' WHEN 'get' THEN 'referenced' ELSE 'a reference is held' END,
    CASE WHEN tid IS NOT NULL THEN concat(' by ', coalesce(comm, 'thread'), ' (', tid, ')') ELSE '' END,
    CASE WHEN is_leak THEN ' and never dropped' ELSE ' and not dropped to the end of the trace' END,
    CASE WHEN blocking > 0 THEN '; a conversion to private failed on it' ELSE '' END) AS title,
  list_filter([
    concat(folios, CASE WHEN n > 5 THEN ', …' ELSE '' END),
    concat('taken ', CASE how WHEN 'pin' THEN CASE WHEN is_fast THEN 'as a pin by GUP-fast (+1, then +1023)' ELSE 'as a pin (+1024)' END WHEN 'dma' THEN 'as a pin (+1024) for DMA' WHEN 'get' THEN 'as a plain reference (+1)' ELSE 'unseen, before the first try that failed' END,
      CASE WHEN tid IS NOT NULL THEN concat(' by thread ', tid) ELSE '' END, ', held for ', fmt_ns(age_ns), CASE WHEN stacks IS NOT NULL THEN '; its stack is among the evidence' ELSE '' END),
    CASE WHEN seen_count IS NOT NULL THEN concat('the kernel counted ', seen_count, ' when it was taken, the trace explains ', expected_count, ': others are from before or not recorded') END,
    CASE WHEN blocking > 0 THEN concat(fmt_count(failed), ' tries of ', fmt_counted(conversions, 'conversion'), ' to private failed on it',
      CASE WHEN vcpus <> '' THEN concat(', which vCPU ', vcpus, ' asked for') ELSE '' END) ELSE 'no conversion met it' END,
    CASE WHEN class = 'unmapped' THEN concat('leaked, not busy: its DMA mapping was taken down ', fmt_ns(trace_end - unmapped_ns), ' before the end of the trace')
      WHEN class = 'ended' THEN concat('leaked, not busy: its holder had ended ', fmt_ns(trace_end - holder_end_ns), ' before the end of the trace')
      WHEN NOT is_leak THEN 'leaked or busy: its holder was alive at the end of the trace, and no try had made it let go'
      WHEN is_torn_down THEN 'leaked, not busy: it went only when the kernel dropped everything of the VM or its process'
      ELSE 'leaked, not busy: its VM or holder ended, and nobody had dropped it' END
  ], lambda line: line IS NOT NULL) AS details,
  since_ns, until_ns, n AS count, certainty,
  CASE WHEN is_dma THEN 'a DMA mapping still covers it: unmap before converting'
    ELSE 'find who took it (record page_ref with a stacktrace trigger) and let it drop the reference before the conversion' END AS hint,
  list_concat(list_concat(coalesce(askings, [])[1:5], coalesce(takings, [])[1:5]), coalesce(stacks, [])[1:2]) AS evidence
FROM summed
UNION ALL BY NAME
SELECT 'warning' AS severity, CASE WHEN bool_and(lost_within(ts_ns, ts_ns + $orphan_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict, vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(count(*), 'page'), ' from offset ', fmt_hex(min(page) * 4096), ' left the file without being freed in ', fmt_ns($orphan_ns)) AS title,
  [concat(fmt_bytes(count(*) * 4096), ' that nobody can use; the other pages that left the file were freed')] AS details,
  min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, count(*) AS count, 'inferred' AS certainty,
  'a reference keeps them: record page_ref to see whose (a page in an idle CPU''s batch of additions to the LRU looks the same)' AS hint,
  list(evidence_of(trace_id, cpu, seq, ts_ns) ORDER BY ts_ns)[1:10] AS evidence
FROM gone WHERE NOT is_freed
  -- Where none was seen being freed, the recording does not show it (a filter, or the event is missing).
  AND (SELECT count(*) FILTER (is_freed) > count(*) FILTER (NOT is_freed) FROM gone)
GROUP BY vm_id, gmem_id
UNION ALL BY NAME
SELECT 'info' AS severity, 'pass' AS verdict, vm_id, gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_counted(pages, 'page'), ' at offset ', fmt_hex(first_offset), ' held', CASE WHEN tid IS NOT NULL THEN concat(' by ', coalesce(comm, 'thread'), ' (', tid, ')') ELSE '' END,
    ' for ', CASE WHEN n > 1 THEN 'up to ' ELSE '' END, fmt_ns(age_ns), CASE WHEN blocking > 0 THEN ', in the way of a conversion' ELSE '' END) AS title,
  since_ns, until_ns, n AS count, certainty,
  CASE reason WHEN 'busy' THEN 'busy, not leaked: its holder dropped it'
    WHEN 'teardown' THEN 'dropped when the VM or its process ended, and no conversion had met it before'
    WHEN 'dma' THEN 'busy as far as can be seen: a DMA mapping of it is open'
    WHEN 'few' THEN concat('under ', $tries, ' tries failed, or the VM had not ended; without page_ref events nothing more is known')
    WHEN 'late' THEN concat('its holder ended less than ', fmt_ns($after_holder_ns), ' before the end of the trace')
    ELSE 'busy as far as can be seen: its holder was alive at the end of the trace' END AS hint,
  []::STRUCT(trace_id UTINYINT, cpu INTEGER, seq BIGINT, ts_ns BIGINT)[] AS evidence
FROM spared
