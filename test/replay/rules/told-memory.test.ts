/** What findings about memory and references tell beside their title. */
import { describe, expect, it } from 'vitest';
import {
  attempt,
  conversion,
  explain,
  interval,
  judge,
  memoryFault,
  PAGE,
  times,
  withLosses,
  type Facts,
  type Fields,
} from './facts.js';

describe('refcount-leak', () => {
  const blocked = conversion(1000, { direction: 'to_private', outcome: 'pending', commit_ms: null, resume_ms: null });
  const tries = (n: number) =>
    times(n, (k) => attempt(blocked, k + 1, 1001 + k, 1001.5 + k, { errno: 11, error_offset: 0 }));
  const ref: Fields = {
    vm_id: 1,
    gmem_id: 1,
    offset: 0,
    size: PAGE,
    pfn: 77,
    tid: 200,
    comm: 'vhost',
    how: 'pin',
    taken_as: 'gup-fast',
    taken_ms: 900,
    blocks_conversion: blocked['conversion_id']!,
    certainty: 'observed',
  };
  const facts = (n: number, fields: Fields = {}) => ({
    tables: { conversion: [blocked], conversion_attempt: tries(n), page_ref: [{ ...ref, ...fields }] },
  });

  it('warns of a living holder that made tries fail to the end of the trace, and says who asked', async () => {
    const { findings } = await explain('refcount-leak', facts(5));
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain('pinned by vhost (200) and not dropped to the end of the trace');
    expect(findings[0]).toContain('taken as a pin by GUP-fast (+1, then +1023) by thread 200');
    expect(findings[0]).toContain('5 tries of 1 conversion to private failed on it, which vCPU 0 asked for');
    expect(findings[0]).toContain('leaked or busy');
    expect((await judge('refcount-leak', facts(5))).findings[0]).toMatchObject({ severity: 'warning' });
  });

  it('is silent after two tries, and where the holder let go', async () => {
    expect((await judge('refcount-leak', facts(2))).findings).toEqual([]);
    expect((await judge('refcount-leak', facts(5, { dropped_ms: 1200, dropped_by: 'holder' }))).findings).toEqual([]);
  });

  it('says where the kernel counted more than the trace explains', async () => {
    const { findings } = await explain('refcount-leak', facts(5, { seen_count: 1027, expected_count: 1025 }));
    expect(findings[0]).toContain('the kernel counted 1027 when it was taken, the trace explains 1025');
    const exact = await explain('refcount-leak', facts(5, { seen_count: 1025, expected_count: 1025 }));
    expect(exact.findings[0]).not.toContain('the kernel counted');
  });

  it('shows the stack that a trigger recorded with it', async () => {
    const told = await explain('refcount-leak', {
      ...facts(5),
      events: [
        { system: 'page_ref', name: 'page_ref_mod', rows: [{ ts_ms: 900, seq: 5, pfn: 77 }] },
        { system: 'ftrace', name: 'kernel_stack', rows: [{ ts_ms: 900.001, seq: 6, caller: 1 }] },
      ],
    });
    expect(told.findings[0]).toContain('its stack is among the evidence');
  });
});

const titles = async (rule: string, facts: Facts): Promise<readonly string[]> =>
  (await judge(rule, facts)).findings.map((finding) => `${finding.severity}: ${finding.title}`);

