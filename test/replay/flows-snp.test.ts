/** SEV-SNP: page state changes by GHCB and MSR protocol, implicit conversions, RMP faults (reference chapter 02 §7). */
import { describe, expect, it } from 'vitest';
import {
  convertsTo,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  kvmRun,
  makesVm,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  VCPU_FD,
  VM_TYPE,
} from '../support/trace-text.js';

const PAGE = 4096;
const GPA = 0x2000_0000;
const RUNNING = makesVm(VM_TYPE.snp) + setsPrivate(0, 0x8000_0000) + starts(0, '0x0') + starts(1, '0x0');

const vmgexit = `vcpu0: ${kvmExit(0, 'vmgexit', '0x0')}`;
const psc = `${vmgexit}
  vcpu0: kvm_vmgexit_enter: vcpu 0, exit_reason 80000010, exit_info1 0, exit_info2 0`;
const pscDone = (info2 = '0'): string =>
  `vcpu0: kvm_vmgexit_exit: vcpu 0, exit_reason 80000010, exit_info1 0, exit_info2 ${info2}`;
const hypercallExit = toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)');
const run = `vcpu0: ${kvmRun(VCPU_FD[0])}`;
const entry = `vcpu0: ${kvmEntry(0, '0x0')}`;

describe('SNP: page state change through the GHCB', () => {
  it('one range: shared, with the punch that frees the private copy', async () => {
    const told = await tell(
      RUNNING,
      psc,
      hypercallExit,
      convertsTo('shared', GPA, 0x10000, 'vcpu0'),
      `vcpu0: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0x20000000, len: 0x10000)
       vcpu0: sys_fallocate -> 0x0`,
      run,
      pscDone(),
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      {
        vcpu: 0,
        gpa: GPA,
        size: 0x10000,
        direction: 'to_shared',
        origin: 'explicit',
        request: 'snp-psc',
        outcome: 'done',
        certainty: 'observed',
      },
    ]);
    expect(told.punch).toMatchObject([{ offset: 0x20000000, size: 0x10000, errno: 0 }]);
    expect(told.vm).toMatchObject([{ platform: 'snp' }]);
    expect(told.finding).toEqual([]);
  });

  it('SNP: second range of a PSC has its own exit', async () => {
    const told = await tell(
      RUNNING,
      psc,
      hypercallExit,
      convertsTo('shared', GPA, 0x10000, 'vcpu0'),
      run,
      hypercallExit,
      convertsTo('shared', GPA + 0x40000, 0x2000, 'vcpu0'),
      run,
      pscDone(),
      entry,
      psc,
      hypercallExit,
      convertsTo('private', GPA, 0x10000, 'vcpu0'),
      run,
      pscDone(),
      entry,
    );
    const rows = told.conversion.slice(1);
    expect(rows).toMatchObject([
      { gpa: GPA, size: 0x10000, direction: 'to_shared', outcome: 'done', attempts: 1 },
      { gpa: GPA + 0x40000, size: 0x2000, direction: 'to_shared', outcome: 'done', attempts: 1 },
      { gpa: GPA, size: 0x10000, direction: 'to_private', outcome: 'done', attempts: 1 },
    ]);
    expect(rows[0]!['batch']).not.toBeNull();
    expect(rows[1]!['batch']).toBe(rows[0]!['batch']);
    expect(rows[2]!['batch']).not.toBe(rows[0]!['batch']);
    expect(rows[1]!['exit_ns']).toBeGreaterThan(Number(rows[0]!['commit_ns']));
    expect(rows[0]!['resume_ns']).toBe(rows[1]!['resume_ns']);
  });

  it('answered with an error for the whole request: refused, and nothing flipped', async () => {
    const told = await tell(RUNNING, psc, hypercallExit, run, pscDone('100000000'), entry);
    expect(told.conversion.slice(1)).toMatchObject([{ request: 'snp-psc', outcome: 'refused', attempts: 0 }]);
    expect(told.gmem_interval.every((i) => i['attribute'] !== 'shared')).toBe(true);
  });

  it('refused without a try: kvm_run at the next KVM_RUN names range and direction', async () => {
    const runEnter = `vcpu0: runenter: (kvm_arch_vcpu_ioctl_run+0x4/0x2b3 [kvm]) vcpu=0xffff88810c81ea00 vcpu_id=0 kvm=0xffff88810c80f000 reason=0x3 u0=0xc u1=0x${GPA.toString(16)} u2=0x200 u3=0x0 ret=0x16`;
    const told = await tell(RUNNING, psc, hypercallExit, run, runEnter, pscDone('100000000'), entry);
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: GPA, size: 0x20_0000, direction: 'to_shared', outcome: 'refused', certainty: 'observed', attempts: 0 },
    ]);
    expect(told.gmem_interval.every((i) => i['attribute'] !== 'shared')).toBe(true);
  });

  it('an operation that KVM does silently (SMASH) asks for nothing', async () => {
    const told = await tell(RUNNING, psc, pscDone(), entry);
    expect(told.conversion).toHaveLength(1);
  });

  it('a VMGEXIT for anything else converts nothing', async () => {
    const told = await tell(
      RUNNING,
      `${vmgexit}
       vcpu0: kvm_vmgexit_enter: vcpu 0, exit_reason 7b, exit_info1 3f80310, exit_info2 0
       vcpu0: kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x41`,
      toUserspace('vcpu0', 'KVM_EXIT_IO (2)'),
      run,
      `vcpu0: kvm_vmgexit_exit: vcpu 0, exit_reason 7b, exit_info1 0, exit_info2 0`,
      entry,
    );
    expect(told.conversion).toHaveLength(1);
    expect(told.memory_fault).toEqual([]);
  });
});

