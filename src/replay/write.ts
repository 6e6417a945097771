/** Writes what the replay found into the result tables. Times become absolute again; what is not known becomes NULL. */
import { PAGE_SIZE } from '../base/units.js';
import type { RowValue } from '../store/bulk.js';
import type { Store } from '../store/db.js';
import { displayState, lossesBefore, unpackAxes, type Axes } from './axes.js';
import { writeEpochCosts } from './epoch-costs.js';
import { orNull } from './event.js';
import { collectGmems, type Gmem, type GmemIndex } from './gmems.js';
import { forEachInterval } from './interval-log.js';
import { forEachOfAll } from './intervals.js';
import { writeFrameReferences, writeHostAccesses } from './pkvm-write.js';
import type { VmIdentity } from './identity.js';
import { tidOf } from './lives.js';
import { platformOf } from './platforms.js';
import type { TaskFacts } from './processes.js';
import { endOf, writeTable, type Results, type Tables } from './result-tables.js';
import { settle } from './settle.js';
import type { Conversion, Mechanism, Replay, VmState } from './state.js';
import { writeUnavailable } from './unavailable.js';
import { writeReferences } from './write-references.js';

function vmIdOf(vm: VmState | null): RowValue {
  return vm?.identity.id ?? null;
}

function commOfProcess(tasks: TaskFacts, { pid, process }: VmIdentity): string | null {
  return pid === null ? null : (tasks.commOf(process) ?? tasks.commOf(pid));
}

function writeVms({ store, replay, tasks, facts, ns }: Tables): void {
  writeTable(store, 'vm', (writer) => {
    for (const vm of replay.vms) {
      const { identity } = vm;
      writer.add({
        vm_id: identity.id,
        platform: platformOf(replay, vm),
        pid: identity.pid,
        comm: commOfProcess(tasks, identity),
        kvm: Number.isNaN(identity.key) ? null : BigInt(identity.key) | 0xffff_0000_0000_0000n,
        from_ns: ns(identity.fromTs),
        to_ns: ns(endOf(vm, facts)),
        how: identity.how,
        certainty: identity.certainty,
      });
    }
  });
  writeTable(store, 'vcpu', (writer) => {
    for (const { identity } of replay.vms)
      for (const [vcpu, { tid, how, certainty }] of [...identity.vcpus].sort((a, b) => a[0] - b[0]))
        writer.add({
          vm_id: identity.id,
          vcpu,
          tid: tidOf(tid),
          comm: tasks.commOf(tid),
          to_ns: ns(facts.threads.get(tid)?.endTs ?? NaN),
          how,
          certainty,
        });
  });
}

function writeGmems({ store, replay, gmems, ns }: Tables): void {
  writeTable(store, 'gmem', (writer) => {
    for (const gmem of gmems.all) {
      writer.add({
        gmem_id: gmem.id,
        vm_id: vmIdOf(gmem.vm),
        inode: Number.isNaN(gmem.inode) ? null : BigInt(gmem.inode),
        dev: Number.isNaN(gmem.inode) || Number.isNaN(replay.gmemDev) ? null : BigInt(replay.gmemDev),
        fd: orNull(gmem.fd),
        size: orNull(gmem.size),
        flags: Number.isNaN(gmem.flags) ? null : BigInt(gmem.flags),
        from_ns: ns(gmem.fromTs),
        to_ns: ns(replay.released.get(gmem.inode) ?? NaN),
        how: gmem.how,
        certainty: gmem.certainty,
      });
    }
  });
}

function writeBindings({ store, replay, gmems, ns }: Tables): void {
  writeTable(store, 'binding', (writer) => {
    const slots = replay.bindings.filter((b) => !Number.isNaN(b.slot));
    const shown = slots.length > 0 ? slots : replay.bindings;
    for (const b of shown) {
      writer.add({
        gmem_id: gmems.of(b.inode, b.vm, b.fd)?.id ?? null,
        vm_id: vmIdOf(b.vm),
        slot: orNull(b.slot),
        gpa: b.gpa,
        offset: b.offset,
        size: orNull(b.size),
        from_ns: ns(b.fromTs),
        to_ns: ns(b.toTs),
        how: b.how,
        certainty: b.certainty,
      });
    }
  });
}

/** Ways that keep the page where it is; KVM_SET_MEMORY_ATTRIBUTES alone has other memory for the shared view. */
const IN_PLACE: ReadonlySet<Mechanism> = new Set(['gmem-attributes', 'gmem-convert', 'vcpu-run', 'pkvm-hyp']);

