/** The phases of a conversion between its time stamps, in order (docs of table conversion). */
export const PHASES = ['to_userspace', 'coordination', 'commit', 'resume', 'first_use'] as const;

/**
 * Latency of one conversion in ns: the stop that the guest saw; of one that the VMM made by itself, where nobody
 * waited, the time of its ioctls. NULL where a border was not seen. Columns of table conversion.
 */
export const LATENCY_SQL = `CASE WHEN origin = 'vmm' THEN coalesce(stop_ns, commit_ns - request_ns) ELSE stop_ns END`;

/** Size buckets in pages, as conversion-stall compares them. */
export const SIZE_BUCKET_SQL = `CASE WHEN size IS NULL THEN NULL WHEN size <= 4096 THEN '1 page' WHEN size < 16 * 4096 THEN '2-15 pages'
  WHEN size < 512 * 4096 THEN '16-511 pages' WHEN size = 512 * 4096 THEN '512 pages' ELSE 'over 512 pages' END`;

/**
 * Query that gives one row a phase: conversion_id, phase, since_ns, ns. `from` is a query or table with the columns of conversion.
 * A border that was not seen merges the phases on its two sides: `coordination+commit`.
 */
export function phasesSql(from: string): string {
  return `
    WITH c AS (${from}),
    tries AS (SELECT conversion_id, min(start_ns) AS start_ns FROM conversion_attempt GROUP BY conversion_id),
    borders AS (
      SELECT conversion_id, unnest([0, 1, 2, 3, 4, 5]) AS border,
        unnest([request_ns, exit_ns, start_ns, commit_ns, resume_ns, first_use_ns]) AS at_ns
      FROM c LEFT JOIN tries USING (conversion_id)),
    steps AS (
      SELECT conversion_id, border, at_ns, lag(border) OVER w AS since, lag(at_ns) OVER w AS since_ns
      FROM borders WHERE at_ns IS NOT NULL
      WINDOW w AS (PARTITION BY conversion_id ORDER BY border))
    SELECT conversion_id, since AS first_border,
      array_to_string(list_slice(['${PHASES.join("', '")}'], since + 1, border), '+') AS phase,
      since_ns, at_ns - since_ns AS ns
    FROM steps WHERE since IS NOT NULL AND at_ns >= since_ns`;
}

/**
 * Query that gives one row a wait between a refused attempt and the next one: conversion_id, since_ns, ns. It lies within
 * `commit`. Ioctls of a range that the VMM splits are no retries: what succeeded is not waited for.
 */
export const RETRY_WAITS_SQL = `
  SELECT conversion_id, end_ns AS since_ns, next_ns - end_ns AS ns
  FROM (SELECT *, lead(start_ns) OVER (PARTITION BY conversion_id ORDER BY attempt) AS next_ns FROM conversion_attempt)
  WHERE errno > 0 AND next_ns >= end_ns`;
