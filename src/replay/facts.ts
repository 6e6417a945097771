/**
 * First pass over the memory events: who did what with which file descriptor, thread and struct kvm. Identity
 * (identity.ts) is settled from all of it in retrospect: what names a VM may come long after its first event.
 */
import { KIND } from './kinds.js';
import type { MemoryEvent } from './event.js';

export const KVM_CREATE_VM = 0xae01;
export const KVM_CREATE_VCPU = 0xae41;
export const KVM_RUN = 0xae80;
export const KVM_CREATE_GUEST_MEMFD = 0xc040aed4;
export const KVM_SET_MEMORY_ATTRIBUTES = 0x4020aed2;
/** The in-place series' ioctl on a guest_memfd; its first posting used 0xc040aed6. */
export const KVM_SET_MEMORY_ATTRIBUTES2 = [0xc080aed2, 0xc040aed6] as const;
/** RFC v2's KVM_GMEM_CONVERT_SHARED and _PRIVATE. */
export const KVM_GMEM_CONVERT = [0xc040af41, 0xc040af42] as const;

const SERIES = new Map<number, InPlaceIoctl['series']>([
  ...KVM_SET_MEMORY_ATTRIBUTES2.map((cmd) => [cmd, 'attributes'] as const),
  ...KVM_GMEM_CONVERT.map((cmd) => [cmd, 'convert'] as const),
]);

export interface InPlaceIoctl {
  readonly tid: number;
  readonly fd: number;
  readonly ts: number;
  readonly series: 'attributes' | 'convert';
}

/** A descriptor that an ioctl returned. */
export interface FdRecord {
  readonly what: 'vm' | 'vcpu' | 'gmem';
  readonly tid: number;
  /** The descriptor that the ioctl was made on. */
  readonly onFd: number;
  readonly fd: number;
  /** VM type, or vcpu_id. */
  readonly arg: number;
  readonly ts: number;
  /** Of a guest_memfd, in bytes, and its flags; NaN where no probe shows them. */
  readonly size: number;
  readonly flags: number;
}

/** A struct kvm pointer seen by a probe, and the descriptor of the ioctl that the thread was in (NaN: none). */
export interface KeySighting {
  readonly key: number;
  readonly tid: number;
  readonly fd: number;
  readonly ts: number;
}

/** Something that is over at `ts`: a descriptor that a thread closed, or (fd NaN) the thread itself. */
export interface Ending {
  readonly tid: number;
  readonly fd: number;
  readonly ts: number;
}

export interface ThreadFacts {
  /** Its key (lives.ts). */
  readonly tid: number;
  /** The thread of the same process that made it; NaN where that was not seen, or it began a process. */
  maker: number;
  readonly firstTs: number;
  /** vcpu_id of the tracepoints on this thread → how often. */
  readonly vcpus: Map<number, number>;
  /** First use of each descriptor by KVM_RUN, and the first after others were made. */
  readonly runs: { fd: number; ts: number }[];
  /** Descriptors of attribute ioctls, with the time of the first. */
  readonly attributeFds: Map<number, number>;
  readonly keys: Set<number>;
  /** Process id that a probe read from kvm->userspace_pid; NaN where none did. */
  pid: number;
  /** Tracepoints of KVM_RUN were seen on it. */
  runsGuest: boolean;
  /** Something inside an attribute ioctl was seen on it: an ioctl number alone may be any device's. */
  setsAttributes: boolean;
  endTs: number;
}

/** A pKVM hypervisor VM: handle, struct kvm and whether it is protected. */
export interface HandleRecord {
  readonly handle: number;
  readonly key: number;
  readonly isProtected: number;
  readonly tid: number;
  readonly ts: number;
  endTs: number;
}

/** EL2's own word of a VM: `what` is one of HYP_VM (handles.ts). */
export interface HypVmRecord {
  readonly handle: number;
  readonly what: number;
  readonly ts: number;
}

export interface Facts {
  readonly threads: Map<number, ThreadFacts>;
  /** Tracepoints of KVM_RUN are recorded. */
  readonly showsGuests: boolean;
  readonly fds: FdRecord[];
  readonly keys: KeySighting[];
  readonly handles: HandleRecord[];
  readonly hypVms: HypVmRecord[];
  readonly endings: Ending[];
  /** First ioctl of each series that converts in place, by thread and descriptor: the number alone may be any device's. */
  readonly inPlace: InPlaceIoctl[];
  /** A probe inside such an ioctl was seen. */
  showsInPlace: boolean;
}

