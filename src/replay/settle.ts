/** After the last event: what only the whole trace tells — offsets, the shared bit, the pages of implicit conversions. */
import { makeLocator, type Locator } from './bindings.js';
import { splitGpa } from './shared-bit.js';
import type { Conversion, Replay } from './state.js';

function settleFaults(replay: Replay): void {
  for (const fault of replay.faults) {
    if (fault.wanted === null && !Number.isNaN(fault.address)) {
      const { gpa, wanted } = splitGpa(fault.vm, fault.address);
      fault.gpa = gpa;
      fault.wanted = wanted;
    }
    const row = fault.conversion;
    if (!row) continue;
    if (Number.isNaN(row.gpa) && fault.wanted !== null) row.gpa = fault.gpa;
    if (row.direction === null && fault.wanted !== null)
      row.direction = fault.wanted === 'private' ? 'to_private' : 'to_shared';
  }
}

function settleRange(row: Conversion, locator: Locator): void {
  if (Number.isNaN(row.gpa) && !Number.isNaN(row.offset)) {
    const found = locator.gpaOf(row.inode, row.offset);
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
  settleFaults(replay);
  withdrawAbsences(replay);
  const locator = makeLocator(replay);
  for (const row of replay.conversions) settleRange(row, locator);
  const when = (c: Conversion): number => (Number.isNaN(c.requestNs) ? c.exitNs : c.requestNs);
  replay.conversions.sort((a, b) => when(a) - when(b) || a.tid - b.tid);
  return locator;
}
