/**
 * The state of a page as independent axes packed into one small number, and the display state derived from them
 * (reference chapter 03). 0 = nothing is known.
 */
import type { Certainty } from './identity.js';
import type { Direction } from './state.js';

const ATTRIBUTE = ['unknown', 'private', 'shared'] as const;
const ALLOCATION = ['unknown', 'allocated', 'unallocated', 'poisoned'] as const;
/** blocked: to private, and a try has failed for references; discarding: shared, the private copy is still there. */
const CONVERTING = ['idle', 'to_private', 'to_shared', 'blocked', 'discarding'] as const;
const CERTAINTY: readonly Certainty[] = ['unknown', 'assumed', 'inferred', 'observed'];

/** Bits 11–30: how often events had been lost when the view was last seen (Replay.lossTimes). */
const LOSSES_SHIFT = 11;
const LOSSES_MASK = 0xfffff;

/**
 * Bits 0–1 attribute (KVM's, of the gfn), 2–3 allocation, 4–6 conversion, 7–8 certainty of the view, 9–10 shareability
 * (the guest_memfd's own, of the offset). The two stores are kept side by side: they can disagree.
 */
export interface Axes {
  readonly attribute: (typeof ATTRIBUTE)[number];
  readonly shareability: (typeof ATTRIBUTE)[number];
  readonly allocation: (typeof ALLOCATION)[number];
  readonly conversion: (typeof CONVERTING)[number];
  readonly certainty: Certainty;
}

const PRIVATE = 1;
const SHARED = 2;

const ALLOCATION_SHIFT = 2;
const CONVERSION_SHIFT = 4;
const CERTAINTY_SHIFT = 7;
const SHAREABILITY_SHIFT = 9;
const CONVERSION_BITS = 7 << CONVERSION_SHIFT;
const ALLOCATED = 1;
const BLOCKED = 3;
const DISCARDING = 4;

function viewCode(direction: Direction): number {
  return direction === 'to_private' ? PRIVATE : SHARED;
}

/** What decides an access: the guest_memfd's own word where it has one, else KVM's attribute of the gfn. */
function viewOf(state: number): number {
  return (state >> SHAREABILITY_SHIFT) & 3 || state & 3;
}

/** KVM's attribute of the gfn is known. */
export function hasAttribute(state: number): boolean {
  return (state & 3) !== 0;
}

/** The guest_memfd's own attribute of the offset is known. */
export function hasShareability(state: number): boolean {
  return ((state >> SHAREABILITY_SHIFT) & 3) !== 0;
}

/** It is known which view the page is in. */
export function isViewKnown(state: number): boolean {
  return viewOf(state) !== 0;
}

/** The page is known to be shared. */
export function isSharedState(state: number): boolean {
  return viewOf(state) === SHARED;
}

/** The page is private as was seen or concluded, and no events were lost since. */
export function isPrivateForSure(state: number, losses: number): boolean {
  const isCertain = ((state >> CERTAINTY_SHIFT) & 3) >= CERTAINTY.indexOf('inferred');
  return viewOf(state) === PRIVATE && isCertain && lossesBefore(state) === (losses & LOSSES_MASK);
}

/** How often events had been lost when the page's view was last seen. */
export function lossesBefore(state: number): number {
  return (state >> LOSSES_SHIFT) & LOSSES_MASK;
}

/**
 * The page is in the view that a conversion of that direction leads to: that was seen, not concluded, and no events were
 * lost since (`losses`: how often they were till now).
 */
export function isAlready(state: number, direction: Direction, losses: number): boolean {
  if (viewOf(state) !== viewCode(direction) || lossesBefore(state) !== (losses & LOSSES_MASK)) return false;
  return ((state >> CERTAINTY_SHIFT) & 3) === CERTAINTY.indexOf('observed');
}

/** Puts a new certainty and time of sight in the place of the old. */
function seenNow(state: number, certainty: Certainty, losses: number): number {
  const kept = state & ~((3 << CERTAINTY_SHIFT) | (LOSSES_MASK << LOSSES_SHIFT));
  return kept | (CERTAINTY.indexOf(certainty) << CERTAINTY_SHIFT) | ((losses & LOSSES_MASK) << LOSSES_SHIFT);
}

