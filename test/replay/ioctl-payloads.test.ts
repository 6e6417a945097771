/** Kernels before 7.2 have no tracepoint for attribute changes: a probe on kvm_vm_ioctl brings the argument's words (reference chapter 05). */
import { describe, expect, it } from 'vitest';
import { asksByHypercall, GMEM_FD, makesVm, runsAgain, starts, tell, VM_FD } from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const MIB = 1024 * 1024;
const SET_ATTRIBUTES = '0x4020aed2';
const SET_REGION2 = '0x40a0ae49';

/** An ioctl on the VM with the words of its argument, and its results by both of its ends. */
function vmIoctl(who: string, cmd: string, words: readonly number[], result = 0): string {
  const given = words.map((word, k) => `a${k}=0x${word.toString(16)}`).join(' ');
  const printed = result < 0 ? `0x${BigInt.asUintN(64, BigInt(result)).toString(16)}` : `0x${result.toString(16)}`;
  return `
    ${who}: sys_ioctl(fd: ${VM_FD}, cmd: ${cmd}, arg: 0x7ffc0000)
    ${who}: vmioctl: (kvm_vm_ioctl+0x4/0xb51 [kvm]) filp=0xffff888100000000 cmd=${cmd} arg=0x7ffc0000 ${given}
    ${who}: vmioctl_ret: (__x64_sys_ioctl+0x97/0xe0 <- kvm_vm_ioctl) ret=${result}
    ${who}: sys_ioctl -> ${printed}`;
}

const BOUND = vmIoctl('vmm', SET_REGION2, [4 * 2 ** 32 + 1, RAM, 64 * MIB, 0x7f00_0000_0000, 0x20_0000, GMEM_FD]);
const SET_UP = makesVm() + BOUND + vmIoctl('vmm', SET_ATTRIBUTES, [RAM, 64 * MIB, 8, 0]) + starts(0) + starts(1);

describe('ioctls on a VM with their payload', () => {
  it('an attribute change names range and direction without the tracepoint, its result is observed', async () => {
    const told = await tell(
      SET_UP,
      asksByHypercall(1, 'shared', RAM + 0x5000, 0x2000),
      vmIoctl('vcpu1', SET_ATTRIBUTES, [RAM + 0x5000, 0x2000, 0, 0]),
      runsAgain(1),
    );
    expect(told.conversion).toMatchObject([
      { origin: 'vmm', direction: 'to_private', gpa: RAM, size: 64 * MIB, offset: 0x20_0000, certainty: 'observed' },
      {
        vm_id: 1,
        vcpu: 1,
        origin: 'explicit',
        direction: 'to_shared',
        gpa: RAM + 0x5000,
        size: 0x2000,
        offset: 0x20_5000,
        mechanism: 'vm-attributes',
        outcome: 'done',
        attempts: 1,
        certainty: 'observed',
      },
    ]);
    expect(told.binding).toMatchObject([{ vm_id: 1, slot: 1, gpa: RAM, offset: 0x20_0000, size: 64 * MIB }]);
  });

  it('one that fails changes nothing', async () => {
    const told = await tell(
      SET_UP,
      asksByHypercall(1, 'shared', RAM + 0x5000, 0x2000),
      vmIoctl('vcpu1', SET_ATTRIBUTES, [RAM + 0x5000, 0x2000, 0, 0], -12),
      runsAgain(1),
    );
    expect(told.conversion[1]).toMatchObject({ outcome: 'failed', last_errno: 12, certainty: 'observed' });
  });

  it('a memslot without guest_memfd is no binding', async () => {
    const told = await tell(makesVm(), vmIoctl('vmm', SET_REGION2, [1, RAM, 64 * MIB, 0x7f00_0000_0000, 0, 0]));
    expect(told.binding).toEqual([]);
  });
});
