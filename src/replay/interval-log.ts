/** Ranges of state that ended, as rows of numbers: a long trace has millions, and an object each would cost the heap. */
import { addRow, getNumber, makePagedRows, setNumber, type PagedRows, type Spill } from './paged-rows.js';
import type { VmState } from './state.js';

/** How much of them stays in memory, bytes: 170,000 rows. They are written once and read once, in order. */
const BYTES = 8 << 20;

/** Numbers of a row: VM index, first page, pages, packed state, from and to in ns relative to the analysis' start. */
export type IntervalLog = PagedRows;

export function makeIntervalLog(spill: Spill): IntervalLog {
  return makePagedRows(6, BYTES, spill);
}

/** Adds [first, first+count) of a VM that was in `state` from `fromNs` to `toNs` (NaN: still is). */
export function logInterval(
  log: IntervalLog,
  vm: VmState,
  first: number,
  count: number,
  state: number,
  fromNs: number,
  toNs: number,
): void {
  const row = addRow(log);
  setNumber(log, row, 0, vm.identity.id);
  setNumber(log, row, 1, first);
  setNumber(log, row, 2, count);
  setNumber(log, row, 3, state);
  setNumber(log, row, 4, fromNs);
  setNumber(log, row, 5, toNs);
}

/** Calls `visit` with every row in order of its end. */
export function forEachInterval(
  log: IntervalLog,
  visit: (vmId: number, first: number, count: number, state: number, fromNs: number, toNs: number) => void,
): void {
  const get = (row: number, column: number): number => getNumber(log, row, column);
  for (let row = 0; row < log.count; row++)
    visit(get(row, 0), get(row, 1), get(row, 2), get(row, 3), get(row, 4), get(row, 5));
}
