/** What the second pass of the replay holds: threads, VMs, open requests and attempts, and the rows found so far. */
import { makeBindingIndex, type BindingIndex } from './binding-index.js';
import type { Evidence } from './event.js';
import type { Certainty, Identity, VmIdentity } from './identity.js';
import { ConversionList, keepConversion, makeConversionLog, type ConversionLog } from './conversion-log.js';
import type { Hidden } from './hidden-calls.js';
import { makeIntervalLog, type IntervalLog } from './interval-log.js';
import { makeIntervalMap, type IntervalMap } from './intervals.js';
import { makeSpill, type Spill } from './paged-rows.js';
import { makeHostFaults, type HostFaults } from './host-mappings.js';
import { makePkvm, type Pkvm } from './pkvm-state.js';
import type { OpenLosses } from './losses.js';
import type { RunPhase } from './run-phase.js';

export type Direction = 'to_private' | 'to_shared';
export type Origin = 'explicit' | 'implicit' | 'vmm';
export type RequestWay =
  'map-gpa-range' | 'tdx-mapgpa' | 'snp-psc' | 'snp-psc-msr' | 'pkvm-hvc' | 'rsi-ripas' | 'fault' | 'none';
export type Mechanism = 'vm-attributes' | 'gmem-attributes' | 'gmem-convert' | 'vcpu-run' | 'pkvm-hyp' | 'unknown';
export type Outcome = 'done' | 'refused' | 'failed' | 'noop' | 'pending' | 'unknown';

/** One ioctl that tries to convert. Times in ns relative to the analysis' start; NaN where not known. */
export interface Attempt {
  readonly tid: number;
  readonly startNs: number;
  endNs: number;
  readonly fd: number;
  vm: VmState | null;
  inode: number;
  gpa: number;
  offset: number;
  size: number;
  direction: Direction | null;
  readonly mechanism: Mechanism;
  /** positive, 0 = success, NaN = not seen. */
  errno: number;
  errorOffset: number;
  /** A tracepoint, a probe or a known descriptor says that this is a conversion; an ioctl number alone does not. */
  proven: boolean;
  /** Every page of its range was in the wanted state already, as was seen. */
  noop: boolean;
  /** What ends it: the ioctl's exit, a return probe, or nothing that this trace records. */
  endsBy: 'ioctl' | 'probe' | 'event';
  readonly evidence: Evidence;
}

/** A wish of the guest that its vCPU waits for, from the exit until the vCPU runs again. */
export interface Request {
  readonly tid: number;
  readonly vcpu: number;
  readonly vm: VmState | null;
  readonly origin: 'explicit' | 'implicit';
  readonly way: RequestWay;
  direction: Direction | null;
  gpa: number;
  size: number;
  readonly requestNs: number;
  readonly exitNs: number;
  readonly attempts: Attempt[];
  chunks: number;
  readonly batch: number;
  /** The guest's answer, where a probe shows it: hypercall.ret, NaN otherwise. */
  answer: number;
  /** Index into faults of the memory fault that this implicit request is. */
  readonly fault: MemoryFault | null;
  readonly evidence: Evidence;
  readonly epoch: number;
  rangeKnown: boolean;
  /** What came before it was not seen: it may be the rest of a MapGPA, or who asked is not known. */
  readonly isGuess: boolean;
  /** Time its thread was ready to run but had no CPU, and time it slept, ns; 0 where the scheduler is not recorded. */
  runnableNs: number;
  sleepingNs: number;
  /** Of sleepingNs: in uninterruptible sleep (state D). */
  blockedNs: number;
}

/** What is kept of an attempt once its conversion is over; times and bytes as in Attempt. */
export type AttemptRecord = Readonly<
  Pick<Attempt, 'tid' | 'startNs' | 'endNs' | 'gpa' | 'offset' | 'inode' | 'size' | 'errno' | 'errorOffset'>
>;

export interface Conversion {
  readonly vm: VmState | null;
  readonly vcpu: number;
  readonly tid: number;
  gpa: number;
  offset: number;
  inode: number;
  size: number;
  direction: Direction | null;
  readonly origin: Origin;
  readonly way: RequestWay;
  mechanism: Mechanism;
  outcome: Outcome;
  readonly requestNs: number;
  readonly exitNs: number;
  commitNs: number;
  resumeNs: number;
  firstUseNs: number;
  /** Start and end of the guest-visible stop, where it is not [requestNs, resumeNs]. */
  stopNs: number;
  readonly runnableNs: number;
  readonly sleepingNs: number;
  readonly blockedNs: number;
  readonly attempts: readonly AttemptRecord[];
  addAttempts(list: readonly AttemptRecord[]): void;
  chunks: number;
  readonly batch: number;
  readonly epoch: number;
  readonly evidence: Evidence;
  certainty: Certainty;
  /** Place in the order in which conversions came: what one is known by. */
  readonly index: number;
}

