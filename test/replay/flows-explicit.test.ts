/** Conversions that the guest asks for by a hypercall: software-protected VMs of x86 (reference chapter 02 §0, §1, §10). */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  convertsTo,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  makesVm,
  runsAgain,
  setAttributes,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  VCPU_FD,
  type Told,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;
const RUNNING = makesVm() + setsPrivate(RAM, 64 * MIB) + starts(0) + starts(1);

/** The states of pages while no conversion is under way. */
function settled({ gmem_interval }: Told): Told['gmem_interval'] {
  return gmem_interval.filter((i) => i['conversion'] === 'idle');
}

const FROM_SETUP = { origin: 'vmm', direction: 'to_private', gpa: RAM, size: 64 * MIB, outcome: 'done' };

describe('explicit conversion by KVM_HC_MAP_GPA_RANGE', () => {
  it('x86: explicit to_shared by MapGPA hypercall', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(1, 'shared', RAM + 0x16e000, 0x5000),
      convertsTo('shared', RAM + 0x16e000, 0x5000, 'vcpu1'),
      `vcpu1: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0x16e000, len: 0x5000)
       vcpu1: mm_filemap_delete_from_page_cache: dev 0:15 ino 850 pfn=0x107dbe ofs=1499136 order=0
       vcpu1: sys_fallocate -> 0x0`,
      runsAgain(1),
    );
    expect(told.conversion).toMatchObject([
      { ...FROM_SETUP, certainty: 'observed' },
      {
        vm_id: 1,
        vcpu: 1,
        tid: 102,
        gpa: RAM + 0x16e000,
        size: 0x5000,
        direction: 'to_shared',
        origin: 'explicit',
        request: 'map-gpa-range',
        mechanism: 'vm-attributes',
        outcome: 'done',
        attempts: 1,
        last_errno: 0,
        certainty: 'observed',
      },
    ]);
    expect(told.punch).toMatchObject([{ vm_id: 1, offset: 0x16e000, size: 0x5000, errno: 0, certainty: 'observed' }]);
    expect(told.memory_fault).toEqual([]);
    expect(told.finding).toEqual([]);
  });

  it('AMD: to_private, and the first fault of the new view is its first use', async () => {
    const told = await tell(
      makesVm() + starts(0),
      `vcpu0: ${kvmExit(0, 'hypercall')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x10 a2 0x10 a3 0x20000
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: sys_ioctl -> 0x0`,
      convertsTo('private', RAM, 0x10000, 'vcpu0'),
      runsAgain(0),
      `vcpu0: ${kvmExit(0, 'npf')}
       vcpu0: ${kvmPageFault(0, RAM + 0x3000)}
       vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=12288 order=0
       vcpu0: kvm_mmu_spte_requested: gfn 100003 pfn 107e18 level 1 access f
       vcpu0: kvm_tdp_mmu_spte_changed: as id 0 gfn 100003 level 1 old_spte 8000000000000000 new_spte 107e18e67
       vcpu0: kvm_mmu_set_spte: gfn 100003 spte 107e18e67 (rwxu) level 1 at 107e13298
       vcpu0: ${kvmEntry(0)}`,
    );
    const [row] = told.conversion;
    expect(told.conversion).toMatchObject([
      { direction: 'to_private', origin: 'explicit', outcome: 'done', gpa: RAM, size: 0x10000, certainty: 'observed' },
    ]);
    const order = ['request_ns', 'exit_ns', 'commit_ns', 'resume_ns', 'first_use_ns'].map((name) => Number(row![name]));
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(row!['stop_ns']).toBe(Number(row!['resume_ns']) - Number(row!['request_ns']));
    expect(told.memory_fault).toEqual([]);
    expect(told.finding).toEqual([]);
  });

  it('keeps the two of two vCPUs apart that ask at the same time', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu1: ${kvmExit(1, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100010000 a1 0x1 a2 0x0 a3 0x20000
       vcpu1: kvm_hypercall: nr 0xc a0 0x100020000 a1 0x2 a2 0x0 a3 0x20000
       vcpu1: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: kvm_userspace_exit: reason KVM_EXIT_HYPERCALL (3)
       vcpu0: sys_ioctl -> 0x0
       vcpu1: sys_ioctl -> 0x0
       vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu1: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu1: ${setAttributes(RAM + 0x20000, 2 * PAGE, 'shared')}
       vcpu0: ${setAttributes(RAM + 0x10000, PAGE, 'shared')}
       vcpu1: sys_ioctl -> 0x0
       vcpu0: sys_ioctl -> 0x0`,
      runsAgain(1),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { vcpu: 0, gpa: RAM + 0x10000, size: PAGE, direction: 'to_shared', outcome: 'done', attempts: 1 },
      { vcpu: 1, gpa: RAM + 0x20000, size: 2 * PAGE, direction: 'to_shared', outcome: 'done', attempts: 1 },
    ]);
  });

  it('answered by another thread of the VMM: the flip belongs to the vCPU that asked', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, 0x2000),
      convertsTo('shared', RAM, 0x2000, 'vmm'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { vcpu: 0, tid: 101, origin: 'explicit', outcome: 'done', attempts: 1, certainty: 'observed' },
    ]);
    expect(told.conversion_attempt.at(-1)).toMatchObject({ tid: 100, errno: 0 });
  });

  it('split by the VMM into two ioctls: one conversion of two attempts', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, 0x4000),
      convertsTo('shared', RAM, 0x1000, 'vcpu0'),
      convertsTo('shared', RAM + 0x1000, 0x3000, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: RAM, size: 0x4000, origin: 'explicit', outcome: 'done', attempts: 2, failed_attempts: 0 },
    ]);
  });

  it('partial: half the range converted is not done', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, 0x4000),
      convertsTo('shared', RAM, 0x2000, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ size: 0x4000, outcome: 'failed', certainty: 'inferred' }]);
    const shared = told.gmem_interval.filter((i) => i['attribute'] === 'shared');
    expect(new Set(shared.map((i) => `${String(i['gpa'])}+${String(i['size'])}`))).toEqual(new Set([`${RAM}+8192`]));
  });

  it('no-op: the range was so already', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'private', RAM, 0x2000),
      convertsTo('private', RAM, 0x2000, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { direction: 'to_private', origin: 'explicit', outcome: 'noop', certainty: 'observed' },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('no no-op is claimed where the state before was not seen', async () => {
    const told = await tell(
      makesVm() + starts(0),
      asksByHypercall(0, 'private', RAM, 0x2000),
      convertsTo('private', RAM, 0x2000, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([{ outcome: 'done' }]);
  });
});

describe('refused and failed', () => {
  const refusedByKvm = `
    vcpu0: ${kvmExit(0, 'VMCALL')}
    vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x0 a3 0x20000
    vcpu0: ${kvmEntry(0)}`;

  it('refused: hypercall exit, vCPU re-enters, no ioctl', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE), runsAgain(0));
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: RAM, size: PAGE, direction: 'to_shared', outcome: 'refused', attempts: 0, certainty: 'inferred' },
    ]);
    expect(told.gmem_interval.every((i) => i['attribute'] !== 'shared')).toBe(true);
    expect(told.finding).toEqual([]);
  });

  it('refused, with the probe that shows hypercall.ret: observed', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0: sys_ioctl(fd: ${VCPU_FD[0]}, cmd: 0xae80, arg: 0)
       vcpu0: hypercall_done: (complete_hypercall_exit+0x4/0x3d) vcpu=0 ret=22
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'refused', certainty: 'observed' }]);
  });

  it('told 0 without any ioctl, of a range that was so already: a no-op, not refused', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'private', RAM, PAGE),
      `vcpu0: sys_ioctl(fd: ${VCPU_FD[0]}, cmd: 0xae80, arg: 0)
       vcpu0: hypercall_done: (complete_hypercall_exit+0x4/0x3d) vcpu=0 ret=0
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'noop', attempts: 0, certainty: 'inferred' }]);
  });

  it('no ioctl for a range that was so already: refused or not needed, which cannot be told', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'private', RAM, PAGE), runsAgain(0));
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'unknown', attempts: 0 }]);
    expect(told.finding).toEqual([]);
  });

  it('refused by KVM: the guest runs on without an exit to userspace', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'IO_INSTRUCTION')}`,
      toUserspace('vcpu0', 'KVM_EXIT_IO (2)'),
      runsAgain(0),
      refusedByKvm,
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { gpa: RAM, size: PAGE, direction: 'to_shared', outcome: 'refused', attempts: 0, exit_ns: null },
    ]);
    expect(told.conversion[1]!['certainty']).toBe('inferred');
  });

  it('no refusal is concluded where exits to userspace are not recorded', async () => {
    const told = await tell(RUNNING, refusedByKvm);
    expect(told.conversion).toHaveLength(1);
  });

  it('a hypercall that is no KVM_HC_MAP_GPA_RANGE asks for nothing', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xa a0 0x3 a1 0x0 a2 0x0 a3 0xfb
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion.slice(1)).toEqual([]);
  });

  it('failed: -ENOMEM leaves the state as it was', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0', '0xfffffffffffffff4'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { outcome: 'failed', attempts: 1, failed_attempts: 1, last_errno: 12, certainty: 'observed' },
    ]);
    expect(settled(told).every((i) => i['attribute'] === 'private')).toBe(true);
  });

  it('rejected: -EINVAL without the tracepoint', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: sys_ioctl -> 0xffffffffffffffea`,
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'failed', last_errno: 22, certainty: 'observed' }]);
    expect(settled(told).every((i) => i['attribute'] === 'private')).toBe(true);
  });

  it('failed and tried again until it works: one conversion', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0', '0xfffffffffffffff4'),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { outcome: 'done', attempts: 2, failed_attempts: 1, last_errno: 0 },
    ]);
    expect(told.conversion_attempt.slice(1)).toMatchObject([{ errno: 12 }, { errno: 0 }]);
  });
});

