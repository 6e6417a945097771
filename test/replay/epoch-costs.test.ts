/** What each boot lost to memory faults, in the table boot_epoch (reference chapter 07 §5). */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  convertsTo,
  faults,
  kvmExit,
  makesVm,
  runsAgain,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  VCPU_FD,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;
const SHARED_BIT = 2 ** 39;

const setsRegisters = (vcpu: 0 | 1): string => `
  vmm: sys_ioctl(fd: ${VCPU_FD[vcpu]}, cmd: 0x4090ae82, arg: 0x7ffd1c2e5a40)
  vmm: sys_ioctl -> 0x0`;
const REBOOTS = `
  vcpu0: ${kvmExit(0, 'TRIPLE_FAULT')}
  ${toUserspace('vcpu0', 'KVM_EXIT_SHUTDOWN (8)')}
  vcpu1: ${kvmExit(1, 'EXTERNAL_INTERRUPT')}
  vcpu1: kvm_userspace_exit: reason restart (4)
  vcpu1: sys_ioctl -> 0xfffffffffffffffc
  ${setsRegisters(0)}${setsRegisters(1)}${starts(0)}${starts(1)}`;
const RUNNING = makesVm() + setsPrivate(RAM, 16 * MIB) + starts(0) + starts(1);
const asks = (to: 'private' | 'shared', page: number): string =>
  asksByHypercall(0, to, RAM + page * PAGE, PAGE) + convertsTo(to, RAM + page * PAGE, PAGE, 'vcpu0') + runsAgain(0);
const touches = (to: 'private' | 'shared', page: number): string =>
  faults(0, RAM + page * PAGE + (to === 'shared' ? SHARED_BIT : 0)) +
  convertsTo(to, RAM + page * PAGE, PAGE, 'vcpu0') +
  runsAgain(0);
const causes = (told: Awaited<ReturnType<typeof tell>>): unknown[] => told.memory_fault.map((f) => f['cause']);

describe('memory that the boot before left over', () => {
  it('costs what its faults cost, against what a reset would have cost', async () => {
    const told = await tell(RUNNING, asks('shared', 1), touches('shared', 9), REBOOTS, touches('private', 1));
    expect(causes(told)).toEqual(['mismatch', 'stale-after-reboot']);
    expect(told.boot_epoch).toMatchObject([
      { epoch: 0, faults: 1, stale_faults: 0, stale_ns: 0, reset_estimate_ns: null },
      { epoch: 1, faults: 1, stale_faults: 1 },
    ]);
    const second = told.boot_epoch[1]!;
    expect(second['stale_ns']).toBe(second['faults_ns']);
    expect(second['stale_ns']).toBeGreaterThan(0);
    expect(second['reset_estimate_ns']).toBeGreaterThan(0);
  });

  it('may be private where the guest takes it as shared', async () => {
    const told = await tell(RUNNING, asks('shared', 1), asks('private', 1), REBOOTS, touches('shared', 1));
    expect(causes(told)).toEqual(['stale-after-reboot']);
    expect(told.boot_epoch).toMatchObject([{ stale_faults: 0 }, { faults: 1, stale_faults: 1 }]);
  });

  it('is none of it: what was private from the start, what somebody has set since, or what the first boot did as often', async () => {
    const start = await tell(RUNNING, asks('shared', 2), asks('private', 2), REBOOTS, touches('shared', 1));
    expect(causes(start)).toEqual(['mismatch']);
    const since = await tell(
      RUNNING,
      asks('shared', 1),
      asks('private', 1),
      REBOOTS,
      asks('shared', 1),
      asks('private', 1),
      touches('shared', 1),
    );
    expect(causes(since)).toEqual(['mismatch']);
    const habit = await tell(
      RUNNING,
      asks('shared', 1),
      asks('private', 1),
      touches('shared', 9),
      REBOOTS,
      touches('shared', 1),
    );
    expect(causes(habit)).toEqual(['mismatch', 'mismatch']);
    const sameBoot = await tell(RUNNING, asks('shared', 1), asks('private', 1), touches('shared', 1));
    expect(causes(sameBoot)).toEqual(['mismatch']);
  });

  it('is not known where exits to userspace are not recorded', async () => {
    const told = await tell(makesVm(), setsPrivate(RAM, MIB));
    expect(told.boot_epoch).toMatchObject([{ epoch: 0, faults: null, stale_faults: null }]);
  });
});
