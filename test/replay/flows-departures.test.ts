/**
 * Departures and corners of the flows that the other files of flows leave out; each says which paragraph of reference
 * chapter 02 (flows) or 03 (states) it is.
 */
import { describe, expect, it } from 'vitest';
import {
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
  VCPU_FD,
  VM_TYPE,
} from '../support/trace-text.js';

const PAGE = 4096;
const MIB = 1024 * 1024;
const RAM = 0x1_0000_0000;
const TDX_SHARED = 2 ** 47;
const gfn = (gpa: number): string => (gpa / PAGE).toString(16);

function running(type: number): string {
  const rip = type === VM_TYPE.sw ? '0xfff0' : '0x0';
  return makesVm(type) + setsPrivate(RAM, 64 * MIB) + starts(0, rip) + starts(1, rip);
}

describe('TDX', () => {
  it('02 §0: a vendor VMCALL (r10 ≠ 0) shows as a hypercall, with its range', async () => {
    const told = await tell(
      running(VM_TYPE.tdx),
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.vm).toMatchObject([{ platform: 'tdx' }]);
    expect(told.conversion.at(-1)).toMatchObject({ request: 'map-gpa-range', gpa: RAM, size: PAGE, outcome: 'done' });
  });

  it('02 §5: the other vCPUs that a zap kicks out ask for nothing', async () => {
    const kick = `
      vcpu1: ${kvmExit(1, 'EXTERNAL_INTERRUPT', '0x0')}
      vcpu1: ${kvmEntry(1, '0x0')}`;
    const told = await tell(
      running(VM_TYPE.tdx),
      `vcpu0: ${kvmExit(0, 'TDCALL', '0x0')}`,
      toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)'),
      `vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: ${setAttributes(RAM, 16 * PAGE, 'shared')}`,
      ...Array.from({ length: 16 }, () => kick),
      'vcpu0: sys_ioctl -> 0x0',
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ vcpu: 0, size: 16 * PAGE, outcome: 'done' }]);
    expect(told.finding).toEqual([]);
  });

  it('02 §5: one fault, several spte_requested and a long gap: contention is told from a conversion', async () => {
    const contended = (gpa: number): string => `
      vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
      vcpu0: ${kvmPageFault(0, gpa, '0x2')}
      ${Array.from({ length: 5 }, () => `+1ms vcpu0: kvm_mmu_spte_requested: gfn ${gfn(gpa)} pfn 10b3bb level 1 access 7`).join('\n')}
      vcpu0: kvm_mmu_set_spte: gfn ${gfn(gpa)} spte 6000010b3bb907 (rwxu) level 1 at 1001000e0
      vcpu0: ${kvmEntry(0, '0x0')}`;
    const told = await tell(running(VM_TYPE.tdx), ...Array.from({ length: 10 }, (_, k) => contended(RAM + k * PAGE)));
    expect(told.conversion).toHaveLength(1);
    expect(told.memory_fault).toEqual([]);
    expect(told.finding).toMatchObject([{ rule: 'sept-contention', severity: 'warning', count: 10 }]);
  });

  it('03, boot epochs: after a triple fault a new TD in the same process is the next boot of that guest', async () => {
    const told = await tell(
      running(VM_TYPE.tdx),
      `vcpu0: ${kvmExit(0, 'TRIPLE_FAULT', '0x0')}`,
      toUserspace('vcpu0', 'KVM_EXIT_SHUTDOWN (8)'),
      `vmm: sys_close(fd: 6)
       vmm: sys_close -> 0x0
       vmm: sys_close(fd: 5)
       vmm: sys_close -> 0x0`,
      `vcpu1: ${kvmExit(1, 'EXTERNAL_INTERRUPT', '0x0')}
       vcpu1: kvm_userspace_exit: reason restart (4)
       vcpu1: sys_ioctl -> 0xfffffffffffffffc`,
      running(VM_TYPE.tdx),
    );
    expect(told.reboot).toMatchObject([{ vm_id: 2, epoch: 1, certainty: 'inferred' }]);
    expect(told.boot_epoch).toMatchObject([
      { vm_id: 1, epoch: 0, guest: 1 },
      { vm_id: 2, epoch: 1, guest: 1 },
    ]);
    expect(told.gmem).toHaveLength(2);
    expect(told.finding).toEqual([]);
  });
});

