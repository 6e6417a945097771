/** Exits to userspace: which of them is a guest's request, and which a fault on the wrong view. */
import { PAGE_SIZE } from '../base/units.js';
import { withPoison } from './axes.js';
import { evidenceOf, known, type MemoryEvent } from './event.js';
import type { Certainty } from './identity.js';
import { isRealm, isSev, mayBeRealm } from './platforms.js';
import { isCarried, noteResetSign, noteRunResult, noteSystemEvent } from './reboots.js';
import { closeRequest, openRequest, setState, TDX_RETRY_WITHIN_NS } from './requests.js';
import { LOWEST_SHARED_BIT, splitGpa } from './shared-bit.js';
import { noteShownByFault } from './shown-views.js';
import { KVM_EXIT_UNSHARE, noteTouchFault, noteUnshareExit } from './unshare-exits.js';
import type {
  Conversion,
  Direction,
  MemoryFault,
  Replay,
  Request,
  RequestWay,
  Thread,
  TimeOff,
  VmState,
} from './state.js';

/** include/uapi/linux/kvm.h */
const KVM_EXIT_HYPERCALL = 3;
const KVM_EXIT_SHUTDOWN = 8;
const KVM_EXIT_INTR = 10;
const KVM_EXIT_SYSTEM_EVENT = 24;
const KVM_EXIT_MEMORY_FAULT = 39;
/** include/uapi/linux/kvm_para.h */
const KVM_HC_MAP_GPA_RANGE = 12;
/** KVM_MAP_GPA_RANGE_ENCRYPTED. */
const ENCRYPTED = 16;

/** Direction of a KVM_HC_MAP_GPA_RANGE by its attributes. */
export function directionAsked(attributes: number): Direction {
  return Math.floor(attributes / ENCRYPTED) % 2 === 1 ? 'to_private' : 'to_shared';
}
const EFAULT = 14;
const EHWPOISON = 133;
const EINTR = 4;

/** VMX exit reason of a TDCALL, and SVM's of a VMGEXIT: requests whose range no tracepoint shows. */
const EXIT_REASON_TDCALL = 77;
const SVM_EXIT_VMGEXIT = 0x403;

function isMemoryFault(replay: Replay, vm: VmState | null, reason: number, errno: number): boolean {
  if (reason === KVM_EXIT_MEMORY_FAULT) return true;
  if (!Number.isNaN(reason)) return false;
  // The kernel's text shows the errno alone. On arm64 a protected VM's EFAULT is no memory fault exit (reference 02 §8); a
  // realm's is one: a change of RIPAS ends so (rec_exit_ripas_change of the CCA series, arch/arm64/kvm/rmi-exit.c).
  if (errno !== -EFAULT && errno !== -EHWPOISON) return false;
  return !replay.sources.isArm || (vm !== null && isRealm(replay, vm));
}

/** KVM_CREATE_VM's types of x86: how a guest of that type asks (arch/x86/include/uapi/asm/kvm.h). */
const WAY_OF_TYPE: Readonly<Record<number, RequestWay>> = { 1: 'map-gpa-range', 4: 'snp-psc', 5: 'tdx-mapgpa' };

/** How the guest asked, by its exit; null where that exit was not seen. */
function wayOfExit(thread: Thread): RequestWay | null {
  if (thread.asked) return thread.asked.way;
  if (thread.exitReason === EXIT_REASON_TDCALL) return 'tdx-mapgpa';
  if (thread.exitReason === SVM_EXIT_VMGEXIT) return 'snp-psc';
  return Number.isNaN(thread.exitReason) ? null : 'map-gpa-range';
}

/** How the VM's guest asks, as far as anything tells. */
function usualWay(replay: Replay, vm: VmState | null): RequestWay | null {
  if (replay.sources.isArm) return 'map-gpa-range';
  return vm?.asksBy ?? WAY_OF_TYPE[vm?.identity.type ?? NaN] ?? null;
}

/** A MapGPA comes out in chunks, and a guest that is told RETRY asks for the rest: what began before was it seen? */
function mayBeRest(replay: Replay, thread: Thread, way: RequestWay | null): boolean {
  if (!replay.sources.guestExits || (way !== null && way !== 'tdx-mapgpa')) return false;
  return !(thread.exitNs - thread.taintedNs > TDX_RETRY_WITHIN_NS);
}

const NO_TIME_OFF: TimeOff = { runnableNs: 0, sleepingNs: 0, blockedNs: 0 };

/** An exit to userspace that follows another one: where entries are not recorded, the vCPU was in the guest between. */
function ranUnseen({ sources }: Replay): boolean {
  return !sources.guestEntries;
}

function onHypercallExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const before = thread.request;
  const { vm } = thread;
  if (isSev(replay, vm)) return;
  const shown = wayOfExit(thread);
  if (vm && shown !== null) vm.asksBy = shown;
  const told = shown ?? usualWay(replay, vm);
  const way = told ?? 'map-gpa-range';
  // A TDX MapGPA comes out chunk by chunk without entering the guest between: one request.
  if (before?.way === 'tdx-mapgpa' && way === 'tdx-mapgpa') {
    before.chunks++;
    return;
  }
  const isNextRange = before?.way === 'snp-psc' && way === 'snp-psc';
  if (before) {
    const row = closeRequest(replay, thread, isNextRange ? ev.ts : NaN, isNextRange || ranUnseen(replay));
    // Its vCPU has not run yet: the stop ends with the whole batch (machine.ts, endBatch).
    if (row && isNextRange) row.resumeNs = NaN;
  }
  if (way === 'snp-psc' && thread.batch === 0) thread.batch = ++replay.batches;
  const asked = thread.asked;
  const rangeKnown = asked !== null && !Number.isNaN(asked.gpa) && !Number.isNaN(asked.size);
  openRequest(replay, thread, {
    tid: thread.tid,
    vcpu: thread.vcpu,
    vm: thread.vm,
    origin: 'explicit',
    way,
    direction: asked?.direction ?? null,
    gpa: asked?.gpa ?? NaN,
    size: asked?.size ?? NaN,
    requestNs: isNextRange ? ev.ts : thread.exitNs,
    exitNs: ev.ts,
    attempts: [],
    chunks: 1,
    batch: way === 'snp-psc' ? thread.batch : 0,
    answer: NaN,
    fault: null,
    evidence: (isNextRange ? null : thread.exitEvidence) ?? evidenceOf(ev),
    epoch: thread.vm?.epoch ?? 0,
    rangeKnown,
    isGuess: mayBeRest(replay, thread, told),
    ...(isNextRange || Number.isNaN(thread.exitNs) ? NO_TIME_OFF : thread.off),
  });
}

/**
 * KVM_RUN is entered: kvm_run still holds the last exit, a hypercall's arguments among it, and what the VMM answers
 * (reference chapter 05). For a merged range of a PSC, and for a page of pKVM's guest, nothing else names what was asked for.
 */
export function noteHypercallAnswer({ request }: Thread, ev: MemoryEvent): void {
  if (!request) return;
  if (ev.value === KVM_EXIT_MEMORY_FAULT && request.way === 'rsi-ripas' && ev.size > 0) nameRipas(request, ev);
  if (ev.value !== KVM_EXIT_HYPERCALL) return;
  request.answer = Math.abs(ev.result);
  const { way, rangeKnown } = request;
  if (rangeKnown || ev.extra !== KVM_HC_MAP_GPA_RANGE || (way !== 'snp-psc' && way !== 'pkvm-hvc')) return;
  if (Number.isNaN(ev.address) || !(ev.size > 0)) return;
  request.gpa = ev.address;
  request.size = ev.size * PAGE_SIZE;
  request.rangeKnown = true;
  if (!Number.isNaN(ev.fd)) request.direction ??= directionAsked(ev.fd);
}

/** kvm_run.memory_fault: flags (KVM_MEMORY_EXIT_FLAG_PRIVATE: bit 3), gpa, size in bytes. */
function nameRipas(request: Request, ev: MemoryEvent): void {
  request.gpa = ev.address;
  request.size = ev.size;
  request.rangeKnown = true;
  request.direction ??= Math.floor(ev.extra / 8) % 2 === 1 ? 'to_private' : 'to_shared';
}

/** The text shows EFAULT alone: without the guest's fault, where those are recorded, KVM_RUN may have failed otherwise. */
function certaintyOfFault({ sources }: Replay, { fault, tainted }: Thread, reason: number): Certainty {
  if (reason === KVM_EXIT_MEMORY_FAULT) return 'observed';
  return fault || tainted || !sources.guestFaults ? 'inferred' : 'assumed';
}

