/** System calls and locks: the frame around everything that a VMM asks of the kernel. */
import { emit, raise, waitFor } from './host.js';
import type { Flow, Task } from './host.js';
import type { Lock } from './model.js';

/** ioctl numbers of reference 01 §2. */
export const IOCTL = {
  KVM_CREATE_VM: 0xae01,
  KVM_CREATE_VCPU: 0xae41,
  KVM_RUN: 0xae80,
  KVM_ENABLE_CAP: 0x4068aea3,
  KVM_SET_USER_MEMORY_REGION2: 0x40a0ae49,
  KVM_SET_REGS: 0x4090ae82,
  KVM_SET_SREGS: 0x4138ae84,
  KVM_ARM_VCPU_INIT: 0x4020aeae,
  KVM_MEMORY_ENCRYPT_OP: 0xc008aeba,
  KVM_SET_MEMORY_ATTRIBUTES: 0x4020aed2,
  KVM_CREATE_GUEST_MEMFD: 0xc040aed4,
  KVM_SET_MEMORY_ATTRIBUTES2: 0xc080aed2,
  KVM_GMEM_CONVERT_SHARED: 0xc040af41,
  KVM_GMEM_CONVERT_PRIVATE: 0xc040af42,
  TCGETS: 0x5401,
} as const;

export const EINTR = 4;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EFAULT = 14;
export const EINVAL = 22;
export const ENOTTY = 25;

export interface CallResult {
  readonly ret: number;
  readonly startNs: number;
  readonly endNs: number;
}

/** An ioctl with what the kernel does in it; `body` gives the return value (negative errno). */
export function* ioctl(
  task: Task,
  { fd, cmd, arg = 0 }: { readonly fd: number; readonly cmd: number; readonly arg?: number },
  body: () => Flow<number>,
): Flow<CallResult> {
  const startNs = yield* emit(task, 'sys_enter_ioctl', { __syscall_nr: isArm(task) ? 29 : 16, fd, cmd, arg });
  const ret = yield* body();
  const endNs = yield* emit(task, 'sys_exit_ioctl', { __syscall_nr: isArm(task) ? 29 : 16, ret });
  return { ret, startNs, endNs };
}

const CALL_NUMBERS: Readonly<Record<string, readonly [number, number]>> = {
  fallocate: [285, 47],
  madvise: [28, 233],
  munmap: [11, 215],
  close: [3, 57],
};

/** Any other system call of those that are recorded. */
export function* systemCall(
  task: Task,
  name: 'fallocate' | 'madvise' | 'munmap' | 'close',
  args: Readonly<Record<string, number>>,
  body: () => Flow<number>,
): Flow<CallResult> {
  const number = CALL_NUMBERS[name]![isArm(task) ? 1 : 0];
  const startNs = yield* emit(task, `sys_enter_${name}`, { __syscall_nr: number, ...args });
  const ret = yield* body();
  const endNs = yield* emit(task, `sys_exit_${name}`, { __syscall_nr: number, ret });
  return { ret, startNs, endNs };
}

function isArm(task: Task): boolean {
  return task.host.eventSet.isArm;
}

export function* succeed(value = 0): Flow<number> {
  yield { kind: 'run', ns: 400, isPreemptible: false };
  return value;
}

export function* acquire(task: Task, lock: Lock): Flow {
  yield* waitFor(lock.released, () => lock.holder === null);
  lock.holder = task;
}

export function release(lock: Lock): void {
  lock.holder = null;
  raise(lock.released);
}
