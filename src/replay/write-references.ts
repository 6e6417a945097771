/** References and DMA mappings → page_ref and dma_map: which of them made a conversion fail. */
import { PAGE_SIZE } from '../base/units.js';
import type { FramePage } from './dma.js';
import { orNull } from './event.js';
import type { Gmem } from './gmems.js';
import { tidOf } from './lives.js';
import type { Reference } from './references.js';
import type { AttemptRecord, Conversion } from './state.js';
import { certaintyOfHold, isTeardown, writeTable, type Tables } from './result-tables.js';

const EAGAIN = 11;
/** Pages of one call are taken (and dropped) within this time. */
const TOGETHER_NS = 10_000_000;

interface Blocked {
  readonly conversion: Conversion;
  readonly id: number;
  readonly attempt: AttemptRecord;
}

/** Attempts that a reference made fail: KVM's own attributes never say EAGAIN, only a guest_memfd does. */
function blockedAttempts({ replay }: Tables): Blocked[] {
  const found: Blocked[] = [];
  for (const conversion of replay.conversions) {
    if (conversion.mechanism === 'vm-attributes') continue;
    const id = replay.conversions.idOf(conversion);
    for (const attempt of conversion.attempts) if (attempt.errno === EAGAIN) found.push({ conversion, id, attempt });
  }
  return found;
}

/** Where a frame's page lies: its guest_memfd, offset and gpa, as far as all of the trace tells. */
interface Place {
  readonly gmem: Gmem | null;
  readonly offset: number;
  readonly gpa: number;
}

function placeOf({ gmems, locator, replay }: Tables, page: FramePage, ts: number): Place {
  const isElsewhere = !Number.isNaN(replay.gmemDev) && !Number.isNaN(page.dev) && page.dev !== replay.gmemDev;
  if (isElsewhere) return { gmem: null, offset: NaN, gpa: NaN };
  if (!Number.isNaN(page.inode)) {
    const gmem = gmems.of(page.inode, null, NaN, ts);
    const gpa = locator.gpaOf(page.inode, page.offset, gmem?.vm ?? null)?.gpa ?? NaN;
    return { gmem, offset: page.offset, gpa };
  }
  const located = page.vm ? locator.offsetOf(page.vm, page.gpa, PAGE_SIZE) : null;
  return { gmem: gmems.of(located?.inode ?? NaN, page.vm, NaN), offset: located?.offset ?? NaN, gpa: page.gpa };
}

/** Neighbouring pages taken by one thread in one go, dropped together or not at all. */
interface Run extends Place {
  readonly size: number;
  readonly first: Reference;
  readonly takenNs: number;
  readonly droppedNs: number;
}