/** A conversion before it is kept. */
export type NewConversion = Omit<Conversion, 'index' | 'addAttempts'>;

export interface MemoryFault {
  readonly vm: VmState | null;
  readonly vcpu: number;
  readonly tid: number;
  readonly ts: number;
  readonly faultNs: number;
  resumeNs: number;
  /** As the fault had it, with the shared bit; gpa without it once that bit is known. */
  readonly address: number;
  gpa: number;
  wanted: 'private' | 'shared' | null;
  cause: 'mismatch' | 'pending-conversion' | 'stale-after-reboot' | 'no-backing' | 'unknown';
  readonly epoch: number;
  conversion: Conversion | null;
  readonly evidence: Evidence;
  certainty: Certainty;
}

export interface Punch {
  readonly vm: VmState | null;
  readonly tid: number;
  inode: number;
  readonly fd: number;
  readonly offset: number;
  readonly size: number;
  readonly startNs: number;
  endNs: number;
  errno: number;
  certainty: Certainty;
  proven: boolean;
}

export interface Reboot {
  readonly vm: VmState;
  readonly ts: number;
  readonly epoch: number;
  readonly how: string;
  readonly certainty: Certainty;
  sharedPages: number;
  resetNs: number;
}

/** gpa ↔ offset of one memslot, or a pair that proves one page. */
export interface Binding {
  readonly vm: VmState | null;
  inode: number;
  readonly fd: number;
  readonly slot: number;
  readonly gpa: number;
  readonly offset: number;
  /** NaN: a pair that was seen; how far it extends is settled at the end. */
  size: number;
  readonly fromTs: number;
  toTs: number;
  readonly how: string;
  readonly certainty: Certainty;
}

export interface VmState {
  readonly identity: VmIdentity;
  /** gfn → packed state (axes.ts). */
  readonly map: IntervalMap;
  /** GPA bit that marks a shared access (TDX bit 47 or 51), NaN until a fault and its answer show it. */
  sharedBit: number;
  epoch: number;
  readonly requests: Set<Request>;
  /** How its conversions were asked for, and what flipped them. */
  readonly ways: Set<RequestWay>;
  readonly mechanisms: Set<Mechanism>;
  /** Conversions whose first use was not seen yet, newest last. */
  readonly awaitingUse: Conversion[];
  /** How its guest asks, as exits have shown. */
  asksBy: RequestWay | null;
  usesAttrEvents: boolean;
  usesIoctls: boolean;
  /** Converted by an ioctl on its guest_memfd: one folio serves both views. */
  inPlace: boolean;
  lastRunNs: number;
  /** Pages that were shared when the present epoch began and have not been set since: state 1. */
  carried: IntervalMap;
  readonly boot: BootState;
}

/** What decides whether a guest started over. */
export interface BootState {
  hasRun: boolean;
  /** Descriptors of vCPUs whose registers were set since the last KVM_RUN, and when the first was. */
  readonly stateSet: Map<number, number>;
  stateSince: number;
  /** The last KVM_RUN ended with an error, or may have: on arm64 setting registers then repairs the vCPU and is no reboot. */
  runFailed: boolean;
  /** A reset or shutdown exit, or a write to 0xcf9, since the last entry: its time. */
  resetSign: number;
  /** The thread whose exit that was. */
  resetBy: number;
  /** That thread has run on since. */
  ranOn: boolean;
  /** Where each vCPU first entered, NaN where its first entry was before the trace. */
  readonly firstRip: Map<number, number>;
  readonly left: Set<number>;
  readonly back: Map<number, number>;
  /** Shared pages when the first vCPU came back, until all have. */
  carriedThen: IntervalMap | null;
  /** Time until which attribute ioctls belong to the reset, NaN when no reset is on. */
  resetting: Reboot | null;
}

/** Time of a thread without a CPU, by why, ns. */
export type TimeOff = Pick<Request, 'runnableNs' | 'sleepingNs' | 'blockedNs'>;

