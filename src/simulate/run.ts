/** KVM_RUN: into the guest and out of it, and what a guest does between its wishes. */
import { emit, raise, run, shouldYield, sleep, waitFor } from './host.js';
import type { Flow } from './host.js';
import { EINTR, IOCTL } from './calls.js';
import type { Vcpu } from './model.js';
import { probeAt } from './pages.js';

/** Exit reasons of userspace exits (reference 01 §4). */
export const EXIT = {
  IO: 2,
  HYPERCALL: 3,
  MMIO: 6,
  SHUTDOWN: 8,
  INTR: 10,
  SYSTEM_EVENT: 24,
  MEMORY_FAULT: 39,
  TDX: 40,
  UNSHARE: 44,
} as const;

/** Why the CPU left the guest: VMX number, SVM number (reference 04). */
const REASONS = {
  interrupt: [1, 0x60],
  shutdown: [2, 0x7f],
  halt: [12, 0x78],
  hypercall: [18, 0x81],
  io: [30, 0x7b],
  msr: [32, 0x7c],
  fault: [48, 0x400],
  mmio: [49, 0x400],
  tdcall: [77, 0],
  vmgexit: [0, 0x403],
  // a REC's exit of arm64
  ripas: [0, 0],
} as const;

export type ExitCause = keyof typeof REASONS;

/** HSR exception classes on arm64, and whether the exit was a trap. */
const ARM_CLASSES: Partial<Record<ExitCause, number>> = {
  hypercall: 0x16,
  fault: 0x24,
  mmio: 0x24,
  halt: 0x01,
  shutdown: 0x16,
};

/** KVM_RUN is called: the VMM has dealt with the last exit. */
export function* callRun(vcpu: Vcpu): Flow {
  const { task, vm, run: last } = vcpu;
  yield* emit(task, 'sys_enter_ioctl', {
    __syscall_nr: vm.world.isArm ? 29 : 16,
    fd: vcpu.fd,
    cmd: IOCTL.KVM_RUN,
    arg: 0,
  });
  const [u0, u1, u2, u3] = last.u;
  const values = {
    vcpu: vcpu.pointer,
    vcpu_id: vcpu.index,
    kvm: vm.kvm,
    reason: last.reason,
    u0,
    u1,
    u2,
    u3,
    ret: last.ret,
  };
  yield* emit(task, 'runenter', probeAt(task, 'runenter', values));
}

/** The guest runs; gives the time stamp, ns. */
export function* enterGuest(vcpu: Vcpu): Flow<number> {
  if (vcpu.vm.world.isArm) return yield* emit(vcpu.task, 'kvm_entry', { vcpu_pc: vcpu.rip });
  return yield* emit(vcpu.task, 'kvm_entry', { vcpu_id: vcpu.index, rip: vcpu.rip });
}

/** The guest stops; gives the time stamp, ns. */
export function* leaveGuest(
  vcpu: Vcpu,
  cause: ExitCause,
  info: readonly [number | bigint, number | bigint] = [0, 0],
): Flow<number> {
  const { task, vm } = vcpu;
  if (vm.world.isArm) {
    const esr = ARM_CLASSES[cause];
    return yield* emit(task, 'kvm_exit', { ret: esr === undefined ? 0 : 2, esr_ec: esr ?? 0, vcpu_pc: vcpu.rip });
  }
  return yield* emit(task, 'kvm_exit', {
    exit_reason: REASONS[cause][vm.isAmd ? 1 : 0],
    guest_rip: vcpu.rip,
    isa: vm.isAmd ? 2 : 1,
    info1: info[0],
    info2: info[1],
    intr_info: cause === 'interrupt' && !vm.isAmd ? 0x800000ec : 0,
    vcpu_id: vcpu.index,
  });
}

/** KVM_RUN returns to the VMM; gives the time stamp of kvm_userspace_exit, ns. `errno` positive. */
export function* exitToUser(
  vcpu: Vcpu,
  reason: number,
  payload: { readonly u?: [number, number, number, number]; readonly errno?: number } = {},
): Flow<number> {
  const { errno = 0, u = [0, 0, 0, 0] } = payload;
  const at = yield* emit(vcpu.task, 'kvm_userspace_exit', { reason, errno: -errno });
  yield* emit(vcpu.task, 'sys_exit_ioctl', { __syscall_nr: vcpu.vm.world.isArm ? 29 : 16, ret: -errno });
  vcpu.run.reason = reason;
  vcpu.run.u = u;
  vcpu.run.ret = 0;
  return at;
}

/** The guest computes for a while: interrupts and devices come and go; a reboot of the VM holds it up. */
export function* runGuest(vcpu: Vcpu, ns: number): Flow {
  const { random, task } = vcpu;
  const end = task.host.now + ns;
  while (task.host.now < end) {
    yield run(Math.min(end - task.host.now, random.int(20_000, 400_000)));
    if (shouldYield(task)) {
      yield* leaveGuest(vcpu, 'interrupt');
      yield run(600, true);
      yield* enterGuest(vcpu);
    }
    if (vcpu.vm.isResetting) yield* park(vcpu);
    else if (random.chance(0.5)) yield* disturb(vcpu);
  }
  if (vcpu.vm.isResetting) yield* park(vcpu);
}

