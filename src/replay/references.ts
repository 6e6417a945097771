/**
 * References on the pages of guest_memfds (reference chapter 07 §7): who took and dropped what. A pin of an order-0
 * folio adds 1024 (GUP_PIN_COUNTING_BIAS, mm/gup.c), any other reference 1. What is taken and dropped again at once by
 * one thread (a fault, the conversion's own check) is forgotten; the page's place in an LRU batch is the +1 that comes
 * with its insertion and goes with a drain (filemap_add_folio in mm/filemap.c, lru_add_drain in mm/swap.c).
 */
import { makeDmaMappings, type DmaMapping, type FramePage } from './dma.js';
import type { MemoryEvent } from './event.js';
import type { VmState } from './state.js';

const GUP_PIN_COUNTING_BIAS = 1024;
/** Shorter references are noise of the kernel's own paths. */
const SHORTEST_KEPT_NS = 1_000_000;

export interface Reference extends FramePage {
  readonly pfn: number;
  readonly tid: number;
  readonly how: 'pin' | 'get';
  /** A pin by GUP-fast shows as two steps; a place in a CPU's batch of additions to the LRU is nobody's. */
  readonly takenAs: TakenAs;
  /** The page's count after it was taken, and what it should be by all that was seen; NaN where not known. */
  readonly seenCount: number;
  readonly expectedCount: number;
  readonly takenNs: number;
  droppedNs: number;
  /** Thread that dropped it, NaN while it is held. */
  droppedTid: number;
}

export type TakenAs = 'pin' | 'gup-fast' | 'get' | 'lru-batch';

interface Frame {
  readonly page: FramePage;
  readonly out: Reference[];
  /** Thread that inserted the page, while the next steps of the insertion are awaited; NaN else. */
  adder: number;
  /** The adder still holds the reference that the page was allocated with: 1, else 0. NaN: its history is not known. */
  allocated: number;
}

export interface References {
  noteRef(ev: MemoryEvent): void;
  /** A page came into the page cache: a frame's history begins anew. */
  noteAdded(ev: MemoryEvent): void;
  /** The frame is no guest memory (any more). */
  forgetFrame(pfn: number): void;
  /** A fault of a VM found the frame of guest memory. */
  noteFrame(vm: VmState, gpa: number, pfn: number): void;
  /** The page of a frame left its file. */
  noteDeleted(ev: MemoryEvent): void;
  /** iommu:map; `cmd`: the ioctl that the thread is in (NaN: none that is known), `process` its process. */
  noteMapped(ev: MemoryEvent, process: number, cmd: number): void;
  noteUnmapped(ev: MemoryEvent, process: number): void;
  /** All references that outlasted SHORTEST_KEPT_NS or were never dropped, in order of taking. */
  all(): Reference[];
  mappings(): DmaMapping[];
  /** Whether anything at all was seen being dropped, and unmapped: a recording may hold the one half of the events alone. */
  showsDrops(): boolean;
  showsUnmaps(): boolean;
}

function dropOne(frame: Frame, how: 'pin' | 'get', tid: number, ts: number, kept: Reference[]): void {
  let at = frame.out.findLastIndex((r) => r.how === how && r.tid === tid && r.takenAs !== 'lru-batch');
  // Who has none of its own drains the batch, or drops what another took.
  if (at < 0 && how === 'get') at = frame.out.findIndex((r) => r.takenAs === 'lru-batch');
  if (at < 0) at = frame.out.findIndex((r) => r.how === how);
  if (at < 0) return;
  const [ref] = frame.out.splice(at, 1);
  ref!.droppedNs = ts;
  ref!.droppedTid = tid;
  if (ts - ref!.takenNs >= SHORTEST_KEPT_NS) kept.push(ref!);
}

export function makeReferences(): References {
  const frames = new Map<number, Frame>();
  const kept: Reference[] = [];
  const dma = makeDmaMappings();

  const take = (frame: Frame, takenAs: TakenAs, ev: MemoryEvent): void => {
    const how = takenAs === 'pin' || takenAs === 'gup-fast' ? 'pin' : 'get';
    const { tid, ts: takenNs, value: pfn, extra: seenCount } = ev;
    const weight = (kind: 'pin' | 'get'): number => (kind === 'pin' ? GUP_PIN_COUNTING_BIAS : 1);
    const others = frame.out.reduce((sum, ref) => sum + weight(ref.how), 0);
    // One is the page cache's.
    const expectedCount = 1 + frame.allocated + others + weight(how);
    const times = { takenNs, droppedNs: NaN, droppedTid: NaN };
    frame.out.push({ ...frame.page, pfn, tid, how, takenAs, seenCount, expectedCount, ...times });
  };

  /** After the insertion its thread puts the page into a batch (+1) and drops what it allocated it with (-1). */
  const stepsOfInsertion = (frame: Frame, change: number, ev: MemoryEvent): boolean => {
    const isBatch = change === 1 && frame.out.length === 0 && frame.allocated === 1;
    const isOwn = change === -1 && frame.allocated === 1;
    if (isBatch) take(frame, 'lru-batch', ev);
    if (isOwn) frame.allocated = 0;
    if (!isBatch) frame.adder = NaN;
    return isBatch || isOwn;
  };

  let dropsShown = false;
  let unmapsShown = false;

  const noteRef = (ev: MemoryEvent): void => {
    if (ev.result < 0) dropsShown = true;
    const frame = frames.get(ev.value);
    if (!frame) return;
    const change = ev.result;
    if (ev.tid === frame.adder && stepsOfInsertion(frame, change, ev)) return;
    // GUP-fast takes 1 first and then the other 1023.
    if (change === GUP_PIN_COUNTING_BIAS - 1) {
      dropOne(frame, 'get', ev.tid, ev.ts, []);
      take(frame, 'gup-fast', ev);
    } else if (change >= GUP_PIN_COUNTING_BIAS) take(frame, 'pin', ev);
    else if (change <= -GUP_PIN_COUNTING_BIAS) dropOne(frame, 'pin', ev.tid, ev.ts, kept);
    else if (change === 1) take(frame, 'get', ev);
    else if (change === -1) dropOne(frame, 'get', ev.tid, ev.ts, kept);
  };

  const noteFrame = (vm: VmState, gpa: number, pfn: number): void => {
    const old = frames.get(pfn);
    if (old && ((old.page.vm === vm && old.page.gpa === gpa) || !Number.isNaN(old.page.inode))) return;
    frames.set(pfn, { page: { inode: NaN, offset: NaN, dev: NaN, vm, gpa }, out: [], adder: NaN, allocated: NaN });
  };

  return {
    noteRef,
    noteAdded: (ev) => {
      const page = { inode: ev.inode, offset: ev.address, dev: ev.extra, vm: null, gpa: NaN };
      frames.set(ev.value, { page, out: [], adder: ev.tid, allocated: 1 });
    },
    forgetFrame: (pfn) => frames.delete(pfn),
    noteFrame,
    noteDeleted: (ev) => {
      if (frames.has(ev.value)) dma.noteGone(ev.value, ev.ts);
    },
    noteMapped: (ev, process, cmd) => dma.map(ev, process, cmd, (pfn) => frames.get(pfn)?.page ?? null),
    noteUnmapped: (ev, process) => {
      unmapsShown = true;
      dma.unmap(ev, process);
    },
    all: () => [...kept, ...[...frames.values()].flatMap((f) => f.out)].sort((a, b) => a.takenNs - b.takenNs),
    mappings: () => dma.all(),
    showsDrops: () => dropsShown,
    showsUnmaps: () => unmapsShown,
  };
}
