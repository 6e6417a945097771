/**
 * Requests: from the exit by which a guest asks (or faults on the wrong view) until its vCPU runs again, and the
 * conversion rows made of them (reference chapter 02, chapter 07 §0). One request waits on one vCPU thread.
 */
import { END_OF_MEMORY, PAGE_SIZE } from '../base/units.js';
import { isSev } from './platforms.js';
import { sharedBitOf } from './shared-bit.js';
import { logInterval } from './interval-log.js';
import { changeRange, forEachRun, type IntervalMap } from './intervals.js';
import {
  isAlready,
  withAttribute,
  withBlocked,
  withConversion,
  withDiscarding,
  withFlipping,
  withShareability,
} from './axes.js';
import type { Certainty } from './identity.js';
import {
  addConversion,
  lossesTillNow,
  lostWithin,
  type Attempt,
  type Conversion,
  type Direction,
  type NewConversion,
  type Outcome,
  type Replay,
  type Request,
  type Thread,
  type VmState,
} from './state.js';

/** A MapGPA that the kernel cuts into chunks of this size (arch/x86/kvm/vmx/tdx.c, TDX_MAP_GPA_MAX_LEN). */
export const TDX_CHUNK = 2 * 1024 * 1024;
/** A guest that was told RETRY asks for the rest at once. */
export const TDX_RETRY_WITHIN_NS = 1_000_000;

/** The error of an ioctl that met references (include/uapi/asm-generic/errno-base.h). */
const EAGAIN = 11;

/** A range whose place is known; a fault's address may carry the shared bit, so its page is known only with its answer. */
function isPlaced({ origin, gpa, size }: Request): boolean {
  return origin === 'explicit' && !Number.isNaN(gpa) && !Number.isNaN(size);
}

function markConverting(replay: Replay, request: Request, nowNs: number): void {
  const { vm, gpa, size, direction } = request;
  if (vm && isPlaced(request)) setState(replay, vm, gpa, size, nowNs, (state) => withConversion(state, direction));
}

/** The guest waits no more; where the trace ends first, it still does. */
function endConverting(replay: Replay, request: Request, nowNs: number): void {
  if (replay.isOver) return;
  const ranges = isPlaced(request) ? [request] : request.attempts;
  for (const { vm, gpa, size } of ranges)
    if (vm && !Number.isNaN(gpa) && !Number.isNaN(size))
      setState(replay, vm, gpa, size, nowNs, (state) => withConversion(state, null));
}

/** KVM has taken up an attempt whose range is known: in that range neither view is sure until the ioctl returns. */
export function markFlipping(replay: Replay, { vm, gpa, size, direction }: Attempt, nowNs: number): void {
  if (vm && direction && !Number.isNaN(gpa) && !Number.isNaN(size))
    setState(replay, vm, gpa, size, nowNs, (state) => withFlipping(state, direction));
}

/** Events of an attempt's thread are missing: whether it is still going on is not known. */
export function forgetFlipping(replay: Replay, { vm, gpa, size, proven }: Attempt, nowNs: number): void {
  if (vm && proven && !Number.isNaN(gpa) && !Number.isNaN(size))
    setState(replay, vm, gpa, size, nowNs, (state) => withConversion(state, null));
}

/** Changes the state of a gpa range of a VM; what ends becomes an interval row. */
export function setState(
  replay: Replay,
  vm: VmState,
  gpa: number,
  size: number,
  nowNs: number,
  change: (state: number) => number,
): void {
  if (!(gpa >= 0 && gpa + size <= END_OF_MEMORY)) return;
  changeRange(vm.map, gpa / PAGE_SIZE, size / PAGE_SIZE, change, nowNs, (first, count, state, sinceNs) => {
    if (sinceNs < nowNs) logInterval(replay.intervals, vm, first, count, state, sinceNs, nowNs);
  });
}

export function openRequest(replay: Replay, thread: Thread, request: Request): void {
  thread.request = request;
  request.vm?.requests.add(request);
  markConverting(replay, request, request.exitNs);
}

function overlaps(aStart: number, aSize: number, bStart: number, bSize: number): boolean {
  return aStart < bStart + bSize && bStart < aStart + aSize;
}

