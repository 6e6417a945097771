/**
 * DMA mappings of guest memory (reference chapter 07 §8): iommu:map names iova, paddr and size, iommu:unmap the iova
 * alone. The tracepoints do not name the domain; the process that maps stands for it.
 */
import { PAGE_SIZE } from '../base/units.js';
import type { MemoryEvent } from './event.js';
import type { VmState } from './state.js';

/** VFIO_IOMMU_MAP_DMA (include/uapi/linux/vfio.h); IOMMU_IOAS_COPY, _MAP and _MAP_FILE (include/uapi/linux/iommufd.h). */
const VFIO_MAP = 0x3b71;
const IOMMUFD_MAPS = [0x3b83, 0x3b85, 0x3b8f];

/** The page that a frame holds: by inode and offset (page cache), or by VM and gpa (a fault); NaN and null where not known. */
export interface FramePage {
  readonly inode: number;
  readonly offset: number;
  /** s_dev of the inode. */
  readonly dev: number;
  readonly vm: VmState | null;
  readonly gpa: number;
}

export type DmaMapper = 'vfio-type1' | 'iommufd' | null;

/** Neighbouring pages of one file that one call mapped; times in ns, NaN where not seen. */
export interface DmaMapping extends FramePage {
  readonly iova: number;
  readonly paddr: number;
  readonly size: number;
  readonly tid: number;
  readonly how: DmaMapper;
  readonly mappedNs: number;
  unmappedNs: number;
  /** When the first of its pages left the file while the device could still reach it. */
  pageGoneNs: number;
  /** The same iova was mapped twice in the process: which of the two an unmap ends is not known. */
  isAmbiguous: boolean;
}

export interface DmaMappings {
  /** `pageOf`: what a frame holds, null for frames that are no guest memory. */
  map(ev: MemoryEvent, process: number, cmd: number, pageOf: (pfn: number) => FramePage | null): void;
  unmap(ev: MemoryEvent, process: number): void;
  /** A frame left its file. */
  noteGone(pfn: number, ts: number): void;
  /** All of them, in order of mapping. */
  all(): DmaMapping[];
}

function mapperOf(cmd: number): DmaMapper {
  if (cmd === VFIO_MAP) return 'vfio-type1';
  return IOMMUFD_MAPS.includes(cmd) ? 'iommufd' : null;
}

function follows(page: FramePage, first: FramePage, distance: number): boolean {
  if (page.vm !== first.vm || page.dev !== first.dev || !Object.is(page.inode, first.inode)) return false;
  return Number.isNaN(page.inode) ? page.gpa === first.gpa + distance : page.offset === first.offset + distance;
}

/** What is left of a mapping in [from, to) of its iovas. */
function cut(mapping: DmaMapping, from: number, to: number): DmaMapping {
  const skip = from - mapping.iova;
  const { offset, gpa, paddr } = mapping;
  return { ...mapping, iova: from, paddr: paddr + skip, offset: offset + skip, gpa: gpa + skip, size: to - from };
}

/** Live mappings of one process, by iova. */
interface Live {
  readonly sorted: DmaMapping[];
  longest: number;
}

/** Place of the first mapping that begins at `iova` or above. */
function placeOf(sorted: readonly DmaMapping[], iova: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]!.iova < iova) low = middle + 1;
    else high = middle;
  }
  return low;
}

function overlapping(live: Live | undefined, from: number, to: number): DmaMapping[] {
  const found: DmaMapping[] = [];
  if (!live) return found;
  const { sorted, longest } = live;
  for (let k = placeOf(sorted, from - longest); k < sorted.length && sorted[k]!.iova < to; k++)
    if (sorted[k]!.iova + sorted[k]!.size > from) found.push(sorted[k]!);
  return found;
}

function insert(live: Live, mapping: DmaMapping): void {
  live.sorted.splice(placeOf(live.sorted, mapping.iova), 0, mapping);
  live.longest = Math.max(live.longest, mapping.size);
}

