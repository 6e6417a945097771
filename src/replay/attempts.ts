/**
 * Attempts: one ioctl each, put together from whatever shows it — the system call, the tracepoint
 * kvm_vm_set_mem_attributes, probes on the functions inside — and handed on when it is over.
 */
import { PAGE_SIZE } from '../base/units.js';
import { bindingAt, fileOfDescriptor, nameDescriptor, vmOfFile, type Descriptor } from './binding-index.js';
import { evidenceOf, type MemoryEvent } from './event.js';
import { KVM_GMEM_CONVERT, KVM_SET_MEMORY_ATTRIBUTES, KVM_SET_MEMORY_ATTRIBUTES2 } from './facts.js';
import { markFlipping, settleAttempt, TDX_CHUNK } from './requests.js';
import { stateOf, type Attempt, type Direction, type Mechanism, type Replay, type Thread } from './state.js';

/** KVM_MEMORY_ATTRIBUTE_PRIVATE (include/uapi/linux/kvm.h). */
const KVM_MEMORY_ATTRIBUTE_PRIVATE = 8;

function directionOf(attributes: number): Direction | null {
  if (Number.isNaN(attributes)) return null;
  return Math.floor(attributes / KVM_MEMORY_ATTRIBUTE_PRIVATE) % 2 === 1 ? 'to_private' : 'to_shared';
}

/** How an ioctl converts, null for one that does not. */
export function mechanismOf(cmd: number): Mechanism | null {
  if (cmd === KVM_SET_MEMORY_ATTRIBUTES) return 'vm-attributes';
  if (KVM_SET_MEMORY_ATTRIBUTES2.some((c) => c === cmd)) return 'gmem-attributes';
  if (KVM_GMEM_CONVERT.some((c) => c === cmd)) return 'gmem-convert';
  return null;
}

function open(thread: Thread, ev: MemoryEvent, mechanism: Mechanism, endsBy: Attempt['endsBy'], fd: number): Attempt {
  const attempt: Attempt = {
    tid: thread.tid,
    startNs: ev.ts,
    endNs: NaN,
    fd,
    vm: thread.vm,
    inode: NaN,
    gpa: NaN,
    offset: NaN,
    size: NaN,
    direction: null,
    mechanism,
    errno: NaN,
    errorOffset: NaN,
    proven: false,
    noop: false,
    endsBy,
    evidence: evidenceOf(ev),
  };
  thread.attempt = attempt;
  return attempt;
}

/** ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES…) enters. */
export function openIoctlAttempt(replay: Replay, thread: Thread, ev: MemoryEvent, mechanism: Mechanism): void {
  const attempt = open(thread, ev, mechanism, replay.sources.ioctlExits ? 'ioctl' : 'event', ev.fd);
  const known = replay.identity.fdOf(thread.tid, ev.fd, ev.ts);
  if (mechanism === 'gmem-convert') attempt.direction = ev.value === KVM_GMEM_CONVERT[0] ? 'to_shared' : 'to_private';
  if (known && known.record.what === (mechanism === 'vm-attributes' ? 'vm' : 'gmem')) {
    attempt.vm = stateOf(replay, known.vm);
    attempt.proven = true;
    if (mechanism !== 'vm-attributes')
      attempt.inode = fileOfDescriptor(replay.bindingIndex, descriptorOf(replay, thread, ev.fd, ev.ts));
  }
}

/** A descriptor of the thread's process, since it means the file that it means at `ts`. */
export function descriptorOf({ identity }: Replay, { tid }: Thread, fd: number, ts: number): Descriptor {
  const since = identity.fdOf(tid, fd, ts)?.record.ts ?? -Infinity;
  return { process: identity.processOf(tid, ts), fd, since };
}

/** A probe or the tracepoint on the VM-wide way names range and attributes, in gpa. */
export function noteVmAttributes(replay: Replay, thread: Thread, ev: MemoryEvent, isProbe: boolean): void {
  let attempt = thread.attempt;
  if (!attempt || attempt.mechanism !== 'vm-attributes') {
    const endsBy = isProbe && replay.sources.vmAttrRet ? 'probe' : 'event';
    attempt = open(thread, ev, 'vm-attributes', endsBy, NaN);
  }
  const byKey = Number.isNaN(ev.vmKey) ? null : stateOf(replay, replay.identity.vmOfKey(ev.vmKey, ev.ts));
  attempt.vm = byKey ?? attempt.vm;
  attempt.gpa = ev.address;
  attempt.size = ev.size;
  attempt.direction = directionOf(ev.value);
  attempt.proven = true;
  // The tracepoint comes last of those that name the range: with nothing recorded that ends the ioctl, this is all.
  if (attempt.endsBy === 'event' && (!isProbe || !replay.sources.attrEvents)) finish(replay, thread, ev.ts, NaN);
  else markFlipping(replay, attempt, ev.ts);
}

