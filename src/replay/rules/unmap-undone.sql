-- name: unmap-undone
-- severity: info
-- needs: attempts, host-faults
-- rows: conversion_attempt
-- summary: The host unmapped memory to convert it and faulted it in again before it was converted.
-- param pages = 1 : pages faulted in again that count
-- param failed = 3 : tries that failed after that, from which it is a warning
WITH tries AS (
  SELECT c.conversion_id, c.vm_id, c.gmem_id, c.vcpu, c.gpa, c."offset", c.size, c.outcome, c.certainty, a.attempt, a.tid, a.start_ns, a.end_ns, a.errno,
    lead(a.start_ns) OVER w AS next_start, lead(coalesce(a.end_ns, a.start_ns)) OVER w AS next_end, lead(a.errno) OVER w AS next_errno,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM conversion c JOIN conversion_attempt a USING (conversion_id)
  WHERE c.direction = 'to_private' AND c.mechanism IN ('gmem-attributes', 'gmem-convert') AND c."offset" IS NOT NULL
    AND c.certainty IN ('observed', 'inferred')
  WINDOW w AS (PARTITION BY a.conversion_id ORDER BY a.attempt)
), unmapped AS (
  -- A try that fails has unmapped its whole range from the host; the notifier inside it tells where that was.
  SELECT t.*, h.address AS hva FROM tries t
  LEFT JOIN memory_event h ON h.kind = kind_code('hva_unmap') AND h.tid = t.tid AND h.ts_ns BETWEEN t.start_ns AND t.end_ns AND h.size = t.size
  WHERE t.errno > 0 AND t.next_start IS NOT NULL
  UNION ALL BY NAME
  -- What the VMM unmaps itself, before it tries at all.
  SELECT t.conversion_id, t.vm_id, t.gmem_id, t.vcpu, t.gpa, t."offset", t.size, t.outcome, t.certainty, 0 AS attempt, t.tid, h.ts_ns AS start_ns, h.ts_ns AS end_ns,
    t.start_ns AS next_start, coalesce(t.end_ns, t.start_ns) AS next_end, t.errno AS next_errno, t.evidence, h.address AS hva
  FROM tries t JOIN conversion c USING (conversion_id) JOIN memory_event h ON h.kind = kind_code('hva_unmap') AND h.tid = t.tid AND h.size = t.size
    AND h.ts_ns BETWEEN coalesce(c.exit_ns, c.request_ns) AND t.start_ns
  WHERE t.attempt = 1 AND c.origin <> 'vmm'
), touches AS (
  SELECT u.conversion_id, u.attempt, CAST(p.pgoff AS BIGINT) * 4096 AS page, p.tid, p.ts_ns
  FROM unmapped u JOIN gmem g ON g.gmem_id = u.gmem_id
  JOIN {probe? kvm_gmem_fault_user_mapping: ino, pgoff} p ON p.ino = g.inode AND p.pgoff * 4096 >= u."offset" AND p.pgoff * 4096 < u."offset" + u.size
    AND p.ts_ns BETWEEN u.start_ns AND u.next_end
  UNION
  SELECT u.conversion_id, u.attempt, CAST(floor((CAST(f.address AS DOUBLE) - u.hva) / 4096) * 4096 AS BIGINT) + u."offset" AS page, f.tid, f.ts_ns
  FROM unmapped u JOIN {event? exceptions.page_fault_user: address} f
    ON CAST(f.address AS DOUBLE) >= u.hva AND CAST(f.address AS DOUBLE) < u.hva + u.size AND f.ts_ns BETWEEN u.start_ns AND u.next_end
), undone AS (
  SELECT u.conversion_id, any_value(u.vm_id) AS vm_id, any_value(u.gmem_id) AS gmem_id, any_value(u.vcpu) AS vcpu, any_value(u.gpa) AS gpa,
    any_value(u.size) AS size, any_value(u.outcome) AS outcome, any_value(u.certainty) AS certainty, any_value(u.evidence) AS evidence,
    count(DISTINCT t.page) AS pages, count(DISTINCT u.attempt) FILTER (u.next_errno > 0) AS failed, min(t.tid) AS toucher,
    min(t.ts_ns) AS since_ns, max(u.next_end) AS until_ns,
    bool_and(u.attempt = 0) AS is_first
  FROM unmapped u JOIN touches t ON t.conversion_id = u.conversion_id AND t.attempt = u.attempt
  GROUP BY u.conversion_id HAVING count(DISTINCT t.page) >= $pages
)
SELECT CASE WHEN max(failed) >= $failed THEN 'warning' ELSE 'info' END AS severity,
  CASE WHEN bool_and(lost_within(since_ns, until_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, min(gmem_id) AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat(fmt_counted(sum(pages), 'page'), ' of ', fmt_range(arg_max(gpa, rank), arg_max(size, rank)), one_or_more(sum(pages), ' was', ' were'), ' faulted in again by ',
    coalesce((SELECT max(comm) FROM task WHERE task.tid = toucher), 'thread'), ' (', toucher, ') between ', CASE WHEN bool_and(is_first) THEN 'its unmap and the first try' ELSE 'two tries' END, ' to make it private; ',
    max(failed), ' tries failed after that', CASE WHEN count(*) > 1 THEN concat('; ', count(*), ' conversions met this') ELSE '' END) AS title,
  [concat(fmt_ns(sum(until_ns - since_ns)), ' from the touch to the try after it, and each try unmaps the range anew')] AS details,
  min(since_ns) AS since_ns, max(until_ns) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  'stop what touches the memory before converting it, not after the first EAGAIN: each try unmaps it anew' AS hint,
  list(evidence ORDER BY since_ns)[1:10] AS evidence
FROM (SELECT *, struct_pack(failed := failed, first := -conversion_id) AS rank FROM undone) GROUP BY vm_id, toucher
