/** arm64 without protection by the hypervisor: boots and faults (reference chapter 03; flows of pKVM have their own file). */
import { describe, expect, it } from 'vitest';
import { kvmRun, tell, toUserspace, VCPU_FD } from '../support/trace-text.js';

const exit = (why: string): string => `kvm_exit: ${why}, PC: 0xffff800080012340`;
const entry = (pc = '0xffff800080012344'): string => `kvm_entry: PC: ${pc.padEnd(18, '0')}`;
const HVC = exit('TRAP: HSR_EC: 0x0016 (HVC64)');

const ask = (hvc: string, answer: string): string => `
  vcpu0: ${HVC}
  vcpu0: kvm_hvc_arm64: HVC at 0xffff800080012340 (r0: 0x00000000${hvc}, imm: 0x0)
  ${toUserspace('vcpu0', 'KVM_EXIT_HYPERCALL (3)')}
  vcpu0: ${kvmRun(VCPU_FD[0])}
  vcpu0: runenter: (kvm_arch_vcpu_ioctl_run+0x0/0x8e0) vcpu=0xffff000012340000 vcpu_id=0 kvm=0xffff000012345000 reason=0x3 u0=0xc u1=0x80003000 u2=0x1 u3=0x10 ret=${answer}
  vcpu0: ${entry()}`;

const MADE = `
  vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 0)
  vmm: sys_ioctl -> 0x5
  vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
  vmm: sys_ioctl -> 0x7
  vmm: sys_ioctl(fd: 7, cmd: 0x4020aeae, arg: 0x7ffd1c2e5a40)
  vmm: sys_ioctl -> 0x0
  vcpu0: ${kvmRun(VCPU_FD[0])}
  vcpu0: ${entry('0x0000000080080000')}`;

const faultsAt = (ipa: string): string => `
  vcpu0: ${exit('TRAP: HSR_EC: 0x0024 (DABT_LOW)')}
  vcpu0: kvm_guest_fault: ipa ${ipa}, hsr 0x93820046, hxfar 0xffff000000123000, pc 0xffff800080012340
  vcpu0: ${entry()}`;

const psci = (call: string): string => `
  vcpu0: ${HVC}
  vcpu0: kvm_hvc_arm64: HVC at 0xffff800080012340 (r0: 0x00000000${call}, imm: 0x0)
  ${toUserspace('vcpu0', 'KVM_EXIT_SYSTEM_EVENT (24)')}`;

const reinitialised = `
  vmm: sys_ioctl(fd: 7, cmd: 0x4020aeae, arg: 0x7ffd1c2e5a40)
  vmm: sys_ioctl -> 0x0
  vcpu0: ${kvmRun(VCPU_FD[0])}
  vcpu0: ${entry('0x0000000080080000')}`;

describe('arm64', () => {
  it('PSCI SYSTEM_RESET, then the vCPU made anew: a reboot, observed', async () => {
    const told = await tell(MADE, faultsAt('0x80000000'), psci('84000009'), reinitialised);
    expect(told.reboot).toMatchObject([{ vm_id: 1, epoch: 1, certainty: 'observed' }]);
  });

  it('the burst of stage-2 faults after it is no excess', async () => {
    const burst = Array.from({ length: 40 }, (_, k) => faultsAt(`0x8000${(k + 16).toString(16)}000`));
    const told = await tell(MADE, ...burst, psci('84000009'), reinitialised, ...burst);
    expect(told.reboot).toHaveLength(1);
    expect(told.memory_fault).toEqual([]);
    expect(told.finding).toEqual([]);
  });

  it('a page that the VMM refuses to unshare: kvm_run at the next KVM_RUN names it', async () => {
    const told = await tell(MADE, ask('c6000004', '0x16'));
    expect(told.conversion).toMatchObject([
      { gpa: 0x80003000, size: 4096, direction: 'to_private', request: 'pkvm-hvc', outcome: 'refused', attempts: 0 },
    ]);
  });

  it('PSCI SYSTEM_OFF is no reset', async () => {
    const told = await tell(MADE, psci('84000008'));
    expect(told.reboot).toEqual([]);
  });

  it('KVM_RUN that fails with EFAULT is no KVM_EXIT_MEMORY_FAULT here', async () => {
    const told = await tell(
      MADE,
      `vcpu0: ${exit('TRAP: HSR_EC: 0x0024 (DABT_LOW)')}
       vcpu0: kvm_guest_fault: ipa 0x80000000, hsr 0x93820046, hxfar 0xffff000000123000, pc 0xffff800080012340
       vcpu0: kvm_userspace_exit: reason error (14)
       vcpu0: sys_ioctl -> 0xfffffffffffffff2`,
    );
    expect(told.memory_fault).toEqual([]);
    expect(told.conversion).toEqual([]);
  });

  it('faults and MMIO of a plain guest convert nothing', async () => {
    const told = await tell(
      MADE,
      faultsAt('0x80000000'),
      `vcpu0: ${exit('TRAP: HSR_EC: 0x0024 (DABT_LOW)')}
       vcpu0: kvm_guest_fault: ipa 0x9000000, hsr 0x93820046, hxfar 0xffff000000123000, pc 0xffff800080012340
       vcpu0: kvm_mmio: mmio write len 4 gpa 0x9000000 val 0x41`,
      toUserspace('vcpu0', 'KVM_EXIT_MMIO (6)'),
      `vcpu0: ${kvmRun(VCPU_FD[0])}
       vcpu0: ${entry()}`,
    );
    expect(told.vm).toMatchObject([{ platform: 'plain' }]);
    expect(told.conversion).toEqual([]);
    expect(told.finding).toEqual([]);
  });
});
