/** Boots of a guest: what is a reboot, what it carries over, and what is none (reference chapter 03, boot epochs). */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  faults,
  kvmEntry,
  kvmExit,
  kvmRun,
  makesVm,
  ONE_VM,
  runsAgain,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  traceText,
  VCPU_FD,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;
const SHARED_BIT = 2 ** 39;
const RUNNING = makesVm() + setsPrivate(RAM, 16 * MIB) + starts(0) + starts(1);

/** KVM_SET_SREGS and KVM_SET_REGS on a vCPU. */
function setsRegisters(vcpu: 0 | 1, who = 'vmm'): string {
  const fd = VCPU_FD[vcpu];
  return `
    ${who}: sys_ioctl(fd: ${fd}, cmd: 0x4138ae84, arg: 0x7ffd1c2e5a40)
    ${who}: sys_ioctl -> 0x0
    ${who}: sys_ioctl(fd: ${fd}, cmd: 0x4090ae82, arg: 0x7ffd1c2e5a40)
    ${who}: sys_ioctl -> 0x0`;
}

const tripleFault = `
  vcpu0: ${kvmExit(0, 'TRIPLE_FAULT')}
  ${toUserspace('vcpu0', 'KVM_EXIT_SHUTDOWN (8)')}`;
const kicked = `
  vcpu1: ${kvmExit(1, 'EXTERNAL_INTERRUPT')}
  vcpu1: kvm_userspace_exit: reason restart (4)
  vcpu1: sys_ioctl -> 0xfffffffffffffffc`;
const sharesAPage =
  asksByHypercall(0, 'shared', RAM, 4 * PAGE) + convertsTo('shared', RAM, 4 * PAGE, 'vcpu0') + runsAgain(0);