/** Kicked out of the guest until the reboot is over. */
export function* park(vcpu: Vcpu): Flow {
  yield* leaveGuest(vcpu, 'interrupt');
  yield* exitToUser(vcpu, EXIT.INTR, { errno: EINTR });
  yield* waitForReset(vcpu);
  yield* callRun(vcpu);
  yield* enterGuest(vcpu);
}

/** In the VMM, until the reboot is over. */
export function* waitForReset(vcpu: Vcpu): Flow {
  const { vm } = vcpu;
  const { generation } = vm;
  vm.parked++;
  raise(vm.changed);
  yield* waitFor(vm.changed, () => !vm.isResetting && vm.generation > generation);
}

/** An exit that has nothing to do with memory. */
function* disturb(vcpu: Vcpu): Flow {
  const { random, vm } = vcpu;
  if (vm.world.options.platform === 'snp') return yield* disturbSnp(vcpu);
  const dice = random.next();
  if (dice < 0.4) yield* leaveGuest(vcpu, 'interrupt');
  else if (dice < 0.55) yield* halt(vcpu);
  else if (dice < 0.7) yield* deviceAccess(vcpu);
  else if (vm.world.isArm) yield* leaveGuest(vcpu, 'interrupt');
  else if (dice < 0.85 || vm.world.options.platform !== 'tdx') {
    yield* leaveGuest(vcpu, 'msr');
    yield* emit(vcpu.task, 'kvm_msr', { write: 1, ecx: 0x6e0, data: random.int(1, 2 ** 40) });
  } else {
    // TDG.VP.VMCALL<GetQuote>: a TDCALL that is no MapGPA
    yield* leaveGuest(vcpu, 'tdcall', [0xfc00, 0]);
    yield* exitToUser(vcpu, EXIT.TDX, { u: [0, 0x10002, 0, 0x7e000000] });
    yield run(random.int(8_000, 30_000), true);
    yield* callRun(vcpu);
  }
  yield* enterGuest(vcpu);
}

/** SEV-ES guests ask for what others get by interception (reference 07 §7). */
function* disturbSnp(vcpu: Vcpu): Flow {
  if (vcpu.random.chance(0.6)) {
    yield* leaveGuest(vcpu, 'interrupt');
    yield* enterGuest(vcpu);
    return;
  }
  yield* leaveGuest(vcpu, 'vmgexit');
  const vmgexit = { vcpu_id: vcpu.index, exit_reason: 0x7c, info1: 1, info2: 0 };
  yield* emit(vcpu.task, 'kvm_vmgexit_enter', vmgexit);
  yield* emit(vcpu.task, 'kvm_msr', { write: 1, ecx: 0x830, data: 0x7000000fd });
  yield* emit(vcpu.task, 'kvm_vmgexit_exit', { ...vmgexit, info1: 0 });
  yield* enterGuest(vcpu);
}

function* halt(vcpu: Vcpu): Flow {
  const { random, task } = vcpu;
  yield* leaveGuest(vcpu, 'halt');
  if (vcpu.vm.world.isArm) yield* emit(task, 'kvm_wfx_arm64', { vcpu_pc: vcpu.rip, is_wfe: 0 });
  const ns = random.int(50_000, 2_000_000);
  yield* sleep(ns);
  yield* emit(task, 'kvm_vcpu_wakeup', { ns, waited: 1, valid: 1 });
}

function* deviceAccess(vcpu: Vcpu): Flow {
  const { random, task } = vcpu;
  const isMmio = vcpu.vm.world.isArm || random.chance(0.5);
  yield* leaveGuest(vcpu, isMmio ? 'mmio' : 'io');
  const gpa = vcpu.vm.world.isArm ? 0x9000000 : 0xfe002000;
  if (vcpu.vm.world.isArm) {
    yield* emit(task, 'kvm_guest_fault', { vcpu_pc: vcpu.rip, hsr: 0x93820046, hxfar: 0, ipa: gpa });
  }
  if (isMmio) yield* emit(task, 'kvm_mmio', { type: 2, len: 4, gpa, val: random.int(1, 0xffff) });
  else yield* emit(task, 'kvm_pio', { rw: 1, port: 0x3f8, size: 1, count: 1, val: random.int(1, 255) });
  yield* exitToUser(vcpu, isMmio ? EXIT.MMIO : EXIT.IO, {
    u: isMmio ? [gpa, 1, 0x100000004, 0] : [0x103f80101, 0x1000, 0, 0],
  });
  yield run(random.int(2_000, 20_000), true);
  yield* callRun(vcpu);
}
