/**
 * Arm CCA (reference chapter 02 §9): no upstream kernel hosts realms, so this is what the series' exits would show. The
 * RMM answers most of a realm's calls; what cannot be seen is said.
 */
import { describe, expect, it } from 'vitest';
import { kvmRun, tell, toUserspace, VCPU_FD } from '../support/trace-text.js';

const PAGE = 4096;
const exit = (why: string): string => `kvm_exit: ${why}, PC: 0xffff800080012340`;
const entry = 'kvm_entry: PC: 0xffff800080012344';
/** KVM_CREATE_VM with type bits 11:8 = 1 and an address space of 48 bits. */
const REALM = 0x130;

function made(type: number): string {
  return `
    vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 0x${type.toString(16)})
    vmm: sys_ioctl -> 0x5
    vmm: sys_ioctl(fd: 5, cmd: 0xc040aed4, arg: 0x7ffd1c2e5a30)
    vmm: sys_ioctl -> 0x6
    vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
    vmm: sys_ioctl -> 0x7
    vcpu0: ${kvmRun(VCPU_FD[0])}
    vcpu0: ${entry}`;
}

const ripasExit = `
  vcpu0: ${exit('TRAP: HSR_EC: 0x0000 (UNKNOWN)')}
  vcpu0: kvm_userspace_exit: reason error (14)
  vcpu0: sys_ioctl -> 0xfffffffffffffff2`;
const runs = `
  vcpu0: ${kvmRun(VCPU_FD[0])}
  vcpu0: ${entry}`;

