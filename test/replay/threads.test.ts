/** Whose thread it is: numbers that are used again, and processes that no recorder names (reference chapter 06). */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  kvmEntry,
  kvmExit,
  kvmRun,
  makesVm,
  runsAgain,
  setAttributes,
  setsPrivate,
  starts,
  tell,
  traceText,
  type Cast,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;

/** A recorder of the scheduler sees the thread go: first its exit, then the switch from which it does not come back. */
const dies = (who: string, comm: string, tid: number): string => `
  ${who}: sched_process_exit: comm=${comm} pid=${tid} prio=120 group_dead=false
  ${who}: sched_switch: prev_comm=${comm} prev_pid=${tid} prev_prio=120 prev_state=X ==> next_comm=swapper/1 next_pid=0 next_prio=120`;
const makes = (who: string, tid: number, flags: string): string =>
  `${who}: task_newtask: pid=${tid} comm=qemu clone_flags=${flags} oom_score_adj=0`;
const THREAD = '3d0f00';
const PROCESS = '1200011';

/** VMM 100 and its vCPU 101 are gone; 101 is now the second VMM, and its vCPU is 100. */
const SWAPPED: Cast = {
  vmm: 'qemu-100 (100) [001]',
  vcpu0: 'CPU 0/KVM-101 (100) [000]',
  shell: 'sh-50 (50) [001]',
  vmmB: 'qemu-101 (101) [001]',
  vcpuB: 'CPU 0/KVM-100 (101) [000]',
};

const runsB = `
  vcpuB: ${kvmRun(7)}
  vcpuB: ${kvmEntry(0)}`;
const ONE_AFTER_THE_OTHER = [
  makesVm(),
  makes('vmm', 101, THREAD),
  setsPrivate(RAM, 64 * MIB),
  starts(0),
  asksByHypercall(0, 'shared', RAM, PAGE),
  convertsTo('shared', RAM, PAGE, 'vcpu0'),
  runsAgain(0),
  `vcpu0: ${kvmExit(0, 'HLT')}
   vcpu0: kvm_userspace_exit: reason restart (4)
   vcpu0: sys_ioctl -> 0xfffffffffffffffc`,
  dies('vcpu0', 'CPU 0/KVM', 101),
  dies('vmm', 'qemu', 100),
  makes('shell', 101, PROCESS),
  makesVm(1, 'vmmB'),
  makes('vmmB', 100, THREAD),
  setsPrivate(RAM, 32 * MIB, 'vmmB'),
  runsB,
];

describe('a thread number that is used again', () => {
  const expectBoth = (told: Awaited<ReturnType<typeof tell>>): void => {
    expect(told.vcpu).toMatchObject([
      { vm_id: 1, vcpu: 0, tid: 101 },
      { vm_id: 2, vcpu: 0, tid: 100 },
    ]);
    expect(told.conversion).toMatchObject([
      { vm_id: 1, tid: 100, origin: 'vmm', size: 64 * MIB, certainty: 'observed' },
      { vm_id: 1, tid: 101, origin: 'explicit', vcpu: 0, certainty: 'observed' },
      { vm_id: 2, tid: 101, origin: 'vmm', size: 32 * MIB, certainty: 'observed' },
    ]);
    expect(told.vcpu[0]!['to_ns']).not.toBeNull();
    expect(told.vcpu[1]!['to_ns']).toBeNull();
  };

  it('is another thread, with another process and nothing of the dead one’s', async () => {
    const told = await analyse(traceText(ONE_AFTER_THE_OTHER, { cast: SWAPPED }));
    expect(told.vm).toMatchObject([{ pid: 100 }, { pid: 101 }]);
    expectBoth(told);
  });

  it('is so without tgids, too', async () => {
    expectBoth(await analyse(traceText(ONE_AFTER_THE_OTHER, { cast: SWAPPED, tgids: false })));
  });

  it('is the same thread where it only left its CPU', async () => {
    const told = await tell(
      makesVm() + setsPrivate(RAM, 64 * MIB) + starts(0),
      asksByHypercall(0, 'shared', RAM, PAGE),
      `vcpu0: sched_switch: prev_comm=CPU prev_pid=101 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
       vcpu0: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=CPU next_pid=101 next_prio=120`,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion.slice(1)).toMatchObject([{ tid: 101, vcpu: 0, origin: 'explicit', outcome: 'done' }]);
  });
});