/** A probe on the guest_memfd ioctl names inode, offset and attributes. */
export function noteGmemAttributes(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  let attempt = thread.attempt;
  if (!attempt || attempt.mechanism === 'vm-attributes')
    attempt = open(thread, ev, 'gmem-attributes', replay.sources.gmemAttrRet ? 'probe' : 'event', NaN);
  attempt.inode = ev.inode;
  attempt.offset = ev.address;
  attempt.size = ev.size;
  attempt.direction = directionOf(ev.value);
  attempt.proven = true;
  nameBindings(replay, thread, attempt);
  attempt.vm = vmOfFile(replay.bindingIndex, ev.inode) ?? attempt.vm;
  attempt.gpa = gpaOfRange(replay, attempt);
  if (attempt.endsBy === 'event') finish(replay, thread, NaN, NaN);
  else markFlipping(replay, attempt, ev.ts);
}

/** The ioctl's descriptor and the probe's inode are one file: slots that were bound by that descriptor lie in it. */
function nameBindings(replay: Replay, thread: Thread, { fd, inode, startNs }: Attempt): void {
  if (Number.isNaN(fd) || Number.isNaN(inode)) return;
  nameDescriptor(replay.bindingIndex, descriptorOf(replay, thread, fd, startNs), inode);
}

/** Where one binding covers the whole range of offsets: its gpa. */
function gpaOfRange(replay: Replay, { inode, offset, size }: Attempt): number {
  const bound = bindingAt(replay.bindingIndex, inode, offset, size);
  return bound ? offset - bound.offset + bound.gpa : NaN;
}

/** The guest_memfd function returns: result and, where it failed, error_offset. */
export function noteGmemResult(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const attempt = thread.attempt;
  if (!attempt) return;
  if (!Number.isNaN(ev.address)) noteRange(attempt, ev);
  attempt.errno = Math.abs(ev.result);
  if (ev.result !== 0 && !Number.isNaN(ev.extra)) attempt.errorOffset = ev.extra;
  if (attempt.endsBy === 'probe') finish(replay, thread, ev.ts, attempt.errno);
}

function noteRange(attempt: Attempt, ev: MemoryEvent): void {
  attempt.inode = ev.inode;
  attempt.offset = ev.address;
  attempt.size = ev.size;
  attempt.direction = directionOf(ev.value) ?? attempt.direction;
  attempt.proven = true;
}

/** The VM-wide function returns. */
export function noteVmResult(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const attempt = thread.attempt;
  if (!attempt || attempt.mechanism !== 'vm-attributes') return;
  attempt.errno = Math.abs(ev.result);
  if (attempt.endsBy === 'probe') finish(replay, thread, ev.ts, attempt.errno);
}

/** The ioctl of an open attempt returns `result` (negative errno, or 0). */
export function closeIoctlAttempt(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  if (thread.attempt?.endsBy === 'ioctl') finish(replay, thread, ev.ts, Math.abs(ev.result));
}

/** The trace ends, or lost events hide the rest: what was begun is kept without a result. */
export function dropAttempt(replay: Replay, thread: Thread): void {
  if (thread.attempt?.proven && !thread.tainted) finish(replay, thread, NaN, thread.attempt.errno);
  thread.attempt = null;
}

function finish(replay: Replay, thread: Thread, endNs: number, errno: number): void {
  const attempt = thread.attempt!;
  thread.attempt = null;
  attempt.endNs = endNs;
  attempt.errno = Number.isNaN(errno) ? attempt.errno : errno;
  adoptRequest(thread, attempt);
  if (!attempt.proven) return;
  if (attempt.vm && attempt.mechanism === 'vm-attributes') attempt.vm.usesAttrEvents = true;
  if (attempt.vm && attempt.mechanism !== 'vm-attributes') attempt.vm.inPlace = true;
  settleAttempt(replay, thread, attempt);
}

/**
 * System calls alone do not name the range of an ioctl on a guest_memfd: a vCPU thread that makes it while its guest
 * waits for a conversion makes it for that one.
 */
function adoptRequest(thread: Thread, attempt: Attempt): void {
  const request = thread.request;
  if (!request || !Number.isNaN(attempt.size)) return;
  attempt.proven = true;
  attempt.vm = attempt.vm ?? request.vm;
  // A fault's address may carry the shared bit: its page is settled with the fault (settle.ts).
  if (request.origin === 'explicit') {
    // One of a MapGPA's chunks.
    const done = request.way === 'tdx-mapgpa' ? (request.chunks - 1) * TDX_CHUNK : 0;
    attempt.gpa = request.gpa + done;
    attempt.size = request.way === 'tdx-mapgpa' ? Math.min(TDX_CHUNK, request.size - done) : request.size;
  } else attempt.size = PAGE_SIZE;
  attempt.direction = attempt.direction ?? request.direction;
}