/** Whether an attempt can be the answer to a request. */
function answers(request: Request, attempt: Attempt): boolean {
  if (request.direction !== null && attempt.direction !== null && request.direction !== attempt.direction) return false;
  if (request.origin === 'implicit') {
    if (Number.isNaN(request.gpa)) return true;
    if (Number.isNaN(attempt.gpa)) return attempt.mechanism !== 'vm-attributes';
    return !Number.isNaN(sharedBitOf(request.gpa, attempt.gpa, attempt.size));
  }
  if (!request.rangeKnown || Number.isNaN(attempt.size)) return true;
  if (Number.isNaN(attempt.gpa)) return attempt.size <= request.size;
  return overlaps(request.gpa, request.size, attempt.gpa, attempt.size);
}

function attach(request: Request, attempt: Attempt): void {
  request.attempts.push(attempt);
  request.direction ??= attempt.direction;
  if (request.origin === 'implicit') learnFault(request, attempt);
  else if (!request.rangeKnown && !Number.isNaN(attempt.gpa)) growRange(request, attempt);
}

function learnFault(request: Request, attempt: Attempt): void {
  const fault = request.fault;
  if (!fault || !attempt.direction) return;
  fault.wanted = attempt.direction === 'to_private' ? 'private' : 'shared';
  if (Number.isNaN(attempt.gpa)) return;
  const bit = Number.isNaN(fault.address) ? NaN : sharedBitOf(fault.address, attempt.gpa, attempt.size);
  if (bit > 0 && attempt.direction === 'to_shared' && request.vm) request.vm.sharedBit = bit;
  const page = Math.floor(fault.address / PAGE_SIZE) * PAGE_SIZE - (bit > 0 ? bit : 0);
  fault.gpa = Number.isNaN(page) || Number.isNaN(bit) ? attempt.gpa : page;
}

/** TDX and SNP do not show the range asked for: it is what was converted, chunk by chunk. */
function growRange(request: Request, attempt: Attempt): void {
  if (Number.isNaN(request.gpa)) {
    request.gpa = attempt.gpa;
    request.size = attempt.size;
    return;
  }
  const end = Math.max(request.gpa + request.size, attempt.gpa + attempt.size);
  request.gpa = Math.min(request.gpa, attempt.gpa);
  request.size = end - request.gpa;
}

function certaintyOfAttempt(attempt: Attempt): Certainty {
  return Number.isNaN(attempt.errno) ? 'inferred' : 'observed';
}

/** Whether the whole range is in the wanted state already, as far as that was seen. */
function isAsWanted(
  { lossTimes: { length: losses } }: Replay,
  { vm, gpa, size, direction }: Pick<Attempt, 'vm' | 'gpa' | 'size' | 'direction'>,
): boolean {
  if (!vm || Number.isNaN(gpa) || !direction || Number.isNaN(size)) return false;
  const first = gpa / PAGE_SIZE;
  const pages = size / PAGE_SIZE;
  let already = 0;
  forEachRun(vm.map, first, pages, (_first, count, state) => {
    if (isAlready(state, direction, losses)) already += count;
  });
  return already === pages;
}

/** The trace or the thread ended inside it, though its end would have been recorded: nobody knows what came of it. */
function isOpen(attempt: Attempt): boolean {
  return attempt.endsBy !== 'event' && Number.isNaN(attempt.endNs) && Number.isNaN(attempt.errno);
}

function clearPages(map: IntervalMap, { gpa, size }: Attempt): void {
  changeRange(
    map,
    gpa / PAGE_SIZE,
    size / PAGE_SIZE,
    () => 0,
    0,
    () => undefined,
  );
}

/** A conversion in place fails while anybody holds a page (EAGAIN): without its result nobody can tell. */
function hidesResult({ errno, mechanism }: Attempt): boolean {
  return Number.isNaN(errno) && mechanism !== 'vm-attributes';
}

