import {
  attempt,
  conversion,
  interval,
  LAST_MS,
  memoryFault,
  PAGE,
  reboot,
  times,
  type Facts,
  type Fields,
} from '../facts.js';
import type { RuleCase } from './model.js';

const GMEM: Fields = { gmem_id: 1, vm_id: 1, inode: 850, size: 1024 * PAGE, how: 'test', certainty: 'observed' };
const inPlace: Fields = { direction: 'to_private', mechanism: 'gmem-attributes' };
const recorded = (name: string): NonNullable<Facts['events']> => [{ system: 'filemap', name, rows: [] }];

const stale = (n: number, fields: Fields = {}) =>
  times(n, (k) =>
    memoryFault(30_000 + k, { epoch: 1, cause: 'stale-after-reboot', gpa: k * PAGE, resume_ms: 30_001 + k, ...fields }),
  );
const resetCost = conversion(100, { direction: 'to_private' });
const afterReboot = (faults: readonly Fields[]): Facts => ({
  tables: {
    ...reboot(29_000, 64),
    memory_fault: faults,
    conversion: [resetCost],
    conversion_attempt: [attempt(resetCost, 1, 100.01, 100.011)],
  },
});

const blocked = conversion(1000, {
  ...inPlace,
  outcome: 'pending',
  commit_ms: null,
  resume_ms: null,
  failed_attempts: 5,
});
const pin = (fields: Fields = {}): Fields => ({
  vm_id: 1,
  gmem_id: 1,
  offset: 0,
  gpa: 0,
  size: PAGE,
  pfn: 77,
  tid: 200,
  comm: 'vhost',
  how: 'pin',
  taken_ms: 500,
  dropped_ms: null,
  holder_end_ms: 2000,
  certainty: 'observed',
  ...fields,
});

const dma = (mappedMs: number, unmappedMs: number | null, fields: Fields = {}): Fields => ({
  vm_id: 1,
  gmem_id: 1,
  offset: 0,
  iova: 0x10000,
  paddr: 77 * PAGE,
  size: PAGE,
  tid: 200,
  mapped_ms: mappedMs,
  unmapped_ms: unmappedMs,
  certainty: 'observed',
  ...fields,
});
const converted = conversion(1000, inPlace);
const triedTwice = conversion(1000, { ...inPlace, failed_attempts: 1, attempts: 2 });
const dmaFacts = (mappings: readonly Fields[], fields: Fields = {}): Facts => ({
  tables: {
    dma_map: mappings,
    conversion: [{ ...converted, ...fields }],
    conversion_attempt: [attempt(converted, 1, 1000.02, 1000.08)],
  },
});

const shared = conversion(1000, {});
const punched = (toMs: number, fields: Fields = {}): Facts => ({
  tables: { conversion: [shared], gmem_interval: [interval(1000.08, toMs, { state: 'shared-stale', ...fields })] },
  events: recorded('mm_filemap_add_to_page_cache'),
});

const slotAt = (gpa: number, fromMs: number, fields: Fields = {}): Fields => ({
  gmem_id: 1,
  vm_id: 1,
  slot: 1,
  gpa,
  offset: 0,
  size: 16 * PAGE,
  from_ms: fromMs,
  to_ms: null,
  how: 'probe on the binding',
  certainty: 'observed',
  ...fields,
});
const MOVED = 1024 * PAGE;
const reset = conversion(20_010, {
  origin: 'vmm',
  direction: 'to_private',
  size: 16 * PAGE,
  epoch: 1,
  request: 'none',
});
const rebound = (bindings: readonly Fields[], resets: readonly Fields[] = [reset]): Facts => ({
  tables: {
    ...reboot(20_000, 1),
    gmem: [GMEM],
    binding: bindings,
    conversion: resets,
    gmem_interval: [interval(1000, 21_000)],
    memory_fault: [memoryFault(22_000, { gpa: MOVED, epoch: 1 })],
  },
});

const remaps = (pages: readonly number[], tsMs: number): Facts => ({
  tables: {
    gmem: [GMEM],
    conversion: [triedTwice],
    conversion_attempt: [
      attempt(triedTwice, 1, 1000.01, 1000.02, { errno: 11, error_offset: 0 }),
      attempt(triedTwice, 2, 1000.06, 1000.08),
    ],
    task: [{ trace_id: 1, tid: 300, comm: 'io-thread' }],
  },
  events: [
    {
      system: 'gmem',
      name: 'fault_user',
      probeFn: 'kvm_gmem_fault_user_mapping',
      rows: pages.map((pgoff) => ({ ts_ms: tsMs, tid: 300, ino: 850, pgoff })),
    },
  ],
});

const cache = (...steps: readonly [number, 'add' | 'delete', number, number][]): Facts => ({
  tables: { gmem: [GMEM] },
  events: (['add_to', 'delete_from'] as const).map((what) => ({
    system: 'filemap',
    name: `mm_filemap_${what}_page_cache`,
    rows: steps
      .filter(([, step]) => what.startsWith(step))
      .map(([tsMs, , index, pfn]) => ({ ts_ms: tsMs, i_ino: 850, s_dev: 1, index, pfn, order: 0 })),
  })),
});

