/**
 * What looks like an absence may be a recorder that does not show it: each claim here would be false of some recording with
 * one source of events less, and is not made where that cannot be told.
 */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  convertsTo,
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
  VCPU_FD,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const SET_UP = makesVm() + setsPrivate(RAM, 16 * PAGE);
const RUNNING = SET_UP + starts(0) + starts(1);
const END = `+1ms vcpu1: ${kvmExit(1, 'HLT')}`;

describe('refused', () => {
  it('is not said where only the vCPU threads are recorded: another thread may convert', async () => {
    const vcpu = `vcpu0: ${kvmRun(VCPU_FD[0])}\n vcpu0: ${kvmEntry(0)}`;
    const told = await tell(vcpu, asksByHypercall(0, 'shared', RAM, PAGE), runsAgain(0));
    expect(told.conversion).toMatchObject([{ outcome: 'unknown' }]);
  });

  it('is said where the VM was seen converting, whatever its thread', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE), runsAgain(0));
    expect(told.conversion.slice(1)).toMatchObject([{ outcome: 'refused', certainty: 'inferred' }]);
  });
});

describe('SEV and SEV-ES guests', () => {
  it.each([2, 3])('type %i: the hypercall tells what may be migrated, no memory changes', async (type) => {
    const told = await tell(
      makesVm(type),
      starts(0),
      asksByHypercall(0, 'shared', RAM, PAGE),
      runsAgain(0),
      `vcpu0: ${kvmExit(0, 'VMCALL')}
       vcpu0: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x10 a3 0x20000
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion).toEqual([]);
    expect(told.vm).toMatchObject([{ platform: type === 2 ? 'sev' : 'sev-es' }]);
  });

  it('a VM of which only hypercalls are seen may be one: its platform is not named', async () => {
    const told = await tell(`vcpu0: ${kvmEntry(0)}`, asksByHypercall(0, 'shared', RAM, PAGE), runsAgain(0));
    expect(told.vm).toMatchObject([{ platform: null }]);
    expect(told.conversion).toMatchObject([{ outcome: 'unknown' }]);
  });
});

describe('a reboot', () => {
  it('is not concluded from registers of the only vCPU that runs, while another was made', async () => {
    const set = ['0x4138ae84', '0x4090ae82'].map(
      (cmd) => `vmm: sys_ioctl(fd: ${VCPU_FD[0]}, cmd: ${cmd}, arg: 0x7ffd1c2e5a40)\n vmm: sys_ioctl -> 0x0`,
    );
    const kicked = `vcpu0: ${kvmExit(0, 'EXTERNAL_INTERRUPT')}
      vcpu0: kvm_userspace_exit: reason restart (4)
      vcpu0: sys_ioctl -> 0xfffffffffffffffc`;
    const told = await tell(SET_UP, starts(0), kicked, ...set, runsAgain(0));
    expect(told.reboot).toEqual([]);
  });
});

describe('EFAULT of KVM_RUN', () => {
  const fails = `vcpu0: kvm_userspace_exit: reason error (14)\n vcpu0: sys_ioctl -> 0xfffffffffffffff2`;

  it('after a fault of the guest is a memory fault, inferred: the text does not show the reason', async () => {
    const told = await tell(RUNNING, `vcpu0: ${kvmExit(0, 'npf')}\n vcpu0: ${kvmPageFault(0, RAM)}`, fails);
    expect(told.memory_fault).toMatchObject([{ certainty: 'inferred' }]);
  });

  it('without one, where faults are recorded, may be anything', async () => {
    const other = `vcpu1: ${kvmExit(1, 'npf')}\n vcpu1: ${kvmPageFault(1, RAM)}\n vcpu1: ${kvmEntry(1)}`;
    const told = await tell(RUNNING, other, `vcpu0: ${kvmExit(0, 'MSR_WRITE')}`, fails);
    expect(told.memory_fault).toMatchObject([{ certainty: 'assumed' }]);
  });
});

describe('a pin', () => {
  const touched = `
    vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
    vcpu0: ${kvmPageFault(0, RAM)}
    vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
    vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
    vcpu0: ${kvmEntry(0)}`;
  const page = (name: string, val: number): string =>
    `vmm: page_ref_${name}: pfn=0x107e18 flags=uptodate count=1025 mapcount=-1 mapping=00000000be275cc9 mt=0 val=${val}`;
  const pin = `+1ms ${page('mod', 1024)}`;
  const unpin = `+5ms ${page('mod_and_test', -1024)} ret=0`;
  const drained = `${page('mod_and_test', -1)} ret=0`;
  const lost = 'CPU:1 [LOST 5 EVENTS]';

  it.each([
    ['still held', [pin, drained], 'observed'],
    ['still held, but no drop of any page is recorded', [pin], 'assumed'],
    ['still held, events lost since', [pin, drained, lost, drained], 'assumed'],
    ['dropped', [pin, unpin], 'observed'],
    ['dropped, events lost between', [pin, lost, unpin], 'assumed'],
    ['dropped, events lost later', [pin, unpin, drained, lost, drained], 'observed'],
  ] as const)('%s', async (_what, story, certainty) => {
    const told = await tell(RUNNING, touched, ...story, END);
    expect(told.page_ref).toMatchObject([{ how: 'pin', certainty }]);
  });

  it.each([
    ['no unmapping of anything is recorded', '', 'assumed'],
    ['another is unmapped', 'vmm: unmap: IOMMU: iova=0x900000 - 0x901000 size=4096 unmapped_size=4096', 'observed'],
  ])('for DMA, still mapped, %s', async (_what, more, certainty) => {
    const map = 'vmm: map: IOMMU: iova=0x100000 - 0x101000 paddr=0x107e18000 size=4096';
    const told = await tell(RUNNING, touched, map, more, END);
    expect(told.dma_map).toMatchObject([{ unmapped_ns: null, certainty }]);
  });
});

describe('the inode of a guest_memfd', () => {
  it('that only its VM’s pages tell is inferred', async () => {
    const told = await tell(
      RUNNING,
      `vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
       vcpu0: ${kvmPageFault(0, RAM)}
       vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
       vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.gmem).toMatchObject([{ inode: 0x850, fd: GMEM_FD, certainty: 'inferred' }]);
  });
});

