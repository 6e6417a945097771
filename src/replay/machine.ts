/**
 * Second pass: one memory event after the other moves threads, requests and state. Each case says in a line what the
 * event means; the doing is in the file of that noun.
 */
import { PAGE_SIZE } from '../base/units.js';
import {
  closeIoctlAttempt,
  dropAttempt,
  mechanismOf,
  noteGmemAttributes,
  noteGmemResult,
  noteVmAttributes,
  noteVmResult,
  openIoctlAttempt,
} from './attempts.js';
import { withAllocation } from './axes.js';
import { bindingAt } from './binding-index.js';
import {
  noteBind,
  noteBindDone,
  noteBindResult,
  noteFolio,
  noteInsertion,
  noteRequestedFrame,
  noteUnbind,
  settleBind,
} from './bindings.js';
import { canFollow, phaseAfter } from './run-phase.js';
import { evidenceOf, type MemoryEvent } from './event.js';
import { directionAsked, noteHypercallAnswer, noteUserExit } from './exits.js';
import { KVM_RUN } from './facts.js';
import {
  noteGmemFault,
  noteGmemFaultResult,
  noteHostFault,
  noteMmap,
  noteMmapResult,
  noteSigbus,
  SIGBUS,
} from './host-faults.js';
import { hiddenWith, mayHideRequest, settleHidden, type Hidden, type LossBorder } from './hidden-calls.js';
import { KIND } from './kinds.js';
import { closePunch, notePunchedPage, openPunch } from './punches.js';
import {
  noteDonation,
  noteDonationResult,
  noteForcedReclaim,
  noteFrameReference,
  noteReclaimResult,
  noteSignal,
  noteSlot,
  noteVmEnd,
  settleAccesses,
  stepHypPage,
} from './pkvm-pages.js';
import {
  dropWishes,
  isHypKind,
  noteHostAnswer,
  noteHostCall,
  noteHypCall,
  noteHypEnter,
  noteHypExit,
  noteMadeUpAbort,
  noteOtherWork,
} from './pkvm-calls.js';
import {
  doubtRun,
  noteAlive,
  noteEntry,
  notePsci,
  noteResetCost,
  noteResetSign,
  noteRun,
  noteRunResult,
  noteVcpuState,
} from './reboots.js';
import type { References } from './references.js';
import {
  abandonRequest,
  closeRequest,
  doubtUnfinished,
  forgetFlipping,
  noteUnforwarded,
  setState,
} from './requests.js';
import { sharedBitOf } from './shared-bit.js';
import { noteShownByMapping } from './shown-views.js';
import { threadOf, type Replay, type Thread } from './state.js';
import { abandonUnshare, noteUnshareEntry, noteUnshareRun } from './unshare-exits.js';

/** The vCPU left the guest: what it asked for before is answered. */
function onGuestExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  // Where entries are not recorded, leaving the guest again shows that it was entered.
  if (!replay.sources.guestEntries) closeRequest(replay, thread, NaN, true);
  thread.exitNs = ev.ts;
  thread.exitReason = ev.value;
  thread.exitEvidence = evidenceOf(ev);
  thread.asked = null;
  thread.fault = null;
  thread.tainted = false;
  thread.off.runnableNs = 0;
  thread.off.sleepingNs = 0;
  thread.off.blockedNs = 0;
  if (!Number.isNaN(ev.vcpu)) thread.vcpu = ev.vcpu;
  if (thread.vm) noteAlive(thread.vm, ev.ts);
}

/** The vCPU enters the guest: whatever it waited for is over. */
function onGuestEntry(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  if (!Number.isNaN(ev.vcpu)) thread.vcpu = ev.vcpu;
  noteEntry(replay, thread, ev.address, ev.ts);
  if (!thread.request) noteUnforwarded(replay, thread, ev.ts);
  const row = closeRequest(replay, thread, ev.ts);
  if (thread.batch > 0) endBatch(replay, thread, ev.ts);
  if (!row) resumeFault(replay, thread, ev.ts);
  if (replay.pkvm.unshares.has(thread.tid)) noteUnshareEntry(replay, thread, ev.ts);
  else if (!row) noteHostAnswer(replay, thread, ev.ts);
  thread.exitNs = NaN;
  thread.fault = null;
  thread.asked = null;
  thread.tainted = false;
}

