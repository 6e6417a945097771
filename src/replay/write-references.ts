/** References and DMA mappings → page_ref and dma_map: which of them made a conversion fail. */
import { PAGE_SIZE } from '../base/units.js';
import { orNull } from './event.js';
import { groupReferences, type ReferenceRun } from './references.js';
import type { Attempt, Conversion } from './state.js';
import { endOf, writeTable, type Tables } from './write.js';

const EAGAIN = 11;

interface Blocked {
  readonly conversion: Conversion;
  readonly id: number;
  readonly attempt: Attempt;
}

function blockedAttempts({ replay }: Tables): Blocked[] {
  return replay.conversions.flatMap((conversion, index) =>
    conversion.attempts.filter((a) => a.errno === EAGAIN).map((attempt) => ({ conversion, id: index + 1, attempt })),
  );
}

/** Offset at which an attempt failed: error_offset, else anything in the range. */
function blocks(run: ReferenceRun, { conversion, attempt }: Blocked): boolean {
  const inode = Number.isNaN(attempt.inode) ? conversion.inode : attempt.inode;
  if (inode !== run.inode) return false;
  const at = Number.isNaN(attempt.errorOffset) ? conversion.offset : attempt.errorOffset;
  const size = Number.isNaN(attempt.errorOffset) ? conversion.size : PAGE_SIZE;
  const end = Number.isNaN(attempt.endNs) ? attempt.startNs : attempt.endNs;
  const isHeld = run.takenNs < attempt.startNs && !(run.droppedNs < end);
  return isHeld && at < run.offset + run.size && at + size > run.offset;
}

function writeRuns(tables: Tables): void {
  const { store, replay, references, locator, gmems, tasks, facts, ns } = tables;
  const blocked = blockedAttempts(tables);
  const gmemInodes = new Set(gmems.all.map((g) => g.inode));
  const runs = groupReferences(references.all().filter((r) => gmemInodes.has(r.inode)));
  writeTable(store, 'page_ref', (writer) => {
    for (const run of runs.sort((a, b) => a.takenNs - b.takenNs)) {
      const gmem = gmems.of(run.inode, null, NaN);
      const vm = gmem?.vm ?? null;
      const lastRun = vm?.lastRunNs ?? NaN;
      const end = vm ? endOf(vm, facts) : NaN;
      const hit = blocked.find((b) => blocks(run, b));
      // A plain reference that hinders nobody is the kernel's own business, however long it lasts.
      if (run.how === 'get' && !hit) continue;
      const isTeardown = run.droppedNs > lastRun || run.droppedNs >= end;
      writer.add({
        vm_id: vm?.identity.id ?? null,
        gmem_id: gmem?.id ?? null,
        offset: run.offset,
        gpa: locator.gpaOf(run.inode, run.offset)?.gpa ?? null,
        size: run.size,
        pfn: run.refs[0]!.pfn,
        tid: run.tid,
        comm: tasks.commOf(run.tid),
        how: run.how,
        taken_ns: ns(run.takenNs),
        dropped_ns: ns(run.droppedNs),
        dropped_by: Number.isNaN(run.droppedNs) ? null : isTeardown ? 'teardown' : 'holder',
        blocks_conversion: hit?.id ?? null,
        holder_end_ns: ns(replay.identity.endOfThread(run.tid)),
        certainty: 'observed',
      });
    }
    if (!replay.sources.pageRefs) writeSuspected(tables, blocked, writer.add);
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
      taken_ns: ns(attempt.startNs),
      dropped_ns: freed ? ns(freed.commitNs) : null,
      dropped_by: freed ? 'holder' : null,
      blocks_conversion: last.id,
      holder_end_ns: null,
      certainty: 'inferred',
    });
  }
}

type Adder = (row: Readonly<Record<string, string | number | bigint | boolean | null>>) => void;

function writeMappings({ store, references, gmems, ns }: Tables): void {
  const gmemInodes = new Set(gmems.all.map((g) => g.inode));
  writeTable(store, 'dma_map', (writer) => {
    for (const m of references.mappings()) {
      if (!gmemInodes.has(m.inode)) continue;
      const gmem = gmems.of(m.inode, null, NaN);
      writer.add({
        vm_id: gmem?.vm?.identity.id ?? null,
        gmem_id: gmem?.id ?? null,
        offset: m.offset,
        iova: m.iova,
        paddr: m.paddr,
        size: m.size,
        tid: m.tid,
        mapped_ns: ns(m.mappedNs),
        unmapped_ns: ns(m.unmappedNs),
        certainty: 'observed',
      });
    }
  });
}

export function writeReferences(tables: Tables): void {
  writeRuns(tables);
  writeMappings(tables);
}
