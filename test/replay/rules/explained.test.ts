/** What a finding tells beside its title, and what only looked like one: the cause, the company, the reason to let go. */
import { describe, expect, it } from 'vitest';
import { attempt, conversion, explain, judge, memoryFault, PAGE, reboot, times, type Fields } from './facts.js';

const usual = times(30, (k) => conversion(100 + k, { gpa: k * PAGE }));
const stop: Fields = { exit_ms: 1000.01, commit_ms: 1002, resume_ms: 1050, stop_ns: 50_000_000 };
const enters = (tid: number, atMs: number) => ({ kind: 'guest_entry' as const, tid, ts_ms: atMs });

describe('conversion-stall', () => {
  it('says how long in which phase, what is usual, and what the other vCPU did', async () => {
    const slow = conversion(1000, { ...stop, gpa: 0x100000, size: 2 * PAGE });
    const { findings } = await explain('conversion-stall', {
      tables: {
        conversion: [...usual.map((row) => ({ ...row, size: 2 * PAGE })), slow],
        conversion_attempt: [attempt(slow, 1, 1000.5, 1002)],
      },
      memoryEvents: [
        enters(102, 1010),
        enters(102, 1020),
        { kind: 'ioctl_enter', tid: 101, ts_ms: 1003, value: 0xae80 },
      ],
    });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain(
      'to userspace 10.0 µs, before the first ioctl 490.0 µs, ioctl 1.5 ms = 750.0 µs a page, after it 48.0 ms (1.0 ms to KVM_RUN, 47.0 ms in KVM)',
    );
    expect(findings[0]).toContain('100.0 µs (median of 31); a stall is over 10.0 ms and over 8 x that, 800.0 µs');
    expect(findings[0]).toContain('of 1 other vCPU, 1 ran on meanwhile (2 entries)');
    expect(findings[0]).toContain('KVM_RUN came soon, but the vCPU did not enter the guest');
  });

  it('says so where its thread had no CPU', async () => {
    const slow = conversion(1000, { ...stop, runnable_ns: 40_000_000, sleeping_ns: 6_000_000, blocked_ns: 2_000_000 });
    const { findings } = await explain('conversion-stall', { tables: { conversion: [...usual, slow] } });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain('most of it in waiting for a CPU');
    expect(findings[0]).toContain(
      'its thread: 4.0 ms on a CPU, 40.0 ms ready without one, 6.0 ms asleep (2.0 ms of it uninterruptible)',
    );
  });

  it('names the reference that it met and its holder', async () => {
    const slow = conversion(1000, {
      ...stop,
      direction: 'to_private',
      commit_ms: 1049,
      attempts: 3,
      failed_attempts: 2,
      mechanism: 'gmem-attributes',
    });
    const ref = { gmem_id: 1, vm_id: 1, offset: 0x3000, size: PAGE, tid: 77, comm: 'vhost', how: 'pin', taken_ms: 900 };
    const { findings } = await explain('conversion-stall', {
      tables: {
        conversion: [...usual.map((row) => ({ ...row, direction: 'to_private' })), slow],
        conversion_attempt: [
          attempt(slow, 1, 1001, 1002, { errno: 11, error_offset: 0x3000 }),
          attempt(slow, 2, 1020, 1021, { errno: 11, error_offset: 0x3000 }),
          attempt(slow, 3, 1048, 1049),
        ],
        page_ref: [{ ...ref, blocks_conversion: slow['conversion_id']!, certainty: 'observed' }],
      },
    });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain('met: a pin of vhost (77) on offset 0x3000, taken 100 ms before');
    expect(findings[0]).toContain('the ioctl failed and was tried again');
  });

  it('names the thread that was in an ioctl of the same VM', async () => {
    const slow = conversion(1000, { ...stop, commit_ms: 1049 });
    const other = conversion(1000, { vcpu: 1, tid: 102, gpa: 0x900000 });
    const { findings } = await explain('conversion-stall', {
      tables: {
        conversion: [...usual, slow, other],
        conversion_attempt: [attempt(slow, 1, 1001, 1049), attempt(other, 1, 1000.5, 1040, { tid: 102 })],
        task: [{ trace_id: 1, tid: 102, tgid: 100, comm: 'CPU 1/KVM' }],
      },
    });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain(
      'in the same VM CPU 1/KVM (102) was in a conversion or memslot ioctl, too, for 39.0 ms',
    );
    expect(findings[0]).toContain('the ioctl waited for others of the same VM (slots_lock)');
  });

  it('lets go of a stop in which the VMM held all vCPUs, and says why', async () => {
    const told = await explain('conversion-stall', {
      tables: { conversion: [...usual, conversion(1000, stop)] },
      memoryEvents: [{ kind: 'user_exit', tid: 102, ts_ms: 1003, result: -4 }, enters(102, 1050)],
    });
    expect(told).toEqual({
      findings: [],
      dismissed: [expect.stringMatching(/stopped its vCPU for 50\.0 ms[^]*held all vCPUs for 47\.0 ms.*migration/)],
    });
  });

  it('keeps a stop in which the other vCPU came back soon', async () => {
    const { findings } = await explain('conversion-stall', {
      tables: { conversion: [...usual, conversion(1000, stop)] },
      memoryEvents: [{ kind: 'user_exit', tid: 102, ts_ms: 1003, result: -4 }, enters(102, 1004)],
    });
    expect(findings).toHaveLength(1);
  });

  it('lets go of the first large flip, whose pages cost what pages cost', async () => {
    const some = times(30, (k) => conversion(100 + k, { size: 32 * PAGE, stop_ns: 3_200_000 }));
    const large = (ms: number): Fields => conversion(1000, { ...stop, size: 4096 * PAGE, stop_ns: ms * 1_000_000 });
    const first = await explain('conversion-stall', { tables: { conversion: [...some, large(400)] } });
    expect(first.findings).toEqual([]);
    expect(first.dismissed).toEqual([expect.stringContaining('it is large: 97.7 µs a page, where 100.0 µs is usual')]);
    const slow = await explain('conversion-stall', { tables: { conversion: [...some, large(40_000)] } });
    expect(slow.findings).toHaveLength(1);
  });
});

