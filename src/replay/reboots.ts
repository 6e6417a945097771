/**
 * Boot epochs (reference chapter 03): a guest that starts over on the same VM object. A reset exit is confirmed by the
 * VMM setting vCPU state; without such an exit, state set on every vCPU of a VM that has run is a reset, too; with
 * nothing but KVM's tracepoints, every vCPU entering again where it first entered.
 */
import { PAGE_SIZE } from '../base/units.js';
import { isSharedState } from './axes.js';
import { changeRange, forEachOfAll, makeIntervalMap, stateAt, type IntervalMap } from './intervals.js';
import { KVM_RUN } from './facts.js';
import type { Certainty } from './identity.js';
import { abandonUnshare } from './unshare-exits.js';
import { stateOf, type BootState, type Replay, type Thread, type VmState } from './state.js';

const KVM_ARM_VCPU_INIT = 0x4020aeae;
/** ioctls that set the registers of a vCPU: KVM_SET_REGS, _SREGS, _SREGS2; arm64 KVM_ARM_VCPU_INIT. */
const STATE_SETTING = new Set([0x4090ae82, 0x4138ae84, 0x4140aecd, KVM_ARM_VCPU_INIT]);

function countShared(vm: VmState): number {
  let pages = 0;
  forEachOfAll(vm.map, (_first, count, state) => {
    if (isSharedState(state)) pages += count;
  });
  return pages;
}

/** The shared pages of a VM, as a map of their own. */
function sharedPages(vm: VmState): IntervalMap {
  const carried = makeIntervalMap();
  forEachOfAll(vm.map, (first, count, state) => {
    if (isSharedState(state))
      changeRange(
        carried,
        first,
        count,
        () => 1,
        0,
        () => undefined,
      );
  });
  return carried;
}

function startEpoch(replay: Replay, vm: VmState, ts: number, how: string, certainty: Certainty): void {
  vm.epoch++;
  const reboot = { vm, ts, epoch: vm.epoch, how, certainty, sharedPages: countShared(vm), resetNs: 0 };
  replay.reboots.push(reboot);
  const { boot } = vm;
  boot.resetting = reboot;
  boot.stateSet.clear();
  boot.stateSince = NaN;
  boot.resetSign = NaN;
  boot.left.clear();
  boot.back.clear();
  // What the old guest wished for is not done by the new one running.
  for (const thread of replay.threads.values()) if (thread.vm === vm) abandonUnshare(replay, thread.tid);
}

/**
 * The last KVM_RUN failed, or its end was not seen: whoever sets the vCPU's state waits for it (vcpu->mutex,
 * kvm_vcpu_ioctl), so events of a vCPU that still seems to run are missing.
 */
function mayRepair(replay: Replay, vm: VmState): boolean {
  if (vm.boot.runFailed || !replay.sources.ioctlExits) return true;
  const threads = [...vm.identity.vcpus.values()].map(({ tid }) => replay.threads.get(tid));
  return threads.some((thread) => thread?.ioctl?.cmd === KVM_RUN);
}

/** An ioctl on a vCPU sets its state: with every vCPU of a VM that has run, the guest starts over. */
export function noteVcpuState(replay: Replay, thread: Thread, fd: number, cmd: number, ts: number): void {
  if (!STATE_SETTING.has(cmd)) return;
  const found = replay.identity.fdOf(thread.tid, fd, ts);
  if (found?.record.what !== 'vcpu') return;
  const vm = stateOf(replay, found.vm)!;
  const { boot } = vm;
  if (!boot.hasRun) return;
  if (boot.stateSet.size === 0) boot.stateSince = ts;
  boot.stateSet.set(found.record.arg, ts);
  if (boot.resetting) return;
  if (boot.stateSet.size >= vm.identity.vcpus.size) {
    const sign = boot.resetSign;
    if (Number.isNaN(sign) && cmd === KVM_ARM_VCPU_INIT && mayRepair(replay, vm)) return;
    // Without any other sign every vCPU must be set, also one that never ran: a debugger sets one.
    if (Number.isNaN(sign) && boot.stateSet.size < vm.identity.vcpusMade) return;
    if (Number.isNaN(sign)) startEpoch(replay, vm, boot.stateSince, 'registers set on every vCPU', 'inferred');
    else startEpoch(replay, vm, sign, 'reset exit, then registers set on every vCPU', 'observed');
  }
}