/** The ioctl failed: a guest that asked still waits, and for references that are in the way; else all is as before. */
function applyFailure(
  replay: Replay,
  { vm, gpa, size, errno, endNs }: Attempt,
  direction: Direction,
  waits: boolean,
): void {
  const isBlocked = waits && errno === EAGAIN && direction === 'to_private';
  setState(replay, vm!, gpa, size, Number.isNaN(endNs) ? replay.lastNs : endNs, (state) =>
    isBlocked ? withBlocked(state) : withConversion(state, waits ? direction : null),
  );
}

/** `waits`: the guest that asked for it waits until its vCPU runs again. */
function applyResult(replay: Replay, attempt: Attempt, waits: boolean): void {
  if (isOpen(attempt)) return;
  if (!attempt.vm || !attempt.direction || Number.isNaN(attempt.gpa) || Number.isNaN(attempt.size)) return;
  const { direction } = attempt;
  if (attempt.errno > 0) return applyFailure(replay, attempt, direction, waits);
  const losses = lossesTillNow(replay);
  const certainty = hidesResult(attempt) ? 'assumed' : certaintyOfAttempt(attempt);
  const at = Number.isNaN(attempt.endNs) ? attempt.startNs : attempt.endNs;
  const isOfVm = attempt.mechanism === 'vm-attributes';
  const set = isOfVm ? withAttribute : withShareability;
  const discards = waits && isOfVm && direction === 'to_shared';
  setState(replay, attempt.vm, attempt.gpa, attempt.size, at, (state) => {
    const flipped = set(state, direction, certainty, losses);
    return discards ? withDiscarding(flipped) : withConversion(flipped, null);
  });
  clearPages(attempt.vm.carried, attempt);
}

/** Finds whom a finished attempt belongs to, and applies it to the state. */
export function settleAttempt(replay: Replay, thread: Thread, attempt: Attempt): void {
  attempt.noop = !isOpen(attempt) && !(attempt.errno > 0) && isAsWanted(replay, attempt);
  const request = requestOf(thread, attempt);
  applyResult(replay, attempt, request !== null);
  if (attempt.direction === 'to_shared' && !(attempt.errno > 0)) thread.lastShared = attempt;
  if (request) attach(request, attempt);
  else settleUnasked(replay, thread, attempt);
}

/** The wish that an attempt answers: its own thread's, else one of another vCPU whose range it is in. */
function requestOf({ request: own }: Thread, attempt: Attempt): Request | null {
  if (own && answers(own, attempt)) return own;
  for (const request of attempt.vm?.requests ?? [])
    if (request !== own && request.rangeKnown && answers(request, attempt)) return request;
  return null;
}

function outcomeOf(attempt: Attempt): Outcome {
  if (isOpen(attempt)) return 'pending';
  if (hidesResult(attempt)) return 'unknown';
  return attempt.errno > 0 ? 'failed' : 'done';
}

/** Where exits to userspace are not recorded, a vCPU's thread may convert because its guest asked. */
function mayBeAsked({ sources }: Replay, thread: Thread, vm: VmState | null): boolean {
  if (sources.userExits) return false;
  const showsRuns = sources.ioctls || sources.guestEntries;
  return !showsRuns || ((vm === null || vm.boot.hasRun) && !Number.isNaN(thread.vcpu));
}

/** Nobody asked: the VMM converts by itself. A retry after EAGAIN belongs to the same wish. */
function settleUnasked(replay: Replay, thread: Thread, attempt: Attempt): void {
  const last = thread.lastVmm;
  const isRetry =
    last !== null &&
    last.outcome === 'failed' &&
    last.vm === attempt.vm &&
    last.epoch === (attempt.vm?.epoch ?? 0) &&
    last.direction === attempt.direction &&
    last.size === attempt.size &&
    (last.gpa === attempt.gpa || last.offset === attempt.offset);
  if (isRetry) {
    last.addAttempts([attempt]);
    last.commitNs = attempt.endNs;
    last.outcome = outcomeOf(attempt);
    return;
  }
  const row: NewConversion = {
    vm: attempt.vm,
    vcpu: NaN,
    tid: attempt.tid,
    gpa: attempt.gpa,
    offset: attempt.offset,
    inode: attempt.inode,
    size: attempt.size,
    direction: attempt.direction,
    origin: 'vmm',
    way: 'none',
    mechanism: attempt.mechanism,
    outcome: attempt.noop ? 'noop' : outcomeOf(attempt),
    requestNs: attempt.startNs,
    exitNs: NaN,
    commitNs: attempt.endNs,
    resumeNs: NaN,
    firstUseNs: NaN,
    stopNs: NaN,
    runnableNs: 0,
    sleepingNs: 0,
    blockedNs: 0,
    attempts: [attempt],
    chunks: 0,
    batch: 0,
    epoch: attempt.vm?.epoch ?? 0,
    evidence: attempt.evidence,
    certainty: thread.tainted || mayBeAsked(replay, thread, attempt.vm) ? 'assumed' : certaintyOfAttempt(attempt),
  };
  thread.lastVmm = addConversion(replay, row);
}

