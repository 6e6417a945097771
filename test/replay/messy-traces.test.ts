/** Real traces are messy: what may still be concluded of them, and what must not be claimed. */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  faults,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  kvmRun,
  makesVm,
  runsAgain,
  setAttributes,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  traceText,
  type Told,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;
const SHARED_BIT = 2 ** 39;
const RUNNING = makesVm() + setsPrivate(RAM, 64 * MIB) + starts(0) + starts(1);

/** Rows of which something is claimed. */
function claimed(told: Told): Told['conversion'] {
  return told.conversion.filter((c) => c['certainty'] === 'observed' || c['certainty'] === 'inferred');
}

describe('tracing starts while VMs run', () => {
  it('the state of a page is unknown until something shows it', async () => {
    const told = await tell(
      `vcpu0: ${kvmEntry(0)}`,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.vm).toMatchObject([{ pid: 100, certainty: 'inferred', platform: 'x86-sw-protected' }]);
    expect(told.conversion).toMatchObject([{ vm_id: 1, outcome: 'done', certainty: 'observed', origin: 'explicit' }]);
    expect(new Set(told.gmem_interval.map((i) => `${String(i['gpa'])}+${String(i['size'])}`))).toEqual(
      new Set([`${RAM}+${PAGE}`]),
    );
  });

  it('in the middle of an ioctl: a result alone is nobody’s', async () => {
    const told = await tell(
      `vcpu0: sys_ioctl -> 0x0
       vcpu0: ${kvmRun(7)}
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion).toEqual([]);
    expect(told.memory_fault).toEqual([]);
  });

  it('in the middle of a conversion: the flip is seen, who asked is not', async () => {
    const told = await tell(
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      asksByHypercall(0, 'private', RAM, PAGE),
    );
    const [first] = told.conversion;
    expect(first).toMatchObject({ gpa: RAM, direction: 'to_shared' });
    expect(first!['certainty']).toBe('assumed');
  });

  it('no exit of the first event counts as a stop: its start was not seen', async () => {
    const told = await tell(
      `vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: sys_ioctl -> 0x0`,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      `+900ms vcpu0: ${kvmRun(7)}
       vcpu0: ${kvmEntry(0)}`,
    );
    for (const row of claimed(told)) expect(row['request_ns']).toBeNull();
  });
});

describe('tracing stops in the middle', () => {
  it('a request that is open for a moment is pending, not "never completed"', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE), `+20ms vcpu1: ${kvmExit(1, 'HLT')}`);
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'pending', resume_ns: null, stop_ns: null }]);
    expect(told.finding).toEqual([]);
  });

  it('one that is open for seconds while the trace goes on never was answered', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE), `+6s vcpu1: ${kvmExit(1, 'HLT')}`);
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'pending' }]);
    expect(told.finding).toMatchObject([{ rule: 'conversion-never-completed', verdict: 'fail', vcpu: 0 }]);
  });

  it('inside the ioctl: its result is not known, the state is in between', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: ${setAttributes(RAM, PAGE, 'shared')}`,
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'pending', gpa: RAM, resume_ns: null }]);
    expect(told.finding).toEqual([]);
  });
});

describe('threads that die', () => {
  it('with a conversion open: pending, and reported at once', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `+2ms vcpu0: sched_process_exit: comm=CPU 0/KVM pid=101 prio=120 group_dead=false
       vcpu1: sched_process_exit: comm=CPU 1/KVM pid=102 prio=120 group_dead=false`,
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'pending', resume_ns: null }]);
    expect(told.finding).toMatchObject([{ rule: 'conversion-never-completed' }]);
  });

  it('with nothing open: no finding', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: sched_process_exit: comm=CPU 0/KVM pid=101 prio=120 group_dead=false
       vcpu1: sched_process_exit: comm=CPU 1/KVM pid=102 prio=120 group_dead=false
       vmm: sched_process_exit: comm=qemu-kvm pid=100 prio=120 group_dead=true`,
    );
    expect(told.finding).toEqual([]);
    expect(told.vm[0]!['to_ns']).not.toBeNull();
  });
});

describe('lost events', () => {
  const lostOnCpu0 = 'CPU:0 [LOST 1234 EVENTS]';

  it('between request and entry: no refusal is concluded', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE), lostOnCpu0, runsAgain(0));
    const row = told.conversion.find((c) => c['origin'] === 'explicit');
    expect(row!['outcome']).toBe('unknown');
    expect(told.finding.map((f) => f['rule'])).toEqual(['lost-events']);
  });

  it('between exit and entry of a refusal by KVM: none is concluded', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'IO_INSTRUCTION')}`,
      toUserspace('vcpu0', 'KVM_EXIT_IO (2)'),
      runsAgain(0),
      `vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x0 a3 0x20000`,
      lostOnCpu0,
      `vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion.some((c) => c['outcome'] === 'refused')).toBe(false);
  });

  it('the ioctl survives, its request does not: not the VMM’s own wish', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'VMCALL')}`,
      lostOnCpu0,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(claimed(told).filter((c) => c['origin'] === 'vmm')).toHaveLength(1);
    expect(told.conversion.at(-1)).toMatchObject({ gpa: RAM, certainty: 'assumed' });
  });

  it('a request open at the end of a trace with losses since: inconclusive', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      'CPU:1 [LOST 77 EVENTS]',
      `+6s vcpu1: ${kvmExit(1, 'HLT')}`,
    );
    const never = told.finding.filter((f) => f['rule'] === 'conversion-never-completed');
    for (const finding of never) expect(finding['verdict']).toBe('inconclusive');
  });

  it('a state seen before says nothing of the state after: no no-op', async () => {
    const told = await tell(
      RUNNING,
      lostOnCpu0,
      `vcpu0: ${kvmEntry(0)}`,
      asksByHypercall(0, 'private', RAM, PAGE),
      convertsTo('private', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.at(-1)).toMatchObject({ origin: 'explicit', outcome: 'done' });
  });

  it('a wrapped buffer: the CPU whose buffer begins later knows nothing of before', async () => {
    const told = await tell(
      `vcpu1: ${kvmEntry(1)}`,
      `vcpu1: ${kvmExit(1, 'HLT')}
       vcpu1: ${kvmEntry(1)}`,
      '##### CPU 0 buffer started ####',
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(claimed(told).filter((c) => c['origin'] === 'vmm')).toEqual([]);
    expect(told.finding.every((f) => f['rule'] === 'lost-events')).toBe(true);
  });
});

