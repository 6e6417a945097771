/**
 * gpa ↔ offset of guest_memfds, by the resolution order of reference chapter 06 §5: what a probe says of a memslot is
 * exact; a pair seen in a fault or a punch proves a page; between two pairs of equal distance the rest is inferred.
 */
import { PAGE_SIZE } from '../base/units.js';
import { isAlready, isSharedState, withAllocation } from './axes.js';
import { addBinding, bindingAt, growLast, nameFile } from './binding-index.js';
import type { Certainty } from './identity.js';
import { noteFirstState } from './initial-state.js';
import { stateAt } from './intervals.js';
import { setState } from './requests.js';
import { LOWEST_SHARED_BIT, splitGpa } from './shared-bit.js';
import type { MemoryEvent } from './event.js';
import { isPrivateAccess } from './shown-views.js';
import { lossesTillNow, stateOf, type Binding, type Replay, type Thread, type VmState } from './state.js';

/** A fault's page-cache insertion comes at most this long after the fault on the same thread. */
const PAIR_WITHIN_NS = 50_000_000;

/** KVM_SET_USER_MEMORY_REGION2 reaches guest_memfd: slot, gpa, size and offset. */
export function noteBind(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  thread.pendingBind = {
    vmKey: ev.vmKey,
    vmFd: thread.ioctl?.fd ?? NaN,
    slot: ev.extra,
    gpa: ev.address,
    size: ev.size,
    fd: ev.fd,
    offset: ev.value,
    inode: NaN,
    ts: ev.ts,
  };
  if (!replay.sources.ioctlExits) addPending(replay, thread, 'observed');
}

function addPending(replay: Replay, thread: Thread, certainty: Certainty): void {
  const bind = thread.pendingBind;
  thread.pendingBind = null;
  if (!bind || !(bind.size > 0)) return;
  const { inode } = bind;
  const { identity } = replay;
  const named = identity.vmOfKey(bind.vmKey, bind.ts) ?? identity.fdOf(thread.tid, bind.vmFd, bind.ts)?.vm ?? null;
  const vm = stateOf(replay, named) ?? thread.vm;
  // The commit tells again what the preparation told, and the inode with it.
  const same = replay.bindings.findLastIndex(
    (b) =>
      b.vm === vm && b.gpa === bind.gpa && b.size === bind.size && b.offset === bind.offset && Number.isNaN(b.toTs),
  );
  if (same >= 0) {
    if (!Number.isNaN(inode)) nameFile(replay.bindingIndex, same, inode);
    return;
  }
  const binding: Binding = {
    vm,
    inode,
    fd: bind.fd,
    slot: bind.slot,
    gpa: bind.gpa,
    offset: bind.offset,
    size: bind.size,
    fromTs: bind.ts,
    toTs: NaN,
    how: 'probe on the binding',
    certainty,
  };
  addBinding(replay.bindingIndex, binding);
  noteFirstState(replay, thread.tid, binding);
}

/** The binding is committed: the inode is known, too. Whether it succeeds shows where the commit, or the ioctl, returns. */
export function noteBindDone(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  thread.pendingBind = {
    vmKey: ev.vmKey,
    vmFd: thread.ioctl?.fd ?? NaN,
    slot: ev.extra,
    gpa: ev.address,
    size: ev.size,
    fd: thread.pendingBind?.fd ?? NaN,
    offset: ev.value,
    inode: ev.inode,
    ts: ev.ts,
  };
  const { bindRet, ioctlExits } = replay.sources;
  if (!bindRet && !(thread.ioctl && ioctlExits)) addPending(replay, thread, 'observed');
}

/** The commit, or the ioctl that binds, returns: 0 keeps the binding, an error drops it. */
export function noteBindResult(replay: Replay, thread: Thread, result: number): void {
  if (!thread.pendingBind) return;
  if (result === 0) addPending(replay, thread, 'observed');
  else thread.pendingBind = null;
}

/** Its result is not seen: what was committed hardly ever fails. */
export function settleBind(replay: Replay, thread: Thread): void {
  if (Number.isNaN(thread.pendingBind?.inode ?? NaN)) thread.pendingBind = null;
  else addPending(replay, thread, 'inferred');
}

/** A memslot loses its guest_memfd. */
export function noteUnbind(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  for (const binding of replay.bindings)
    if (binding.gpa === ev.address && binding.vm === thread.vm && Number.isNaN(binding.toTs)) binding.toTs = ev.ts;
}

