/** Rules about TDX, SNP and the host's own accesses: the forms beside their first (reference chapter 07 §11–13, §17). */
import { describe, expect, it } from 'vitest';
import type { Kind } from '../../../src/replay/kinds.js';
import { attempt, conversion, judge, PAGE, times, withLosses, type Facts, type Fields } from './facts.js';

const told = async (rule: string, facts: Facts): Promise<readonly string[]> =>
  (await judge(rule, facts)).findings.map((finding) => `${finding.severity}: ${finding.title}`);
type Event = Fields & { readonly kind: Kind };

describe('rmp-contention', () => {
  const MIB2 = 2 * 1024 * 1024;
  const rmp = (rows: readonly Fields[], memoryEvents: readonly Event[] = []): Facts => ({
    platform: 'snp',
    events: [
      {
        system: 'kvm',
        name: 'kvm_rmp_fault',
        rows: rows.map((row) => ({ vcpu_id: 0, gpa: 0, rmp_level: 1, psmash_ret: 0, ...row })),
      },
    ],
    memoryEvents,
  });
  const sets = (n: number, atMs: number): Event[] =>
    times(n, (k) => ({ kind: 'spte_set', ts_ms: atMs + k * 0.1, address: k * PAGE }));
  const first = times(200, (k) => ({ ts_ms: 100 + k, gpa: k * PAGE }));

  it('tells of more RMP faults than two for each mapping, not of one for each', async () => {
    expect(await told('rmp-contention', rmp(first, sets(50, 100)))).toEqual([
      'warning: up to 200 RMP faults a second, more than 2 for each mapping that was set',
    ]);
    expect(await told('rmp-contention', rmp(first, sets(200, 100)))).toEqual([]);
    expect(await told('rmp-contention', rmp(first))).toEqual([]);
  });

  it('says how much each split of 2 MiB costs', async () => {
    const splits = times(70, (k) => ({ ts_ms: 100 + k, gpa: k * MIB2, rmp_level: 2 }));
    const again = times(70, (k) =>
      times(3, (n): Event => ({ kind: 'spte_set', ts_ms: 101 + k + n, address: k * MIB2 + n * PAGE })),
    );
    expect(await told('rmp-contention', rmp(splits, again.flat()))).toEqual([
      'warning: up to 70 2 MiB RMP entries a second were split, 3.0 mappings set anew for each',
    ]);
    expect(await told('rmp-contention', rmp(splits))).toEqual([
      'warning: up to 70 2 MiB RMP entries a second were split',
    ]);
  });

  it('remarks faults that took far longer than usual from the exit on', async () => {
    const faults = (slowMs: number) => {
      const rows = times(40, (k) => ({ ts_ms: 1000 * k + (k < 5 ? slowMs : 0.1), gpa: k * PAGE }));
      const exits = times(40, (k): Event => ({ kind: 'guest_exit', ts_ms: 1000 * k, value: 0x400 }));
      return rmp(rows, exits);
    };
    expect(await told('rmp-contention', faults(20))).toEqual([
      'info: 5 RMP faults took up to 20.0 ms from the exit on (gpa 0x0+4K), over 8 x the usual',
    ]);
    expect(await told('rmp-contention', faults(0.5))).toEqual([]);
  });
});

describe('sept-contention, zaps', () => {
  const flips = times(10, (k) => conversion(1000 + 1000 * k, { tid: 101 }));
  const tries = flips.map((row, k) => attempt(row, 1, 1000 + 1000 * k, 1900 + 1000 * k));
  /** vCPU 1 is kicked `atMs` after the start of each conversion and comes back `stopMs` later. */
  const kicked = (atMs: number, stopMs: number, reason = 0xdead, platform = 'tdx'): Facts => ({
    platform,
    tables: { conversion: flips, conversion_attempt: tries },
    events: [{ system: 'kvmmmu', name: 'kvm_mmu_spte_requested', rows: [] }],
    memoryEvents: times(10, (k): Event[] => [
      { kind: 'guest_exit', tid: 102, ts_ms: 1000 + 1000 * k + atMs, value: reason },
      { kind: 'guest_exit', tid: 102, ts_ms: 1001 + 1000 * k + atMs, value: reason },
      { kind: 'guest_entry', tid: 102, ts_ms: 1000 + 1000 * k + atMs + stopMs },
    ]).flat(),
  });

  it('that kept the other vCPU out for more than a tenth of the trace', async () => {
    expect(await told('sept-contention', kicked(10, 800))).toEqual([
      'warning: conversions to shared and punches kept other vCPUs out of the guest for 8.00 s in all, 13 % of the trace, in 10 stops, the longest 800 ms',
    ]);
    expect((await judge('sept-contention', withLosses(kicked(10, 800)))).findings).toMatchObject([
      { verdict: 'inconclusive' },
    ]);
  });

  it('are none when short, of other exits, outside of conversions, or of other platforms', async () => {
    expect(await told('sept-contention', kicked(10, 100))).toEqual([]);
    expect(await told('sept-contention', kicked(10, 800, 1))).toEqual([]);
    expect(await told('sept-contention', kicked(910, 80))).toEqual([]);
    expect(await told('sept-contention', kicked(10, 800, 0xdead, 'snp'))).toEqual([]);
  });
});