describe('Arm CCA: realms', () => {
  it('the VM’s type says that it is one, and what no tracepoint shows is said', async () => {
    const told = await tell(made(REALM));
    expect(told.vm).toMatchObject([{ platform: 'cca', certainty: 'observed' }]);
    expect(told.unavailable).toContainEqual(expect.objectContaining({ what: 'cca-ripas' }));
  });

  it('neither a plain VM nor pKVM’s is one', async () => {
    for (const [type, platform] of [
      [0x30, 'plain'],
      [0x80000030, 'pkvm'],
    ] as const) {
      const told = await tell(made(type));
      expect(told.vm).toMatchObject([{ platform }]);
      expect(told.unavailable.map((u) => u['what'])).not.toContain('cca-ripas');
    }
  });

  it('an exit for a change of RIPAS, answered on the VM (v14)', async () => {
    const told = await tell(
      made(REALM),
      ripasExit,
      `vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: kvm_vm_set_mem_attributes: 0x00000000080000 -- 0x00000000080010 [0x0]
       vcpu0: sys_ioctl -> 0x0`,
      runs,
    );
    expect(told.memory_fault).toMatchObject([{ gpa: 0x8000_0000, wanted: 'shared', certainty: 'inferred' }]);
    expect(told.conversion).toMatchObject([
      { gpa: 0x8000_0000, size: 16 * PAGE, direction: 'to_shared', mechanism: 'vm-attributes', outcome: 'done' },
    ]);
    // who asked would show by kvm_guest_fault only, which is not recorded here
    expect(told.conversion).toMatchObject([{ certainty: 'assumed' }]);
    expect(told.finding).toEqual([]);
  });

  it('answered on the guest_memfd (v15): its own attribute, in place', async () => {
    const told = await tell(
      made(REALM),
      ripasExit,
      `vcpu0: sys_ioctl(fd: 6, cmd: 0xc080aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: gmemset: (__kvm_gmem_set_attributes+0x0/0x2c0) ino=0x850 start=0x10 nr_pages=0x2 attrs=0x8
       vcpu0: sys_ioctl -> 0x0`,
      runs,
    );
    expect(told.conversion).toMatchObject([
      { offset: 0x10000, size: 2 * PAGE, direction: 'to_private', mechanism: 'gmem-attributes', outcome: 'done' },
    ]);
  });

  const firstTouch = `
    vcpu0: ${exit('TRAP: HSR_EC: 0x0024 (DABT_LOW)')}
    vcpu0: kvm_guest_fault: ipa 0x80200000, hsr 0x93820046, hxfar 0xffff000000123000, pc 0xffff800080012340
    vcpu0: ${entry}`;
  const flips = `
    vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
    vcpu0: kvm_vm_set_mem_attributes: 0x00000000080000 -- 0x00000000080001 [0x0]
    vcpu0: sys_ioctl -> 0x0`;

  it('where kvm_guest_fault is recorded, an exit without one is the guest’s own wish', async () => {
    const told = await tell(made(REALM), firstTouch, ripasExit, flips, runs);
    expect(told.conversion).toMatchObject([
      { origin: 'explicit', request: 'rsi-ripas', size: PAGE, outcome: 'done', certainty: 'observed' },
    ]);
    expect(told.memory_fault).toEqual([]);
  });

  it('and one behind it a touch of the other view', async () => {
    const told = await tell(
      made(REALM),
      `vcpu0: ${exit('TRAP: HSR_EC: 0x0024 (DABT_LOW)')}
       vcpu0: kvm_guest_fault: ipa 0x800080000000, hsr 0x93820046, hxfar 0xffff000000123000, pc 0xffff800080012340
       vcpu0: kvm_userspace_exit: reason error (14)
       vcpu0: sys_ioctl -> 0xfffffffffffffff2`,
      flips,
      runs,
    );
    expect(told.conversion).toMatchObject([{ origin: 'implicit', request: 'fault', outcome: 'done' }]);
    expect(told.memory_fault).toMatchObject([{ gpa: 0x8000_0000, wanted: 'shared' }]);
  });

  it('a probe on KVM_RUN names the range, of a wish that is refused, too', async () => {
    const told = await tell(
      made(REALM),
      firstTouch,
      ripasExit,
      `vcpu0: ${kvmRun(VCPU_FD[0])}
       vcpu0: runenter: (kvm_arch_vcpu_ioctl_run+0x0/0x2b3) kvm=0xffff0001015f7000 vcpu_id=0 reason=0x27 u0=0x8 u1=0x80004000 u2=0x3000 u3=0x0 ret=0x0
       vcpu0: ${entry}`,
    );
    expect(told.conversion).toMatchObject([
      { gpa: 0x8000_4000, size: 3 * PAGE, direction: 'to_private', request: 'rsi-ripas', outcome: 'refused' },
    ]);
  });

  it('of a VM whose making is lost, an EFAULT may be such a wish: its answer is not claimed to be the VMM’s own', async () => {
    const story = [firstTouch, ripasExit, flips, runs];
    const told = await tell(`vcpu0: ${kvmRun(VCPU_FD[0])}`, `vcpu0: ${entry}`, ...story);
    expect(told.conversion).toMatchObject([{ size: PAGE, certainty: 'assumed' }]);
  });

  it('left unanswered: a memory fault, no conversion', async () => {
    const told = await tell(made(REALM), ripasExit, runs);
    expect(told.memory_fault).toHaveLength(1);
    expect(told.conversion).toEqual([]);
  });

  it('a host call of the guest (RSI_HOST_CALL) that KVM answers converts nothing', async () => {
    const told = await tell(
      made(REALM),
      `vcpu0: ${exit('TRAP: HSR_EC: 0x0016 (HVC64)')}
       vcpu0: kvm_hvc_arm64: HVC at 0xffff800080012340 (r0: 0x0000000084000000, imm: 0x0)
       vcpu0: ${entry}`,
      `vcpu0: ${exit('TRAP: HSR_EC: 0x0024 (DABT_LOW)')}
       vcpu0: kvm_guest_fault: ipa 0x9000000, hsr 0x93820046, hxfar 0xffff000000123000, pc 0xffff800080012340`,
      toUserspace('vcpu0', 'KVM_EXIT_MMIO (6)'),
      runs,
    );
    expect(told.conversion).toEqual([]);
    expect(told.memory_fault).toEqual([]);
  });
});