describe('SNP: page state change through the MSR', () => {
  it('one page: range and direction stand in the request', async () => {
    const told = await tell(
      RUNNING,
      `${vmgexit}
       vcpu0: kvm_vmgexit_msr_protocol_enter: vcpu 0, ghcb_gpa 0020000020003014
       vcpu0: kvm_vmgexit_msr_protocol_exit: vcpu 0, ghcb_gpa 0020000020003014, result 0`,
      hypercallExit,
      convertsTo('shared', GPA + 0x3000, PAGE, 'vcpu0'),
      run,
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      {
        gpa: GPA + 0x3000,
        size: PAGE,
        direction: 'to_shared',
        origin: 'explicit',
        request: 'snp-psc-msr',
        outcome: 'done',
        batch: null,
      },
    ]);
  });

  it('to private, and not answered by any ioctl: refused, with its range', async () => {
    const told = await tell(
      RUNNING,
      convertsTo('shared', GPA, PAGE, 'vmm'),
      `${vmgexit}
       vcpu0: kvm_vmgexit_msr_protocol_enter: vcpu 0, ghcb_gpa 0010000020000014
       vcpu0: kvm_vmgexit_msr_protocol_exit: vcpu 0, ghcb_gpa 0010000020000014, result 0`,
      hypercallExit,
      run,
      entry,
    );
    expect(told.conversion.at(-1)).toMatchObject({
      gpa: GPA,
      direction: 'to_private',
      outcome: 'refused',
      attempts: 0,
    });
  });

  it('the other requests of the MSR protocol ask for nothing', async () => {
    const told = await tell(
      RUNNING,
      `${vmgexit}
       vcpu0: kvm_vmgexit_msr_protocol_enter: vcpu 0, ghcb_gpa 0000000000000002
       vcpu0: kvm_vmgexit_msr_protocol_exit: vcpu 0, ghcb_gpa 0002000133000001, result 1`,
      entry,
    );
    expect(told.conversion).toHaveLength(1);
  });
});

describe('SNP: faults', () => {
  it('npf with the C-bit on shared memory: implicit to_private', async () => {
    const told = await tell(
      makesVm(VM_TYPE.snp) + starts(0, '0x0'),
      `vcpu0: ${kvmExit(0, 'npf', '0x0')}
       vcpu0: ${kvmPageFault(0, GPA + 0x123, '0x2000500000006')}
       vcpu0: kvm_userspace_exit: reason error (14)
       vcpu0: sys_ioctl -> 0xfffffffffffffff2`,
      convertsTo('private', GPA, PAGE, 'vcpu0'),
      run,
      entry,
    );
    expect(told.memory_fault).toMatchObject([
      { gpa: GPA, size: PAGE, wanted: 'private', cause: 'mismatch', conversion_id: 1, certainty: 'inferred' },
    ]);
    expect(told.conversion).toMatchObject([{ origin: 'implicit', direction: 'to_private', gpa: GPA, outcome: 'done' }]);
  });

  it('npf without it on private memory: implicit to_shared, no shared bit is invented', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'npf', '0x0')}
       vcpu0: ${kvmPageFault(0, GPA, '0x100000006')}
       vcpu0: kvm_userspace_exit: reason error (14)
       vcpu0: sys_ioctl -> 0xfffffffffffffff2`,
      convertsTo('shared', GPA, PAGE, 'vcpu0'),
      run,
      entry,
    );
    expect(told.memory_fault).toMatchObject([{ gpa: GPA, wanted: 'shared' }]);
    expect(told.conversion.slice(1)).toMatchObject([{ origin: 'implicit', direction: 'to_shared', gpa: GPA }]);
  });

  it('PVALIDATE after the flip: npf, page, RMP fault of level 1 — all normal', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'npf', '0x0')}
       vcpu0: ${kvmPageFault(0, GPA, '0x2000580000006')}
       vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 28592 pfn=0x10b3ba ofs=536870912 order=0
       vcpu0: kvm_mmu_spte_requested: gfn 20000 pfn 10b3ba level 1 access 7
       vcpu0: kvm_tdp_mmu_spte_changed: as id 0 gfn 20000 level 1 old_spte 8000000000000000 new_spte 10b3bae67
       vcpu0: kvm_mmu_set_spte: gfn 20000 spte 10b3bae67 (rwxu) level 1 at 1001000e0
       vcpu0: kvm_rmp_fault: vcpu 0 gpa 0000000020000000 pfn 0x10b3ba error_code 0x2000580000006 rmp_level 1 psmash_ret 0
       ${entry}`,
    );
    expect(told.memory_fault).toEqual([]);
    expect(told.conversion).toHaveLength(1);
    expect(told.binding).toMatchObject([{ gpa: GPA, offset: GPA, certainty: 'inferred' }]);
    expect(told.finding).toEqual([]);
  });
});
