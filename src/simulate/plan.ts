/** Which VMs a run has, in which processes, and what each of their vCPUs will wish for. */
import { PAGE_SIZE } from '../base/units.js';
import { EINVAL, ENOMEM } from './calls.js';
import { makeSignal, startTask } from './host.js';
import type { Flow, Task } from './host.js';
import { makeProcess, manageVm } from './machine.js';
import type { SlotPlan, VmPlan } from './machine.js';
import { makeLock } from './model.js';
import type { Process, Trouble, Vcpu, Vm, VmmStyle, Wish, World } from './model.js';
import { hasViews } from './options.js';
import type { Platform } from './options.js';
import type { Random } from './random.js';
import { makeRanges } from './ranges.js';
import { spawnThread, startByShell } from './tasks.js';

const STYLES: readonly VmmStyle[] = [
  {
    comm: 'qemu-system-x86',
    vcpuComm: (index) => `CPU ${index}/KVM`,
    workerComm: 'iou-wrk-qemu',
    firstFd: 11,
    backing: 'memfd',
  },
  {
    comm: 'crosvm',
    vcpuComm: (index) => `crosvm_vcpu${index}`,
    workerComm: 'block0-worker',
    firstFd: 11,
    backing: 'anonymous',
  },
  {
    comm: 'qemu-system-x86',
    vcpuComm: (index) => `CPU ${index}/KVM`,
    workerComm: 'vhost-worker',
    firstFd: 11,
    backing: 'anonymous',
  },
];

/** VMs that share a process. */
interface House {
  readonly numbers: number[];
  /** Begins when the house before it has ended, and takes over its pids and file numbers. */
  readonly follows: boolean;
  isEnding: boolean;
}

/** Makes all VMs and starts the first of them; those that follow others start by themselves. */
export function planVms(world: World): void {
  const { options, random } = world;
  const wishes = dealWishes(world);
  const hasLeaks = (house: House): boolean =>
    house.numbers.some((number) => wishes[number]!.flat().some((wish) => isForever(wish)));
  // a VM with a thread that never comes back does not end
  const hangs = (house: House): boolean =>
    house.numbers.some((number) =>
      wishes[number]!.flat().some((wish) => wish.kind !== 'reboot' && wish.trouble.isUnanswered),
    );
  const houses: House[] = [];
  for (let number = 0; number < options.vms; number++) {
    const last = houses.at(-1);
    if (last && last.numbers.length < 2 && random.chance(0.35)) {
      last.numbers.push(number);
      continue;
    }
    const follows = last !== undefined && !hasLeaks(last) && random.chance(0.4);
    if (last && follows) last.isEnding = true;
    houses.push({ numbers: [number], follows, isEnding: random.chance(0.4) });
  }
  // a reference that is never dropped is one for sure where its process ends before the trace does
  for (const house of houses)
    if (hangs(house)) house.isEnding = false;
    else if (hasLeaks(house)) house.isEnding = options.mechanism !== 'vcpu-run' && random.chance(0.8);
  const launch = (index: number): void => {
    const house = houses[index]!;
    openHouse(world, house, { wishes, next: () => void (houses[index + 1]?.follows === true && launch(index + 1)) });
  };
  for (const [index, house] of houses.entries()) {
    const before = houses[index - 1];
    // what was to follow a house that does not end comes at once
    if (!house.follows || before?.isEnding !== true) launch(index);
  }
}

function isForever(wish: Wish): boolean {
  return wish.kind !== 'reboot' && (wish.trouble.blockedTries === Infinity || wish.trouble.isUnanswered === true);
}