describe('SNP', () => {
  const psc = `
    vcpu0: ${kvmExit(0, 'vmgexit', '0x0')}
    vcpu0: kvm_vmgexit_enter: vcpu 0, exit_reason 80000010, exit_info1 0, exit_info2 0
    ${toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)')}`;

  it('02 §7: an answer that KVM does not know makes KVM_RUN fail with EINVAL: no memory fault, no flip', async () => {
    const told = await tell(
      running(VM_TYPE.snp),
      psc,
      `vcpu0: ${kvmRun(VCPU_FD[0])}
       vcpu0: kvm_userspace_exit: reason error (22)
       vcpu0: sys_ioctl -> 0xffffffffffffffea`,
    );
    expect(told.memory_fault).toEqual([]);
    const [, row] = told.conversion;
    expect(row).toMatchObject({ request: 'snp-psc', resume_ns: null });
    expect(['pending', 'refused', 'unknown']).toContain(row!['outcome']);
  });

  it('02 §7, 07 §2: refused, and the guest ends itself (GHCB termination): refused, and no reboot', async () => {
    const told = await tell(
      running(VM_TYPE.snp),
      psc,
      `vcpu0: ${kvmRun(VCPU_FD[0])}
       vcpu0: kvm_vmgexit_exit: vcpu 0, exit_reason 80000010, exit_info1 0, exit_info2 100000000
       vcpu0: ${kvmEntry(0, '0x0')}
       vcpu0: ${kvmExit(0, 'vmgexit', '0x0')}
       vcpu0: kvm_vmgexit_msr_protocol_enter: vcpu 0, ghcb_gpa 0000000000011100`,
      toUserspace('vcpu0', 'KVM_EXIT_SYSTEM_EVENT (24)'),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'refused', attempts: 0 }]);
    expect(told.reboot).toEqual([]);
  });

  it('02 §7: a PSMASH storm is a finding of its own, and no conversion', async () => {
    const split = (k: number): string => `
      vcpu0: ${kvmExit(0, 'npf', '0x0')}
      vcpu0: ${kvmPageFault(0, RAM + k * 2 * MIB, '0x2000680000006')}
      vcpu0: kvm_rmp_fault: vcpu 0 gpa 0x${(RAM + k * 2 * MIB).toString(16)} pfn 0x10b3bb error_code 0x2000680000006 rmp_level 2 psmash_ret 0
      vcpu0: ${kvmEntry(0, '0x0')}`;
    const told = await tell(running(VM_TYPE.snp), ...Array.from({ length: 80 }, (_, k) => split(k)));
    expect(told.conversion).toHaveLength(1);
    expect(told.memory_fault).toEqual([]);
    expect(told.finding.map((f) => f['rule'])).toEqual(['rmp-contention']);
  });
});