/** PSCI SYSTEM_RESET and SYSTEM_RESET2, and SYSTEM_OFF (include/uapi/linux/psci.h). */
const PSCI_RESETS = new Set([0x84000009, 0x84000012, 0xc4000012]);
const PSCI_OFF = 0x84000008;

/** A PSCI call of the guest: a reset is a reset; after an off the exit that follows is none. */
export function notePsci(replay: Replay, thread: Thread, func: number, ts: number): void {
  if (func === PSCI_OFF) replay.pkvm.poweredOff.add(thread.tid);
  if (PSCI_RESETS.has(func)) noteResetSign(thread, ts);
}

/** KVM_EXIT_SYSTEM_EVENT: a reset, unless the guest was seen switching itself off. */
export function noteSystemEvent(replay: Replay, thread: Thread, ts: number): void {
  if (!replay.pkvm.poweredOff.delete(thread.tid)) noteResetSign(thread, ts);
}

const EINTR = 4;

/** KVM_RUN returned an error: on arm64 the guest cannot go on as it is, and the VMM may set its registers anew. */
export function noteRunResult(thread: Thread, result: number): void {
  if (result < 0 && result !== -EINTR && thread.vm) thread.vm.boot.runFailed = true;
}

/** Events of a vCPU's thread are missing: its KVM_RUN may have failed. */
export function doubtRun(thread: Thread): void {
  if (thread.vm && !Number.isNaN(thread.vcpu)) thread.vm.boot.runFailed = true;
}

/** A reset or shutdown exit, or a write to the reset port. */
export function noteResetSign(thread: Thread, ts: number): void {
  if (thread.vm) Object.assign(thread.vm.boot, { resetSign: ts, resetBy: thread.tid, ranOn: false });
}

/** A VMM that makes a new VM for a guest that resets does so at once (ours: no source gives a time). */
const TAKEOVER_WITHIN_NS = 60_000_000_000;

/** A VM's threads are gone, or this one of them runs another VM. */
function isLeft({ identity }: Replay, vm: VmState, tid: number, ts: number): boolean {
  const threads = [...vm.identity.vcpus.values()].map((vcpu) => vcpu.tid);
  return threads.includes(tid) || threads.every((own) => identity.endOfThread(own) <= ts);
}

/**
 * A VM runs for the first time: made after a reset exit of another VM of its process that never ran again and that its
 * threads have left, it is its reboot.
 */
function noteNewVm(replay: Replay, vm: VmState, tid: number, ts: number): void {
  const before = replay.vms.findLast(
    (other) =>
      other !== vm &&
      other.identity.process === vm.identity.process &&
      other.boot.resetSign <= vm.identity.fromTs &&
      !other.boot.ranOn &&
      isLeft(replay, other, tid, ts) &&
      vm.identity.fromTs - other.boot.resetSign <= TAKEOVER_WITHIN_NS &&
      !(other.identity.goneTs <= vm.identity.fromTs) &&
      !(other.identity.fromTs > vm.identity.fromTs),
  );
  if (!before) return;
  const { resetSign } = before.boot;
  before.boot.resetSign = NaN;
  vm.epoch = before.epoch + 1;
  replay.reboots.push({
    vm,
    ts: resetSign,
    epoch: vm.epoch,
    how: 'reset exit, then a new VM of the same process',
    certainty: 'inferred',
    sharedPages: 0,
    resetNs: 0,
  });
}

/** A vCPU enters or leaves the guest. */
export function noteAlive(vm: VmState, ts: number): void {
  vm.lastRunNs = ts;
}

/** The vCPU that asked for a reset runs on in its VM. The others run until they are kicked, which tells nothing. */
function noteRunOn(boot: BootState, thread: Thread): void {
  if (boot.resetBy === thread.tid) boot.ranOn = true;
}

