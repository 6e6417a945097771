/** What a VMM does to convert a range: the ioctl with its tries, and giving back the other copy (reference 02 §0, §2, §3). */
import { PAGE_SIZE } from '../base/units.js';
import { acquire, EAGAIN, ENOMEM, ioctl, IOCTL, release, succeed, systemCall } from './calls.js';
import type { CallResult } from './calls.js';
import { emit, raise, retire, run, sleep } from './host.js';
import type { Flow, Task } from './host.js';
import type { Gmem, PinJob, Slot, Trouble, Vm } from './model.js';
import { slotOf } from './model.js';
import { askDrop } from './pins.js';
import {
  cacheFields,
  drainBatch,
  EMPTY_SPTE,
  dropRef,
  foliosIn,
  probeAt,
  takeRef,
  truncateFolios,
  unmapHost,
} from './pages.js';
import { setRange, valueOf } from './ranges.js';
import type { Attempt, Conversion } from './truth.js';

/** A range that is to be converted, in one slot. */
export interface Order {
  /** Bytes, page aligned. */
  readonly gpa: number;
  readonly size: number;
  readonly isPrivate: boolean;
  /** Gets the tries, the outcome and the end. */
  readonly conversion: Conversion;
  readonly trouble: Trouble;
  /** The reference that stands in the way. */
  readonly job?: PinJob | null;
}

/** Tries after which a VMM gives up on a reference that is never dropped. */
const MOST_TRIES = 14;

/** Converts the range or not; gives the errno that the guest is told (positive, 0 = done). */
export function* satisfy(task: Task, vm: Vm, order: Order): Flow<number> {
  const { conversion, trouble } = order;
  yield run(vm.random.int(3_000, 16_000), true);
  if (trouble.isUnanswered === true) yield* hang(task, vm);
  if (trouble.stallNs !== undefined && (trouble.stallAt ?? 'before') === 'before') yield* sleep(trouble.stallNs);
  if (trouble.refusal !== undefined) {
    conversion.outcome = 'refused';
    conversion.errno = trouble.refusal;
    conversion.ended_ns = task.host.now;
    return trouble.refusal;
  }
  const wasSo = isAlready(vm, order);
  const errno = vm.world.isInPlace ? yield* convertInPlace(task, vm, order) : yield* convertByVm(task, vm, order);
  if (trouble.stallNs !== undefined && trouble.stallAt === 'after') yield* sleep(trouble.stallNs);
  settle(conversion, errno, wasSo);
  conversion.ended_ns = task.host.now;
  return errno === EAGAIN ? 22 : errno;
}

/** Longer than any rule waits for an answer (DESIGN chapter 6: 5 s). */
const HANG_NS = 6_000_000_000;

/** The thread never comes back to its guest, and the trace goes on for a while. */
function* hang(task: Task, vm: Vm): Flow {
  yield* sleep(HANG_NS);
  vm.finished++;
  raise(vm.changed);
  yield* retire(task);
}

/** One conversion may come in several orders (TDX chunks): one that was done makes it done, a failed one failed. */
function settle(conversion: Conversion, errno: number, wasSo: boolean): void {
  if (errno !== 0) {
    conversion.outcome = 'failed';
    conversion.errno = errno;
  } else if (!wasSo) conversion.outcome = 'done';
  else if (conversion.outcome === 'pending') conversion.outcome = 'noop';
}

function isAlready(vm: Vm, { gpa, size, isPrivate }: Order): boolean {
  const value = isPrivate ? 1 : 0;
  if (!vm.world.isInPlace) return valueOf(vm.attributes, gpa / PAGE_SIZE, (gpa + size) / PAGE_SIZE) === value;
  const { gmem, first, end } = partOf(vm, gpa, size);
  return valueOf(gmem.attributes, first, end) === value;
}

interface Part {
  readonly slot: Slot;
  readonly gmem: Gmem;
  /** Page indexes in the guest_memfd. */
  readonly first: number;
  readonly end: number;
  readonly hva: number;
}

