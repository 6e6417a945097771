/**
 * References on the pages of guest_memfds (reference chapter 07 §7): who took and dropped what. A pin of an order-0
 * folio adds 1024 (GUP_PIN_COUNTING_BIAS, mm/gup.c), any other reference 1. What is taken and dropped again at once by
 * one thread (a fault, the conversion's own check) is forgotten; the page's place in an LRU batch is the +1 that comes
 * with its insertion and goes with a drain.
 */
import { PAGE_SIZE } from '../base/units.js';
import type { MemoryEvent } from './event.js';

const GUP_PIN_COUNTING_BIAS = 1024;
/** Shorter references are noise of the kernel's own paths. */
const SHORTEST_KEPT_NS = 1_000_000;

export interface Reference {
  readonly pfn: number;
  readonly inode: number;
  readonly offset: number;
  readonly tid: number;
  readonly how: 'pin' | 'get';
  readonly takenNs: number;
  droppedNs: number;
}

export interface DmaMapping {
  readonly inode: number;
  readonly offset: number;
  readonly iova: number;
  readonly paddr: number;
  readonly size: number;
  readonly tid: number;
  readonly mappedNs: number;
  unmappedNs: number;
}

interface Frame {
  readonly inode: number;
  readonly offset: number;
  readonly out: Reference[];
}

export interface References {
  noteRef(ev: MemoryEvent): void;
  notePage(ev: MemoryEvent, isAdd: boolean): void;
  noteDma(ev: MemoryEvent, isMap: boolean): void;
  /** All references that outlasted SHORTEST_KEPT_NS or were never dropped, in order of taking. */
  all(): Reference[];
  mappings(): readonly DmaMapping[];
}

function dropOne(frame: Frame, how: 'pin' | 'get', tid: number, ts: number, kept: Reference[]): void {
  let at = frame.out.findLastIndex((r) => r.how === how && r.tid === tid);
  if (at < 0) at = frame.out.findIndex((r) => r.how === how);
  if (at < 0) return;
  const [ref] = frame.out.splice(at, 1);
  ref!.droppedNs = ts;
  if (ts - ref!.takenNs >= SHORTEST_KEPT_NS) kept.push(ref!);
}

export function makeReferences(): References {
  const frames = new Map<number, Frame>();
  const kept: Reference[] = [];
  const dma: DmaMapping[] = [];

  const take = (frame: Frame, pfn: number, how: 'pin' | 'get', ev: MemoryEvent): void => {
    const { inode, offset } = frame;
    frame.out.push({ pfn, inode, offset, tid: ev.tid, how, takenNs: ev.ts, droppedNs: NaN });
  };

  const noteRef = (ev: MemoryEvent): void => {
    const frame = frames.get(ev.value);
    if (!frame) return;
    const change = ev.result;
    // GUP-fast takes 1 first and then the other 1023.
    if (change === GUP_PIN_COUNTING_BIAS - 1) {
      dropOne(frame, 'get', ev.tid, ev.ts, []);
      take(frame, ev.value, 'pin', ev);
    } else if (change >= GUP_PIN_COUNTING_BIAS) take(frame, ev.value, 'pin', ev);
    else if (change <= -GUP_PIN_COUNTING_BIAS) dropOne(frame, 'pin', ev.tid, ev.ts, kept);
    else if (change === 1) take(frame, ev.value, 'get', ev);
    else if (change === -1) dropOne(frame, 'get', ev.tid, ev.ts, kept);
  };

  const notePage = (ev: MemoryEvent, isAdd: boolean): void => {
    if (isAdd) frames.set(ev.value, { inode: ev.inode, offset: ev.address, out: [] });
  };

  const noteDma = (ev: MemoryEvent, isMap: boolean): void => {
    if (!isMap) {
      for (const mapping of dma)
        if (Number.isNaN(mapping.unmappedNs) && mapping.iova >= ev.address && mapping.iova < ev.address + ev.size)
          mapping.unmappedNs = ev.ts;
      return;
    }
    const frame = frames.get(Math.floor(ev.value / PAGE_SIZE));
    if (!frame) return;
    dma.push({
      inode: frame.inode,
      offset: frame.offset,
      iova: ev.address,
      paddr: ev.value,
      size: ev.size,
      tid: ev.tid,
      mappedNs: ev.ts,
      unmappedNs: NaN,
    });
  };

  return {
    noteRef,
    notePage,
    noteDma,
    all: () => [...kept, ...[...frames.values()].flatMap((f) => f.out)].sort((a, b) => a.takenNs - b.takenNs),
    mappings: () => dma,
  };
}

/** Neighbouring pages taken by one thread in one go, dropped together or not at all, as one reference. */
export interface ReferenceRun {
  readonly refs: readonly Reference[];
  readonly inode: number;
  readonly offset: number;
  readonly size: number;
  readonly tid: number;
  readonly how: 'pin' | 'get';
  readonly takenNs: number;
  readonly droppedNs: number;
}

/** Pages of one call are taken within this time. */
const TOGETHER_NS = 10_000_000;

function together(a: number, b: number): boolean {
  return (Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= TOGETHER_NS;
}

export function groupReferences(references: readonly Reference[]): ReferenceRun[] {
  const sorted = [...references].sort(
    (a, b) =>
      a.inode - b.inode || a.tid - b.tid || a.how.localeCompare(b.how) || a.offset - b.offset || a.takenNs - b.takenNs,
  );
  const runs: Reference[][] = [];
  for (const ref of sorted) {
    const run = runs.findLast((r) => {
      const last = r[r.length - 1]!;
      return (
        last.inode === ref.inode &&
        last.tid === ref.tid &&
        last.how === ref.how &&
        last.offset + PAGE_SIZE === ref.offset &&
        together(last.takenNs, ref.takenNs) &&
        together(last.droppedNs, ref.droppedNs)
      );
    });
    if (run) run.push(ref);
    else runs.push([ref]);
  }
  return runs.map((refs) => ({
    refs,
    inode: refs[0]!.inode,
    offset: refs[0]!.offset,
    size: refs.length * PAGE_SIZE,
    tid: refs[0]!.tid,
    how: refs[0]!.how,
    takenNs: Math.min(...refs.map((r) => r.takenNs)),
    droppedNs: refs[0]!.droppedNs,
  }));
}