function coveredBytes(request: Request): number {
  const done = request.attempts.filter((a) => !(a.errno > 0) && !Number.isNaN(a.gpa)).sort((a, b) => a.gpa - b.gpa);
  let end = request.gpa;
  let bytes = 0;
  for (const attempt of done) {
    const from = Math.max(end, attempt.gpa);
    const to = Math.min(request.gpa + request.size, attempt.gpa + attempt.size);
    if (to > from) {
      bytes += to - from;
      end = to;
    }
  }
  return bytes;
}

/**
 * Whether an ioctl that answered this request would have been seen: only then its absence says anything. A recorder may
 * have followed the vCPU threads alone, and another thread converts: the VM's making must have been seen, or a conversion.
 */
function absenceCounts(replay: Replay, { vm, exitNs }: Request): boolean {
  if (vm === null || lostWithin(replay, exitNs, replay.lastNs)) return false;
  const { sources } = replay;
  if (sources.ioctls && sources.ioctlExits)
    return vm.usesIoctls && (vm.usesAttrEvents || vm.inPlace || !Number.isNaN(vm.identity.type));
  return sources.attrEvents && vm.usesAttrEvents;
}

function judge(replay: Replay, request: Request, resumed: boolean): { outcome: Outcome; certainty: Certainty } {
  const last = request.attempts[request.attempts.length - 1];
  if (last) {
    const certainty: Certainty = Number.isNaN(last.errno) ? 'inferred' : 'observed';
    if (isOpen(last)) return { outcome: resumed ? 'unknown' : 'pending', certainty };
    if (last.errno > 0) return { outcome: resumed ? 'failed' : 'pending', certainty };
    if (hidesResult(last)) return { outcome: 'unknown', certainty };
    const isPartial =
      request.rangeKnown &&
      request.origin === 'explicit' &&
      !Number.isNaN(last.gpa) &&
      coveredBytes(request) < request.size;
    if (isPartial) return { outcome: resumed ? 'failed' : 'pending', certainty: 'inferred' };
    const outcome = request.attempts.every((a) => a.noop) ? 'noop' : 'done';
    return { outcome, certainty: resumed ? certainty : 'inferred' };
  }
  if (!resumed) return { outcome: 'pending', certainty: 'observed' };
  if (request.answer > 0) return { outcome: 'refused', certainty: 'observed' };
  // Nothing to do and told so, or refused: without the answer nobody can tell.
  if (isAsWanted(replay, request)) return { outcome: request.answer === 0 ? 'noop' : 'unknown', certainty: 'inferred' };
  if (request.answer === 0) return { outcome: 'unknown', certainty: 'inferred' };
  if (absenceCounts(replay, request)) return { outcome: 'refused', certainty: 'inferred' };
  return { outcome: 'unknown', certainty: 'inferred' };
}

/** The offsets that the attempts were on, from the first to the last; null where any is not known. */
function reachOf({ attempts }: Request): { inode: number; offset: number; size: number } | null {
  const inode = attempts[0]?.inode ?? NaN;
  if (attempts.length === 0 || attempts.some((a) => Number.isNaN(a.offset) || a.inode !== inode)) return null;
  const offset = Math.min(...attempts.map((a) => a.offset));
  return { inode, offset, size: Math.max(...attempts.map((a) => a.offset + a.size)) - offset };
}