/**
 * Events of one kind on one thread, counted by the database: the hot kinds need not pass one by one. `vcpu` is NaN where
 * the events name none; times in ns relative to the analysis' start.
 */
export interface ThreadCount {
  readonly tid: number;
  readonly kind: number;
  readonly vcpu: number;
  readonly count: number;
  readonly firstTs: number;
}

/** Kinds that the collector wants to see event by event, in order; so it does every event that names a struct kvm. */
export const COLLECTED_KINDS: readonly number[] = [
  KIND.ioctl_enter,
  KIND.ioctl_exit,
  KIND.fd_close,
  KIND.run_enter,
  KIND.gmem_create,
  KIND.vm_attr_call,
  KIND.vm_create,
  KIND.vm_destroy,
  KIND.hyp_vm,
  KIND.vcpu_identity,
  KIND.task_exit,
  KIND.task_new,
];

/** clone: the new thread is of the same process (include/uapi/linux/sched.h). */
const CLONE_THREAD = 0x10000;

const RUNS_GUEST: readonly number[] = [KIND.guest_exit, KIND.guest_entry, KIND.guest_fault, KIND.user_exit];
const SETS_ATTRIBUTES: readonly number[] = [
  KIND.attr_event,
  KIND.vm_attr_call,
  KIND.gmem_attr_call,
  KIND.gmem_attr_ret,
];
/** Kinds whose thread is not the one that does something. */
const OF_OTHERS: readonly number[] = [KIND.page_ref, KIND.switch_in];

interface OpenIoctl {
  fd: number;
  cmd: number;
  arg: number;
}

interface Created {
  readonly size: number;
  readonly flags: number;
}

const NOTHING_KNOWN: Created = { size: NaN, flags: NaN };

export interface FactCollector {
  readonly facts: Facts;
  collect(ev: MemoryEvent): void;
  /** Events are missing here: what was begun before does not end with what comes now. */
  forget(): void;
}

function threadOf(facts: Facts, tid: number, ts: number): ThreadFacts {
  let thread = facts.threads.get(tid);
  if (!thread) {
    thread = {
      tid,
      maker: NaN,
      firstTs: ts,
      vcpus: new Map(),
      runs: [],
      attributeFds: new Map(),
      keys: new Set(),
      pid: NaN,
      runsGuest: false,
      setsAttributes: false,
      endTs: NaN,
    };
    facts.threads.set(tid, thread);
  }
  return thread;
}

function recordFd(facts: Facts, tid: number, open: OpenIoctl, fd: number, ts: number, made: Created): void {
  const what =
    open.cmd === KVM_CREATE_VM
      ? 'vm'
      : open.cmd === KVM_CREATE_VCPU
        ? 'vcpu'
        : open.cmd === KVM_CREATE_GUEST_MEMFD
          ? 'gmem'
          : null;
  if (what !== null && fd >= 0) facts.fds.push({ what, tid, onFd: open.fd, fd, arg: open.arg, ts, ...made });
}

function noteIoctl(facts: Facts, thread: ThreadFacts, ev: MemoryEvent): void {
  if (ev.value === KVM_RUN) {
    const last = thread.runs[thread.runs.length - 1];
    // A descriptor may have been made anew under the same number since.
    const made = facts.fds[facts.fds.length - 1]?.ts ?? -Infinity;
    if (!last || last.fd !== ev.fd || last.ts < made) thread.runs.push({ fd: ev.fd, ts: ev.ts });
  } else if (ev.value === KVM_SET_MEMORY_ATTRIBUTES || KVM_SET_MEMORY_ATTRIBUTES2.some((cmd) => cmd === ev.value)) {
    if (!thread.attributeFds.has(ev.fd)) thread.attributeFds.set(ev.fd, ev.ts);
  }
  const series = SERIES.get(ev.value);
  const { tid, fd, ts } = ev;
  if (series && !facts.inPlace.some((seen) => seen.tid === tid && seen.fd === fd && seen.series === series))
    facts.inPlace.push({ tid, fd, ts, series });
}

function isOfEl2(kind: number): boolean {
  return kind >= KIND.hyp_enter && kind <= KIND.hyp_vm;
}

