/** TDX: MapGPA in chunks, RETRY, implicit conversions, and TDCALLs that convert nothing (reference chapter 02 §5, §6). */
import { describe, expect, it } from 'vitest';
import {
  convertsTo,
  faults,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  makesVm,
  runsAgain,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  VCPU_FD,
  kvmRun,
  VM_TYPE,
} from '../support/trace-text.js';

const PAGE = 4096;
const CHUNK = 2 * 1024 * 1024;
const RAM = 0x8000_0000;
const GPA = 0x2000_0000;
/** GPA bit 47 marks shared accesses. */
const SHARED_BIT = 2 ** 47;
const RUNNING = makesVm(VM_TYPE.tdx) + setsPrivate(0, RAM) + starts(0, '0x0') + starts(1, '0x0');

const tdcall = `vcpu0: ${kvmExit(0, 'TDCALL', '0x0')}`;
const hypercallExit = toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)');
const entry = `vcpu0: ${kvmEntry(0, '0x0')}`;
const run = `vcpu0: ${kvmRun(VCPU_FD[0])}`;

/** The page is accepted: the EPT violation that maps it private. */
function accepts(gpa: number): string {
  const gfn = (gpa / PAGE).toString(16);
  return `
    vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
    vcpu0: ${kvmPageFault(0, gpa, '0x2')}
    vcpu0: kvm_mmu_spte_requested: gfn ${gfn} pfn 10b3bb level 1 access 7
    vcpu0: kvm_tdp_mmu_spte_changed: as id 0 gfn ${gfn} level 1 old_spte 8000000000000000 new_spte 6000010b3bb907
    vcpu0: kvm_mmu_set_spte: gfn ${gfn} spte 6000010b3bb907 (rwxu) level 1 at 1001000e0
    vcpu0: ${kvmEntry(0, '0x0')}`;
}

