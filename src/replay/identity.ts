/**
 * Which VM, vCPU and guest_memfd: settled in one place, from everything the trace has (reference chapter 06), in
 * retrospect. Nothing else in the replay decides identity.
 */
import { makeDescriptors, type Descriptors } from './descriptors.js';
import type { FdRecord, Facts, HandleRecord, ThreadFacts } from './facts.js';
import { makeHandles } from './handles.js';
import { tidOf } from './lives.js';
import { runsVcpu, settleProcesses, type Processes, type ProcessOf, type TaskFacts } from './processes.js';

export type Certainty = 'observed' | 'inferred' | 'assumed' | 'unknown';

export interface VmIdentity {
  readonly id: number;
  /** Process key: a tgid, or the tid of the thread that made the VM where no tgid is known. */
  readonly process: number;
  readonly pid: number | null;
  readonly fd: number;
  /** KVM_CREATE_VM's argument, NaN where not seen. */
  readonly type: number;
  key: number;
  handle: number;
  isProtected: boolean | null;
  readonly fromTs: number;
  endTs: number;
  /** End of the VMM's process, NaN where not seen: its number may be another's after that. */
  goneTs: number;
  /** KVM_CREATE_GUEST_MEMFD was seen on it. */
  hasGmem: boolean;
  /** How many vCPUs were seen being made, whether they ever ran or not. */
  vcpusMade: number;
  readonly vcpus: Map<number, { tid: number; how: string; certainty: Certainty }>;
  how: string;
  certainty: Certainty;
}

interface Assignment {
  readonly ts: number;
  readonly vm: VmIdentity;
  readonly vcpu: number;
}

export interface Identity {
  readonly vms: readonly VmIdentity[];
  /** Process key of a thread at `ts`. */
  processOf(tid: number, ts: number): number;
  /** The VM whose vCPU this thread runs at `ts`, else the only VM of its process, else null. */
  vmOfThread(tid: number, ts: number): VmIdentity | null;
  /** vcpu_id that the thread runs, NaN where not known. */
  vcpuOfThread(tid: number, ts: number): number;
  /** The VM whose vCPU this thread was seen to run, null where it was not seen to run one. */
  vmOfVcpuThread(tid: number, ts: number): VmIdentity | null;
  /** The VM of a struct kvm pointer (48 bits) at `ts`. */
  vmOfKey(key: number, ts: number): VmIdentity | null;
  /** The VM of a pKVM handle at `ts`. */
  vmOfHandle(handle: number, ts: number): VmIdentity | null;
  /** What a descriptor of the thread's process is at `ts`: its record and VM. */
  fdOf(tid: number, fd: number, ts: number): { readonly record: FdRecord; readonly vm: VmIdentity } | null;
  /** Time of the thread's end, NaN where not seen. */
  endOfThread(tid: number): number;
}

interface Draft {
  vms: VmIdentity[];
  fds: Descriptors<VmIdentity>;
  keys: Map<number, { ts: number; vm: VmIdentity }[]>;
  threads: Map<number, Assignment[]>;
  handles: Map<HandleRecord, VmIdentity>;
}

function newVm(draft: Draft, process: number, pid: number | null, ts: number, how: string, certainty: Certainty) {
  const vm: VmIdentity = {
    id: draft.vms.length + 1,
    process,
    pid,
    fd: NaN,
    type: NaN,
    key: NaN,
    handle: NaN,
    isProtected: null,
    fromTs: ts,
    endTs: NaN,
    goneTs: NaN,
    hasGmem: false,
    vcpusMade: 0,
    vcpus: new Map(),
    how,
    certainty,
  };
  draft.vms.push(vm);
  return vm;
}

function latest<T extends { readonly ts: number }>(list: readonly T[] | undefined, ts: number): T | null {
  if (!list) return null;
  let found: T | null = null;
  for (const item of list) if (item.ts <= ts) found = item;
  return found;
}

function buildDescriptors(draft: Draft, facts: Facts, processOf: ProcessOf, pidOf: PidOf): void {
  for (const record of facts.fds) {
    const process = processOf(record.tid, record.ts);
    let vm: VmIdentity | null;
    if (record.what === 'vm') {
      vm = newVm(draft, process, pidOf(record.tid, record.ts), record.ts, 'KVM_CREATE_VM', 'observed');
      Object.assign(vm, { fd: record.fd, type: record.arg, goneTs: draft.fds.endOfProcess(process, record.ts) });
    } else {
      const parent = draft.fds.at(process, record.onFd, record.ts);
      vm = parent && parent.record.what === 'vm' ? parent.vm : null;
    }
    if (!vm) continue;
    draft.fds.add(process, record, vm);
    if (record.what === 'gmem') vm.hasGmem = true;
    if (record.what === 'vcpu') vm.vcpusMade++;
  }
}

type PidOf = (tid: number, ts: number) => number | null;

