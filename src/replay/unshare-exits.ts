/**
 * KVM_EXIT_UNSHARE (reference chapter 02 §4; proposed, never merged: exit reason 44). The guest's unshare exits to
 * userspace and is done by the KVM_RUN that follows, unless references remain: then KVM exits again at once, or lets the
 * guest run and stops it at its next touch of the page. One wish is one row, whatever the number of exits.
 */
import { PAGE_SIZE } from '../base/units.js';
import { withAttribute, withBlocked, withConversion } from './axes.js';
import { evidenceOf, known, type MemoryEvent } from './event.js';
import type { Certainty } from './identity.js';
import { addCallRow } from './pkvm-calls.js';
import { setState } from './requests.js';
import { lossesTillNow, type Conversion, type Replay, type Thread } from './state.js';

export const KVM_EXIT_UNSHARE = 44;
const EFAULT = 14;
/** Exception class of a hypercall (arch/arm64/include/asm/esr.h). */
const ESR_ELX_EC_HVC64 = 0x16;

function isKnown(row: Conversion): boolean {
  return row.vm !== null && !Number.isNaN(row.gpa) && !Number.isNaN(row.size);
}

/** The unshare whose page the guest touches while it is not done; its range may not be known before. */
function unfinished(replay: Replay, thread: Thread): Conversion | null {
  const { fault, vm } = thread;
  if (!fault || vm === null) return null;
  const page = Math.floor(fault.address / PAGE_SIZE) * PAGE_SIZE;
  const found = replay.pkvm.unshareRows.findLast((row) => {
    if (row.vm !== vm || row.outcome !== 'done') return false;
    if (Number.isNaN(row.gpa)) return row.tid === thread.tid;
    return page >= row.gpa && page < row.gpa + row.size;
  });
  if (found && Number.isNaN(found.gpa)) found.gpa = page;
  return found ?? null;
}

/** The guest touched a page that is still shared: what was taken for done is not. */
function reopen(replay: Replay, thread: Thread, row: Conversion, ts: number): void {
  const { touches, unshares } = replay.pkvm;
  row.chunks++;
  row.outcome = 'pending';
  if (!touches.has(row)) touches.set(row, known(thread.exitNs, ts));
  unshares.set(thread.tid, row);
  if (!isKnown(row)) return;
  const losses = lossesTillNow(replay);
  setState(replay, row.vm!, row.gpa, row.size, ts, (state) =>
    withBlocked(withAttribute(state, 'to_shared', 'inferred', losses)),
  );
}

/** Where the guest's call was not seen, it may be an earlier wish that comes out again: at its next KVM_RUN, or at a touch. */
function certaintyOfWish({ asked, exitReason }: Thread): Certainty {
  if (asked?.way === 'pkvm-hvc') return 'observed';
  return exitReason === ESR_ELX_EC_HVC64 ? 'inferred' : 'assumed';
}

/** KVM_RUN returned with KVM_EXIT_UNSHARE: a new request, the same one again, or a touch of its page. */
export function noteUnshareExit(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const open = replay.pkvm.unshares.get(thread.tid);
  if (open) {
    open.chunks++;
    if (isKnown(open)) setState(replay, open.vm!, open.gpa, open.size, ev.ts, withBlocked);
    return;
  }
  const { asked } = thread;
  const earlier = asked?.way === 'pkvm-hvc' ? null : unfinished(replay, thread);
  if (earlier) {
    reopen(replay, thread, earlier, ev.ts);
    return;
  }
  const row = addCallRow(replay, {
    vm: thread.vm,
    vcpu: thread.vcpu,
    tid: thread.tid,
    gpa: asked?.gpa ?? NaN,
    size: PAGE_SIZE,
    direction: 'to_private',
    requestNs: thread.exitNs,
    exitNs: ev.ts,
    evidence: thread.exitEvidence ?? evidenceOf(ev),
    mechanism: 'vcpu-run',
    outcome: 'pending',
    certainty: certaintyOfWish(thread),
  });
  row.chunks = 1;
  replay.pkvm.unshareRows.push(row);
  replay.pkvm.unshares.set(thread.tid, row);
  markConverting(replay, row, ev.ts);
}

function markConverting(replay: Replay, row: Conversion, ts: number): void {
  if (isKnown(row)) setState(replay, row.vm!, row.gpa, row.size, ts, (state) => withConversion(state, 'to_private'));
}

/** A variant answers the touch with KVM_EXIT_MEMORY_FAULT: true where this failed KVM_RUN is one of those. */
export function noteTouchFault(replay: Replay, thread: Thread, ev: MemoryEvent): Conversion | null {
  if (ev.result !== -EFAULT || thread.asked) return null;
  const row = replay.pkvm.unshares.get(thread.tid) ?? unfinished(replay, thread);
  if (row) reopen(replay, thread, row, ev.ts);
  return row;
}

/** KVM_RUN begins after such an exit: kvm_run names the range, and userspace's answer. */
export function noteUnshareRun(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const row = replay.pkvm.unshares.get(thread.tid);
  if (!row || ev.value !== KVM_EXIT_UNSHARE) return;
  if (ev.size > 0 && Number.isNaN(row.gpa)) {
    row.gpa = ev.address;
    row.size = ev.size;
    markConverting(replay, row, ev.ts);
  }
  if (ev.result > 0 || ev.result < 0) row.outcome = 'refused';
}

/** The vCPU runs: the page is private now, or userspace refused; a touch may show later that it is not. */
export function noteUnshareEntry(replay: Replay, thread: Thread, ts: number): void {
  const { touches, unshares } = replay.pkvm;
  const row = unshares.get(thread.tid);
  if (!row) return;
  unshares.delete(thread.tid);
  const isRefused = row.outcome === 'refused';
  if (!isRefused) {
    row.outcome = 'done';
    if (row.certainty === 'observed') row.certainty = 'inferred';
  }
  if (Number.isNaN(row.resumeNs)) row.resumeNs = ts;
  // Where the guest ran before it was done, its stop is the one at its touch (DESIGN chapter 3).
  row.stopNs = ts - (touches.get(row) ?? known(row.requestNs, row.exitNs));
  if (!isKnown(row)) return;
  const losses = lossesTillNow(replay);
  setState(replay, row.vm!, row.gpa, row.size, ts, (state) =>
    withConversion(isRefused ? state : withAttribute(state, 'to_private', 'inferred', losses), null),
  );
}

/** Lost events, or the end of a trace that shows no entries of the guest, hide how the unshare went on. */
export function abandonUnshare(replay: Replay, tid: number): void {
  const row = replay.pkvm.unshares.get(tid);
  if (!row) return;
  replay.pkvm.unshares.delete(tid);
  if (isKnown(row) && !replay.isOver)
    setState(replay, row.vm!, row.gpa, row.size, replay.lastNs, (state) => withConversion(state, null));
  if (row.outcome === 'pending') {
    row.outcome = 'unknown';
    if (row.certainty === 'observed') row.certainty = 'inferred';
  }
}
