/** guest_memfd's page cache and the references on its folios (reference 03 A, E and G). */
import { PAGE_SIZE } from '../base/units.js';
import { emit, record, run } from './host.js';
import type { Flow, Task } from './host.js';
import type { Gmem, Page, World } from './model.js';
import { newPfn } from './model.js';

/** An empty SPTE: no present bit, suppress #VE. */
export const EMPTY_SPTE = 0x8000000000000000n;

/** Bits of page flags since 6.16 (include/linux/page-flags.h). */
const PG = { locked: 1, referenced: 4, uptodate: 8, dirty: 16, lru: 32, unevictable: 0x40000 } as const;

const USED = PG.uptodate | PG.dirty;

/** dev_t as trace events hold it. */
export function deviceNumber(major: number, minor: number): number {
  return major * 2 ** 20 + minor;
}

interface RefChange {
  readonly by: number;
  readonly flags?: number;
  readonly ret?: number;
}

/** One event on a folio's reference count, which has changed already. */
export function recordRef(task: Task, name: string, page: Page, mapping: bigint, change: RefChange): void {
  const lru = page.isInBatch ? 0 : PG.lru | PG.unevictable;
  record(task, name, {
    pfn: page.pfn,
    flags: change.flags ?? USED | PG.referenced | lru,
    count: page.refs,
    mapcount: page.isHostMapped ? 0 : -1,
    mapping,
    mt: 0,
    val: change.by,
    ret: change.ret ?? 0,
  });
}

/** Takes references by folio_try_get and the like. */
export function* takeRef(task: Task, gmem: Gmem, page: Page, by = 1): Flow {
  page.refs += by;
  recordRef(task, by === 1 ? 'page_ref_mod_unless' : 'page_ref_mod', page, gmem.mapping, { by, ret: 1 });
  yield run(300);
}

/** Drops references; the folio is freed with the last. */
export function* dropRef(task: Task, gmem: Gmem, page: Page, by = 1): Flow {
  page.refs -= by;
  recordRef(task, 'page_ref_mod_and_test', page, gmem.mapping, { by: -by, ret: page.refs === 0 ? 1 : 0 });
  yield run(300);
}

/**
 * The folio at a page index, allocated where there is none; the caller holds one reference more than before.
 * Order as in kvm_gmem_get_folio → __filemap_add_folio → folio_add_lru.
 */
export function* getFolio(task: Task, world: World, gmem: Gmem, index: number): Flow<Page> {
  const known = gmem.pages.get(index);
  if (known) {
    yield* takeRef(task, gmem, known);
    return known;
  }
  const page: Page = { pfn: newPfn(world), refs: 1, isInBatch: true, isHostMapped: false };
  gmem.pages.set(index, page);
  recordRef(task, 'page_ref_set', page, gmem.mapping, { by: 1, flags: 0 });
  yield run(350);
  page.refs++;
  recordRef(task, 'page_ref_mod', page, gmem.mapping, { by: 1, flags: PG.locked });
  yield run(350);
  yield* emit(task, 'mm_filemap_add_to_page_cache', cacheFields(world.gmemDevice, gmem.inode, index, page.pfn));
  page.refs++;
  recordRef(task, 'page_ref_mod', page, gmem.mapping, { by: 1, flags: PG.locked });
  yield run(350);
  return page;
}

/** Fields of the two page cache events; `minor` of a device without major number. */
export function cacheFields(minor: number, inode: number, index: number, pfn: number): Record<string, number> {
  return { i_ino: inode, pfn, index, s_dev: deviceNumber(0, minor), order: 0 };
}

/** The folio leaves its CPU's lru_add batch. */
export function* drainBatch(task: Task, gmem: Gmem, page: Page): Flow {
  if (!page.isInBatch) return;
  recordRef(task, 'page_ref_freeze', page, gmem.mapping, { by: 1, flags: USED, ret: 0 });
  yield run(250);
  page.isInBatch = false;
  page.refs--;
  recordRef(task, 'page_ref_mod_and_test', page, gmem.mapping, { by: -1 });
  yield run(250);
}

/** Indexes of the folios in [first, end), ascending. */
export function foliosIn(gmem: Gmem, first: number, end: number): number[] {
  if (end - first <= gmem.pages.size) {
    return Array.from({ length: end - first }, (_, i) => first + i).filter((index) => gmem.pages.has(index));
  }
  return [...gmem.pages.keys()].filter((index) => index >= first && index < end).sort((a, b) => a - b);
}

/** Takes the folios of [first, end) out of the page cache; whoever else holds one keeps it. */
export function* truncateFolios(
  task: Task,
  world: World,
  range: { readonly gmem: Gmem; readonly first: number; readonly end: number },
): Flow {
  const { gmem } = range;
  for (const index of foliosIn(gmem, range.first, range.end)) {
    const page = gmem.pages.get(index)!;
    yield* drainBatch(task, gmem, page);
    gmem.pages.delete(index);
    yield* emit(task, 'mm_filemap_delete_from_page_cache', cacheFields(world.gmemDevice, gmem.inode, index, page.pfn));
    if (world.options.platform === 'snp')
      yield* emit(task, 'mkshared', probeAt(task, 'mkshared', { pfn: page.pfn, n: 1 }));
    page.refs--;
    recordRef(task, 'page_ref_mod_and_test', page, 0n, { by: -1, ret: page.refs === 0 ? 1 : 0 });
    yield run(250);
  }
}

/** The values of a probe: its addresses and what it fetched. */
export function probeAt(
  task: Task,
  name: string,
  values: Readonly<Record<string, number | bigint>>,
): Readonly<Record<string, number | bigint>> {
  const probe = task.host.eventSet.get(name)?.probe;
  if (!probe) return values;
  return probe.isReturn
    ? { ...values, __probe_func: probe.address, __probe_ret_ip: probe.address + 0x1064n }
    : { ...values, __probe_ip: probe.address + 4n };
}

/** A host thread touches a shared page of an mmap'ed guest_memfd: the page table holds a reference from then on. */
export function* hostFault(
  task: Task,
  world: World,
  at: { readonly gmem: Gmem; readonly index: number; readonly hva: number },
): Flow<Page> {
  const { gmem, index, hva } = at;
  const present = gmem.pages.get(index);
  if (present?.isHostMapped) return present;
  yield* emit(task, 'hfault', probeAt(task, 'hfault', { vmf: 0xffffc90003a1bd88n, pgoff: index, addr: hva }));
  const page = yield* getFolio(task, world, gmem, index);
  page.isHostMapped = true;
  yield* emit(task, 'hfault_ret', probeAt(task, 'hfault_ret', { ret: 0x200 }));
  return page;
}

/** unmap_mapping_pages: the host loses its view of [first, end), and the references of its page tables go. */
export function* unmapHost(
  task: Task,
  range: { readonly gmem: Gmem; readonly first: number; readonly end: number; readonly hva: number },
): Flow {
  const { gmem, first, end, hva } = range;
  const mapped = foliosIn(gmem, first, end).filter((index) => gmem.pages.get(index)!.isHostMapped);
  if (mapped.length === 0) return;
  yield* emit(task, 'kvm_unmap_hva_range', { start: hva, end: hva + (end - first) * PAGE_SIZE });
  for (const index of mapped) {
    const page = gmem.pages.get(index)!;
    page.isHostMapped = false;
    yield* dropRef(task, gmem, page);
  }
}