function addPair(replay: Replay, vm: VmState | null, gpa: number, inode: number, offset: number, ts: number): void {
  const page = Math.floor(gpa / PAGE_SIZE) * PAGE_SIZE;
  const last = replay.bindings[replay.bindings.length - 1];
  const grows =
    last &&
    last.vm === vm &&
    last.inode === inode &&
    Number.isNaN(last.slot) &&
    page === last.gpa + last.size &&
    offset === last.offset + last.size;
  if (grows) {
    growLast(replay.bindingIndex, PAGE_SIZE);
    return;
  }
  const there = bindingAt(replay.bindingIndex, inode, offset);
  if (there && there.vm === vm && page - there.gpa === offset - there.offset) return;
  addBinding(replay.bindingIndex, {
    vm,
    inode,
    fd: NaN,
    slot: NaN,
    gpa: page,
    offset,
    size: PAGE_SIZE,
    fromTs: ts,
    toTs: NaN,
    how: 'page cache insertion inside a fault',
    certainty: 'inferred',
  });
}

/** kvm_gmem_get_pfn(gfn) and kvm_gmem_get_folio(inode, index) on one thread are one page. */
export function noteFolio(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const pfn = thread.pfnGpa;
  thread.pfnGpa = null;
  if (!pfn || ev.ts - pfn.ts > PAIR_WITHIN_NS) return;
  addPair(replay, thread.vm, pfn.gpa, ev.inode, ev.address, ev.ts);
}

/** spte_requested of the frame that was just added inside this fault: its gfn is the page of that offset. */
export function noteRequestedFrame(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const added = thread.added;
  thread.added = null;
  if (!added || added.pfn !== ev.value || !thread.fault || !thread.vm) return;
  if (!isOfGmem(replay, thread.vm, thread.fault, added.dev)) return;
  // While the device was not known, its number may have been another file's as well.
  const isNews = Number.isNaN(replay.gmemDev) && replay.sources.sharedInodes.has(added.inode);
  replay.gmemDev = added.dev;
  if (isNews) setState(replay, thread.vm, ev.address, PAGE_SIZE, ev.ts, (state) => withAllocation(state, true));
  addPair(replay, thread.vm, ev.address, added.inode, added.offset, ev.ts);
}

/**
 * A page inserted by a vCPU thread inside its guest's fault, where kvm_mmu_spte_requested is not recorded: the page of
 * that gpa, unless the access was to the shared view of a VM whose shared memory lies elsewhere.
 */
export function noteInsertion(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { fault, vm } = thread;
  if (replay.sources.spteRequested || !fault || !vm || thread.request || Number.isNaN(thread.exitNs)) return;
  const { gpa } = splitGpa(vm, fault.address);
  if (gpa >= LOWEST_SHARED_BIT || !isOfGmem(replay, vm, fault, ev.extra)) return;
  addPair(replay, vm, gpa, ev.inode, ev.address, ev.ts);
}

/** KVM_X86_SNP_VM (arch/x86/include/uapi/asm/kvm.h): its private accesses always carry the bits that say so. */
const SNP_VM = 4;

/**
 * Whether a page that was inserted for a fault is the guest_memfd's. The backend of shared memory may have a page cache,
 * too (a memfd): where it is not in place, a shared access shows that one.
 */
function isOfGmem(replay: Replay, vm: VmState, fault: { address: number; code: number }, dev: number): boolean {
  if (!Number.isNaN(replay.gmemDev) && !Number.isNaN(dev)) return dev === replay.gmemDev;
  if (vm.inPlace) return true;
  // Its creation was seen, and no guest_memfd was made for it.
  if (!Number.isNaN(vm.identity.type) && !vm.identity.hasGmem) return false;
  const { gpa, wanted } = splitGpa(vm, fault.address);
  if (wanted !== null) return wanted === 'private';
  if (isPrivateAccess(fault.code)) return true;
  if (vm.identity.type === SNP_VM) return false;
  const state = stateAt(vm.map, gpa / PAGE_SIZE);
  // Where events are missing, the page may have been made shared unseen.
  if (replay.lossTimes.length > 0) return isAlready(state, 'to_private', lossesTillNow(replay));
  return !isSharedState(state);
}
