/** How guests ask for a conversion on x86: hypercall, MapGPA, page state change (reference 02 §1, §5, §7). */
import { PAGE_SIZE } from '../base/units.js';
import { placeOf } from './faults.js';
import { emit, run } from './host.js';
import type { Flow } from './host.js';
import type { PinJob, Trouble, Vcpu } from './model.js';
import { probeAt } from './pages.js';
import { callRun, enterGuest, EXIT, exitToUser, leaveGuest } from './run.js';
import type { Conversion } from './truth.js';
import { satisfy } from './vmm.js';

/** A wish of the guest: pages [start, end) by gfn, all in one slot. */
export interface Ask {
  readonly start: number;
  readonly end: number;
  readonly isPrivate: boolean;
  readonly trouble: Trouble;
  readonly job: PinJob | null;
}

/** KVM_HC_MAP_GPA_RANGE and its argument for "to private" (asm/kvm_para.h). */
const KVM_HC_MAP_GPA_RANGE = 12;
const ENCRYPTED = 0x10;

/** tdx.c: TDX_MAP_GPA_MAX_LEN. */
const TDX_MAP_GPA_MAX_LEN = 2 * 2 ** 20;

export function beginConversion(vcpu: Vcpu, ask: Ask, mechanism: string, requestedNs: number): Conversion {
  const { vm, task } = vcpu;
  const place = placeOf(vm, ask.start);
  const conversion: Conversion = {
    vm: vm.id,
    vcpu: vcpu.index,
    tid: task.tid,
    gmem: place?.slot.gmem.id ?? null,
    gpa: ask.start * PAGE_SIZE,
    offset: place && place.index * PAGE_SIZE,
    size: (ask.end - ask.start) * PAGE_SIZE,
    direction: ask.isPrivate ? 'to_private' : 'to_shared',
    origin: 'explicit',
    mechanism,
    requested_ns: requestedNs,
    attempts: [],
    chunks: 0,
    outcome: 'pending',
    errno: null,
    ended_ns: null,
    resumed_ns: null,
    exit_ns: null,
  };
  vm.world.truth.conversions.push(conversion);
  return conversion;
}

function hypercallArgs(start: number, pages: number, isPrivate: boolean): [number, number, number, number] {
  return [KVM_HC_MAP_GPA_RANGE, start * PAGE_SIZE, pages, isPrivate ? ENCRYPTED : 0];
}

/** One exit to the VMM and its work on [start, end); gives what the VMM answers the guest. Ends before KVM_RUN. */
function* exitForRange(vcpu: Vcpu, ask: Ask, conversion: Conversion): Flow<number> {
  const { start, end, isPrivate } = ask;
  const exitNs = yield* exitToUser(vcpu, EXIT.HYPERCALL, { u: hypercallArgs(start, end - start, isPrivate) });
  conversion.exit_ns ??= exitNs;
  const order = {
    gpa: start * PAGE_SIZE,
    size: (end - start) * PAGE_SIZE,
    isPrivate,
    conversion,
    trouble: ask.trouble,
    job: ask.job,
  };
  const answer = yield* satisfy(vcpu.task, vcpu.vm, order);
  vcpu.run.ret = answer;
  return answer;
}

/** A software-protected VM's hypercall. Begins and ends in the guest. */
export function* askByHypercall(vcpu: Vcpu, ask: Ask): Flow<Conversion> {
  const requestedNs = yield* leaveGuest(vcpu, 'hypercall');
  const conversion = beginConversion(vcpu, ask, 'map-gpa-range', requestedNs);
  const [nr, a0, a1, a2] = hypercallArgs(ask.start, ask.end - ask.start, ask.isPrivate);
  yield* emit(vcpu.task, 'kvm_hypercall', { nr, a0, a1, a2, a3: vcpu.random.int(0, 0xffff) });
  yield* exitForRange(vcpu, ask, conversion);
  yield* callRun(vcpu);
  yield* resume(vcpu, conversion);
  return conversion;
}

function* resume(vcpu: Vcpu, conversion: Conversion): Flow {
  conversion.resumed_ns = yield* enterGuest(vcpu);
  conversion.stopNs = conversion.resumed_ns - conversion.requested_ns;
}

/** TDVMCALL<MapGPA>: exits of 2 MiB each, and the guest asks again for the rest when KVM says RETRY. */
export function* askByMapGpa(vcpu: Vcpu, ask: Ask): Flow<Conversion> {
  const { vm, task } = vcpu;
  let conversion: Conversion | null = null;
  let calls = 0;
  let next = ask.start;
  let isOver = false;
  while (!isOver) {
    const leftNs = yield* leaveGuest(vcpu, 'tdcall', [0xfc00, 0]);
    conversion ??= beginConversion(vcpu, ask, 'tdx-mapgpa', leftNs);
    conversion.mapgpa_calls = ++calls;
    let isRetry = false;
    while (!isRetry && !isOver) {
      const end = Math.min(ask.end, next + TDX_MAP_GPA_MAX_LEN / PAGE_SIZE);
      yield* probeMapGpa(vcpu, ask, next);
      const answer = yield* exitForRange(
        vcpu,
        { ...ask, ...troubleOnce(ask, conversion), start: next, end },
        conversion,
      );
      conversion.chunks++;
      yield* callRun(vcpu);
      yield* emit(
        task,
        'mapgpa_done',
        probeAt(task, 'mapgpa_done', { vcpu: vcpu.pointer, ret: answer, next: next * PAGE_SIZE }),
      );
      if (answer === 0) next = end;
      isOver = answer !== 0 || next >= ask.end;
      // an event waits for the guest: KVM breaks off and the guest asks for the rest
      isRetry = !isOver && vm.random.chance(0.3);
    }
    yield* resume(vcpu, conversion);
    if (isRetry) yield run(vcpu.random.int(4_000, 30_000));
  }
  return conversion!;
}

