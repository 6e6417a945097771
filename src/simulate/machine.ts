/** VMM processes: making VMs, resetting them, and ending them. */
import { PAGE_SIZE } from '../base/units.js';
import { ioctl, IOCTL, succeed, systemCall } from './calls.js';
import { liveVcpu } from './guest.js';
import { emit, raise, record, retire, run, sleep, waitFor } from './host.js';
import type { Flow, Task } from './host.js';
import type { Gmem, Process, Slot, Vcpu, Vm, World } from './model.js';
import { makeLock, newInode, newPid, newPointer, openFd } from './model.js';
import { rebootsAsNewVm } from './options.js';
import { probeAt, truncateFolios } from './pages.js';
import { dropAll, workForPins } from './pins.js';
import { makeRanges, valueOf } from './ranges.js';
import type { Conversion } from './truth.js';
import { spawnThread } from './tasks.js';
import { satisfy } from './vmm.js';

/** KVM_CREATE_VM's argument (reference 01 §1); a realm has bits 11:8 = 1 (KVM_VM_TYPE_ARM_REALM of the CCA series). */
const VM_TYPES = { 'x86-sw': 1, snp: 4, tdx: 5, pkvm: 0x80000028, 'pkvm-unshare': 0x80000028, cca: 0x130 } as const;

const GUEST_MEMFD_FLAG_MMAP = 1;
const KVM_MEM_GUEST_MEMFD = 4;

export interface VmPlan {
  readonly vm: Vm;
  readonly layout: readonly SlotPlan[];
  /** Ends with its process, or goes on when the trace ends. */
  readonly isEnding: boolean;
  /** What comes when this VM has ended. */
  readonly next: () => void;
  readonly hasWorker: boolean;
}

export interface SlotPlan {
  readonly gpa: number;
  readonly size: number;
  /** Which of the VM's guest_memfds, and where in it. */
  readonly gmem: number;
  readonly offset: number;
}

/** The thread that makes a VM, waits for it, and ends it. */
export function* manageVm(task: Task, plan: VmPlan): Flow {
  const { vm } = plan;
  yield* createVm(task, plan);
  for (const vcpu of vm.vcpus)
    yield* startThread(task, vm, {
      comm: vm.process.style.vcpuComm(vcpu.index),
      flow: (own) => vcpuThread(own, vcpu, plan),
      vcpu,
    });
  if (plan.hasWorker) {
    yield* startThread(task, vm, {
      comm: vm.process.style.workerComm,
      flow: (own) => workerThread(own, plan),
      vcpu: null,
    });
  }
  for (;;) {
    yield* waitFor(vm.changed, () => vm.wantsReset || (vm.finished === vm.vcpus.length && !vm.isResetting));
    if (!vm.wantsReset) break;
    yield* resetVm(task, plan);
  }
  yield* sleep(vm.random.int(1_000_000, 5_000_000));
  if (!plan.isEnding) return yield* retire(task);
  yield* endVm(task, plan);
}

function* startThread(
  task: Task,
  vm: Vm,
  thread: { readonly comm: string; readonly flow: (task: Task) => Flow; readonly vcpu: Vcpu | null },
): Flow {
  const { comm, flow, vcpu } = thread;
  // who makes the VM decides when it is over
  const started = yield* spawnThread(task, vm.world, { comm, delayNs: 60_000, isBackground: true }, flow);
  if (!vcpu) return;
  vcpu.task = started;
  vm.truth.vcpus.push({ index: vcpu.index, tid: started.tid, comm });
}

function* vcpuThread(task: Task, vcpu: Vcpu, plan: VmPlan): Flow {
  yield* liveVcpu(task, vcpu);
  yield* exitThread(task, plan.vm.world);
  vcpu.vm.finished++;
  raise(vcpu.vm.changed);
}

function* workerThread(task: Task, plan: VmPlan): Flow {
  yield* workForPins(task, plan.vm);
  yield* exitThread(task, plan.vm.world);
}

