-- name: conversion-ping-pong
-- severity: info
-- needs: conversions
-- rows: conversion
-- summary: The same memory is converted to and fro many times a second.
-- param flips = 4 : changes of direction within the window
-- param window_ns = 1000000000 : the window, ns
-- param warn_share = 10 : percent of the time, spent in these conversions, from which it is a warning
WITH flips AS (
  SELECT conversion_id, vm_id, gmem_id, vcpu, tid, direction, origin, mechanism, gpa, size, coalesce(commit_ns, resume_ns) AS ts_ns, resume_ns,
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
    bool_and(t.origin = 'implicit') AS is_implicit, min(h.since_ns) AS since_ns, max(h.until_ns) AS until_ns,
    min(t.certainty) AS certainty
  FROM hot h JOIN turned t ON t.vm_id = h.vm_id AND t.place = h.place AND t.ts_ns BETWEEN h.since_ns AND h.until_ns
  GROUP BY t.vm_id
), hot_flips AS (
  SELECT DISTINCT t.vm_id, t.conversion_id, t.vcpu, t.tid, t.gpa, t.size, t.direction, t.mechanism, t.resume_ns, t.cost_ns, t.ts_ns, t.evidence FROM turned t
  JOIN hot h ON t.vm_id = h.vm_id AND t.place = h.place AND t.ts_ns BETWEEN h.since_ns AND h.until_ns
), rips AS (
  -- After a fault the vCPU enters again at the instruction that faulted. Protected state shows one address for all.
  SELECT f.vm_id, count(DISTINCT e.address) AS n
  FROM hot_flips f JOIN memory_event e ON e.kind = kind_code('guest_entry') AND e.tid = f.tid AND e.ts_ns = f.resume_ns
  GROUP BY f.vm_id
), costs AS (
  SELECT f.vm_id, sum(cost_ns) AS cost_ns, list(evidence ORDER BY ts_ns)[1:10] AS evidence,
    sum(size) FILTER (mechanism = 'vm-attributes') AS moved, count(DISTINCT vcpu) > 1 OR coalesce(any_value(r.n), 0) > 1 AS is_from_two
  FROM hot_flips f LEFT JOIN rips r USING (vm_id) GROUP BY f.vm_id
), borders AS (
  -- How many flips cover a place changes where ranges begin and end.
  SELECT vm_id, place, sum(flips) AS flips, sum(cost_ns) AS cost_ns FROM (
    SELECT vm_id, gpa AS place, 1 AS flips, cost_ns FROM hot_flips UNION ALL SELECT vm_id, gpa + size, -1, -cost_ns FROM hot_flips)
  GROUP BY vm_id, place
), counted AS (
  SELECT vm_id, place, flips, sum(flips) OVER w AS n, sum(cost_ns) OVER w AS cost_ns
  FROM borders WINDOW w AS (PARTITION BY vm_id ORDER BY place ROWS UNBOUNDED PRECEDING)
), runs AS (
  SELECT vm_id, place AS gpa, lead(place) OVER (PARTITION BY vm_id ORDER BY place) - place AS size, n, cost_ns FROM counted WHERE flips <> 0
), told AS (
  SELECT vm_id, list(concat(fmt_range(gpa, size), ' ', n, ' times, ', fmt_ns(cost_ns)) ORDER BY n DESC, gpa)[1:5] AS lines, count(*) AS runs
  FROM runs WHERE n >= $flips GROUP BY vm_id
), joined AS (
  SELECT g.*, c.* EXCLUDE (vm_id), t.lines, t.runs, is_implicit AND is_from_two AS is_alias
  FROM grouped g JOIN costs c USING (vm_id) LEFT JOIN told t USING (vm_id)
)
SELECT CASE WHEN is_alias OR cost_ns * 100 > $warn_share * (until_ns - since_ns) THEN 'warning' ELSE 'info' END AS severity,
  'fail' AS verdict, vm_id, gmem_id, vcpu,
  concat(fmt_counted(places, 'place'), ' from gpa ', fmt_hex(gpa), ' flipped ', fmt_count(n), ' times in ', fmt_ns(until_ns - since_ns),
    CASE WHEN is_implicit THEN ', each time by a fault' ELSE '' END, ', ', fmt_ns(cost_ns), ' of stops in all') AS title,
  list_filter([
    concat(printf('%.1f', n / greatest((until_ns - since_ns) / 1e9, 1e-3)), ' flips a second'),
    CASE WHEN moved > 0 THEN concat(fmt_bytes(moved), ' of memory moved between its two places: freed in the one, allocated and zeroed in the other') END,
    CASE WHEN runs > 0 THEN concat('by run of memory that flipped alike: ', array_to_string(lines, '; '), CASE WHEN runs > 5 THEN '; …' ELSE '' END) END
  ], lambda line: line IS NOT NULL) AS details,
  since_ns, until_ns, n AS count, certainty,
  CASE WHEN is_alias THEN 'the guest touches the same page both ways, from several vCPUs or places: look for a page that is mapped private and shared at once'
    WHEN is_implicit THEN 'one place of the guest touches the page now one way and now the other: let it ask, and keep a pool of shared memory'
    ELSE 'the guest allocates and frees shared memory for each use: keep a pool (swiotlb), and convert it once' END AS hint,
  evidence
FROM joined