function assign(
  draft: Draft,
  thread: ThreadFacts,
  ts: number,
  vm: VmIdentity,
  vcpu: number,
  how: string,
  c: Certainty,
) {
  draft.threads.set(thread.tid, [...(draft.threads.get(thread.tid) ?? []), { ts, vm, vcpu }]);
  if (!Number.isNaN(vcpu) && !vm.vcpus.has(vcpu)) vm.vcpus.set(vcpu, { tid: thread.tid, how, certainty: c });
}

function assignByDescriptors(draft: Draft, facts: Facts, processOf: ProcessOf): void {
  for (const thread of facts.threads.values()) {
    if (!runsVcpu(facts, thread)) continue;
    for (const run of thread.runs) {
      const found = draft.fds.at(processOf(thread.tid, run.ts), run.fd, run.ts);
      if (found?.record.what === 'vcpu')
        assign(draft, thread, run.ts, found.vm, found.record.arg, 'KVM_RUN on its descriptor', 'observed');
    }
  }
}

/** The vcpu_id that the tracepoints of a thread name most often; NaN where they name none. */
function mainVcpu(thread: ThreadFacts): number {
  let best = NaN;
  let most = 0;
  for (const [vcpu, count] of thread.vcpus) {
    if (count > most) {
      best = vcpu;
      most = count;
    }
  }
  return best;
}

function setKey(draft: Draft, key: number, ts: number, vm: VmIdentity): void {
  const list = draft.keys.get(key) ?? [];
  if (list[list.length - 1]?.vm === vm) return;
  draft.keys.set(key, [...list, { ts, vm }]);
  if (Number.isNaN(vm.key)) vm.key = key;
}

/** struct kvm pointers → VMs: by the descriptor of the ioctl they were seen in, or the thread that runs the VM. */
function settleKeys(draft: Draft, facts: Facts, processOf: ProcessOf, pidOf: PidOf): void {
  const open: { key: number; tid: number; ts: number }[] = [];
  for (const sighting of facts.keys) {
    const byFd = Number.isNaN(sighting.fd)
      ? null
      : draft.fds.at(processOf(sighting.tid, sighting.ts), sighting.fd, sighting.ts);
    const vm = byFd?.vm ?? latest(draft.threads.get(sighting.tid), sighting.ts)?.vm;
    if (vm) setKey(draft, sighting.key, sighting.ts, vm);
    else open.push(sighting);
  }
  for (const sighting of open) {
    if (draft.keys.has(sighting.key)) continue;
    const process = processOf(sighting.tid, sighting.ts);
    const free = draft.vms.filter((vm) => vm.process === process && Number.isNaN(vm.key));
    const named = draft.vms.filter((vm) => vm.process === process);
    if (free.length === 1 && named.length === 1) setKey(draft, sighting.key, sighting.ts, free[0]!);
    else {
      const vm = newVm(
        draft,
        process,
        pidOf(sighting.tid, sighting.ts),
        sighting.ts,
        'struct kvm in a probe',
        'observed',
      );
      setKey(draft, sighting.key, sighting.ts, vm);
    }
  }
}

/** pKVM: a handle is reserved with each VM, and used again; create_hyp_vm names struct kvm and handle together. */
function settleHandles(draft: Draft, facts: Facts, processOf: ProcessOf, pidOf: PidOf): void {
  for (const record of facts.handles) {
    const process = processOf(record.tid, record.ts);
    let vm =
      latest(draft.threads.get(record.tid), record.ts)?.vm ??
      draft.vms.find(
        (v) => v.process === process && Number.isNaN(v.handle) && v.fromTs <= record.ts && !(v.endTs < record.ts),
      );
    vm ??= newVm(draft, process, pidOf(record.tid, record.ts), record.ts, 'pkvm_create_hyp_vm', 'observed');
    draft.handles.set(record, vm);
    vm.handle = record.handle;
    vm.isProtected = Number.isNaN(record.isProtected) ? null : record.isProtected === 1;
    vm.endTs = record.endTs;
    if (!Number.isNaN(record.key)) setKey(draft, record.key, record.ts, vm);
  }
}

function assignByKeys(draft: Draft, facts: Facts): void {
  for (const sighting of facts.keys) {
    const thread = facts.threads.get(sighting.tid)!;
    if (draft.threads.has(sighting.tid) || !thread.runsGuest) continue;
    const vm = latest(draft.keys.get(sighting.key), sighting.ts)?.vm;
    if (vm)
      assign(draft, thread, thread.firstTs, vm, mainVcpu(thread), 'struct kvm in a probe on its thread', 'observed');
  }
}

/**
 * Threads that run a guest but were tied to no VM: by their process. Two threads of a process with one vcpu_id are two
 * VMs; which threads then belong together nobody says, and thread numbers are taken in order (assumed).
 */
