/** Holes punched into a guest_memfd, and what a punch tells of gpa and offset. */
import { PAGE_SIZE } from '../base/units.js';
import { descriptorOf } from './attempts.js';
import { withAllocation } from './axes.js';
import { addBinding, bindingAt, fileOfDescriptor } from './binding-index.js';
import type { MemoryEvent } from './event.js';
import { setState } from './requests.js';
import type { Punch, Replay, Thread } from './state.js';
import { stateOf } from './state.js';

/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (include/uapi/linux/falloc.h). */
const PUNCH_HOLE = 3;

function isGmemDescriptor(replay: Replay, thread: Thread, fd: number, ts: number): boolean {
  return replay.identity.fdOf(thread.tid, fd, ts)?.record.what === 'gmem';
}

/** fallocate() enters, or the probe on kvm_gmem_fallocate fires: both show one punch. */
export function openPunch(replay: Replay, thread: Thread, ev: MemoryEvent, isProbe: boolean): void {
  if (ev.value !== PUNCH_HOLE) return;
  if (thread.punch && isProbe) {
    thread.punch.inode = ev.inode;
    thread.punch.proven = true;
    return;
  }
  const byFd = isProbe ? null : replay.identity.fdOf(thread.tid, ev.fd, ev.ts);
  thread.punch = {
    vm: (byFd ? stateOf(replay, byFd.vm) : null) ?? thread.vm,
    tid: thread.tid,
    inode: ev.inode,
    fd: ev.fd,
    offset: ev.address,
    size: ev.size,
    startNs: ev.ts,
    endNs: NaN,
    errno: NaN,
    certainty: 'observed',
    proven: isProbe || isGmemDescriptor(replay, thread, ev.fd, ev.ts),
  };
}

/** A page leaves the page cache inside an open punch: the file it belongs to is the one that is punched. */
export function notePunchedPage(replay: Replay, thread: Thread, ev: MemoryEvent): void {
  const punch = thread.punch;
  if (!punch || ev.address < punch.offset || ev.address >= punch.offset + punch.size) return;
  if (punch.proven) replay.gmemDev = ev.extra;
  if (Number.isNaN(punch.inode)) punch.inode = ev.inode;
}

/** The punch returns. Without a probe or a known descriptor it counts only where its thread just made that range shared. */
export function closePunch(replay: Replay, thread: Thread, endNs: number, result: number): void {
  const punch = thread.punch;
  if (!punch) return;
  thread.punch = null;
  punch.endNs = endNs;
  punch.errno = Math.abs(result);
  const flip = thread.lastShared;
  const follows = flip !== null && flip.size === punch.size && flip.startNs < punch.startNs;
  if (!punch.proven && !follows) return;
  if (!punch.proven) punch.certainty = 'inferred';
  replay.punches.push(punch);
  if (punch.errno === 0) noteFreed(replay, thread, punch);
  if (follows && !Number.isNaN(flip.gpa) && punch.errno === 0) pairWithFlip(replay, thread, punch);
}

/** After a punch no page of the range is in the file, whether there was one before or not. */
function noteFreed(replay: Replay, thread: Thread, { fd, inode, offset, size, startNs, endNs }: Punch): void {
  const { bindingIndex } = replay;
  const file = Number.isNaN(inode) ? fileOfDescriptor(bindingIndex, descriptorOf(replay, thread, fd, startNs)) : inode;
  const bound = bindingAt(bindingIndex, file, offset, size);
  if (!bound?.vm) return;
  const gpa = offset - bound.offset + bound.gpa;
  setState(replay, bound.vm, gpa, size, endNs, (state) => withAllocation(state, false));
}

function pairWithFlip(replay: Replay, thread: Thread, punch: Punch): void {
  const flip = thread.lastShared!;
  thread.lastShared = null;
  addBinding(replay.bindingIndex, {
    vm: flip.vm,
    inode: punch.inode,
    fd: punch.fd,
    slot: NaN,
    gpa: flip.gpa,
    offset: punch.offset,
    size: Math.max(PAGE_SIZE, punch.size),
    fromTs: punch.startNs,
    toTs: NaN,
    how: 'punch after an attribute change of the same length',
    certainty: 'inferred',
  });
}