/** Ends a mapping in [from, to) of its iovas; what lies outside stays. Gives the part that ended. */
function endPart(live: Live, mapping: DmaMapping, from: number, to: number, ts: number): DmaMapping {
  const past = mapping.iova + mapping.size;
  live.sorted.splice(live.sorted.indexOf(mapping, placeOf(live.sorted, mapping.iova)), 1);
  if (mapping.iova < from) insert(live, cut(mapping, mapping.iova, from));
  if (past > to) insert(live, cut(mapping, to, past));
  return { ...cut(mapping, Math.max(from, mapping.iova), Math.min(to, past)), unmappedNs: ts };
}

export function makeDmaMappings(): DmaMappings {
  const ended: DmaMapping[] = [];
  const byProcess = new Map<number, Live>();
  const gone = new Map<number, number[]>();

  const add = (process: number, mapping: DmaMapping): void => {
    const live = byProcess.get(process) ?? { sorted: [], longest: 0 };
    byProcess.set(process, live);
    for (const other of overlapping(live, mapping.iova, mapping.iova + mapping.size)) {
      other.isAmbiguous = true;
      mapping.isAmbiguous = true;
    }
    insert(live, mapping);
  };

  /** Who mapped it: the process that unmaps, else (a driver's unmap, in whatever task it interrupts) the only one that did. */
  const ownerOf = (process: number, from: number, to: number): Live | null => {
    const own = byProcess.get(process);
    if (own && overlapping(own, from, to).length > 0) return own;
    const others = [...byProcess.values()].filter((live) => overlapping(live, from, to).length > 0);
    return others.length === 1 ? others[0]! : null;
  };

  /** When the first page of a mapping left its file before the mapping ended. */
  const goneOf = ({ paddr, size, mappedNs, unmappedNs }: DmaMapping): number => {
    let first = Infinity;
    for (let at = paddr; at < paddr + size && gone.size > 0; at += PAGE_SIZE)
      for (const ts of gone.get(Math.floor(at / PAGE_SIZE)) ?? [])
        if (ts > mappedNs && !(ts >= unmappedNs) && ts < first) first = ts;
    return first === Infinity ? NaN : first;
  };

  return {
    map(ev, process, cmd, pageOf) {
      const { address, value, size, tid, ts } = ev;
      const how = mapperOf(cmd);
      let first: FramePage | null = null;
      let from = 0;
      for (let at = 0; at <= size; at += PAGE_SIZE) {
        const page = at < size ? pageOf(Math.floor((value + at) / PAGE_SIZE)) : null;
        if (first && page && follows(page, first, at - from)) continue;
        const times = { mappedNs: ts, unmappedNs: NaN, pageGoneNs: NaN, isAmbiguous: false };
        if (first)
          add(process, { ...first, iova: address + from, paddr: value + from, size: at - from, tid, how, ...times });
        first = page;
        from = at;
      }
    },
    unmap({ address: from, size, ts }, process) {
      if (byProcess.size === 0) return;
      const owner = ownerOf(process, from, from + size);
      if (owner === null) return;
      const met = overlapping(owner, from, from + size);
      // Two domains of one process: one call ends one of the two, taken as the older.
      const isTwice = met.some((mapping, k) => k > 0 && mapping.iova === met[k - 1]!.iova);
      for (const mapping of isTwice ? met.slice(-1) : met) ended.push(endPart(owner, mapping, from, from + size, ts));
    },
    noteGone(pfn, ts) {
      if (byProcess.size === 0) return;
      const times = gone.get(pfn) ?? [];
      times.push(ts);
      gone.set(pfn, times);
    },
    all() {
      const made = [...ended, ...[...byProcess.values()].flatMap((live) => live.sorted)];
      for (const mapping of made) mapping.pageGoneNs = goneOf(mapping);
      return made.sort((a, b) => a.mappedNs - b.mappedNs || a.iova - b.iova);
    },
  };
}