describe('host-access-to-private on x86', () => {
  const task = [{ trace_id: 1, tid: 300, tgid: 100, comm: 'dumper' }];
  const fault = (where: 'kernel' | 'user', n: number, errorCode: number): Facts => ({
    platform: 'snp',
    tables: { task },
    events: [
      {
        system: 'exceptions',
        name: `page_fault_${where}`,
        rows: times(n, (k) => ({ ts_ms: 100 + k, tid: 300, address: 0x7000, error_code: errorCode })),
      },
    ],
  });
  const RMP = 2 ** 31 + 2;

  it('is an error: SIGBUS in a mapping of the guest_memfd', async () => {
    const access = { vm_id: 1, tid: 300, comm: 'dumper', ts_ms: 500, gpa: 0, how: 'sigbus' };
    const evidence = { evidence_trace: 1, evidence_cpu: 0, evidence_seq: 1, certainty: 'inferred' };
    const facts = { tables: { host_access: [{ ...access, ...evidence }] } };
    expect(await told('host-access-to-private', facts)).toEqual([
      'error: dumper (300) touched private memory and was refused: gpa 0x0+4K (sigbus)',
    ]);
  });

  it('is an error: a write that the RMP refuses, once in the kernel, again and again in userspace', async () => {
    expect(await told('host-access-to-private', fault('kernel', 1, RMP))).toEqual([
      'error: dumper (300) wrote to a page that the RMP gives to a guest, in the kernel',
    ]);
    expect(await told('host-access-to-private', fault('user', 5, RMP))).toEqual([
      'error: dumper (300) wrote to a page that the RMP gives to a guest, in userspace, where nothing handles it, 5 times',
    ]);
    expect(await told('host-access-to-private', fault('user', 2, RMP))).toEqual([]);
    expect(await told('host-access-to-private', fault('kernel', 5, 2))).toEqual([]);
  });

  it('may be: a machine check of a TD', async () => {
    const signal = (code: number, platform = 'tdx'): Facts => ({
      platform,
      tables: { task },
      events: [{ system: 'signal', name: 'signal_generate', rows: [{ ts_ms: 100, sig: 7, code, pid: 300 }] }],
    });
    expect(await told('host-access-to-private', signal(4))).toEqual([
      'warning: a machine check hit dumper (300) of a TD: its memory is poisoned, or the host had written to a private page',
    ]);
    expect(await told('host-access-to-private', signal(2))).toEqual([]);
    expect(await told('host-access-to-private', signal(4, 'x86-sw-protected'))).toEqual([]);
  });
});

describe('unmap-undone before the first try', () => {
  const flip = conversion(1000, { direction: 'to_private', mechanism: 'gmem-attributes', commit_ms: 1000.08 });
  const facts = (unmapMs: number, touchMs: number, size = PAGE): Facts => ({
    tables: {
      gmem: [{ gmem_id: 1, vm_id: 1, inode: 850, how: 'test', certainty: 'observed' }],
      conversion: [flip],
      conversion_attempt: [attempt(flip, 1, 1000.06, 1000.08)],
      task: [{ trace_id: 1, tid: 300, comm: 'io-thread' }],
    },
    memoryEvents: [{ kind: 'hva_unmap', ts_ms: unmapMs, address: 0x7f0000000000, size }],
    events: [
      {
        system: 'exceptions',
        name: 'page_fault_user',
        rows: [{ ts_ms: touchMs, tid: 300, address: 0x7f0000000010 }],
      },
    ],
  });

  it('is told', async () => {
    expect(await told('unmap-undone', facts(1000.02, 1000.04))).toEqual([
      'info: 1 page of gpa 0x0+4K was faulted in again by io-thread (300) between its unmap and the first try to make it private; 0 tries failed after that',
    ]);
  });

  it('is none of a touch before the unmap or after the flip, or of another range', async () => {
    expect(await told('unmap-undone', facts(1000.02, 1000.015))).toEqual([]);
    expect(await told('unmap-undone', facts(1000.02, 1000.09))).toEqual([]);
    expect(await told('unmap-undone', facts(1000.02, 1000.04, 64 * PAGE))).toEqual([]);
  });
});
