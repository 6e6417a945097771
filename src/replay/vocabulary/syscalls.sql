-- platform: any
-- System calls of the VMM. Only threads that ever make a KVM, VFIO or iommufd ioctl, or run in a process that does,
-- are kept: the numbers say nothing of other processes (reference chapter 12).

SELECT 'ioctl_enter' AS kind, fd AS fd, cmd AS value, arg AS extra
FROM {event syscalls.sys_enter_ioctl: fd, cmd, arg}
WHERE (cmd >> 8) & 255 IN (174, 175) OR cmd IN (15217, 15218, 15237, 15238, 15247, 15235);

SELECT 'ioctl_exit' AS kind, ret AS result
FROM {event syscalls.sys_exit_ioctl: ret};

SELECT 'fd_close' AS kind, fd AS fd
FROM {event syscalls.sys_enter_close: fd};

SELECT 'fallocate_enter' AS kind, fd AS fd, mode AS value, "offset" AS address, len AS size
FROM {event syscalls.sys_enter_fallocate: fd, mode, offset, len};

SELECT 'fallocate_exit' AS kind, ret AS result
FROM {event syscalls.sys_exit_fallocate: ret};

SELECT 'discard_enter' AS kind, "start" AS address, len_in AS size, behavior AS value
FROM {event syscalls.sys_enter_madvise: start, len_in, behavior}
WHERE behavior IN (4, 9, 24);

-- Mappings of a file; the host's accesses to a guest_memfd go through them.
SELECT 'mmap_enter' AS kind, fd AS fd, len AS size, off AS value
FROM {event syscalls.sys_enter_mmap: fd, len, off, flags}
WHERE flags & 32 = 0;

SELECT 'mmap_exit' AS kind, ret AS result
FROM {event syscalls.sys_exit_mmap: ret};