describe('the same VM starts over', () => {
  it('shutdown exit, then registers set on every vCPU: observed', async () => {
    const told = await tell(
      RUNNING,
      sharesAPage,
      tripleFault,
      kicked,
      setsRegisters(0),
      setsRegisters(1),
      starts(0),
      starts(1),
    );
    expect(told.reboot).toMatchObject([{ vm_id: 1, epoch: 1, shared_pages: 4, certainty: 'observed' }]);
    expect(told.boot_epoch).toMatchObject([
      { vm_id: 1, epoch: 0, guest: 1 },
      { vm_id: 1, epoch: 1, guest: 1 },
    ]);
  });

  it('registers set on every vCPU without any special exit: inferred', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EXTERNAL_INTERRUPT')}
       vcpu0: kvm_userspace_exit: reason restart (4)
       vcpu0: sys_ioctl -> 0xfffffffffffffffc`,
      kicked,
      setsRegisters(0),
      setsRegisters(1),
      starts(0),
      starts(1),
    );
    expect(told.reboot).toMatchObject([{ epoch: 1, shared_pages: 0, certainty: 'inferred' }]);
  });

  it('the VMM’s attribute ioctls between state set and KVM_RUN are the reset’s', async () => {
    const told = await tell(
      RUNNING,
      sharesAPage,
      tripleFault,
      kicked,
      setsRegisters(0),
      setsRegisters(1),
      `vmm: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vmm: kvm_vm_set_mem_attributes: 0x00000000100000 -- 0x00000000101000 [0x8]
       +3ms vmm: sys_ioctl -> 0x0`,
      starts(0),
      starts(1),
    );
    expect(told.reboot).toMatchObject([{ epoch: 1, shared_pages: 0 }]);
    expect(told.reboot[0]!['reset_ns']).toBeGreaterThan(3_000_000);
    expect(told.conversion.at(-1)).toMatchObject({ origin: 'vmm', direction: 'to_private', epoch: 1, outcome: 'done' });
  });

  it('a fault on a page that the boot before left shared is excess; on any other it is not', async () => {
    const told = await tell(
      RUNNING,
      faults(0, RAM + SHARED_BIT),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      tripleFault,
      kicked,
      setsRegisters(0),
      setsRegisters(1),
      starts(0),
      starts(1),
      faults(0, RAM),
      convertsTo('private', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      faults(1, RAM + 0x9000 + SHARED_BIT),
      convertsTo('shared', RAM + 0x9000, PAGE, 'vcpu1'),
      runsAgain(1),
      faults(1, RAM + 0x9000),
      convertsTo('private', RAM + 0x9000, PAGE, 'vcpu1'),
      runsAgain(1),
    );
    expect(told.memory_fault).toMatchObject([
      { gpa: RAM, wanted: 'shared', cause: 'mismatch', epoch: 0 },
      { gpa: RAM, wanted: 'private', cause: 'stale-after-reboot', epoch: 1 },
      { gpa: RAM + 0x9000, wanted: 'shared', cause: 'mismatch', epoch: 1 },
      { gpa: RAM + 0x9000, wanted: 'private', cause: 'mismatch', epoch: 1 },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('twenty of them are a finding', async () => {
    const pages = Array.from({ length: 20 }, (_, k) => RAM + k * PAGE);
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, 20 * PAGE),
      convertsTo('shared', RAM, 20 * PAGE, 'vcpu0'),
      runsAgain(0),
      tripleFault,
      kicked,
      setsRegisters(0),
      setsRegisters(1),
      starts(0),
      starts(1),
      ...pages.map((gpa) => faults(0, gpa) + convertsTo('private', gpa, PAGE, 'vcpu0') + runsAgain(0)),
    );
    expect(told.finding).toMatchObject([{ rule: 'reboot-memory-faults', verdict: 'fail', count: 20 }]);
  });

  it('a conversion that was open when the guest died is not one of the new boot', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(1, 'shared', RAM, PAGE),
      tripleFault,
      setsRegisters(0),
      setsRegisters(1),
      starts(0),
      starts(1),
    );
    expect(told.reboot).toHaveLength(1);
    const [, row] = told.conversion;
    expect(row).toMatchObject({ epoch: 0, gpa: RAM });
    expect(row!['outcome']).not.toBe('done');
    expect(told.finding).toEqual([]);
  });
});

describe('no reboot', () => {
  it('registers set before the first KVM_RUN: set-up, or a restored guest', async () => {
    const told = await tell(makesVm(), setsRegisters(0), setsRegisters(1), starts(0), starts(1));
    expect(told.reboot).toEqual([]);
    expect(told.boot_epoch).toMatchObject([{ vm_id: 1, epoch: 0 }]);
  });

  it('registers set on one vCPU only: hotplug, or a debugger', async () => {
    const told = await tell(RUNNING, kicked, setsRegisters(1), runsAgain(1));
    expect(told.reboot).toEqual([]);
  });

  it('a write to 0xcf9 that nothing follows', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'IO_INSTRUCTION')}
       vcpu0: kvm_pio: pio_write at 0xcf9 size 1 count 1 val 0x2 `,
      toUserspace('vcpu0', 'KVM_EXIT_IO (2)'),
      runsAgain(0),
    );
    expect(told.reboot).toEqual([]);
  });

  it('a shutdown exit at the end of the trace', async () => {
    const told = await tell(RUNNING, tripleFault);
    expect(told.reboot).toEqual([]);
  });

  it('kexec inside the guest shows nothing, and nothing is said', async () => {
    const told = await tell(
      RUNNING,
      sharesAPage,
      asksByHypercall(0, 'private', RAM, 4 * PAGE),
      convertsTo('private', RAM, 4 * PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.reboot).toEqual([]);
  });
});

