/** A map from page numbers to values that are the same over long ranges: sorted starts, each with the value from there on. */
export interface Ranges {
  readonly starts: number[];
  readonly values: number[];
}

/** All pages have `value`. */
export function makeRanges(value: number): Ranges {
  return { starts: [0], values: [value] };
}

/** Index of the range that holds the page. */
function indexAt({ starts }: Ranges, page: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle]! <= page) low = middle;
    else high = middle - 1;
  }
  return low;
}

export function valueAt(ranges: Ranges, page: number): number {
  return ranges.values[indexAt(ranges, page)]!;
}

/** The one value that all pages of [start, end) have; null where they differ. */
export function valueOf(ranges: Ranges, start: number, end: number): number | null {
  const first = indexAt(ranges, start);
  const value = ranges.values[first]!;
  for (let i = first + 1; i < ranges.starts.length && ranges.starts[i]! < end; i++) {
    if (ranges.values[i] !== value) return null;
  }
  return value;
}

/** Gives [start, end) the value. */
export function setRange(ranges: Ranges, start: number, end: number, value: number): void {
  if (end <= start) return;
  const after = valueAt(ranges, end);
  const first = indexAt(ranges, start);
  const last = indexAt(ranges, end);
  const keep = ranges.starts[first]! < start ? first + 1 : first;
  const starts = [start, end];
  const values = [value, after];
  const removed = last - keep + 1;
  ranges.starts.splice(keep, removed, ...starts);
  ranges.values.splice(keep, removed, ...values);
  mergeAround(ranges, keep);
}

function mergeAround(ranges: Ranges, at: number): void {
  for (let i = Math.min(at + 2, ranges.starts.length - 1); i >= Math.max(1, at); i--) {
    if (ranges.values[i] !== ranges.values[i - 1]) continue;
    ranges.starts.splice(i, 1);
    ranges.values.splice(i, 1);
  }
}
