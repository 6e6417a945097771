/**
 * A map from page ranges to small integers (packed states), each range with the time since when it holds. Ranges are
 * half-open [first, first + count) in pages. Kept as sorted runs in buckets, so that a change costs O(log n) plus a
 * bucket's move however many fragments there are: cost grows with fragments, not with pages.
 */

/** Called with each part of a range whose state ends: what it was and since when. */
export type OnClose = (first: number, count: number, state: number, sinceNs: number) => void;

const BUCKET = 128;

interface Bucket {
  /** Sorted, disjoint runs. */
  first: number[];
  end: number[];
  state: number[];
  since: number[];
}

export interface IntervalMap {
  readonly buckets: Bucket[];
  readonly scratch: Scratch;
}

export function makeIntervalMap(): IntervalMap {
  return { buckets: [], scratch: { length: 0, first: [], end: [], state: [], since: [] } };
}

/** Index of the first bucket whose last run ends after `page`. */
function findBucket(map: IntervalMap, page: number): number {
  let low = 0;
  let high = map.buckets.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    const ends = map.buckets[mid]!.end;
    if (ends[ends.length - 1]! > page) high = mid;
    else low = mid + 1;
  }
  return low;
}

/** Index of the first run in a bucket that ends after `page`. */
function findRun(bucket: Bucket, page: number): number {
  let low = 0;
  let high = bucket.end.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (bucket.end[mid]! > page) high = mid;
    else low = mid + 1;
  }
  return low;
}

/** Calls `visit` for each run that overlaps [first, first+count), clipped to it, in order. */
export function forEachRun(map: IntervalMap, first: number, count: number, visit: OnClose): void {
  const end = first + count;
  for (let b = findBucket(map, first); b < map.buckets.length; b++) {
    const bucket = map.buckets[b]!;
    for (let r = findRun(bucket, first); r < bucket.first.length; r++) {
      const from = Math.max(bucket.first[r]!, first);
      const to = Math.min(bucket.end[r]!, end);
      if (from >= end) return;
      visit(from, to - from, bucket.state[r]!, bucket.since[r]!);
    }
  }
}

/** Calls `visit` for every run of the map. */
export function forEachOfAll(map: IntervalMap, visit: OnClose): void {
  for (const bucket of map.buckets)
    for (let r = 0; r < bucket.first.length; r++)
      visit(bucket.first[r]!, bucket.end[r]! - bucket.first[r]!, bucket.state[r]!, bucket.since[r]!);
}

/** Replacement runs of one change, reused from change to change: `length` of them are filled. */
interface Scratch {
  length: number;
  readonly first: number[];
  readonly end: number[];
  readonly state: number[];
  readonly since: number[];
}

function push(out: Scratch, first: number, end: number, state: number, since: number): void {
  const last = out.length - 1;
  if (last >= 0 && out.end[last] === first && out.state[last] === state && out.since[last] === since) {
    out.end[last] = end;
    return;
  }
  out.first[out.length] = first;
  out.end[out.length] = end;
  out.state[out.length] = state;
  out.since[out.length] = since;
  out.length++;
}

/** Puts the scratch runs in the place of runs [from, to) of a bucket. */
function replace(bucket: Bucket, from: number, to: number, out: Scratch): void {
  if (out.length === to - from) {
    for (let k = 0; k < out.length; k++) {
      bucket.first[from + k] = out.first[k]!;
      bucket.end[from + k] = out.end[k]!;
      bucket.state[from + k] = out.state[k]!;
      bucket.since[from + k] = out.since[k]!;
    }
    return;
  }
  const count = to - from;
  bucket.first.splice(from, count, ...out.first.slice(0, out.length));
  bucket.end.splice(from, count, ...out.end.slice(0, out.length));
  bucket.state.splice(from, count, ...out.state.slice(0, out.length));
  bucket.since.splice(from, count, ...out.since.slice(0, out.length));
}

function splitBucket(map: IntervalMap, at: number): void {
  const bucket = map.buckets[at]!;
  if (bucket.first.length <= BUCKET) return;
  const half = bucket.first.length >> 1;
  map.buckets.splice(at + 1, 0, {
    first: bucket.first.splice(half),
    end: bucket.end.splice(half),
    state: bucket.state.splice(half),
    since: bucket.since.splice(half),
  });
}

/** One change inside one bucket: [first, end) overlaps no run of another. */
function changeBucket(
  bucket: Bucket,
  first: number,
  end: number,
  change: (state: number) => number,
  nowNs: number,
  onClose: OnClose,
  out: Scratch,
): void {
  const from = findRun(bucket, first);
  let to = from;
  out.length = 0;
  let covered = first;
  for (; to < bucket.first.length && bucket.first[to]! < end; to++) {
    const runFirst = bucket.first[to]!;
    const runEnd = bucket.end[to]!;
    const state = bucket.state[to]!;
    const since = bucket.since[to]!;
    const start = Math.max(runFirst, first);
    const stop = Math.min(runEnd, end);
    if (runFirst < first) push(out, runFirst, first, state, since);
    if (covered < start) push(out, covered, start, change(0), nowNs);
    const next = change(state);
    if (next !== state && state !== 0) onClose(start, stop - start, state, since);
    push(out, start, stop, next, next === state ? since : nowNs);
    if (runEnd > end) push(out, end, runEnd, state, since);
    covered = stop;
  }
  if (covered < end) push(out, covered, end, change(0), nowNs);
  replace(bucket, from, to, out);
}

/**
 * Sets [first, first+count) by `change(old state)`, old state 0 where nothing was known; a state that stays keeps its
 * time. `onClose` gets each part that ends at `nowNs`, except parts of state 0.
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
    let b = Math.min(findBucket(map, cursor), map.buckets.length - 1);
    if (b < 0) {
      map.buckets.push({ first: [], end: [], state: [], since: [] });
      b = 0;
    }
    const border = b + 1 < map.buckets.length ? map.buckets[b + 1]!.first[0]! : Infinity;
    const stop = Math.min(end, border);
    changeBucket(map.buckets[b]!, cursor, stop, change, nowNs, onClose, map.scratch);
    splitBucket(map, b);
    cursor = stop;
  }
}

/** State of one page, 0 where nothing is known. */
export function stateAt(map: IntervalMap, page: number): number {
  let state = 0;
  forEachRun(map, page, 1, (_first, _count, found) => {
    state = found;
  });
  return state;
}