function* exitThread(task: Task, world: World): Flow {
  yield* emit(task, 'sched_process_exit', { comm: task.comm, pid: task.tid, prio: 120, group_dead: 0 });
  world.freePids.push(task.tid);
}

/** An ioctl on the VM's fd. */
function* vmIoctl(task: Task, vm: Vm, cmd: number, options: VmIoctl = {}): Flow<number> {
  const { fields = {}, body = () => succeed(), arg = vm.process.stack } = options;
  const { ret } = yield* ioctl(task, { fd: vm.fd, cmd, arg }, function* () {
    yield* emit(task, 'vmioctl', probeAt(task, 'vmioctl', { filp: vm.file, cmd, arg, ...fields }));
    const value = yield* body();
    yield* emit(task, 'vmioctl_ret', probeAt(task, 'vmioctl_ret', { ret: value }));
    return value;
  });
  return ret;
}

interface VmIoctl {
  readonly fields?: Readonly<Record<string, number>>;
  readonly body?: () => Flow<number>;
  readonly arg?: number;
}

/** KVM_CREATE_VM to the last preparation before the first KVM_RUN. */
function* createVm(task: Task, plan: VmPlan): Flow {
  const { vm } = plan;
  const { world, process } = vm;
  const { platform } = world.options;
  const kvmFd = process.style.firstFd - 2;
  vm.kvm = newPointer(world, 0x8000);
  vm.file = newPointer(world);
  const made = yield* ioctl(task, { fd: kvmFd, cmd: IOCTL.KVM_CREATE_VM, arg: VM_TYPES[platform] }, function* () {
    yield run(40_000);
    return openFd(process);
  });
  vm.fd = made.ret;
  if (!world.isArm) yield* vmIoctl(task, vm, IOCTL.KVM_ENABLE_CAP, { fields: { a0: 201, a1: 4096 } });
  if (platform === 'tdx' || platform === 'snp') yield* vmIoctl(task, vm, IOCTL.KVM_MEMORY_ENCRYPT_OP);
  yield* createMemory(task, plan);
  if (!world.isInPlace) yield* makeAllPrivate(task, vm);
  for (const vcpu of vm.vcpus) {
    vcpu.fd = yield* vmIoctl(task, vm, IOCTL.KVM_CREATE_VCPU, {
      arg: vcpu.index,
      body: function* () {
        yield run(25_000);
        return openFd(process);
      },
    });
    vcpu.pointer = newPointer(world, 0x3000);
  }
  yield* setVcpuStates(task, vm);
}

function* setVcpuStates(task: Task, vm: Vm): Flow {
  const { platform } = vm.world.options;
  const calls = vm.world.isArm
    ? [IOCTL.KVM_ARM_VCPU_INIT]
    : platform === 'x86-sw'
      ? [IOCTL.KVM_SET_SREGS, IOCTL.KVM_SET_REGS]
      : [IOCTL.KVM_MEMORY_ENCRYPT_OP];
  for (const { fd } of vm.vcpus) {
    for (const cmd of calls) yield* ioctl(task, { fd, cmd, arg: vm.process.stack + 64 }, () => succeed());
  }
  if (platform === 'tdx' || platform === 'snp') yield* vmIoctl(task, vm, IOCTL.KVM_MEMORY_ENCRYPT_OP);
}