function openHouse(
  world: World,
  house: House,
  { wishes, next }: { readonly wishes: readonly (readonly Wish[][])[]; readonly next: () => void },
): void {
  const random = world.random.fork(`house${house.numbers[0]!}`);
  const style = world.isArm ? STYLES[1]! : random.pick(STYLES);
  const process = makeProcess(world, style, makeSignal());
  process.fds.add(style.firstFd - 2);
  process.live = house.numbers.length;
  const { isEnding } = house;
  const [first, ...others] = house.numbers.map((number) =>
    planVm(world, { process, number, wishes: wishes[number]!, isEnding }),
  );
  const { comm } = style;
  const main = { tid: process.tgid, tgid: process.tgid, comm };
  const live = function* (task: Task): Flow {
    for (const plan of others) {
      const delayNs = random.int(50_000, 4_000_000);
      yield* spawnThread(task, world, { comm, delayNs }, (own) => manageVm(own, plan));
    }
    yield* manageVm(task, { ...first!, next });
  };
  const delayNs = random.int(100_000, 4_000_000);
  // most processes are older than the trace; one that follows another cannot be
  if (house.follows || random.chance(0.3)) startByShell(world, main, live, delayNs);
  else startTask(world.host, main, live, { delayNs });
}

interface VmRequest {
  readonly process: Process;
  readonly number: number;
  readonly wishes: readonly (readonly Wish[])[];
  readonly isEnding: boolean;
}

function planVm(world: World, { process, number, wishes, isEnding }: VmRequest): VmPlan {
  const { options } = world;
  const random = world.random.fork(`vm${number}`);
  const { platform } = options;
  const id = String.fromCharCode(97 + number);
  const truth = {
    id,
    platform: TRUTH_PLATFORM[platform],
    pid: process.tgid,
    comm: process.style.comm,
    vcpus: [],
    gmems: [],
  };
  world.truth.vms.push(truth);
  const vm: Vm = {
    world,
    process,
    random,
    mechanism: options.mechanism,
    isAmd: platform === 'snp' || (platform === 'x86-sw' && random.chance(0.6)),
    sharedBit: sharedBitOf(platform, random),
    id,
    fd: -1,
    kvm: 0n,
    file: 0n,
    gmems: [],
    slots: [],
    attributes: makeRanges(0),
    leaves: new Map(),
    shared: new Map(),
    tables: new Set(),
    truth,
    generation: 0,
    vcpus: [],
    slotsLock: makeLock(),
    isResetting: false,
    wantsReset: false,
    parked: 0,
    finished: 0,
    isEnding: false,
    changed: makeSignal(),
    pinJobs: [],
  };
  world.vms.push(vm);
  const layout = planMemory(world, random);
  for (const [index, list] of wishes.entries()) vm.vcpus.push(makeVcpu(vm, { index, wishes: [...list], layout }));
  const hasWorker = world.isInPlace && (options.retries > 0 || options.leaks > 0);
  return { vm, layout, isEnding, next: () => {}, hasWorker };
}

/** The shared view of a TD and of a realm is the upper half of its addresses: 48 bits, or 52 of a TD. */
function sharedBitOf(platform: Platform, random: Random): number {
  if (platform === 'x86-sw') return 2 ** 39;
  if (platform === 'tdx') return 2 ** random.pick([47, 51]);
  return platform === 'cca' ? 2 ** 47 : 0;
}

const TRUTH_PLATFORM = {
  'x86-sw': 'x86-sw-protected',
  tdx: 'tdx',
  snp: 'snp',
  pkvm: 'pkvm',
  'pkvm-unshare': 'pkvm',
  cca: 'cca',
} as const;

function makeVcpu(
  vm: Vm,
  { index, wishes, layout }: { readonly index: number; readonly wishes: Wish[]; readonly layout: readonly SlotPlan[] },
): Vcpu {
  const { vcpus } = vm.world.options;
  const areas = layout.map(({ gpa, size }) => {
    const pages = Math.floor(size / PAGE_SIZE / vcpus);
    const start = gpa / PAGE_SIZE + index * pages;
    return { start, end: start + pages };
  });
  const isHidden = vm.world.options.platform !== 'x86-sw';
  return {
    vm,
    index,
    random: vm.random.fork(`vcpu${index}`),
    // the thread does not exist yet; startThread sets it before anything looks
    task: null as unknown as Task,
    fd: -1,
    pointer: 0n,
    run: { reason: 0, u: [0, 0, 0, 0], ret: 0 },
    rip: isHidden ? 0 : 0x10000 + index * 0x40,
    areas,
    sharedRanges: [],
    wishes,
    isStuck: false,
  };
}