/** Trouble strikes one chunk only: the first. */
function troubleOnce(ask: Ask, conversion: Conversion): { readonly trouble: Trouble } {
  return { trouble: conversion.chunks === 0 || ask.job ? ask.trouble : {} };
}

function* probeMapGpa({ vm, task, pointer, index }: Vcpu, ask: Ask, next: number): Flow {
  const bit = ask.isPrivate ? 0 : vm.sharedBit;
  const values = { tdx: pointer, next: next * PAGE_SIZE + bit, end: ask.end * PAGE_SIZE + bit, vcpu_id: index };
  yield* emit(task, 'mapgpa', probeAt(task, 'mapgpa', values));
}

const GHCB_PSC = 0x80000010;

/** GHCB page state change: one exit a merged range, all in one stop of the guest. */
export function* askByPsc(vcpu: Vcpu, asks: readonly Ask[]): Flow<Conversion[]> {
  const { task } = vcpu;
  const requestedNs = yield* leaveGuest(vcpu, 'vmgexit');
  const vmgexit = { vcpu_id: vcpu.index, exit_reason: GHCB_PSC, info1: 0, info2: 0 };
  yield* emit(task, 'kvm_vmgexit_enter', vmgexit);
  const conversions: Conversion[] = [];
  let answer = 0;
  for (const [position, ask] of asks.entries()) {
    yield* emit(task, 'psc', probeAt(task, 'psc', { svm: vcpu.pointer }));
    const conversion = yield* askForPscRange(vcpu, ask, position === 0 ? requestedNs : null);
    conversion.batch = `${position + 1}/${asks.length}`;
    conversions.push(conversion);
    answer = vcpu.run.ret;
    yield* callRun(vcpu);
    // an error ends the request: the guest is told how far it came
    if (answer !== 0) break;
  }
  yield* emit(task, 'psc_done', probeAt(task, 'psc_done', { svm: vcpu.pointer, ret: answer === 0 ? 0 : 0x100000000n }));
  yield* emit(task, 'kvm_vmgexit_exit', { ...vmgexit, info2: answer === 0 ? 0 : 0x100000000n });
  const resumedNs = yield* enterGuest(vcpu);
  blameLongest(conversions, requestedNs, resumedNs);
  return conversions;
}

/** The second and later ranges of a batch have their own exit as the request. */
function* askForPscRange(vcpu: Vcpu, ask: Ask, requestedNs: number | null): Flow<Conversion> {
  const { start, end, isPrivate, trouble, job } = ask;
  const exitNs = yield* exitToUser(vcpu, EXIT.HYPERCALL, { u: hypercallArgs(start, end - start, isPrivate) });
  const conversion = beginConversion(vcpu, ask, 'snp-psc', requestedNs ?? exitNs);
  conversion.exit_ns = exitNs;
  const order = { gpa: start * PAGE_SIZE, size: (end - start) * PAGE_SIZE, isPrivate, conversion, trouble, job };
  vcpu.run.ret = yield* satisfy(vcpu.task, vcpu.vm, order);
  return conversion;
}

function blameLongest(conversions: readonly Conversion[], fromNs: number, toNs: number): void {
  const length = ({ requested_ns: from, ended_ns: to }: Conversion): number => (to ?? toNs) - from;
  const longest = conversions.reduce((best, one) => (length(one) > length(best) ? one : best));
  for (const conversion of conversions) conversion.resumed_ns = toNs;
  longest.stopNs = toNs - fromNs;
}

/** The MSR protocol of early boot: one page a request, its answer is not traced. */
export function* askByMsr(vcpu: Vcpu, ask: Ask): Flow<Conversion> {
  const { task } = vcpu;
  const requestedNs = yield* leaveGuest(vcpu, 'vmgexit');
  const operation = BigInt(ask.isPrivate ? 1 : 2);
  const ghcbGpa = (operation << 52n) | (BigInt(ask.start) << 12n) | 0x014n;
  yield* emit(task, 'kvm_vmgexit_msr_protocol_enter', { vcpu_id: vcpu.index, ghcb_gpa: ghcbGpa });
  yield* emit(task, 'kvm_vmgexit_msr_protocol_exit', { vcpu_id: vcpu.index, ghcb_gpa: ghcbGpa, result: 0 });
  const conversion = beginConversion(vcpu, { ...ask, end: ask.start + 1 }, 'snp-psc-msr', requestedNs);
  yield* exitForRange(vcpu, { ...ask, end: ask.start + 1 }, conversion);
  yield* callRun(vcpu);
  yield* resume(vcpu, conversion);
  return conversion;
}
