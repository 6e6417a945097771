-- name: sept-contention
-- severity: info
-- needs: spte
-- platforms: tdx
-- summary: The secure page table of a TD was busy: faults are tried again inside KVM, or zaps keep its other vCPUs out.
-- param tries = 3 : times that one fault must ask for the same page
-- param faults = 8 : such faults that count
-- param latency_ns = 1000000 : a fault that took longer makes it a warning, ns
-- param kick_share = 10 : percent of the trace that zaps must have kept other vCPUs out of the guest, all together
WITH steps AS (
  SELECT trace_id, tid, cpu, seq, ts_ns, kind, address,
    sum(CASE WHEN kind = kind_code('guest_fault') THEN 1 ELSE 0 END) OVER w AS fault
  FROM memory_event WHERE kind IN (kind_code('guest_fault'), kind_code('spte_requested'), kind_code('spte_set'))
  WINDOW w AS (PARTITION BY trace_id, tid ORDER BY ts_ns, cpu, seq ROWS UNBOUNDED PRECEDING)
), asked AS (
  -- The page of a fault is asked for again and again until it is set; a fault may set several pages, one after the other.
  SELECT trace_id, tid, fault, address AS gpa, min(ts_ns) AS first_ns, count(*) AS tries
  FROM steps WHERE kind = kind_code('spte_requested') AND fault > 0
  GROUP BY trace_id, tid, fault, address
  HAVING count(*) >= $tries
), faults AS (
  SELECT a.*, f.ts_ns AS fault_ns, evidence_of(f.trace_id, f.cpu, f.seq, f.ts_ns) AS evidence, s.set_ns
  FROM asked a
  JOIN steps f ON f.trace_id = a.trace_id AND f.tid = a.tid AND f.fault = a.fault AND f.kind = kind_code('guest_fault')
  LEFT JOIN (SELECT trace_id, tid, fault, address, min(ts_ns) AS set_ns FROM steps WHERE kind = kind_code('spte_set') GROUP BY ALL) s
    ON s.trace_id = a.trace_id AND s.tid = a.tid AND s.fault = a.fault AND s.address = a.gpa
), placed AS (
  SELECT f.*, v.vm_id, v.vcpu, coalesce(f.set_ns, f.first_ns) - f.fault_ns AS latency,
    EXISTS (SELECT 1 FROM conversion c JOIN conversion_attempt t USING (conversion_id) WHERE c.vm_id = v.vm_id
      AND t.start_ns <= coalesce(f.set_ns, f.first_ns) AND coalesce(t.end_ns, t.start_ns) >= f.fault_ns) AS is_flip,
    EXISTS (SELECT 1 FROM punch p WHERE p.vm_id = v.vm_id AND p.start_ns <= coalesce(f.set_ns, f.first_ns)
      AND coalesce(p.end_ns, p.start_ns) >= f.fault_ns) AS is_punch
  FROM faults f JOIN (SELECT tid, min(vm_id) AS vm_id, min(vcpu) AS vcpu FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1) v USING (tid)
  WHERE v.vm_id IN (SELECT vm_id FROM vm WHERE platform = 'tdx')
), kicks AS (
  -- A busy zap kicks all vCPUs (kvm_exit with 0xdead: they never entered) and keeps them out until it is done.
  SELECT tid, vm_id, vcpu, back_ns, min(ts_ns) AS out_ns, min_by(evidence, ts_ns) AS evidence FROM (
    SELECT e.tid, v.vm_id, v.vcpu, e.ts_ns, n.ts_ns AS back_ns, evidence_of(e.trace_id, e.cpu, e.seq, e.ts_ns) AS evidence
    FROM memory_event e JOIN (SELECT tid, min(vm_id) AS vm_id, min(vcpu) AS vcpu FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1) v USING (tid)
    ASOF JOIN (SELECT tid, ts_ns FROM memory_event WHERE kind = kind_code('guest_entry')) n ON n.tid = e.tid AND n.ts_ns > e.ts_ns
    WHERE e.kind = kind_code('guest_exit') AND e.value = 57005 AND v.vm_id IN (SELECT vm_id FROM vm WHERE platform = 'tdx'))
  GROUP BY tid, vm_id, vcpu, back_ns
), zaps AS (
  SELECT c.vm_id, a.tid, a.start_ns, a.end_ns FROM conversion c JOIN conversion_attempt a USING (conversion_id) WHERE c.direction = 'to_shared' AND a.end_ns IS NOT NULL
  UNION ALL SELECT vm_id, tid, start_ns, end_ns FROM punch WHERE end_ns IS NOT NULL
), kept_out AS (
  -- No equality in the join: with one DuckDB compares each with each, without one it sorts both.
  SELECT DISTINCT k.*, k.back_ns - k.out_ns AS ns FROM kicks k JOIN zaps z ON z.start_ns <= k.back_ns AND z.end_ns >= k.out_ns
  WHERE z.vm_id - k.vm_id = 0 AND z.tid <> k.tid
)
SELECT CASE WHEN max(latency) > $latency_ns THEN 'warning' ELSE 'info' END AS severity,
  CASE WHEN bool_and(lost_within(fault_ns, coalesce(set_ns, first_ns))) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, arg_max(vcpu, rank) AS vcpu,
  concat(fmt_count(count(*)), ' faults asked for their page again, up to ', max(tries), ' times, the slowest (gpa ',
    fmt_hex(arg_max(gpa, rank)), ') for ', fmt_ns(max(latency)),
    CASE WHEN bool_or(is_flip OR is_punch) THEN concat('; ', count(*) FILTER (is_flip OR is_punch), ' of them during a conversion or punch')
      ELSE '' END) AS title,
  min(fault_ns) AS since_ns, max(coalesce(set_ns, first_ns)) AS until_ns, count(*) AS count, 'observed' AS certainty,
  CASE WHEN count(*) FILTER (is_flip OR is_punch) * 2 > count(*)
    THEN 'conversions and punches of the same VM invalidate what the fault had looked up: convert larger ranges less often'
    ELSE 'vCPUs accept pages of one 2 MiB range at the same time: let them accept ranges of their own' END AS hint,
  list(evidence ORDER BY latency DESC)[1:10] AS evidence
FROM (SELECT *, struct_pack(latency := latency, since := -fault_ns, tid := tid) AS rank FROM placed) GROUP BY vm_id HAVING count(*) >= $faults
UNION ALL BY NAME
SELECT 'warning' AS severity, CASE WHEN bool_and(lost_within(out_ns, back_ns)) THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, NULL::INTEGER AS gmem_id, arg_max(vcpu, struct_pack(ns := ns, out_ns := -out_ns)) AS vcpu,
  concat('conversions to shared and punches kept other vCPUs out of the guest for ', fmt_ns(sum(ns)), ' in all, ', CAST(100.0 * sum(ns) / (SELECT max(last_ns) - min(first_ns) FROM trace) AS INTEGER),
    ' % of the trace, in ', fmt_count(count(*)), ' stops, the longest ', fmt_ns(max(ns))) AS title,
  min(out_ns) AS since_ns, max(back_ns) AS until_ns, count(*) AS count, 'inferred' AS certainty,
  'each zap that meets a busy page table kicks every vCPU of the TD: convert larger ranges less often, and punch later' AS hint,
  list(evidence ORDER BY ns DESC, out_ns)[1:10] AS evidence
FROM kept_out GROUP BY vm_id HAVING sum(ns) > $kick_share / 100.0 * (SELECT max(last_ns) - min(first_ns) FROM trace)
