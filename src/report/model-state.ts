/** What guest memory was at an instant, and what changed between two. */
import type { Store } from '../store/db.js';
import { big, bigOrNull, num, numOrNull, text, type Row } from './rows.js';

export interface StateFilter {
  readonly gmem?: number;
  /** Bytes [from, from + size) in the guest_memfd. */
  readonly offset?: { readonly from: bigint; readonly size: bigint };
  /** Bytes [from, from + size) of guest physical addresses. */
  readonly gpa?: { readonly from: bigint; readonly size: bigint };
}

/** A range of one state; `offset` null: no guest_memfd is known for it. */
export interface StateRange {
  readonly vm: number | null;
  readonly gmem: number | null;
  readonly gpa: bigint | null;
  readonly offset: bigint | null;
  readonly size: bigint;
  readonly state: string;
  readonly allocation: string;
  /** KVM's attribute of the gfn, and the guest_memfd's own of the offset. */
  readonly attribute: string;
  readonly shareability: string;
  readonly conversion: string;
  readonly certainty: string;
  /** Since when, ns. */
  readonly fromNs: bigint;
  /** Until when; null: to the end of the trace. */
  readonly toNs: bigint | null;
}

/** A range whose state differs between two instants; null: nothing is known of it at that instant. */
export interface StateChange {
  readonly vm: number | null;
  readonly gmem: number | null;
  readonly gpa: bigint | null;
  readonly offset: bigint | null;
  readonly size: bigint;
  readonly before: string | null;
  readonly after: string | null;
  /** The lower of both. */
  readonly certainty: string;
}

export interface StateReport {
  readonly atNs: bigint;
  /** The later instant of a `--diff`; null: one instant. */
  readonly untilNs: bigint | null;
  readonly startNs: bigint | null;
  readonly ranges: readonly StateRange[];
  readonly changes: readonly StateChange[];
  /** Text output shows at most so many lines; 0 = all. */
  readonly limit: number;
}

const overlaps = (column: string, range: { readonly from: bigint; readonly size: bigint }): string =>
  `${column} < ${range.from + range.size} AND ${column} + size > ${range.from}`;

/** Ids of the guest_memfds that the trace shows, in order. */
export async function readGmemIds(store: Store): Promise<readonly number[]> {
  const rows = await store.rows('SELECT gmem_id FROM gmem ORDER BY gmem_id');
  return rows.map((row) => num(row, 'gmem_id'));
}

/** All ranges known at an instant (ns on the trace's clock), in order of VM, guest_memfd and position. */
export async function readStateAt(store: Store, atNs: bigint, filter: StateFilter): Promise<readonly StateRange[]> {
  const conditions = [
    `from_ns <= ${atNs} AND (to_ns IS NULL OR to_ns > ${atNs})`,
    ...(filter.gmem === undefined ? [] : [`gmem_id = ${filter.gmem}`]),
    ...(filter.offset === undefined ? [] : [overlaps('"offset"', filter.offset)]),
    ...(filter.gpa === undefined ? [] : [overlaps('gpa', filter.gpa)]),
  ];
  const rows = await store.rows(`
    SELECT * FROM gmem_interval WHERE ${conditions.join(' AND ')}
    ORDER BY vm_id NULLS LAST, gmem_id NULLS LAST, coalesce("offset", gpa), gpa`);
  return rows.map(readRange);
}

function readRange(row: Row): StateRange {
  return {
    vm: numOrNull(row, 'vm_id'),
    gmem: numOrNull(row, 'gmem_id'),
    gpa: bigOrNull(row, 'gpa'),
    offset: bigOrNull(row, 'offset'),
    size: big(row, 'size'),
    state: text(row, 'state'),
    allocation: text(row, 'allocation'),
    attribute: text(row, 'attribute'),
    shareability: text(row, 'shareability'),
    conversion: text(row, 'conversion'),
    certainty: text(row, 'certainty'),
    fromNs: big(row, 'from_ns'),
    toNs: bigOrNull(row, 'to_ns'),
  };
}

const keyOf = (range: { readonly vm: number | null; readonly gmem: number | null }): string =>
  `${range.vm} ${range.gmem}`;
const positionOf = (range: { readonly offset: bigint | null; readonly gpa: bigint | null }): bigint =>
  range.offset ?? range.gpa ?? 0n;