/** Ranges of one SNP request are rows of their own; all of them end where the vCPU runs again. */
function endBatch(replay: Replay, thread: Thread, ts: number): void {
  for (let k = replay.conversions.length - 1; k >= 0; k--) {
    const row = replay.conversions.at(k);
    if (row.tid !== thread.tid) continue;
    if (row.batch !== thread.batch) break;
    if (Number.isNaN(row.resumeNs)) {
      row.resumeNs = ts;
      row.stopNs = ts - row.requestNs;
    }
  }
  thread.batch = 0;
}

function resumeFault(replay: Replay, thread: Thread, ts: number): void {
  const last = replay.faults[replay.faults.length - 1];
  if (last?.tid === thread.tid && Number.isNaN(last.resumeNs)) last.resumeNs = ts;
}

function onIoctlEnter(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  thread.ioctl = { fd: ev.fd, cmd: ev.value, startNs: ev.ts };
  const { vm } = thread;
  if (vm) vm.usesIoctls = true;
  if (ev.value === KVM_RUN) {
    thread.tainted = false;
    noteRun(replay, thread, ev.fd, ev.ts);
    return;
  }
  const mechanism = mechanismOf(ev.value);
  if (mechanism) openIoctlAttempt(replay, thread, ev, mechanism);
  else noteVcpuState(replay, thread, ev.fd, ev.value, ev.ts);
}

function onIoctlExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { ioctl } = thread;
  thread.ioctl = null;
  if (!ioctl) return;
  if (ioctl.cmd === KVM_RUN) noteRunResult(thread, ev.result);
  const { attempt } = thread;
  closeIoctlAttempt(replay, thread, ev);
  if (attempt) noteResetCost(attempt.vm, ev.ts - attempt.startNs);
  noteBindResult(replay, thread, ev.result);
}

/**
 * Inode numbers are a device's own: a page of another device is no guest memory, whatever its inode. While it is not known
 * on which the guest_memfds live, a number that several devices use says nothing.
 */
function isOnGmemDevice({ gmemDev, sources }: Replay, { extra: dev, inode }: MemoryEvent): boolean {
  if (Number.isNaN(gmemDev)) return !sources.sharedInodes.has(inode);
  return Number.isNaN(dev) || dev === gmemDev;
}

/** A page came into or left the page cache of a guest_memfd whose gpa is known. */
function onPage(replay: Replay, thread: Thread, ev: MemoryEvent, isAdd: boolean): void {
  // A fault, or a punch of a known descriptor, may show now that it is the guest_memfds' device.
  const isUnproven = Number.isNaN(replay.gmemDev);
  const isOwn = isOnGmemDevice(replay, ev);
  if (!isOwn && !isUnproven) return;
  if (isAdd && isOwn) noteInsertion(replay, thread, ev);
  if (isAdd) thread.added = { inode: ev.inode, dev: ev.extra, offset: ev.address, pfn: ev.value };
  else notePunchedPage(replay, thread, ev);
  if (!isOnGmemDevice(replay, ev)) return;
  const bound = bindingAt(replay.bindingIndex, ev.inode, ev.address);
  if (!bound?.vm) return;
  const gpa = ev.address - bound.offset + bound.gpa;
  setState(replay, bound.vm, gpa, PAGE_SIZE, ev.ts, (state) => withAllocation(state, isAdd));
}

/** kvm_gmem_get_pfn found a page of the guest_memfd: it is allocated. */
function onFrameFound(replay: Replay, references: References, { vm }: Thread, ev: MemoryEvent): void {
  if (!vm || ev.result !== 0) return;
  references.noteFrame(vm, ev.address, ev.value);
  setState(replay, vm, ev.address, PAGE_SIZE, ev.ts, (state) => withAllocation(state, true));
}

/** A mapping with the new sharing: the first one after a conversion is its first use. */
function onMapped(thread: Thread, ev: MemoryEvent): void {
  const waiting = thread.vm?.awaitingUse;
  if (!waiting) return;
  for (let k = waiting.length - 1; k >= 0; k--) {
    const row = waiting[k]!;
    if (ev.address < row.gpa || ev.address >= row.gpa + row.size) continue;
    row.firstUseNs = ev.ts;
    waiting.splice(k, 1);
    return;
  }
}

const UNINTERRUPTIBLE = 4;

/** The thread has its CPU again: the time without it counts for the request that it works on, or will make of this exit. */
function onSwitchIn(thread: Thread, ts: number): void {
  const { request, offNs } = thread;
  thread.offNs = NaN;
  if (Number.isNaN(offNs)) return;
  const since = request ? request.requestNs || request.exitNs : thread.exitNs;
  const without = Math.max(0, ts - Math.max(offNs, since || offNs));
  const off = request ?? thread.off;
  if (thread.offHow === 1) off.runnableNs += without;
  else off.sleepingNs += without;
  if (thread.offHow === UNINTERRUPTIBLE) off.blockedNs += without;
}

