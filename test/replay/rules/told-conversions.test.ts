/** What findings about conversions tell beside their title: who stood still meanwhile, which memory, whose doing. */
import { describe, expect, it } from 'vitest';
import { attempt, conversion, explain, judge, memoryFault, PAGE, times, type Fields } from './facts.js';

const usual = times(30, (k) => conversion(100 + k, { gpa: k * PAGE }));
const stop: Fields = { gpa: 0x100000, exit_ms: 1000.01, commit_ms: 1002, resume_ms: 1050, stop_ns: 50_000_000 };

describe('conversion-stall', () => {
  const vcpus = times(4, (k) => ({ vm_id: 1, vcpu: k, tid: 101 + k, how: 'test', certainty: 'observed' }));

  it('tells which other vCPUs ran on, which stood still and which did not run', async () => {
    const other = conversion(1001, { gpa: 0x900000, vcpu: 2, tid: 103, resume_ms: 1040 });
    const { findings } = await explain('conversion-stall', {
      tables: { vcpu: vcpus, conversion: [...usual, conversion(1000, stop), other] },
      memoryEvents: [
        { kind: 'guest_entry', tid: 102, ts_ms: 990 },
        { kind: 'guest_entry', tid: 104, ts_ms: 980 },
        { kind: 'guest_exit', tid: 104, ts_ms: 985 },
      ],
    });
    expect(findings[0]).toContain(
      'of 3 other vCPUs, 1 ran on meanwhile (0 entries), 1 stood still for a conversion of its own, too (vcpu2), 1 did not run',
    );
  });

  it('says nothing of other vCPUs where entries are not recorded', async () => {
    const { findings } = await explain('conversion-stall', {
      tables: { vcpu: vcpus, conversion: [...usual, conversion(1000, stop)] },
    });
    expect(findings[0]).not.toContain('other vCPU');
  });

  it('takes more than a second for an error even where all are so slow, but not beyond 2 MiB', async () => {
    const slow = (pages: number) =>
      times(30, (k) => conversion(100 + k, { size: pages * PAGE, stop_ns: 1_500_000_000 }));
    expect((await judge('conversion-stall', { tables: { conversion: slow(1) } })).findings).toMatchObject([
      { severity: 'error', count: 30 },
    ]);
    expect((await judge('conversion-stall', { tables: { conversion: slow(100_000) } })).findings).toEqual([]);
  });

  it('shows both thresholds where too few are there to compare with, and the watchdog of the guest', async () => {
    const { findings } = await explain('conversion-stall', {
      tables: { conversion: [...usual.slice(0, 5), conversion(1000, { ...stop, resume_ms: 26_000, stop_ns: 25e9 })] },
    });
    expect(findings[0]).toContain(
      'only 6 such conversions to compare with (median 100.0 µs), so a stall is over 100 ms; from 20 on it would be over 10.0 ms and over 8 x their median',
    );
    expect(findings[0]).toContain("longer than the guest's watchdog waits (20.00 s)");
  });
});

describe('conversion-ping-pong', () => {
  const flips = (n: number, fields: Fields = {}) =>
    times(n, (k) => conversion(100 + 100 * k, { direction: k % 2 === 0 ? 'to_shared' : 'to_private', ...fields }));

  it('lists runs of memory that flipped equally often, the rate, and the bytes that moved', async () => {
    const rows = [...flips(8, { size: 4 * PAGE }), ...flips(6, { gpa: 4 * PAGE }), ...flips(6, { gpa: 5 * PAGE })];
    const { findings } = await explain('conversion-ping-pong', { tables: { conversion: rows } });
    expect(findings[0]).toContain('gpa 0x0+16K 8 times, 800.0 µs; gpa 0x4000+8K 6 times, 600.0 µs');
    expect(findings[0]).toContain('28.6 flips a second');
    expect(findings[0]).toContain('176K of memory moved between its two places');
  });

  it('moves no memory in place', async () => {
    const { findings } = await explain('conversion-ping-pong', {
      tables: { conversion: flips(8, { mechanism: 'gmem-attributes' }) },
    });
    expect(findings).toHaveLength(1);
    expect(findings[0]).not.toContain('moved');
  });

  it('takes faults for an alias only where they come from two vCPUs or places', async () => {
    const implicit = flips(8, { origin: 'implicit', request: 'fault' });
    const severity = async (rows: readonly Fields[], rips: readonly number[] = []) =>
      (
        await judge('conversion-ping-pong', {
          tables: { conversion: rows },
          memoryEvents: rips.map((address, k) => ({
            kind: 'guest_entry',
            ts_ms: Number(rows[k]!['resume_ms']),
            address,
          })),
        })
      ).findings.map((finding) => finding.severity);
    expect(await severity(implicit)).toEqual(['info']);
    expect(
      await severity(
        implicit,
        times(8, () => 0x1000),
      ),
    ).toEqual(['info']);
    expect(
      await severity(
        implicit,
        times(8, (k) => 0x1000 + (k % 2)),
      ),
    ).toEqual(['warning']);
    expect(await severity(implicit.map((row, k) => ({ ...row, vcpu: k % 2, tid: 101 + (k % 2) })))).toEqual([
      'warning',
    ]);
  });
});

