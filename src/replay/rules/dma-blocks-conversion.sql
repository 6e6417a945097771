-- name: dma-blocks-conversion
-- severity: warning
-- needs: attempts, dma
-- rows: conversion_attempt
-- summary: A DMA mapping of the memory keeps a conversion from succeeding, or taking it down and making it anew takes most of the time.
-- param tries = 1 : failed attempts that a mapping must have met
-- param share = 50 : percent of the VMM's time before or after the ioctl that mapping and unmapping for DMA must take
-- param region = 8 : times the size of the conversion that was mapped and unmapped for it
-- param min_ns = 1000000 : shortest time before or after the ioctl that counts, ns
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
), calls AS (
  -- VFIO_IOMMU_MAP_DMA and _UNMAP_DMA, IOMMU_IOAS_MAP, _UNMAP, _COPY and _MAP_FILE.
  SELECT e.tid, e.ts_ns AS start_ns, x.ts_ns AS end_ns FROM memory_event e
  ASOF JOIN (SELECT tid, ts_ns FROM memory_event WHERE kind = kind_code('ioctl_exit')) x ON x.tid = e.tid AND x.ts_ns >= e.ts_ns
  WHERE e.kind = kind_code('ioctl_enter') AND e.value IN (15217, 15218, 15235, 15237, 15238, 15247)
), phases AS (
  SELECT c.conversion_id, 'before' AS phase, c.exit_ns AS from_ns, (SELECT min(start_ns) FROM conversion_attempt a WHERE a.conversion_id = c.conversion_id) AS to_ns
  FROM conversion c WHERE c.outcome = 'done' AND c.origin <> 'vmm' AND c.size > 0 AND c.certainty IN ('observed', 'inferred')
  UNION ALL
  SELECT conversion_id, 'after' AS phase, commit_ns AS from_ns, resume_ns AS to_ns
  FROM conversion WHERE outcome = 'done' AND origin <> 'vmm' AND size > 0 AND certainty IN ('observed', 'inferred')
), moved AS (
  SELECT k.tid, k.start_ns, sum(m.size) AS bytes FROM (SELECT tid, ts_ns, size FROM memory_event WHERE kind IN (kind_code('dma_map'), kind_code('dma_unmap'))) m
  ASOF JOIN calls k ON k.tid = m.tid AND m.ts_ns >= k.start_ns WHERE m.ts_ns <= k.end_ns GROUP BY k.tid, k.start_ns
), busy AS (
  SELECT p.conversion_id, p.phase, p.from_ns, p.to_ns, sum(k.end_ns - k.start_ns) AS ns, sum(m.bytes) AS bytes
  FROM calls k ASOF JOIN (SELECT p.*, c.tid FROM phases p JOIN conversion c USING (conversion_id) WHERE p.from_ns IS NOT NULL) p ON p.tid = k.tid AND k.start_ns >= p.from_ns
  LEFT JOIN moved m ON m.tid = k.tid AND m.start_ns = k.start_ns
  WHERE k.end_ns <= p.to_ns AND p.to_ns - p.from_ns >= $min_ns GROUP BY p.conversion_id, p.phase, p.from_ns, p.to_ns
), slow AS (
  SELECT b.*, c.vm_id, c.gmem_id, c.vcpu, c.gpa, c.size, c.direction, c.certainty, b.bytes / c.size AS ratio, lost_within(b.from_ns, b.to_ns) AS doubtful,
    struct_pack(ns := b.ns, since := -b.from_ns) AS rank, evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM busy b JOIN conversion c USING (conversion_id) WHERE b.ns > $share / 100.0 * (b.to_ns - b.from_ns) AND b.bytes / $region >= c.size
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
UNION ALL BY NAME
SELECT 'warning' AS severity, CASE WHEN bool_and(doubtful) THEN 'inconclusive' ELSE 'fail' END AS verdict, vm_id, min(gmem_id) AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat(arg_max(direction, rank), ' ', fmt_range(arg_max(gpa, rank), arg_max(size, rank)), ': mapping and unmapping ', fmt_bytes(CAST(arg_max(bytes, rank) AS BIGINT)), ' for DMA ', phase, ' the ioctl took ',
    fmt_ns(max(ns)), ' of ', fmt_ns(arg_max(to_ns - from_ns, rank)), CASE WHEN count(*) > 1 THEN concat('; ', count(*), ' conversions did so') ELSE '' END) AS title,
  min(from_ns) AS since_ns, max(to_ns) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  'far more is taken down and mapped anew than is converted: map in pieces of the conversion''s size, for whole entries alone can be unmapped' AS hint,
  list(evidence ORDER BY from_ns)[1:10] AS evidence
FROM slow GROUP BY vm_id, phase
