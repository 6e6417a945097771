-- name: conversion-never-completed
-- severity: error
-- needs: conversions
-- rows: conversion
-- summary: A guest asked for a conversion and never got it: no answer, or an answer without a conversion.
-- param open_ns = 5000000000 : how long a request must be open at the end of the trace, ns
WITH ends AS (SELECT max(last_ns) AS trace_end FROM trace),
open_requests AS (
  -- Recorders of one run stop at different times: the one that shows the request tells how long it went on seeing none.
  SELECT c.*, coalesce((SELECT t.last_ns FROM trace t WHERE t.trace_id = c.evidence_trace), e.trace_end) AS trace_end,
    coalesce(v.to_ns, m.to_ns) AS end_ns,
    EXISTS (SELECT 1 FROM conversion_attempt a WHERE a.conversion_id = c.conversion_id AND a.end_ns IS NULL) AS is_in_kernel
  FROM conversion c CROSS JOIN ends e
  LEFT JOIN vcpu v ON v.vm_id = c.vm_id AND v.tid = c.tid
  LEFT JOIN vm m ON m.vm_id = c.vm_id
  WHERE c.outcome = 'pending' AND c.origin <> 'vmm'
    -- Without a probe nobody sees which range an SNP or TDX guest asked for; that it asked, and hangs, shows all the same.
    AND (c.certainty IN ('observed', 'inferred') OR c.direction IS NULL AND c.attempts = 0 AND c.exit_ns IS NOT NULL)
), never AS (
  SELECT conversion_id,
    CASE WHEN end_ns >= exit_ns THEN 'ended' WHEN is_in_kernel THEN 'kernel'
      WHEN mechanism = 'vcpu-run' AND resume_ns IS NOT NULL THEN 'running' WHEN attempts = 0 THEN 'vmm' ELSE 'failed' END AS class,
    coalesce(CASE WHEN end_ns >= exit_ns THEN end_ns END, trace_end) AS until_ns, exit_ns AS asked_ns, is_in_kernel
  FROM open_requests WHERE end_ns >= exit_ns OR trace_end - exit_ns >= $open_ns
), told_done AS (
  -- After tries that failed a VMM says so: only where a probe shows that it said nothing of it.
  SELECT DISTINCT c.conversion_id FROM conversion c JOIN memory_event e ON e.kind IN (kind_code('hypercall_done'), kind_code('run_enter')) AND e.tid = c.tid AND e.result = 0
    AND e.ts_ns BETWEEN c.commit_ns AND c.resume_ns
  WHERE c.origin = 'explicit' AND c.outcome = 'failed' AND c.failed_attempts > 0
), dropped AS (
  -- Told that it was done, the guest touches the memory as it asked for it, and faults: nobody had converted it.
  SELECT c.conversion_id, 'dropped' AS class, f.ts_ns AS until_ns, c.resume_ns AS asked_ns, false AS is_in_kernel
  FROM conversion c JOIN memory_fault f ON f.vm_id = c.vm_id AND f.gpa >= c.gpa AND f.gpa < c.gpa + c.size AND f.ts_ns > c.resume_ns
    AND f.wanted = CASE c.direction WHEN 'to_private' THEN 'private' ELSE 'shared' END AND f.certainty IN ('observed', 'inferred')
  WHERE c.origin = 'explicit' AND c.certainty IN ('observed', 'inferred')
    AND (c.outcome = 'unknown' AND c.attempts = 0 OR c.conversion_id IN (SELECT conversion_id FROM told_done))
    AND NOT EXISTS (SELECT 1 FROM conversion d WHERE d.vm_id = c.vm_id AND d.conversion_id <> c.conversion_id AND d.gpa < c.gpa + c.size
      AND d.gpa + d.size > c.gpa AND coalesce(d.commit_ns, d.request_ns, d.exit_ns) BETWEEN c.request_ns AND f.ts_ns)
  QUALIFY row_number() OVER (PARTITION BY c.conversion_id ORDER BY f.ts_ns) = 1
), half AS (
  -- Every ioctl went through, the vCPU runs again, and all of them together cover a part of what it asked for.
  SELECT conversion_id, 'half' AS class, resume_ns AS until_ns, exit_ns AS asked_ns, false AS is_in_kernel FROM conversion
  WHERE origin = 'explicit' AND outcome = 'failed' AND last_errno = 0 AND failed_attempts = 0 AND resume_ns IS NOT NULL
    AND certainty IN ('observed', 'inferred')
), cases AS (
  SELECT c.* REPLACE (CASE WHEN c.direction IS NULL THEN 'inferred' ELSE c.certainty END AS certainty), n.class, n.until_ns, n.asked_ns, n.is_in_kernel, n.until_ns - n.asked_ns AS open_ns,
    lost_within(coalesce(c.request_ns, c.exit_ns), n.until_ns) AS doubtful,
    evidence_of(c.evidence_trace, c.evidence_cpu, c.evidence_seq, c.evidence_ns) AS evidence
  FROM (SELECT * FROM never UNION ALL BY NAME SELECT * FROM dropped UNION ALL BY NAME SELECT * FROM half) n JOIN conversion c USING (conversion_id)
), summed AS (
  SELECT vm_id, class, doubtful, count(*) AS n, arg_max(conversion_id, struct_pack(open_ns := open_ns, first := -conversion_id)) AS conversion_id,
    min(coalesce(request_ns, exit_ns)) AS since_ns, max(until_ns) AS last_ns, min(certainty) AS certainty,
    string_agg(concat(coalesce(direction, 'conversion of'), ' ', fmt_range(gpa, size)), ', ' ORDER BY open_ns DESC, conversion_id) AS ranges,
    list(evidence ORDER BY open_ns DESC, conversion_id)[1:10] AS evidence
  FROM cases GROUP BY vm_id, class, doubtful
), worst AS (
  SELECT c.* EXCLUDE (certainty, doubtful, evidence), s.n, s.since_ns, s.last_ns, s.certainty, s.doubtful, s.evidence, s.ranges
  FROM summed s JOIN cases c USING (conversion_id)
), holders AS (
  SELECT w.conversion_id, string_agg(DISTINCT concat(CASE r.how WHEN 'get' THEN 'a reference' WHEN 'unknown' THEN 'a reference' ELSE 'a pin' END, ' of ', coalesce(r.comm, 'thread'), ' (',
      coalesce(CAST(r.tid AS VARCHAR), '?'), ') on offset ', fmt_hex(r."offset")), '; ') AS said
  FROM worst w JOIN page_ref r ON r.blocks_conversion = w.conversion_id GROUP BY w.conversion_id
), last_sleep AS (
  SELECT w.conversion_id, arg_max(struct_pack(value := e.value, ts := e.ts_ns), struct_pack(ts := e.ts_ns, seq := e.seq)) AS e
  FROM worst w JOIN memory_event e ON e.tid = w.tid AND e.ts_ns BETWEEN w.exit_ns AND w.until_ns
  -- value 3: the thread's end
  WHERE w.class IN ('ended', 'kernel', 'vmm', 'failed') AND e.kind = kind_code('switch_out') AND e.value <> 3
  GROUP BY w.conversion_id
), company AS (
  SELECT w.conversion_id, count(DISTINCT k.tid) AS others,
    count(DISTINCT k.tid) FILTER (EXISTS (SELECT 1 FROM memory_event e WHERE e.kind = kind_code('guest_entry') AND e.tid = k.tid
      AND e.ts_ns BETWEEN w.exit_ns AND w.until_ns)) AS running
  FROM worst w JOIN vcpu k ON k.vm_id = w.vm_id AND k.tid <> w.tid WHERE w.class IN ('ended', 'kernel', 'vmm', 'failed') GROUP BY w.conversion_id
)
SELECT CASE WHEN class = 'half' THEN 'warning' ELSE 'error' END AS severity, CASE WHEN doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, vcpu,
  concat(coalesce(direction, 'conversion of'), ' ', fmt_range(gpa, size), ': ',
    CASE class
      WHEN 'dropped' THEN concat('the vCPU ran on without it, and the guest faulted on the memory ', fmt_ns(open_ns), ' later')
      WHEN 'half' THEN concat('the vCPU ran on with a part of it, ', fmt_counted(attempts, 'ioctl'), one_or_more(attempts, ' that does', ' that do'), ' not cover the range')
      WHEN 'running' THEN concat('the vCPU runs on, and the memory was not converted in the ', fmt_ns(open_ns), ' to the end of the trace')
      WHEN 'ended' THEN concat('asked, not answered when its thread ended ', fmt_ns(open_ns), ' later')
      ELSE concat('asked, not answered in the ', fmt_ns(open_ns), ' to the end of the trace') END,
    CASE WHEN failed_attempts > 0 THEN concat('; ', failed_attempts, ' attempts failed') ELSE '' END,
    CASE WHEN n > 1 THEN concat('; ', n, ' such requests') ELSE '' END) AS title,
  list_filter([
    concat('it is ', CASE WHEN is_in_kernel THEN 'in the kernel: an ioctl was entered and did not return'
      WHEN class = 'dropped' AND failed_attempts > 0 THEN concat('given up: KVM_RUN again after ', failed_attempts, ' failed tries', CASE WHEN last_errno = 11 THEN ' (EAGAIN)' WHEN last_errno = 12 THEN ' (ENOMEM)' WHEN last_errno > 0 THEN concat(' (errno ', last_errno, ')') ELSE '' END)
      WHEN class = 'dropped' OR (class = 'half' AND attempts = 0) THEN 'dropped: KVM_RUN again without a flip'
      WHEN class = 'half' THEN 'half done'
      WHEN class = 'running' THEN 'put off: KVM let the guest run, and the VMM never made good'
      WHEN failed_attempts > 0 THEN concat('refused by the kernel each time', CASE WHEN last_errno = 11 THEN ' (EAGAIN)' WHEN last_errno = 12 THEN ' (ENOMEM)' WHEN last_errno > 0 THEN concat(' (errno ', last_errno, ')') ELSE '' END)
      WHEN attempts > 0 THEN 'in the VMM: its ioctls returned, and it did not run the vCPU again'
      ELSE 'in the VMM: no ioctl tried, no KVM_RUN' END,
      CASE WHEN class = 'ended' THEN concat('; thread ', tid, ' ended meanwhile') ELSE '' END),
    CASE WHEN h.said IS NULL THEN NULL ELSE concat('met: ', h.said) END,
    CASE WHEN e IS NULL THEN NULL ELSE concat('thread ', tid, ' last left its CPU ', CASE e.value WHEN 1 THEN 'ready to run' WHEN 4 THEN 'to sleep uninterruptibly' ELSE 'to sleep' END,
      ' ', fmt_ns(e.ts - exit_ns), ' after the exit') END,
    CASE WHEN c.others IS NULL THEN NULL ELSE concat('of ', fmt_counted(c.others, 'other vCPU'), ', ', c.running, ' ran on') END,
    CASE WHEN n > 1 THEN concat('all: ', ranges) END,
    CASE WHEN class IN ('ended', 'dropped', 'half') THEN 'proof that it cannot come any more' ELSE concat('open for more than ', fmt_ns($open_ns)) END
  ], lambda line: line IS NOT NULL) AS details,
  since_ns, last_ns AS until_ns, n AS count, certainty,
  CASE WHEN class = 'dropped' AND failed_attempts > 0 THEN 'the VMM gave up and the guest goes on as if it were done: see references for what made the tries fail, and what the VMM answers'
    WHEN class = 'dropped' THEN 'the VMM dropped the request and told the guest nothing: look at how it handles KVM_EXIT_HYPERCALL'
    WHEN class = 'half' THEN 'the VMM converted a part and let the guest run: look at how it splits a range over memslots, and at what it answers'
    WHEN class = 'running' THEN 'the VMM let KVM go on (GUEST_RUNNING_UNCONVERTED) and never freed the memory: look for who keeps a reference'
    WHEN is_in_kernel THEN 'the ioctl never returned: look at /proc/<tid>/stack and for a hung task'
    WHEN attempts = 0 THEN 'the VMM never tried: look at what its thread did after the exit (stack, log, strace)'
    ELSE 'every try failed: see references for who holds the memory' END AS hint,
  evidence
FROM worst LEFT JOIN holders h USING (conversion_id) LEFT JOIN last_sleep USING (conversion_id) LEFT JOIN company c USING (conversion_id)