describe('TDX: MapGPA', () => {
  it('a page: the range is that of the flip, no tracepoint shows what was asked', async () => {
    const told = await tell(RUNNING, tdcall, hypercallExit, convertsTo('shared', GPA, 0x10000, 'vcpu0'), runsAgain(0));
    expect(told.conversion.slice(1)).toMatchObject([
      {
        vcpu: 0,
        gpa: GPA,
        size: 0x10000,
        direction: 'to_shared',
        origin: 'explicit',
        request: 'tdx-mapgpa',
        mechanism: 'vm-attributes',
        outcome: 'done',
        chunks: 1,
        certainty: 'observed',
      },
    ]);
    expect(told.vm).toMatchObject([{ platform: 'tdx' }]);
    expect(told.finding).toEqual([]);
  });

  it('chunks of 2 MiB without a guest entry between are one conversion', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      hypercallExit,
      convertsTo('shared', GPA, CHUNK, 'vcpu0'),
      run,
      hypercallExit,
      convertsTo('shared', GPA + CHUNK, CHUNK, 'vcpu0'),
      run,
      hypercallExit,
      convertsTo('shared', GPA + 2 * CHUNK, 0x8000, 'vcpu0'),
      run,
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: GPA, size: 2 * CHUNK + 0x8000, chunks: 3, attempts: 3, outcome: 'done', certainty: 'observed' },
    ]);
    const [, row] = told.conversion;
    expect(row!['stop_ns']).toBe(Number(row!['resume_ns']) - Number(row!['request_ns']));
  });

  it('TDX: RETRY continuation is one conversion', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      hypercallExit,
      convertsTo('private', GPA, CHUNK, 'vcpu0'),
      run,
      entry,
      tdcall,
      hypercallExit,
      convertsTo('private', GPA + CHUNK, 0x20000, 'vcpu0'),
      run,
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: GPA, size: CHUNK + 0x20000, chunks: 2, attempts: 2, origin: 'explicit', certainty: 'observed' },
    ]);
  });

  it('a second MapGPA for the neighbouring range is a conversion of its own', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      hypercallExit,
      convertsTo('shared', GPA, 0x10000, 'vcpu0'),
      run,
      entry,
      tdcall,
      hypercallExit,
      convertsTo('shared', GPA + 0x10000, 0x10000, 'vcpu0'),
      run,
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: GPA, size: 0x10000, chunks: 1 },
      { gpa: GPA + 0x10000, size: 0x10000, chunks: 1 },
    ]);
  });

  it('the probe on __tdx_map_gpa shows range and direction before any flip', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      `vcpu0: mapgpa: (__tdx_map_gpa+0x0/0x105 [kvm_intel]) tdx=0xffff88810c1e5500 next=0x800020000000 end=0x800020010000 vcpu_id=0`,
      hypercallExit,
      run,
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: GPA, size: 0x10000, direction: 'to_shared', request: 'tdx-mapgpa', outcome: 'refused', attempts: 0 },
    ]);
  });

  it('the VMM answers EAGAIN: the guest asks again, and no success is claimed for the first', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      hypercallExit,
      run,
      entry,
      tdcall,
      hypercallExit,
      convertsTo('shared', GPA, 0x10000, 'vcpu0'),
      run,
      entry,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: null, direction: null, outcome: 'refused', attempts: 0 },
      { gpa: GPA, size: 0x10000, outcome: 'done', attempts: 1 },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('an answer KVM does not know makes KVM_RUN fail: no memory fault', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      hypercallExit,
      run,
      `vcpu0: kvm_userspace_exit: reason error (22)
       vcpu0: sys_ioctl -> 0xffffffffffffffea`,
    );
    expect(told.memory_fault).toEqual([]);
    expect(told.conversion.slice(1).every((c) => c['outcome'] !== 'done' && c['outcome'] !== 'noop')).toBe(true);
  });

  it('refused by KVM: a TDCALL that ends in the kernel may be anything, so nothing is claimed', async () => {
    const told = await tell(RUNNING, tdcall, entry);
    expect(told.conversion).toHaveLength(1);
    expect(told.finding).toEqual([]);
  });

  it('a TDCALL to userspace that is no MapGPA (KVM_EXIT_TDX) converts nothing', async () => {
    const told = await tell(RUNNING, tdcall, toUserspace('vcpu0', '0x28 (40)'), run, entry);
    expect(told.conversion).toHaveLength(1);
    expect(told.memory_fault).toEqual([]);
  });

  it('accepting the pages afterwards is a fault each, and no memory fault', async () => {
    const told = await tell(
      RUNNING,
      tdcall,
      hypercallExit,
      convertsTo('shared', GPA, 0x4000, 'vcpu0'),
      run,
      entry,
      tdcall,
      hypercallExit,
      convertsTo('private', GPA, 0x4000, 'vcpu0'),
      run,
      entry,
      accepts(GPA),
      accepts(GPA + PAGE),
      accepts(GPA + 2 * PAGE),
      accepts(GPA + 3 * PAGE),
    );
    expect(told.memory_fault).toEqual([]);
    expect(told.conversion[2]).toMatchObject({ direction: 'to_private', outcome: 'done' });
    expect(told.conversion[2]!['first_use_ns']).toBeGreaterThan(Number(told.conversion[2]!['resume_ns']));
    expect(told.finding).toEqual([]);
  });

  it('a busy S-EPT: several kvm_mmu_spte_requested for one fault are noise', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
       vcpu0: ${kvmPageFault(0, GPA, '0x2')}
       vcpu0: kvm_mmu_spte_requested: gfn 20000 pfn 10b3bb level 1 access 7
       vcpu0: kvm_mmu_spte_requested: gfn 20000 pfn 10b3bb level 1 access 7
       vcpu0: kvm_mmu_spte_requested: gfn 20000 pfn 10b3bb level 1 access 7
       vcpu0: kvm_mmu_set_spte: gfn 20000 spte 6000010b3bb907 (rwxu) level 1 at 1001000e0
       vcpu0: ${kvmEntry(0, '0x0')}`,
    );
    expect(told.conversion).toHaveLength(1);
    expect(told.memory_fault).toEqual([]);
  });

  it('touched before it was accepted: KVM_RUN fails with EIO, which is no memory fault', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
       vcpu0: ${kvmPageFault(0, GPA, '0x2')}
       vcpu0: kvm_userspace_exit: reason error (5)
       vcpu0: sys_ioctl -> 0xfffffffffffffffb`,
    );
    expect(told.memory_fault).toEqual([]);
  });
});

