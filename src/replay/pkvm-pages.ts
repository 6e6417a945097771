/**
 * Who owns a page under pKVM (reference chapter 03, axis E): donated to a guest, shared back by it, taken back at the
 * VM's end or by force. Frames are known by physical address from the donation to the end.
 */
import { PAGE_SIZE } from '../base/units.js';
import { withAllocation, withAttribute, withPoison } from './axes.js';
import { evidenceOf, type MemoryEvent } from './event.js';
import { HYP_VM } from './handles.js';
import type { Certainty } from './identity.js';
import { forEachOfAll } from './intervals.js';
import { KIND } from './kinds.js';
import { isProtectedVm, vmOfHypEvent } from './pkvm-identity.js';
import { setState } from './requests.js';
import type { Frame, HostAccess, Refused } from './pkvm-state.js';
import { lossesTillNow, stateOf, type Direction, type Replay, type Thread, type VmState } from './state.js';

/** A refused access belongs to the signal or reclaim on its CPU within this time. */
const EXPLAINED_WITHIN_NS = 20_000_000;
/** Aborts of one system call, and a fault and its signal, come within this time of each other. */
const ONE_CALL_NS = 1_000_000;

function vmOfHandle(replay: Replay, handle: number, ts: number): VmState | null {
  return stateOf(replay, replay.identity.vmOfHandle(handle, ts));
}

function donate(replay: Replay, vm: VmState, gpa: number, size: number, phys: number, ts: number, c: Certainty): void {
  setState(replay, vm, gpa, size, ts, (state) =>
    withAllocation(withAttribute(state, 'to_private', c, lossesTillNow(replay)), true),
  );
  for (let at = 0; at < size; at += PAGE_SIZE) {
    const pfn = (phys + at) / PAGE_SIZE;
    const old = replay.pkvm.frames.get(pfn);
    if (old?.vm === vm && old.gpa === gpa + at) continue;
    if (old) forget(replay, pfn, ts);
    replay.pkvm.frames.set(pfn, { vm, gpa: gpa + at, out: [] });
  }
}

/** The frame is the host's again: references on it are nobody's concern any more. */
function forget(replay: Replay, pfn: number, ts: number): void {
  const frame = replay.pkvm.frames.get(pfn);
  if (!frame) return;
  replay.pkvm.frames.delete(pfn);
  for (const ref of frame.out) {
    ref.droppedNs = ts;
    replay.pkvm.references.push(ref);
  }
}

/** Without the hypervisor's page events a share would not be seen: then a donated page is private by assumption only. */
function certaintyOfDonation(replay: Replay): Certainty {
  return replay.sources.hypPages ? 'observed' : 'assumed';
}

/** pkvm_pgtable_stage2_map: the host maps a page for a guest; for a protected one it gives the page away. */
export function noteDonation(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const vm = vmOfHandle(replay, ev.extra, ev.ts) ?? thread.vm;
  if (!isProtectedVm(vm)) return;
  const mapping = { vm, gpa: ev.address, size: ev.size, phys: ev.value };
  if (replay.sources.donateRet) replay.pkvm.mapping.set(thread.tid, mapping);
  else donate(replay, vm, mapping.gpa, mapping.size, mapping.phys, ev.ts, 'assumed');
}

export function noteDonationResult(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const mapping = replay.pkvm.mapping.get(thread.tid);
  replay.pkvm.mapping.delete(thread.tid);
  if (!mapping || ev.result !== 0) return;
  donate(replay, mapping.vm, mapping.gpa, mapping.size, mapping.phys, ev.ts, certaintyOfDonation(replay));
}

/** The same from the hypervisor's side; only protected VMs are donated to. */
export function noteHypDonation(replay: Replay, ev: MemoryEvent): void {
  const vm = vmOfHypEvent(replay, ev);
  if (vm && ev.result === 0) donate(replay, vm, ev.address, ev.size, ev.value, ev.ts, 'observed');
}

/** The guest shares a page or takes it back. */
export function noteHypFlip(replay: Replay, ev: MemoryEvent, direction: Direction): void {
  const vm = vmOfHypEvent(replay, ev);
  if (!vm || ev.result !== 0) return;
  const losses = lossesTillNow(replay);
  setState(replay, vm, ev.address, ev.size, ev.ts, (state) => withAttribute(state, direction, 'observed', losses));
}

/** The VM is being torn down: its pages come back one by one. */
export function noteHypReclaim(replay: Replay, ev: MemoryEvent): void {
  const vm = vmOfHypEvent(replay, ev);
  if (!vm) return;
  setState(replay, vm, ev.address, ev.size, ev.ts, () => 0);
  if (ev.value > 0) forget(replay, Math.floor(ev.value / PAGE_SIZE), ev.ts);
}

/** The hypervisor's VM is gone, and with it whatever was not seen coming back. */
export function noteVmEnd(replay: Replay, ev: MemoryEvent): void {
  const vm = vmOfHandle(replay, ev.extra, ev.ts);
  if (isProtectedVm(vm)) endVm(replay, vm, ev.ts);
}

