-- latency(by_name): the guest-visible stop of conversions (conversion.stop_ns, ns) by a column of `conversion`: vm, vcpu,
-- gmem, direction, origin, request, mechanism, outcome, size, epoch. Those whose stop was not seen are counted in
-- `unmeasured` only. Percentiles are values that occurred.
CREATE OR REPLACE MACRO latency(by_name) AS TABLE
SELECT
  CASE by_name
    WHEN 'vm' THEN CAST(vm_id AS VARCHAR)
    WHEN 'vcpu' THEN CAST(vcpu AS VARCHAR)
    WHEN 'gmem' THEN CAST(gmem_id AS VARCHAR)
    WHEN 'direction' THEN direction
    WHEN 'origin' THEN origin
    WHEN 'request' THEN request
    WHEN 'mechanism' THEN mechanism
    WHEN 'outcome' THEN outcome
    WHEN 'size' THEN CAST(size AS VARCHAR)
    WHEN 'epoch' THEN CAST(epoch AS VARCHAR)
    ELSE error(
      'latency(by): by is one of vm, vcpu, gmem, direction, origin, request, mechanism, outcome, size, epoch'
    )
  END AS value,
  count(stop_ns) AS count,
  count(*) - count(stop_ns) AS unmeasured,
  min(stop_ns) AS min_ns,
  quantile_disc(stop_ns, 0.5) AS p50_ns,
  quantile_disc(stop_ns, 0.9) AS p90_ns,
  quantile_disc(stop_ns, 0.99) AS p99_ns,
  max(stop_ns) AS max_ns,
  CAST(round(avg(stop_ns)) AS BIGINT) AS mean_ns
FROM conversion
GROUP BY ALL
ORDER BY value
