/** Names of Linux errno values (include/uapi/asm-generic/errno-base.h, errno.h) that KVM and its ioctls give. */
const NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  4: 'EINTR',
  5: 'EIO',
  7: 'E2BIG',
  9: 'EBADF',
  11: 'EAGAIN',
  12: 'ENOMEM',
  13: 'EACCES',
  14: 'EFAULT',
  16: 'EBUSY',
  17: 'EEXIST',
  19: 'ENODEV',
  22: 'EINVAL',
  25: 'ENOTTY',
  27: 'EFBIG',
  28: 'ENOSPC',
  38: 'ENOSYS',
  75: 'EOVERFLOW',
  95: 'EOPNOTSUPP',
  110: 'ETIMEDOUT',
  133: 'EHWPOISON',
  512: 'ERESTARTSYS',
};

/** `EAGAIN` for 11; `errno 999` for one without a name here. */
export function errnoName(errno: number): string {
  return NAMES[errno] ?? `errno ${errno}`;
}