/** KVM_RUN on a vCPU: a reset that was going on is over. */
export function noteRun(replay: Replay, thread: Thread, fd: number, ts: number): void {
  const found = replay.identity.fdOf(thread.tid, fd, ts);
  const vm = found ? stateOf(replay, found.vm) : thread.vm;
  if (!vm) return;
  if (found?.record.what === 'vcpu') {
    // A thread may run another vCPU, or one of the VM that took over.
    thread.vm = vm;
    thread.vcpu = found.record.arg;
  }
  const { boot } = vm;
  if (!boot.hasRun) noteNewVm(replay, vm, thread.tid, ts);
  boot.hasRun = true;
  boot.runFailed = false;
  noteAlive(vm, ts);
  noteRunOn(boot, thread);
  if (boot.resetting) {
    boot.resetting.sharedPages = countShared(vm);
    boot.resetting = null;
    vm.carried = sharedPages(vm);
  }
  boot.stateSet.clear();
  boot.stateSince = NaN;
}

/** An attribute ioctl between the boundary and the next KVM_RUN is the reset's. */
export function noteResetCost(vm: VmState | null, durationNs: number): void {
  if (vm?.boot.resetting && durationNs > 0) vm.boot.resetting.resetNs += durationNs;
}

/**
 * The guest is entered at `rip`. Only where no ioctl is recorded: a VM all of whose vCPUs come back to where they
 * first entered, after having been elsewhere, has been started over. A constant rip (protected state prints 0) says nothing;
 * nor does the first one of a trace that began later than the VM: a guest comes back to any place of a loop.
 */
export function noteEntry(replay: Replay, thread: Thread, rip: number, ts: number): void {
  const { vm } = thread;
  if (vm && !vm.boot.hasRun) noteNewVm(replay, vm, thread.tid, ts);
  if (vm) vm.boot.hasRun = true;
  if (vm) noteAlive(vm, ts);
  if (!vm || replay.sources.ioctls || Number.isNaN(rip) || Number.isNaN(thread.vcpu)) return;
  const { boot } = vm;
  noteRunOn(boot, thread);
  const isRepaired = replay.sources.isArm && boot.runFailed;
  boot.runFailed = false;
  if (isRepaired) return;
  const first = boot.firstRip.get(thread.vcpu);
  if (first === undefined) {
    boot.firstRip.set(thread.vcpu, replay.vcpusMade.has(thread.vcpu) ? rip : NaN);
    return;
  }
  if (Number.isNaN(first)) return;
  if (rip !== first) boot.left.add(thread.vcpu);
  else if (boot.left.has(thread.vcpu)) {
    if (boot.back.size === 0) boot.carriedThen = sharedPages(vm);
    boot.back.set(thread.vcpu, ts);
    boot.left.delete(thread.vcpu);
  }
  if (boot.back.size > 0 && boot.back.size >= vm.identity.vcpus.size) {
    const since = Math.min(...boot.back.values());
    const carried = boot.carriedThen ?? sharedPages(vm);
    startEpoch(replay, vm, since, 'every vCPU enters again where it first entered', 'inferred');
    boot.resetting = null;
    vm.carried = carried;
    boot.carriedThen = null;
    moveToEpoch(replay, vm, since);
  }
}

/** What the first vCPUs did before the last one came back belongs to the epoch that they began. */
function moveToEpoch(replay: Replay, vm: VmState, since: number): void {
  for (let k = replay.faults.length - 1; k >= 0 && replay.faults[k]!.ts >= since; k--) {
    const fault = replay.faults[k]!;
    if (fault.vm !== vm) continue;
    const stale = fault.wanted !== 'shared' && !Number.isNaN(fault.gpa) && isCarried(vm, fault.gpa);
    Object.assign(fault, { epoch: vm.epoch, cause: stale ? 'stale-after-reboot' : fault.cause });
    if (stale)
      changeRange(
        vm.carried,
        fault.gpa / PAGE_SIZE,
        1,
        () => 0,
        fault.ts,
        () => undefined,
      );
  }
}

/** Whether a page was left shared by the boot before and nobody has set it since. */
export function isCarried(vm: VmState, gpa: number): boolean {
  return stateAt(vm.carried, Math.floor(gpa / PAGE_SIZE)) === 1;
}