/**
 * Where the thread runs. After it was off its CPU it may come from one that is losing events just now, and have done
 * anything there.
 */
function followCpu(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  // A new thread is told of where its maker runs.
  if (ev.kind === KIND.switch_out || ev.kind === KIND.task_new) return;
  if (!thread.onCpu && replay.openLosses.size > 0 && replay.sources.switches) {
    thread.phase = 'unknown';
    taintThread(replay, thread, ev.ts);
  }
  thread.onCpu = true;
  thread.lastCpu = ev.cpu;
}

function onSwitchOut(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  // Stamps of two CPUs may be the same or a little off: it is on another one already.
  if (thread.onCpu && thread.lastCpu !== ev.cpu) return;
  thread.onCpu = false;
  thread.offNs = ev.ts;
  thread.offHow = ev.value;
  if (ev.value === 3) onTaskEnd(replay, thread);
}

function onTaskEnd(replay: Replay, thread: Thread): void {
  if (thread.attempt) forgetFlipping(replay, thread.attempt, replay.lastNs);
  dropAttempt(replay, thread);
  closeRequest(replay, thread, NaN);
}

/** Moves everything by one event. */
export function step(replay: Replay, references: References, ev: MemoryEvent): void {
  replay.lastNs = ev.ts;
  const kind = ev.kind;
  if (kind === KIND.page_ref) {
    references.noteRef(ev);
    noteFrameReference(replay, ev);
    return;
  }
  if (isHypKind(kind)) return stepHyp(replay, ev);
  const thread = threadOf(replay, ev.tid, ev.ts);
  followCpu(replay, thread, ev);
  if (thread.hidden) settleHidden(replay, thread, kind);
  if (!canFollow(replay, thread, ev)) noteGap(replay, thread, ev);
  thread.phase = phaseAfter(thread, ev);
  thread.seenNs = ev.ts;
  switch (kind) {
    case KIND.guest_exit:
      return onGuestExit(replay, thread, ev);
    case KIND.guest_entry:
      return onGuestEntry(replay, thread, ev);
    case KIND.hypercall: {
      const direction = directionAsked(ev.extra);
      thread.asked = { way: 'map-gpa-range', direction, gpa: ev.address, size: ev.size };
      return;
    }
    case KIND.vmgexit:
      if (ev.value === 0x80000010) thread.asked = { way: 'snp-psc', direction: null, gpa: NaN, size: NaN };
      return;
    case KIND.vmgexit_msr:
      return noteMsrRequest(thread, ev.value);
    case KIND.map_gpa:
      return noteMapGpa(thread, ev);
    case KIND.guest_fault:
      learnSharedBit(thread, ev.address);
      noteMadeUpAbort(replay, thread, ev);
      thread.fault = { address: ev.address, code: ev.value, ts: ev.ts, evidence: evidenceOf(ev) };
      return;
    case KIND.user_exit:
      return noteUserExit(replay, thread, ev);
    case KIND.hypercall_done:
      if (thread.request) thread.request.answer = Math.abs(ev.result);
      return;
    case KIND.run_enter:
      noteHypercallAnswer(thread, ev);
      return noteUnshareRun(replay, thread, ev);
    case KIND.ioctl_enter:
      return onIoctlEnter(replay, thread, ev);
    case KIND.ioctl_exit:
      return onIoctlExit(replay, thread, ev);
    case KIND.attr_event:
      return noteVmAttributes(replay, thread, ev, false);
    case KIND.vm_attr_call:
      return noteVmAttributes(replay, thread, ev, true);
    case KIND.vm_attr_ret:
      return noteVmResult(replay, thread, ev);
    case KIND.gmem_attr_call:
      return noteGmemAttributes(replay, thread, ev);
    case KIND.gmem_attr_ret:
      return noteGmemResult(replay, thread, ev);
    case KIND.fallocate_enter:
      return openPunch(replay, thread, ev, false);
    case KIND.punch_call:
      return openPunch(replay, thread, ev, true);
    case KIND.fallocate_exit:
      return closePunch(replay, thread, ev.ts, ev.result);
    case KIND.punch_ret:
      if (!replay.sources.fallocate) closePunch(replay, thread, ev.ts, ev.result);
      return;
    case KIND.bind:
      return noteBind(replay, thread, ev);
    case KIND.bind_done:
      return noteBindDone(replay, thread, ev);
    case KIND.bind_ret:
      return noteBindResult(replay, thread, ev.result);
    case KIND.unbind:
      return noteUnbind(replay, thread, ev);
    case KIND.gmem_release:
      replay.released.set(ev.inode, ev.ts);
      return;
    case KIND.get_pfn:
      thread.pfnGpa = { gpa: ev.address, ts: ev.ts };
      return;
    case KIND.get_folio:
      return noteFolio(replay, thread, ev);
    case KIND.page_add:
      if (isOnGmemDevice(replay, ev)) references.noteAdded(ev);
      else references.forgetFrame(ev.value);
      return onPage(replay, thread, ev, true);
    case KIND.page_delete:
      references.noteDeleted(ev);
      return onPage(replay, thread, ev, false);
    case KIND.spte_requested:
      // In place one file serves both views; else the frame may be of the other backing.
      if (thread.vm?.inPlace) references.noteFrame(thread.vm, ev.address, ev.value);
      return noteRequestedFrame(replay, thread, ev);
    case KIND.pfn_found:
      return onFrameFound(replay, references, thread, ev);
    case KIND.spte_set:
      noteShownByMapping(replay, thread, ev);
      return onMapped(thread, ev);
    case KIND.dma_map:
      return references.noteMapped(ev, replay.identity.processOf(ev.tid, ev.ts), thread.ioctl?.cmd ?? NaN);
    case KIND.dma_unmap:
      return references.noteUnmapped(ev, replay.identity.processOf(ev.tid, ev.ts));
    case KIND.vcpu_online:
      replay.vcpusMade.add(ev.vcpu);
      return;
    case KIND.pio_write:
      return noteResetSign(thread, ev.ts);
    case KIND.hvc:
    case KIND.system_reset:
      noteHostCall(thread, ev);
      return notePsci(replay, thread, ev.value, ev.ts);
    case KIND.mmio:
      return noteOtherWork(replay, ev.tid);
    case KIND.slot_set:
      return noteSlot(replay, thread, ev);
    case KIND.donate:
      return noteDonation(replay, thread, ev);
    case KIND.donate_ret:
      return noteDonationResult(replay, thread, ev);
    case KIND.vm_destroy:
      return noteVmEnd(replay, ev);
    case KIND.host_reclaim:
      return noteForcedReclaim(replay, thread, ev);
    case KIND.host_reclaim_ret:
      return noteReclaimResult(replay, thread, ev.ts, ev.result);
    case KIND.mmap_enter:
      return noteMmap(replay, thread, ev);
    case KIND.mmap_exit:
      return noteMmapResult(replay, thread, ev);
    case KIND.host_fault:
      return noteHostFault(replay, thread, ev);
    case KIND.gmem_fault:
      return noteGmemFault(replay, thread, ev);
    case KIND.gmem_fault_ret:
      return noteGmemFaultResult(replay, thread, ev);
    case KIND.host_signal:
      if (ev.result === SIGBUS) noteSigbus(replay, thread, ev);
      else noteSignal(replay, thread, ev);
      return;
    case KIND.switch_out:
      return onSwitchOut(replay, thread, ev);
    case KIND.switch_in:
      return onSwitchIn(thread, ev.ts);
    case KIND.task_exit:
      return onTaskEnd(replay, thread);
  }
}

