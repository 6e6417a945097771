/**
 * What a lost stretch can hide of a vCPU that was in its guest. The kernel says how many events are missing: fewer than a
 * request leaves behind, and the next that is seen is the exit from that same guest — then no request was hidden, and a
 * MapGPA that follows is no rest of one that nobody saw (reference chapter 02 §5).
 */
import { KIND } from './kinds.js';
import { doubtUnfinished } from './requests.js';
import type { Replay, Thread } from './state.js';

/** A stretch of lost events begins or ends. */
export interface LossBorder {
  /** Events missing in the whole stretch; Infinity: nobody says. */
  readonly count: number;
  readonly isEnd: boolean;
  /** ns as in LostSpan. */
  readonly atNs: number;
}

/** Of a thread that was in its guest when events went missing. */
export interface Hidden {
  /** At most so many of its events are missing since. */
  readonly count: number;
  readonly sinceNs: number;
  /** When events of it were missing last before that, ns; -Infinity: never. */
  readonly beforeNs: number;
}

/**
 * Events of its thread from a MapGPA's exit to the next entry, at least: kvm_exit, kvm_userspace_exit, kvm_entry, and
 * KVM_RUN's return and call where system calls are recorded. 0 where too little is recorded to tell.
 */
function leastOfRequest({ sources }: Replay): number {
  if (!sources.guestExits || !sources.userExits || !sources.guestEntries) return 0;
  return 3 + Number(sources.ioctls) + Number(sources.ioctlExits);
}

/** Whether a whole request may be among what is missing. */
export function mayHideRequest(replay: Replay, hidden: Hidden | null): boolean {
  return !hidden || !(hidden.count < leastOfRequest(replay));
}

/** What may be hidden of a thread with one more stretch; null where it was not in its guest before the first. */
export function hiddenWith({ phase, hidden, taintedNs }: Thread, { count, isEnd, atNs }: LossBorder): Hidden | null {
  if (phase === 'guest') return { count, sinceNs: atNs, beforeNs: taintedNs };
  // At its end a stretch is counted already.
  return hidden && !isEnd ? { ...hidden, count: hidden.count + count } : hidden;
}

/** The first event that is seen of the thread again; `kind` as in kinds.ts. */
export function settleHidden(replay: Replay, thread: Thread, kind: number): void {
  const { hidden } = thread;
  if (!hidden) return;
  thread.hidden = null;
  if (mayHideRequest(replay, hidden)) return;
  if (kind === KIND.guest_exit) thread.taintedNs = hidden.beforeNs;
  else doubtUnfinished(thread, hidden.sinceNs);
}
