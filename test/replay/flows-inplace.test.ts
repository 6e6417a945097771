/** Conversion in place by ioctls on the guest_memfd (reference chapter 02 §2, §3; API of series that are not upstream). */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  faults,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  makesVm,
  runsAgain,
  starts,
  tell,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const SHARED_BIT = 2 ** 39;
const EAGAIN = '0xfffffffffffffff5';

const SET_ATTRIBUTES = '0xc080aed2';
const CONVERT_TO_SHARED = '0xc040af41';
const CONVERT_TO_PRIVATE = '0xc040af42';

/** The slot of 64 MiB at 4 GiB lies at offset 0 of inode 883, as a probe on the binding shows. */
const BOUND = `
  vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
  vmm: bind: (kvm_gmem_prepare_memory_region+0x0/0x1f6) kvm=0xffff88810a5f9000 slot=1 base_gfn=1048576 npages=16384 fd=${GMEM_FD} offset=0
  vmm: bind_commit: (kvm_gmem_commit_memory_region+0x0/0x80) kvm=0xffff88810a5f9000 slot=1 base_gfn=1048576 npages=16384 pgoff=0 ino=883 mapping=0xffff888104b6d3a0
  vmm: sys_ioctl -> 0x0`;
const RUNNING = makesVm() + starts(0) + starts(1);
const RUNNING_BOUND = makesVm() + BOUND + starts(0) + starts(1);

function ioctl(who: string, cmd: string, returns = '0x0', between = ''): string {
  return `
    ${who}: sys_ioctl(fd: ${GMEM_FD}, cmd: ${cmd}, arg: 0x7fef076fe090)
    ${between}
    ${who}: sys_ioctl -> ${returns}`;
}

/** The probes on __kvm_gmem_set_attributes: pages from index `start`. */
function probed(who: string, start: number, pages: number, attrs: 0 | 8, ret: number, errIndex = 0): string {
  const range = `ino=883 start=${start} nr_pages=${pages} attrs=${attrs}`;
  return `
    ${who}: set_attrs: (__kvm_gmem_set_attributes+0x0/0xe5) ${range}
    ${who}: set_attrs_ret: (kvm_gmem_set_attributes+0xfc/0x14a <- __kvm_gmem_set_attributes) ${range} ret=${ret} err_index=${errIndex}`;
}

