/** How guests ask on arm64: the planned bookkeeping ioctl after EL2 (reference 02 §8), KVM_EXIT_UNSHARE (02 §4), and a realm's RIPAS (02 §9). */
import { PAGE_SIZE } from '../base/units.js';
import { placeOf } from './faults.js';
import { EFAULT } from './calls.js';
import { emit, run, sleep } from './host.js';
import type { Flow } from './host.js';
import type { Page, Vcpu } from './model.js';
import { drainBatch, dropRef, takeRef, unmapHost } from './pages.js';
import { askDrop } from './pins.js';
import { setRange } from './ranges.js';
import { beginConversion } from './requests.js';
import type { Ask } from './requests.js';
import { callRun, enterGuest, EXIT, exitToUser, leaveGuest } from './run.js';
import type { Conversion } from './truth.js';
import { satisfy } from './vmm.js';

/** SMCCC ids of pKVM's guest calls. */
const MEM_SHARE = 0xc6000003;
const MEM_UNSHARE = 0xc6000004;

/** pKVM with guest_memfd: EL2 has done it already, the VMM records it by the ioctl. One page a call. */
export function* askByHvc(vcpu: Vcpu, ask: Ask): Flow<Conversion> {
  const requestedNs = yield* leaveForHvc(vcpu, ask.isPrivate);
  const conversion = beginConversion(vcpu, ask, 'pkvm-hvc', requestedNs);
  const gpa = ask.start * PAGE_SIZE;
  conversion.exit_ns = yield* exitToUser(vcpu, EXIT.HYPERCALL, { u: [12, gpa, 1, ask.isPrivate ? 0x10 : 0] });
  const order = { gpa, size: PAGE_SIZE, isPrivate: ask.isPrivate, conversion, trouble: ask.trouble, job: ask.job };
  vcpu.run.ret = yield* satisfy(vcpu.task, vcpu.vm, order);
  yield* callRun(vcpu);
  conversion.resumed_ns = yield* enterGuest(vcpu);
  conversion.stopNs = conversion.resumed_ns - requestedNs;
  return conversion;
}

function* leaveForHvc(vcpu: Vcpu, isPrivate: boolean): Flow<number> {
  const at = yield* leaveGuest(vcpu, 'hypercall');
  const r0 = isPrivate ? MEM_UNSHARE : MEM_SHARE;
  yield* emit(vcpu.task, 'kvm_hvc_arm64', { vcpu_pc: vcpu.rip, r0, imm: 0 });
  return at;
}

/**
 * A realm's RSI_IPA_STATE_SET: the RMM makes its REC exit, and KVM hands the range on as a memory fault
 * (rec_exit_ripas_change of the CCA series). No tracepoint names the call; the RMM does its part when the REC runs again.
 */
export function* askByRipas(vcpu: Vcpu, ask: Ask): Flow<Conversion> {
  const { start, end, isPrivate, trouble, job } = ask;
  const requestedNs = yield* leaveGuest(vcpu, 'ripas');
  const conversion = beginConversion(vcpu, ask, 'rsi-ipa-state-set', requestedNs);
  const gpa = start * PAGE_SIZE;
  const size = (end - start) * PAGE_SIZE;
  conversion.exit_ns = yield* exitToUser(vcpu, EXIT.MEMORY_FAULT, {
    u: [isPrivate ? 8 : 0, gpa, size, 0],
    errno: EFAULT,
  });
  yield* satisfy(vcpu.task, vcpu.vm, { gpa, size, isPrivate, conversion, trouble, job });
  yield* callRun(vcpu);
  conversion.resumed_ns = yield* enterGuest(vcpu);
  conversion.stopNs = conversion.resumed_ns - requestedNs;
  return conversion;
}

/** Exits after which a reference that is never dropped still makes KVM exit again: the trace ends before it stops. */
const MOST_EXITS = 40;

/** KVM_EXIT_UNSHARE: the host's view goes at once; whether references remain is looked at in the next KVM_RUN. */
export function* askByUnshare(vcpu: Vcpu, ask: Ask): Flow<Conversion> {
  const { vm, task, random } = vcpu;
  const { slot, index } = placeOf(vm, ask.start)!;
  const { gmem } = slot;
  const hva = slot.hva + (ask.start * PAGE_SIZE - slot.gpa);
  const requestedNs = yield* leaveForHvc(vcpu, true);
  const conversion = beginConversion(vcpu, ask, 'vcpu-run', requestedNs);
  conversion.attempts = null;
  vm.leaves.delete(ask.start);
  yield* unmapHost(task, { gmem, first: index, end: index + 1, hva });
  conversion.exit_ns = yield* exitUnshare(vcpu, ask.start);
  const letsGuestRun =
    ask.trouble.blockedTries !== undefined && random.chance(0.4) && ask.trouble.blockedTries !== Infinity;
  conversion.case = ask.job === null || ask.trouble.blockedTries === 1 ? '1' : letsGuestRun ? '2b' : '2a';
  conversion.exits = 1;
  if (conversion.case === '2b') yield* runUnconverted(vcpu, ask, conversion);
  else yield* loopUntilFree(vcpu, ask, conversion);
  const page = gmem.pages.get(index);
  if (conversion.outcome === 'done' && page) setRange(gmem.attributes, index, index + 1, 1);
  return conversion;
}