describe('scheduling', () => {
  const away = (how: 'R+' | 'S', back: string): string => `
    vcpu0: sched_switch: prev_comm=CPU 0/KVM prev_pid=101 prev_prio=120 prev_state=${how} ==> next_comm=postgres next_pid=900 next_prio=120
    +${back} other[0]: sched_switch: prev_comm=postgres prev_pid=900 prev_prio=120 prev_state=S ==> next_comm=CPU 0/KVM next_pid=101 next_prio=120`;

  it('a vCPU thread preempted between exit and ioctl: one conversion, a moment is no stall', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      away('R+', '4ms'),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      away('S', '3ms'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'done', attempts: 1, certainty: 'observed' }]);
    expect(told.conversion[1]!['stop_ns']).toBeGreaterThan(7_000_000);
    expect(told.finding).toEqual([]);
  });

  it('a thread that goes to another CPU stays itself', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0[3]: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0[2]: ${setAttributes(RAM, PAGE, 'shared')}
       vcpu0[2]: sys_ioctl -> 0x0
       vcpu0[1]: ${kvmRun(7)}
       vcpu0[1]: ${kvmEntry(0)}`,
    );
    expect(told.conversion.slice(1)).toMatchObject([{ vcpu: 0, outcome: 'done', attempts: 1, certainty: 'observed' }]);
  });

  it('interrupted by a signal while its guest waits: it still waits', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0: ${kvmRun(7)}
       vcpu0: kvm_userspace_exit: reason restart (4)
       vcpu0: sys_ioctl -> 0xfffffffffffffffc`,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'done', origin: 'explicit', attempts: 1 }]);
  });
});

describe('everybody else', () => {
  it('the same ioctl numbers, fallocate calls, pins and page events of other processes are noise', async () => {
    const told = await tell(
      RUNNING,
      `other: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       other: sys_ioctl -> 0x0
       other: sys_ioctl(fd: 5, cmd: 0xae80, arg: 0)
       other: sys_ioctl -> 0xffffffffffffffe7
       other: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0, len: 0x1000)
       other: mm_filemap_delete_from_page_cache: dev 259:2 ino 51208 pfn=0x1128b4 ofs=0 order=0
       other: sys_fallocate -> 0x0
       other: page_ref_mod: pfn=0x1128b4 flags=uptodate|dirty count=1026 mapcount=-1 mapping=00000000be275cc9 mt=0 val=1024
       other: map: IOMMU: iova=0x0000000000100000 - 0x0000000000101000 paddr=0x00000001128b4000 size=4096
       +6s other: sched_process_exit: comm=postgres pid=900 prio=120 group_dead=true`,
    );
    expect(told.conversion).toHaveLength(1);
    expect(told.punch).toEqual([]);
    expect(told.page_ref).toEqual([]);
    expect(told.dma_map).toEqual([]);
    expect(told.finding).toEqual([]);
  });

  it('a device’s ioctl of KVM_RUN’s number shows no loss: a refusal is still one', async () => {
    const told = await tell(
      RUNNING,
      `other: sys_ioctl(fd: 9, cmd: 0xae80, arg: 0)
       other: sys_ioctl -> 0xffffffffffffffe7
       other: sys_ioctl(fd: 9, cmd: 0xae80, arg: 0)
       other: sys_ioctl -> 0xffffffffffffffe7`,
      asksByHypercall(0, 'shared', RAM, PAGE),
      runsAgain(0),
    );
    expect(told.conversion.at(-1)).toMatchObject({ outcome: 'refused', certainty: 'inferred' });
  });

  it('a VMM that punches holes into files that are no guest_memfd', async () => {
    const told = await tell(
      RUNNING,
      `vmm: sys_fallocate(fd: 0x15, mode: 3, offset: 0x200000, len: 0x1000)
       vmm: sys_fallocate -> 0x0`,
    );
    expect(told.punch).toEqual([]);
  });

  it('a plain VM that takes shared faults all day is healthy', async () => {
    const told = await tell(
      makesVm(0) + starts(0),
      ...Array.from(
        { length: 50 },
        (_, k) => `
        vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
        vcpu0: ${kvmPageFault(0, RAM + k * PAGE, '0x182')}
        vcpu0: kvm_mmu_spte_requested: gfn ${(RAM / PAGE + k).toString(16)} pfn 107e18 level 1 access f
        vcpu0: ${kvmEntry(0)}`,
      ),
    );
    expect(told.vm).toMatchObject([{ platform: 'plain' }]);
    expect(told.conversion).toEqual([]);
    expect(told.memory_fault).toEqual([]);
    expect(told.finding).toEqual([]);
  });
});