function partOf(vm: Vm, gpa: number, size: number): Part {
  const slot = slotOf(vm, gpa)!;
  const first = (gpa - slot.gpa + slot.offset) / PAGE_SIZE;
  return { slot, gmem: slot.gmem, first, end: first + size / PAGE_SIZE, hva: slot.hva + gpa - slot.gpa };
}

function* convertByVm(task: Task, vm: Vm, order: Order): Flow<number> {
  // the kernel is short of memory now and then: a VMM that tries again gets through
  for (let left = order.trouble.blockedTries ?? 0; ; left--) {
    const trouble = left > 0 ? { failure: ENOMEM } : order.trouble;
    const result = yield* setVmAttributes(task, vm, { ...order, trouble });
    order.conversion.attempts!.push(attemptOf(result, null));
    if (result.ret === 0) break;
    if (left <= 0) return -result.ret;
    yield* sleep(vm.random.int(100_000, 400_000));
  }
  yield run(vm.random.int(300, 2_000));
  yield* discardOther(task, vm, order);
  return 0;
}

function attemptOf({ ret, startNs, endNs }: CallResult, errorOffset: number | null): Attempt {
  return { start_ns: startNs, end_ns: endNs, errno: -ret === 0 ? 0 : -ret, error_offset: errorOffset };
}

/** KVM_SET_MEMORY_ATTRIBUTES (kvm_main.c:kvm_vm_set_mem_attributes): whole or not at all. */
function* setVmAttributes(task: Task, vm: Vm, order: Order): Flow<CallResult> {
  const { gpa, size, isPrivate, trouble } = order;
  const cmd = IOCTL.KVM_SET_MEMORY_ATTRIBUTES;
  const arg = vm.process.stack + vm.random.int(0, 31) * 64;
  const attr = isPrivate ? 8 : 0;
  return yield* ioctl(task, { fd: vm.fd, cmd, arg }, function* () {
    const fetched = { filp: vm.file, cmd, arg, a0: gpa, a1: size, a2: attr, a4: vm.random.int(0, 2 ** 40) };
    yield* emit(task, 'vmioctl', probeAt(task, 'vmioctl', fetched));
    const start = gpa / PAGE_SIZE;
    const end = (gpa + size) / PAGE_SIZE;
    yield* emit(task, 'kvm_vm_set_mem_attributes', { start, end, attr });
    const ret = trouble.failure === undefined ? yield* flip(task, vm, { start, end, attr, order }) : -trouble.failure;
    yield* emit(task, 'vmioctl_ret', probeAt(task, 'vmioctl_ret', { ret }));
    return ret;
  });
}

function* flip(
  task: Task,
  vm: Vm,
  at: { readonly start: number; readonly end: number; readonly attr: number; readonly order: Order },
): Flow<number> {
  const { start, end, attr, order } = at;
  yield* acquire(task, vm.slotsLock);
  const value = attr === 8 ? 1 : 0;
  if (valueOf(vm.attributes, start, end) !== value) {
    if (order.trouble.stallAt === 'during') yield* sleep(order.trouble.stallNs ?? 0);
    // xa_reserve and xa_store a gfn
    yield run(Math.min(4_000_000, 4_000 + (end - start) * 8), true);
    const slot = slotOf(vm, order.gpa);
    if (slot)
      yield* emit(task, 'preattr', probeAt(task, 'preattr', { kvm: vm.kvm, slot: slot.pointer, start, end, attr }));
    yield* zap(task, vm, { start, end, isPrivate: order.isPrivate });
    setRange(vm.attributes, start, end, value);
  }
  release(vm.slotsLock);
  return 0;
}

/** The guest's mappings of [start, end) go; on TDX only those of the side that is left. */
function* zap(
  task: Task,
  vm: Vm,
  { start, end, isPrivate }: { readonly start: number; readonly end: number; readonly isPrivate: boolean },
): Flow {
  for (const gfn of mappedIn(vm, start, end)) {
    const leaf = vm.leaves.get(gfn)!;
    if (vm.world.options.platform === 'tdx' && leaf.isPrivate === isPrivate) continue;
    vm.leaves.delete(gfn);
    if (vm.world.isArm) continue;
    if (leaf.isPrivate && vm.world.options.platform === 'tdx') yield run(1_500);
    yield* emit(task, 'kvm_tdp_mmu_spte_changed', { gfn, level: 1, old_spte: leaf.spte, new_spte: EMPTY_SPTE });
  }
}