export interface Thread {
  readonly tid: number;
  vm: VmState | null;
  vcpu: number;
  /** Last exit from the guest: time, reason and position, NaN after the next entry. */
  exitNs: number;
  exitReason: number;
  exitEvidence: Evidence | null;
  /** What the guest asked for since that exit. */
  asked: { way: RequestWay; direction: Direction | null; gpa: number; size: number } | null;
  fault: { address: number; code: number; ts: number; evidence: Evidence } | null;
  request: Request | null;
  attempt: Attempt | null;
  ioctl: { fd: number; cmd: number; startNs: number } | null;
  punch: Punch | null;
  /** Last flip to shared by this thread, to pair with the punch that follows it. */
  lastShared: Attempt | null;
  lastVmm: Conversion | null;
  batch: number;
  /** Its last MapGPA, where the guest may ask for the rest of it, and whether its whole range is known. */
  unfinished: { readonly row: Conversion; readonly rangeKnown: boolean } | null;
  /** Time of its last event, ns. */
  seenNs: number;
  /** Whether it has a CPU, and which it had last, as its events show. */
  onCpu: boolean;
  lastCpu: number;
  /** When it last left its CPU (NaN: it has not), and how: 1 runnable, 2 sleeping, 4 uninterruptible. */
  offNs: number;
  offHow: number;
  /** Time without a CPU since it left the guest, ns: what it asks for then begins with that. */
  readonly off: TimeOff;
  phase: RunPhase;
  /** Events may be missing since its last edge of KVM_RUN: what it did before says nothing of what it does now. */
  tainted: boolean;
  /** When events of it were last missing that may have been a request, ns; -Infinity: never. */
  taintedNs: number;
  /** What is missing of it since it was seen in its guest; null: nothing, or more than that. */
  hidden: Hidden | null;
  folio: { inode: number; offset: number; ts: number } | null;
  pfnGpa: { gpa: number; ts: number } | null;
  added: { inode: number; dev: number; offset: number; pfn: number } | null;
  pendingBind: {
    vmKey: number;
    /** The VM's descriptor, NaN where the system call was not seen. */
    vmFd: number;
    slot: number;
    gpa: number;
    size: number;
    fd: number;
    offset: number;
    /** Known once it is committed; the ioctl may fail all the same. */
    inode: number;
    ts: number;
  } | null;
}

/** What this recording can show: absence counts only of what was recorded. */
export interface Sources {
  readonly ioctls: boolean;
  readonly ioctlExits: boolean;
  readonly attrEvents: boolean;
  readonly vmAttrRet: boolean;
  readonly gmemAttrProbe: boolean;
  readonly gmemAttrRet: boolean;
  readonly bindRet: boolean;
  /** The series whose ioctl on a guest_memfd converts in place (reference chapter 02 §2, §3); null: none was seen. */
  readonly inPlaceBy: 'attributes' | 'convert' | null;
  readonly guestExits: boolean;
  readonly guestEntries: boolean;
  readonly hypercalls: boolean;
  readonly guestFaults: boolean;
  /** Numbers of inodes whose pages are of several devices: each is its own only within a device. */
  readonly sharedInodes: ReadonlySet<number>;
  readonly userExits: boolean;
  readonly pageRefs: boolean;
  readonly spteRequested: boolean;
  readonly fallocate: boolean;
  readonly switches: boolean;
  readonly isArm: boolean;
  /** The hypervisor's buffer names the pages that guests share and unshare. */
  readonly hypPages: boolean;
  readonly donateRet: boolean;
  readonly hostReclaims: boolean;
  readonly hostReclaimRet: boolean;
}

/** Between these times (ns) events of a trace are missing, though no marker says so. */
export interface Gap {
  readonly traceId: number;
  readonly from: number;
  readonly to: number;
  /** Of a vCPU's thread; another's may be of a program that has nothing to do with VMs. */
  readonly isVcpu: boolean;
}

export interface LostSpan {
  /** Whose events are missing: a buffer of the hypervisor loses none of the host's, and the other way round. */
  readonly side: 'host' | 'el2' | 'both';
  readonly cpu: number | null;
  readonly from: number;
  readonly to: number;
  /** Events that are missing; Infinity: not known. */
  readonly count: number;
}

export interface Replay {
  readonly identity: Identity;
  readonly sources: Sources;
  readonly lost: readonly LostSpan[];
  /** CPUs whose events are missing just now. */
  readonly openLosses: OpenLosses;
  /** When a lost stretch began or ended, up to now, in order; ns. */
  readonly lossTimes: number[];
  readonly vms: readonly VmState[];
  readonly threads: Map<number, Thread>;
  /** The rows of conversionLog (addConversion). */
  readonly conversions: ConversionList;
  readonly conversionLog: ConversionLog;
  /** The last MapGPA of each thread, which the next may go on with. */
  readonly lastMapGpa: Map<number, Conversion>;
  readonly faults: MemoryFault[];
  readonly punches: Punch[];
  readonly reboots: Reboot[];
  readonly bindings: Binding[];
  /** Holds `bindings`: add to them by it. */
  readonly bindingIndex: BindingIndex;
  /** s_dev on which the guest_memfds live, NaN until a page of one is seen: all of a host are on one mount. */
  gmemDev: number;
  /** When the last descriptor of a guest_memfd was gone, by inode. */
  readonly released: Map<number, number>;
  readonly intervals: IntervalLog;
  /** Where results go that exceed memory; close it in the end. */
  readonly spill: Spill;
  readonly pkvm: Pkvm;
  readonly hostFaults: HostFaults;
  batches: number;
  /** Numbers of the vCPUs whose making the trace shows. */
  readonly vcpusMade: Set<number>;
  /** Where a thread's events show that some between are missing, without a marker. */
  readonly gaps: Gap[];
  lastNs: number;
  /** The last event has passed: what is open stays open. */
  isOver: boolean;
}

