/** A vCPU's thread: the guest lives, asks for conversions, touches memory, and reboots. */
import { PAGE_SIZE } from '../base/units.js';
import { askByHvc, askByRipas, askByUnshare } from './arm-requests.js';
import { isPrivate, placeOf, touch } from './faults.js';
import { raise, run, waitFor } from './host.js';
import type { Flow, Task } from './host.js';
import type { PinJob, Vcpu, Wish } from './model.js';
import { hostFault } from './pages.js';
import { pinPage } from './pins.js';
import { reboot } from './reboot.js';
import { askByHypercall, askByMapGpa, askByMsr, askByPsc } from './requests.js';
import type { Ask } from './requests.js';
import { callRun, enterGuest, EXIT, exitToUser, leaveGuest, runGuest, waitForReset } from './run.js';
import { EINTR } from './calls.js';

/** Sizes that guests ask for, in pages; limited by what a platform's request can carry. */
const SIZES = [1, 1, 2, 5, 16, 16, 64, 512, 512, 2048] as const;

/** Pages that a guest touches right after a conversion; the rest when it gets to them. */
const TOUCHED_AT_ONCE = 3;

/** All that the vCPU's thread does, from its first KVM_RUN to the end of its VM. */
export function* liveVcpu(task: Task, vcpu: Vcpu): Flow {
  vcpu.task = task;
  yield* callRun(vcpu);
  yield* enterGuest(vcpu);
  for (let wish = vcpu.wishes.shift(); wish; wish = vcpu.wishes.shift()) {
    yield* runGuest(vcpu, vcpu.random.int(200_000, 3_000_000));
    yield* doWish(vcpu, wish);
  }
  yield* stayIdle(vcpu);
}

/** HLT until the VM ends; a reboot wakes it. */
function* stayIdle(vcpu: Vcpu): Flow {
  const { vm } = vcpu;
  let isHalted = !vcpu.isStuck;
  if (isHalted) yield* leaveGuest(vcpu, 'halt');
  vm.finished++;
  raise(vm.changed);
  for (;;) {
    yield* waitFor(vm.changed, () => vm.isEnding || vm.isResetting);
    if (!vm.isResetting) break;
    if (isHalted) yield* exitToUser(vcpu, EXIT.INTR, { errno: EINTR });
    yield* waitForReset(vcpu);
    yield* callRun(vcpu);
    yield* enterGuest(vcpu);
    yield* leaveGuest(vcpu, 'halt');
    isHalted = true;
  }
  if (isHalted) yield* exitToUser(vcpu, EXIT.INTR, { errno: EINTR });
}

function* doWish(vcpu: Vcpu, wish: Wish): Flow {
  if (wish.kind === 'reboot') return yield* rebootGuest(vcpu);
  if (wish.kind === 'implicit') return yield* touchOther(vcpu, wish.trouble.stallNs);
  if (vcpu.vm.mechanism === 'vcpu-run') return yield* unshareOne(vcpu, wish);
  if (vcpu.vm.world.isInPlace && wish.trouble.blockedTries !== undefined && vcpu.sharedRanges.length === 0) {
    yield* doWish(vcpu, { kind: 'to-shared', trouble: {} });
  }
  const asks = chooseAsks(vcpu, wish);
  if (asks.length === 0) return;
  const job =
    wish.trouble.blockedTries === undefined ? null : yield* pinSome(vcpu, asks[0]!, wish.trouble.blockedTries);
  const isMoot = vcpu.vm.world.isInPlace && wish.trouble.blockedTries !== undefined && job === null;
  const first: Ask = { ...asks[0]!, job, trouble: isMoot ? {} : wish.trouble };
  const done = yield* askFor(vcpu, [first, ...asks.slice(1)]);
  for (const [position, ask] of asks.entries()) {
    if (!done[position]) continue;
    remember(vcpu, ask);
    yield* touchSome(vcpu, ask);
  }
}

/** Pages that stay shared over a reboot without reset, and of them those that the new kernel takes for private. */
const LEFT_SHARED = 48;
const SWEPT = 32;