const pending: Fields = { outcome: 'pending', commit_ms: null, resume_ms: null, stop_ns: null, attempts: 0 };

describe('conversion-never-completed', () => {
  it('says where it hangs, and sums up those of one VM that hang alike', async () => {
    const hangs = times(3, (k) => conversion(1000 + k, { ...pending, gpa: k * PAGE }));
    const { findings } = await explain('conversion-never-completed', {
      tables: { conversion: hangs },
      memoryEvents: [{ kind: 'switch_out', tid: 101, ts_ms: 1003, value: 4 }, enters(102, 2000)],
    });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain('3 such requests');
    expect(findings[0]).toContain('it is in the VMM: no ioctl tried, no KVM_RUN');
    expect(findings[0]).toContain('thread 101 last left its CPU to sleep uninterruptibly');
    expect(findings[0]).toContain('of 1 other vCPU, 1 ran on');
  });

  it('tells an ioctl that does not return', async () => {
    const row = conversion(1000, { ...pending, attempts: 1 });
    const open = { ...attempt(row, 1, 1001, 1002), end_ms: null, errno: null };
    const { findings } = await explain('conversion-never-completed', {
      tables: { conversion: [row], conversion_attempt: [open] },
    });
    expect(findings).toEqual([expect.stringContaining('in the kernel: an ioctl was entered and did not return')]);
  });

  it('warns of a conversion of which a part was done', async () => {
    const half = conversion(1000, { outcome: 'failed', last_errno: 0, certainty: 'inferred', size: 8 * PAGE });
    const { findings } = await judge('conversion-never-completed', { tables: { conversion: [half] } });
    expect(findings).toEqual([expect.objectContaining({ severity: 'warning', verdict: 'fail' })]);
    expect(findings[0]!.title).toContain('1 ioctl that does not cover the range');
  });

  it('sees a guest hang whose range nobody saw', async () => {
    const row = conversion(1000, { ...pending, direction: null, gpa: null, size: null, certainty: 'unknown' });
    const { findings } = await judge('conversion-never-completed', { tables: { conversion: [row] } });
    expect(findings[0]!.title).toMatch(/^conversion of an unknown range: asked, not answered/);
  });
});