function mappedIn(vm: Vm, start: number, end: number): number[] {
  if (end - start <= vm.leaves.size) {
    return Array.from({ length: end - start }, (_, i) => start + i).filter((gfn) => vm.leaves.has(gfn));
  }
  return [...vm.leaves.keys()].filter((gfn) => gfn >= start && gfn < end).sort((a, b) => a - b);
}

/** To shared: a hole in the guest_memfd. To private: the shared copy goes. */
function* discardOther(task: Task, vm: Vm, { gpa, size, isPrivate }: Order): Flow {
  if (!isPrivate) return yield* punch(task, vm, gpa, size);
  const { slot, hva } = partOf(vm, gpa, size);
  const start = gpa / PAGE_SIZE;
  const body = function* (): Flow<number> {
    yield* emit(task, 'kvm_unmap_hva_range', { start: hva, end: hva + size });
    for (let gfn = start; gfn < (gpa + size) / PAGE_SIZE && vm.shared.size > 0; gfn++) {
      const pfn = vm.shared.get(gfn);
      vm.shared.delete(gfn);
      if (pfn === undefined || slot.backingFd === null) continue;
      const index = gfn - slot.gpa / PAGE_SIZE;
      const fields = cacheFields(vm.world.shmemDevice, slot.backingInode, index, pfn);
      yield* emit(task, 'mm_filemap_delete_from_page_cache', fields);
    }
    yield run(vm.random.int(1_000, 4_000));
    return 0;
  };
  if (slot.backingFd === null) {
    yield* systemCall(task, 'madvise', { start: hva, len_in: size, behavior: 4 }, body);
  } else {
    const offset = gpa - slot.gpa;
    yield* systemCall(task, 'fallocate', { fd: slot.backingFd, mode: 3, offset, len: size }, body);
  }
}

function* punch(task: Task, vm: Vm, gpa: number, size: number): Flow {
  const { gmem, first, end } = partOf(vm, gpa, size);
  const offset = first * PAGE_SIZE;
  const args = { fd: gmem.fd, mode: 3, offset, len: size };
  const { ret, startNs, endNs } = yield* systemCall(task, 'fallocate', args, function* () {
    const fetched = { file: gmem.file, mode: 3, off: offset, len: size, ino: gmem.inode, kvm: vm.kvm };
    yield* emit(task, 'falloc', probeAt(task, 'falloc', fetched));
    yield* acquire(task, gmem.lock);
    yield* truncateFolios(task, vm.world, { gmem, first, end });
    release(gmem.lock);
    yield* emit(task, 'falloc_ret', probeAt(task, 'falloc_ret', { ret: 0 }));
    return 0;
  });
  vm.world.truth.punches.push({
    vm: vm.id,
    gmem: gmem.id,
    offset,
    size,
    start_ns: startNs,
    end_ns: endNs,
    errno: -ret === 0 ? 0 : -ret,
  });
}

/** The guest_memfd's own ioctl, again and again while a reference stands in the way. */
function* convertInPlace(task: Task, vm: Vm, order: Order): Flow<number> {
  const { conversion, trouble, job = null } = order;
  const most = trouble.blockedTries ?? 0;
  for (let tries = 1; ; tries++) {
    const { result, errorOffset } = yield* setGmemAttributes(task, vm, order);
    conversion.attempts!.push(attemptOf(result, result.ret === 0 ? null : errorOffset));
    if (result.ret === 0) return 0;
    if (result.ret !== -EAGAIN || tries >= MOST_TRIES) return -result.ret;
    if (job && tries >= most) yield* askDrop(job);
    yield* sleep(vm.random.int(300_000, 700_000) * (most === Infinity ? 10 : 1));
  }
}

