/**
 * A map from page ranges to small integers (packed states), each range with the time since when it holds. Ranges are
 * half-open [first, first + count) in pages; what no run covers has state 0. Runs are kept sorted as columns of numbers
 * in leaves of bounded size with a directory above, so that a change costs O(log n) plus a move inside one leaf: cost
 * and memory grow with fragments (some 50 bytes each), not with pages.
 */

/** Called with each part of a range whose state ends: what it was and since when. */
export type OnClose = (first: number, count: number, state: number, sinceNs: number) => void;

/** Runs that a leaf holds. */
const LEAF = 128;
/** Runs that one step of a change touches; it leaves at most as many again, one more gap, and two cut ends. */
const STEP = 16;
const ROOM = STEP + 3;

/** Sorted, disjoint runs, none of state 0: the first `length` elements of each column. */
interface Leaf {
  length: number;
  readonly first: Float64Array;
  readonly end: Float64Array;
  readonly since: Float64Array;
  readonly state: Uint32Array;
}

export interface IntervalMap {
  /** In order; none is empty. */
  readonly leaves: Leaf[];
  /** End of the last run of each leaf: what is searched. */
  ends: Float64Array;
}

export function makeIntervalMap(): IntervalMap {
  return { leaves: [], ends: new Float64Array(4) };
}

function makeLeaf(): Leaf {
  const numbers = new Float64Array(LEAF * 3);
  return {
    length: 0,
    first: numbers.subarray(0, LEAF),
    end: numbers.subarray(LEAF, 2 * LEAF),
    since: numbers.subarray(2 * LEAF),
    state: new Uint32Array(LEAF),
  };
}

/** Index of the first of `length` ascending ends that lies behind `page`. */
function firstBehind(ends: Float64Array, length: number, page: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (ends[mid]! > page) high = mid;
    else low = mid + 1;
  }
  return low;
}

/** Calls `visit` for each run that overlaps [first, first+count), clipped to it, in order. */
export function forEachRun(map: IntervalMap, first: number, count: number, visit: OnClose): void {
  const end = first + count;
  for (let k = firstBehind(map.ends, map.leaves.length, first); k < map.leaves.length; k++) {
    const leaf = map.leaves[k]!;
    for (let r = firstBehind(leaf.end, leaf.length, first); r < leaf.length; r++) {
      if (leaf.first[r]! >= end) return;
      const from = Math.max(leaf.first[r]!, first);
      visit(from, Math.min(leaf.end[r]!, end) - from, leaf.state[r]!, leaf.since[r]!);
    }
  }
}

/** Calls `visit` for every run of the map. */
export function forEachOfAll(map: IntervalMap, visit: OnClose): void {
  for (const leaf of map.leaves)
    for (let r = 0; r < leaf.length; r++)
      visit(leaf.first[r]!, leaf.end[r]! - leaf.first[r]!, leaf.state[r]!, leaf.since[r]!);
}

/** State of one page, 0 where nothing is known. */
export function stateAt(map: IntervalMap, page: number): number {
  const k = firstBehind(map.ends, map.leaves.length, page);
  if (k === map.leaves.length) return 0;
  const leaf = map.leaves[k]!;
  const r = firstBehind(leaf.end, leaf.length, page);
  return leaf.first[r]! <= page ? leaf.state[r]! : 0;
}

function insertLeaf(map: IntervalMap, at: number, leaf: Leaf): void {
  const count = map.leaves.length;
  map.leaves.splice(at, 0, leaf);
  if (count === map.ends.length) {
    const ends = new Float64Array(count * 2);
    ends.set(map.ends);
    map.ends = ends;
  }
  map.ends.copyWithin(at + 1, at, count);
}

function removeLeaf(map: IntervalMap, at: number): void {
  map.leaves.splice(at, 1);
  map.ends.copyWithin(at, at + 1);
}

/** Moves the runs from `at` on by some places. */
function shiftRuns(leaf: Leaf, at: number, by: number): void {
  leaf.first.copyWithin(at + by, at, leaf.length);
  leaf.end.copyWithin(at + by, at, leaf.length);
  leaf.since.copyWithin(at + by, at, leaf.length);
  leaf.state.copyWithin(at + by, at, leaf.length);
}

/** Copies `count` runs from one leaf to another. */
function copyRuns(from: Leaf, at: number, count: number, to: Leaf, toAt: number): void {
  to.first.set(from.first.subarray(at, at + count), toAt);
  to.end.set(from.end.subarray(at, at + count), toAt);
  to.since.set(from.since.subarray(at, at + count), toAt);
  to.state.set(from.state.subarray(at, at + count), toAt);
}

/** Moves the upper half of a leaf to a new one behind it. */
function splitLeaf(map: IntervalMap, at: number): void {
  const leaf = map.leaves[at]!;
  const half = leaf.length >> 1;
  const upper = makeLeaf();
  copyRuns(leaf, half, leaf.length - half, upper, 0);
  upper.length = leaf.length - half;
  leaf.length = half;
  insertLeaf(map, at + 1, upper);
  map.ends[at] = leaf.end[half - 1]!;
  map.ends[at + 1] = upper.end[upper.length - 1]!;
}

