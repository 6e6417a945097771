/**
 * A map from page ranges to small integers (packed states), each range with the time since when it holds. Ranges are
 * half-open [first, first + count) in pages. Kept as sorted runs in buckets, so that a change costs O(log n) plus a
 * bucket's move however many fragments there are: cost grows with fragments, not with pages.
 */

/** Called with each part of a range whose state ends: what it was and since when. */
export type OnClose = (first: number, count: number, state: number, sinceNs: number) => void;

const BUCKET = 512;

interface Bucket {
  /** Sorted, disjoint runs. */
  first: number[];
  end: number[];
  state: number[];
  since: number[];
}

export interface IntervalMap {
  buckets: Bucket[];
}

export function makeIntervalMap(): IntervalMap {
  return { buckets: [] };
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

interface Run {
  first: number;
  end: number;
  state: number;
  since: number;
}

function replaceRuns(map: IntervalMap, bucketFrom: number, bucketTo: number, runs: readonly Run[]): void {
  const made: Bucket[] = [];
  for (let at = 0; at < runs.length; at += BUCKET) {
    const part = runs.slice(at, at + BUCKET);
    made.push({
      first: part.map((r) => r.first),
      end: part.map((r) => r.end),
      state: part.map((r) => r.state),
      since: part.map((r) => r.since),
    });
  }
  map.buckets.splice(bucketFrom, bucketTo - bucketFrom, ...made);
}

function appendRun(runs: Run[], run: Run): void {
  const last = runs[runs.length - 1];
  if (last && last.end === run.first && last.state === run.state && last.since === run.since) last.end = run.end;
  else runs.push(run);
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
  // One bucket to the left, so that equal neighbours merge over a bucket's border.
  const bucketFrom = Math.max(0, findBucket(map, first) - 1);
  let bucketTo = bucketFrom;
  while (bucketTo < map.buckets.length && map.buckets[bucketTo]!.first[0]! < end) bucketTo++;
  const runs: Run[] = [];
  let covered = first;
  const fill = (upTo: number): void => {
    if (covered >= upTo) return;
    appendRun(runs, { first: covered, end: upTo, state: change(0), since: nowNs });
    covered = upTo;
  };
  for (let b = bucketFrom; b < bucketTo; b++) {
    const bucket = map.buckets[b]!;
    for (let r = 0; r < bucket.first.length; r++) {
      const old: Run = { first: bucket.first[r]!, end: bucket.end[r]!, state: bucket.state[r]!, since: bucket.since[r]! };
      if (old.end <= first) {
        appendRun(runs, old);
        continue;
      }
      if (old.first >= end) {
        fill(end);
        appendRun(runs, old);
        continue;
      }
      if (old.first < first) appendRun(runs, { ...old, end: first });
      const from = Math.max(old.first, first);
      const to = Math.min(old.end, end);
      fill(from);
      const state = change(old.state);
      if (state !== old.state && old.state !== 0) onClose(from, to - from, old.state, old.since);
      appendRun(runs, { first: from, end: to, state, since: state === old.state ? old.since : nowNs });
      covered = to;
      if (old.end > end) appendRun(runs, { ...old, first: end });
    }
  }
  fill(end);
  replaceRuns(map, bucketFrom, bucketTo, runs);
}

/** State of one page, 0 where nothing is known. */
export function stateAt(map: IntervalMap, page: number): number {
  let state = 0;
  forEachRun(map, page, 1, (_first, _count, found) => {
    state = found;
  });
  return state;
}
