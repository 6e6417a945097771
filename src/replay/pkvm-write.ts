/** What pKVM adds to the result tables: references on donated frames, and the host's accesses to private pages. */
import { PAGE_SIZE } from '../base/units.js';
import { orNull } from './event.js';
import { tidOf } from './lives.js';
import { certaintyOfHold, isTeardown, writeTable, type Tables } from './result-tables.js';

/** Shorter references are noise of the kernel's own paths (references.ts). */
const SHORTEST_KEPT_NS = 1_000_000;

/** Rows of page_ref for frames of protected guests; a plain reference counts only where the guest took the page back. */
export function writeFrameReferences(tables: Tables): void {
  const { store, replay, tasks, ns } = tables;
  const { pkvm } = replay;
  const held = [...pkvm.references, ...[...pkvm.frames.values()].flatMap((frame) => frame.out)];
  const kept = held.filter((ref) => !(ref.droppedNs - ref.takenNs < SHORTEST_KEPT_NS));
  const unshares =
    kept.length === 0 ? [] : replay.conversions.filter((c) => c.direction === 'to_private' && c.outcome === 'done');
  writeTable(store, 'page_ref', (writer) => {
    for (const ref of kept.sort((a, b) => a.takenNs - b.takenNs)) {
      const isTakenBack = unshares.some(
        (c) => c.vm === ref.vm && c.gpa === ref.gpa && c.commitNs > ref.takenNs && !(c.commitNs > ref.droppedNs),
      );
      if (ref.how === 'get' && !isTakenBack) continue;
      writer.add({
        vm_id: ref.vm.identity.id,
        gmem_id: null,
        offset: null,
        gpa: ref.gpa,
        size: PAGE_SIZE,
        pfn: ref.pfn,
        tid: tidOf(ref.tid),
        comm: tasks.commOf(ref.tid),
        how: ref.how,
        taken_as: null,
        seen_count: null,
        expected_count: null,
        taken_ns: ns(ref.takenNs),
        dropped_ns: ns(ref.droppedNs),
        dropped_by: Number.isNaN(ref.droppedNs) ? null : isTeardown(tables, ref.vm, ref) ? 'teardown' : 'holder',
        dropped_tid: null,
        dropped_comm: null,
        blocks_conversion: null,
        holder_end_ns: ns(replay.identity.endOfThread(ref.tid)),
        certainty: certaintyOfHold(tables, ref.takenNs, ref.droppedNs, tables.references.showsDrops()),
      });
    }
  });
}

export function writeHostAccesses({ store, replay, tasks, ns }: Tables): void {
  writeTable(store, 'host_access', (writer) => {
    for (const access of replay.pkvm.accesses) {
      writer.add({
        vm_id: access.vm?.identity.id ?? null,
        tid: orNull(tidOf(access.tid)),
        comm: Number.isNaN(access.tid) ? null : tasks.commOf(access.tid),
        ts_ns: ns(access.ts),
        gpa: orNull(access.gpa),
        hva: Number.isNaN(access.hva) ? null : BigInt(access.hva),
        pfn: orNull(access.pfn),
        how: access.how,
        evidence_trace: access.evidence.traceId,
        evidence_cpu: access.evidence.cpu,
        evidence_seq: access.evidence.seq,
        certainty: access.certainty,
      });
    }
  });
}
