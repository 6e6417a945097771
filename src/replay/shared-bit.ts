/**
 * The gpa bit that marks a shared access (TDX: 47 or 51). Nothing tells it beforehand: a fault's address against the
 * range that answers it shows it (reference chapter 12).
 */
import { PAGE_SIZE } from '../base/units.js';
import type { VmState } from './state.js';

/** Lowest bit that can mark a shared gpa: above any RAM of a guest that has one (bit 39 of the lab, 47 and 51 of TDX). */
export const LOWEST_SHARED_BIT = 2 ** 36;

function isPowerOfTwo(value: number): boolean {
  return value >= 1 && Number.isInteger(Math.log2(value));
}

/** The shared bit that a fault's address carries against the range that answered it: 0 = none, NaN = no match. */
export function sharedBitOf(faultAddress: number, gpa: number, size: number): number {
  const page = Math.floor(faultAddress / PAGE_SIZE) * PAGE_SIZE;
  if (page >= gpa && page < gpa + size) return 0;
  const bit = 2 ** Math.floor(Math.log2(page - gpa));
  const rest = page - bit;
  return bit >= LOWEST_SHARED_BIT && isPowerOfTwo(bit) && rest >= gpa && rest < gpa + size ? bit : NaN;
}

/** gpa without the VM's shared bit, and whether the bit was set; wanted is null while the bit is not known. */
export function splitGpa(vm: VmState | null, address: number): { gpa: number; wanted: 'private' | 'shared' | null } {
  const page = Math.floor(address / PAGE_SIZE) * PAGE_SIZE;
  const bit = vm?.sharedBit ?? NaN;
  if (Number.isNaN(bit)) return { gpa: page, wanted: null };
  const isShared = Math.floor(page / bit) % 2 === 1;
  return { gpa: isShared ? page - bit : page, wanted: isShared ? 'shared' : 'private' };
}