describe('clocks', () => {
  const story = [
    RUNNING,
    asksByHypercall(0, 'shared', RAM, PAGE),
    convertsTo('shared', RAM, PAGE, 'vcpu0'),
    runsAgain(0),
    faults(1, RAM + 0x8000 + SHARED_BIT),
    convertsTo('shared', RAM + 0x8000, PAGE, 'vcpu1'),
    runsAgain(1),
  ];

  it('x86-tsc: the same conversions, in cycles', async () => {
    const plain = await tell(...story);
    const cycles = await analyse(traceText(story, { clock: 'x86-tsc' }), 'x86-tsc');
    const facts = (told: Told): unknown[] =>
      told.conversion.map((c) => [
        c['vm_id'],
        c['vcpu'],
        c['gpa'],
        c['direction'],
        c['origin'],
        c['outcome'],
        c['certainty'],
      ]);
    expect(facts(cycles)).toEqual(facts(plain));
    expect(cycles.memory_fault).toHaveLength(1);
  });

  it('local: stamps of two CPUs may disagree, what one thread did on one CPU does not', async () => {
    // CPU 1 runs 400 µs behind: its lines come in the file's order, its stamps do not.
    const text = traceText(story).replace(
      /^(.*\[001\] \.\.\.\.\.\s+)(\d+)\.(\d{6}):/gm,
      (_, head: string, s: string, us: string) => {
        const at = Number(s) * 1e6 + Number(us) - 400;
        return `${head}${Math.floor(at / 1e6)}.${String(at % 1e6).padStart(6, '0')}:`;
      },
    );
    const told = await analyse(text, 'local');
    expect(claimed(told).filter((c) => c['origin'] !== 'vmm')).toMatchObject([
      { vcpu: 1, gpa: RAM + 0x8000, origin: 'implicit', outcome: 'done' },
      { vcpu: 0, gpa: RAM, origin: 'explicit', outcome: 'done' },
    ]);
    expect(told.finding).toEqual([]);
  });
});

describe('what was not recorded', () => {
  it('nothing but kvm:*: conversions are inferred, results are not invented', async () => {
    const told = await tell(
      `vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x0 a3 0x20000
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: ${setAttributes(RAM, PAGE, 'shared')}
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion).toMatchObject([
      {
        gpa: RAM,
        direction: 'to_shared',
        origin: 'explicit',
        outcome: 'done',
        last_errno: null,
        certainty: 'inferred',
      },
    ]);
    expect(told.unavailable.map((u) => u['what'])).toEqual(
      expect.arrayContaining(['attempts', 'punches', 'references', 'dma']),
    );
    expect(told.finding).toEqual([]);
  });

  it('nothing but kvm:* of a VMM that converts in place: a conversion without any flip is unknown, not refused', async () => {
    const told = await tell(
      `vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x0 a3 0x20000
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion).toMatchObject([{ outcome: 'unknown' }]);
  });

  it('ioctls entered but never left in the recording: no error is claimed', async () => {
    const told = await tell(
      `vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x0 a3 0x20000
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: ${setAttributes(RAM, PAGE, 'shared')}
       vcpu0: ${kvmRun(7)}
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion).toMatchObject([{ outcome: 'done', last_errno: null, certainty: 'inferred' }]);
  });

  it('a probe that was armed and never hit changes nothing', async () => {
    const story = [
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    ];
    const told = await tell(...story);
    expect(told.conversion.at(-1)).toMatchObject({ outcome: 'done', certainty: 'observed' });
    expect(told.unavailable.map((u) => u['what'])).not.toContain('attempts');
  });

  it('no memory faults can be counted without exits to userspace', async () => {
    const told = await tell(`vcpu0: ${kvmEntry(0)}`, `vcpu0: ${kvmExit(0, 'npf')}`, `vcpu0: ${kvmPageFault(0, RAM)}`);
    expect(told.unavailable.map((u) => u['what'])).toContain('memory_faults');
  });
});
