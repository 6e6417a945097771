-- name: refcount-leak
-- severity: error
-- needs: attempts
-- summary: A reference on guest memory outlives its user or keeps a conversion from succeeding, and is never dropped.
-- param after_holder_ns = 2000000000 : how long after the end of its holder a reference must still be there, ns
-- param orphan_ns = 10000000000 : how long a page may take to be freed after it left the file, ns
-- param tries = 3 : failed attempts on one page that show a reference where the trace has no page_ref events
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
held AS (
  SELECT r.*, c.failed_attempts, c.direction, e.trace_end, m.to_ns AS vm_end,
    EXISTS (SELECT 1 FROM dma_map d WHERE d.gmem_id = r.gmem_id AND d."offset" < r."offset" + r.size
      AND d."offset" + d.size > r."offset" AND d.mapped_ns <= coalesce(r.dropped_ns, e.trace_end)
      AND d.unmapped_ns IS NULL) AS is_dma,
    c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns
  FROM page_ref r CROSS JOIN ends e
  LEFT JOIN conversion c ON c.conversion_id = r.blocks_conversion
  LEFT JOIN vm m ON m.vm_id = r.vm_id
  WHERE (r.dropped_ns IS NULL OR r.dropped_by = 'teardown') AND r.certainty IN ('observed', 'inferred')
), freed AS (
  SELECT pfn, ts_ns FROM {event? kmem.mm_page_free: pfn}
  UNION ALL SELECT pfn, ts_ns FROM {event? kmem.mm_page_free_batched: pfn}
  UNION ALL SELECT pfn, ts_ns FROM {event? filemap.mm_filemap_add_to_page_cache: pfn}
), gone AS (
  SELECT d.trace_id, d.cpu, d.seq, d.ts_ns, d."index" AS page, g.vm_id, g.gmem_id,
    EXISTS (SELECT 1 FROM freed f WHERE f.pfn = d.pfn AND f.ts_ns >= d.ts_ns AND f.ts_ns <= d.ts_ns + $orphan_ns) AS is_freed
  FROM {event? filemap.mm_filemap_delete_from_page_cache: i_ino, pfn, index, order?} d JOIN gmem g ON g.inode = d.i_ino CROSS JOIN ends e
  WHERE coalesce(d."order", 0) = 0 AND e.trace_end - d.ts_ns >= $orphan_ns
), leaked AS (
  SELECT * FROM held
  WHERE (blocks_conversion IS NOT NULL AND (how <> 'unknown' OR failed_attempts >= $tries)
      AND (dropped_by = 'teardown' OR vm_end IS NOT NULL))
    OR (blocks_conversion IS NOT NULL AND how <> 'unknown' AND trace_end - taken_ns >= $after_holder_ns AND NOT is_dma
      AND holder_end_ns IS NOT NULL)
    OR (dropped_ns IS NULL AND trace_end - holder_end_ns >= $after_holder_ns)
)
SELECT 'error' AS severity,
  CASE WHEN EXISTS (SELECT 1 FROM lost WHERE coalesce(to_ns, 9223372036854775807) >= l.taken_ns) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, any_value(gmem_id) AS gmem_id, NULL::INTEGER AS vcpu,
  concat(fmt_count(sum(size) / 4096), ' page(s) at offset ', fmt_hex(min("offset")), ': ',
    CASE any_value(how) WHEN 'pin' THEN 'pinned' WHEN 'get' THEN 'referenced' ELSE 'a reference is held' END,
    CASE WHEN tid IS NOT NULL THEN concat(' by ', coalesce(any_value(comm), 'thread'), ' (', tid, ')') ELSE '' END,
    ' and never dropped',
    CASE WHEN count(blocks_conversion) > 0 THEN '; a conversion to private failed on it' ELSE '' END) AS title,
  min(taken_ns) AS since_ns, max(coalesce(dropped_ns, trace_end)) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  CASE WHEN bool_or(is_dma) THEN 'a DMA mapping still covers it: unmap before converting'
    ELSE 'find who took it (record page_ref with a stacktrace trigger) and let it drop the reference before the conversion' END AS hint,
  list(struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)
    ORDER BY evidence_ns) FILTER (evidence_trace IS NOT NULL) AS evidence
FROM leaked l
GROUP BY vm_id, tid, taken_ns
UNION ALL
SELECT 'warning', CASE WHEN bool_and(lost_within(ts_ns, ts_ns + $orphan_ns)) THEN 'inconclusive' ELSE 'fail' END, vm_id, gmem_id, NULL,
  concat(fmt_count(count(*)), ' page(s) from offset ', fmt_hex(min(page) * 4096), ' left the file and were not freed in ', fmt_ns($orphan_ns)),
  min(ts_ns), max(ts_ns), count(*), 'inferred',
  'a reference keeps them: record page_ref to see whose (a page in an idle CPU''s batch of additions to the LRU looks the same)',
  list(evidence_of(trace_id, cpu, seq, ts_ns) ORDER BY ts_ns)[1:10]
FROM gone WHERE NOT is_freed
  -- Where none was seen being freed, the recording does not show it (a filter, or the event is missing).
  AND (SELECT count(*) FILTER (is_freed) > count(*) FILTER (NOT is_freed) FROM gone)
GROUP BY vm_id, gmem_id
