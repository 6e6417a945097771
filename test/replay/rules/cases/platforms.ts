import { conversion, interval, PAGE, reboot, times, type Facts, type Fields } from '../facts.js';
import type { Kind } from '../../../../src/replay/kinds.js';
import type { RuleCase } from './model.js';

/** A fault at `tsMs` that asks `tries` times for its page before it is set. */
function busyFault(gpa: number, tsMs: number, tries: number): (Fields & { readonly kind: Kind })[] {
  return [
    { kind: 'guest_fault', ts_ms: tsMs, address: gpa, value: 2 },
    ...times(tries, (k) => ({ kind: 'spte_requested' as const, ts_ms: tsMs + 0.01 + k * 0.01, address: gpa })),
    { kind: 'spte_set', ts_ms: tsMs + 0.2, address: gpa },
  ];
}

const accepts = (tries: number, platform = 'tdx'): Facts => ({
  platform,
  memoryEvents: times(10, (k) => busyFault(k * PAGE, 100 + k, tries)).flat(),
});

/** RMP faults as (ms, gpa). */
const rmp = (faults: readonly (readonly [number, number])[], fields: Fields = {}, platform = 'snp'): Facts => ({
  platform,
  events: [
    {
      system: 'kvm',
      name: 'kvm_rmp_fault',
      rows: faults.map(([ts_ms, gpa]) => ({ ts_ms, vcpu_id: 0, gpa, rmp_level: 1, psmash_ret: 0, ...fields })),
    },
  ],
});
const fourPages = times(4, (k) => k * PAGE);

const pkvm = conversion(1000, {
  request: 'pkvm-hvc',
  mechanism: 'pkvm-hyp',
  direction: 'to_private',
  gmem_id: null,
  offset: null,
});
const reference = (fromMs: number, toMs: number | null): Fields => ({
  vm_id: 1,
  gpa: 0,
  size: PAGE,
  pfn: 5,
  tid: 300,
  comm: 'splicer',
  how: 'get',
  taken_ms: fromMs,
  dropped_ms: toMs,
  certainty: 'observed',
});
const taken = (ref: Fields): Facts => ({ platform: 'pkvm', tables: { conversion: [pkvm], page_ref: [ref] } });
const access = (how: string, certainty = 'observed'): Facts => ({
  platform: 'pkvm',
  tables: {
    host_access: [
      {
        vm_id: 1,
        tid: 300,
        comm: 'dumper',
        ts_ms: 500,
        gpa: 0,
        how,
        evidence_trace: 1,
        evidence_cpu: 0,
        evidence_seq: 1,
        certainty,
      },
    ],
  },
});
const kept = (after: readonly Fields[], platform = 'pkvm'): Facts => ({
  platform,
  tables: { ...reboot(20_000, 1), gmem_interval: [interval(1000, 21_000, { gmem_id: null, offset: null }), ...after] },
});

export const PLATFORM_CASES: readonly RuleCase[] = [
  {
    rule: 'sept-contention',
    what: 'ten faults that ask three times each',
    hit: accepts(3),
    severity: 'info',
    title: /^10 faults asked for their page again, up to 3 times, the slowest \(gpa 0x0\) for 200\.0 µs$/,
    miss: { 'that ask once': accepts(1), 'on another platform': accepts(3, 'snp') },
    withLosses: 'inconclusive',
  },
  {
    rule: 'rmp-contention',
    what: 'pages with three RMP faults each',
    hit: rmp(
      fourPages.flatMap(
        (gpa) =>
          [
            [100, gpa],
            [110, gpa],
            [120, gpa],
          ] as const,
      ),
    ),
    severity: 'warning',
    title: /^4 pages from gpa 0x0\+4K had 3 RMP faults and more within 100 ms$/,
    miss: {
      'with one each, as every first touch has': rmp(fourPages.map((gpa) => [100, gpa] as const)),
      'with three over a minute': rmp(
        fourPages.flatMap(
          (gpa) =>
            [
              [100, gpa],
              [20_000, gpa],
              [50_000, gpa],
            ] as const,
        ),
      ),
    },
    withLosses: 'fail',
  },
  {
    rule: 'rmp-contention',
    what: 'a split that the firmware refuses',
    hit: rmp([[100, 0]], { rmp_level: 2, psmash_ret: 6 }),
    severity: 'error',
    title: /^splitting an RMP entry failed 1 times \(PSMASH returned 6\)$/,
    miss: { 'that it does': rmp([[100, 0]]) },
    withLosses: 'fail',
  },
  {
    rule: 'rmp-contention',
    what: 'an entry of 2 MiB, where pages have 4 KiB',
    hit: rmp([[100, 0]], { rmp_level: 2 }),
    severity: 'info',
    title: /^1 RMP fault on 2 MiB entries from gpa 0x0\+4K, where guest_memfd has pages of 4 KiB only$/,
    miss: {
      'where the file has large pages': {
        ...rmp([[100, 0]], { rmp_level: 2 }),
        tables: { gmem: [{ gmem_id: 1, vm_id: 1, inode: 850, how: 'test', certainty: 'observed' }] },
        events: [
          ...rmp([[100, 0]], { rmp_level: 2 }).events!,
          { system: 'filemap', name: 'mm_filemap_add_to_page_cache', rows: [{ ts_ms: 50, i_ino: 850, order: 9 }] },
        ],
      },
    },
    withLosses: 'fail',
  },
  {
    rule: 'unshare-while-pinned',
    what: 'a page taken back while the host refers to it',
    hit: taken(reference(500, 2000)),
    severity: 'warning',
    title: /^the guest took back gpa 0x0\+4K while splicer \(300\) held a reference$/,
    miss: { 'after it let go': taken(reference(500, 900)), 'before it took it': taken(reference(1500, 2000)) },
    withLosses: 'inconclusive',
  },
  {
    rule: 'host-access-to-private',
    what: 'a page that the hypervisor had to zero',
    hit: access('forced-reclaim'),
    severity: 'error',
    title: /^dumper \(300\) made the kernel read private memory: the hypervisor zeroed and took gpa 0x0\+4K$/,
    miss: { 'of nobody': { platform: 'pkvm' } },
    withLosses: 'fail',
  },
  {
    rule: 'host-access-to-private',
    what: 'an access that was refused',
    hit: access('sigsegv'),
    severity: 'warning',
    title: /^dumper \(300\) touched private memory and was refused: gpa 0x0\+4K \(sigsegv\)$/,
    miss: { 'of nobody': { platform: 'pkvm' } },
    withLosses: 'fail',
  },
  {
    rule: 'stale-share',
    what: 'a page shared before a reset and never taken back',
    hit: kept([]),
    severity: 'warning',
    title: /^1 page from gpa 0x0\+4K was shared before reset 1 and never taken back after it$/,
    miss: {
      'where the next boot takes it back': kept([
        interval(21_000, null, { gmem_id: null, offset: null, attribute: 'private' }),
      ]),
      'where the platform forgets': kept([], 'x86-sw-protected'),
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'lost-events',
    what: 'a buffer that overflowed',
    hit: { tables: { lost: [{ trace_id: 1, cpu: 0, from_ms: 100, to_ms: 200, count: 7, source: 'ring buffer' }] } },
    severity: 'warning',
    title: /^7 events were lost in hand-made \(1 stretch: ring buffer\)$/,
    miss: { 'that did not': {} },
    withLosses: 'fail',
  },
];
