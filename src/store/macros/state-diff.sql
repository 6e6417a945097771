-- state_diff(t1, t2): ranges whose display state is not the same at t1 and t2 (ns). A side that knows nothing of a
-- range is NULL. Ranges are cut where either side has a border; `certainty` is the weaker of the two sides,
-- unknown where one of them knows nothing.
CREATE OR REPLACE MACRO state_diff(t1, t2) AS TABLE
WITH
  side AS (
    SELECT 1 AS side, * FROM gmem_interval WHERE from_ns <= t1 AND (to_ns IS NULL OR t1 < to_ns)
    UNION ALL
    SELECT 2 AS side, * FROM gmem_interval WHERE from_ns <= t2 AND (to_ns IS NULL OR t2 < to_ns)
  ),
  placed AS (
    -- Ranges lie on the axis of guest_memfd offsets, or of gpas where no guest_memfd is known.
    SELECT *, "offset" IS NULL AS by_gpa, coalesce("offset", gpa) AS first, coalesce("offset", gpa) + size AS last
    FROM side
  ),
  border AS (
    SELECT DISTINCT vm_id, gmem_id, by_gpa, unnest([first, last]) AS edge FROM placed
  ),
  piece AS (
    SELECT
      vm_id,
      gmem_id,
      by_gpa,
      edge AS first,
      lead(edge) OVER (PARTITION BY vm_id, gmem_id, by_gpa ORDER BY edge) AS last
    FROM border
  ),
  compared AS (
    SELECT
      p.vm_id,
      p.gmem_id,
      p.by_gpa,
      p.first,
      p.last,
      max(s.gpa + (p.first - s.first)) AS gpa,
      max(s.state) FILTER (s.side = 1) AS state_before,
      max(s.state) FILTER (s.side = 2) AS state_after,
      max(s.attribute) FILTER (s.side = 1) AS attribute_before,
      max(s.attribute) FILTER (s.side = 2) AS attribute_after,
      CASE
        WHEN min(s.side) < max(s.side) THEN max(list_position(['observed', 'inferred', 'assumed', 'unknown'], s.certainty))
        ELSE 4
      END AS doubt
    FROM piece AS p
    JOIN placed AS s
      ON s.vm_id IS NOT DISTINCT FROM p.vm_id
      AND s.gmem_id IS NOT DISTINCT FROM p.gmem_id
      AND s.by_gpa = p.by_gpa
      AND s.first < p.last
      AND s.last > p.first
    WHERE p.last IS NOT NULL
    GROUP BY p.vm_id, p.gmem_id, p.by_gpa, p.first, p.last
  )
SELECT
  vm_id,
  gmem_id,
  gpa,
  CASE WHEN by_gpa THEN NULL ELSE first END AS "offset",
  last - first AS size,
  state_before,
  state_after,
  attribute_before,
  attribute_after,
  ['observed', 'inferred', 'assumed', 'unknown'][doubt] AS certainty
FROM compared
WHERE state_before IS DISTINCT FROM state_after
ORDER BY vm_id, gmem_id, first
