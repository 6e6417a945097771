/**
 * A guest's calls to share and unshare (arm64, include/linux/arm-smccc.h: KVM_FUNC_MEM_SHARE, _MEM_UNSHARE): handled
 * at EL2 in a protected VM, where only the hypervisor's own events show them; refused by the host's KVM in a plain one.
 */
import { PAGE_SIZE } from '../base/units.js';
import { evidenceOf, known, type MemoryEvent } from './event.js';
import type { Certainty } from './identity.js';
import { stateAt } from './intervals.js';
import { KIND } from './kinds.js';
import type { Wish } from './pkvm-state.js';
import { isPlainVm, isProtectedVm, vmOfHypEvent } from './pkvm-identity.js';
import {
  addConversion,
  type Conversion,
  type Direction,
  type NewConversion,
  type Outcome,
  type Replay,
  type Thread,
} from './state.js';

/** enum hyp_enter_exit_reason (arch/arm64/include/asm/kvm_hypevents.h). */
const GUEST_EXIT = 5;
const ERET_GUEST = 7;

const MEM_SHARE = new Set([0xc6000003, 0x86000003]);
const MEM_UNSHARE = new Set([0xc6000004, 0x86000004]);

/** Direction of a call by its function id, null for any other call. */
export function directionOfCall(func: number): Direction | null {
  if (MEM_SHARE.has(func)) return 'to_shared';
  return MEM_UNSHARE.has(func) ? 'to_private' : null;
}

interface CallRow {
  readonly vm: Conversion['vm'];
  readonly vcpu: number;
  readonly tid: number;
  readonly gpa: number;
  readonly size: number;
  readonly direction: Direction | null;
  readonly requestNs: number;
  readonly exitNs?: number;
  readonly evidence: Conversion['evidence'];
  readonly mechanism: Conversion['mechanism'];
  readonly outcome: Outcome;
  readonly certainty: Certainty;
}

/** Adds the row of a guest's call; what is not given is not known yet. */
export function addCallRow(replay: Replay, call: CallRow): Conversion {
  const { vm, vcpu, tid, gpa, size, direction, requestNs, exitNs, evidence, mechanism, outcome, certainty } = call;
  const row: NewConversion = {
    vm,
    vcpu,
    tid,
    gpa,
    offset: NaN,
    inode: NaN,
    size,
    direction,
    origin: 'explicit',
    way: 'pkvm-hvc',
    mechanism,
    outcome,
    requestNs,
    exitNs: exitNs ?? NaN,
    commitNs: NaN,
    resumeNs: NaN,
    firstUseNs: NaN,
    stopNs: NaN,
    runnableNs: 0,
    sleepingNs: 0,
    blockedNs: 0,
    attempts: [],
    chunks: 0,
    batch: 0,
    epoch: vm?.epoch ?? 0,
    evidence,
    certainty,
  };
  return addConversion(replay, row);
}

function resume(row: Conversion, ts: number): void {
  if (!Number.isNaN(row.resumeNs)) return;
  row.resumeNs = ts;
  row.stopNs = ts - row.requestNs;
}

/** hyp_enter: an exit of the guest begins, or the host calls the hypervisor. */
export function noteHypEnter(replay: Replay, ev: MemoryEvent): void {
  const { exits, lastGuest } = replay.pkvm;
  if (ev.value !== GUEST_EXIT || !(ev.extra > 0)) {
    exits.delete(ev.cpu);
    return;
  }
  exits.set(ev.cpu, { tid: ev.extra, enterNs: ev.ts, evidence: evidenceOf(ev), row: null });
  lastGuest.set(ev.cpu, ev.extra);
}

/** hyp_exit: the guest runs (again), or the host does. */
export function noteHypExit(replay: Replay, ev: MemoryEvent): void {
  const { exits, wishes } = replay.pkvm;
  const exit = exits.get(ev.cpu);
  exits.delete(ev.cpu);
  if (ev.value !== ERET_GUEST) return;
  if (exit?.row) resume(exit.row, ev.ts);
  else if (exit?.tid === ev.extra) replay.pkvm.answeredAtEl2++;
  const wish = wishes.get(`tid ${ev.extra}`);
  if (wish && Number.isNaN(wish.resumeNs)) wish.resumeNs = ev.ts;
}

function wishKey(tid: number, ev: MemoryEvent): string {
  return Number.isNaN(tid) ? `handle ${ev.extra} vcpu ${ev.vcpu}` : `tid ${tid}`;
}

/** A call is over without an answer: the guest went on with something else (it took an abort). */
function giveUp(replay: Replay, wish: Wish, outcome: Outcome): void {
  const row = addCallRow(replay, { ...wish, mechanism: 'pkvm-hyp', outcome, certainty: 'inferred' });
  resume(row, wish.resumeNs);
}

