/** A guest touches a page: the stage-2 fault, and the exit where the view is the wrong one. */
import { PAGE_SIZE } from '../base/units.js';
import { EFAULT } from './calls.js';
import { emit, run } from './host.js';
import type { Flow } from './host.js';
import type { Slot, Vcpu, Vm } from './model.js';
import { newPfn, slotOf } from './model.js';
import { hasViews } from './options.js';
import { EMPTY_SPTE, cacheFields, dropRef, getFolio, probeAt } from './pages.js';
import { valueAt } from './ranges.js';
import { callRun, enterGuest, EXIT, exitToUser, leaveGuest } from './run.js';
import type { Conversion } from './truth.js';
import { satisfy } from './vmm.js';

/** Where a page lies in its guest_memfd. */
export interface Place {
  readonly slot: Slot;
  readonly index: number;
}

export function placeOf(vm: Vm, gfn: number): Place | null {
  const slot = slotOf(vm, gfn * PAGE_SIZE);
  return slot && { slot, index: (gfn * PAGE_SIZE - slot.gpa + slot.offset) / PAGE_SIZE };
}

/** Whether KVM takes the page for private. */
export function isPrivate(vm: Vm, gfn: number): boolean {
  if (!vm.world.isInPlace) return valueAt(vm.attributes, gfn) === 1;
  const place = placeOf(vm, gfn);
  return place !== null && valueAt(place.slot.gmem.attributes, place.index) === 1;
}

/** The guest touches a page in one view; a wrong view makes an implicit conversion. Begins and ends in the guest. */
export function* touch(vcpu: Vcpu, gfn: number, asPrivate: boolean, stallNs = 0): Flow {
  const { vm } = vcpu;
  const leaf = vm.leaves.get(gfn);
  if (leaf && leaf.isPrivate === asPrivate) return;
  const requestedNs = yield* leaveForFault(vcpu, gfn, asPrivate);
  if (!hasViews(vm.world.options.platform) || isPrivate(vm, gfn) === asPrivate) {
    yield* mapPage(vcpu, gfn, asPrivate);
    yield* enterGuest(vcpu);
    return;
  }
  yield* convertImplicitly(vcpu, { gfn, asPrivate, requestedNs, stallNs });
  yield run(vcpu.random.int(1_500, 4_000));
  yield* leaveForFault(vcpu, gfn, asPrivate);
  yield* mapPage(vcpu, gfn, asPrivate);
  yield* enterGuest(vcpu);
}

function* convertImplicitly(
  vcpu: Vcpu,
  at: { readonly gfn: number; readonly asPrivate: boolean; readonly requestedNs: number; readonly stallNs: number },
): Flow {
  const { vm, task } = vcpu;
  const gpa = at.gfn * PAGE_SIZE;
  const exitNs = yield* exitToUser(vcpu, EXIT.MEMORY_FAULT, {
    u: [at.asPrivate ? 8 : 0, gpa, PAGE_SIZE, 0],
    errno: EFAULT,
  });
  vm.world.truth.memory_faults.push({
    vm: vm.id,
    vcpu: vcpu.index,
    gpa,
    size: PAGE_SIZE,
    private: at.asPrivate,
    t_ns: exitNs,
  });
  const place = placeOf(vm, at.gfn);
  const conversion: Conversion = {
    vm: vm.id,
    vcpu: vcpu.index,
    tid: task.tid,
    gmem: place?.slot.gmem.id ?? null,
    gpa,
    offset: place && place.index * PAGE_SIZE,
    size: PAGE_SIZE,
    direction: at.asPrivate ? 'to_private' : 'to_shared',
    origin: 'implicit',
    mechanism: vm.mechanism,
    requested_ns: at.requestedNs,
    attempts: [],
    chunks: 0,
    outcome: 'pending',
    errno: null,
    ended_ns: null,
    resumed_ns: null,
    exit_ns: exitNs,
  };
  vm.world.truth.conversions.push(conversion);
  yield* satisfy(task, vm, {
    gpa,
    size: PAGE_SIZE,
    isPrivate: at.asPrivate,
    conversion,
    trouble: at.stallNs > 0 ? { stallNs: at.stallNs } : {},
  });
  yield* callRun(vcpu);
  conversion.resumed_ns = yield* enterGuest(vcpu);
  conversion.stopNs = conversion.resumed_ns - at.requestedNs;
}

/** The exit of a stage-2 fault, with what each platform says of the view; gives the exit's time stamp, ns. */
function* leaveForFault(vcpu: Vcpu, gfn: number, asPrivate: boolean): Flow<number> {
  const { vm, task } = vcpu;
  const gpa = gfn * PAGE_SIZE;
  const address = gpa + (asPrivate ? 0 : vm.sharedBit);
  if (vm.world.isArm) {
    const at = yield* leaveGuest(vcpu, 'fault');
    yield* emit(task, 'kvm_guest_fault', { vcpu_pc: vcpu.rip, hsr: 0x93d88047, hxfar: address, ipa: address });
    return at;
  }
  const errorCode = faultCode(vm, gfn, asPrivate);
  // the exit's own information lacks what KVM adds (PFERR_PRIVATE_ACCESS, bit 49)
  const raw = BigInt.asUintN(49, errorCode);
  const at = yield* leaveGuest(vcpu, 'fault', vm.isAmd ? [raw, address] : [0x182, 0]);
  yield* emit(task, 'kvm_page_fault', {
    vcpu_id: vcpu.index,
    guest_rip: vcpu.rip,
    fault_address: address,
    error_code: errorCode,
  });
  return at;
}