function* exitUnshare(vcpu: Vcpu, gfn: number): Flow<number> {
  return yield* exitToUser(vcpu, EXIT.UNSHARE, { u: [8, gfn * PAGE_SIZE, PAGE_SIZE, 0] });
}

/** Cases 1 and 2, alternative 1: KVM_RUN exits again, without a kvm_entry, until nobody holds the page. */
function* loopUntilFree(vcpu: Vcpu, ask: Ask, conversion: Conversion): Flow {
  const { blockedTries = 0, stallNs = 0 } = ask.trouble;
  if (stallNs > 0) yield* sleep(stallNs);
  for (;;) {
    const isLast = conversion.exits! >= blockedTries;
    if (ask.job && isLast) {
      yield* askDrop(ask.job);
      yield* sleep(60_000);
    } else if (ask.job) yield* sleep(vcpu.random.int(200_000, 900_000) * (blockedTries === Infinity ? 20 : 1));
    else yield run(vcpu.random.int(4_000, 12_000), true);
    yield* callRun(vcpu);
    if (yield* isFree(vcpu, ask.start)) break;
    if (conversion.exits! >= MOST_EXITS) return yield* giveUp(vcpu, conversion);
    yield* exitUnshare(vcpu, ask.start);
    conversion.exits!++;
  }
  conversion.outcome = 'done';
  conversion.resumed_ns = yield* enterGuest(vcpu);
  conversion.ended_ns = conversion.resumed_ns;
  conversion.stopNs = conversion.resumed_ns - conversion.requested_ns;
}

/** The vCPU stays in its loop of exits as long as the trace goes on. */
function* giveUp(vcpu: Vcpu, conversion: Conversion): Flow {
  yield* exitUnshare(vcpu, conversion.gpa / PAGE_SIZE);
  conversion.exits!++;
  conversion.stopNs = vcpu.task.host.now - conversion.requested_ns;
  vcpu.wishes = [];
  yield* sleep(20_000_000);
  yield* callRun(vcpu);
  yield* exitUnshare(vcpu, conversion.gpa / PAGE_SIZE);
  conversion.exits!++;
  vcpu.isStuck = true;
}

/** Case 2, alternative 2: the guest goes on, and stops where it touches the page. */
function* runUnconverted(vcpu: Vcpu, ask: Ask, conversion: Conversion): Flow {
  yield run(vcpu.random.int(4_000, 12_000), true);
  yield* callRun(vcpu);
  yield* isFree(vcpu, ask.start);
  conversion.resumed_ns = yield* enterGuest(vcpu);
  yield run(vcpu.random.int(100_000, 400_000));
  const stoppedNs = yield* leaveGuest(vcpu, 'fault');
  const gpa = ask.start * PAGE_SIZE;
  yield* emit(vcpu.task, 'kvm_guest_fault', { vcpu_pc: vcpu.rip, hsr: 0x92000047, hxfar: 0, ipa: gpa });
  yield* exitUnshare(vcpu, ask.start);
  conversion.exits!++;
  if (ask.trouble.stallNs !== undefined) yield* sleep(ask.trouble.stallNs);
  yield* askDrop(ask.job!);
  yield* sleep(60_000);
  yield* callRun(vcpu);
  yield* isFree(vcpu, ask.start);
  conversion.outcome = 'done';
  conversion.ended_ns = yield* enterGuest(vcpu);
  conversion.stopNs = Math.max(conversion.ended_ns - stoppedNs, conversion.resumed_ns - conversion.requested_ns);
}

/** KVM's look at the references of the page in KVM_RUN. */
function* isFree(vcpu: Vcpu, gfn: number): Flow<boolean> {
  const { vm, task } = vcpu;
  const { slot, index } = placeOf(vm, gfn)!;
  const page: Page | undefined = slot.gmem.pages.get(index);
  if (!page) return true;
  yield* drainBatch(task, slot.gmem, page);
  yield* takeRef(task, slot.gmem, page);
  const isUnheld = page.refs === 2;
  yield* dropRef(task, slot.gmem, page);
  return isUnheld;
}