/** KVM's attribute of the gfn is set (KVM_SET_MEMORY_ATTRIBUTES on the VM), after `losses` losses of events. */
export function withAttribute(state: number, direction: Direction, certainty: Certainty, losses: number): number {
  return (seenNow(state, certainty, losses) & ~3) | viewCode(direction);
}

/** The guest_memfd's own attribute of the offset is set (the ioctl on the guest_memfd), after `losses` losses of events. */
export function withShareability(state: number, direction: Direction, certainty: Certainty, losses: number): number {
  return (seenNow(state, certainty, losses) & ~(3 << SHAREABILITY_SHIFT)) | (viewCode(direction) << SHAREABILITY_SHIFT);
}

export function withAllocation(state: number, allocated: boolean): number {
  return (state & ~(3 << ALLOCATION_SHIFT)) | ((allocated ? ALLOCATED : 2) << ALLOCATION_SHIFT);
}

/** The page's contents are lost to the guest; what it was stays on the attribute's axis. */
export function withPoison(state: number): number {
  return state | (3 << ALLOCATION_SHIFT);
}

/** A conversion of that direction is under way; null: none is. */
export function withConversion(state: number, direction: Direction | null): number {
  const code = direction === null ? 0 : direction === 'to_private' ? 1 : 2;
  return (state & ~CONVERSION_BITS) | (code << CONVERSION_SHIFT);
}

/** KVM is at it: a conversion that was blocked stays so until it is done. */
export function withFlipping(state: number, direction: Direction): number {
  const isBlocked = ((state >> CONVERSION_SHIFT) & 7) === BLOCKED && direction === 'to_private';
  return isBlocked ? state : withConversion(state, direction);
}

/** It is to become private, but somebody still holds it. */
export function withBlocked(state: number): number {
  return (state & ~CONVERSION_BITS) | (BLOCKED << CONVERSION_SHIFT);
}

/** The flip to shared is done, and other memory takes over: a private copy that is there has yet to go. */
export function withDiscarding(state: number): number {
  const isThere = ((state >> ALLOCATION_SHIFT) & 3) === ALLOCATED;
  return isThere ? (state & ~CONVERSION_BITS) | (DISCARDING << CONVERSION_SHIFT) : withConversion(state, null);
}

export function unpackAxes(state: number): Axes {
  return {
    attribute: ATTRIBUTE[state & 3] ?? 'unknown',
    shareability: ATTRIBUTE[(state >> SHAREABILITY_SHIFT) & 3] ?? 'unknown',
    allocation: ALLOCATION[(state >> ALLOCATION_SHIFT) & 3] ?? 'unknown',
    conversion: CONVERTING[(state >> CONVERSION_SHIFT) & 7] ?? 'idle',
    certainty: CERTAINTY[(state >> CERTAINTY_SHIFT) & 3] ?? 'unknown',
  };
}

/**
 * The display state of reference chapter 03, first match wins; `inPlace`: one folio serves both views, as it does wherever
 * the guest_memfd has a word of its own.
 */
export function displayState(axes: Axes, inPlace: boolean): string {
  const { allocation, attribute, conversion, shareability } = axes;
  if (allocation === 'poisoned') return 'poisoned';
  if (conversion === 'blocked') return 'converting-blocked';
  if (conversion === 'discarding') return allocation === 'allocated' ? 'discarding' : 'shared';
  if (conversion !== 'idle') return 'converting';
  if (inPlace && attribute !== 'unknown' && shareability !== 'unknown' && attribute !== shareability) return 'mismatch';
  const view = shareability === 'unknown' ? attribute : shareability;
  if (view === 'private') return allocation === 'unallocated' ? 'private-unallocated' : 'private';
  if (view === 'shared') {
    if (inPlace || shareability !== 'unknown') return allocation === 'unallocated' ? 'shared-unallocated' : 'shared';
    return allocation === 'allocated' ? 'shared-stale' : 'shared';
  }
  return 'unknown';
}