function together(a: number, b: number): boolean {
  return (Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= TOGETHER_NS;
}

function groupRuns(tables: Tables): Run[] {
  const placed = tables.references
    .all()
    .map((ref) => ({ ref, place: placeOf(tables, ref, ref.takenNs) }))
    .filter(({ place }) => place.gmem !== null && !Number.isNaN(place.offset))
    .sort((a, b) => a.ref.tid - b.ref.tid || a.place.offset - b.place.offset || a.ref.takenNs - b.ref.takenNs);
  const runs: { size: number; first: Reference; last: Reference; place: Place }[] = [];
  const open = new Map<string, (typeof runs)[number]>();
  for (const { ref, place } of placed) {
    const key = `${place.gmem!.id} ${ref.tid} ${ref.how} ${place.offset}`;
    const run = open.get(key);
    if (run && together(run.last.takenNs, ref.takenNs) && together(run.last.droppedNs, ref.droppedNs)) {
      run.size += PAGE_SIZE;
      run.last = ref;
      open.delete(key);
      open.set(`${place.gmem!.id} ${ref.tid} ${ref.how} ${place.offset + PAGE_SIZE}`, run);
      continue;
    }
    const made = { size: PAGE_SIZE, first: ref, last: ref, place };
    runs.push(made);
    open.set(`${place.gmem!.id} ${ref.tid} ${ref.how} ${place.offset + PAGE_SIZE}`, made);
  }
  return runs
    .map(({ size, first, place }) => ({ ...place, size, first, takenNs: first.takenNs, droppedNs: first.droppedNs }))
    .sort((a, b) => a.takenNs - b.takenNs || a.offset - b.offset);
}

function blocks(tables: Tables, run: Run, { conversion, attempt }: Blocked): boolean {
  const inode = Number.isNaN(attempt.inode) ? conversion.inode : attempt.inode;
  if (tables.gmems.of(inode, conversion.vm, NaN) !== run.gmem) return false;
  const at = Number.isNaN(attempt.errorOffset) ? conversion.offset : attempt.errorOffset;
  const size = Number.isNaN(attempt.errorOffset) ? conversion.size : PAGE_SIZE;
  const end = Number.isNaN(attempt.endNs) ? attempt.startNs : attempt.endNs;
  const isHeld = run.takenNs < attempt.startNs && !(run.droppedNs < end);
  return isHeld && at < run.offset + run.size && at + size > run.offset;
}

/**
 * Events are missing while it was held: its end may be among them, and the drop that was seen another's. So it may be
 * where no drop at all is recorded.
 */
function mayBeOver({ replay, references }: Tables, { takenNs, droppedNs }: Run): boolean {
  if (Number.isNaN(droppedNs) && !references.showsDrops()) return true;
  const until = Number.isNaN(droppedNs) ? replay.lastNs : droppedNs;
  // A stretch ends with the first event after it, which may be the taking itself.
  const isIn = ({ from, to }: { readonly from: number; readonly to: number }): boolean =>
    from < until && (to > takenNs || from === takenNs);
  return replay.lost.some(isIn) || replay.gaps.some(isIn);
}

function writeRuns(tables: Tables): void {
  const { store, replay, tasks, ns } = tables;
  const blocked = blockedAttempts(tables);
  writeTable(store, 'page_ref', (writer) => {
    for (const run of groupRuns(tables)) {
      const hit = blocked.find((b) => blocks(tables, run, b));
      const { pfn, tid, how, takenAs, seenCount, expectedCount, droppedTid } = run.first;
      // A plain reference that hinders nobody is the kernel's own business, however long it lasts.
      if (how === 'get' && !hit) continue;
      const vm = run.gmem?.vm ?? null;
      const isLate = vm !== null && isTeardown(tables, vm, { tid, droppedNs: run.droppedNs });
      writer.add({
        vm_id: vm?.identity.id ?? null,
        gmem_id: run.gmem?.id ?? null,
        offset: run.offset,
        gpa: orNull(run.gpa),
        size: run.size,
        pfn,
        tid: tidOf(tid),
        comm: tasks.commOf(tid),
        how,
        taken_as: takenAs,
        seen_count: orNull(seenCount),
        expected_count: orNull(expectedCount),
        taken_ns: ns(run.takenNs),
        dropped_ns: ns(run.droppedNs),
        dropped_by: Number.isNaN(run.droppedNs) ? null : isLate ? 'teardown' : 'holder',
        dropped_tid: orNull(tidOf(droppedTid)),
        dropped_comm: Number.isNaN(droppedTid) ? null : tasks.commOf(droppedTid),
        blocks_conversion: hit?.id ?? null,
        holder_end_ns: ns(replay.identity.endOfThread(tid)),
        certainty: mayBeOver(tables, run) ? 'assumed' : 'observed',
      });
    }
    if (!replay.sources.pageRefs) writeSuspected(tables, blocked, (row) => writer.add(row));
  });
}

/**
 * Without page_ref events a reference shows by what it hinders: attempts that fail with EAGAIN again and again. It was
 * dropped when an attempt on that page went through.
 */
function writeSuspected({ replay, gmems, ns }: Tables, blocked: readonly Blocked[], add: Adder): void {
  const seen = new Map<string, { first: Blocked; last: Blocked }>();
  for (const b of blocked) {
    const at = Number.isNaN(b.attempt.errorOffset) ? b.conversion.offset : b.attempt.errorOffset;
    const key = `${b.conversion.vm?.identity.id}:${Number.isNaN(at) ? `gpa ${b.conversion.gpa}` : at}`;
    const entry = seen.get(key);
    if (entry) entry.last = b;
    else seen.set(key, { first: b, last: b });
  }
  for (const { first, last } of seen.values()) {
    const { conversion, attempt } = first;
    const at = Number.isNaN(attempt.errorOffset) ? conversion.offset : attempt.errorOffset;
    const freed = replay.conversions.find(
      (c) =>
        c.vm === conversion.vm &&
        c.direction === 'to_private' &&
        c.outcome === 'done' &&
        c.commitNs > last.attempt.startNs &&
        c.gpa <= conversion.gpa &&
        c.gpa + c.size > conversion.gpa,
    );
    add({
      vm_id: conversion.vm?.identity.id ?? null,
      gmem_id: gmems.of(conversion.inode, conversion.vm, NaN)?.id ?? null,
      offset: orNull(at),
      gpa: orNull(conversion.gpa),
      size: Number.isNaN(attempt.errorOffset) ? conversion.size || PAGE_SIZE : PAGE_SIZE,
      pfn: null,
      tid: null,
      comm: null,
      how: 'unknown',
      taken_as: null,
      seen_count: null,
      expected_count: null,
      taken_ns: ns(attempt.startNs),
      dropped_ns: freed ? ns(freed.commitNs) : null,
      dropped_by: freed ? 'holder' : null,
      dropped_tid: null,
      dropped_comm: null,
      blocks_conversion: last.id,
      holder_end_ns: null,
      certainty: 'inferred',
    });
  }
}

type Adder = (row: Readonly<Record<string, string | number | bigint | boolean | null>>) => void;

function writeMappings(tables: Tables): void {
  const { store, references, ns } = tables;
  writeTable(store, 'dma_map', (writer) => {
    for (const m of references.mappings()) {
      const { gmem, offset } = placeOf(tables, m, m.mappedNs);
      if (!gmem) continue;
      writer.add({
        vm_id: gmem.vm?.identity.id ?? null,
        gmem_id: gmem.id,
        offset: orNull(offset),
        iova: m.iova,
        paddr: m.paddr,
        size: m.size,
        tid: tidOf(m.tid),
        how: m.how,
        mapped_ns: ns(m.mappedNs),
        unmapped_ns: ns(m.unmappedNs),
        page_gone_ns: ns(m.pageGoneNs),
        blocks_conversion: null,
        flip_conversion: null,
        certainty: m.isAmbiguous
          ? 'inferred'
          : certaintyOfHold(tables, m.mappedNs, m.unmappedNs, references.showsUnmaps()),
      });
    }
  });
}

/** Which mapping was there, from its beginning to its end, when memory was tried to be made private in place. */
async function joinMappings({ store }: Tables): Promise<void> {
  const first = (errno: number, from: string, to: string): string => `
    (SELECT min(c.conversion_id) FROM conversion c JOIN conversion_attempt a USING (conversion_id)
      WHERE c.gmem_id = dma_map.gmem_id AND c.direction = 'to_private' AND c.mechanism <> 'vm-attributes' AND a.errno = ${errno}
        AND dma_map.mapped_ns < a.start_ns AND coalesce(dma_map.unmapped_ns > coalesce(a.end_ns, a.start_ns), true)
        AND dma_map."offset" < ${to} AND dma_map."offset" + dma_map.size > ${from})`;
  const end = 'c."offset" + c.size';
  const blocked = first(
    EAGAIN,
    'coalesce(a.error_offset, c."offset")',
    `coalesce(a.error_offset + ${PAGE_SIZE}, ${end})`,
  );
  const flipped = first(0, 'c."offset"', end);
  await store.run(`UPDATE dma_map SET blocks_conversion = ${blocked}, flip_conversion = ${flipped}`);
}

/** Fills page_ref and dma_map; the conversions are written before. */
export async function writeReferences(tables: Tables): Promise<void> {
  writeRuns(tables);
  writeMappings(tables);
  if (tables.references.mappings().length > 0) await joinMappings(tables);
}