describe('small-conversions', () => {
  const asked = conversion(100, { size: 16 * PAGE, attempts: 16 });
  const parts = (n: number, fields: Fields = {}) => times(n, (k) => attempt(asked, k + 1, 100 + k, 100.5 + k, fields));
  const titles = async (rows: readonly Fields[], attempts: readonly Fields[], more = {}) =>
    (
      await judge('small-conversions', { tables: { conversion: rows, conversion_attempt: attempts, ...more } })
    ).findings.map((finding) => finding.title);

  it('tells a request that the VMM split', async () => {
    expect(await titles([asked], parts(16))).toEqual([
      'the VMM split 1 request to_shared into 16 ioctls of 1.0 pages each, the most (16) for gpa 0x0+64K; 8.0 ms in them',
    ]);
  });

  it('is silent on a few parts, on large ones, and on tries that failed', async () => {
    expect(await titles([asked], parts(4))).toEqual([]);
    expect(await titles([{ ...asked, size: 1024 * PAGE }], parts(16))).toEqual([]);
    expect(await titles([{ ...asked, failed_attempts: 15 }], parts(16, { errno: 11 }))).toEqual([]);
  });

  it('tells the MSR protocol long after the boot, not during it', async () => {
    const boot = (fromMs: number) => ({
      boot_epoch: [{ vm_id: 1, epoch: 0, guest: 1, from_ms: fromMs, certainty: 'observed' }],
    });
    const rows = times(9, (k) => conversion(1000 + k, { request: 'snp-psc-msr', gpa: k * PAGE }));
    expect(await titles(rows, [], boot(-70_000))).toEqual([
      '9 pages were asked for one by one by the GHCB MSR protocol, the last 71.01 s after the boot began',
    ]);
    expect(await titles(rows, [], boot(0))).toEqual([]);
  });
});

describe('implicit-storm', () => {
  const storm = times(300, (k) => memoryFault(1000 + k * 0.5, { gpa: k * PAGE }));
  const shared = conversion(100, { size: 300 * PAGE });
  const born = (ms: number, more: readonly Fields[] = []) => [
    { vm_id: 1, epoch: 0, guest: 1, from_ms: ms, certainty: 'observed' },
    ...more,
  ];
  const title = async (boots: readonly Fields[], rows: readonly Fields[] = [shared]) =>
    (await judge('implicit-storm', { tables: { memory_fault: storm, conversion: rows, boot_epoch: boots } }))
      .findings[0]!.title;

  it('late in life, on memory that the guest had shared, is the sign of a kexec', async () => {
    expect(await title(born(-90_000))).toContain(
      '300 of them had been shared by requests of the guest, late in its life: a kexec?',
    );
  });

  it('is no such sign early, on other memory, or in a VM that rebooted', async () => {
    expect(await title(born(0))).not.toContain('kexec');
    expect(await title(born(-90_000), [{ ...shared, origin: 'vmm' }])).not.toContain('kexec');
    const second = { vm_id: 1, epoch: 1, guest: 1, from_ms: 900, certainty: 'observed' };
    expect(await title(born(-90_000, [second]))).not.toContain('kexec');
  });
});