/** Gives back a leaf that has become empty, and one that fits beside its neighbour into half a leaf. */
function settleLeaf(map: IntervalMap, at: number): void {
  const leaf = map.leaves[at]!;
  if (leaf.length === 0) return removeLeaf(map, at);
  map.ends[at] = leaf.end[leaf.length - 1]!;
  const before = map.leaves[at - 1];
  if (!before || before.length + leaf.length > LEAF / 2) return;
  const last = before.length - 1;
  const joins =
    before.end[last] === leaf.first[0] && before.state[last] === leaf.state[0] && before.since[last] === leaf.since[0];
  if (joins) before.end[last] = leaf.end[0]!;
  const from = joins ? 1 : 0;
  copyRuns(leaf, from, leaf.length - from, before, before.length);
  before.length += leaf.length - from;
  removeLeaf(map, at);
  map.ends[at - 1] = before.end[before.length - 1]!;
}

/** The runs that one step puts in the place of others. */
const made = makeLeaf();

function put(first: number, end: number, state: number, since: number): void {
  if (state === 0) return;
  const last = made.length - 1;
  if (last >= 0 && made.end[last] === first && made.state[last] === state && made.since[last] === since) {
    made.end[last] = end;
    return;
  }
  made.first[made.length] = first;
  made.end[made.length] = end;
  made.state[made.length] = state;
  made.since[made.length] = since;
  made.length++;
}

/** Puts the runs of `made` in the place of runs [from, to) of a leaf. */
function replaceRuns(leaf: Leaf, from: number, to: number): void {
  const moved = made.length - (to - from);
  if (moved !== 0) shiftRuns(leaf, to, moved);
  for (let k = 0; k < made.length; k++) {
    leaf.first[from + k] = made.first[k]!;
    leaf.end[from + k] = made.end[k]!;
    leaf.since[from + k] = made.since[k]!;
    leaf.state[from + k] = made.state[k]!;
  }
  leaf.length += moved;
}

/** One step of a change, on [first, end), in a leaf that has room; gives how far it came. */
function changeLeaf(
  leaf: Leaf,
  first: number,
  end: number,
  change: (state: number) => number,
  nowNs: number,
  onClose: OnClose,
): number {
  const from = firstBehind(leaf.end, leaf.length, first);
  const limit = from + STEP;
  const stop = limit < leaf.length ? Math.min(end, leaf.first[limit]!) : end;
  const joinsBefore = from > 0 && leaf.end[from - 1] === first;
  made.length = 0;
  if (joinsBefore) put(leaf.first[from - 1]!, first, leaf.state[from - 1]!, leaf.since[from - 1]!);
  let covered = first;
  let to = from;
  for (; to < leaf.length && leaf.first[to]! < stop; to++) {
    const runFirst = leaf.first[to]!;
    const runEnd = leaf.end[to]!;
    const state = leaf.state[to]!;
    const since = leaf.since[to]!;
    const start = Math.max(runFirst, first);
    const close = Math.min(runEnd, stop);
    if (runFirst < first) put(runFirst, first, state, since);
    if (covered < start) put(covered, start, change(0), nowNs);
    const next = change(state);
    if (next !== state) onClose(start, close - start, state, since);
    put(start, close, next, next === state ? since : nowNs);
    if (runEnd > stop) put(stop, runEnd, state, since);
    covered = close;
  }
  if (covered < stop) put(covered, stop, change(0), nowNs);
  replaceRuns(leaf, joinsBefore ? from - 1 : from, to);
  return stop;
}

/**
 * Sets [first, first+count) by `change(old state)`, old state 0 where nothing was known; a state that stays keeps its
 * time. `onClose` gets each part that ends at `nowNs`, except parts of state 0; it must not change a map.
 */
export function changeRange(
  map: IntervalMap,
  first: number,
  count: number,
  change: (state: number) => number,
  nowNs: number,
  onClose: OnClose,
): void {
  if (!(count > 0)) return;
  const end = first + count;
  for (let cursor = first; cursor < end;) {
    if (map.leaves.length === 0) {
      if (change(0) === 0) return;
      insertLeaf(map, 0, makeLeaf());
    }
    // What lies behind the last run goes to the last leaf.
    const at = Math.min(firstBehind(map.ends, map.leaves.length, cursor), map.leaves.length - 1);
    if (map.leaves[at]!.length > LEAF - ROOM) {
      splitLeaf(map, at);
      continue;
    }
    const border = at + 1 < map.leaves.length ? map.leaves[at + 1]!.first[0]! : Infinity;
    cursor = changeLeaf(map.leaves[at]!, cursor, Math.min(end, border), change, nowNs, onClose);
    settleLeaf(map, at);
  }
}