describe('attribute-mismatch', () => {
  const gmem: Fields = { gmem_id: 1, vm_id: 1, inode: 850, flags: 0, how: 'test', certainty: 'observed' };
  /** Page 3 of the file is in frame 77 from 100 ms on, and the guest's mapping is set at `atMs`. */
  const used = (atMs: number, fields: Fields = {}, file: Fields = gmem, pfn = 77): Facts => ({
    tables: { gmem: [file], gmem_interval: [interval(1000, 9000, { gpa: 3 * PAGE, offset: 3 * PAGE, ...fields })] },
    events: [
      { system: 'filemap', name: 'mm_filemap_add_to_page_cache', rows: [{ ts_ms: 100, pfn: 77, i_ino: 850 }] },
      { system: 'filemap', name: 'mm_filemap_delete_from_page_cache', rows: [{ ts_ms: 8000, pfn: 77, i_ino: 850 }] },
      {
        system: 'kvmmmu',
        name: 'kvm_mmu_set_spte',
        rows: [{ ts_ms: atMs, gfn: 3, spte: pfn * PAGE + 0x8e7, level: 1 }],
      },
    ],
  });

  it('tells a page of the file that is mapped while its attribute is shared', async () => {
    expect(await titles('attribute-mismatch', used(2000))).toEqual([
      'error: 1 page of the guest_memfd mapped into the guest while the attribute was shared, the first gpa 0x3000+4K, 1.00 s after it was set',
    ]);
    expect((await judge('attribute-mismatch', withLosses(used(2000)))).findings).toMatchObject([
      { verdict: 'inconclusive' },
    ]);
  });

  it('is silent while it is private, close to a conversion, after it left the file, and for other frames', async () => {
    expect(await titles('attribute-mismatch', used(2000, { attribute: 'private', state: 'private' }))).toEqual([]);
    expect(await titles('attribute-mismatch', used(1000.5))).toEqual([]);
    expect(await titles('attribute-mismatch', used(8999.5))).toEqual([]);
    expect(await titles('attribute-mismatch', used(8500))).toEqual([]);
    expect(await titles('attribute-mismatch', used(2000, {}, gmem, 78))).toEqual([]);
  });

  it('is silent of a file that the host may map, or of which nobody knows', async () => {
    for (const flags of [1, 3, null])
      expect(await titles('attribute-mismatch', used(2000, {}, { ...gmem, flags }))).toEqual([]);
  });

  /** Slot 2 over the first MiB, set at 500 ms; `flags` 4 binds a guest_memfd. */
  const slot = (flags: number, toMs: number | null, faults: readonly Fields[] = []): Facts => ({
    tables: {
      gmem_interval: [interval(400, 5000, { attribute: 'private', state: 'private' })],
      memory_fault: faults,
      task: [{ trace_id: 1, tid: 100, tgid: 100, comm: 'vmm' }],
    },
    events: [
      {
        system: 'kprobes',
        name: 'vmioctl',
        probeFn: 'kvm_vm_ioctl',
        rows: [
          { ts_ms: 500, tid: 100, cmd: 0x40a0ae49, a0: 2 + flags * 2 ** 32, a1: 0, a2: 0x100000 },
          ...(toMs === null ? [] : [{ ts_ms: toMs, tid: 100, cmd: 0x40a0ae49, a0: 2, a1: 0, a2: 0 }]),
        ],
      },
    ],
  });

  it('tells private memory in a memslot without guest_memfd', async () => {
    expect(await titles('attribute-mismatch', slot(0, null))).toEqual([
      'warning: 1 page from gpa 0x0+4K is private in memslot 2, which has no guest_memfd; they were set before the memslot came',
    ]);
    const [told] = await titles('attribute-mismatch', slot(0, null, [memoryFault(600)]));
    expect(told).toMatch(/^error: .*; 1 memory faults there$/);
  });

  it('is silent of a memslot with one, and of one that goes at once', async () => {
    expect(await titles('attribute-mismatch', slot(4, null))).toEqual([]);
    expect(await titles('attribute-mismatch', slot(0, 600))).toEqual([]);
  });

  it('remarks that both ioctls are in use', async () => {
    const rows = [conversion(100), conversion(200, { mechanism: 'gmem-attributes' })];
    const tables = { conversion: rows, gmem_interval: [interval(100, 200)] };
    expect(await titles('attribute-mismatch', { tables })).toEqual([
      "info: 2 conversions: some by the VM's attributes, some by the guest_memfd's",
    ]);
    expect(await titles('attribute-mismatch', { tables: { ...tables, conversion: rows.slice(0, 1) } })).toEqual([]);
  });
});

describe('punch-missing', () => {
  const HVA = 0x7f00_0000_0000;
  const recorded = { system: 'filemap', name: 'mm_filemap_add_to_page_cache', rows: [] };
  const toPrivate = times(6, (k) => conversion(2000 + 10 * k, { direction: 'to_private', gpa: k * PAGE, tid: 101 }));
  const toShared = times(6, (k) => conversion(1000 + 10 * k, { gpa: k * PAGE }));
  const discards = (pages: readonly number[], atMs = 2000.09) =>
    pages.map((k) => ({
      kind: 'discard_enter' as const,
      ts_ms: atMs + 10 * k,
      address: HVA + k * PAGE,
      size: PAGE,
      value: 4,
    }));
  const facts = (
    pages: readonly number[],
    more: readonly Fields[] = [],
    late: ReturnType<typeof discards> = [],
  ): Facts => ({
    tables: { conversion: [...toShared, ...toPrivate, ...more], gmem_interval: [interval(1000, 2000)] },
    memoryEvents: [...discards(pages), ...late],
    events: [recorded],
  });

  it('tells a shared copy that stays where the VMM discards all others', async () => {
    expect(await titles('punch-missing', facts([0, 1, 2, 3, 5]))).toEqual([
      'warning: 1 page from gpa 0x4000+4K became private and kept the shared copy; after 5 other conversions the VMM discarded it',
    ]);
  });

  it('is silent where all are discarded, be it a little later, or where it never discards', async () => {
    expect(await titles('punch-missing', facts([0, 1, 2, 3, 4, 5]))).toEqual([]);
    expect(await titles('punch-missing', facts([0, 1, 2, 3, 5], [], discards([4], 2500)))).toEqual([]);
    expect(await titles('punch-missing', facts([]))).toEqual([]);
  });

  it('is silent of memory that was never shared, or that is shared again soon', async () => {
    const again = conversion(2100, { gpa: 4 * PAGE });
    expect(await titles('punch-missing', facts([0, 1, 2, 3, 5], [again]))).toEqual([]);
    const never = facts([0, 1, 2, 3, 5]);
    const tables = { ...never.tables, conversion: [...toShared.filter((_, k) => k !== 4), ...toPrivate] };
    expect(await titles('punch-missing', { ...never, tables })).toEqual([]);
  });

  it('says how much was allocated twice', async () => {
    const rows = [conversion(1000, { size: 2 * PAGE })];
    const stale = [0, 1].map((k) =>
      interval(1000.08, k === 0 ? 4000 : null, { gpa: k * PAGE, offset: k * PAGE, state: 'shared-stale' }),
    );
    const { findings } = await explain('punch-missing', {
      tables: { conversion: rows, gmem_interval: stale },
      events: [recorded],
    });
    expect(findings[0]).toContain('allocated twice: 8K at the peak, 4K at the end of the trace; of 0 % the old copy');
  });
});