describe('a new VM takes over', () => {
  const rebuilt = `
    vmm: sys_close(fd: 5)
    vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 4)
    vmm: sys_ioctl -> 0xa
    vmm: sys_ioctl(fd: 0xa, cmd: 0xae41, arg: 0)
    vmm: sys_ioctl -> 0xb
    vmm: sys_ioctl(fd: 0xa, cmd: 0xae41, arg: 1)
    vmm: sys_ioctl -> 0xc
    vcpu0: ${kvmRun(0xb)}
    vcpu0: ${kvmEntry(0, '0x0')}
    vcpu1: ${kvmRun(0xc)}
    vcpu1: ${kvmEntry(1, '0x0')}`;

  it('after a reset exit: the next boot of the same guest', async () => {
    const told = await tell(makesVm(4) + starts(0) + starts(1), tripleFault, kicked, rebuilt);
    expect(told.vm).toHaveLength(2);
    expect(told.reboot).toMatchObject([{ vm_id: 2, epoch: 1, certainty: 'inferred', shared_pages: 0 }]);
    expect(told.boot_epoch).toMatchObject([
      { vm_id: 1, epoch: 0, guest: 1 },
      { vm_id: 2, epoch: 1, guest: 1 },
    ]);
  });

  it('after a reset exit that another vCPU hears of only when it runs again', async () => {
    const late = `
      vcpu1: ${kvmExit(1, 'IO_INSTRUCTION')}
      ${toUserspace('vcpu1', 'KVM_EXIT_IO (2)')}`;
    const told = await tell(makesVm(4) + starts(0) + starts(1), late, tripleFault, runsAgain(1), kicked, rebuilt);
    expect(told.reboot).toMatchObject([{ vm_id: 2, epoch: 1, certainty: 'inferred' }]);
  });

  it('not after one that its own vCPU ran on from', async () => {
    const told = await tell(makesVm(4) + starts(0) + starts(1), tripleFault, runsAgain(0), kicked, rebuilt);
    expect(told.reboot).toEqual([]);
  });

  it('not where the threads of the one that asked stay with it', async () => {
    const another = `
      vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 1)
      vmm: sys_ioctl -> 0xa
      vmm: sys_ioctl(fd: 0xa, cmd: 0xae41, arg: 0)
      vmm: sys_ioctl -> 0xb
      worker: ${kvmRun(0xb)}
      worker: ${kvmEntry(0)}`;
    const told = await analyse(
      traceText([RUNNING, tripleFault, kicked, another, setsRegisters(0), setsRegisters(1), starts(0), starts(1)], {
        cast: { ...ONE_VM, worker: 'CPU 0/KVM-110 (100) [001]' },
      }),
    );
    expect(told.reboot).toMatchObject([{ vm_id: 1, epoch: 1, certainty: 'observed' }]);
  });

  it('without one: another guest', async () => {
    const told = await tell(makesVm(4) + starts(0) + starts(1), kicked, rebuilt);
    expect(told.vm).toHaveLength(2);
    expect(told.reboot).toEqual([]);
    expect(new Set(told.boot_epoch.map((e) => e['guest'])).size).toBe(2);
  });
});

describe('with nothing but kvm:*', () => {
  const boot = (rip0: string, rip1: string): string => `
    vcpu0: ${kvmEntry(0, rip0)}
    vcpu1: ${kvmEntry(1, rip1)}`;
  const works = (vcpu: 0 | 1, rip: string): string => `
    vcpu${vcpu}: ${kvmExit(vcpu, 'EXTERNAL_INTERRUPT', rip)}
    vcpu${vcpu}: ${kvmEntry(vcpu, rip)}`;
  const leaves = (vcpu: 0 | 1): string => `vcpu${vcpu}: ${kvmExit(vcpu, 'HLT')}`;

  const made = (vcpu: number): string =>
    `vmm: kvm_track_tsc: vcpu_id ${vcpu} masterclock 0 offsetmatched 0 nr_online ${vcpu + 1} hostclock tsc`;

  it('every vCPU enters again where it first entered: inferred', async () => {
    const told = await tell(
      made(0),
      made(1),
      boot('0xfff0', '0x10000'),
      works(0, '0x10085'),
      works(1, '0x10090'),
      leaves(0),
      leaves(1),
      boot('0xfff0', '0x10000'),
      works(0, '0x10085'),
    );
    expect(told.reboot).toMatchObject([{ epoch: 1, certainty: 'inferred' }]);
  });

  it('where the trace began later than the VM, any place may come again: a loop in the guest', async () => {
    const told = await tell(
      boot('0x10085', '0x10090'),
      works(0, '0x10000'),
      works(1, '0x10000'),
      leaves(0),
      leaves(1),
      boot('0x10085', '0x10090'),
    );
    expect(told.reboot).toEqual([]);
  });

  it('one vCPU does: a loop in the guest', async () => {
    const told = await tell(
      made(0),
      made(1),
      boot('0xfff0', '0x10000'),
      works(0, '0x10085'),
      works(1, '0x10090'),
      works(0, '0xfff0'),
      works(1, '0x10090'),
    );
    expect(told.reboot).toEqual([]);
  });

  it('rip 0 of a protected guest says nothing', async () => {
    const told = await tell(
      made(0),
      made(1),
      boot('0x0', '0x0'),
      ...Array.from({ length: 5 }, () => works(0, '0x0') + works(1, '0x0')),
    );
    expect(told.reboot).toEqual([]);
  });
});
