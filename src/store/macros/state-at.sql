-- state_at(t): every known range as it was at t (ns): the intervals that begin at or before t and end after it.
CREATE OR REPLACE MACRO state_at(t) AS TABLE
SELECT *
FROM gmem_interval
WHERE
  from_ns <= t
  AND (to_ns IS NULL OR t < to_ns)
ORDER BY vm_id, gmem_id, "offset", gpa