function rowOf(request: Request, resumeNs: number, outcome: Outcome, certainty: Certainty): NewConversion {
  const last = request.attempts[request.attempts.length - 1];
  const reach = reachOf(request);
  const isImplicit = request.origin === 'implicit';
  const asked = isImplicit ? (last?.size ?? NaN) : request.size;
  const size = Number.isNaN(asked) ? (reach?.size ?? last?.size ?? NaN) : asked;
  return {
    vm: request.vm ?? last?.vm ?? null,
    vcpu: request.vcpu,
    tid: request.tid,
    gpa: isImplicit ? (last?.gpa ?? NaN) : request.gpa,
    // Where part of the range was not seen being converted, its offset is found by its gpa (settle.ts).
    offset: reach && reach.size === size ? reach.offset : NaN,
    inode: last?.inode ?? NaN,
    size,
    direction: request.direction,
    origin: request.origin,
    way: request.way,
    mechanism: last?.mechanism ?? 'unknown',
    outcome,
    requestNs: request.requestNs,
    exitNs: request.exitNs,
    commitNs: last && !(last.errno > 0) ? last.endNs : NaN,
    resumeNs,
    firstUseNs: NaN,
    runnableNs: request.runnableNs,
    sleepingNs: request.sleepingNs,
    blockedNs: request.blockedNs,
    stopNs: resumeNs - (Number.isNaN(request.requestNs) ? request.exitNs : request.requestNs),
    attempts: request.attempts,
    chunks: request.chunks,
    batch: request.batch,
    epoch: request.epoch,
    evidence: request.evidence,
    certainty,
  };
}

/**
 * The request is over: its vCPU runs again at `resumeNs`; NaN: it never did (the trace or the thread ended first) or,
 * with `resumed`, when it did was not seen.
 */
export function closeRequest(
  replay: Replay,
  thread: Thread,
  resumeNs: number,
  resumed = !Number.isNaN(resumeNs),
): Conversion | null {
  const request = thread.request;
  if (!request) return null;
  thread.request = null;
  request.vm?.requests.delete(request);
  const endNs = Number.isNaN(resumeNs) ? replay.lastNs : resumeNs;
  endConverting(replay, request, endNs);
  if (request.fault) request.fault.resumeNs = resumeNs;
  if (request.origin === 'implicit' && request.attempts.length === 0) return null;
  const { outcome, certainty } = judge(replay, request, resumed);
  const row = keepRow(replay, request, rowOf(request, resumeNs, outcome, certainty));
  const last = request.attempts[request.attempts.length - 1];
  const { rangeKnown } = request;
  thread.unfinished = resumed && last && mayGoOn(request, last) ? { row, rangeKnown } : null;
  return row;
}

/**
 * Events of the thread are missing from `atNs` on, or the trace ends there: a guest that was just told to ask for the
 * rest may have done so unseen.
 */
export function doubtUnfinished(thread: Thread, atNs: number): void {
  const { unfinished } = thread;
  thread.unfinished = null;
  if (!unfinished || atNs - unfinished.row.resumeNs > TDX_RETRY_WITHIN_NS) return;
  const { row, rangeKnown } = unfinished;
  if (!rangeKnown) row.certainty = 'assumed';
  row.outcome = 'unknown';
  row.commitNs = NaN;
  row.resumeNs = NaN;
  row.stopNs = NaN;
}

function keepRow(replay: Replay, request: Request, made: NewConversion): Conversion {
  const merged = mergeContinuation(replay, made);
  if (merged) return merged;
  const row = addConversion(replay, made);
  if (request.isGuess) row.certainty = 'assumed';
  if (request.fault) {
    request.fault.conversion = row;
    if (row.outcome === 'failed') request.fault.cause = 'pending-conversion';
  }
  if (row.vm && row.outcome === 'done') {
    row.vm.awaitingUse.push(row);
    if (row.vm.awaitingUse.length > 256) row.vm.awaitingUse.shift();
  }
  return row;
}

/**
 * The guest asked and runs on without an exit to userspace: KVM itself refused. Hypercall and MSR request are traced
 * before any check (arch/x86/kvm/x86.c, ____kvm_emulate_hypercall); without a range it may have been anything.
 */
