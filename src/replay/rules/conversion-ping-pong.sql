-- name: conversion-ping-pong
-- severity: info
-- needs: conversions
-- rows: conversion
-- summary: The same memory is converted to and fro many times a second.
-- param flips = 4 : changes of direction within the window
-- param window_ns = 1000000000 : the window, ns
-- param warn_share = 10 : percent of the time, spent in these conversions, from which it is a warning
WITH flips AS (
  SELECT conversion_id, vm_id, gmem_id, vcpu, direction, origin, gpa, size, coalesce(commit_ns, resume_ns) AS ts_ns,
    coalesce(stop_ns, 0) AS cost_ns, certainty, evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns) AS evidence
  FROM conversion
  WHERE outcome = 'done' AND origin <> 'vmm' AND gpa IS NOT NULL AND size > 0 AND direction IS NOT NULL
    AND certainty IN ('observed', 'inferred')
), places AS (
  -- Where most flips overlap one of them begins: these addresses are enough.
  SELECT DISTINCT vm_id, gpa AS place FROM flips WHERE ts_ns IS NOT NULL
), spread AS (
  -- By the power of two that holds its size a range lies in one or two blocks: an equality to join by, for ranges alone
  -- would be compared each with each.
  SELECT *, unnest(list_distinct([CAST(gpa AS BIGINT) >> bits, (CAST(gpa AS BIGINT) + CAST(size AS BIGINT) - 1) >> bits])) AS block
  FROM (SELECT *, CAST(ceil(log2(size)) AS INTEGER) AS bits FROM flips)
), blocks AS (
  SELECT vm_id, place, bits, CAST(place AS BIGINT) >> bits AS block
  FROM places JOIN (SELECT DISTINCT vm_id, bits FROM spread) USING (vm_id)
), turned AS (
  SELECT f.* EXCLUDE (bits, block), p.place, coalesce(lag(f.direction) OVER w <> f.direction, true) AS is_turn
  FROM blocks p JOIN spread f ON f.vm_id = p.vm_id AND f.bits = p.bits AND f.block = p.block
    AND f.gpa <= p.place AND f.gpa + f.size > p.place
  WINDOW w AS (PARTITION BY f.vm_id, p.place ORDER BY f.ts_ns, f.conversion_id)
), paced AS (
  SELECT *, lag(ts_ns, $flips - 1) OVER (PARTITION BY vm_id, place ORDER BY ts_ns, conversion_id) AS first_ns
  FROM turned WHERE is_turn
), hot AS (
  SELECT vm_id, place, min(first_ns) AS since_ns, max(ts_ns) AS until_ns FROM paced
  WHERE ts_ns - first_ns <= $window_ns GROUP BY vm_id, place
), grouped AS (
  SELECT t.vm_id, count(DISTINCT t.place) AS places, count(DISTINCT t.conversion_id) AS n, min(t.gmem_id) AS gmem_id,
    arg_min(t.vcpu, t.conversion_id) AS vcpu, min(t.place) AS gpa,
    bool_and(t.origin = 'implicit') AS is_alias, min(h.since_ns) AS since_ns, max(h.until_ns) AS until_ns,
    min(t.certainty) AS certainty
  FROM hot h JOIN turned t ON t.vm_id = h.vm_id AND t.place = h.place AND t.ts_ns BETWEEN h.since_ns AND h.until_ns
  GROUP BY t.vm_id
), costs AS (
  SELECT vm_id, sum(cost_ns) AS cost_ns, list(evidence ORDER BY ts_ns)[1:10] AS evidence
  FROM (SELECT DISTINCT t.vm_id, t.conversion_id, t.cost_ns, t.ts_ns, t.evidence FROM turned t
    JOIN hot h ON t.vm_id = h.vm_id AND t.place = h.place AND t.ts_ns BETWEEN h.since_ns AND h.until_ns)
  GROUP BY vm_id
)
SELECT CASE WHEN is_alias OR cost_ns * 100 > $warn_share * (until_ns - since_ns) THEN 'warning' ELSE 'info' END AS severity,
  'fail' AS verdict, vm_id, gmem_id, vcpu,
  concat(fmt_count(places), ' place(s) from gpa ', fmt_hex(gpa), ' flipped ', fmt_count(n), ' times in ', fmt_ns(until_ns - since_ns),
    CASE WHEN is_alias THEN ', each time by a fault' ELSE '' END, ', ', fmt_ns(cost_ns), ' of stops in all') AS title,
  since_ns, until_ns, n AS count, certainty,
  CASE WHEN is_alias THEN 'the guest touches the same page both ways: look for a page that is mapped private and shared at once'
    ELSE 'the guest allocates and frees shared memory for each use: keep a pool (swiotlb), and convert it once' END AS hint,
  evidence
FROM grouped JOIN costs USING (vm_id)
