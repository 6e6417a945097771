/** The host touches a mapping of a guest_memfd on x86 (reference chapters 02 §2, 07 §13). */
import { describe, expect, it } from 'vitest';
import { asksByHypercall, convertsTo, makesVm, runsAgain, setsPrivate, starts, tell } from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;
const HVA = 0x7f5733000000;

const binds = `
  vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
  vmm: bind: (kvm_gmem_bind+0x0/0x2c0) kvm=0xffff88810c1e5000 id=1 base_gfn=0x100000 npages=0x100 fd=6 offset=0x0
  vmm: sys_ioctl -> 0x0`;
const mmaps = (fd: number): string => `
  vmm: sys_mmap(addr: 0, len: 0x100000, prot: 3, flags: 1, fd: ${fd}, off: 0)
  vmm: sys_mmap -> 0x${HVA.toString(16)}`;
const faultsAt = (hva: number): string =>
  `vmm: page_fault_user: address=0x${hva.toString(16)} ip=0x55d0c0de error_code=0x6`;
const sigbus = 'vmm: signal_generate: sig=7 errno=0 code=2 comm=qemu-kvm pid=100 grp=0 res=0';
const RUNNING = makesVm() + binds + setsPrivate(RAM, MIB) + starts(0);

/** host_access is no table of Told; the finding says it. */
const findings = (told: Awaited<ReturnType<typeof tell>>): unknown[] =>
  told.finding.map((f) => [f['rule'], f['verdict'], f['count']]);

describe('SIGBUS of a host process', () => {
  it('on a private page of a mapped guest_memfd: an access that was refused', async () => {
    const told = await tell(RUNNING, mmaps(6), faultsAt(HVA + 0x3000), sigbus);
    expect(findings(told)).toEqual([['host-access-to-private', 'fail', 1]]);
    expect(told.finding[0]!['title']).toContain('0x100003000');
  });

  it('on a page that is shared: the file may be shorter, nothing is said', async () => {
    const told = await tell(
      RUNNING,
      mmaps(6),
      asksByHypercall(0, 'shared', RAM + 0x3000, PAGE),
      convertsTo('shared', RAM + 0x3000, PAGE, 'vcpu0'),
      runsAgain(0),
      faultsAt(HVA + 0x3000),
      sigbus,
    );
    expect(told.finding).toEqual([]);
  });

  it('on another file’s mapping, or elsewhere: nothing', async () => {
    for (const story of [mmaps(9) + faultsAt(HVA + 0x3000), mmaps(6) + faultsAt(HVA - 0x3000)]) {
      const told = await tell(RUNNING, ...story.split(/(?=vmm: page_fault)/), sigbus);
      expect(told.finding).toEqual([]);
    }
  });

  it('a fault that is served raises no signal, and is none', async () => {
    const told = await tell(RUNNING, mmaps(6), faultsAt(HVA + 0x3000));
    expect(told.finding).toEqual([]);
  });

  it('the probe on the guest_memfd’s fault handler tells it without the signal', async () => {
    const told = await tell(
      makesVm(),
      `vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
       vmm: bound: (kvm_gmem_commit_memory_region+0x0/0x2c0) kvm=0xffff88810c1e5000 slot=1 base_gfn=0x100000 npages=0x100 pgoff=0x0 ino=0x850
       vmm: sys_ioctl -> 0x0`,
      setsPrivate(RAM, MIB) + starts(0),
      `vmm: userfault: (kvm_gmem_fault_user_mapping+0x0/0x2c0) ino=0x850 pgoff=0x3
       vmm: userfault_ret: (__do_fault+0x32/0xb0 <- kvm_gmem_fault_user_mapping) ret=0x2
       vmm: userfault: (kvm_gmem_fault_user_mapping+0x0/0x2c0) ino=0x850 pgoff=0x4
       vmm: userfault_ret: (__do_fault+0x32/0xb0 <- kvm_gmem_fault_user_mapping) ret=0x200`,
    );
    expect(findings(told)).toEqual([['host-access-to-private', 'fail', 1]]);
  });
});