function* createMemory(task: Task, { vm, layout }: VmPlan): Flow {
  const { world } = vm;
  const flags = world.isInPlace ? GUEST_MEMFD_FLAG_MMAP : 0;
  const sizes: number[] = [];
  for (const { gmem, offset, size } of layout) sizes[gmem] = Math.max(sizes[gmem] ?? 0, offset + size);
  for (const size of sizes) {
    const fd = yield* vmIoctl(task, vm, IOCTL.KVM_CREATE_GUEST_MEMFD, {
      fields: { a0: size, a1: flags },
      body: function* () {
        yield* emit(task, 'create', probeAt(task, 'create', { kvm: vm.kvm, size, flags }));
        const made = openFd(vm.process);
        yield* emit(task, 'create_ret', probeAt(task, 'create_ret', { ret: made }));
        return made;
      },
    });
    vm.gmems.push(makeGmem(vm, fd, size));
  }
  for (const [id, part] of layout.entries()) yield* bindSlot(task, vm, id, part);
  for (const gmem of vm.gmems) {
    const bindings = vm.slots
      .filter((slot) => slot.gmem === gmem)
      .map(({ id, gpa, offset, size }) => ({ slot: id, gpa, offset, size }));
    vm.truth.gmems.push({ id: gmem.id, inode: gmem.inode, size: gmem.size, bindings });
  }
}

function makeGmem(vm: Vm, fd: number, size: number): Gmem {
  const { world } = vm;
  return {
    id: `${vm.id}.g${vm.gmems.length}`,
    inode: newInode(world),
    fd,
    size,
    file: newPointer(world),
    mapping: newPointer(world),
    attributes: makeRanges(1),
    pages: new Map(),
    lock: makeLock(),
  };
}

function* bindSlot(task: Task, vm: Vm, id: number, { gpa, size, gmem: number, offset }: SlotPlan): Flow {
  const { world, process } = vm;
  const gmem = vm.gmems[number]!;
  const isMemfd = process.style.backing === 'memfd' && !world.isInPlace;
  const slot: Slot = {
    id,
    gpa,
    size,
    gmem,
    offset,
    hva: process.nextHva,
    pointer: newPointer(world),
    backingFd: isMemfd ? openFd(process) : null,
    backingInode: isMemfd ? newInode(world) : 0,
  };
  process.nextHva += size + 0x200000;
  vm.slots.push(slot);
  yield* vmIoctl(task, vm, IOCTL.KVM_SET_USER_MEMORY_REGION2, {
    fields: { a0: id + KVM_MEM_GUEST_MEMFD * 2 ** 32, a1: gpa, a2: size, a3: slot.hva, a4: offset, a5: gmem.fd },
    body: function* () {
      const values = {
        kvm: vm.kvm,
        slot: slot.pointer,
        base_gfn: gpa / PAGE_SIZE,
        npages: size / PAGE_SIZE,
        id,
        fd: gmem.fd,
        off: offset,
      };
      yield* emit(task, 'bind', probeAt(task, 'bind', values));
      yield run(15_000);
      yield* emit(task, 'bindok', probeAt(task, 'bindok', { ret: 0 }));
      return 0;
    },
  });
}

/** The VMM's own conversions: every slot to private, at start and at a reset. */
function* makeAllPrivate(task: Task, vm: Vm): Flow {
  for (const slot of vm.slots) {
    const { gpa, size } = slot;
    const first = slot.offset / PAGE_SIZE;
    const isAllPrivate = vm.world.isInPlace
      ? valueOf(slot.gmem.attributes, first, first + size / PAGE_SIZE) === 1
      : valueOf(vm.attributes, gpa / PAGE_SIZE, (gpa + size) / PAGE_SIZE) === 1;
    if (isAllPrivate) continue;
    const conversion: Conversion = {
      vm: vm.id,
      vcpu: null,
      tid: task.tid,
      gmem: slot.gmem.id,
      gpa,
      offset: slot.offset,
      size,
      direction: 'to_private',
      origin: 'vmm',
      mechanism: vm.mechanism,
      requested_ns: task.host.now,
      attempts: [],
      chunks: 0,
      outcome: 'pending',
      errno: null,
      ended_ns: null,
      resumed_ns: null,
      exit_ns: null,
    };
    vm.world.truth.conversions.push(conversion);
    yield* satisfy(task, vm, { gpa, size, isPrivate: true, conversion, trouble: {} });
  }
}

