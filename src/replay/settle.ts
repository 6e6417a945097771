/** After the last event: what only the whole trace tells — offsets, the shared bit, the pages of implicit conversions. */
import { PAGE_SIZE } from '../base/units.js';
import { makeLocator, type Locator } from './locator.js';
import { LOWEST_SHARED_BIT, sharedBitOf, splitGpa } from './shared-bit.js';
import type { Conversion, MemoryFault, Replay } from './state.js';

function settleFaults(replay: Replay, locator: Locator): void {
  for (const fault of replay.faults) learnFromOffset(fault, locator);
  for (const fault of replay.faults) {
    const { vm, address } = fault;
    const split = Number.isNaN(address) ? null : splitGpa(vm, address);
    if (split && (split.wanted !== null || fault.wanted === null)) {
      fault.gpa = split.gpa;
      fault.wanted ??= split.wanted;
    }
    const row = fault.conversion;
    if (!row) continue;
    if (Number.isNaN(row.gpa) && fault.wanted !== null && isPlain(fault)) row.gpa = fault.gpa;
    if (row.direction === null && fault.wanted !== null)
      row.direction = fault.wanted === 'private' ? 'to_private' : 'to_shared';
  }
}

/**
 * A vCPU that faults again on a page whose flip changed nothing (it was in that view already) has no memory behind it: a
 * slot without guest_memfd, a closed one, or a flip of other pages (reference chapter 07 §3).
 */
function settleBackings(replay: Replay): void {
  const lastOf = new Map<number, MemoryFault>();
  for (const fault of replay.faults) {
    const last = lastOf.get(fault.tid);
    lastOf.set(fault.tid, fault);
    if (!last || last.vm !== fault.vm || last.gpa !== fault.gpa || last.wanted !== fault.wanted) continue;
    const isSame = last.conversion?.outcome === 'noop' && fault.conversion?.outcome === 'noop';
    if (!isSame || last.cause === 'stale-after-reboot') continue;
    last.cause = 'no-backing';
    fault.cause = 'no-backing';
  }
}

/** An ioctl on the guest_memfd says by its offset which page the fault was on, and so which bit its address carried. */
function learnFromOffset(fault: MemoryFault, locator: Locator): void {
  const { vm, conversion: row, address } = fault;
  if (!vm || !row || Number.isNaN(address) || Number.isNaN(row.offset) || !Number.isNaN(vm.sharedBit)) return;
  const found = locator.gpaOf(row.inode, row.offset, vm);
  if (!found || found.vm !== vm) return;
  const bit = sharedBitOf(address, found.gpa, PAGE_SIZE);
  if (bit > 0 && row.direction === 'to_shared') vm.sharedBit = bit;
}

/** The address is the page's gpa: no bit of it can say "shared". While that is not known, a high one may. */
function isPlain({ vm, address, wanted }: MemoryFault): boolean {
  const isKnown = vm !== null && !Number.isNaN(vm.sharedBit);
  return isKnown || wanted === 'private' || address < LOWEST_SHARED_BIT;
}

function settleRange(row: Conversion, locator: Locator): void {
  if (Number.isNaN(row.gpa) && !Number.isNaN(row.offset)) {
    const found = locator.gpaOf(row.inode, row.offset, row.vm);
    if (found && (row.vm === null || found.vm === row.vm)) row.gpa = found.gpa;
  }
  if (Number.isNaN(row.offset) && row.vm && !Number.isNaN(row.gpa) && !Number.isNaN(row.size)) {
    const found = locator.offsetOf(row.vm, row.gpa, row.size);
    if (found) {
      row.offset = found.offset;
      row.inode = Number.isNaN(row.inode) ? found.inode : row.inode;
    }
  }
  // Whither, or of what, was not seen: the row stays as a sign that something was converted.
  if (row.direction === null && row.certainty !== 'assumed') row.certainty = 'unknown';
}

/**
 * Events are missing that no marker tells of, so any may be: what rests on the absence of a request or of its answer
 * is not said.
 */
function withdrawAbsences(replay: Replay): void {
  if (replay.gaps.length === 0) return;
  for (const row of replay.conversions) {
    if (row.outcome === 'refused' && row.certainty === 'inferred') row.outcome = 'unknown';
    const runsGuest = !Number.isNaN(replay.threads.get(row.tid)?.vcpu ?? NaN);
    if (row.origin === 'vmm' && runsGuest) row.certainty = 'assumed';
  }
}

/** Settles every row; gives the locator for what is written later. */
export function settle(replay: Replay): Locator {
  const locator = makeLocator(replay);
  settleFaults(replay, locator);
  settleBackings(replay);
  withdrawAbsences(replay);
  for (const row of replay.conversions) settleRange(row, locator);
  replay.conversions.sortBy((c) => (Number.isNaN(c.requestNs) ? c.exitNs : c.requestNs));
  return locator;
}
