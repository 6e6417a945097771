/**
 * Where gpa ranges of a VM lie in its guest_memfd, over all that the trace showed (reference chapter 06 §5): a memslot
 * that a probe named is exact; between two pairs of equal distance the rest is inferred; a range that the VMM set as a
 * whole is presumed to be a memslot, and a pair inside it speaks for all of it. Lookups cost the logarithm of what is known.
 */
import { PAGE_SIZE } from '../base/units.js';
import type { Certainty } from './identity.js';
import { changeRange, makeIntervalMap, stateAt, type IntervalMap } from './intervals.js';
import type { Binding, Replay, VmState } from './state.js';

/** How an offset is known for a gpa range; null where it is not. */
export interface Located {
  readonly inode: number;
  readonly offset: number;
  readonly certainty: Certainty;
}

export interface Locator {
  offsetOf(vm: VmState, gpa: number, size: number): Located | null;
  /** Where several VMs had the number one after the other: that of `vm`, else the last. */
  gpaOf(inode: number, offset: number, vm?: VmState | null): { vm: VmState | null; gpa: number } | null;
}

interface Pair {
  readonly gpa: number;
  readonly end: number;
  readonly delta: number;
  readonly inode: number;
}

/** A presumed memslot; `pair` speaks for it: null where none or several that differ lie in it, undefined before it is asked for. */
interface Presumed {
  readonly gpa: number;
  readonly end: number;
  readonly order: number;
  pair: Pair | null | undefined;
}

/** What is known of one VM. */
interface Places {
  readonly slots: Binding[];
  /** By gpa. */
  readonly pairs: Pair[];
  /** Greatest end of the pairs up to each. */
  readonly ends: Float64Array;
  /** By gpa; none lies in another, so they are by end, too. */
  presumed: Presumed[];
}

/** Number of leading items, sorted by what `test` asks, for which it holds. */
function countWhile<T>(items: ArrayLike<T>, test: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (test(items[mid]!)) low = mid + 1;
    else high = mid;
  }
  return low;
}

function makePlaces(bindings: readonly Binding[]): Places {
  const slots = bindings.filter((b) => !Number.isNaN(b.slot));
  const pairs = bindings
    .filter((b) => Number.isNaN(b.slot))
    .map((b) => ({ gpa: b.gpa, end: b.gpa + b.size, delta: b.offset - b.gpa, inode: b.inode }))
    .sort((a, b) => a.gpa - b.gpa);
  let most = -Infinity;
  const ends = Float64Array.from(pairs, ({ end }) => (most = end > most ? end : most));
  return { slots, pairs, ends, presumed: [] };
}

/** Ranges that lie in another are left out: the greatest that holds a range is the one that counts. */
function keepOuter(ranges: Presumed[]): Presumed[] {
  let end = -Infinity;
  return ranges
    .sort((a, b) => a.gpa - b.gpa || b.end - a.end || a.order - b.order)
    .filter((range) => {
      const isOuter = range.end > end;
      end = Math.max(end, range.end);
      return isOuter;
    });
}

/** The ranges of more than a page that VMMs set by themselves; only of VMs that have pairs do they tell anything. */
function findPresumed(replay: Replay, places: ReadonlyMap<VmState, Places>): void {
  let order = 0;
  for (const { vm, origin, gpa, size } of replay.conversions) {
    const mine = vm ? places.get(vm) : undefined;
    if (!mine || mine.pairs.length === 0 || origin !== 'vmm' || !(size > PAGE_SIZE) || Number.isNaN(gpa)) continue;
    mine.presumed.push({ gpa, end: gpa + size, order: order++, pair: undefined });
  }
  for (const mine of places.values()) mine.presumed = keepOuter(mine.presumed);
}

function greatestAround({ presumed }: Places, gpa: number, end: number): Presumed | null {
  let found: Presumed | null = null;
  for (let k = countWhile(presumed, (range) => range.gpa <= gpa) - 1; k >= 0 && presumed[k]!.end >= end; k--) {
    const range = presumed[k]!;
    const more = found ? range.end - range.gpa - (found.end - found.gpa) : 1;
    if (more > 0 || (more === 0 && range.order < found!.order)) found = range;
  }
  return found;
}

function pairWithin({ pairs }: Places, range: Presumed): Pair | null {
  let found: Pair | null = null;
  for (let k = countWhile(pairs, (pair) => pair.gpa < range.gpa); k < pairs.length && pairs[k]!.gpa < range.end; k++) {
    const pair = pairs[k]!;
    if (pair.end > range.end) continue;
    found ??= pair;
    if (pair.delta !== found.delta) return null;
  }
  return found;
}

function byPairs(places: Places, gpa: number, size: number): Pair | null {
  const { pairs, ends } = places;
  const below = pairs[countWhile(pairs, (pair) => pair.gpa <= gpa) - 1];
  const above = pairs[countWhile(ends, (end) => end < gpa + size)];
  if (below && above && below.delta === above.delta) return below;
  const around = greatestAround(places, gpa, gpa + size);
  if (!around) return null;
  if (around.pair === undefined) around.pair = pairWithin(places, around);
  return around.pair;
}

/** Offset page → place in the list of the last binding that holds it, plus 1; by inode. */
function paintOffsets(bindings: readonly Binding[]): Map<number, IntervalMap> {
  const byInode = new Map<number, IntervalMap>();
  bindings.forEach(({ inode, offset, size }, index) => {
    let map = byInode.get(inode);
    if (!map) byInode.set(inode, (map = makeIntervalMap()));
    const [first, count] = [offset / PAGE_SIZE, size / PAGE_SIZE];
    changeRange(
      map,
      first,
      count,
      () => index + 1,
      0,
      () => undefined,
    );
  });
  return byInode;
}

export function makeLocator(replay: Replay): Locator {
  const { bindings } = replay;
  const ofVm = new Map<VmState | null, Binding[]>(replay.vms.map((vm) => [vm, []]));
  for (const binding of bindings) ofVm.get(binding.vm)?.push(binding);
  const places = new Map(replay.vms.map((vm) => [vm, makePlaces(ofVm.get(vm)!)]));
  findPresumed(replay, places);
  const byInode = paintOffsets(bindings);
  return {
    offsetOf(vm, gpa, size) {
      const mine = places.get(vm)!;
      const slot = mine.slots.findLast((b) => gpa >= b.gpa && gpa + size <= b.gpa + b.size);
      if (slot) return { inode: slot.inode, offset: gpa - slot.gpa + slot.offset, certainty: slot.certainty };
      if (mine.pairs.length === 0) return null;
      const pair = byPairs(mine, gpa, size);
      return pair ? { inode: pair.inode, offset: gpa + pair.delta, certainty: 'inferred' } : null;
    },
    gpaOf(inode, offset, vm = null) {
      const map = Number.isNaN(inode) ? undefined : byInode.get(inode);
      const last = map ? bindings[stateAt(map, offset / PAGE_SIZE) - 1] : undefined;
      const covers = (b: Binding): boolean => b.inode === inode && offset >= b.offset && offset < b.offset + b.size;
      const found = last && vm !== null && last.vm !== vm ? (ofVm.get(vm)!.findLast(covers) ?? last) : last;
      return found ? { vm: found.vm, gpa: offset - found.offset + found.gpa } : null;
    },
  };
}
