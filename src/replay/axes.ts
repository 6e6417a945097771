/**
 * The state of a page as independent axes packed into one small number, and the display state derived from them
 * (reference chapter 03). 0 = nothing is known.
 */
import type { Certainty } from './identity.js';
import type { Direction } from './state.js';

const ATTRIBUTE = ['unknown', 'private', 'shared'] as const;
const ALLOCATION = ['unknown', 'allocated', 'unallocated', 'poisoned'] as const;
const CONVERTING = ['idle', 'to_private', 'to_shared'] as const;
const CERTAINTY: readonly Certainty[] = ['unknown', 'assumed', 'inferred', 'observed'];

/** Bits 10–30: how often events had been lost when the view was last seen (Replay.lossTimes). */
const LOSSES_SHIFT = 10;
const LOSSES_MASK = 0x1fffff;

/**
 * Bits 0–1 attribute (KVM's, of the gfn), 2–3 allocation, 4–5 conversion, 6–7 certainty of the view, 8–9 shareability
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

function viewCode(direction: Direction): number {
  return direction === 'to_private' ? PRIVATE : SHARED;
}

/** What decides an access: the guest_memfd's own word where it has one, else KVM's attribute of the gfn. */
function viewOf(state: number): number {
  return (state >> 8) & 3 || state & 3;
}

/** The page is known to be shared. */
export function isSharedState(state: number): boolean {
  return viewOf(state) === SHARED;
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
  return ((state >> 6) & 3) === CERTAINTY.indexOf('observed');
}

function seenNow(state: number, certainty: Certainty, losses: number): number {
  return (state & 0x33f) | (CERTAINTY.indexOf(certainty) << 6) | ((losses & LOSSES_MASK) << LOSSES_SHIFT);
}

/** KVM's attribute of the gfn is set (KVM_SET_MEMORY_ATTRIBUTES on the VM), after `losses` losses of events. */
export function withAttribute(state: number, direction: Direction, certainty: Certainty, losses: number): number {
  return (seenNow(state, certainty, losses) & ~0x03) | viewCode(direction);
}

/** The guest_memfd's own attribute of the offset is set (the ioctl on the guest_memfd), after `losses` losses of events. */
export function withShareability(state: number, direction: Direction, certainty: Certainty, losses: number): number {
  return (seenNow(state, certainty, losses) & ~0x300) | (viewCode(direction) << 8);
}

export function withAllocation(state: number, allocated: boolean): number {
  return (state & ~0x0c) | (allocated ? 4 : 8);
}

/** The page's contents are lost to the guest; what it was stays on the attribute's axis. */
export function withPoison(state: number): number {
  return state | 0x0c;
}

export function withConversion(state: number, direction: Direction | null): number {
  const code = direction === null ? 0 : direction === 'to_private' ? 1 : 2;
  return (state & ~0x30) | (code << 4);
}

export function unpackAxes(state: number): Axes {
  return {
    attribute: ATTRIBUTE[state & 3] ?? 'unknown',
    shareability: ATTRIBUTE[(state >> 8) & 3] ?? 'unknown',
    allocation: ALLOCATION[(state >> 2) & 3] ?? 'unknown',
    conversion: CONVERTING[(state >> 4) & 3] ?? 'idle',
    certainty: CERTAINTY[(state >> 6) & 3] ?? 'unknown',
  };
}

/** The display state of reference chapter 03, first match wins; `inPlace`: one folio serves both views. */
export function displayState(axes: Axes, inPlace: boolean): string {
  if (axes.allocation === 'poisoned') return 'poisoned';
  if (axes.conversion !== 'idle') return 'converting';
  const { attribute, shareability } = axes;
  if (inPlace && attribute !== 'unknown' && shareability !== 'unknown' && attribute !== shareability) return 'mismatch';
  const view = shareability === 'unknown' ? attribute : shareability;
  if (view === 'private') return axes.allocation === 'unallocated' ? 'private-unallocated' : 'private';
  if (view === 'shared') {
    if (inPlace) return axes.allocation === 'unallocated' ? 'shared-unallocated' : 'shared';
    return axes.allocation === 'allocated' ? 'shared-stale' : 'shared';
  }
  return 'unknown';
}
