/** Exits of small traces whose figures are reckoned by hand: 10 us from line to line, and the delays that are written. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCli } from '../cli/run-cli.js';
import { FIXTURES } from '../support/capture.js';
import { kvmEntry, kvmExit, kvmRun, starts, traceText, VCPU_FD } from '../support/trace-text.js';
import { latencyOf, latencyOfText, withTrace, type JsonLatency } from './latency-json.js';

const US = 1000;

const guestExits = async (parts: readonly string[], ...args: string[]): Promise<JsonLatency['guest_exits']> =>
  (await latencyOfText(traceText(parts), '--show', 'guest-exits', ...args)).guest_exits;

const times = ({ reasons }: JsonLatency['guest_exits']): readonly (readonly [string, number, number])[] =>
  reasons.map((exit) => [exit.reason, exit.time_ns.count, exit.time_ns.mean]);

describe('exits from the guest', () => {
  it('last from kvm_exit to the next kvm_entry of the thread', async () => {
    const exits = await guestExits([
      starts(0),
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       +90us vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'HLT')}
       +40us vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       +290us vcpu0: ${kvmEntry(0)}`,
    ]);
    expect(exits).toMatchObject({ samples: 3, total_ns: 450 * US, over_loss: 0 });
    expect(exits.reasons).toMatchObject([
      {
        reason: 'EPT_VIOLATION',
        samples_percent: 66.6667,
        time_percent: 88.8889,
        time_ns: { count: 2, min: 100 * US, max: 300 * US, mean: 200 * US, p50: 100 * US },
        // (300 - 100) / sqrt(2), and that over sqrt(2) of the mean
        stddev_ns: 141_421,
        error_percent: 50,
      },
      { reason: 'HLT', time_ns: { count: 1, min: 50 * US, max: 50 * US }, stddev_ns: null, error_percent: 0 },
    ]);
    // The entry that starts the vCPU.
    expect(exits.unmatched).toEqual({ early: 0, unended: 0, unbegun: 1 });
  });

  it('on two threads at once do not mix, wherever they run', async () => {
    const exits = await guestExits([
      starts(0),
      starts(1),
      `vcpu0[0]: ${kvmExit(0, 'HLT')}
       vcpu1[1]: ${kvmExit(1, 'CPUID')}
       vcpu0[1]: ${kvmEntry(0)}
       vcpu1[0]: ${kvmEntry(1)}`,
    ]);
    expect(times(exits)).toEqual([
      ['CPUID', 1, 20 * US],
      ['HLT', 1, 20 * US],
    ]);
  });

  it('without a partner are counted and in no sample: of two in a row the second is paired', async () => {
    const exits = await guestExits([
      `vcpu0: ${kvmExit(0, 'CPUID')}
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'HLT')}
       vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'HLT')}`,
    ]);
    expect(times(exits)).toEqual([['EPT_VIOLATION', 1, 10 * US]]);
    // Before its first kvm_entry perf does not know a thread’s vCPU.
    expect(exits.unmatched).toEqual({ early: 1, unended: 2, unbegun: 2 });
  });

  it('over a stretch of lost events are said to be doubtful', async () => {
    const exits = await guestExits([
      starts(0),
      `vcpu0: ${kvmExit(0, 'HLT')}`,
      'CPU:0 [LOST 7 EVENTS]',
      `vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'HLT')}
       vcpu0: ${kvmEntry(0)}`,
    ]);
    expect(exits).toMatchObject({ samples: 2, over_loss: 1 });
  });

  it('can be ordered by mean time and split by vCPU', async () => {
    const story = [
      starts(0),
      starts(1),
      `vcpu0: ${kvmExit(0, 'CPUID')}
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'CPUID')}
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'HLT')}
       +50us vcpu0: ${kvmEntry(0)}
       vcpu1: ${kvmExit(1, 'HLT')}
       vcpu1: ${kvmEntry(1)}`,
    ];
    expect(times(await guestExits(story, '--sort', 'time')).map(([name]) => name)).toEqual(['HLT', 'CPUID']);
    const split = await guestExits(story, '--by', 'vcpu');
    expect(split.reasons.map((exit) => [exit.vm, exit.vcpu, exit.reason, exit.time_ns.count])).toEqual([
      [1, 0, 'CPUID', 2],
      [1, 0, 'HLT', 1],
      [1, 1, 'HLT', 1],
    ]);
  });

  it('of arm64 are told by their exception class, an interrupt by its return code', async () => {
    const exits = await guestExits([
      `vcpu0: kvm_entry: PC: 0xffff800080010000
       vcpu0: kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0xffff800080010000
       vcpu0: kvm_entry: PC: 0xffff800080010000
       vcpu0: kvm_exit: IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0xffff800080010000
       vcpu0: kvm_entry: PC: 0xffff800080010000`,
    ]);
    expect(times(exits)).toEqual([
      ['DABT_LOW', 1, 10 * US],
      ['IRQ', 1, 10 * US],
    ]);
  });

  it('of arm64 have no exception class in the view exit where an interrupt ended the run, and diff names them so', async () => {
    const text = traceText([
      `vcpu0: kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0xffff800080010000
       vcpu0: kvm_entry: PC: 0xffff800080010000
       vcpu0: kvm_exit: IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0xffff800080010000
       vcpu0: kvm_entry: PC: 0xffff800080010000`,
    ]);
    await withTrace(text, async (path) => {
      const query = `SELECT reason, ret, duration_ns FROM exit WHERE level = 'guest' ORDER BY ts_ns`;
      expect((await runCli(['sql', path, query, '--format', 'csv'])).stdout).toBe(
        'reason,ret,duration_ns\n36,2,10000\n,0,10000\n',
      );
      const { stdout } = await runCli(['diff', path, path, '--format', 'json']);
      const { counts } = JSON.parse(stdout) as {
        readonly counts: readonly { metric: string; label: string; a: number }[];
      };
      expect(counts.filter((c) => c.metric === 'guest exits').map((c) => [c.label, c.a])).toEqual([
        ['DABT_LOW', 1],
        ['IRQ', 1],
      ]);
    });
  });

  it('keep their number where nobody has a name for them', async () => {
    const exits = await guestExits([starts(0), `vcpu0: ${kvmExit(0, '0x7fff')}\nvcpu0: ${kvmEntry(0)}`]);
    expect(times(exits).map(([name]) => name)).toEqual(['0x7fff']);
  });
});

describe('accesses', () => {
  const MMIO = [
    starts(0),
    `vcpu0: ${kvmExit(0, 'EPT_MISCONFIG')}
     vcpu0: kvm_mmio: mmio write len 4 gpa 0xd0001000 val 0x1
     +20us vcpu0: ${kvmEntry(0)}
     vcpu0: ${kvmExit(0, 'EPT_MISCONFIG')}
     vcpu0: kvm_mmio: mmio unsatisfied-read len 4 gpa 0xd0001008 val 0x0
     +70us vcpu0: kvm_mmio: mmio read len 4 gpa 0xd0001008 val 0x2
     vcpu0: ${kvmEntry(0)}`,
  ];

  it('to MMIO: a read lasts from the exit to its data, a write from its data to the entry', async () => {
    const exits = await guestExits(MMIO, '--exits', 'mmio');
    expect(times(exits)).toEqual([
      ['0xd0001000:W', 1, 30 * US],
      ['0xd0001008:R', 1, 90 * US],
    ]);
    expect(exits.unmatched).toEqual({ early: 0, unended: 0, unbegun: 0 });
  });

  it('to MMIO: a second read of one exit has no beginning of its own', async () => {
    const again = 'vcpu0: kvm_mmio: mmio read len 4 gpa 0xd0001010 val 0x2';
    const exits = await guestExits(
      [MMIO[0]!, MMIO[1]!.replace(/\n.*kvm_entry[^\n]*$/, `\n${again}$&`)],
      '--exits',
      'mmio',
    );
    expect(exits).toMatchObject({ samples: 2, unmatched: { unbegun: 1 } });
  });

  it('to ports and MSRs last from the access to the entry', async () => {
    const story = [
      starts(0),
      `vcpu0: ${kvmExit(0, 'IO_INSTRUCTION')}
       vcpu0: kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x41
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'IO_INSTRUCTION')}
       vcpu0: kvm_pio: pio_read at 0x71 size 1 count 1 val 0x0
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'MSR_WRITE')}
       vcpu0: kvm_msr: msr_write 6e0 = 0x1234
       +5us vcpu0: ${kvmEntry(0)}`,
    ];
    expect(times(await guestExits(story, '--exits', 'ioport'))).toEqual([
      ['0x3f8:POUT', 1, 10 * US],
      ['0x71:PIN', 1, 10 * US],
    ]);
    expect(times(await guestExits(story, '--exits', 'msr'))).toEqual([['0x6e0:W', 1, 15 * US]]);
  });

  it('are not known where their tracepoint is not in the trace', async () => {
    const exits = await guestExits([starts(0)], '--exits', 'ioport');
    expect(exits).toMatchObject({ missing: ['kvm:kvm_pio'], samples: 0, reasons: [] });
    const text = await withTrace(traceText([starts(0)]), (path) =>
      runCli(['latency', path, '--show', 'guest-exits', '--exits', 'ioport']),
    );
    expect(text.stdout).toBe('I/O port accesses not known: no kvm:kvm_pio in the trace\n');
  });
});

describe('exits to userspace', () => {
  const run = (vcpu: 0 | 1): string => `vcpu${vcpu}: ${kvmRun(VCPU_FD[vcpu])}`;

  it('last until KVM_RUN is called again; the last one has no end', async () => {
    const text = traceText([
      starts(0),
      `vcpu0: ${kvmExit(0, 'EPT_MISCONFIG')}
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_MMIO (6)
       vcpu0: sys_ioctl -> 0x0
       +80us ${run(0)}
       vcpu0: ${kvmEntry(0)}
       vcpu0: kvm_userspace_exit: reason restart (4)
       vcpu0: sys_ioctl -> 0xfffffffffffffffc
       ${run(0)}
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_MMIO (6)`,
    ]);
    const { user_exits: exits } = await latencyOfText(text, '--show', 'user-exits');
    expect(exits!.reasons).toMatchObject([
      { reason: 'MMIO', count: 2, time_ns: { count: 1, max: 100 * US } },
      { reason: 'restart (EINTR)', count: 1, time_ns: { count: 1, max: 20 * US } },
    ]);
  });

  it('tell a memory fault by the raw reason, which the kernel’s text hides', async () => {
    const count = async (name: string): Promise<readonly (readonly [string, number])[]> => {
      const { user_exits: exits } = await latencyOf(join(FIXTURES, 'x86-basic', name), '--show', 'user-exits');
      return exits!.reasons.map((exit) => [exit.reason, exit.count]);
    };
    expect(await count('a.dat')).toContainEqual(['MEMORY_FAULT (EFAULT)', 46]);
    expect(await count('a.trace.txt.zst')).toContainEqual(['error (EFAULT)', 46]);
  });

  it('are not known where they were not recorded', async () => {
    const text = traceText([`vcpu0: ${kvmEntry(0)}`]);
    expect((await latencyOfText(text)).user_exits).toBeNull();
  });
});