/** The hypervisor's own word for it, where the host's probe is not recorded. */
export function noteHypVm(replay: Replay, ev: MemoryEvent): void {
  const vm = replay.pkvm.handles.get(ev.extra);
  if (ev.value === HYP_VM.ended && vm) endVm(replay, vm, ev.ts);
  if (ev.value !== HYP_VM.ending) replay.pkvm.handles.delete(ev.extra);
}

function endVm(replay: Replay, vm: VmState, ts: number): void {
  const runs: [number, number][] = [];
  forEachOfAll(vm.map, (first, count) => runs.push([first, count]));
  for (const [first, count] of runs) setState(replay, vm, first * PAGE_SIZE, count * PAGE_SIZE, ts, () => 0);
  for (const [pfn, frame] of replay.pkvm.frames) if (frame.vm === vm) forget(replay, pfn, ts);
}

/** A memslot is made: from now on its addresses in the VMM are guest memory. */
export function noteSlot(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const vm = stateOf(replay, replay.identity.vmOfKey(ev.vmKey, ev.ts)) ?? thread.vm;
  if (vm && ev.size > 0) replay.pkvm.slots.push({ vm, slot: ev.extra, gpa: ev.address, size: ev.size, hva: ev.value });
}

function poison(replay: Replay, frame: Frame, pfn: number, ts: number): void {
  setState(replay, frame.vm, frame.gpa, PAGE_SIZE, ts, withPoison);
  forget(replay, pfn, ts);
}

/** EL2 refused the host an access: what it leads to is seen next. */
export function noteRefused(replay: Replay, ev: MemoryEvent): void {
  const pfn = Math.floor(ev.value / PAGE_SIZE);
  const frame = replay.pkvm.frames.get(pfn);
  if (!frame) return;
  replay.pkvm.refused.push({ frame, pfn, ts: ev.ts, evidence: evidenceOf(ev) });
}

/** The host kernel touched a guest's page through its linear map and asks the hypervisor for it. */
export function noteForcedReclaim(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const pfn = Math.floor(ev.value / PAGE_SIZE);
  const frame = replay.pkvm.frames.get(pfn) ?? null;
  replay.pkvm.reclaiming.set(thread.tid, { frame, pfn, ts: ev.ts, evidence: evidenceOf(ev) });
  if (!replay.sources.hostReclaimRet) noteReclaimResult(replay, thread, ev.ts, NaN);
}

/** `result` 1: the hypervisor zeroed the page and gave it to the host; 0: it was no guest's page. NaN: not recorded. */
export function noteReclaimResult(replay: Replay, thread: Thread, ts: number, result: number): void {
  const reclaim = replay.pkvm.reclaiming.get(thread.tid);
  replay.pkvm.reclaiming.delete(thread.tid);
  if (!reclaim || result === 0) return;
  const { frame, pfn } = reclaim;
  // Without its result the call proves no more than a suspicion, unless the frame was a guest's.
  if (Number.isNaN(result) && !frame) return;
  if (frame && replay.pkvm.frames.get(pfn) === frame) poison(replay, frame, pfn, ts);
  replay.pkvm.accesses.push({
    vm: frame?.vm ?? null,
    tid: thread.tid,
    ts: reclaim.ts,
    gpa: frame?.gpa ?? NaN,
    hva: NaN,
    pfn,
    how: 'forced-reclaim',
    evidence: reclaim.evidence,
    certainty: Number.isNaN(result) ? 'inferred' : 'observed',
  });
}

/** The same from the hypervisor's side; the host's probe, where recorded, tells the thread. */
export function noteHypForcedReclaim(replay: Replay, ev: MemoryEvent): void {
  if (ev.result !== 0) return;
  const pfn = Math.floor(ev.value / PAGE_SIZE);
  const vm = vmOfHypEvent(replay, ev);
  if (vm) setState(replay, vm, ev.address, ev.size, ev.ts, withPoison);
  forget(replay, pfn, ev.ts);
  if (replay.sources.hostReclaims) return;
  replay.pkvm.accesses.push({
    vm,
    tid: NaN,
    ts: ev.ts,
    gpa: ev.address,
    hva: NaN,
    pfn,
    how: 'forced-reclaim',
    evidence: evidenceOf(ev),
    certainty: 'observed',
  });
}

