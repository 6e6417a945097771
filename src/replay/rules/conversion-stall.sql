-- name: conversion-stall
-- severity: warning
-- needs: conversions
-- rows: conversion
-- summary: A vCPU stood still for long because a conversion that its guest asked for took long.
-- param min_ns = 10000000 : shortest stop that counts, ns
-- param factor = 8 : times the median of its group
-- param min_samples = 20 : conversions a group needs for its median to count
-- param alone_ns = 100000000 : shortest stop that counts in a smaller group, ns
-- param error_ns = 1000000000 : a stop from which the finding is an error, ns
-- param watchdog_ns = 20000000000 : a stop from which the guest's watchdog may say soft lockup, ns
-- param paused_share = 50 : percent of a stop in which the VMM held all other vCPUs, too, from which it is no stall
WITH asked AS (
  SELECT conversion_id, vm_id, direction, origin, outcome, batch, stop_ns, size / 4096 AS pages,
    CASE WHEN size IS NULL THEN -1 WHEN size <= 4096 THEN 1 WHEN size < 16 * 4096 THEN 2 WHEN size < 512 * 4096 THEN 16
      WHEN size = 512 * 4096 THEN 512 ELSE 513 END AS bucket,
    coalesce(commit_ns, resume_ns) - exit_ns AS work_ns
  FROM conversion
  -- A call that pKVM answers at EL2 waits for nobody; what its stop has above that is the page's donation.
  WHERE origin <> 'vmm' AND mechanism <> 'pkvm-hyp' AND outcome IN ('done', 'failed', 'noop')
    AND certainty IN ('observed', 'inferred')
), whole AS (
  SELECT *, stop_ns AS whole_ns FROM asked WHERE batch IS NULL
  UNION ALL
  -- Ranges of one SNP request are one stop, blamed on the range that took longest.
  SELECT *, max(stop_ns) OVER (PARTITION BY batch) AS whole_ns FROM asked WHERE batch IS NOT NULL
  QUALIFY row_number() OVER (PARTITION BY batch ORDER BY work_ns DESC NULLS LAST, conversion_id) = 1
), stops AS (
  SELECT *, CASE WHEN bucket = 513 THEN whole_ns / pages ELSE whole_ns END AS measure FROM whole WHERE whole_ns IS NOT NULL
), medians AS (
  SELECT vm_id, direction, origin, bucket,
    median(measure) FILTER (outcome = 'done') AS usual, count(*) FILTER (outcome = 'done') AS samples
  FROM stops GROUP BY vm_id, direction, origin, bucket
), page_times AS (
  -- What a page costs in requests of many: a first large one, at boot, has no others of its size to be compared with.
  SELECT vm_id, direction, median(whole_ns / pages) AS usual_a_page FROM stops WHERE outcome = 'done' AND bucket IN (16, 512)
  GROUP BY vm_id, direction HAVING count(*) >= $min_samples
), tries AS (
  SELECT conversion_id, min(start_ns) AS first_try, sum(end_ns - start_ns) AS in_ioctl FROM conversion_attempt GROUP BY conversion_id
), stalled AS (
  SELECT c.*, s.whole_ns, s.bucket, m.usual, m.samples, m.samples >= $min_samples AS is_compared, t.first_try, t.in_ioctl, p.usual_a_page,
    c.resume_ns - s.whole_ns AS from_ns,
    greatest(coalesce(c.exit_ns - c.request_ns, 0), 0) AS p_exit,
    greatest(coalesce(first_try, c.commit_ns, c.resume_ns) - c.exit_ns, 0) AS p_coordination,
    CASE WHEN first_try IS NULL THEN 0 ELSE greatest(coalesce(c.commit_ns, c.resume_ns) - first_try, 0) END AS p_commit,
    CASE WHEN c.commit_ns IS NULL THEN 0 ELSE greatest(c.resume_ns - c.commit_ns, 0) END AS p_resume
  FROM stops s JOIN medians m ON m.vm_id IS NOT DISTINCT FROM s.vm_id AND m.direction IS NOT DISTINCT FROM s.direction
    AND m.origin = s.origin AND m.bucket = s.bucket
  JOIN conversion c ON c.conversion_id = s.conversion_id
  LEFT JOIN tries t ON t.conversion_id = s.conversion_id
  LEFT JOIN page_times p ON p.vm_id = s.vm_id AND p.direction = s.direction
  WHERE CASE WHEN m.samples >= $min_samples THEN s.whole_ns > $min_ns AND s.measure > $factor * m.usual
        ELSE s.whole_ns > $alone_ns END
    -- Where all are that slow the median is no excuse. Beyond 2 MiB the time is the size's.
    OR s.whole_ns > $error_ns AND s.bucket <= 512
), crew AS (
  SELECT vm_id, tid, min(vcpu) AS vcpu FROM vcpu WHERE vm_id IS NOT NULL GROUP BY vm_id, tid
), pauses AS (
  -- A vCPU that a signal took out of KVM_RUN (EINTR, or KVM_EXIT_INTR), until it enters the guest again.
  SELECT w.vm_id, w.tid, u.ts_ns AS since_ns, n.ts_ns AS until_ns
  FROM memory_event u JOIN crew w ON w.tid = u.tid
  ASOF LEFT JOIN (SELECT tid, ts_ns FROM memory_event WHERE kind = kind_code('guest_entry')) n ON n.tid = u.tid AND n.ts_ns >= u.ts_ns
  WHERE u.kind = kind_code('user_exit') AND (u.result = -4 OR u.value = 10)
), held AS (
  -- How long, of each stop, each other vCPU of its VM was out for a signal.
  SELECT s.conversion_id, p.tid, sum(least(coalesce(p.until_ns, s.resume_ns), s.resume_ns) - greatest(p.since_ns, s.from_ns)) AS held_ns
  FROM stalled s JOIN pauses p ON p.vm_id = s.vm_id AND p.tid <> s.tid AND p.since_ns < s.resume_ns AND coalesce(p.until_ns, s.resume_ns) > s.from_ns
  GROUP BY s.conversion_id, p.tid
), paused AS (
  SELECT s.conversion_id, min(h.held_ns) AS held_ns FROM stalled s JOIN held h USING (conversion_id)
  WHERE h.held_ns * 100 > $paused_share * s.whole_ns
  GROUP BY s.conversion_id, s.vm_id, s.tid HAVING count(*) = (SELECT count(*) FROM crew w WHERE w.vm_id = s.vm_id AND w.tid <> s.tid)
), judged AS (
  SELECT s.*, p.held_ns,
    p.held_ns IS NOT NULL AS is_paused,
    NOT is_compared AND bucket = 513 AND usual_a_page IS NOT NULL AND whole_ns / (size / 4096) <= $factor * usual_a_page AS is_large,
    -- Where none of it was slow for a reason of its own, it was slow because its thread had no CPU.
    CASE WHEN runnable_ns * 2 > whole_ns THEN 'waiting for a CPU' ELSE CASE greatest(p_exit, p_coordination, p_commit, p_resume)
      WHEN p_coordination THEN 'coordination' WHEN p_commit THEN 'commit' WHEN p_resume THEN 'resume'
      ELSE 'to_userspace' END END AS phase,
    lost_within(from_ns, resume_ns) AS doubtful,
    evidence_of(evidence_trace, evidence_cpu, evidence_seq, evidence_ns) AS evidence
  FROM stalled s LEFT JOIN paused p USING (conversion_id)
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY vm_id, direction, origin, phase, is_paused, is_large
    ORDER BY whole_ns DESC, conversion_id) AS place FROM judged
), summed AS (
  SELECT vm_id, direction, origin, phase, is_paused, is_large, min(conversion_id) FILTER (place = 1) AS conversion_id, count(*) AS n,
    bool_and(doubtful) AS doubtful, min(from_ns) AS since_ns, max(resume_ns) AS until_ns,
    string_agg(concat(fmt_ns(whole_ns), ' at ', fmt_range(gpa, size)), ', ' ORDER BY place) FILTER (place BETWEEN 2 AND 5) AS others,
    list(evidence ORDER BY place)[1:10] AS evidence
  FROM ranked GROUP BY vm_id, direction, origin, phase, is_paused, is_large
), worst AS (
  SELECT w.*, s.n, s.since_ns, s.until_ns, s.others, s.evidence AS all_evidence, s.doubtful AS all_doubtful,
    p.start_ns AS run_ns
  FROM summed s JOIN judged w USING (conversion_id)
  -- 0xae80 = KVM_RUN: what came before it is the VMM's, what comes after KVM's.
  LEFT JOIN (SELECT j.conversion_id, max(e.ts_ns) AS start_ns FROM judged j JOIN memory_event e
    ON e.kind = kind_code('ioctl_enter') AND e.value = 44672 AND e.tid = j.tid AND e.ts_ns BETWEEN j.commit_ns AND j.resume_ns
    GROUP BY j.conversion_id) p USING (conversion_id)
), holders AS (
  SELECT w.conversion_id, string_agg(DISTINCT concat(CASE r.how WHEN 'pin' THEN 'a pin' WHEN 'dma' THEN 'a DMA pin' ELSE 'a reference' END, ' of ',
      coalesce(r.comm, 'thread'), ' (', coalesce(CAST(r.tid AS VARCHAR), '?'), ') on offset ', fmt_hex(r."offset"), ', taken ',
      fmt_ns(w.from_ns - r.taken_ns), ' before'), '; ') AS said
  FROM worst w JOIN page_ref r ON r.blocks_conversion = w.conversion_id AND r.taken_ns <= w.resume_ns GROUP BY w.conversion_id
), failures AS (
  SELECT w.conversion_id, concat(count(*), ' tries failed',
      CASE WHEN count(a.error_offset) > 0 THEN concat(', the first at offset ', fmt_hex(arg_min(a.error_offset, a.attempt))) ELSE '' END) AS said
  FROM worst w JOIN conversion_attempt a USING (conversion_id) WHERE a.errno > 0 GROUP BY w.conversion_id
), rivals AS (
  -- Ioctls that hold slots_lock: attributes, memslots (0x4020ae46, 0x40a0ae49) and guest_memfds (0xc040aed4) of the same VM.
  SELECT w.conversion_id, a.tid, sum(least(a.end_ns, coalesce(w.commit_ns, w.resume_ns)) - greatest(a.start_ns, w.first_try)) AS ns
  FROM worst w JOIN conversion c ON c.vm_id = w.vm_id AND c.conversion_id <> w.conversion_id
  JOIN conversion_attempt a ON a.conversion_id = c.conversion_id AND a.tid <> w.tid AND a.end_ns > w.first_try
    AND a.start_ns < coalesce(w.commit_ns, w.resume_ns)
  GROUP BY w.conversion_id, a.tid
  UNION ALL
  SELECT w.conversion_id, e.tid, sum(least(x.ts_ns, coalesce(w.commit_ns, w.resume_ns)) - greatest(e.ts_ns, w.first_try)) AS ns
  FROM memory_event e ASOF JOIN (SELECT tid, ts_ns FROM memory_event WHERE kind = kind_code('ioctl_exit')) x ON x.tid = e.tid AND x.ts_ns >= e.ts_ns
  JOIN task t ON t.tid = e.tid JOIN vm v ON v.pid = t.tgid
  JOIN worst w ON w.vm_id = v.vm_id AND w.tid <> e.tid AND e.ts_ns < coalesce(w.commit_ns, w.resume_ns) AND x.ts_ns > w.first_try
  WHERE e.kind = kind_code('ioctl_enter') AND e.value IN (1075883590, 1084272201, 3225464532)
  GROUP BY w.conversion_id, e.tid
), locks AS (
  SELECT conversion_id, concat('in the same VM ', string_agg(concat(coalesce((SELECT max(comm) FROM task t WHERE t.tid = r.tid), 'thread'), ' (', tid,
    ') was in a conversion or memslot ioctl, too, for ', fmt_ns(ns)), ', ' ORDER BY ns DESC, tid)) AS said, sum(ns) AS ns
  FROM (SELECT conversion_id, tid, sum(ns) AS ns FROM rivals WHERE ns > 0 GROUP BY ALL) r GROUP BY conversion_id
), devices AS (
  SELECT w.conversion_id, concat(count(*), ' DMA mappings were made or taken down, over ', fmt_ns(max(at_ns) - min(at_ns))) AS said, max(at_ns) - min(at_ns) AS ns
  FROM worst w JOIN (SELECT vm_id, gmem_id, mapped_ns AS at_ns FROM dma_map UNION ALL SELECT vm_id, gmem_id, unmapped_ns FROM dma_map) d
    ON (d.gmem_id = w.gmem_id OR d.vm_id = w.vm_id) AND d.at_ns BETWEEN w.exit_ns AND w.resume_ns
  GROUP BY w.conversion_id
), holes AS (
  SELECT w.conversion_id, concat('punching ', fmt_bytes(sum(p.size)), ' took ', fmt_ns(sum(p.end_ns - p.start_ns))) AS said, sum(p.end_ns - p.start_ns) AS ns
  FROM worst w JOIN punch p ON p.tid = w.tid AND p.start_ns >= w.from_ns AND p.end_ns <= w.resume_ns GROUP BY w.conversion_id
), signals AS (
  SELECT w.conversion_id, concat('KVM_RUN came back ', count(*), ' times for a signal') AS said
  FROM worst w JOIN memory_event e ON e.kind = kind_code('user_exit') AND e.tid = w.tid AND e.ts_ns > w.exit_ns AND e.ts_ns < w.resume_ns
  WHERE e.result = -4 OR e.value = 10 GROUP BY w.conversion_id
), contention AS (
  SELECT w.conversion_id, concat(count(*), ' RMP faults in the VM meanwhile') AS said
  FROM worst w JOIN crew k USING (vm_id) JOIN {event? kvm.kvm_rmp_fault: gpa} e ON e.tid = k.tid AND e.ts_ns BETWEEN w.from_ns AND w.resume_ns
  GROUP BY w.conversion_id
  UNION ALL
  SELECT conversion_id, concat(sum(again), ' mappings were asked for again meanwhile (a busy or invalidated page table)') AS said FROM (
    SELECT w.conversion_id, count(*) - 1 AS again
    FROM worst w JOIN crew k USING (vm_id) JOIN memory_event e ON e.kind = kind_code('spte_requested') AND e.tid = k.tid
      AND e.ts_ns BETWEEN w.from_ns AND w.resume_ns
    GROUP BY w.conversion_id, e.tid, e.address HAVING count(*) >= 3) GROUP BY conversion_id
), waits AS (
  SELECT conversion_id, said FROM holders UNION ALL SELECT conversion_id, said FROM failures WHERE conversion_id NOT IN (SELECT conversion_id FROM holders)
  UNION ALL SELECT conversion_id, said FROM locks UNION ALL SELECT conversion_id, said FROM devices
  UNION ALL SELECT conversion_id, said FROM holes UNION ALL SELECT conversion_id, said FROM signals UNION ALL SELECT conversion_id, said FROM contention
), waited AS (
  SELECT conversion_id, string_agg(said, '; ' ORDER BY said) AS said FROM waits GROUP BY conversion_id
), company AS (
  SELECT conversion_id, count(*) AS others, count(*) FILTER (is_running) AS running, sum(entries) AS entries, count(*) FILTER (is_stopped) AS stopped,
    string_agg(concat('vcpu', vcpu), ', ' ORDER BY vcpu) FILTER (is_stopped) AS who_stopped, count(*) FILTER (NOT is_running AND NOT is_stopped) AS idle
  FROM (
    SELECT w.conversion_id, k.vcpu, count(e.ts_ns) FILTER (e.kind = kind_code('guest_entry') AND e.ts_ns >= w.from_ns) AS entries,
      -- Who entered before and did not come out ran, too.
      coalesce(bool_or(e.kind = kind_code('guest_entry') AND e.ts_ns >= w.from_ns), false) OR coalesce(arg_max(e.kind, struct_pack(ts := e.ts_ns, seq := e.seq))
        FILTER (e.ts_ns < w.from_ns) = kind_code('guest_entry'), false) AS is_running,
      EXISTS (SELECT 1 FROM conversion c WHERE c.vm_id = w.vm_id AND c.tid = k.tid AND c.request_ns < w.resume_ns
        AND (c.outcome = 'pending' OR coalesce(c.resume_ns, c.request_ns) > w.from_ns)) AS is_stopped
    FROM worst w JOIN crew k ON k.vm_id = w.vm_id AND k.tid <> w.tid
    LEFT JOIN memory_event e ON e.tid = k.tid AND e.kind IN (kind_code('guest_entry'), kind_code('guest_exit')) AND e.ts_ns BETWEEN w.from_ns - 1000000000 AND w.resume_ns
    GROUP BY w.conversion_id, w.vm_id, w.from_ns, w.resume_ns, k.tid, k.vcpu)
  WHERE EXISTS (FROM memory_event WHERE kind = kind_code('guest_entry'))
  GROUP BY conversion_id
)
SELECT
  CASE WHEN whole_ns > $error_ns THEN 'error' ELSE 'warning' END AS severity,
  CASE WHEN is_paused OR is_large THEN 'pass' WHEN all_doubtful THEN 'inconclusive' ELSE 'fail' END AS verdict,
  vm_id, gmem_id, vcpu,
  concat(direction, ' ', fmt_range(gpa, size), ' stopped its vCPU for ', fmt_ns(whole_ns),
    CASE WHEN is_compared AND usual > 0 THEN concat(' (', fmt_count(whole_ns / CASE WHEN bucket = 513 THEN usual * (size / 4096) ELSE usual END), ' x median)') ELSE '' END,
    ', most of it in ', phase,
    CASE WHEN n > 1 THEN concat('; ', n, ' such stops') ELSE '' END) AS title,
  list_filter([
    concat('to userspace ', fmt_ns(p_exit), ', before the first ioctl ', fmt_ns(p_coordination), ', ',
      CASE WHEN attempts = 0 THEN 'no ioctl seen' WHEN attempts = 1 THEN concat('ioctl ', fmt_ns(p_commit)) ELSE concat(attempts, ' ioctls ', fmt_ns(p_commit)) END,
      CASE WHEN attempts > 1 AND in_ioctl < p_commit THEN concat(' (', fmt_ns(in_ioctl), ' inside)') ELSE '' END,
      CASE WHEN in_ioctl > 0 AND size > 4096 THEN concat(' = ', fmt_ns(in_ioctl / (size / 4096)), ' a page') ELSE '' END,
      ', after it ', fmt_ns(p_resume),
      CASE WHEN run_ns IS NOT NULL THEN concat(' (', fmt_ns(run_ns - commit_ns), ' to KVM_RUN, ', fmt_ns(resume_ns - run_ns), ' in KVM)') ELSE '' END),
    CASE WHEN runnable_ns IS NULL THEN NULL ELSE concat('its thread: ', fmt_ns(greatest(whole_ns - runnable_ns - sleeping_ns, 0)), ' on a CPU, ', fmt_ns(runnable_ns), ' ready without one, ',
      fmt_ns(sleeping_ns), ' asleep', CASE WHEN blocked_ns > 0 THEN concat(' (', fmt_ns(blocked_ns), ' of it uninterruptible)') ELSE '' END) END,
    CASE WHEN w.said IS NULL THEN NULL ELSE concat('met: ', w.said) END,
    CASE WHEN is_compared THEN concat('usual here for such sizes: ', fmt_ns(usual), CASE WHEN bucket = 513 THEN ' a page' ELSE '' END, ' (median of ', samples,
        '); a stall is over ', fmt_ns($min_ns), ' and over ', $factor, ' x that, ', fmt_ns($factor * usual))
      ELSE concat('only ', fmt_counted(samples, 'such conversion'), ' to compare with',
        CASE WHEN usual IS NULL THEN '' ELSE concat(' (median ', fmt_ns(usual), CASE WHEN bucket = 513 THEN ' a page' ELSE '' END, ')') END, ', so a stall is over ', fmt_ns($alone_ns),
        '; from ', $min_samples, ' on it would be over ', fmt_ns($min_ns), ' and over ', $factor, ' x their median') END,
    CASE WHEN whole_ns > $watchdog_ns THEN concat('longer than the guest''s watchdog waits (', fmt_ns($watchdog_ns), '): it may have said soft lockup') END,
    CASE WHEN c.others IS NULL THEN NULL ELSE concat('of ', fmt_counted(c.others, 'other vCPU'), ', ', c.running, ' ran on meanwhile (', fmt_count(c.entries), one_or_more(c.entries, ' entry)', ' entries)'),
      CASE WHEN c.stopped > 0 THEN concat(', ', c.stopped, ' stood still for a conversion of its own, too (', c.who_stopped, ')') ELSE '' END,
      CASE WHEN c.idle > 0 THEN concat(', ', c.idle, ' did not run') ELSE '' END) END,
    CASE WHEN worst.others IS NULL THEN NULL ELSE concat('also ', worst.others, CASE WHEN n > 5 THEN ', …' ELSE '' END) END
  ], lambda line: line IS NOT NULL) AS details,
  since_ns, until_ns, n AS count, certainty,
  CASE WHEN is_paused THEN concat('the VMM held all vCPUs for ', fmt_ns(held_ns), ' of it (signals took them out of KVM_RUN): stop, migration or snapshot')
    WHEN is_large THEN concat('it is large: ', fmt_ns(whole_ns / (size / 4096)), ' a page, where ', fmt_ns(usual_a_page), ' is usual')
    ELSE CASE phase
    WHEN 'waiting for a CPU' THEN 'the thread was ready to run and had no CPU for most of it: the host is overcommitted, or the vCPU thread has a low priority'
    WHEN 'coordination' THEN CASE WHEN d.ns * 2 > p_coordination
        THEN 'the VMM took the memory from devices before the ioctl: map DMA in larger pieces, unmap only what is converted'
      WHEN sleeping_ns * 2 > whole_ns THEN 'the vCPU thread slept in the VMM before the ioctl: it waited for another thread or a lock there (stack or strace of the VMM)'
      ELSE 'the VMM took its time before the ioctl: look at what it does between KVM_RUN and the ioctl (locks, DMA unmapping, a thread without CPU)' END
    WHEN 'commit' THEN CASE WHEN failed_attempts > 0
        THEN 'the ioctl failed and was tried again: a reference held the memory; see references'
      WHEN l.ns * 2 > p_commit THEN 'the ioctl waited for others of the same VM (slots_lock): let fewer vCPUs convert at once, in larger ranges'
      WHEN sleeping_ns * 2 > whole_ns THEN CASE WHEN mechanism = 'vm-attributes'
        THEN 'the thread slept in the ioctl: slots_lock, an mmu notifier under way or memory reclaim; record function_graph of kvm_vm_ioctl'
        ELSE 'the thread slept in the ioctl: lru_add_drain_all waiting for every CPU, or the file''s lock; record function_graph of kvm_gmem_ioctl' END
      ELSE 'the kernel took its time in the ioctl: record function_graph of kvm_vm_ioctl' END
    WHEN 'resume' THEN CASE WHEN resume_ns - run_ns > run_ns - commit_ns
        THEN 'KVM_RUN came soon, but the vCPU did not enter the guest: a pending signal, or KVM waited (SRCU, TDX: wait_for_sept_zap)'
      WHEN h.ns * 2 > p_resume THEN 'freeing the other copy took most of it: punch larger pieces less often, or later, outside of the vCPU thread'
      ELSE 'the vCPU ran late after the ioctl: look at the discard of the old copy and at the thread''s scheduling' END
    ELSE 'the exit to userspace came late: the vCPU thread waited for a CPU or for a lock in KVM' END END AS hint,
  all_evidence AS evidence
FROM worst LEFT JOIN waited w USING (conversion_id) LEFT JOIN company c USING (conversion_id) LEFT JOIN devices d USING (conversion_id)
LEFT JOIN locks l USING (conversion_id) LEFT JOIN holes h USING (conversion_id)
