/**
 * Runs of requests that one request could have done: what the rule small-conversions finds and the latency report counts
 * (reference chapter 07 §14).
 */

/**
 * The macro neighbour_runs(pages, gap_ns): rows of `conversion` that were done for the guest, of at most so many pages,
 * with `run`, which is the same for requests of one vCPU that follow each other within gap_ns over adjacent gpas
 * (ascending or descending). A run is told apart by vm_id, tid, direction, origin and run; it may be one request long.
 */
export const NEIGHBOUR_RUNS = `
  CREATE OR REPLACE MACRO neighbour_runs(most_pages, gap_ns) AS TABLE
  WITH asked AS (
    SELECT *, lag(gpa) OVER w AS last_gpa, lag(size) OVER w AS last_size, lag(resume_ns) OVER w AS last_resume
    FROM conversion
    -- One page a request is all that these can do: GHCB MSR protocol, pKVM calls.
    WHERE outcome = 'done' AND origin <> 'vmm' AND request NOT IN ('snp-psc-msr', 'pkvm-hvc') AND gpa IS NOT NULL
      AND size BETWEEN 1 AND most_pages * 4096 AND request_ns IS NOT NULL AND certainty IN ('observed', 'inferred')
      -- Those after a reboot have a rule of their own.
      AND conversion_id NOT IN (
        SELECT conversion_id FROM memory_fault WHERE cause = 'stale-after-reboot' AND conversion_id IS NOT NULL)
    WINDOW w AS (PARTITION BY vm_id, tid, direction, origin ORDER BY request_ns, conversion_id)
  ), stepped AS (
    SELECT *, CASE WHEN request_ns - last_resume > gap_ns OR last_resume IS NULL THEN 0
      WHEN gpa = last_gpa + last_size THEN 1 WHEN gpa + size = last_gpa THEN -1 ELSE 0 END AS step
    FROM asked
  )
  -- A sum over ROWS: DuckDB takes fifty times as long for count(*) FILTER over the default frame.
  SELECT *, sum(CASE WHEN step = 0 THEN 1 ELSE 0 END)
    OVER (PARTITION BY vm_id, tid, direction, origin ORDER BY request_ns, conversion_id ROWS UNBOUNDED PRECEDING) AS run
  FROM stepped;`;
