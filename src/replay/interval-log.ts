/** Ranges of state that ended, as growing columns: a long trace has millions, and an object each would cost the heap. */
import type { VmState } from './state.js';

/** Numbers of a row: VM index, first page, pages, packed state, from and to in ns relative to the analysis' start. */
const WIDTH = 6;
const CHUNK_ROWS = 16_384;

export interface IntervalLog {
  readonly chunks: Float64Array[];
  rows: number;
}

export function makeIntervalLog(): IntervalLog {
  return { chunks: [], rows: 0 };
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
  const at = log.rows % CHUNK_ROWS;
  if (at === 0) log.chunks.push(new Float64Array(CHUNK_ROWS * WIDTH));
  const chunk = log.chunks[log.chunks.length - 1]!;
  const base = at * WIDTH;
  chunk[base] = vm.identity.id;
  chunk[base + 1] = first;
  chunk[base + 2] = count;
  chunk[base + 3] = state;
  chunk[base + 4] = fromNs;
  chunk[base + 5] = toNs;
  log.rows++;
}

/** Calls `visit` with every row in order of its end. */
export function forEachInterval(
  log: IntervalLog,
  visit: (vmId: number, first: number, count: number, state: number, fromNs: number, toNs: number) => void,
): void {
  for (let row = 0; row < log.rows; row++) {
    const chunk = log.chunks[Math.floor(row / CHUNK_ROWS)]!;
    const base = (row % CHUNK_ROWS) * WIDTH;
    visit(chunk[base]!, chunk[base + 1]!, chunk[base + 2]!, chunk[base + 3]!, chunk[base + 4]!, chunk[base + 5]!);
  }
}