function* setGmemAttributes(
  task: Task,
  vm: Vm,
  order: Order,
): Flow<{ readonly result: CallResult; readonly errorOffset: number | null }> {
  const { gpa, size, isPrivate } = order;
  const part = partOf(vm, gpa, size);
  const { gmem, first, end } = part;
  const isConvert = vm.mechanism === 'gmem-convert';
  const cmd = !isConvert
    ? IOCTL.KVM_SET_MEMORY_ATTRIBUTES2
    : isPrivate
      ? IOCTL.KVM_GMEM_CONVERT_PRIVATE
      : IOCTL.KVM_GMEM_CONVERT_SHARED;
  const arg = vm.process.stack + vm.random.int(0, 31) * 128;
  const offset = first * PAGE_SIZE;
  const attributes = isPrivate ? 8 : 0;
  let badIndex: number | null = null;
  const result = yield* ioctl(task, { fd: gmem.fd, cmd, arg }, function* () {
    const ino = gmem.inode;
    const enter = { file: gmem.file, ino, offset, size, attributes };
    if (isConvert)
      yield* emit(task, 'gmioctl', probeAt(task, 'gmioctl', { file: gmem.file, cmd, arg, a0: offset, a1: size, ino }));
    else yield* emit(task, 'set_attrs_ioctl', probeAt(task, 'set_attrs_ioctl', enter));
    const done = yield* flipInPlace(task, vm, { part, order });
    badIndex = done.badIndex;
    if (isConvert) {
      yield* emit(
        task,
        'gmioctl_ret',
        probeAt(task, 'gmioctl_ret', { ret: done.ret, error_offset: (badIndex ?? 0) * PAGE_SIZE }),
      );
      return done.ret;
    }
    const leave = {
      ino,
      start: first,
      nr_pages: end - first,
      attrs: attributes,
      ret: done.ret,
      err_index: badIndex ?? 0,
    };
    yield* emit(task, 'set_attrs_ret', probeAt(task, 'set_attrs_ret', leave));
    yield* emit(task, 'set_attrs_ioctl_ret', probeAt(task, 'set_attrs_ioctl_ret', { ret: done.ret }));
    return done.ret;
  });
  return { result, errorOffset: badIndex === null ? null : badIndex * PAGE_SIZE };
}

/** kvm_gmem_set_attributes ([v8]): unmap, look at references, then zap and store (reference 02 §2, steps 4 to 8). */
function* flipInPlace(
  task: Task,
  vm: Vm,
  { part, order }: { readonly part: Part; readonly order: Order },
): Flow<{ readonly ret: number; readonly badIndex: number | null }> {
  const { gmem, first, end } = part;
  const value = order.isPrivate ? 1 : 0;
  yield* acquire(task, gmem.lock);
  let ret = 0;
  let badIndex: number | null = null;
  if (valueOf(gmem.attributes, first, end) !== value) {
    if (order.trouble.stallAt === 'during') yield* sleep(order.trouble.stallNs ?? 0);
    if (order.isPrivate) {
      yield* unmapHost(task, part);
      badIndex = yield* findHeldPage(task, part);
    }
    if (badIndex !== null) ret = -EAGAIN;
    else if (order.trouble.failure !== undefined) {
      ret = -ENOMEM;
      badIndex = first;
    } else {
      const start = order.gpa / PAGE_SIZE;
      yield* zap(task, vm, { start, end: start + end - first, isPrivate: order.isPrivate });
      setRange(gmem.attributes, first, end, value);
      yield* succeed();
    }
  }
  release(gmem.lock);
  return { ret, badIndex };
}

/** kvm_gmem_is_safe_for_conversion: the first page that someone besides the page cache holds. */
function* findHeldPage(task: Task, { gmem, first, end }: Part): Flow<number | null> {
  for (const index of foliosIn(gmem, first, end)) {
    const page = gmem.pages.get(index)!;
    yield* drainBatch(task, gmem, page);
    yield* takeRef(task, gmem, page);
    const isHeld = page.refs !== 2;
    yield* dropRef(task, gmem, page);
    if (isHeld) return index;
  }
  return null;
}