/** An HVC of a protected guest as EL2 saw it: answered there, or (`handled` 0) handed on to the host. */
export function noteHypCall(replay: Replay, ev: MemoryEvent): void {
  const { exits, wishes } = replay.pkvm;
  const exit = exits.get(ev.cpu);
  const tid = exit?.tid ?? NaN;
  const key = wishKey(tid, ev);
  const direction = directionOfCall(ev.value);
  let wish = wishes.get(key);
  wishes.delete(key);
  if (wish && (wish.direction !== direction || wish.gpa !== ev.address)) {
    giveUp(replay, wish, 'failed');
    wish = undefined;
  }
  if (direction === null) return;
  wish ??= {
    tid,
    vcpu: Number.isNaN(tid) ? ev.vcpu : known(replay.identity.vcpuOfThread(tid, ev.ts), ev.vcpu),
    vm: vmOfHypEvent(replay, ev),
    direction,
    gpa: ev.address,
    size: PAGE_SIZE,
    requestNs: exit?.enterNs ?? ev.ts,
    evidence: exit?.evidence ?? evidenceOf(ev),
    resumeNs: NaN,
  };
  if (ev.size === 0) {
    wish.resumeNs = NaN;
    wishes.set(key, wish);
    return;
  }
  const outcome: Outcome = ev.result === 0 ? 'done' : 'refused';
  const row = addCallRow(replay, { ...wish, mechanism: 'pkvm-hyp', outcome, certainty: 'observed' });
  row.commitNs = ev.ts;
  if (exit) exit.row = row;
}

/** The guest runs on and does something else (its device access reached the host): a call in flight got no answer. */
export function noteOtherWork(replay: Replay, tid: number): void {
  const key = `tid ${tid}`;
  const wish = replay.pkvm.wishes.get(key);
  if (!wish) return;
  replay.pkvm.wishes.delete(key);
  giveUp(replay, wish, 'failed');
}

/** The trace ends, or events are missing: calls in flight stay without an answer. */
export function dropWishes(replay: Replay, outcome: Outcome): void {
  for (const wish of replay.pkvm.wishes.values()) giveUp(replay, wish, outcome);
  replay.pkvm.wishes.clear();
  replay.pkvm.exits.clear();
}

/** An HVC that reached the host's KVM: the tracepoint names the function, a probe its argument, too. */
export function noteHostCall(thread: Thread, ev: MemoryEvent): void {
  const direction = directionOfCall(ev.value);
  if (direction === null) return;
  const gpa = known(ev.address, thread.asked?.gpa ?? NaN);
  thread.asked = { way: 'pkvm-hvc', direction, gpa, size: PAGE_SIZE };
}

/** The vCPU runs on after such a call without an exit to userspace: the KVM of a plain VM answers NOT_SUPPORTED. */
export function noteHostAnswer(replay: Replay, thread: Thread, ts: number): void {
  const { asked, vm } = thread;
  if (asked?.way !== 'pkvm-hvc' || asked.direction === null) return;
  const isPlain = isPlainVm(vm);
  const row = addCallRow(replay, {
    vm,
    vcpu: thread.vcpu,
    tid: thread.tid,
    gpa: asked.gpa,
    size: asked.size,
    direction: asked.direction,
    requestNs: thread.exitNs,
    evidence: thread.exitEvidence ?? { traceId: 0, cpu: 0, seq: 0, ts },
    mechanism: 'unknown',
    outcome: isPlain ? 'refused' : 'unknown',
    certainty: isPlain ? 'inferred' : 'assumed',
  });
  resume(row, ts);
}

/** ESR of the abort that EL2 makes up: data abort, write, translation fault of level 3, no valid syndrome (nvhe/pkvm.c). */
const MADE_UP_ABORT = 0x92000047;

/**
 * A protected guest's share of a page that it never touched comes to the host as a made-up abort without an address.
 * A true store to address 0 without syndrome looks the same: assumed, and only where no event of EL2 tells better.
 */
export function noteMadeUpAbort(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { pkvm, sources } = replay;
  if (ev.extra > 0) pkvm.fillsHxfar = true;
  if (ev.value !== MADE_UP_ABORT || ev.extra !== 0 || !pkvm.fillsHxfar || sources.hypPages) return;
  const { vm } = thread;
  const page = Math.floor(ev.address / PAGE_SIZE);
  // Of a page that the guest touched before, the hypervisor asks nothing.
  if (!isProtectedVm(vm) || stateAt(vm.map, page) !== 0) return;
  addCallRow(replay, {
    vm,
    vcpu: thread.vcpu,
    tid: thread.tid,
    gpa: page * PAGE_SIZE,
    size: PAGE_SIZE,
    direction: 'to_shared',
    requestNs: known(thread.exitNs, ev.ts),
    evidence: evidenceOf(ev),
    mechanism: 'pkvm-hyp',
    outcome: 'unknown',
    certainty: 'assumed',
  });
}

/** Whether a kind is one of the hypervisor's own buffer, whose events name no thread of the host. */
export function isHypKind(kind: number): boolean {
  return kind >= KIND.hyp_enter && kind <= KIND.hyp_vm;
}