/** Where a VMM puts guest memory: as QEMU does, as one that keeps slots in another order, or with a guest_memfd a slot. */
function planMemory({ isArm, options: { memory } }: World, random: Random): SlotPlan[] {
  const GIB = 2 ** 30;
  const whole = Math.floor(memory / 0x400000) * 0x400000;
  const base = isArm ? 0x80000000 : 0;
  const low = Math.min(whole, 2 * GIB);
  const kind = random.int(0, 2);
  if (kind === 0 || isArm) {
    const first = { gpa: base, size: isArm ? whole : low, gmem: 0, offset: 0 };
    return isArm || whole === low ? [first] : [first, { gpa: 4 * GIB, size: whole - low, gmem: 0, offset: low }];
  }
  const half = whole / 2;
  if (kind === 1) {
    return [
      { gpa: 4 * GIB, size: half, gmem: 0, offset: half },
      { gpa: 4 * GIB + 4 * half, size: half, gmem: 0, offset: 0 },
    ];
  }
  return [
    { gpa: base, size: Math.min(half, 2 * GIB), gmem: 0, offset: 0 },
    { gpa: 8 * GIB, size: half, gmem: 1, offset: 0 },
  ];
}

/** By VM and vCPU, what each will wish for, trouble included. */
function dealWishes({ options, random: source }: World): Wish[][][] {
  const random = source.fork('wishes');
  const lists: Wish[][][] = Array.from({ length: options.vms }, () => Array.from({ length: options.vcpus }, () => []));
  const flat = lists.flat();
  const give = (wish: Wish): void => void random.pick(flat).push(wish);
  for (const trouble of dealTrouble(options, random)) {
    give({ kind: trouble.blockedTries === undefined && random.chance(0.5) ? 'to-shared' : 'to-private', trouble });
  }
  const given = flat.reduce((sum, list) => sum + list.length, 0);
  for (let i = given; i < options.conversions; i++) {
    const dice = random.next();
    if (hasViews(options.platform) && random.chance(options.implicit)) give({ kind: 'implicit', trouble: {} });
    else give({ kind: dice < 0.5 ? 'to-shared' : dice < 0.92 ? 'to-private' : 'again', trouble: {} });
  }
  for (const list of flat) shuffle(list, random);
  for (let i = 0; i < options.reboots; i++) {
    const list = lists[i % lists.length]![0]!;
    list.splice(random.int(Math.floor(list.length / 3), list.length), 0, { kind: 'reboot' });
  }
  return lists;
}

const MS = 1_000_000;

function dealTrouble({ stalls, retries, refusals, leaks, unanswered }: World['options'], random: Random): Trouble[] {
  const troubles: Trouble[] = [];
  for (let i = 0; i < stalls; i++) {
    troubles.push({
      stallNs: random.int(170, 1_600) * MS,
      stallAt: random.pick(['before', 'before', 'during', 'after'] as const),
    });
  }
  for (let i = 0; i < retries; i++) troubles.push({ blockedTries: random.int(1, 5) });
  for (let i = 0; i < refusals; i++) troubles.push(random.chance(0.3) ? { failure: ENOMEM } : { refusal: EINVAL });
  for (let i = 0; i < leaks; i++) troubles.push({ blockedTries: Infinity });
  for (let i = 0; i < unanswered; i++) troubles.push({ isUnanswered: true });
  return troubles;
}

function shuffle<T>(list: T[], random: Random): void {
  for (let i = list.length - 1; i > 0; i--) {
    const other = random.int(0, i);
    [list[i], list[other]] = [list[other]!, list[i]!];
  }
}
