/**
 * References on the pages of guest_memfds (reference chapter 07 §7): who took and dropped what. A pin of an order-0
 * folio adds 1024 (GUP_PIN_COUNTING_BIAS, mm/gup.c), any other reference 1. What is taken and dropped again at once by
 * one thread (a fault, the conversion's own check) is forgotten; the page's place in an LRU batch is the +1 that comes
 * with its insertion and goes with a drain.
 */
import { PAGE_SIZE } from '../base/units.js';
import type { MemoryEvent } from './event.js';
import type { VmState } from './state.js';

const GUP_PIN_COUNTING_BIAS = 1024;
/** Shorter references are noise of the kernel's own paths. */
const SHORTEST_KEPT_NS = 1_000_000;

/** The page that a frame holds: by inode and offset (page cache), or by VM and gpa (a fault); NaN and null where not known. */
export interface FramePage {
  readonly inode: number;
  readonly offset: number;
  /** s_dev of the inode. */
  readonly dev: number;
  readonly vm: VmState | null;
  readonly gpa: number;
}

export interface Reference extends FramePage {
  readonly pfn: number;
  readonly tid: number;
  readonly how: 'pin' | 'get';
  readonly takenNs: number;
  droppedNs: number;
}

export interface DmaMapping extends FramePage {
  readonly iova: number;
  readonly paddr: number;
  readonly size: number;
  readonly tid: number;
  readonly mappedNs: number;
  unmappedNs: number;
}

interface Frame {
  readonly page: FramePage;
  readonly out: Reference[];
}

export interface References {
  noteRef(ev: MemoryEvent): void;
  /** A page came into the page cache: a frame's history begins anew. */
  noteAdded(ev: MemoryEvent): void;
  /** The frame is no guest memory (any more). */
  forgetFrame(pfn: number): void;
  /** A fault of a VM found the frame of guest memory. */
  noteFrame(vm: VmState, gpa: number, pfn: number): void;
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
  /** Those of `dma` that are still mapped. */
  const mapped = new Set<DmaMapping>();

  const take = (frame: Frame, pfn: number, how: 'pin' | 'get', ev: MemoryEvent): void => {
    frame.out.push({ ...frame.page, pfn, tid: ev.tid, how, takenNs: ev.ts, droppedNs: NaN });
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

  const noteFrame = (vm: VmState, gpa: number, pfn: number): void => {
    const old = frames.get(pfn);
    if (old && ((old.page.vm === vm && old.page.gpa === gpa) || !Number.isNaN(old.page.inode))) return;
    frames.set(pfn, { page: { inode: NaN, offset: NaN, dev: NaN, vm, gpa }, out: [] });
  };

  const noteDma = (ev: MemoryEvent, isMap: boolean): void => {
    if (!isMap) {
      for (const mapping of mapped) {
        if (mapping.iova < ev.address || mapping.iova >= ev.address + ev.size) continue;
        mapping.unmappedNs = ev.ts;
        mapped.delete(mapping);
      }
      return;
    }
    const frame = frames.get(Math.floor(ev.value / PAGE_SIZE));
    if (!frame) return;
    const { address: iova, value: paddr, size, tid, ts: mappedNs } = ev;
    const mapping = { ...frame.page, iova, paddr, size, tid, mappedNs, unmappedNs: NaN };
    dma.push(mapping);
    mapped.add(mapping);
  };

  return {
    noteRef,
    noteAdded: (ev) => {
      frames.set(ev.value, {
        page: { inode: ev.inode, offset: ev.address, dev: ev.extra, vm: null, gpa: NaN },
        out: [],
      });
    },
    forgetFrame: (pfn) => frames.delete(pfn),
    noteFrame,
    noteDma,
    all: () => [...kept, ...[...frames.values()].flatMap((f) => f.out)].sort((a, b) => a.takenNs - b.takenNs),
    mappings: () => dma,
  };
}