/** An event of the hypervisor's own buffer. */
function stepHyp(replay: Replay, ev: MemoryEvent): void {
  switch (ev.kind) {
    case KIND.hyp_enter:
      return noteHypEnter(replay, ev);
    case KIND.hyp_exit:
      return noteHypExit(replay, ev);
    case KIND.hyp_hvc:
      return noteHypCall(replay, ev);
    default:
      return stepHypPage(replay, ev);
  }
}

/**
 * A fault on a range that was just made shared, at an address above it by one high bit: the bit that marks shared
 * accesses. Nothing tells it beforehand (reference chapter 12).
 */
function learnSharedBit(thread: Thread, address: number): void {
  const { vm } = thread;
  if (!vm || !Number.isNaN(vm.sharedBit)) return;
  for (const row of vm.awaitingUse) {
    if (row.direction !== 'to_shared' || Number.isNaN(row.gpa)) continue;
    const bit = sharedBitOf(address, row.gpa, row.size);
    if (bit > 0) vm.sharedBit = bit;
  }
}

/** MSR protocol: gfn in bits 51:12, operation in 55:52 (1 private, 2 shared); GHCB specification, PSC request 0x014. */
function noteMsrRequest(thread: Thread, ghcbGpa: number): void {
  if (ghcbGpa % 4096 !== 0x14) return;
  const operation = Math.floor(ghcbGpa / 2 ** 52) % 16;
  const gpa = (Math.floor(ghcbGpa / 4096) % 2 ** 40) * PAGE_SIZE;
  thread.asked = {
    way: 'snp-psc-msr',
    direction: operation === 1 ? 'to_private' : 'to_shared',
    gpa,
    size: PAGE_SIZE,
  };
}