/** What kvm_page_fault prints as error_code (reference 01 §7, 02 §5 and §7). */
function faultCode(vm: Vm, gfn: number, asPrivate: boolean): bigint {
  const { platform } = vm.world.options;
  if (platform === 'tdx') return asPrivate ? 0x2n : 0x182n;
  if (!vm.isAmd) return 0x182n;
  if (platform !== 'snp' || !asPrivate) return 0x100000006n;
  // C-bit (34) and the synthetic 49; the RMP check (31) fails where the page is to become private
  return isPrivate(vm, gfn) ? 0x2000580000006n : 0x2000500000006n;
}

/** KVM maps the page. */
function* mapPage(vcpu: Vcpu, gfn: number, asPrivate: boolean): Flow {
  const { vm, task } = vcpu;
  const place = placeOf(vm, gfn);
  const fromGmem = place !== null && (asPrivate || vm.world.isInPlace);
  const pfn = fromGmem ? yield* gmemPfn(vcpu, gfn, place) : yield* sharedPfn(vcpu, gfn, place);
  if (!vm.world.isArm) yield* setLeaf(vcpu, { gfn, pfn, asPrivate });
  else vm.leaves.set(gfn, { spte: 0n, isPrivate: asPrivate });
  if (fromGmem) {
    const page = place.slot.gmem.pages.get(place.index);
    if (page) yield* dropRef(task, place.slot.gmem, page);
  }
}

function* gmemPfn(vcpu: Vcpu, gfn: number, { slot, index }: Place): Flow<number> {
  const { vm, task } = vcpu;
  const { gmem } = slot;
  const base = slot.gpa / PAGE_SIZE;
  const pgoff = slot.offset / PAGE_SIZE;
  yield* emit(
    task,
    'getpfn',
    probeAt(task, 'getpfn', { kvm: vm.kvm, slot: slot.pointer, gfn, pgoff, base, file: gmem.file }),
  );
  const isNew = !gmem.pages.has(index);
  const page = yield* getFolio(task, vm.world, gmem, index);
  if (isNew && vm.world.options.platform === 'snp') {
    yield* emit(task, 'mkpriv', probeAt(task, 'mkpriv', { kvm: vm.kvm, gfn, pfn: page.pfn, n: 1 }));
  }
  return page.pfn;
}

/** The page behind the shared view; a memfd's shows in the page cache when it is new. */
function* sharedPfn(vcpu: Vcpu, gfn: number, place: Place | null): Flow<number> {
  const { vm, task } = vcpu;
  const known = vm.shared.get(gfn);
  if (known !== undefined) return known;
  const pfn = newPfn(vm.world);
  vm.shared.set(gfn, pfn);
  if (place && place.slot.backingFd !== null) {
    const index = gfn - place.slot.gpa / PAGE_SIZE;
    const { backingInode } = place.slot;
    yield* emit(task, 'mm_filemap_add_to_page_cache', cacheFields(vm.world.shmemDevice, backingInode, index, pfn));
  }
  return pfn;
}

function* setLeaf(
  vcpu: Vcpu,
  { gfn, pfn, asPrivate }: { readonly gfn: number; readonly pfn: number; readonly asPrivate: boolean },
): Flow {
  const { vm, task } = vcpu;
  const { platform } = vm.world.options;
  const isSept = platform === 'tdx' && asPrivate;
  yield* emit(task, 'kvm_mmu_spte_requested', { gfn, pfn, level: 1, access: 7 });
  const table = Math.floor(gfn / 512);
  if (!vm.tables.has(table) && !isSept) {
    vm.tables.add(table);
    const spte = (BigInt(newPfn(vm.world)) << 12n) | 0x967n;
    yield* emit(task, 'kvm_tdp_mmu_spte_changed', { gfn: table * 512, level: 2, old_spte: EMPTY_SPTE, new_spte: spte });
  }
  const spte = leafOf(vm, pfn, isSept);
  if (isSept) {
    const values = { kvm: vm.kvm, gfn, old: EMPTY_SPTE, new: spte, level: 1 };
    yield* emit(task, 'sept', probeAt(task, 'sept', values));
    yield run(vcpu.random.int(800, 2_000));
    yield* emit(task, 'sept_ret', probeAt(task, 'sept_ret', { ret: 0 }));
  }
  yield* emit(task, 'kvm_tdp_mmu_spte_changed', { gfn, level: 1, old_spte: EMPTY_SPTE, new_spte: spte });
  yield* emit(task, 'kvm_mmu_set_spte', {
    gfn,
    spte,
    sptep: 0x100080000 + (gfn % 512) * 8,
    level: 1,
    r: 1,
    x: 1,
    u: 1,
  });
  vm.leaves.set(gfn, { spte, isPrivate: asPrivate });
  if (platform === 'snp' && asPrivate) {
    // the fault had GUEST_RMP set: one kvm_rmp_fault with a 4 KiB entry is the normal case
    const gpa = gfn * PAGE_SIZE;
    yield* emit(task, 'kvm_rmp_fault', { vcpu_id: vcpu.index, gpa, pfn, error_code: 0x2000580000006n, rmp_level: 1 });
  }
}

function leafOf(vm: Vm, pfn: number, isSept: boolean): bigint {
  const frame = BigInt(pfn) << 12n;
  if (vm.isAmd) return frame | 0xe67n;
  return 0xa0000000000000n | frame | (isSept ? 0xb37n : 0xb77n);
}
