-- name: dma-blocks-conversion
-- severity: warning
-- needs: attempts, dma
-- rows: dma_map, conversion_attempt
-- summary: A DMA mapping of the memory keeps a conversion to private from succeeding.
-- param tries = 1 : failed attempts that a mapping must have met
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
met AS (
  SELECT c.conversion_id, c.vm_id, c.gmem_id, c.vcpu, c.gpa, c.outcome, d.iova, d."offset", d.tid, d.mapped_ns, d.unmapped_ns,
    a.start_ns, c.certainty, c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  JOIN dma_map d ON d.gmem_id = c.gmem_id AND d.mapped_ns < a.start_ns AND coalesce(d.unmapped_ns, a.start_ns + 1) > a.start_ns
    AND d."offset" < coalesce(a.error_offset + 4096, c."offset" + c.size)
    AND d."offset" + d.size > coalesce(a.error_offset, c."offset")
  WHERE a.errno = 11 AND c.direction = 'to_private' AND c.certainty IN ('observed', 'inferred')
    AND d.certainty IN ('observed', 'inferred')
), per_conversion AS (
  SELECT conversion_id, vm_id, any_value(gmem_id) AS gmem_id, any_value(vcpu) AS vcpu, any_value(gpa) AS gpa,
    any_value(outcome) AS outcome, min("offset") AS where_at, min(iova) AS iova, any_value(tid) AS tid, count(DISTINCT start_ns) AS tries,
    min(start_ns) AS since_ns, max(start_ns) AS until_ns, bool_or(unmapped_ns IS NULL) AS stays, min(certainty) AS certainty,
    any_value(struct_pack(trace_id := evidence_trace, cpu := evidence_cpu, seq := evidence_seq, ts_ns := evidence_ns)) AS evidence
  FROM met GROUP BY conversion_id, vm_id HAVING count(DISTINCT start_ns) >= $tries
)
SELECT 'warning' AS severity,
  CASE WHEN bool_and(doubtful) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat('conversion to private of gpa ', fmt_hex(arg_max(gpa, rank)), ' met a DMA mapping (iova ', fmt_hex(arg_max(iova, rank)),
    ', offset ', fmt_hex(arg_max(where_at, rank)), ') ', max(tries), ' times',
    CASE WHEN count(*) > 1 THEN concat('; ', count(*), ' conversions did so') ELSE '' END) AS title,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  CASE WHEN stays THEN 'the mapping is never taken down: find why the device keeps it'
    ELSE 'unmap for DMA before converting to private, not after the first EAGAIN' END AS hint,
  list(evidence ORDER BY since_ns)[1:10] AS evidence
FROM (SELECT *, struct_pack(tries := tries, since := -since_ns) AS rank, EXISTS (SELECT 1 FROM lost WHERE coalesce(from_ns, 0) <= p.until_ns
    AND coalesce(to_ns, 9223372036854775807) >= p.since_ns) AS doubtful FROM per_conversion p)
GROUP BY vm_id, stays
