/**
 * Where a vCPU thread is in KVM_RUN: an event that cannot follow the one before shows that events are missing, though
 * no marker says so (perf script's text, for one, holds none; reference chapter 07 §15).
 */
import type { MemoryEvent } from './event.js';
import { KVM_RUN } from './facts.js';
import { KIND } from './kinds.js';
import type { Replay, Thread } from './state.js';

export type RunPhase = 'unknown' | 'user' | 'kernel' | 'guest';

/** Exits to userspace for a guest's request (include/uapi/linux/kvm.h). */
const KVM_EXIT_HYPERCALL = 3;
const KVM_EXIT_MEMORY_FAULT = 39;

/** Reasons of guest exits by which no guest asks or faults: interrupts, HLT, PAUSE, timers (VMX and SVM numbers). */
const NEVER_ASKS = new Set([1, 7, 12, 40, 52, 0x60, 0x61, 0x62, 0x64, 0x77, 0x78]);
/** Those by which one makes a hypercall: VMCALL and TDCALL (VMX), VMMCALL and VMGEXIT (SVM), HVC64 and SMC64 (class on arm64). */
const MAKES_HYPERCALL = new Set([18, 77, 0x81, 0x403, 0x16, 0x17]);
/** EXIT_REASON_UNDEFINED of TDX: the vCPU did not enter (reference chapter 04). */
const NOT_ENTERED = 0xdead;

/** Whether the guest's last exit can lead to this exit to userspace; the reason is NaN where that exit was not seen. */
function canCause(exitReason: number, userExit: number): boolean {
  if (userExit === KVM_EXIT_HYPERCALL) return Number.isNaN(exitReason) || MAKES_HYPERCALL.has(exitReason);
  return userExit !== KVM_EXIT_MEMORY_FAULT || !NEVER_ASKS.has(exitReason);
}

/** An ioctl begins where none is open, and one that sets attributes gives 0 or an error: a descriptor is another's result. */
function canFollowCall({ sources }: Replay, { ioctl, attempt }: Thread, ev: MemoryEvent): boolean {
  if (ev.kind === KIND.ioctl_enter) return !ioctl || !sources.ioctlExits;
  return ev.kind !== KIND.ioctl_exit || attempt?.endsBy !== 'ioctl' || !(ev.result > 0);
}

/** Whether `ev` can follow in the phase its thread is in, as far as this recording shows the edges. */
export function canFollow(replay: Replay, thread: Thread, ev: MemoryEvent): boolean {
  const { sources } = replay;
  if (thread.phase === 'unknown') return canFollowCall(replay, thread, ev);
  // Where exits from the guest are not recorded, the vCPU may have left it unseen.
  const phase = thread.phase === 'guest' && !sources.guestExits ? 'kernel' : thread.phase;
  switch (ev.kind) {
    case KIND.guest_exit:
      // What was asked for before would have ended with an entry. Else the kernel prints no kvm_entry where VM entry fails at
      // once: twice the same is no proof.
      if (thread.request && sources.guestEntries && ev.value !== NOT_ENTERED) return false;
      return phase !== 'user' || !sources.ioctls;
    case KIND.guest_entry:
      return phase === 'kernel' || (phase === 'user' && !sources.ioctls);
    case KIND.user_exit:
      // Chunks of a MapGPA and ranges of a PSC come out one after the other without entering the guest.
      return (phase === 'kernel' || (phase === 'user' && !sources.ioctls)) && canCause(thread.exitReason, ev.value);
    case KIND.ioctl_enter:
      return (phase === 'user' || !sources.userExits) && canFollowCall(replay, thread, ev);
    case KIND.fallocate_enter:
      return phase === 'user' || !sources.userExits;
    case KIND.ioctl_exit:
      return (thread.ioctl?.cmd !== KVM_RUN || phase !== 'guest') && canFollowCall(replay, thread, ev);
    default:
      return true;
  }
}

/** Where an event leaves the thread. */
export function phaseAfter({ phase, vcpu }: Thread, ev: MemoryEvent): RunPhase {
  switch (ev.kind) {
    case KIND.guest_exit:
      return 'kernel';
    case KIND.guest_entry:
      return 'guest';
    case KIND.user_exit:
      return 'user';
    case KIND.ioctl_enter:
      // The number may be any device's: a thread of no vCPU is followed once it shows that it runs a guest.
      if (phase === 'unknown' && Number.isNaN(vcpu)) return phase;
      return ev.value === KVM_RUN ? 'kernel' : 'user';
    default:
      return phase;
  }
}
