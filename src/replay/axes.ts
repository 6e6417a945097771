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

/** Bits 0–1 attribute, 2–3 allocation, 4–5 conversion, 6–7 certainty of the attribute. */
export interface Axes {
  readonly attribute: (typeof ATTRIBUTE)[number];
  readonly allocation: (typeof ALLOCATION)[number];
  readonly conversion: (typeof CONVERTING)[number];
  readonly certainty: Certainty;
}

export const ATTRIBUTE_MASK = 3;
export const ATTRIBUTE_PRIVATE = 1;
export const ATTRIBUTE_SHARED = 2;

export function attributeCode(direction: Direction): number {
  return direction === 'to_private' ? ATTRIBUTE_PRIVATE : ATTRIBUTE_SHARED;
}

export function withAttribute(state: number, direction: Direction, certainty: Certainty): number {
  return (state & ~(ATTRIBUTE_MASK | 0xc0)) | attributeCode(direction) | (CERTAINTY.indexOf(certainty) << 6);
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
    allocation: ALLOCATION[(state >> 2) & 3] ?? 'unknown',
    conversion: CONVERTING[(state >> 4) & 3] ?? 'idle',
    certainty: CERTAINTY[(state >> 6) & 3] ?? 'unknown',
  };
}

/** The display state of reference chapter 03, first match wins; `inPlace`: one folio serves both views. */
export function displayState(axes: Axes, inPlace: boolean): string {
  if (axes.allocation === 'poisoned') return 'poisoned';
  if (axes.conversion !== 'idle') return 'converting';
  if (axes.attribute === 'private') return axes.allocation === 'unallocated' ? 'private-unallocated' : 'private';
  if (axes.attribute === 'shared') {
    if (inPlace) return axes.allocation === 'unallocated' ? 'shared-unallocated' : 'shared';
    return axes.allocation === 'allocated' ? 'shared-stale' : 'shared';
  }
  return 'unknown';
}