describe('without tgids', () => {
  const STRANGERS: Cast = {
    vmm: 'qemu-100 (100) [001]',
    vcpu0: 'CPU 0/KVM-101 (100) [000]',
    vcpu1: 'CPU 1/KVM-102 (100) [001]',
    vmmB: 'crosvm-110 (110) [001]',
    vcpuB: 'crosvm_vcpu0-111 (110) [001]',
    gpu: 'gpu-daemon-90 (90) [001]',
  };
  const tellWithout = (...story: readonly string[]) => analyse(traceText(story, { cast: STRANGERS, tgids: false }));
  const RUNNING = makesVm() + setsPrivate(RAM, 64 * MIB) + starts(0) + starts(1);

  it('a device’s ioctls of the same numbers on the same descriptors are nobody’s attempts', async () => {
    const told = await tellWithout(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      `gpu: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffc00001000)
       gpu: sys_ioctl -> 0xffffffffffffffe7
       gpu: sys_ioctl(fd: 7, cmd: 0xae80, arg: 0x7ffc00001000)
       gpu: sys_ioctl -> 0xffffffffffffffe7
       gpu: sys_ioctl(fd: 6, cmd: 0xc080aed2, arg: 0x7ffc00001000)
       gpu: sys_ioctl -> 0xffffffffffffffe7`,
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.vm).toHaveLength(1);
    expect(told.vcpu).toMatchObject([{ tid: 101 }, { tid: 102 }]);
    expect(told.conversion.slice(1)).toMatchObject([{ vcpu: 0, outcome: 'done', attempts: 1, failed_attempts: 0 }]);
  });

  it('two VMMs that made the same descriptors each have their own', async () => {
    const told = await tellWithout(
      makesVm(1, 'vmmB') + makesVm(),
      setsPrivate(RAM, 64 * MIB) + setsPrivate(RAM, 32 * MIB, 'vmmB'),
      starts(0),
      `vcpuB: ${kvmRun(7)}
       vcpuB: ${kvmEntry(0)}`,
    );
    expect(told.conversion).toMatchObject([
      { vm_id: 2, tid: 100, size: 64 * MIB, certainty: 'observed' },
      { vm_id: 1, tid: 110, size: 32 * MIB, certainty: 'observed' },
    ]);
  });

  it('one whose set-up is lost is not taken for that of the same descriptors: its struct kvm is another', async () => {
    const bind = (who: string, kvm: string): string => `
      ${who}: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
      ${who}: bind: (kvm_gmem_bind+0x0/0x2c0) kvm=${kvm} id=1 base_gfn=0x100000 npages=0x4000 fd=6 offset=0x0
      ${who}: sys_ioctl -> 0x0`;
    const told = await tellWithout(
      makesVm() + bind('vmm', '0xffff88810c1e5000') + setsPrivate(RAM, 64 * MIB) + starts(0),
      'CPU:1 [LOST 9 EVENTS]',
      bind('vmmB', '0xffff88810c207000') + setsPrivate(RAM, 32 * MIB, 'vmmB'),
    );
    expect(told.vm).toHaveLength(2);
    expect(told.conversion.map((c) => c['vm_id'])).not.toEqual([1, 1]);
  });

  it('who made a thread says whose it is, where descriptors do not', async () => {
    const told = await tellWithout(
      makesVm(),
      makesVm(1, 'vmmB'),
      // numbered after both VMMs, and its descriptor number means a vCPU in either
      makes('vmm', 111, THREAD),
      `vcpuB: ${kvmRun(7)}
       vcpuB: ${kvmEntry(0)}
       vcpuB: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffc00001000)
       vcpuB: ${setAttributes(RAM, PAGE, 'private')}
       vcpuB: sys_ioctl -> 0x0`,
    );
    expect(told.vcpu).toMatchObject([{ vm_id: 1, tid: 111 }]);
    expect(told.conversion).toMatchObject([{ vm_id: 1, tid: 111 }]);
  });
});
