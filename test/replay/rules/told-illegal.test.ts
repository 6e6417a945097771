/** What no kernel does, and requests that the VMM gave up (reference chapters 03 and 07 §2, §16). */
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
} from './facts.js';

const told = async (rule: string, facts: Facts): Promise<readonly string[]> =>
  (await judge(rule, facts)).findings.map((finding) => `${finding.severity}: ${finding.title}`);

describe('illegal-transition', () => {
  /** The host faults on page 3 of the file at 2000 ms; the handler returns `ret`. */
  const faults = (ret: number, shareability: string, fromMs = 1000): Facts => ({
    tables: {
      gmem: [{ gmem_id: 1, vm_id: 1, inode: 850, how: 'test', certainty: 'observed' }],
      gmem_interval: [interval(fromMs, null, { offset: 3 * PAGE, gpa: 3 * PAGE, attribute: 'unknown', shareability })],
    },
    events: [
      {
        system: 'gmem',
        name: 'fault_user',
        probeFn: 'kvm_gmem_fault_user_mapping',
        rows: [{ ts_ms: 2000, tid: 300, ino: 850, pgoff: 3 }],
      },
      {
        system: 'gmem',
        name: 'fault_user_ret',
        probeFn: 'kvm_gmem_fault_user_mapping',
        isReturn: true,
        rows: [{ ts_ms: 2000.1, tid: 300, ret }],
      },
    ],
  });

  it('is: the host gets a private page', async () => {
    expect(await told('illegal-transition', faults(0x200, 'private'))).toEqual([
      'error: the host was given a page of the file that was private (offset 0x3000)',
    ]);
    expect((await judge('illegal-transition', withLosses(faults(0x200, 'private')))).findings).toMatchObject([
      { verdict: 'inconclusive' },
    ]);
  });

  it('is not: the host is refused, the page is shared, or became private just then', async () => {
    expect(await told('illegal-transition', faults(0x2, 'private'))).toEqual([]);
    expect(await told('illegal-transition', faults(0x200, 'shared'))).toEqual([]);
    expect(await told('illegal-transition', faults(0x200, 'private', 1999.95))).toEqual([]);
  });

  it('is: attributes that do not exist', async () => {
    const set = (attr: number): Facts => ({
      events: [{ system: 'kvm', name: 'kvm_vm_set_mem_attributes', rows: [{ ts_ms: 100, start: 1, end: 2, attr }] }],
    });
    expect(await told('illegal-transition', set(9))).toEqual([
      'error: memory got attributes that do not exist (gpa 0x1000)',
    ]);
    for (const attr of [0, 8]) expect(await told('illegal-transition', set(attr))).toEqual([]);
  });
});

describe('conversion-never-completed, given up after tries that failed', () => {
  const failed = conversion(100, { outcome: 'failed', attempts: 3, failed_attempts: 3, last_errno: 11 });
  const tries = times(3, (k) => attempt(failed, k + 1, 100.02 + k / 100, 100.025 + k / 100, { errno: 11 }));
  const facts = (wanted: string, answer = 0): Facts => ({
    memoryEvents: [{ kind: 'hypercall_done', ts_ms: 100.09, result: answer }],
    tables: {
      conversion: [failed],
      conversion_attempt: tries,
      memory_fault: [memoryFault(1500, { wanted })],
    },
  });

  it('is told where the guest goes on as if it were done', async () => {
    const { findings } = await explain('conversion-never-completed', facts('shared'));
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain('it is given up: KVM_RUN again after 3 failed tries (EAGAIN)');
    expect(findings[0]).toContain('the VMM gave up and the guest goes on as if it were done');
  });

  it('is none where the guest was told, wants it as it is, or never touches it', async () => {
    expect(await told('conversion-never-completed', facts('shared', 11))).toEqual([]);
    expect(await told('conversion-never-completed', facts('private'))).toEqual([]);
    const { tables } = facts('shared');
    expect(await told('conversion-never-completed', { tables: { ...tables, memory_fault: [] } })).toEqual([]);
  });
});
