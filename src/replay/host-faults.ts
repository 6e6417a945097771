/**
 * The host's own faults on mappings of a guest_memfd (reference chapter 07 §13): a private offset is refused with SIGBUS,
 * BUS_ADRERR (kvm_gmem_fault_user_mapping in virt/kvm/guest_memfd.c). Other files raise it, too: it counts only in a
 * mapping of a guest_memfd, and not on pages known to be shared (there the file may just be shorter).
 */
import { PAGE_SIZE } from '../base/units.js';
import { isPrivateForSure, isSharedState } from './axes.js';
import { evidenceOf, type MemoryEvent } from './event.js';
import { stateAt } from './intervals.js';
import { lossesTillNow, stateOf, type Replay, type Thread, type VmState } from './state.js';

export const SIGBUS = 7;
/** VM_FAULT_SIGBUS (include/linux/mm_types.h). */
const VM_FAULT_SIGBUS = 2;
/** A fault's signal follows at once. */
const ONE_FAULT_NS = 1_000_000;

/** mmap(fd) enters; only of a descriptor that is known to be a guest_memfd. */
export function noteMmap(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const known = replay.identity.fdOf(thread.tid, ev.fd, ev.ts);
  if (known?.record.what !== 'gmem') return;
  const process = replay.identity.processOf(thread.tid, ev.ts);
  const { fd, size, value: offset } = ev;
  replay.hostFaults.mapping.set(thread.tid, { process, vm: known.vm, fd, size, offset });
}

/** mmap() returns where it put it, or an error. */
export function noteMmapResult(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { mapping, mappings } = replay.hostFaults;
  const made = mapping.get(thread.tid);
  mapping.delete(thread.tid);
  if (made && ev.result > 0) mappings.push({ ...made, hva: ev.result });
}

/** A fault of the host in userspace, by its address. */
export function noteHostFault(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { last, mappings } = replay.hostFaults;
  if (mappings.length > 0) last.set(thread.tid, { hva: ev.address, inode: NaN, offset: NaN, ts: ev.ts });
}

/** The guest_memfd's own fault handler names the page. */
export function noteGmemFault(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  replay.hostFaults.last.set(thread.tid, { hva: NaN, inode: ev.inode, offset: ev.address, ts: ev.ts });
}

/** What that handler returns: a refusal is observed. */
export function noteGmemFaultResult(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const fault = replay.hostFaults.last.get(thread.tid);
  if (!fault || Number.isNaN(fault.offset) || Math.floor(ev.result / VM_FAULT_SIGBUS) % 2 === 0) return;
  replay.hostFaults.last.delete(thread.tid);
  const bound = replay.bindings.findLast(
    (b) => b.inode === fault.inode && fault.offset >= b.offset && fault.offset < b.offset + b.size,
  );
  const gpa = bound ? fault.offset - bound.offset + bound.gpa : NaN;
  addAccess(replay, ev, bound?.vm ?? thread.vm, gpa, NaN);
}

/** SIGBUS: the fault before it on this thread, where that was in a mapping of a guest_memfd. */
export function noteSigbus(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const { last, mappings } = replay.hostFaults;
  const fault = last.get(thread.tid);
  last.delete(thread.tid);
  if (!fault || Number.isNaN(fault.hva) || ev.ts - fault.ts > ONE_FAULT_NS) return;
  const process = replay.identity.processOf(thread.tid, ev.ts);
  const mapping = mappings.findLast((m) => m.process === process && fault.hva >= m.hva && fault.hva < m.hva + m.size);
  if (!mapping) return;
  const { fd } = mapping;
  const vm = stateOf(replay, mapping.vm);
  const offset = Math.floor((fault.hva - mapping.hva + mapping.offset) / PAGE_SIZE) * PAGE_SIZE;
  const bound = replay.bindings.findLast(
    (b) => b.vm === vm && b.fd === fd && offset >= b.offset && offset < b.offset + b.size,
  );
  addAccess(replay, ev, vm, bound ? offset - bound.offset + bound.gpa : NaN, fault.hva);
}

function addAccess(replay: Replay, ev: MemoryEvent, vm: VmState | null, gpa: number, hva: number): void {
  const state = vm && !Number.isNaN(gpa) ? stateAt(vm.map, gpa / PAGE_SIZE) : 0;
  if (isSharedState(state)) return;
  replay.pkvm.accesses.push({
    vm,
    tid: ev.tid,
    ts: ev.ts,
    gpa,
    hva,
    pfn: NaN,
    how: 'sigbus',
    evidence: evidenceOf(ev),
    // Beyond the end of the file it looks the same: only of a page that is known to be private it is said.
    certainty: isPrivateForSure(state, lossesTillNow(replay)) ? 'inferred' : 'assumed',
  });
}