/** A reboot; where nobody resets the memory, the new kernel finds pages shared that it takes for private. */
function* rebootGuest(vcpu: Vcpu): Flow {
  const { vm, random } = vcpu;
  const { platform, reset } = vm.world.options;
  const isStale = platform === 'x86-sw' && !reset;
  if (isStale) {
    const range = choosePrivate(vcpu, [], LEFT_SHARED);
    const ask = range && { ...range, isPrivate: false, trouble: {}, job: null };
    if (ask && (yield* askFor(vcpu, [ask]))[0] === true) remember(vcpu, ask);
  }
  const record = yield* reboot(vcpu);
  if (!isStale) return;
  let left = random.chance(0.75) ? SWEPT : 4;
  for (const range of vcpu.sharedRanges.map((one) => ({ ...one }))) {
    for (let gfn = range.start; gfn < range.end && left > 0; gfn++, left--) {
      yield run(random.int(2_000, 60_000));
      const isExcess = !isPrivate(vm, gfn);
      yield* touch(vcpu, gfn, true);
      if (isExcess) record.faults++;
      remember(vcpu, { start: gfn, end: gfn + 1, isPrivate: true, trouble: {}, job: null });
    }
  }
}

/** Sends the request of the platform; says of each range whether the guest may use it now. */
function* askFor(vcpu: Vcpu, asks: readonly Ask[]): Flow<boolean[]> {
  const { platform } = vcpu.vm.world.options;
  const [ask] = asks as readonly [Ask];
  if (platform === 'snp') {
    const isEarly = ask.end - ask.start === 1 && asks.length === 1;
    const conversions = isEarly ? [yield* askByMsr(vcpu, ask)] : yield* askByPsc(vcpu, asks);
    return asks.map((_, i) => isUsable(conversions[i]?.outcome));
  }
  const conversion =
    platform === 'tdx'
      ? yield* askByMapGpa(vcpu, ask)
      : platform === 'pkvm'
        ? yield* askByHvc(vcpu, ask)
        : platform === 'cca'
          ? yield* askByRipas(vcpu, ask)
          : yield* askByHypercall(vcpu, ask);
  return [isUsable(conversion.outcome)];
}

function isUsable(outcome: string | undefined): boolean {
  return outcome === 'done' || outcome === 'noop';
}

/** The ranges of one request: several of them only where a request can carry a list. */
function chooseAsks(vcpu: Vcpu, wish: Exclude<Wish, { readonly kind: 'reboot' }>): Ask[] {
  const { platform } = vcpu.vm.world.options;
  const count = platform === 'snp' && wish.kind !== 'again' && vcpu.random.chance(0.5) ? vcpu.random.int(2, 4) : 1;
  const asks: Ask[] = [];
  // trouble is for one range: the others of the batch are plain
  for (let i = 0; i < count; i++) {
    const ask = chooseRange(vcpu, wish, asks);
    if (ask) asks.push({ ...ask, trouble: i === 0 ? wish.trouble : {} });
  }
  return asks;
}

function chooseRange(vcpu: Vcpu, wish: Exclude<Wish, { readonly kind: 'reboot' }>, taken: readonly Ask[]): Ask | null {
  const { random } = vcpu;
  const isBlocked = vcpu.vm.world.isInPlace && wish.trouble.blockedTries !== undefined;
  const wantsPrivate = wish.kind === 'to-private' || (wish.kind === 'again' && random.chance(0.5)) || isBlocked;
  const fromShared = wish.kind === 'again' ? !wantsPrivate : wantsPrivate;
  const range = fromShared ? takeShared(vcpu, taken) : null;
  if (range) return { ...range, isPrivate: wantsPrivate, trouble: {}, job: null };
  // nothing is shared any more: ask the other way round
  const fresh = choosePrivate(vcpu, taken);
  return fresh && { ...fresh, isPrivate: wish.kind === 'again', trouble: {}, job: null };
}

function takeShared(vcpu: Vcpu, taken: readonly Ask[]): { start: number; end: number } | null {
  const free = vcpu.sharedRanges.filter((range) => !taken.some((ask) => overlaps(ask, range)));
  if (free.length === 0) return null;
  const range = vcpu.random.pick(free);
  if (range.end - range.start < 8 || vcpu.random.chance(0.6)) return { ...range };
  const middle = range.start + vcpu.random.int(1, range.end - range.start - 1);
  return vcpu.random.chance(0.5) ? { start: range.start, end: middle } : { start: middle, end: range.end };
}

function choosePrivate(vcpu: Vcpu, taken: readonly Ask[], wanted?: number): { start: number; end: number } | null {
  const { random, vm } = vcpu;
  for (let tries = 0; tries < 60; tries++) {
    const area = random.pick(vcpu.areas);
    const largest = vm.world.options.platform === 'pkvm' ? 1 : Math.max(1, Math.floor((area.end - area.start) / 16));
    const pages = tries > 40 ? 1 : Math.min(wanted ?? random.pick(SIZES), largest);
    const start = random.int(area.start, area.end - pages);
    const range = { start, end: start + pages };
    const isTaken =
      vcpu.sharedRanges.some((other) => overlaps(other, range)) || taken.some((ask) => overlaps(ask, range));
    if (!isTaken && isWhollyPrivate(vcpu, range)) return range;
  }
  return null;
}