function assignByProcess(draft: Draft, facts: Facts, { processOf, guessed }: Processes, pidOf: PidOf): void {
  const left = [...facts.threads.values()]
    .filter((t) => t.runsGuest && !draft.threads.has(t.tid))
    .sort((a, b) => a.tid - b.tid);
  const before = new Set(draft.vms);
  for (const thread of left) {
    const process = processOf(thread.tid, thread.firstTs);
    const vcpu = mainVcpu(thread);
    const mine = draft.vms.filter((vm) => vm.process === process && !(vm.endTs < thread.firstTs));
    const room = mine.filter((vm) => Number.isNaN(vcpu) || !vm.vcpus.has(vcpu));
    if (room.length === 0) {
      const how = guessed.has(thread.tid) ? 'threads of one name that run a guest' : 'threads that run a guest';
      const sure: Certainty = guessed.has(thread.tid) ? 'assumed' : 'inferred';
      const vm = newVm(draft, process, pidOf(thread.tid, thread.firstTs), thread.firstTs, how, sure);
      assign(draft, thread, thread.firstTs, vm, vcpu, 'tracepoints of its thread', sure);
    } else if (room.length === 1 || room.every((vm) => !before.has(vm))) {
      const certainty = mine.length === 1 && !guessed.has(thread.tid) ? 'inferred' : 'assumed';
      assign(draft, thread, thread.firstTs, room[0]!, vcpu, 'process and vcpu_id', certainty);
    }
  }
}

/** A number that looked like KVM_CREATE_VM may be any device's: a VM shows itself by more than its creation. */
function isReal(vm: VmIdentity, draft: Draft): boolean {
  if (vm.vcpus.size > 0 || !Number.isNaN(vm.key) || vm.certainty !== 'observed') return true;
  if (draft.fds.hasMore(vm)) return true;
  return [...draft.threads.values()].some((list) => list.some((a) => a.vm === vm));
}

/** Settles who is who. `tasks` maps thread to process and name as far as the trace tells. */
export function settleIdentity(facts: Facts, tasks: TaskFacts): Identity {
  const processes = settleProcesses(facts, tasks);
  const { processOf } = processes;
  const pidOf: PidOf = (tid, ts) => {
    const told = tasks.tgidAt(tid, ts) ?? tasks.tgidOf(tid);
    const probed = facts.threads.get(tid)?.pid ?? NaN;
    return told ?? (Number.isNaN(probed) ? null : probed);
  };
  const processPid: PidOf = (tid, ts) => {
    const process = processOf(tid, ts);
    const pid = pidOf(tid, ts) ?? (facts.threads.has(process) ? process : null);
    return pid === null ? null : tidOf(pid);
  };
  const isLeader = (tid: number): boolean => (tasks.tgidOf(tid) ?? facts.threads.get(tid)?.pid) === tid;
  const fds = makeDescriptors<VmIdentity>(facts.endings, processOf, isLeader);
  const draft: Draft = { vms: [], fds, keys: new Map(), threads: new Map(), handles: new Map() };
  buildDescriptors(draft, facts, processOf, processPid);
  assignByDescriptors(draft, facts, processOf);
  settleHandles(draft, facts, processOf, processPid);
  settleKeys(draft, facts, processOf, processPid);
  assignByKeys(draft, facts);
  assignByProcess(draft, facts, processes, processPid);
  const vms = draft.vms.filter((vm) => isReal(vm, draft));
  vms.forEach((vm, index) => Object.assign(vm, { id: index + 1 }));
  const real = new Set(vms);
  const ranBy = (tid: number, ts: number): VmIdentity | null => {
    const mine = draft.threads.get(tid);
    return mine ? (latest(mine, ts) ?? mine[0]!).vm : null;
  };
  const recordOf = makeHandles(facts.handles, facts.hypVms);
  return {
    vms,
    processOf,
    vmOfVcpuThread: ranBy,
    vmOfThread(tid, ts) {
      const ran = ranBy(tid, ts);
      if (ran) return ran;
      const process = processOf(tid, ts);
      const alive = vms.filter((vm) => vm.process === process && !(vm.endTs < ts) && !(vm.goneTs < ts));
      return alive.length === 1 ? alive[0]! : null;
    },
    vcpuOfThread(tid, ts) {
      const mine = draft.threads.get(tid);
      return mine ? (latest(mine, ts) ?? mine[0]!).vcpu : NaN;
    },
    vmOfKey(key, ts) {
      const list = draft.keys.get(key);
      return list ? (latest(list, ts) ?? list[0]!).vm : null;
    },
    vmOfHandle(handle, ts) {
      const record = recordOf(handle, ts);
      const vm = record && draft.handles.get(record);
      return vm && real.has(vm) ? vm : null;
    },
    fdOf(tid, fd, ts) {
      const found = draft.fds.at(processOf(tid, ts), fd, ts);
      return found && real.has(found.vm) ? found : null;
    },
    endOfThread: (tid) => facts.threads.get(tid)?.endTs ?? NaN,
  };
}
