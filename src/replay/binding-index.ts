/**
 * Finds the binding of a page or a descriptor while the trace goes by. Where no probe names memslots there are as many
 * bindings as pages were faulted in, and each of their events asks: a lookup must not cost their number.
 */
import { END_OF_MEMORY, PAGE_SIZE } from '../base/units.js';
import { changeRange, makeIntervalMap, stateAt, type IntervalMap } from './intervals.js';
import type { Binding, VmState } from './state.js';

/** Bindings of one guest_memfd, by their place in the list of all. */
interface FilePlaces {
  /** Memslots: few. */
  readonly slots: Set<number>;
  /** Page of the file → place, plus 1, of the last pair that holds it. */
  readonly pairs: IntervalMap;
  /** The last one whose VM is known, -1: none. */
  lastOfVm: number;
}

/** Bindings by a descriptor of one process. */
interface DescriptorPlaces {
  /** The last one whose inode is known, -1: none. */
  named: number;
  nameless: number[];
}

export interface BindingIndex {
  readonly all: Binding[];
  readonly files: Map<number, FilePlaces>;
  /** By process, by descriptor. */
  readonly descriptors: Map<number, Map<number, DescriptorPlaces>>;
}

export function makeBindingIndex(all: Binding[]): BindingIndex {
  return { all, files: new Map(), descriptors: new Map() };
}

function fileOf({ files }: BindingIndex, inode: number): FilePlaces {
  let file = files.get(inode);
  if (!file) files.set(inode, (file = { slots: new Set(), pairs: makeIntervalMap(), lastOfVm: -1 }));
  return file;
}

function descriptorOf({ descriptors }: BindingIndex, vm: VmState, fd: number): DescriptorPlaces {
  const { process } = vm.identity;
  let mine = descriptors.get(process);
  if (!mine) descriptors.set(process, (mine = new Map<number, DescriptorPlaces>()));
  let places = mine.get(fd);
  if (!places) mine.set(fd, (places = { named: -1, nameless: [] }));
  return places;
}

function paint(file: FilePlaces, { offset, size }: Binding, place: number): void {
  const mark = (state: number): number => Math.max(state, place + 1);
  changeRange(file.pairs, offset / PAGE_SIZE, size / PAGE_SIZE, mark, 0, () => undefined);
}

function addPlace(index: BindingIndex, place: number): void {
  const binding = index.all[place]!;
  const { inode, vm, fd, slot } = binding;
  const isNamed = !Number.isNaN(inode);
  if (isNamed) {
    const file = fileOf(index, inode);
    if (Number.isNaN(slot)) paint(file, binding, place);
    else file.slots.add(place);
    if (vm !== null) file.lastOfVm = Math.max(file.lastOfVm, place);
  }
  if (vm === null || Number.isNaN(fd)) return;
  const descriptor = descriptorOf(index, vm, fd);
  if (isNamed) descriptor.named = Math.max(descriptor.named, place);
  else descriptor.nameless.push(place);
}

/** Keeps a binding. */
export function addBinding(index: BindingIndex, binding: Binding): void {
  const { gpa, offset, size } = binding;
  if (!(Math.min(gpa, offset) >= 0 && Math.max(gpa, offset) + (size || 0) <= END_OF_MEMORY)) return;
  addPlace(index, index.all.push(binding) - 1);
}

/** The file of a binding turns out. */
export function nameFile(index: BindingIndex, place: number, inode: number): void {
  const binding = index.all[place]!;
  if (binding.inode === inode) return;
  index.files.get(binding.inode)?.slots.delete(place);
  binding.inode = inode;
  addPlace(index, place);
}

/** The last pair is found to go on for some bytes. */
export function growLast(index: BindingIndex, bytes: number): void {
  const place = index.all.length - 1;
  const last = index.all[place]!;
  last.size += bytes;
  if (!Number.isNaN(last.inode)) paint(fileOf(index, last.inode), last, place);
}

/** The last binding that holds all of [offset, offset + size) of a file; of two pairs in one place only the later is known. */
export function bindingAt(index: BindingIndex, inode: number, offset: number, size = 1): Binding | null {
  const file = index.files.get(inode);
  if (!file) return null;
  const isHeld = (place: number): boolean => {
    const binding = index.all[place];
    return binding !== undefined && offset >= binding.offset && offset + size <= binding.offset + binding.size;
  };
  const pair = stateAt(file.pairs, Math.floor(offset / PAGE_SIZE)) - 1;
  let found = isHeld(pair) ? pair : -1;
  for (const place of file.slots) if (place > found && isHeld(place)) found = place;
  return found < 0 ? null : index.all[found]!;
}

/** The VM of the last binding of a file that has one. */
export function vmOfFile(index: BindingIndex, inode: number): VmState | null {
  return index.all[index.files.get(inode)?.lastOfVm ?? -1]?.vm ?? null;
}

/** A descriptor of a process, and since when it means the file that it means now, ns. */
export interface Descriptor {
  readonly process: number;
  readonly fd: number;
  readonly since: number;
}

/** The file behind a descriptor by which something was bound, NaN where that is not known. */
export function fileOfDescriptor({ all, descriptors }: BindingIndex, { process, fd, since }: Descriptor): number {
  const named = all[descriptors.get(process)?.get(fd)?.named ?? -1];
  return named && named.fromTs >= since ? named.inode : NaN;
}

/** The file of a descriptor turns out: it is that of everything that was bound by it and still is. */
export function nameDescriptor(index: BindingIndex, { process, fd, since }: Descriptor, inode: number): void {
  const descriptor = index.descriptors.get(process)?.get(fd);
  if (!descriptor || descriptor.nameless.length === 0) return;
  const { nameless } = descriptor;
  descriptor.nameless = [];
  for (const place of nameless) {
    const { toTs, fromTs } = index.all[place]!;
    if (Number.isNaN(toTs) && fromTs >= since) nameFile(index, place, inode);
  }
}