/** A thread gets SIGSEGV with SEGV_ACCERR: on guest memory that is how the host sees a refused access. */
export function noteSignal(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { signals, slots } = replay.pkvm;
  const last = signals[signals.length - 1];
  // The probe on the fault tells the address, the tracepoint of the signal follows.
  if (Number.isNaN(ev.address) && last?.tid === thread.tid && ev.ts - last.ts < ONE_CALL_NS) return;
  const process = replay.identity.processOf(thread.tid, ev.ts);
  const slot = slots.findLast(
    (s) =>
      s.vm.identity.process === process &&
      isProtectedVm(s.vm) &&
      !(s.vm.identity.endTs < ev.ts) &&
      ev.address >= s.hva &&
      ev.address < s.hva + s.size,
  );
  signals.push({
    vm: slot?.vm ?? null,
    tid: thread.tid,
    ts: ev.ts,
    gpa: slot ? slot.gpa + Math.floor((ev.address - slot.hva) / PAGE_SIZE) * PAGE_SIZE : NaN,
    hva: ev.address,
    pfn: NaN,
    how: 'sigsegv',
    evidence: evidenceOf(ev),
    certainty: 'inferred',
  });
}

/** Whether a refused access and what the host's trace shows are one; clocks that were lined up may be off by a little. */
function isSame(refused: Refused, access: HostAccess): boolean {
  if (refused.evidence.cpu !== access.evidence.cpu || Math.abs(refused.ts - access.ts) > EXPLAINED_WITHIN_NS)
    return false;
  if (!Number.isNaN(access.pfn)) return access.pfn === refused.pfn;
  return Number.isNaN(access.gpa) || (access.vm === refused.frame.vm && access.gpa === refused.frame.gpa);
}

/** Takes the refused access that led to what the host's trace shows: the nearest one that fits. */
function takeRefused(open: Set<Refused>, access: HostAccess): Refused | null {
  let best: Refused | null = null;
  for (const refused of open) {
    if (!isSame(refused, access)) continue;
    if (best === null || Math.abs(refused.ts - access.ts) < Math.abs(best.ts - access.ts)) best = refused;
  }
  if (best) open.delete(best);
  return best;
}

/**
 * After the last event: signals on guest memory, and refused accesses that led to no signal and no reclaim. Those were
 * system calls that got EFAULT; one call aborts again for each byte that it tries to copy.
 */
export function settleAccesses(replay: Replay): void {
  const { accesses, refused, signals } = replay.pkvm;
  const open = new Set(refused);
  for (const access of accesses) takeRefused(open, access);
  for (const signal of signals) {
    const cause = takeRefused(open, signal);
    if (cause) {
      const { vm, gpa } = cause.frame;
      accesses.push({ ...signal, vm, gpa, pfn: cause.pfn, certainty: 'observed' });
    } else if (signal.vm) accesses.push(signal);
  }
  const lastOf = new Map<number, number>();
  for (const { frame, pfn, ts, evidence } of open) {
    const isSameCall = ts - (lastOf.get(pfn) ?? -Infinity) < ONE_CALL_NS;
    lastOf.set(pfn, ts);
    if (isSameCall) continue;
    const { vm, gpa } = frame;
    accesses.push({ vm, tid: NaN, ts, gpa, hva: NaN, pfn, how: 'efault', evidence, certainty: 'inferred' });
  }
  accesses.sort((a, b) => a.ts - b.ts);
}

/** GUP_PIN_COUNTING_BIAS (include/linux/mm.h); fast GUP takes 1 first, then the other 1023. */
const PIN = 1024;

/** A reference on a donated frame. The donation's own pin came before it, and pins inside a guest's fault are KVM's. */
export function noteFrameReference(replay: Replay, ev: MemoryEvent): void {
  const frame = replay.pkvm.frames.get(ev.value);
  if (!frame) return;
  const change = ev.result;
  const how = Math.abs(change) >= PIN - 1 ? 'pin' : 'get';
  if (change > 0) {
    const first = change === PIN - 1 ? frame.out.findLastIndex((r) => r.how === 'get' && r.tid === ev.tid) : -1;
    if (first >= 0) frame.out.splice(first, 1);
    if (replay.threads.get(ev.tid)?.fault) return;
    const { vm, gpa } = frame;
    frame.out.push({ vm, gpa, pfn: ev.value, tid: ev.tid, how, takenNs: ev.ts, droppedNs: NaN });
    return;
  }
  let at = frame.out.findLastIndex((r) => r.how === how && r.tid === ev.tid);
  if (at < 0) at = frame.out.findIndex((r) => r.how === how);
  if (at < 0) return;
  const [ref] = frame.out.splice(at, 1);
  ref!.droppedNs = ev.ts;
  replay.pkvm.references.push(ref!);
}

/** Every event of the hypervisor that names a page. */
export function stepHypPage(replay: Replay, ev: MemoryEvent): void {
  switch (ev.kind) {
    case KIND.hyp_share:
      return noteHypFlip(replay, ev, 'to_shared');
    case KIND.hyp_unshare:
      return noteHypFlip(replay, ev, 'to_private');
    case KIND.hyp_donate:
      return noteHypDonation(replay, ev);
    case KIND.hyp_reclaim:
      return noteHypReclaim(replay, ev);
    case KIND.hyp_force_reclaim:
      return noteHypForcedReclaim(replay, ev);
    case KIND.hyp_vm:
      return noteHypVm(replay, ev);
    case KIND.host_abort:
      return noteRefused(replay, ev);
  }
}
