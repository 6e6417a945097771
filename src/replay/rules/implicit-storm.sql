-- name: implicit-storm
-- severity: info
-- needs: memory_faults
-- rows: memory_fault
-- summary: Memory is converted page by page through faults, at a rate that shows in the guest.
-- param rate = 1000 : memory faults in a second
-- param share = 30 : or percent of the VM's exits to userspace in a second
-- param min_faults = 100 : memory faults in that second for the share to count
-- param window_ns = 1000000000 : the second, ns
-- param late_ns = 60000000000 : age of a VM from which memory left shared by its own requests means another kernel (kexec), ns
WITH faults AS (
  SELECT vm_id, ts_ns, 1 AS is_fault, gpa, vcpu, wanted, certainty, evidence_of(evidence_trace, evidence_cpu, evidence_seq, ts_ns) AS evidence
  -- Those after a reboot have a rule of their own.
  FROM memory_fault WHERE cause <> 'stale-after-reboot' AND vm_id IS NOT NULL AND certainty IN ('observed', 'inferred')
), busy AS (
  SELECT vm_id FROM faults GROUP BY vm_id HAVING count(*) >= least($rate, $min_faults)
), owners AS (
  SELECT tid, min(vm_id) AS vm_id FROM vcpu GROUP BY tid HAVING count(DISTINCT vm_id) = 1
), all_exits AS (
  SELECT o.vm_id, e.ts_ns FROM memory_event e JOIN owners o USING (tid)
  WHERE e.kind = kind_code('user_exit') AND o.vm_id IN (SELECT vm_id FROM busy)
), edges AS (
  SELECT vm_id, ts_ns, is_fault, 0 AS is_exit, gpa, vcpu, wanted, certainty, evidence FROM faults
  WHERE vm_id IN (SELECT vm_id FROM busy)
  UNION ALL BY NAME SELECT vm_id, ts_ns, 0 AS is_fault, 1 AS is_exit FROM all_exits
), counted AS (
  SELECT *, sum(is_fault) OVER w AS n, sum(is_exit) OVER w AS exits
  FROM edges WINDOW w AS (PARTITION BY vm_id ORDER BY ts_ns RANGE BETWEEN $window_ns PRECEDING AND CURRENT ROW)
), storms AS (
  SELECT vm_id, min(ts_ns) - $window_ns AS since_ns, max(ts_ns) AS until_ns, max(n) AS peak, max(100 * n / greatest(exits, n)) AS peak_share
  FROM counted WHERE n >= $rate OR (n >= $min_faults AND n * 100 >= $share * exits) GROUP BY vm_id
), inside AS (
  SELECT f.*, s.since_ns, s.until_ns, s.peak, s.peak_share,
    abs(f.gpa - lag(f.gpa) OVER (PARTITION BY f.vm_id, f.vcpu ORDER BY f.ts_ns)) = 4096 AS is_next
  FROM faults f JOIN storms s ON s.vm_id = f.vm_id AND f.ts_ns BETWEEN s.since_ns AND s.until_ns
), ages AS (
  SELECT vm_id, min(from_ns) AS born_ns, max(epoch) AS reboots FROM boot_epoch GROUP BY vm_id
), left_shared AS (
  -- A kernel gives back what it asked for. One that faults on it is another: nothing tells the host of a kexec.
  SELECT f.vm_id, count(DISTINCT f.gpa) AS pages FROM inside f JOIN ages a ON a.vm_id = f.vm_id AND a.reboots = 0
  JOIN conversion c ON c.gpa <= f.gpa AND c.gpa + c.size > f.gpa
  -- No equality: with one DuckDB compares every range of a VM with every fault of it, without one it sorts both.
  WHERE c.vm_id - f.vm_id = 0 AND f.wanted = 'private' AND f.since_ns - coalesce(a.born_ns, (SELECT min(first_ns) FROM trace)) >= $late_ns
    AND c.origin = 'explicit' AND c.direction = 'to_shared' AND c.outcome = 'done' AND c.certainty IN ('observed', 'inferred') AND c.commit_ns < f.ts_ns
  GROUP BY f.vm_id
)
SELECT 'info' AS severity, 'fail' AS verdict, vm_id, NULL::INTEGER AS gmem_id, arg_min(vcpu, struct_pack(ts := ts_ns, vcpu := vcpu)) AS vcpu,
  concat(fmt_count(count(*)), ' pages were converted by faults, at the peak ', fmt_count(any_value(peak)), ' in ', fmt_ns($window_ns), ', ',
    CAST(any_value(peak_share) AS INTEGER), ' % of the exits to userspace; ', CAST(100 * avg(CASE WHEN is_next THEN 1 ELSE 0 END) AS INTEGER),
    ' % were the neighbour of the page before',
    CASE WHEN any_value(l.pages) * 2 > count(*) THEN concat('; ', fmt_count(any_value(l.pages)), ' of them had been shared by requests of the guest, late in its life: a kexec?') ELSE '' END) AS title,
  min(ts_ns) AS since_ns, max(ts_ns) AS until_ns, count(*) AS count, min(certainty) AS certainty,
  CASE WHEN any_value(l.pages) * 2 > count(*) THEN 'the kernel before left its memory shared: let it convert all back before kexec, as it does before a reboot'
    ELSE 'each page costs an exit: let the guest ask for the range, let the VMM set it beforehand, or convert more than one page a fault' END AS hint,
  list(evidence ORDER BY ts_ns)[1:10] AS evidence
FROM inside LEFT JOIN left_shared l USING (vm_id) GROUP BY vm_id