export function noteUnforwarded(replay: Replay, thread: Thread, resumeNs: number): void {
  const { asked, exitNs, exitEvidence, vm } = thread;
  // What KVM answers on arm64: pkvm-calls.ts.
  if (!asked || asked.way === 'pkvm-hvc' || isSev(replay, vm)) return;
  if (Number.isNaN(asked.size) || !exitEvidence || !replay.sources.userExits) return;
  if (Number.isNaN(exitNs) || lostWithin(replay, exitNs, resumeNs)) return;
  const request: Request = {
    ...asked,
    tid: thread.tid,
    vcpu: thread.vcpu,
    vm,
    origin: 'explicit',
    requestNs: exitNs,
    exitNs: NaN,
    attempts: [],
    chunks: 0,
    batch: 0,
    answer: NaN,
    runnableNs: 0,
    sleepingNs: 0,
    blockedNs: 0,
    fault: null,
    evidence: exitEvidence,
    epoch: vm?.epoch ?? 0,
    rangeKnown: true,
    isGuess: false,
  };
  addConversion(replay, rowOf(request, resumeNs, 'refused', 'inferred'));
}

/** A MapGPA that was answered RETRY goes on with the next address: one wish, one row (DESIGN chapter 3). */
function mergeContinuation(replay: Replay, row: NewConversion): Conversion | null {
  if (row.way !== 'tdx-mapgpa' || row.attempts.length === 0) return null;
  const before = replay.lastMapGpa.get(row.tid);
  const last = before?.attempts.at(-1);
  if (!before || !last || before.direction !== row.direction || before.vm !== row.vm) return null;
  const next = row.attempts[0]!;
  const isNext =
    next.gpa === last.gpa + last.size || (next.inode === last.inode && next.offset === last.offset + last.size);
  // Where an exit or entry of the guest was not seen, what came next to it bounds the time that the guest had.
  const asked = Number.isNaN(row.requestNs) ? row.exitNs : row.requestNs;
  const told = Number.isNaN(before.resumeNs) ? before.commitNs : before.resumeNs;
  const goesOn = last.size === TDX_CHUNK && isNext && asked - told <= TDX_RETRY_WITHIN_NS;
  if (!goesOn) return null;
  before.size = Math.max(before.gpa + before.size, row.gpa + row.size) - before.gpa;
  before.addAttempts(row.attempts);
  before.commitNs = row.commitNs;
  before.resumeNs = row.resumeNs;
  before.stopNs += row.stopNs;
  before.chunks += row.chunks;
  before.outcome = row.outcome;
  if (row.certainty !== 'observed' && before.certainty !== 'assumed') before.certainty = row.certainty;
  return before;
}

/** Lost events hide how the request went on: it is kept with what was seen, its outcome unknown. */
export function abandonRequest(replay: Replay, thread: Thread, atNs: number): void {
  const request = thread.request;
  if (!request) return;
  thread.request = null;
  request.vm?.requests.delete(request);
  endConverting(replay, request, atNs);
  if (request.origin === 'implicit' && request.attempts.length === 0) return;
  const last = request.attempts[request.attempts.length - 1];
  const isDone = last !== undefined && !(last.errno > 0) && !mayGoOn(request, last);
  const row = rowOf(request, NaN, isDone ? 'done' : 'unknown', 'inferred');
  if (!isDone) row.commitNs = NaN;
  // Chunks that nobody saw may belong to it: then its size is a guess.
  if (last && !request.rangeKnown && mayGoOn(request, last)) row.certainty = 'assumed';
  const kept = keepRow(replay, request, row);
  // The guest did ask for the rest: this was it.
  if (kept.index === thread.unfinished?.row.index) thread.unfinished = null;
}

/** Whether more chunks of a MapGPA may follow the last one seen. */
function mayGoOn({ way, rangeKnown, attempts, size }: Request, last: Attempt): boolean {
  if (way !== 'tdx-mapgpa') return false;
  if (!rangeKnown) return last.size === TDX_CHUNK;
  return attempts.reduce((sum, attempt) => sum + (attempt.errno > 0 ? 0 : attempt.size), 0) < size;
}
