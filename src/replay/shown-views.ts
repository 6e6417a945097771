/**
 * What the guest's accesses show of memory that nobody was seen converting (reference chapter 03 B): a fault that ends in a
 * mapping was of the view that the page is in; one that KVM sends to userspace was of the other.
 */
import { PAGE_SIZE } from '../base/units.js';
import { isViewKnown, withAttribute, withShareability } from './axes.js';
import type { MemoryEvent } from './event.js';
import type { Certainty } from './identity.js';
import { stateAt } from './intervals.js';
import { setState } from './requests.js';
import { LOWEST_SHARED_BIT, splitGpa } from './shared-bit.js';
import { lossesTillNow, type Direction, type MemoryFault, type Replay, type Thread, type VmState } from './state.js';

/** Bits of an x86 fault's error code that say "private": the guest's C-bit (PFERR_GUEST_ENC) and PFERR_PRIVATE_ACCESS. */
const PRIVATE_ACCESS = [2 ** 34, 2 ** 49];

/** The error code of a fault says that the access was private. */
export function isPrivateAccess(code: number): boolean {
  return PRIVATE_ACCESS.some((bit) => Math.floor(code / bit) % 2 === 1);
}

function show(replay: Replay, vm: VmState, gpa: number, ts: number, view: Direction, certainty: Certainty): void {
  const losses = lossesTillNow(replay);
  const set = replay.sources.inPlaceBy === null ? withAttribute : withShareability;
  setState(replay, vm, gpa, PAGE_SIZE, ts, (state) => set(state, view, certainty, losses));
}

/** A page of unknown view is mapped for the fault that its thread is in. */
export function noteShownByMapping(replay: Replay, { vm, fault }: Thread, ev: MemoryEvent): void {
  if (!vm || !fault || isViewKnown(stateAt(vm.map, ev.address / PAGE_SIZE))) return;
  const { gpa, wanted } = splitGpa(vm, fault.address);
  if (gpa !== ev.address) return;
  if (wanted === 'private' || isPrivateAccess(fault.code)) show(replay, vm, gpa, ev.ts, 'to_private', 'inferred');
  else if (wanted === 'shared') show(replay, vm, gpa, ev.ts, 'to_shared', 'inferred');
}

/** A page of unknown view makes a memory fault. It may also have no memory behind it: no more than assumed. */
export function noteShownByFault(replay: Replay, { vm, gpa, wanted, cause, ts }: MemoryFault): void {
  if (!vm || wanted === null || cause === 'no-backing' || Number.isNaN(gpa) || gpa >= LOWEST_SHARED_BIT) return;
  if (isViewKnown(stateAt(vm.map, gpa / PAGE_SIZE))) return;
  show(replay, vm, gpa, ts, wanted === 'private' ? 'to_shared' : 'to_private', 'assumed');
}