function onMemoryFault(replay: Replay, thread: Thread, ev: MemoryEvent, reason: number): void {
  const address = thread.fault?.address ?? NaN;
  const { gpa, wanted } = Number.isNaN(address) ? { gpa: NaN, wanted: null } : splitGpa(thread.vm, address);
  const stale =
    thread.vm !== null && thread.vm.epoch > 0 && wanted !== 'shared' && !Number.isNaN(gpa) && isCarried(thread.vm, gpa);
  const fault: MemoryFault = {
    vm: thread.vm,
    vcpu: thread.vcpu,
    tid: thread.tid,
    ts: ev.ts,
    faultNs: thread.fault?.ts ?? NaN,
    resumeNs: NaN,
    address,
    gpa,
    wanted,
    cause: ev.result === -EHWPOISON ? 'no-backing' : stale ? 'stale-after-reboot' : 'mismatch',
    epoch: thread.vm?.epoch ?? 0,
    conversion: null,
    evidence: evidenceOf(ev),
    certainty: certaintyOfFault(replay, thread, reason),
  };
  if (!mayBeRipas(replay, thread) || !replay.sources.guestFaults) replay.faults.push(fault);
  // Memory failure took the folio (kvm_gmem_error_folio); what it was stays on its own axis.
  if (ev.result === -EHWPOISON && fault.vm && gpa < LOWEST_SHARED_BIT)
    setState(replay, fault.vm, gpa, PAGE_SIZE, ev.ts, withPoison);
  noteShownByFault(replay, fault);
  const request: Request = {
    tid: thread.tid,
    vcpu: thread.vcpu,
    vm: thread.vm,
    origin: 'implicit',
    way: 'fault',
    direction: wanted === null ? null : wanted === 'private' ? 'to_private' : 'to_shared',
    gpa: Number.isNaN(address) ? NaN : Math.floor(address / PAGE_SIZE) * PAGE_SIZE,
    size: PAGE_SIZE,
    requestNs: known(thread.exitNs, fault.faultNs),
    exitNs: ev.ts,
    attempts: [],
    chunks: 1,
    batch: 0,
    answer: NaN,
    fault,
    evidence: thread.exitEvidence ?? evidenceOf(ev),
    epoch: fault.epoch,
    rangeKnown: false,
    isGuess: mayBeRipas(replay, thread),
    ...(Number.isNaN(thread.exitNs) ? NO_TIME_OFF : thread.off),
  };
  openRequest(replay, thread, request);
}

/**
 * arm64 has no memory fault but by kvm_handle_guest_abort, which traces kvm_guest_fault first, and by a realm's change of
 * RIPAS, which no tracepoint names: the guest's own wish.
 */
function asksRipas({ sources }: Replay, thread: Thread): boolean {
  return sources.isArm && sources.guestFaults && !thread.fault && !Number.isNaN(thread.exitNs);
}

/** Whether the realm asked or touched the page cannot be told. */
function mayBeRipas({ sources }: Replay, thread: Thread): boolean {
  return sources.isArm && !thread.fault;
}

function onRipasExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  openRequest(replay, thread, {
    tid: thread.tid,
    vcpu: thread.vcpu,
    vm: thread.vm,
    origin: 'explicit',
    way: 'rsi-ripas',
    direction: null,
    gpa: NaN,
    size: NaN,
    requestNs: thread.exitNs,
    exitNs: ev.ts,
    attempts: [],
    chunks: 1,
    batch: 0,
    answer: NaN,
    fault: null,
    evidence: thread.exitEvidence ?? evidenceOf(ev),
    epoch: thread.vm?.epoch ?? 0,
    rangeKnown: false,
    isGuess: false,
    ...thread.off,
  });
}

/** A page whose unshare is not done was touched, and KVM answers with a memory fault: it belongs to that wish. */
function onTouchFault(replay: Replay, thread: Thread, ev: MemoryEvent, row: Conversion): void {
  replay.faults.push({
    vm: row.vm,
    vcpu: thread.vcpu,
    tid: thread.tid,
    ts: ev.ts,
    faultNs: thread.fault?.ts ?? NaN,
    resumeNs: NaN,
    address: row.gpa,
    gpa: row.gpa,
    wanted: 'private',
    cause: 'pending-conversion',
    epoch: row.epoch,
    conversion: row,
    evidence: evidenceOf(ev),
    certainty: 'inferred',
  });
}

/** KVM_RUN returns to userspace. */
export function noteUserExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  // A signal: whatever the vCPU waited for, it still waits.
  if (ev.result === -EINTR || ev.value === KVM_EXIT_INTR) return;
  handleUserExit(replay, thread, ev);
  // A request whose range is known has one exit; further ranges of a PSC are not known before theirs.
  if (thread.asked && !Number.isNaN(thread.asked.size)) thread.asked = null;
}

function handleUserExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const reason = ev.value;
  const errno = ev.result;
  if (reason === KVM_EXIT_HYPERCALL && !(errno < 0)) {
    onHypercallExit(replay, thread, ev);
    return;
  }
  if (thread.request) closeRequest(replay, thread, NaN, ranUnseen(replay));
  if (errno < 0) noteRunResult(thread, errno);
  if (reason === KVM_EXIT_UNSHARE) {
    noteUnshareExit(replay, thread, ev);
    return;
  }
  const touched = noteTouchFault(replay, thread, ev);
  if (touched) {
    onTouchFault(replay, thread, ev, touched);
    return;
  }
  if (isMemoryFault(replay, thread.vm, reason, errno)) {
    if (errno !== -EHWPOISON && asksRipas(replay, thread)) onRipasExit(replay, thread, ev);
    else onMemoryFault(replay, thread, ev, reason);
  } else if (mayBeRealm(replay, thread.vm) && Number.isNaN(reason) && errno === -EFAULT) {
    // What its thread does then may answer a realm's wish.
    thread.tainted = true;
  } else if (reason === KVM_EXIT_SYSTEM_EVENT) noteSystemEvent(replay, thread, ev.ts);
  else if (reason === KVM_EXIT_SHUTDOWN) noteResetSign(thread, ev.ts);
}