/** All vCPUs wait in the VMM: the guest's state is set anew, on platforms with encrypted state with a new VM. */
function* resetVm(task: Task, plan: VmPlan): Flow {
  const { vm } = plan;
  const { platform, reset } = vm.world.options;
  if (rebootsAsNewVm(platform)) {
    yield* closeVm(task, vm);
    renewVm(vm);
    yield* createVm(task, plan);
    vm.truth.vcpus.push(...vm.vcpus.map(({ index, task: thread }) => ({ index, tid: thread.tid, comm: thread.comm })));
  } else {
    yield* setVcpuStates(task, vm);
    if (reset) yield* makeAllPrivate(task, vm);
  }
  if (reset || rebootsAsNewVm(platform)) for (const vcpu of vm.vcpus) vcpu.sharedRanges.length = 0;
  for (const vcpu of vm.vcpus) vcpu.run.reason = 0;
  vm.parked = 0;
  vm.wantsReset = false;
  vm.isResetting = false;
  vm.generation++;
  raise(vm.changed);
}

/** A new VM object takes the place of the old one, with the same threads. */
function renewVm(vm: Vm): void {
  vm.id = `${baseOf(vm.id)}#${vm.generation + 2}`;
  vm.gmems = [];
  vm.slots = [];
  vm.attributes = makeRanges(0);
  vm.leaves = new Map();
  vm.shared = new Map();
  vm.tables = new Set();
  vm.truth = { ...vm.truth, id: vm.id, vcpus: [], gmems: [] };
  vm.world.truth.vms.push(vm.truth);
}

/** Closes what belongs to the VM; the guest_memfds' pages go with their last file. */
function* closeVm(task: Task, vm: Vm): Flow {
  const { world, process } = vm;
  const close = function* (fd: number, body: () => Flow<number> = succeed): Flow {
    yield* systemCall(task, 'close', { fd }, body);
    process.fds.delete(fd);
  };
  for (const vcpu of vm.vcpus) yield* close(vcpu.fd);
  for (const { backingFd } of vm.slots) if (backingFd !== null) yield* close(backingFd);
  for (const gmem of vm.gmems) {
    yield* close(gmem.fd, function* () {
      yield* truncateFolios(task, world, { gmem, first: 0, end: gmem.size / PAGE_SIZE });
      return 0;
    });
  }
  yield* close(vm.fd);
}

/** A guest's name, which its VM objects share (renewVm). */
function baseOf(id: string): string {
  return id.split('#')[0]!;
}

function* endVm(task: Task, plan: VmPlan): Flow {
  const { vm, next } = plan;
  const { process } = vm;
  vm.finished = 0;
  vm.isEnding = true;
  raise(vm.changed);
  yield* waitFor(vm.changed, () => vm.finished === vm.vcpus.length);
  yield* closeVm(task, vm);
  yield* dropAll(task, vm);
  vm.world.truth.ended.push(...vm.world.truth.vms.filter(({ id }) => baseOf(id) === baseOf(vm.id)).map(({ id }) => id));
  process.live--;
  raise(process.changed);
  if (task.tid === process.tgid) {
    yield* waitFor(process.changed, () => process.live === 0);
    record(task, 'sched_process_exit', { comm: task.comm, pid: task.tid, prio: 120, group_dead: 1 });
  } else record(task, 'sched_process_exit', { comm: task.comm, pid: task.tid, prio: 120, group_dead: 0 });
  vm.world.freePids.push(task.tid);
  yield run(1_500);
  next();
}

/** Whether a process's last VM goes on when the trace ends. */
export function makeProcess(world: World, style: Process['style'], changed: Process['changed']): Process {
  const { random } = world;
  return {
    tgid: newPid(world),
    style,
    fds: new Set(),
    nextHva: 0x7f0000000000 + random.int(0, 0xfff) * 2 ** 28,
    stack: 0x7ffd00000000 + random.int(0, 0xffff) * 4096,
    live: 0,
    changed,
  };
}
