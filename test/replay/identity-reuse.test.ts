/**
 * Numbers that the kernel gives out again: processes that die with a reset pending, descriptors that are closed, inode
 * numbers of other files and of later guest_memfds (reference chapters 06 and 12).
 */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  kvmRun,
  makesVm,
  runsAgain,
  setsPrivate,
  starts,
  tell,
  toUserspace,
  traceText,
  VM_TYPE,
} from '../support/trace-text.js';

const PAGE = 4096;
const RAM = 0x1_0000_0000;
const MIB = 1024 * 1024;

const shutdown = `
  vcpu0: ${kvmExit(0, 'TRIPLE_FAULT')}
  ${toUserspace('vcpu0', 'KVM_EXIT_SHUTDOWN (8)')}`;
const vmmEnds = `
  vcpu0: sched_process_exit: comm=CPU 0/KVM pid=101 prio=120 group_dead=false
  vmm: sched_process_exit: comm=qemu-kvm pid=100 prio=120 group_dead=true`;

/** A second text that goes on 100 s after the first. */
function later(first: string, second: string): string {
  return first + second.replace(/^#.*\n/gm, '').replaceAll(' 100.', ' 200.');
}

describe('a process that dies after a reset exit', () => {
  it('is not rebooted by the next VMM that gets its pid', async () => {
    const told = await analyse(
      later(
        traceText([makesVm() + setsPrivate(RAM, MIB) + starts(0), shutdown, vmmEnds]),
        traceText([makesVm() + setsPrivate(RAM, MIB) + starts(0)]),
      ),
    );
    expect(told.vm).toHaveLength(2);
    expect(told.reboot).toEqual([]);
    expect(told.boot_epoch).toMatchObject([
      { vm_id: 1, epoch: 0, guest: 1 },
      { vm_id: 2, epoch: 0, guest: 2 },
    ]);
  });

  it('while a vCPU thread that ends for a new one of the same process is a reboot all the same', async () => {
    const told = await tell(
      makesVm(VM_TYPE.tdx) + starts(0, '0x0'),
      shutdown,
      'vcpu0: sched_process_exit: comm=CPU 0/KVM pid=101 prio=120 group_dead=false',
      makesVm(VM_TYPE.tdx),
      `vcpu1: ${kvmRun(7)}
       vcpu1: ${kvmEntry(0, '0x0')}`,
    );
    expect(told.reboot).toMatchObject([{ vm_id: 2, epoch: 1, certainty: 'inferred' }]);
  });
});

describe('closed descriptors', () => {
  it('an ioctl on a closed descriptor’s number is nobody’s', async () => {
    const told = await tell(
      makesVm() + setsPrivate(RAM, MIB) + starts(0),
      `vcpu0: ${kvmExit(0, 'HLT')}
       vcpu0: kvm_userspace_exit: reason restart (4)
       vcpu0: sys_ioctl -> 0xfffffffffffffffc
       vmm: sys_close(fd: 6)
       vmm: sys_close -> 0x0
       vmm: sys_fallocate(fd: 6, mode: 3, offset: 0, len: 0x1000)
       vmm: sys_fallocate -> 0x0`,
    );
    expect(told.punch).toEqual([]);
  });

  it('closed by another process of the same number: nothing is closed here', async () => {
    const told = await tell(
      makesVm() + setsPrivate(RAM, MIB) + starts(0),
      `other: sys_close(fd: 6)
       other: sys_close -> 0x0
       vmm: sys_fallocate(fd: 6, mode: 3, offset: 0, len: 0x1000)
       vmm: sys_fallocate -> 0x0`,
    );
    expect(told.punch).toMatchObject([{ offset: 0, size: PAGE }]);
  });
});

/** A private page of the guest faults and is inserted into its guest_memfd. */
function faultsIn(gpa: number, inode: number, offset: number, pfn: string, dev = '0:15', code = '0x100000006'): string {
  const gfn = (gpa / PAGE).toString(16);
  return `
    vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
    vcpu0: ${kvmPageFault(0, gpa, code)}
    vcpu0: mm_filemap_add_to_page_cache: dev ${dev} ino ${inode.toString(16)} pfn=0x${pfn} ofs=${offset} order=0
    vcpu0: kvm_mmu_spte_requested: gfn ${gfn} pfn ${pfn} level 1 access f
    vcpu0: ${kvmEntry(0)}`;
}

describe('inodes', () => {
  it('the device is told with them', async () => {
    const told = await tell(makesVm() + setsPrivate(RAM, MIB) + starts(0), faultsIn(RAM, 0x850, 0, '107e18'));
    expect(told.gmem).toMatchObject([{ inode: 0x850, dev: 15 }]);
  });

  it('pages of another device under the same number are not the guest_memfd’s', async () => {
    const told = await tell(
      makesVm() + setsPrivate(RAM, MIB) + starts(0),
      faultsIn(RAM, 0x850, 0, '107e18'),
      `other: mm_filemap_add_to_page_cache: dev 259:2 ino 850 pfn=0x1128b4 ofs=4096 order=0
       other: page_ref_mod: pfn=0x1128b4 flags=uptodate count=1026 mapcount=-1 mapping=00000000be275cc9 mt=0 val=1024
       other: mm_filemap_delete_from_page_cache: dev 259:2 ino 850 pfn=0x1128b4 ofs=0 order=0`,
      `+6s vcpu0: ${kvmExit(0, 'HLT')}`,
    );
    expect(told.page_ref).toEqual([]);
    expect(told.gmem_interval.filter((i) => i['allocation'] === 'unallocated')).toEqual([]);
  });

  it('shared memory of the VMM’s that is faulted in for the guest is no guest_memfd', async () => {
    const told = await tell(
      makesVm(VM_TYPE.snp) + setsPrivate(RAM, MIB) + starts(0, '0x0'),
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      // The backend of the shared view is a memfd: KVM's GUP faults its page in on the vCPU's thread.
      faultsIn(RAM, 0x42, 0x7000, '1093b4', '0:1', '0x100000006'),
    );
    expect(told.binding).toEqual([]);
    expect(told.gmem.map((g) => g['inode'])).toEqual([null]);
  });

  it('nor where events are lost that may have made the page shared', async () => {
    for (const type of [VM_TYPE.sw, VM_TYPE.snp]) {
      const told = await tell(
        makesVm(type) + setsPrivate(RAM, MIB) + starts(0),
        'CPU:0 [LOST 3 EVENTS]',
        faultsIn(RAM, 0x42, 0x7000, '1093b4', '0:1', '0x100000006'),
      );
      expect(told.binding).toEqual([]);
    }
  });

  it('while a private access (C-bit) shows the guest_memfd, lost events or not', async () => {
    const told = await tell(
      makesVm(VM_TYPE.snp) + setsPrivate(RAM, MIB) + starts(0),
      'CPU:0 [LOST 3 EVENTS]',
      faultsIn(RAM, 0x850, 0x7000, '1093b4', '0:15', '0x500000006'),
    );
    expect(told.binding).toMatchObject([{ gpa: RAM, offset: 0x7000 }]);
  });

  it('memslots bound by two descriptors lie in two files, though only one is known', async () => {
    const bind = (slot: number, gfn: string, fd: number): string => `
      vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
      vmm: bind: (kvm_gmem_bind+0x0/0x2c0) kvm=0xffff88810c1e5000 id=${slot} base_gfn=${gfn} npages=0x100 fd=${fd} offset=0x0
      vmm: sys_ioctl -> 0x0`;
    const told = await tell(
      `vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 4)
       vmm: sys_ioctl -> 0x5
       vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
       vmm: sys_ioctl -> 0x7`,
      bind(0, '0x100000', 6) + bind(1, '0x200000', 9),
      setsPrivate(RAM, MIB) + starts(0),
      faultsIn(RAM, 0x850, 0, '107e18', '0:15', '0x500000006'),
    );
    expect(told.binding).toMatchObject([
      { gpa: RAM, gmem_id: null },
      { gpa: 2 * RAM, gmem_id: null },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('neither is the memory of a VM without guest_memfd', async () => {
    const told = await tell(
      `vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 0)
       vmm: sys_ioctl -> 0x5
       vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0)
       vmm: sys_ioctl -> 0x7`,
      starts(0),
      faultsIn(RAM, 0x42, 0x7000, '1093b4', '0:1', '0x182'),
    );
    expect(told.binding).toEqual([]);
    expect(told.gmem).toEqual([]);
  });

  it('the same number for a second VM’s guest_memfd: two files', async () => {
    const bind = (kvm: string): string => `
      vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
      vmm: bind: (kvm_gmem_bind+0x0/0x2c0) kvm=${kvm} id=1 base_gfn=0x100000 npages=0x100 fd=6 offset=0x0
      vmm: bound: (kvm_gmem_commit_memory_region+0x0/0x2c0) kvm=${kvm} slot=1 base_gfn=0x100000 npages=0x100 pgoff=0x0 ino=0x850
      vmm: sys_ioctl -> 0x0`;
    const told = await analyse(
      later(
        traceText([
          makesVm(),
          bind('0xffff88810c1e5000'),
          setsPrivate(RAM, MIB) + starts(0),
          faultsIn(RAM, 0x850, 0, '107e18'),
          vmmEnds,
        ]),
        traceText([
          makesVm(),
          bind('0xffff88810c1e9000'),
          setsPrivate(RAM, MIB) + starts(0),
          faultsIn(RAM, 0x850, 0, '107e19'),
        ]),
      ),
    );
    expect(told.gmem).toMatchObject([
      { vm_id: 1, inode: 0x850 },
      { vm_id: 2, inode: 0x850 },
    ]);
    expect(told.binding.map((b) => b['gmem_id'])).toEqual([1, 2]);
    expect(new Set(told.gmem_interval.map((i) => `${i['vm_id']}:${i['gmem_id']}`))).toEqual(new Set(['1:1', '2:2']));
  });
});