function writeIntervals({ store, replay, locator, gmems, ns }: Tables): void {
  const inPlace = new Set(replay.vms.filter((vm) => [...vm.mechanisms].some((way) => IN_PLACE.has(way))));
  writeTable(store, 'gmem_interval', (writer) => {
    const put = (vm: VmState, first: number, count: number, axes: Axes, fromNs: number, endNs: number): void => {
      const gpa = first * PAGE_SIZE;
      const size = count * PAGE_SIZE;
      const located = locator.offsetOf(vm, gpa, size);
      writer.add({
        vm_id: vmIdOf(vm),
        gmem_id: located ? (gmems.of(located.inode, vm, NaN, fromNs)?.id ?? null) : null,
        gpa,
        offset: located?.offset ?? null,
        size,
        from_ns: ns(fromNs),
        to_ns: ns(endNs),
        allocation: axes.allocation,
        attribute: axes.attribute,
        shareability: axes.shareability,
        conversion: axes.conversion,
        state: displayState(axes, inPlace.has(vm)),
        certainty: axes.certainty,
      });
    };
    const add = (vm: VmState, first: number, count: number, state: number, fromNs: number, endNs: number): void => {
      const axes = unpackAxes(state);
      const doubtNs = doubtedSince(replay, state, axes);
      if (doubtNs > fromNs) put(vm, first, count, axes, fromNs, Math.min(doubtNs, endNs));
      if (doubtNs < endNs) put(vm, first, count, { ...axes, certainty: 'assumed' }, Math.max(doubtNs, fromNs), endNs);
    };
    forEachInterval(replay.intervals, (vmId, ...row) => add(replay.vms[vmId - 1]!, ...row));
    for (const vm of replay.vms)
      forEachOfAll(vm.map, (first, count, state, fromNs) => {
        if (state !== 0) add(vm, first, count, state, fromNs, Infinity);
      });
  });
}

/** When events were lost first after the view was seen last: from then on it may have changed unseen. Infinity: never. */
function doubtedSince({ lossTimes }: Replay, state: number, { certainty }: Axes): number {
  const isClaim = certainty === 'observed' || certainty === 'inferred';
  return isClaim ? (lossTimes[lossesBefore(state)] ?? Infinity) : Infinity;
}

function gmemOf(gmems: GmemIndex, row: Conversion): Gmem | null {
  const found = gmems.of(row.inode, row.vm, NaN);
  if (found) return found;
  // Memory of a protected VM under pKVM is the VMM's own; what a guest_memfd of its VMM is bound to cannot be shared.
  if (row.mechanism === 'pkvm-hyp') return null;
  return gmems.onlyOf(row.vm);
}

function writeConversions({ store, replay, gmems, ns }: Tables): void {
  writeTable(store, 'conversion', (writer) => {
    let id = 0;
    for (const row of replay.conversions) {
      const { attempts, evidence } = row;
      writer.add({
        conversion_id: ++id,
        vm_id: vmIdOf(row.vm),
        vcpu: orNull(row.vcpu),
        tid: tidOf(row.tid),
        gmem_id: gmemOf(gmems, row)?.id ?? null,
        gpa: orNull(row.gpa),
        offset: orNull(row.offset),
        size: orNull(row.size),
        direction: row.direction,
        origin: row.origin,
        request: row.way,
        mechanism: row.mechanism,
        outcome: row.outcome,
        request_ns: ns(row.requestNs),
        exit_ns: ns(row.exitNs),
        commit_ns: ns(row.commitNs),
        resume_ns: ns(row.resumeNs),
        first_use_ns: ns(row.firstUseNs),
        stop_ns: Number.isNaN(row.stopNs) ? null : Math.round(row.stopNs),
        runnable_ns: replay.sources.switches ? Math.round(row.runnableNs) : null,
        sleeping_ns: replay.sources.switches ? Math.round(row.sleepingNs) : null,
        blocked_ns: replay.sources.switches ? Math.round(row.blockedNs) : null,
        attempts: attempts.length,
        failed_attempts: attempts.reduce((n, a) => n + (a.errno > 0 ? 1 : 0), 0),
        last_errno: orNull(attempts[attempts.length - 1]?.errno ?? NaN),
        chunks: row.chunks,
        batch: row.batch > 0 ? row.batch : null,
        epoch: row.epoch,
        evidence_trace: evidence.traceId,
        evidence_cpu: evidence.cpu,
        evidence_seq: evidence.seq,
        evidence_ns: ns(evidence.ts),
        certainty: row.certainty,
      });
    }
  });
  writeTable(store, 'conversion_attempt', (writer) => {
    let id = 0;
    for (const row of replay.conversions) {
      id++;
      row.attempts.forEach((a, k) => {
        writer.add({
          conversion_id: id,
          attempt: k + 1,
          start_ns: ns(a.startNs),
          end_ns: ns(a.endNs),
          errno: orNull(a.errno),
          error_offset: orNull(a.errorOffset),
          tid: tidOf(a.tid),
        });
      });
    }
  });
}