/** Makes a collector from the counts of all threads; feed it the events of COLLECTED_KINDS in order, then read `facts`. */
export function makeFactCollector(counts: readonly ThreadCount[]): FactCollector {
  const showsGuests = counts.some(({ kind }) => RUNS_GUEST.includes(kind));
  const facts: Facts = {
    threads: new Map(),
    showsGuests,
    fds: [],
    keys: [],
    handles: [],
    hypVms: [],
    endings: [],
    inPlace: [],
    showsInPlace: false,
  };
  for (const { tid, kind, vcpu, count, firstTs } of counts) {
    if (OF_OTHERS.includes(kind) || isOfEl2(kind)) continue;
    const thread = threadOf(facts, tid, firstTs);
    if (SETS_ATTRIBUTES.includes(kind)) thread.setsAttributes = true;
    if (kind === KIND.gmem_attr_call) facts.showsInPlace = true;
    if (!RUNS_GUEST.includes(kind)) continue;
    thread.runsGuest = true;
    if (!Number.isNaN(vcpu)) thread.vcpus.set(vcpu, (thread.vcpus.get(vcpu) ?? 0) + count);
  }
  const open = new Map<number, OpenIoctl>();
  const creating = new Map<number, Created>();
  const lastKey = new Map<number, { key: number; fd: number }>();

  const noteKey = (thread: ThreadFacts, ev: MemoryEvent): void => {
    const fd = open.get(ev.tid)?.fd ?? NaN;
    thread.keys.add(ev.vmKey);
    const last = lastKey.get(ev.tid);
    if (last && last.key === ev.vmKey && Object.is(last.fd, fd)) return;
    lastKey.set(ev.tid, { key: ev.vmKey, fd });
    facts.keys.push({ key: ev.vmKey, tid: ev.tid, fd, ts: ev.ts });
  };

  const noteEnd = (thread: ThreadFacts, ts: number): void => {
    thread.endTs = ts;
    facts.endings.push({ tid: thread.tid, fd: NaN, ts });
  };

  const collect = (ev: MemoryEvent): void => {
    const { kind } = ev;
    if (kind === KIND.hyp_vm) {
      facts.hypVms.push({ handle: ev.extra, what: ev.value, ts: ev.ts });
      return;
    }
    const thread = threadOf(facts, ev.tid, ev.ts);
    if (!Number.isNaN(ev.vmKey)) noteKey(thread, ev);
    switch (kind) {
      case KIND.ioctl_enter:
        open.set(ev.tid, { fd: ev.fd, cmd: ev.value, arg: ev.extra });
        noteIoctl(facts, thread, ev);
        break;
      case KIND.ioctl_exit: {
        const ioctl = open.get(ev.tid);
        if (ioctl) recordFd(facts, ev.tid, ioctl, ev.result, ev.ts, creating.get(ev.tid) ?? NOTHING_KNOWN);
        open.delete(ev.tid);
        creating.delete(ev.tid);
        break;
      }
      case KIND.vcpu_identity:
      case KIND.run_enter:
        if (!Number.isNaN(ev.vcpu)) thread.vcpus.set(ev.vcpu, (thread.vcpus.get(ev.vcpu) ?? 0) + 1);
        break;
      case KIND.gmem_create:
        creating.set(ev.tid, { size: ev.size, flags: ev.value });
        if (!Number.isNaN(ev.extra)) thread.pid = ev.extra;
        break;
      case KIND.vm_attr_call:
        if (!Number.isNaN(ev.extra)) thread.pid = ev.extra;
        break;
      case KIND.vm_create:
        facts.handles.push({
          handle: ev.extra,
          key: ev.vmKey,
          isProtected: ev.value,
          tid: ev.tid,
          ts: ev.ts,
          endTs: NaN,
        });
        break;
      case KIND.vm_destroy: {
        const record = facts.handles.findLast((h) => h.handle === ev.extra && Number.isNaN(h.endTs));
        if (record) record.endTs = ev.ts;
        break;
      }
      case KIND.fd_close:
        if (facts.fds.some((made) => made.fd === ev.fd)) facts.endings.push({ tid: ev.tid, fd: ev.fd, ts: ev.ts });
        break;
      case KIND.task_exit:
        noteEnd(thread, ev.ts);
        break;
      case KIND.task_new:
        if (Math.floor(ev.value / CLONE_THREAD) % 2 === 1) thread.maker = ev.extra;
        break;
      case KIND.switch_out:
        if (ev.value === 3) noteEnd(thread, ev.ts);
        break;
    }
  };
  const forget = (): void => {
    open.clear();
    creating.clear();
    lastKey.clear();
  };
  return { facts, collect, forget };
}