describe('the VMM by itself', () => {
  it('set-up before the first KVM_RUN has no request', async () => {
    const told = await tell(makesVm(), setsPrivate(RAM, 64 * MIB), starts(0));
    expect(told.conversion).toMatchObject([{ ...FROM_SETUP, vcpu: null, request: 'none', certainty: 'observed' }]);
    expect(told.reboot).toEqual([]);
  });

  it('hotplugged memory while vCPUs run is the VMM’s, whatever a vCPU asked for elsewhere', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('private', 0x8_0000_0000, MIB, 'vmm'),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([
      { origin: 'explicit', gpa: RAM, outcome: 'done', attempts: 1 },
      { origin: 'vmm', gpa: 0x8_0000_0000, size: MIB, direction: 'to_private', outcome: 'done', attempts: 1 },
    ]);
  });

  it('prefault maps without a fault, and is none', async () => {
    const told = await tell(
      RUNNING,
      `vmm: sys_ioctl(fd: 7, cmd: 0xc040aed5, arg: 0x7ffd1c2e5a40)
       vmm: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
       vmm: kvm_mmu_set_spte: gfn 100000 spte 107e18e67 (rwxu) level 1 at 107e13298
       vmm: sys_ioctl -> 0x0
       vmm: sys_ioctl(fd: 7, cmd: 0xc040aed5, arg: 0x7ffd1c2e5a40)
       vmm: sys_ioctl -> 0xfffffffffffffff2`,
    );
    expect(told.memory_fault).toEqual([]);
    expect(told.conversion).toHaveLength(1);
  });

  it('unmapped from the host and mapped again before the flip: one conversion, no fault', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'private', RAM, PAGE),
      `vmm: kvm_unmap_hva_range: mmu notifier unmap range: 0x007ff0d61aa000 -- 0x007ff0d61ab000
       other: page_fault_user: address=0x7ff0d61aa010 ip=0x402b42 error_code=0x6`,
      convertsTo('private', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion).toHaveLength(2);
    expect(told.memory_fault).toEqual([]);
    expect(told.finding).toEqual([]);
  });
});

describe('state of the pages over time', () => {
  it('is private, converting, shared, and stale until the private copy is punched', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       vcpu0: ${kvmPageFault(0, RAM)}
       vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
       vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
       vcpu0: kvm_mmu_set_spte: gfn 100000 spte 107e18e67 (rwxu) level 1 at 107e13298
       vcpu0: ${kvmEntry(0)}`,
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    const states = told.gmem_interval
      .filter((i) => i['gpa'] === RAM && i['size'] === PAGE)
      .sort((a, b) => Number(a['from_ns']) - Number(b['from_ns']))
      .map((i) => `${String(i['attribute'])} ${String(i['conversion'])}`);
    expect(states).toEqual(expect.arrayContaining(['private to_shared', 'shared idle']));
    expect(states.at(-1)).toBe('shared idle');
    expect(told.binding).toMatchObject([{ gpa: RAM, offset: 0, size: PAGE, certainty: 'inferred' }]);
  });
});