function writeFaults({ store, replay, ns }: Tables): void {
  writeTable(store, 'memory_fault', (writer) => {
    for (const f of replay.faults) {
      writer.add({
        vm_id: vmIdOf(f.vm),
        vcpu: orNull(f.vcpu),
        tid: tidOf(f.tid),
        ts_ns: ns(f.ts),
        fault_ns: ns(f.faultNs),
        resume_ns: ns(f.resumeNs),
        gpa: orNull(f.gpa),
        size: PAGE_SIZE,
        wanted: f.wanted,
        cause: f.cause,
        epoch: f.epoch,
        conversion_id: f.conversion ? replay.conversions.idOf(f.conversion) : null,
        evidence_trace: f.evidence.traceId,
        evidence_cpu: f.evidence.cpu,
        evidence_seq: f.evidence.seq,
        certainty: f.certainty,
      });
    }
  });
}

function writePunches({ store, replay, gmems, ns }: Tables): void {
  writeTable(store, 'punch', (writer) => {
    for (const p of replay.punches) {
      writer.add({
        vm_id: vmIdOf(p.vm),
        gmem_id: gmems.of(p.inode, p.vm, p.fd)?.id ?? null,
        tid: tidOf(p.tid),
        offset: p.offset,
        size: p.size,
        start_ns: ns(p.startNs),
        end_ns: ns(p.endNs),
        errno: orNull(p.errno),
        certainty: p.certainty,
      });
    }
  });
}

/** VMs of one process of which one took over from the other are boots of one guest. */
function guestOf(replay: Replay, vm: VmState): number {
  const takeover = replay.reboots.find((r) => r.vm === vm && r.how.includes('new VM'));
  const before = replay.vms.findLast(
    (v) => v.identity.process === vm.identity.process && v.identity.id < vm.identity.id,
  );
  return takeover && before ? guestOf(replay, before) : vm.identity.id;
}

function writeReboots({ store, replay, facts, ns }: Tables): void {
  writeTable(store, 'reboot', (writer) => {
    for (const r of replay.reboots) {
      writer.add({
        vm_id: r.vm.identity.id,
        ts_ns: ns(r.ts),
        epoch: r.epoch,
        how: r.how,
        shared_pages: r.sharedPages,
        reset_ns: Math.round(r.resetNs),
        certainty: r.certainty,
      });
    }
  });
  writeTable(store, 'boot_epoch', (writer) => {
    for (const vm of replay.vms) {
      const mine = replay.reboots.filter((r) => r.vm === vm);
      const first = mine.find((r) => r.how.includes('new VM'))?.epoch ?? 0;
      const starts = [
        { epoch: first, from: vm.identity.fromTs, certainty: vm.identity.certainty },
        ...mine.filter((r) => r.epoch > first).map((r) => ({ epoch: r.epoch, from: r.ts, certainty: r.certainty })),
      ];
      starts.forEach(({ epoch, from, certainty }, k) => {
        const to = starts[k + 1]?.from ?? endOf(vm, facts);
        const guest = guestOf(replay, vm);
        writer.add({ vm_id: vm.identity.id, epoch, guest, from_ns: ns(from), to_ns: ns(to), certainty });
      });
    }
  });
}

/** Fills every result table of the replay. */
export async function writeResults(store: Store, results: Results): Promise<void> {
  const locator = settle(results.replay);
  const { baseNs } = results;
  const base = Number(baseNs);
  const isExact = Number.isSafeInteger(base + results.replay.lastNs);
  const ns = (t: number): number | bigint | null =>
    !Number.isFinite(t) ? null : isExact ? base + Math.round(t) : baseNs + BigInt(Math.round(t));
  const tables: Tables = { ...results, store, locator, gmems: collectGmems(results), ns };
  writeVms(tables);
  writeGmems(tables);
  writeBindings(tables);
  writeIntervals(tables);
  writeConversions(tables);
  writeFaults(tables);
  writePunches(tables);
  writeReboots(tables);
  await writeReferences(tables);
  writeFrameReferences(tables);
  writeHostAccesses(tables);
  await writeUnavailable(tables);
  await writeEpochCosts(store);
}