function makeVmState(identity: VmIdentity): VmState {
  return {
    identity,
    map: makeIntervalMap(),
    sharedBit: NaN,
    epoch: 0,
    requests: new Set(),
    ways: new Set(),
    mechanisms: new Set(),
    awaitingUse: [],
    asksBy: null,
    usesAttrEvents: false,
    usesIoctls: false,
    inPlace: false,
    lastRunNs: NaN,
    carried: makeIntervalMap(),
    boot: {
      hasRun: false,
      stateSet: new Map(),
      stateSince: NaN,
      runFailed: false,
      resetSign: NaN,
      resetBy: NaN,
      ranOn: false,
      firstRip: new Map(),
      left: new Set(),
      back: new Map(),
      carriedThen: null,
      resetting: null,
    },
  };
}

export function makeReplay(identity: Identity, sources: Sources, lost: readonly LostSpan[]): Replay {
  const vms = identity.vms.map(makeVmState);
  const spill = makeSpill();
  const bindings: Binding[] = [];
  const conversionLog = makeConversionLog(vms, spill);
  return {
    identity,
    sources,
    lost,
    openLosses: new Map(),
    lossTimes: [],
    vms,
    threads: new Map(),
    conversions: new ConversionList(conversionLog),
    conversionLog,
    lastMapGpa: new Map(),
    faults: [],
    punches: [],
    reboots: [],
    bindings,
    bindingIndex: makeBindingIndex(bindings),
    gmemDev: NaN,
    released: new Map(),
    intervals: makeIntervalLog(spill),
    spill,
    pkvm: makePkvm(),
    hostFaults: makeHostFaults(),
    batches: 0,
    vcpusMade: new Set(),
    gaps: [],
    lastNs: 0,
    isOver: false,
  };
}

/** Adds a conversion; use the row that comes back, not the object that went in. */
export function addConversion(replay: Replay, made: NewConversion): Conversion {
  const row = keepConversion(replay.conversionLog, made);
  made.vm?.ways.add(made.way);
  made.vm?.mechanisms.add(made.mechanism);
  if (made.way === 'tdx-mapgpa') replay.lastMapGpa.set(made.tid, row);
  return row;
}

/** The state of a VM by its identity; null for null. */
export function stateOf(replay: Replay, identity: VmIdentity | null): VmState | null {
  return identity === null ? null : replay.vms[identity.id - 1]!;
}

export function threadOf(replay: Replay, tid: number, ts: number): Thread {
  let thread = replay.threads.get(tid);
  if (!thread) {
    thread = {
      tid,
      vm: null,
      vcpu: NaN,
      exitNs: NaN,
      exitReason: NaN,
      exitEvidence: null,
      asked: null,
      fault: null,
      request: null,
      attempt: null,
      ioctl: null,
      punch: null,
      lastShared: null,
      lastVmm: null,
      batch: 0,
      unfinished: null,
      seenNs: ts,
      lastCpu: -1,
      onCpu: false,
      offNs: NaN,
      offHow: 0,
      off: { runnableNs: 0, sleepingNs: 0, blockedNs: 0 },
      phase: 'unknown',
      tainted: false,
      taintedNs: -Infinity,
      hidden: null,
      folio: null,
      pfnGpa: null,
      added: null,
      pendingBind: null,
    };
    thread.vm = stateOf(replay, replay.identity.vmOfThread(tid, ts));
    thread.vcpu = replay.identity.vcpuOfThread(tid, ts);
    // A vCPU thread that was there before the trace may be in the middle of anything.
    thread.tainted = !Number.isNaN(thread.vcpu) && Number.isNaN(thread.vm?.identity.type ?? NaN);
    replay.threads.set(tid, thread);
  }
  return thread;
}

/**
 * How often events had been lost when something is seen now (axes.ts). Where a CPU is losing events just now, what was
 * seen may have changed unseen a moment later: then it is of before that loss.
 */
export function lossesTillNow({ lossTimes, openLosses }: Replay): number {
  return openLosses.size > 0 ? lossTimes.length - 1 : lossTimes.length;
}

/** Whether events may be missing anywhere in [from, to] (ns). */
export function lostWithin(replay: Replay, from: number, to: number): boolean {
  return replay.lost.some((span) => span.from <= to && span.to >= from);
}