describe('x86, any', () => {
  it('02 §10, raced with a fault: a stale fault is tried again and no request', async () => {
    const told = await tell(
      running(VM_TYPE.sw),
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       vcpu0: ${kvmPageFault(0, RAM)}
       vmm: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vmm: ${setAttributes(RAM, PAGE, 'shared')}
       vcpu0: kvm_mmu_spte_requested: gfn ${gfn(RAM)} pfn 10b3bb level 1 access 7
       vmm: sys_ioctl -> 0x0
       vcpu0: ${kvmEntry(0)}
       vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       vcpu0: ${kvmPageFault(0, RAM)}
       vcpu0: kvm_mmu_spte_requested: gfn ${gfn(RAM)} pfn 10b3bc level 1 access 7
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion.slice(1)).toMatchObject([{ origin: 'vmm', direction: 'to_shared', outcome: 'done' }]);
    expect(told.memory_fault).toEqual([]);
  });

  it('02 §10, prefault: a mismatch ends KVM_PRE_FAULT_MEMORY with EFAULT, which is no memory fault exit', async () => {
    const told = await tell(
      running(VM_TYPE.sw),
      `vcpu0: ${kvmExit(0, 'HLT')}`,
      toUserspace('vcpu0', 'KVM_EXIT_HLT (5)'),
      `vcpu0: sys_ioctl(fd: 7, cmd: 0xc040aed5, arg: 0x7ffd1c2e5a40)
       vcpu0: sys_ioctl -> 0xfffffffffffffff2`,
      runsAgain(0),
    );
    expect(told.memory_fault).toEqual([]);
    expect(told.conversion).toHaveLength(1);
  });

  it('03 C: a flip against the direction of the only open request is not its answer', async () => {
    const told = await tell(
      running(VM_TYPE.sw),
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('private', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { origin: 'explicit', direction: 'to_shared', attempts: 0 },
      { origin: 'vmm', direction: 'to_private' },
    ]);
    expect(told.conversion[1]!['outcome']).not.toBe('done');
  });

  it('03 B: the VM’s attribute and the guest_memfd’s own are kept side by side', async () => {
    const told = await tell(
      makesVm(),
      `vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
       vmm: bound: (kvm_gmem_commit_memory_region+0x0/0x2c0) kvm=0xffff88810c1e5000 slot=1 base_gfn=0x100000 npages=0x4000 pgoff=0x0 ino=0x850
       vmm: sys_ioctl -> 0x0`,
      setsPrivate(RAM, MIB),
      `vmm: sys_ioctl(fd: ${GMEM_FD}, cmd: 0xc080aed2, arg: 0x7ffd1c2e5a40)
       vmm: gmemset: (__kvm_gmem_set_attributes+0x0/0x2c0) ino=0x850 start=0x0 nr_pages=0x1 attrs=0x0
       vmm: sys_ioctl -> 0x0`,
      starts(0),
      `+3s vcpu0: ${kvmExit(0, 'HLT')}`,
    );
    expect(told.gmem_interval.filter((i) => i['to_ns'] === null)).toMatchObject([
      { gpa: RAM, size: PAGE, attribute: 'private', shareability: 'shared', state: 'mismatch' },
      { gpa: RAM + PAGE, attribute: 'private', shareability: 'unknown', state: 'private' },
    ]);
    expect(told.finding.map((f) => f['rule'])).toEqual(['attribute-mismatch']);
  });

  it('03 A: a fault on poisoned memory shows it; what it was stays known', async () => {
    const told = await tell(
      running(VM_TYPE.tdx),
      // The shared bit is learned first.
      faults(1, RAM + MIB + TDX_SHARED),
      convertsTo('shared', RAM + MIB, PAGE, 'vcpu1'),
      runsAgain(1),
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
       vcpu0: ${kvmPageFault(0, RAM, '0x2')}
       vcpu0: kvm_userspace_exit: reason error (133)
       vcpu0: sys_ioctl -> 0xffffffffffffff7b`,
      runsAgain(0),
    );
    const page = told.gmem_interval.find((i) => i['gpa'] === RAM && i['to_ns'] === null);
    expect(page).toMatchObject({ size: PAGE, state: 'poisoned', allocation: 'poisoned', attribute: 'private' });
  });

  it('07 §3: a fault that comes back after a flip that changed nothing has no backing', async () => {
    const again = faults(0, RAM) + convertsTo('private', RAM, PAGE, 'vcpu0') + runsAgain(0);
    const told = await tell(
      running(VM_TYPE.tdx),
      faults(1, RAM + MIB + TDX_SHARED),
      convertsTo('shared', RAM + MIB, PAGE, 'vcpu1'),
      runsAgain(1),
      again,
      again,
    );
    expect(told.memory_fault.slice(1).map((f) => f['cause'])).toEqual(['no-backing', 'no-backing']);
  });

  it('07 §3: a fault that raced with another vCPU’s flip and does not come back is no such thing', async () => {
    const told = await tell(
      running(VM_TYPE.tdx),
      faults(1, RAM + TDX_SHARED),
      convertsTo('shared', RAM, PAGE, 'vcpu1'),
      faults(0, RAM + TDX_SHARED),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      runsAgain(1),
    );
    expect(told.memory_fault.map((f) => f['cause'])).toEqual(['mismatch', 'mismatch']);
  });
});
