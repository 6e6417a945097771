-- name: dma-mapped-at-flip
-- severity: error
-- needs: dma, attempts
-- rows: dma_map, conversion_attempt
-- summary: Memory became private in place while a device could still reach it by DMA.
-- param count = 1 : conversions that count
WITH met AS (
  SELECT c.conversion_id, c.vm_id, c.gmem_id, c.vcpu, c.gpa, c.size, c.commit_ns, c.resume_ns, d.iova, d."offset", d.tid, d.mapped_ns,
    d.unmapped_ns, least(c.certainty, d.certainty) AS certainty,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM conversion c JOIN conversion_attempt a ON a.conversion_id = c.conversion_id AND a.errno = 0
  JOIN dma_map d ON d.gmem_id = c.gmem_id AND d."offset" < c."offset" + c.size AND d."offset" + d.size > c."offset"
    -- Mapped before the try that went through began, and still when it had ended.
    AND d.mapped_ns < a.start_ns AND coalesce(d.unmapped_ns, 9223372036854775807) > a.end_ns
    -- Where unmapping is not recorded, its absence says nothing.
    AND (d.unmapped_ns IS NOT NULL OR EXISTS (FROM dma_map WHERE unmapped_ns IS NOT NULL)
      OR EXISTS (FROM trace WHERE list_contains(enabled_events, 'iommu:unmap')))
  WHERE c.direction = 'to_private' AND c.outcome = 'done' AND c.mechanism IN ('gmem-attributes', 'gmem-convert')
    AND c.certainty IN ('observed', 'inferred') AND d.certainty IN ('observed', 'inferred')
)
SELECT 'error' AS severity,
  CASE WHEN lost_within(min(mapped_ns), max(commit_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, arg_min(vcpu, conversion_id) AS vcpu,
  concat(fmt_range(min(gpa), arg_min(size, struct_pack(gpa := gpa, size := size))), ' became private while iova ', fmt_hex(arg_min(iova, struct_pack(gpa := gpa, iova := iova))), ' still mapped it for DMA',
    CASE WHEN bool_or(unmapped_ns IS NULL) THEN ', to the end of the trace'
      ELSE concat(', for ', fmt_ns(max(unmapped_ns - commit_ns)), ' more') END,
    CASE WHEN count(DISTINCT conversion_id) > 1 THEN concat('; ', count(DISTINCT conversion_id), ' conversions did so') ELSE '' END) AS title,
  min(commit_ns) AS since_ns, max(coalesce(unmapped_ns, resume_ns, commit_ns)) AS until_ns,
  count(DISTINCT conversion_id) AS count, min(certainty) AS certainty,
  'a pinned page cannot become private, so this mapping was made without a pin (PFNMAP, dma-buf, peer): unmap it before the conversion' AS hint,
  list_sort(list(DISTINCT evidence))[1:10] AS evidence
FROM met GROUP BY vm_id, tid HAVING count(DISTINCT conversion_id) >= $count
