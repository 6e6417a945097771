/** The things of the simulated world: processes with file numbers, VMs, vCPUs, guest_memfds and their pages. */
import type { Host, Signal, Task } from './host.js';
import { makeSignal } from './host.js';
import type { Mechanism, SimulateOptions } from './options.js';
import type { Random } from './random.js';
import type { Ranges } from './ranges.js';
import type { Truth, TruthVm } from './truth.js';

export interface World {
  readonly host: Host;
  readonly options: SimulateOptions;
  readonly random: Random;
  readonly truth: Truth;
  readonly isArm: boolean;
  readonly isInPlace: boolean;
  /** MINOR of the device that all guest_memfds share (MAJOR 0). */
  readonly gmemDevice: number;
  readonly shmemDevice: number;
  nextPid: number;
  nextInode: number;
  nextPfn: number;
  nextPointer: bigint;
  readonly freePids: number[];
  readonly vms: Vm[];
}

/** How a kind of VMM names its threads and treats memory. */
export interface VmmStyle {
  readonly comm: string;
  readonly vcpuComm: (index: number) => string;
  readonly workerComm: string;
  readonly firstFd: number;
  /** Backing of the shared view. */
  readonly backing: 'anonymous' | 'memfd';
}

export interface Process {
  readonly tgid: number;
  readonly style: VmmStyle;
  /** Numbers in use; the lowest free one is given next. */
  readonly fds: Set<number>;
  nextHva: number;
  /** Address of the stack variables that are passed to ioctls. */
  readonly stack: number;
  /** VMs that have not ended yet. */
  live: number;
  readonly changed: Signal;
}

/** A folio of guest_memfd (order 0). */
export interface Page {
  readonly pfn: number;
  refs: number;
  /** Still in a CPU's lru_add batch, which holds a reference. */
  isInBatch: boolean;
  isHostMapped: boolean;
}

export interface Gmem {
  readonly id: string;
  readonly inode: number;
  readonly fd: number;
  readonly size: number;
  /** struct file *. */
  readonly file: bigint;
  /** struct address_space *. */
  readonly mapping: bigint;
  /** In-place kernels: 1 = private, by page index. */
  readonly attributes: Ranges;
  readonly pages: Map<number, Page>;
  /** A folio goes out of the page cache; the invalidate lock, too, is its own. */
  readonly lock: Lock;
}

export interface Slot {
  readonly id: number;
  readonly gpa: number;
  readonly size: number;
  readonly gmem: Gmem;
  /** Of the slot in the guest_memfd, bytes. */
  readonly offset: number;
  readonly hva: number;
  readonly pointer: bigint;
  /** File behind the shared view, where it is one. */
  readonly backingFd: number | null;
  readonly backingInode: number;
}

export interface Lock {
  holder: Task | null;
  readonly released: Signal;
}

/** A guest's stage-2 leaf. */
export interface Leaf {
  readonly spte: bigint;
  readonly isPrivate: boolean;
}

export interface Vm {
  readonly world: World;
  readonly process: Process;
  readonly random: Random;
  readonly mechanism: Mechanism;
  /** x86: AMD (true) or Intel. */
  readonly isAmd: boolean;
  /** Bit of a GPA that says "shared view"; 0 where another bit of the fault says it. */
  readonly sharedBit: number;
  id: string;
  fd: number;
  /** struct kvm *. */
  kvm: bigint;
  /** struct file * of the VM's fd. */
  file: bigint;
  gmems: Gmem[];
  slots: Slot[];
  /** VM attributes by gfn: 1 = private. */
  attributes: Ranges;
  leaves: Map<number, Leaf>;
  /** Pfns behind the shared view, by gfn. */
  shared: Map<number, number>;
  /** 2 MiB ranges whose page table exists already. */
  tables: Set<number>;
  truth: TruthVm;
  generation: number;
  readonly vcpus: Vcpu[];
  readonly slotsLock: Lock;
  /** Reboot: everybody leaves the guest and waits. */
  isResetting: boolean;
  /** All have left the guest: its VMM's main thread resets it. */
  wantsReset: boolean;
  parked: number;
  finished: number;
  isEnding: boolean;
  readonly changed: Signal;
  readonly pinJobs: PinJob[];
}

/** What kvm_run holds of the last exit. */
export interface KvmRun {
  reason: number;
  u: [number, number, number, number];
  ret: number;
}

export interface Vcpu {
  readonly vm: Vm;
  readonly index: number;
  readonly random: Random;
  task: Task;
  fd: number;
  pointer: bigint;
  readonly run: KvmRun;
  rip: number;
  /** The part of guest memory whose conversions this vCPU asks for: gfns [start, end). */
  readonly areas: { readonly start: number; readonly end: number }[];
  /** Ranges that it made shared and not private again, gfns. */
  readonly sharedRanges: { start: number; end: number }[];
  wishes: Wish[];
  /** It never comes back from its last exit. */
  isStuck: boolean;
}

/** What goes wrong with a wish, if anything. */
export interface Trouble {
  readonly stallNs?: number;
  readonly stallAt?: 'before' | 'during' | 'after';
  /** The VMM never answers: its thread hangs to the end of the trace. */
  readonly isUnanswered?: boolean;
  /** errno that the VMM answers without a try. */
  readonly refusal?: number;
  /** errno that the ioctl fails with. */
  readonly failure?: number;
  /** Tries that meet a reference before it is dropped; Infinity = never dropped. */
  readonly blockedTries?: number;
}

export type Wish =
  | { readonly kind: 'to-shared' | 'to-private' | 'again'; readonly trouble: Trouble }
  | { readonly kind: 'implicit'; readonly trouble: Trouble }
  | { readonly kind: 'reboot' };

/** A page that a VMM's worker is told to pin. */
export interface PinJob {
  readonly gmem: Gmem;
  readonly index: number;
  readonly hva: number;
  readonly isLongTerm: boolean;
  state: 'asked' | 'held' | 'release' | 'dropped';
  /** The page, once it is held. */
  page: Page | null;
  readonly changed: Signal;
}

export function makeLock(): Lock {
  return { holder: null, released: makeSignal() };
}

/** A fresh kernel pointer with some room behind it. */
export function newPointer(world: World, size = 0x400): bigint {
  const pointer = world.nextPointer;
  world.nextPointer += BigInt(size + 0x100 * world.random.int(0, 7));
  return pointer;
}

export function newPid(world: World): number {
  const reused = world.freePids.shift();
  if (reused !== undefined) return reused;
  world.nextPid += world.random.int(1, 6);
  return world.nextPid;
}

export function newInode(world: World): number {
  world.nextInode += world.random.int(1, 40);
  return world.nextInode;
}

export function newPfn(world: World): number {
  world.nextPfn += world.random.chance(0.7) ? 1 : world.random.int(2, 40);
  return world.nextPfn;
}

/** The lowest free file number, now in use. */
export function openFd(process: Process): number {
  let fd = process.style.firstFd;
  while (process.fds.has(fd)) fd++;
  process.fds.add(fd);
  return fd;
}

export function slotOf(vm: Vm, gpa: number): Slot | null {
  return vm.slots.find((slot) => gpa >= slot.gpa && gpa < slot.gpa + slot.size) ?? null;
}
