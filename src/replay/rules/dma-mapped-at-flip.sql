-- name: dma-mapped-at-flip
-- severity: error
-- needs: dma, attempts
-- rows: conversion_attempt
-- summary: Memory became private while a device could still reach it by DMA, or shared and no device can.
-- param count = 1 : conversions that count
-- param map_ns = 1000000000 : how long after a conversion to shared the VMM may take to map it for DMA, ns
-- param followed = 4 : conversions to shared that it must have mapped for one without to count
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
), elsewhere AS (
  -- Shared memory that lies elsewhere: QEMU converts first and unmaps then, which does no harm until the guest runs on.
  SELECT c.conversion_id, c.vm_id, c.gmem_id, c.vcpu, c.gpa, c.size, c.commit_ns, d.iova, d.tid, d.mapped_ns, d.unmapped_ns, least(c.certainty, d.certainty) AS certainty,
    coalesce((SELECT max(e.ts_ns) FROM memory_event e WHERE e.kind = kind_code('ioctl_enter') AND e.value = 44672 AND e.tid = c.tid AND e.ts_ns BETWEEN c.commit_ns AND c.resume_ns), c.resume_ns) AS run_ns,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM conversion c JOIN dma_map d ON d.gmem_id = c.gmem_id AND d."offset" < c."offset" + c.size AND d."offset" + d.size > c."offset"
    AND d.mapped_ns < coalesce(c.exit_ns, c.request_ns) AND coalesce(d.unmapped_ns, 9223372036854775807) > c.commit_ns
    AND (d.unmapped_ns IS NOT NULL OR EXISTS (FROM dma_map WHERE unmapped_ns IS NOT NULL)
      OR EXISTS (FROM trace WHERE list_contains(enabled_events, 'iommu:unmap')))
  WHERE c.direction = 'to_private' AND c.outcome = 'done' AND c.mechanism = 'vm-attributes' AND c.origin <> 'vmm' AND c.resume_ns IS NOT NULL
    AND c.certainty IN ('observed', 'inferred') AND d.certainty IN ('observed', 'inferred')
), maps AS (
  SELECT tid, ts_ns, kind = kind_code('dma_map') AS is_map, CAST(address AS BIGINT) AS iova, CAST(size AS BIGINT) AS size
  -- Beyond any guest address a sum would overflow.
  FROM memory_event WHERE kind IN (kind_code('dma_map'), kind_code('dma_unmap')) AND address < 4e18 AND size < 4e18
), given AS (
  SELECT * FROM conversion WHERE direction = 'to_shared' AND outcome = 'done' AND origin <> 'vmm' AND gpa IS NOT NULL AND commit_ns IS NOT NULL AND resume_ns IS NOT NULL
    AND certainty IN ('observed', 'inferred')
), habits AS (
  -- Where the VMM maps after such conversions, it shows how iovas follow from guest addresses.
  SELECT vm_id, distance, count(*) AS n FROM (
    SELECT c.vm_id, c.conversion_id, arg_min(m.iova, struct_pack(ts := m.ts_ns, iova := m.iova)) - c.gpa AS distance
    FROM given c JOIN maps m ON m.is_map AND m.tid = c.tid AND m.ts_ns BETWEEN c.commit_ns AND c.resume_ns GROUP BY c.vm_id, c.conversion_id, c.gpa)
  GROUP BY vm_id, distance HAVING count(*) >= $followed
), candidates AS (
  SELECT c.*, h.n, c.gpa + h.distance AS iova FROM given c JOIN habits h ON h.vm_id = c.vm_id
  WHERE (SELECT max(last_ns) FROM trace) - c.commit_ns >= $map_ns
    AND NOT EXISTS (SELECT 1 FROM maps m WHERE m.is_map AND m.iova = c.gpa + h.distance AND m.ts_ns BETWEEN c.commit_ns AND c.commit_ns + $map_ns)
), reached AS (
  -- Mapped otherwise, or from before. No equality in the join: with one DuckDB compares each with each, without one it sorts both.
  SELECT c.conversion_id, bool_or(m.is_map AND m.ts_ns BETWEEN c.commit_ns AND c.commit_ns + $map_ns) AS is_after,
    arg_max(m.is_map, m.ts_ns) FILTER (m.ts_ns < c.commit_ns) AS is_before
  FROM candidates c JOIN maps m ON m.iova < c.iova + c.size AND m.iova + m.size > c.iova GROUP BY c.conversion_id
), taken_back AS (
  SELECT DISTINCT c.conversion_id FROM candidates c JOIN (SELECT vm_id, gpa, gpa + size AS past, coalesce(request_ns, exit_ns, commit_ns) AS at_ns FROM conversion WHERE direction = 'to_private') b
    ON b.gpa < c.gpa + c.size AND b.past > c.gpa
  WHERE b.vm_id - c.vm_id = 0 AND b.at_ns BETWEEN c.commit_ns AND c.commit_ns + $map_ns
), unreached AS (
  SELECT c.*, evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence FROM candidates c LEFT JOIN reached r USING (conversion_id)
  WHERE NOT coalesce(r.is_after, false) AND NOT coalesce(r.is_before, false) AND c.conversion_id NOT IN (SELECT conversion_id FROM taken_back)
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
UNION ALL BY NAME
SELECT CASE WHEN is_stale THEN 'error' ELSE 'info' END AS severity,
  CASE WHEN NOT is_stale THEN 'pass' WHEN lost_within(min(mapped_ns), max(run_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, arg_min(vcpu, conversion_id) AS vcpu,
  concat(fmt_range(min(gpa), arg_min(size, struct_pack(gpa := gpa, size := size))), ' became private ', CASE WHEN is_stale THEN 'and its vCPU ran on ' ELSE '' END, 'while iova ',
    fmt_hex(arg_min(iova, struct_pack(gpa := gpa, iova := iova))), ' still mapped its shared copy for DMA',
    CASE WHEN bool_or(unmapped_ns IS NULL) THEN ', to the end of the trace' ELSE concat(', for ', fmt_ns(max(unmapped_ns - commit_ns)), ' more') END,
    CASE WHEN count(DISTINCT conversion_id) > 1 THEN concat('; ', count(DISTINCT conversion_id), ' conversions did so') ELSE '' END) AS title,
  min(commit_ns) AS since_ns, max(coalesce(unmapped_ns, run_ns)) AS until_ns, count(DISTINCT conversion_id) AS count, min(certainty) AS certainty,
  CASE WHEN is_stale THEN 'what the device writes now goes to a page that the guest has left: unmap it before KVM_RUN'
    ELSE 'it was unmapped before the vCPU ran on, as QEMU does' END AS hint,
  CASE WHEN is_stale THEN list_sort(list(DISTINCT evidence))[1:10] ELSE [] END AS evidence
FROM (SELECT *, unmapped_ns IS NULL OR unmapped_ns > run_ns AS is_stale FROM elsewhere) GROUP BY vm_id, tid, is_stale HAVING count(DISTINCT conversion_id) >= $count
UNION ALL BY NAME
SELECT 'info' AS severity, CASE WHEN bool_and(lost_within(commit_ns, commit_ns + $map_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, arg_min(vcpu, conversion_id) AS vcpu,
  concat(fmt_range(min(gpa), arg_min(size, struct_pack(gpa := gpa, size := size))), ' became shared and was not mapped for DMA in ', fmt_ns($map_ns), ', as ', fmt_count(max(n)), ' others were',
    CASE WHEN count(*) > 1 THEN concat('; ', count(*), ' conversions did so') ELSE '' END) AS title,
  min(commit_ns) AS since_ns, max(commit_ns) AS until_ns, count(*) AS count, 'inferred' AS certainty,
  'a device that is given this memory faults on it: look whether the VMM''s listener saw the conversion' AS hint,
  list(evidence ORDER BY commit_ns)[1:10] AS evidence
-- A VMM that leaves out more than it maps does so by design.
FROM unreached GROUP BY vm_id HAVING count(*) < max(n)