describe('conversion-retry-loop', () => {
  it('names the holder, and is one finding for all that meet it', async () => {
    const loops = times(2, (k) =>
      conversion(1000 + 100 * k, {
        direction: 'to_private',
        outcome: 'failed',
        gpa: k * PAGE,
        attempts: 12,
        failed_attempts: 12,
        last_errno: 11,
      }),
    );
    const tries = loops.flatMap((row, k) =>
      times(12, (n) =>
        attempt(row, n + 1, 1000 + 100 * k + n, 1000.5 + 100 * k + n, { errno: 11, error_offset: k * PAGE }),
      ),
    );
    const refs = loops.map((row, k) => ({
      vm_id: 1,
      gmem_id: 1,
      offset: k * PAGE,
      size: PAGE,
      tid: 77,
      comm: 'vhost',
      how: 'pin',
      taken_ms: 900,
      blocks_conversion: row['conversion_id']!,
      certainty: 'observed',
    }));
    const { findings } = await explain('conversion-retry-loop', {
      tables: { conversion: loops, conversion_attempt: tries, page_ref: refs },
    });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain('2 such loops');
    expect(findings[0]).toContain('met: a pin of vhost (77)');
  });

  it('counts faults that the VMM does nothing about, but not where the guest wants it another way between', async () => {
    const faults = times(4, (k) => memoryFault(1000 + k));
    const { findings } = await explain('conversion-retry-loop', {
      tables: { conversion: usual, memory_fault: faults },
    });
    expect(findings).toEqual([expect.stringContaining('4 faults that the VMM did nothing about')]);
    const both = times(6, (k) => memoryFault(1000 + k, { wanted: k % 2 === 0 ? 'private' : 'shared' }));
    expect(
      (await judge('conversion-retry-loop', { tables: { conversion: usual, memory_fault: both } })).findings,
    ).toEqual([]);
  });
});

describe('reboot-memory-faults', () => {
  const stale = (n: number, step: number) =>
    times(n, (k) => memoryFault(2000 + k, { gpa: k * step * PAGE, cause: 'stale-after-reboot', epoch: 1 }));

  it('says how the pages lie and what share of the boot they took', async () => {
    const tables = { ...reboot(1999, 40), memory_fault: stale(20, 1) };
    const { findings } = await explain('reboot-memory-faults', { tables });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain(
      '20 pages in 1 runs of contiguous memory, the longest 20 pages; 20 exits, 1.0 a page',
    );
    expect(findings[0]).toContain('most of them in gpa 0x0+80K');
    expect(findings[0]).toContain('% of the time of 2 vCPUs in the boot');
    const apart = await explain('reboot-memory-faults', { tables: { ...tables, memory_fault: stale(20, 2) } });
    expect(apart.findings[0]).toContain('20 pages in 20 runs');
  });

  it('keeps a boot with few such faults apart, with the reason', async () => {
    const told = await explain('reboot-memory-faults', { tables: { ...reboot(1999, 40), memory_fault: stale(5, 1) } });
    expect(told).toEqual({
      findings: [],
      dismissed: ['reboot 1: 5 excess memory faults, 40 pages left shared\nunder 16'],
    });
  });
});

describe('refcount-leak', () => {
  const ref = {
    vm_id: 1,
    gmem_id: 1,
    offset: 0x3000,
    size: PAGE,
    tid: 77,
    comm: 'vhost',
    how: 'pin',
    taken_ms: 900,
    certainty: 'observed',
  };

  it('tells busy from leaked', async () => {
    const held = await explain('refcount-leak', { tables: { page_ref: [ref] } });
    expect(held).toEqual({ findings: [], dismissed: [expect.stringContaining('its holder was alive')] });
    const ended = await explain('refcount-leak', { tables: { page_ref: [{ ...ref, holder_end_ms: 2000 }] } });
    expect(ended.findings).toEqual([expect.stringContaining('leaked, not busy: its holder had ended 58.00 s')]);
  });

  it('knows the end of a pin for DMA', async () => {
    const map = {
      vm_id: 1,
      gmem_id: 1,
      offset: 0x3000,
      iova: 0x1000,
      paddr: 0x1000,
      size: PAGE,
      tid: 77,
      mapped_ms: 901,
      certainty: 'observed',
    };
    const open = await explain('refcount-leak', { tables: { page_ref: [ref], dma_map: [map] } });
    expect(open).toEqual({ findings: [], dismissed: [expect.stringContaining('a DMA mapping of it is open')] });
    const ended = await explain('refcount-leak', {
      tables: { page_ref: [ref], dma_map: [{ ...map, unmapped_ms: 2000 }] },
    });
    expect(ended.findings).toEqual([expect.stringContaining('its DMA mapping was taken down 58.00 s')]);
  });
});
