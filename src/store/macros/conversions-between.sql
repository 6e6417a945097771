-- conversions_between(t1, t2): conversions under way at some time in [t1, t2] (ns), from the first stamp that was seen
-- to the last; one that is pending has no end.
CREATE OR REPLACE MACRO conversions_between(t1, t2) AS TABLE
SELECT *
FROM conversion
WHERE
  least(request_ns, exit_ns, commit_ns, resume_ns) <= t2
  AND (outcome = 'pending' OR greatest(request_ns, exit_ns, commit_ns, resume_ns) >= t1)
ORDER BY conversion_id
