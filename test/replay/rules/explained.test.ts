/** What a finding tells beside its title, and what only looked like one: the cause, the company, the reason to let go. */
import { describe, expect, it } from 'vitest';
import { attempt, conversion, explain, PAGE, times, type Fields } from './facts.js';

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
      'to userspace 10.0 us, before the first ioctl 490.0 us, ioctl 1.5 ms = 750.0 us a page, after it 48.0 ms (1.0 ms to KVM_RUN, 47.0 ms in KVM)',
    );
    expect(findings[0]).toContain('100.0 us (median of 31); a stall is over 10.0 ms and over 8 x that, 800.0 us');
    expect(findings[0]).toContain('of the 1 other vCPU 1 ran on meanwhile (2 entries)');
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
    expect(first.dismissed).toEqual([expect.stringContaining('it is large: 97.7 us a page, where 100.0 us is usual')]);
    const slow = await explain('conversion-stall', { tables: { conversion: [...some, large(40_000)] } });
    expect(slow.findings).toHaveLength(1);
  });
});