const punchedAndFreed = (pages: readonly number[], freed: readonly number[]): Facts => ({
  tables: { gmem: [GMEM] },
  events: [
    {
      system: 'filemap',
      name: 'mm_filemap_delete_from_page_cache',
      rows: pages.map((index) => ({ ts_ms: 100, i_ino: 850, s_dev: 1, index, pfn: 70 + index, order: 0 })),
    },
    { system: 'kmem', name: 'mm_page_free', rows: freed.map((index) => ({ ts_ms: 101, pfn: 70 + index, order: 0 })) },
  ],
});

export const MEMORY_CASES: readonly RuleCase[] = [
  {
    rule: 'reboot-memory-faults',
    what: '120 faults on pages that the boot before left shared',
    hit: afterReboot(stale(120)),
    severity: 'error',
    title:
      /^120 memory faults after reboot 1 on pages left shared, 121 ms in all; resetting the 64 shared pages would have cost about 64\.0 µs$/,
    miss: {
      'below 16': afterReboot(stale(15)),
      'on one page again and again': afterReboot(stale(120, { gpa: 0 })),
      'where the pages were never shared before': afterReboot(stale(120, { cause: 'mismatch' })),
      'in the first boot': afterReboot(stale(120, { epoch: 0 })),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'refcount-leak',
    what: 'a pin whose holder ended 58 s ago',
    hit: { tables: { page_ref: [pin()] } },
    severity: 'error',
    title: /^1 page at offset 0x0: pinned by vhost \(200\) and never dropped$/,
    miss: {
      'where it was dropped': { tables: { page_ref: [pin({ dropped_ms: 3000, dropped_by: 'holder' })] } },
      'where its holder is still there': { tables: { page_ref: [pin({ holder_end_ms: null })] } },
      'where its holder has just ended': { tables: { page_ref: [pin({ holder_end_ms: LAST_MS - 1000 })] } },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'refcount-leak',
    what: 'a pin that blocked a conversion until the VM was gone',
    hit: {
      tables: {
        conversion: [blocked],
        page_ref: [
          pin({
            blocks_conversion: blocked['conversion_id']!,
            holder_end_ms: null,
            dropped_ms: 9000,
            dropped_by: 'teardown',
          }),
        ],
      },
    },
    severity: 'error',
    title: /never dropped; a conversion to private failed on it$/,
    miss: {
      'where the holder let go in time': {
        tables: {
          conversion: [blocked],
          page_ref: [
            pin({
              blocks_conversion: blocked['conversion_id']!,
              holder_end_ms: null,
              dropped_ms: 9000,
              dropped_by: 'holder',
            }),
          ],
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'refcount-leak',
    what: 'a page that left the file and is not freed, as three others are',
    hit: punchedAndFreed([0, 1, 2, 3], [0, 1, 2]),
    severity: 'warning',
    title: /^1 page from offset 0x3000 left the file without being freed in 10\.00 s$/,
    miss: {
      'where all are freed': punchedAndFreed([0, 1, 2, 3], [0, 1, 2, 3]),
      'where none is seen being freed': punchedAndFreed([0, 1, 2, 3], []),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'dma-blocks-conversion',
    what: 'a try that fails while the page is mapped for DMA',
    hit: {
      tables: {
        dma_map: [dma(500, 1500)],
        conversion: [triedTwice],
        conversion_attempt: [attempt(triedTwice, 1, 1000.02, 1000.08, { errno: 11, error_offset: 0 })],
      },
    },
    severity: 'warning',
    title: /^conversion to private of gpa 0x0 met a DMA mapping \(iova 0x10000, offset 0x0\) 1 times$/,
    miss: {
      'where another page is mapped': {
        tables: {
          dma_map: [dma(500, 1500, { offset: PAGE })],
          conversion: [triedTwice],
          conversion_attempt: [attempt(triedTwice, 1, 1000.02, 1000.08, { errno: 11, error_offset: 0 })],
        },
      },
      'where it was unmapped before': {
        tables: {
          dma_map: [dma(500, 900)],
          conversion: [triedTwice],
          conversion_attempt: [attempt(triedTwice, 1, 1000.02, 1000.08, { errno: 11, error_offset: 0 })],
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'dma-mapped-at-flip',
    what: 'a page that becomes private while a device maps it',
    hit: dmaFacts([dma(500, 1500)]),
    severity: 'error',
    title:
      /^gpa 0x0\+4K became private while iova 0x10000 still mapped it for DMA, for 499\.9 ms more$|for 500 ms more$/,
    miss: {
      'where it was unmapped first': dmaFacts([dma(500, 999)]),
      'where it was mapped afterwards': dmaFacts([dma(1001, null)]),
      'where the shared memory lies elsewhere and is unmapped before the vCPU runs on': dmaFacts([dma(500, 1000.09)], {
        mechanism: 'vm-attributes',
      }),
      'where it becomes shared': dmaFacts([dma(500, 1500)], { direction: 'to_shared' }),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'attribute-mismatch',
    what: 'a VM and its guest_memfd that disagree for a minute',
    hit: { tables: { gmem_interval: [interval(1000, null, { state: 'mismatch', attribute: 'private' })] } },
    severity: 'error',
    title: /^the VM's attribute and the guest_memfd's disagree on 1 page from gpa 0x0\+4K for 59\.00 s$/,
    miss: {
      'for a moment': {
        tables: { gmem_interval: [interval(1000, 1500, { state: 'mismatch', attribute: 'private' })] },
      },
      'where one of the two is assumed': {
        tables: {
          gmem_interval: [interval(1000, null, { state: 'mismatch', attribute: 'private', certainty: 'assumed' })],
        },
      },
      'while it is being converted': {
        tables: {
          gmem_interval: [interval(1000, null, { state: 'mismatch', attribute: 'private', conversion: 'to_shared' })],
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'attribute-mismatch',
    what: 'one page bound at two addresses, private at one of them',
    hit: {
      tables: {
        gmem_interval: [
          interval(1000, null, { attribute: 'private', state: 'private' }),
          interval(1000, null, { gpa: MOVED }),
        ],
      },
    },
    severity: 'error',
    title: /^1 page from offset 0x0 is private at gpa 0x0 and shared at gpa 0x400000 for 59\.00 s$/,
    miss: {
      'where both are shared': {
        tables: { gmem_interval: [interval(1000, null), interval(1000, null, { gpa: MOVED })] },
      },
      'where they are different pages': {
        tables: {
          gmem_interval: [
            interval(1000, null, { attribute: 'private', state: 'private' }),
            interval(1000, null, { gpa: MOVED, offset: PAGE }),
          ],
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'punch-missing',
    what: 'a private copy that stays for 49 s',
    hit: punched(50_000),
    severity: 'warning',
    title: /^1 page from offset 0x0 became shared and kept the private copy for 49\.00 s$/,
    miss: {
      'where it is punched in time': punched(1500),
      'where it was never allocated': punched(50_000, { state: 'shared', allocation: 'unallocated' }),
      'where the state is assumed': punched(50_000, { certainty: 'assumed' }),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'reset-before-bind',
    what: 'a page left shared that is bound elsewhere after the reset',
    hit: rebound([slotAt(0, 100, { to_ms: 20_005 }), slotAt(MOVED, 20_020)]),
    severity: 'warning',
    title:
      /^1 page left shared before reboot 1 was bound at gpa 0x400000\+4K after the reset to private, which did not cover that; 1 of them faulted$/,
    miss: {
      'where it is bound where it was': rebound([slotAt(0, 100, { to_ms: 20_005 }), slotAt(0, 20_020)]),
      'where the slots never changed': rebound([slotAt(0, 100)]),
      'where the new place was reset, too': rebound(
        [slotAt(0, 100, { to_ms: 20_005 }), slotAt(MOVED, 20_020)],
        [reset, conversion(20_011, { origin: 'vmm', direction: 'to_private', gpa: MOVED, size: 16 * PAGE, epoch: 1 })],
      ),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'unmap-undone',
    what: 'a page faulted in again between two tries',
    hit: remaps([0], 1000.04),
    severity: 'info',
    title:
      /^1 page of gpa 0x0\+4K was faulted in again by io-thread \(300\) between two tries to make it private; 0 tries failed after that$/,
    miss: {
      'after the conversion': remaps([0], 1000.09),
      'before the first try': remaps([0], 999),
      'where another page is touched': remaps([5], 1000.04),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'illegal-transition',
    what: 'a page that is added twice',
    hit: cache([50, 'add', 9, 70], [60, 'delete', 9, 70], [100, 'add', 3, 77], [200, 'add', 3, 78]),
    severity: 'error',
    title: /^a page of the file was added twice without a removal between \(offset 0x3000\)$/,
    miss: {
      'where no removal is recorded at all': cache([100, 'add', 3, 77], [200, 'add', 3, 78]),
      'where it was removed between': cache([100, 'add', 3, 77], [150, 'delete', 3, 77], [200, 'add', 3, 78]),
      'where the removal is stamped a moment late': cache(
        [100, 'add', 3, 77],
        [200, 'add', 3, 78],
        [200.01, 'delete', 3, 77],
      ),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'illegal-transition',
    what: 'one frame at two places',
    hit: cache([50, 'add', 9, 70], [60, 'delete', 9, 70], [100, 'add', 3, 77], [200, 'add', 4, 77]),
    severity: 'error',
    title: /^one page frame is at two places of guest memory \(offset 0x4000\)$/,
    miss: {
      'where it was freed between': cache([100, 'add', 3, 77], [150, 'delete', 3, 77], [200, 'add', 4, 77]),
    },
    withLosses: 'inconclusive',
  },
];
