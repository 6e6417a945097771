-- platform: any
-- Page cache, references, IOMMU mappings, scheduling. page_ref_freeze and a page_ref_mod_unless that returned 0 change
-- nothing; an unfreeze sets the count back to what it was (include/linux/page_ref.h).

SELECT 'page_add' AS kind, i_ino AS inode, s_dev AS extra, pages("index") AS address, pfn AS value
FROM {event filemap.mm_filemap_add_to_page_cache: i_ino, s_dev, index, pfn};

SELECT 'page_delete' AS kind, i_ino AS inode, s_dev AS extra, pages("index") AS address, pfn AS value
FROM {event filemap.mm_filemap_delete_from_page_cache: i_ino, s_dev, index, pfn};

SELECT 'page_ref' AS kind, pfn AS value, val AS result, count AS extra
FROM {event page_ref.page_ref_mod: pfn, val, count};

SELECT 'page_ref' AS kind, pfn AS value, val AS result, count AS extra
FROM {event page_ref.page_ref_mod_and_test: pfn, val, count};

SELECT 'page_ref' AS kind, pfn AS value, val AS result, count AS extra
FROM {event page_ref.page_ref_mod_and_return: pfn, val, count};

SELECT 'page_ref' AS kind, pfn AS value, val AS result, count AS extra
FROM {event page_ref.page_ref_mod_unless: pfn, val, count, ret}
WHERE ret <> 0;

SELECT 'dma_map' AS kind, iova AS address, size AS size, paddr AS value
FROM {event iommu.map: iova, size, paddr};

SELECT 'dma_unmap' AS kind, iova AS address, coalesce(unmapped_size, size) AS size
FROM {event iommu.unmap: iova, size, unmapped_size};

SELECT 'task_exit' AS kind
FROM {event sched.sched_process_exit: pid};

-- The event's own thread is the one that calls clone (kernel/fork.c, copy_process).
SELECT 'task_new' AS kind, pid AS tid, clone_flags AS value, own_tid AS extra
FROM {event task.task_newtask: pid, clone_flags};

-- prev_state: 0 runnable, bit 1 uninterruptible (D), bits 4 and 5 (X and Z: EXIT_DEAD, EXIT_ZOMBIE) the end of the thread.
SELECT 'switch_out' AS kind, prev_pid AS tid,
  CASE WHEN prev_state & 255 = 0 THEN 1 WHEN prev_state & 48 <> 0 THEN 3 WHEN prev_state & 2 <> 0 THEN 4 ELSE 2 END AS value
FROM {event sched.sched_switch: prev_pid, prev_state};

SELECT 'switch_in' AS kind, next_pid AS tid
FROM {event sched.sched_switch: next_pid};

SELECT 'host_fault' AS kind, address AS address
FROM {event exceptions.page_fault_user: address};

-- SIGBUS with BUS_ADRERR: what the host gets that touches a private page of a guest_memfd.
SELECT 'host_signal' AS kind, pid AS tid, sig AS result, code AS value
FROM {event signal.signal_generate: sig, code, pid}
WHERE sig = 7 AND code = 2;