/** The TDX probe names the whole rest of a MapGPA; bit 47 or 51 of the address says shared. */
function noteMapGpa(thread: Thread, ev: MemoryEvent): void {
  if (thread.request?.way === 'tdx-mapgpa') return;
  const bit = ev.address >= 2 ** 51 ? 2 ** 51 : ev.address >= 2 ** 47 ? 2 ** 47 : 0;
  thread.asked = {
    way: 'tdx-mapgpa',
    direction: bit > 0 ? 'to_shared' : 'to_private',
    gpa: ev.address - bit,
    size: ev.size,
  };
}

/**
 * Events of one CPU are missing up to now: a thread that may have been there may have done anything. One that stayed
 * on its own CPU all the while, as the scheduler's events show, keeps what is known of it.
 */
export function taint(replay: Replay, cpu: number | null, border: LossBorder): void {
  const { atNs } = border;
  replay.lossTimes.push(atNs);
  for (const thread of replay.threads.values()) {
    const stayed = replay.sources.switches && thread.onCpu && cpu !== null && thread.lastCpu !== cpu;
    if (stayed) continue;
    const hidden = hiddenWith(thread, border);
    thread.phase = 'unknown';
    taintThread(replay, thread, atNs, hidden);
  }
}

/** Events of the hypervisor are missing up to now: what its calls in flight came to may be among them. */
export function taintEl2(replay: Replay, atNs: number): void {
  dropWishes(replay, 'unknown');
  replay.lossTimes.push(atNs);
}

/** Events before this one are missing, though no marker says so: nobody knows what else is. */
function noteGap(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const isVcpu = !Number.isNaN(thread.vcpu);
  replay.gaps.push({ traceId: ev.traceId, from: thread.seenNs, to: ev.ts, isVcpu });
  if (isVcpu) replay.lossTimes.push(ev.ts);
  thread.phase = 'unknown';
  taintThread(replay, thread, ev.ts);
}

/** What the thread did before says nothing any more of what it does now. */
function taintThread(replay: Replay, thread: Thread, atNs: number, hidden: Hidden | null = null): void {
  if (thread.attempt) forgetFlipping(replay, thread.attempt, atNs);
  thread.attempt = null;
  thread.ioctl = null;
  thread.punch = null;
  thread.asked = null;
  thread.fault = null;
  thread.exitNs = NaN;
  thread.exitReason = NaN;
  thread.lastShared = null;
  thread.lastVmm = null;
  settleBind(replay, thread);
  thread.added = null;
  thread.pfnGpa = null;
  thread.batch = 0;
  thread.onCpu = false;
  thread.offNs = NaN;
  thread.tainted = true;
  thread.taintedNs = atNs;
  thread.hidden = hidden;
  doubtRun(thread);
  abandonRequest(replay, thread, atNs);
  if (mayHideRequest(replay, hidden)) doubtUnfinished(thread, hidden?.sinceNs ?? atNs);
  abandonUnshare(replay, thread.tid);
}

/** The trace ends, entries of the guest are not recorded: that a vCPU runs again shows in its KVM_RUN, if at all. */
function endUnseen(replay: Replay, thread: Thread): void {
  abandonUnshare(replay, thread.tid);
  if (replay.sources.ioctls) closeRequest(replay, thread, NaN, thread.phase === 'kernel');
  else abandonRequest(replay, thread, replay.lastNs);
}

/** The trace ends: what is still open stays open. */
export function finishReplay(replay: Replay): void {
  replay.isOver = true;
  dropWishes(replay, 'pending');
  settleAccesses(replay);
  for (const thread of replay.threads.values()) {
    dropAttempt(replay, thread);
    settleBind(replay, thread);
    if (thread.punch) closePunch(replay, thread, NaN, NaN);
    if (replay.sources.guestEntries) closeRequest(replay, thread, NaN);
    else endUnseen(replay, thread);
    doubtUnfinished(thread, replay.lastNs);
  }
}