function isWhollyPrivate(vcpu: Vcpu, { start, end }: { readonly start: number; readonly end: number }): boolean {
  for (let gfn = start; gfn < end; gfn++) if (!isPrivate(vcpu.vm, gfn)) return false;
  return true;
}

function overlaps(
  a: { readonly start: number; readonly end: number },
  b: { readonly start: number; readonly end: number },
): boolean {
  return a.start < b.end && b.start < a.end;
}

/** Keeps what is shared now. */
function remember(vcpu: Vcpu, { start, end, isPrivate: toPrivate }: Ask): void {
  const cut = vcpu.sharedRanges.splice(0).flatMap((range) => {
    if (!overlaps(range, { start, end })) return [range];
    const parts = [
      { start: range.start, end: Math.min(range.end, start) },
      { start: Math.max(range.start, end), end: range.end },
    ];
    return parts.filter((part) => part.end > part.start);
  });
  vcpu.sharedRanges.push(...cut, ...(toPrivate ? [] : [{ start, end }]));
}

function* touchSome(vcpu: Vcpu, { start, end, isPrivate: asPrivate }: Ask): Flow {
  const count = Math.min(TOUCHED_AT_ONCE, end - start);
  for (let i = 0; i < count; i++) {
    yield run(vcpu.random.int(1_500, 9_000));
    yield* touch(vcpu, start + i, asPrivate);
  }
}

/** A touch of one page in the view that it does not have. */
function* touchOther(vcpu: Vcpu, stallNs: number | undefined): Flow {
  const { vm, random } = vcpu;
  const shared = random.chance(0.5) ? random.pick(vcpu.sharedRanges.length > 0 ? vcpu.sharedRanges : [null]) : null;
  const gfn = shared ? shared.start + random.int(0, shared.end - shared.start - 1) : choosePrivate(vcpu, [])?.start;
  if (gfn === undefined || !placeOf(vm, gfn)) return;
  const asPrivate = !isPrivate(vm, gfn);
  yield* touch(vcpu, gfn, asPrivate, stallNs);
  remember(vcpu, { start: gfn, end: gfn + 1, isPrivate: asPrivate, trouble: {}, job: null });
}

/** Has a worker hold a page of the range; null where the range is not shared or the VM has no worker. */
function* pinSome(vcpu: Vcpu, ask: Ask, blockedTries: number): Flow<PinJob | null> {
  const { vm, random } = vcpu;
  if (!vm.world.isInPlace || !ask.isPrivate) return null;
  const gfn = ask.start + random.int(0, Math.min(ask.end - ask.start, 400) - 1);
  const { slot, index } = placeOf(vm, gfn)!;
  const hva = slot.hva + gfn * PAGE_SIZE - slot.gpa;
  yield* leaveGuest(vcpu, 'interrupt');
  const job = yield* pinPage(vm, { gmem: slot.gmem, index, hva, isLongTerm: blockedTries === Infinity });
  yield* enterGuest(vcpu);
  return job;
}

/** KVM_EXIT_UNSHARE: the page was shared at EL2 before, which no event shows; the host has touched it for I/O. */
function* unshareOne(vcpu: Vcpu, wish: Exclude<Wish, { readonly kind: 'reboot' }>): Flow {
  const range = choosePrivate(vcpu, []);
  const { vm, task } = vcpu;
  if (!range) return;
  const { slot, index } = placeOf(vm, range.start)!;
  const ask: Ask = { start: range.start, end: range.start + 1, isPrivate: true, trouble: wish.trouble, job: null };
  remember(vcpu, { ...ask, isPrivate: false });
  let job: PinJob | null = null;
  if (wish.trouble.blockedTries !== undefined) job = yield* pinSome(vcpu, ask, wish.trouble.blockedTries);
  else if (vcpu.random.chance(0.5)) {
    yield* leaveGuest(vcpu, 'interrupt');
    yield* hostFault(task, vm.world, { gmem: slot.gmem, index, hva: slot.hva + ask.start * PAGE_SIZE - slot.gpa });
    yield* enterGuest(vcpu);
  }
  const conversion = yield* askByUnshare(vcpu, { ...ask, job });
  if (conversion.outcome !== 'done') return;
  yield run(vcpu.random.int(2_000, 9_000));
  yield* touch(vcpu, ask.start, true);
}