describe('TDX: implicit conversion', () => {
  it('a shared access to private memory: the shared bit is learned, and the page is told without it', async () => {
    const told = await tell(
      RUNNING,
      faults(0, GPA + SHARED_BIT),
      convertsTo('shared', GPA, PAGE, 'vcpu0'),
      runsAgain(0),
      faults(1, GPA + 0x5000 + SHARED_BIT),
      convertsTo('shared', GPA + 0x5000, PAGE, 'vcpu1'),
      runsAgain(1),
    );
    expect(told.memory_fault).toMatchObject([
      { vcpu: 0, gpa: GPA, wanted: 'shared', cause: 'mismatch', conversion_id: 2, certainty: 'inferred' },
      { vcpu: 1, gpa: GPA + 0x5000, wanted: 'shared', cause: 'mismatch', conversion_id: 3, certainty: 'inferred' },
    ]);
    expect(told.conversion.slice(1)).toMatchObject([
      { vcpu: 0, gpa: GPA, size: PAGE, direction: 'to_shared', origin: 'implicit', request: 'fault', outcome: 'done' },
      { vcpu: 1, gpa: GPA + 0x5000, size: PAGE, direction: 'to_shared', origin: 'implicit', outcome: 'done' },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('a private access to shared memory', async () => {
    const told = await tell(
      makesVm(VM_TYPE.tdx) + starts(0, '0x0'),
      faults(0, GPA),
      convertsTo('private', GPA, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.memory_fault).toMatchObject([{ gpa: GPA, wanted: 'private', conversion_id: 1 }]);
    expect(told.conversion).toMatchObject([{ direction: 'to_private', origin: 'implicit', outcome: 'done', gpa: GPA }]);
  });

  it('left unanswered: a memory fault, and no conversion', async () => {
    const told = await tell(RUNNING, faults(0, GPA + SHARED_BIT), runsAgain(0));
    expect(told.memory_fault).toMatchObject([{ vcpu: 0, conversion_id: null }]);
    expect(told.conversion).toHaveLength(1);
  });

  it('raced: converted by the other vCPU meanwhile, the second flip is a no-op', async () => {
    const told = await tell(
      RUNNING,
      faults(0, GPA + SHARED_BIT),
      faults(1, GPA + SHARED_BIT),
      convertsTo('shared', GPA, PAGE, 'vcpu0'),
      convertsTo('shared', GPA, PAGE, 'vcpu1'),
      runsAgain(0),
      runsAgain(1),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { vcpu: 0, outcome: 'done', origin: 'implicit' },
      { vcpu: 1, outcome: 'noop', origin: 'implicit' },
    ]);
    expect(told.memory_fault).toHaveLength(2);
    expect(told.finding).toEqual([]);
  });

  it('a poisoned page exits with EHWPOISON: a memory fault that no flip answers', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
       vcpu0: ${kvmPageFault(0, GPA, '0x2')}
       vcpu0: kvm_userspace_exit: reason error (133)
       vcpu0: sys_ioctl -> 0xffffffffffffff7b`,
    );
    expect(told.memory_fault).toMatchObject([{ gpa: GPA, conversion_id: null }]);
    expect(told.conversion).toHaveLength(1);
  });
});