describe('a SIGBUS', () => {
  const story = (state: string): string[] => [
    makesVm(),
    `vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
     vmm: bind: (kvm_gmem_bind+0x0/0x2c0) kvm=0xffff88810c1e5000 id=1 base_gfn=0x100000 npages=0x100 fd=6 offset=0x0
     vmm: sys_ioctl -> 0x0`,
    starts(0),
    state,
    `vmm: sys_mmap(addr: 0, len: 0x100000, prot: 3, flags: 1, fd: 6, off: 0)
     vmm: sys_mmap -> 0x7f5733000000
     vmm: page_fault_user: address=0x7f5733000000 ip=0x55d0c0de error_code=0x6
     vmm: signal_generate: sig=7 errno=0 code=2 comm=qemu-kvm pid=100 grp=0 res=0`,
  ];
  const verdicts = async (state: string): Promise<unknown[]> =>
    (await tell(...story(state))).finding
      .filter((f) => f['rule'] === 'host-access-to-private')
      .map((f) => [f['verdict'], f['certainty']]);

  it('on a page that is known to be private is an access to it', async () => {
    expect(await verdicts(convertsTo('private', RAM, PAGE, 'vmm'))).toEqual([['fail', 'inferred']]);
  });

  it('on one of which events were lost since, or that is just being converted, is said to be unsure', async () => {
    const isSure = (found: unknown[]): boolean => JSON.stringify(found).includes('"inferred"');
    const lost = `${convertsTo('private', RAM, PAGE, 'vmm')}\n CPU:1 [LOST 3 EVENTS]\n vmm: sys_close(fd: 20)`;
    expect(isSure(await verdicts(lost))).toBe(false);
    const begun = `vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)\n vcpu0: ${setAttributes(RAM, PAGE, 'private')}`;
    expect(isSure(await verdicts(begun))).toBe(false);
  });
});