describe('KVM_SET_MEMORY_ATTRIBUTES2 on the guest_memfd', () => {
  it('to_private, with nothing but system calls: the range is what the guest asked for', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'private', RAM + 0x3000, 0x2000),
      ioctl('vcpu0', SET_ATTRIBUTES),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([
      {
        gpa: RAM + 0x3000,
        size: 0x2000,
        direction: 'to_private',
        origin: 'explicit',
        mechanism: 'gmem-attributes',
        outcome: 'done',
        certainty: 'observed',
      },
    ]);
    expect(told.punch).toEqual([]);
    expect(told.finding).toEqual([]);
  });

  it('the number of a descriptor that is used again says nothing of the file before', async () => {
    const bind = BOUND.split('\n')
      .filter((line) => !line.includes('bind_commit'))
      .join('\n');
    const told = await tell(
      makesVm() + bind + starts(0),
      'vmm: sys_close(fd: 6)\nvmm: sys_close(fd: 5)',
      makesVm() + bind.replaceAll('a5f9000', 'a600000') + starts(0),
      asksByHypercall(0, 'private', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 0, 1, 8, 0)),
      runsAgain(0),
    );
    expect(told.gmem).toMatchObject([
      { vm_id: 1, inode: null },
      { vm_id: 2, inode: 883 },
    ]);
    expect(told.binding).toMatchObject([
      { vm_id: 1, gmem_id: 1 },
      { vm_id: 2, gmem_id: 2 },
    ]);
  });

  it('the probe names inode and offset, the binding the gpa', async () => {
    const told = await tell(
      RUNNING_BOUND,
      asksByHypercall(1, 'shared', RAM + 0x246000, 0x8000),
      ioctl('vcpu1', SET_ATTRIBUTES, '0x0', probed('vcpu1', 582, 8, 0, 0)),
      runsAgain(1),
    );
    expect(told.conversion).toMatchObject([
      { gpa: RAM + 0x246000, offset: 582 * PAGE, size: 0x8000, direction: 'to_shared', outcome: 'done' },
    ]);
    expect(told.gmem).toMatchObject([{ inode: 883, fd: GMEM_FD, certainty: 'observed' }]);
    expect(told.binding).toMatchObject([{ slot: 1, gpa: RAM, offset: 0, certainty: 'observed' }]);
  });

  it('EAGAIN with error_offset, then success: one conversion of two attempts', async () => {
    const told = await tell(
      RUNNING_BOUND,
      asksByHypercall(0, 'private', RAM + 177 * PAGE, 8 * PAGE),
      `vcpu0: kvm_unmap_hva_range: mmu notifier unmap range: 0x007ff0d61aa000 -- 0x007ff0d61b2000`,
      ioctl('vcpu0', SET_ATTRIBUTES, EAGAIN, probed('vcpu0', 177, 8, 8, -11, 179)),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 177, 8, 8, 0)),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([
      { offset: 177 * PAGE, outcome: 'done', attempts: 2, failed_attempts: 1, last_errno: 0, certainty: 'observed' },
    ]);
    expect(told.conversion_attempt).toMatchObject([
      { attempt: 1, errno: 11, error_offset: 179 * PAGE },
      { attempt: 2, errno: 0, error_offset: null },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('EAGAIN and given up: failed, nothing flipped', async () => {
    const told = await tell(
      RUNNING_BOUND,
      asksByHypercall(0, 'shared', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 0, 1, 0, 0)),
      runsAgain(0),
      asksByHypercall(0, 'private', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, EAGAIN, probed('vcpu0', 0, 1, 8, -11, 0)),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([
      { direction: 'to_shared', outcome: 'done' },
      { direction: 'to_private', outcome: 'failed', last_errno: 11, failed_attempts: 1 },
    ]);
    const last = told.gmem_interval.filter((i) => i['to_ns'] === null && i['gpa'] === RAM);
    expect(last).toMatchObject([{ state: 'shared', certainty: 'observed' }]);
  });

  it('EAGAIN ten times on one page: a retry loop', async () => {
    const told = await tell(
      RUNNING_BOUND,
      asksByHypercall(0, 'private', RAM, PAGE),
      ...Array.from({ length: 10 }, () => ioctl('vcpu0', SET_ATTRIBUTES, EAGAIN, probed('vcpu0', 0, 1, 8, -11, 0))),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 0, 1, 8, 0)),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([{ outcome: 'done', attempts: 11, failed_attempts: 10 }]);
    expect(told.finding).toMatchObject([{ rule: 'conversion-retry-loop', verdict: 'fail', count: 10 }]);
  });

  it('the VMM tries again after EAGAIN by itself: one conversion', async () => {
    const told = await tell(
      RUNNING_BOUND,
      ioctl('vmm', SET_ATTRIBUTES, EAGAIN, probed('vmm', 0, 16, 8, -11, 3)),
      ioctl('vmm', SET_ATTRIBUTES, '0x0', probed('vmm', 0, 16, 8, 0)),
    );
    expect(told.conversion).toMatchObject([
      { origin: 'vmm', gpa: RAM, size: 16 * PAGE, outcome: 'done', attempts: 2, failed_attempts: 1 },
    ]);
  });

  it('the whole range has the attribute already: a no-op', async () => {
    const told = await tell(
      RUNNING_BOUND,
      asksByHypercall(0, 'shared', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 0, 1, 0, 0)),
      runsAgain(0),
      asksByHypercall(0, 'shared', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 0, 1, 0, 0)),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([{ outcome: 'done' }, { outcome: 'noop' }]);
  });

  it('ENOTTY, because the kernel’s parameter is off', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'private', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, '0xffffffffffffffe7'),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([{ outcome: 'failed', last_errno: 25, certainty: 'observed' }]);
    expect(told.gmem_interval.every((i) => i['attribute'] === 'unknown')).toBe(true);
  });

  it('answers a fault: the page is that of the fault, without the shared bit', async () => {
    const told = await tell(
      RUNNING_BOUND,
      faults(0, RAM + 0x7000 + SHARED_BIT),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 7, 1, 0, 0)),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([
      { origin: 'implicit', gpa: RAM + 0x7000, offset: 0x7000, direction: 'to_shared', outcome: 'done' },
    ]);
    expect(told.memory_fault).toMatchObject([{ gpa: RAM + 0x7000, wanted: 'shared', conversion_id: 1 }]);
  });

  it('a folio that stays: no punch, no second insertion at the next fault', async () => {
    const told = await tell(
      RUNNING_BOUND,
      asksByHypercall(0, 'shared', RAM, PAGE),
      ioctl('vcpu0', SET_ATTRIBUTES, '0x0', probed('vcpu0', 0, 1, 0, 0)),
      runsAgain(0),
      `vcpu0: ${kvmExit(0, 'npf')}
       vcpu0: ${kvmPageFault(0, RAM + SHARED_BIT)}
       vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
       vcpu0: kvm_mmu_set_spte: gfn 100000 spte 107e18e67 (rwxu) level 1 at 107e13298
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.conversion[0]!['first_use_ns']).not.toBeNull();
    expect(told.memory_fault).toEqual([]);
    expect(told.gmem_interval.filter((i) => i['to_ns'] === null)).toMatchObject([{ state: 'shared' }]);
  });
});

describe('the convert ioctls of RFC v2', () => {
  it.each([
    ['to_shared', CONVERT_TO_SHARED, 'shared'],
    ['to_private', CONVERT_TO_PRIVATE, 'private'],
  ] as const)('%s', async (direction, cmd, to) => {
    const told = await tell(RUNNING, asksByHypercall(0, to, RAM, 0x4000), ioctl('vcpu0', cmd), runsAgain(0));
    expect(told.conversion).toMatchObject([
      { direction, gpa: RAM, size: 0x4000, mechanism: 'gmem-convert', origin: 'explicit', outcome: 'done' },
    ]);
  });

  it('unexpected references: EAGAIN until the holder lets go', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'private', RAM, 0x4000),
      ioctl('vcpu0', CONVERT_TO_PRIVATE, EAGAIN),
      ioctl('vcpu0', CONVERT_TO_PRIVATE, EAGAIN),
      ioctl('vcpu0', CONVERT_TO_PRIVATE),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([
      { outcome: 'done', mechanism: 'gmem-convert', attempts: 3, failed_attempts: 2, certainty: 'observed' },
    ]);
    expect(told.finding).toEqual([]);
  });
});

describe('the same numbers elsewhere', () => {
  it('ioctl 0xc080aed2 of a process without a VM converts nothing', async () => {
    const told = await tell(
      RUNNING,
      `other: sys_ioctl(fd: ${GMEM_FD}, cmd: ${SET_ATTRIBUTES}, arg: 0x7fef076fe090)
       other: sys_ioctl -> 0xffffffffffffffe7
       other: sys_ioctl(fd: ${GMEM_FD}, cmd: ${CONVERT_TO_PRIVATE}, arg: 0x7fef076fe090)
       other: sys_ioctl -> 0x0`,
    );
    expect(told.conversion).toEqual([]);
  });
});
