/**
 * Which threads are one process, where the trace does not say: trace.dat and trace-cmd's report know no tgid. Threads
 * of one process share descriptors: who runs a vCPU on descriptor 7 belongs to whoever made a vCPU there.
 */
import type { Facts, FdRecord, ThreadFacts } from './facts.js';

/** Threads and processes by their keys (lives.ts). */
export interface TaskFacts {
  /** Process of a thread as the trace tells, null where it does not. */
  tgidOf(tid: number): number | null;
  /** Process of a thread number at `ts` where several processes had it, null where one or none did. */
  tgidAt(tid: number, ts: number): number | null;
  /** Last name of a thread, null where unknown. */
  commOf(tid: number): string | null;
}

/** Process key of a thread at a time: thread numbers are used again. */
export type ProcessOf = (tid: number, ts: number) => number;

/** KVM_RUN on a vCPU shows by KVM's own events, too: where these are recorded, the number alone is some other device's. */
export function runsVcpu(facts: Facts, thread: ThreadFacts): boolean {
  return thread.runsGuest || !facts.showsGuests;
}

/** struct kvm seen in ioctls, by thread and descriptor. */
type NamedVms = ReadonlyMap<string, ReadonlySet<number>>;

function nameVms(facts: Facts): NamedVms {
  const named = new Map<string, Set<number>>();
  for (const { tid, fd, key } of facts.keys) {
    const place = `${tid}:${fd}`;
    const keys = named.get(place);
    if (keys) keys.add(key);
    else named.set(place, new Set([key]));
  }
  return named;
}

/** One number, two VMs: whoever uses the descriptor does not share it with its maker. */
function isOtherVm(named: NamedVms, fd: number, tid: number, maker: number): boolean {
  const [own, made] = [named.get(`${tid}:${fd}`), named.get(`${maker}:${fd}`)];
  return own !== undefined && made !== undefined && [...own].every((key) => !made.has(key));
}

function candidatesByDescriptor(facts: Facts, named: NamedVms, thread: ThreadFacts): number[] {
  const found = new Set<number>();
  // What the thread made itself tells nothing of others.
  const add = (makers: readonly FdRecord[]): void => {
    if (!makers.some(({ tid }) => tid === thread.tid)) for (const { tid } of makers) found.add(tid);
  };
  for (const run of runsVcpu(facts, thread) ? thread.runs : []) {
    const makers = facts.fds.filter((f) => f.what === 'vcpu' && f.fd === run.fd && f.ts <= run.ts);
    add(makers.filter((f) => thread.vcpus.size === 0 || thread.vcpus.has(f.arg)));
  }
  for (const [fd, ts] of thread.setsAttributes ? thread.attributeFds : [])
    add(
      facts.fds.filter(
        (f) => f.what !== 'vcpu' && f.fd === fd && f.ts <= ts && !isOtherVm(named, fd, thread.tid, f.tid),
      ),
    );
  return [...found].sort((a, b) => a - b);
}

/** Several processes may use the same descriptor numbers; threads are numbered soon after the process that makes them. */
function probableMaker(facts: Facts, named: NamedVms, thread: ThreadFacts): number | undefined {
  const makers = candidatesByDescriptor(facts, named, thread);
  return makers.findLast((m) => m < thread.tid) ?? makers[0];
}

export interface Processes {
  readonly processOf: ProcessOf;
  /** Threads that only their names put into a process together: which of them belong to one VMM nobody says. */
  readonly guessed: ReadonlySet<number>;
}

/**
 * Gives each thread a process key: its tgid; else the pid that a probe on it read; else the process of the thread with
 * which it shares a struct kvm, that made it, or with which it shares descriptors; else its own number.
 */
export function settleProcesses(facts: Facts, tasks: TaskFacts): Processes {
  const known = new Map<number, number>();
  const named = nameVms(facts);
  const byKey = new Map<number, number>();
  for (const thread of facts.threads.values()) {
    const process = tasks.tgidOf(thread.tid) ?? (Number.isNaN(thread.pid) ? null : thread.pid);
    if (process === null) continue;
    known.set(thread.tid, process);
    for (const key of thread.keys) byKey.set(key, process);
  }
  const settle = (tid: number, trail: ReadonlySet<number>): number => {
    const done = known.get(tid);
    if (done !== undefined) return done;
    const thread = facts.threads.get(tid);
    if (!thread || trail.has(tid)) return tid;
    const shared = [...thread.keys].find((key) => byKey.has(key));
    const maker = Number.isNaN(thread.maker) ? probableMaker(facts, named, thread) : thread.maker;
    const process =
      shared !== undefined ? byKey.get(shared)! : maker === undefined ? tid : settle(maker, new Set([...trail, tid]));
    known.set(tid, process);
    for (const key of thread.keys) if (!byKey.has(key)) byKey.set(key, process);
    return process;
  };
  const groupOf = groupLoners(facts, tasks);
  for (const tid of facts.threads.keys()) settle(tid, new Set());
  const isLoner = (tid: number): boolean => groupOf.has(tid) && (known.get(tid) ?? tid) === tid;
  const processOf: ProcessOf = (tid, ts) => {
    const then = tasks.tgidAt(tid, ts);
    if (then !== null) return then;
    return isLoner(tid) ? groupOf.get(tid)! : (known.get(tid) ?? tid);
  };
  const loners = [...groupOf.keys()].filter(isLoner);
  const sizes = new Map<number, number>();
  for (const tid of loners) sizes.set(groupOf.get(tid)!, (sizes.get(groupOf.get(tid)!) ?? 0) + 1);
  return { processOf, guessed: new Set(loners.filter((tid) => sizes.get(groupOf.get(tid)!)! > 1)) };
}

/**
 * Guest-running threads of unknown process and with nothing that ties them to one: they are taken as one process where
 * they have one name pattern, so that the vCPUs of one VM do not become a VM each; the VM's certainty says so.
 */
function groupLoners(facts: Facts, tasks: TaskFacts): Map<number, number> {
  const groups = new Map<string, number>();
  const result = new Map<number, number>();
  for (const thread of [...facts.threads.values()].sort((a, b) => a.tid - b.tid)) {
    if (!thread.runsGuest || tasks.tgidOf(thread.tid) !== null || thread.keys.size > 0) continue;
    const pattern = (tasks.commOf(thread.tid) ?? '').replace(/\d+/g, '#');
    if (!groups.has(pattern)) groups.set(pattern, thread.tid);
    result.set(thread.tid, groups.get(pattern)!);
  }
  return result;
}