/** Joins neighbours that look the same, for people; `since` is lost by it. */
export function mergeNeighbours(ranges: readonly StateRange[]): readonly StateRange[] {
  const merged: StateRange[] = [];
  for (const range of ranges) {
    const last = merged.at(-1);
    const isNext =
      last !== undefined &&
      keyOf(last) === keyOf(range) &&
      positionOf(last) + last.size === positionOf(range) &&
      (last.gpa === null) === (range.gpa === null) &&
      (last.gpa === null || last.gpa + last.size === range.gpa) &&
      last.state === range.state &&
      last.certainty === range.certainty;
    if (isNext) merged[merged.length - 1] = { ...last, size: last.size + range.size };
    else merged.push(range);
  }
  return merged;
}

const CERTAINTIES = ['observed', 'inferred', 'assumed', 'unknown'];
const weaker = (a: string, b: string): string => (CERTAINTIES.indexOf(a) > CERTAINTIES.indexOf(b) ? a : b);

/** What differs between two lists of ranges, each disjoint and in the order of readStateAt. */
export function buildChanges(before: readonly StateRange[], after: readonly StateRange[]): readonly StateChange[] {
  const changes: StateChange[] = [];
  const keys = new Set([...before, ...after].map(keyOf));
  for (const key of keys) {
    const old = before.filter((r) => keyOf(r) === key);
    const now = after.filter((r) => keyOf(r) === key);
    changes.push(...changesOf(old, now));
  }
  return changes;
}

function changesOf(before: readonly StateRange[], after: readonly StateRange[]): readonly StateChange[] {
  const changes: StateChange[] = [];
  const borders = [...new Set([...before, ...after].flatMap((r) => [positionOf(r), positionOf(r) + r.size]))];
  borders.sort((a, b) => (a < b ? -1 : 1));
  let i = 0;
  let j = 0;
  for (let k = 0; k + 1 < borders.length; k++) {
    const from = borders[k]!;
    while (i < before.length && positionOf(before[i]!) + before[i]!.size <= from) i++;
    while (j < after.length && positionOf(after[j]!) + after[j]!.size <= from) j++;
    const old = before[i] !== undefined && positionOf(before[i]!) <= from ? before[i]! : null;
    const now = after[j] !== undefined && positionOf(after[j]!) <= from ? after[j]! : null;
    if (old?.state !== now?.state) addChange(changes, { from, size: borders[k + 1]! - from, old, now });
  }
  return changes;
}

function addChange(
  changes: StateChange[],
  step: { from: bigint; size: bigint; old: StateRange | null; now: StateRange | null },
): void {
  const range = step.now ?? step.old!;
  const shift = step.from - positionOf(range);
  const change: StateChange = {
    vm: range.vm,
    gmem: range.gmem,
    gpa: range.gpa === null ? null : range.gpa + shift,
    offset: range.offset === null ? null : range.offset + shift,
    size: step.size,
    before: step.old?.state ?? null,
    after: step.now?.state ?? null,
    certainty: weaker(step.old?.certainty ?? 'unknown', step.now?.certainty ?? 'unknown'),
  };
  const last = changes.at(-1);
  const isNext =
    last !== undefined &&
    positionOf(last) + last.size === positionOf(change) &&
    last.before === change.before &&
    last.after === change.after &&
    last.certainty === change.certainty;
  if (isNext) changes[changes.length - 1] = { ...last, size: last.size + change.size };
  else changes.push(change);
}

/** Bytes per VM, guest_memfd and state, most first. */
export function sumStates(ranges: readonly StateRange[]): readonly {
  readonly vm: number | null;
  readonly gmem: number | null;
  readonly state: string;
  readonly bytes: number;
}[] {
  const sums = new Map<string, { vm: number | null; gmem: number | null; state: string; bytes: number }>();
  for (const range of ranges) {
    const key = `${keyOf(range)} ${range.state}`;
    const sum = sums.get(key) ?? { vm: range.vm, gmem: range.gmem, state: range.state, bytes: 0 };
    sum.bytes += Number(range.size);
    sums.set(key, sum);
  }
  return [...sums.values()];
}

/** Stamps of the first and the last event of the analysis, ns; null where no event has one. */
export async function readSpan(store: Store): Promise<{ readonly first: bigint | null; readonly last: bigint | null }> {
  const [row] = await store.rows('SELECT min(first_ns) AS first, max(last_ns) AS last, count(*) AS n FROM trace');
  return num(row!, 'n') === 0
    ? { first: null, last: null }
    : { first: bigOrNull(row!, 'first'), last: bigOrNull(row!, 'last') };
}
