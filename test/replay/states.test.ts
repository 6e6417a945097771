/**
 * What a page is at each instant: the axes of reference chapter 03, event by event, and the display state that they
 * make. Illegal transitions are findings (rules/illegal-transition).
 */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
  convertsTo,
  faults,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  makesVm,
  runsAgain,
  setAttributes,
  starts,
  tell,
  VM_TYPE,
  type Told,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const KVM = 'kvm=0xffff88810a5f9000';
const EAGAIN = '0xfffffffffffffff5';

/** KVM_CREATE_GUEST_MEMFD with these flags, as the probe inside shows them. */
function makesVmWith(flags: number, type: number = VM_TYPE.sw): string {
  const [before, after] = makesVm(type).split('vmm: sys_ioctl -> 0x6');
  const probe = `vmm: create: (kvm_gmem_create+0x0/0x20e) ${KVM} size=67108864 flags=${flags}`;
  return `${before!}${probe}\n    vmm: sys_ioctl -> 0x6${after!}`;
}

/** The slot of 16 pages at 4 GiB lies at offset 0 of inode 0x850. */
const BOUND = `
  vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
  vmm: bind: (kvm_gmem_prepare_memory_region+0x0/0x1f6) ${KVM} slot=1 base_gfn=0x100000 npages=0x10 fd=${GMEM_FD} offset=0
  vmm: bind_commit: (kvm_gmem_commit_memory_region+0x0/0x80) ${KVM} slot=1 base_gfn=0x100000 npages=0x10 pgoff=0 ino=0x850
  vmm: sys_ioctl -> 0x0`;

/** The page at `page` comes into the file or leaves it. */
function folio(who: string, what: 'add_to' | 'delete_from', page = 0): string {
  return `
    ${who}: mm_filemap_${what}_page_cache: dev 0:15 ino 850 pfn=0x${(0x107e18 + page).toString(16)} ofs=${page * PAGE} order=0`;
}

function touches(page = 0, code?: string): string {
  const gpa = RAM + page * PAGE;
  const gfn = (gpa / PAGE).toString(16);
  const pfn = (0x107e18 + page).toString(16);
  return `
    vcpu0: ${kvmExit(0, 'npf')}
    vcpu0: ${kvmPageFault(0, gpa, code)}
    vcpu0: kvm_mmu_spte_requested: gfn ${gfn} pfn ${pfn} level 1 access f
    vcpu0: kvm_mmu_set_spte: gfn ${gfn} spte ${pfn}e67 (rwxu) level 1 at 107e13298
    vcpu0: ${kvmEntry(0)}`;
}

/** ioctl(guest_memfd, KVM_SET_MEMORY_ATTRIBUTES2) on its first page. */
function inPlace(to: 'private' | 'shared', who: string, returns = '0x0'): string {
  return `
    ${who}: sys_ioctl(fd: ${GMEM_FD}, cmd: 0xc080aed2, arg: 0x7ffd1c2e5a40)
    ${who}: gmemset: (__kvm_gmem_set_attributes+0x0/0x2c0) ino=0x850 start=0x0 nr_pages=0x1 attrs=${to === 'private' ? '0x8' : '0x0'}
    ${who}: sys_ioctl -> ${returns}`;
}

function punches(who: string, returns = '0x0'): string {
  return `
    ${who}: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0, len: 0x1000)
    ${returns === '0x0' ? folio(who, 'delete_from') : ''}
    ${who}: sys_fallocate -> ${returns}`;
}

/** The display states of the page at 4 GiB, one after the other. */
function statesOf({ gmem_interval }: Told): unknown[] {
  return gmem_interval
    .filter((i) => Number(i['gpa']) <= RAM && Number(i['gpa']) + Number(i['size']) > RAM)
    .sort((a, b) => Number(a['from_ns']) - Number(b['from_ns']))
    .map((i) => i['state']);
}

function lastOf({ gmem_interval }: Told): Told['gmem_interval'][number] | undefined {
  return gmem_interval.find((i) => i['to_ns'] === null && Number(i['gpa']) <= RAM);
}

describe('03 A, allocation', () => {
  it('in the page cache it is allocated, out of it not; a punch makes sure of pages that were never there', async () => {
    const told = await tell(
      makesVm(),
      BOUND,
      convertsTo('private', RAM, 16 * PAGE, 'vmm'),
      starts(0),
      folio('vcpu0', 'add_to'),
      punches('vmm'),
    );
    expect(statesOf(told)).toEqual(['shared', 'converting', 'private', 'private', 'private-unallocated']);
    expect(lastOf(told)).toMatchObject({ size: PAGE, allocation: 'unallocated' });
    const other = await tell(
      makesVm(),
      BOUND,
      convertsTo('private', RAM, 16 * PAGE, 'vmm'),
      starts(0),
      `vmm: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0x2000, len: 0x2000)
       vmm: sys_fallocate -> 0x0`,
    );
    const freed = other.gmem_interval.filter((i) => i['to_ns'] === null && i['allocation'] === 'unallocated');
    expect(freed).toMatchObject([{ gpa: RAM + 2 * PAGE, size: 2 * PAGE, state: 'private-unallocated' }]);
  });

  it('a punch that failed frees nothing', async () => {
    const told = await tell(
      makesVm(),
      BOUND,
      starts(0),
      folio('vcpu0', 'add_to'),
      punches('vmm', '0xfffffffffffffffc'),
    );
    expect(lastOf(told)).toMatchObject({ allocation: 'allocated' });
  });

  it('kvm_gmem_get_pfn that succeeds shows that the page is there', async () => {
    const told = await tell(
      makesVm(),
      BOUND,
      starts(0),
      `vcpu0: ${kvmExit(0, 'npf')}
       vcpu0: getpfn_ret: (kvm_mmu_faultin_pfn+0x1/0x2 <- kvm_gmem_get_pfn) gfn=0x100000 pfn=0x107e18 ret=0
       vcpu0: getpfn_ret: (kvm_mmu_faultin_pfn+0x1/0x2 <- kvm_gmem_get_pfn) gfn=0x100001 pfn=0x0 ret=-12
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(lastOf(told)).toMatchObject({ gpa: RAM, size: PAGE, allocation: 'allocated' });
  });
});

describe('03 B, attribute and shareability', () => {
  it('a VM that was seen being made begins shared, inferred; a flip is observed', async () => {
    const told = await tell(makesVm(), BOUND, starts(0), convertsTo('private', RAM, PAGE, 'vmm'));
    expect(told.gmem_interval.filter((i) => i['to_ns'] === null)).toMatchObject([
      { gpa: RAM, size: PAGE, attribute: 'private', certainty: 'observed' },
      { gpa: RAM + PAGE, size: 15 * PAGE, attribute: 'shared', shareability: 'unknown', certainty: 'inferred' },
    ]);
  });

  it('nothing is said of it where attribute changes would not show', async () => {
    const told = await tell(makesVm(), BOUND, starts(0));
    expect(told.gmem_interval).toEqual([]);
  });

  it('nor where events were lost before', async () => {
    const told = await tell(
      makesVm(),
      'CPU:1 [LOST 12 EVENTS]',
      BOUND,
      starts(0),
      convertsTo('private', RAM + PAGE, PAGE, 'vmm'),
    );
    expect(told.gmem_interval.every((i) => i['gpa'] === RAM + PAGE)).toBe(true);
  });

  it('a guest_memfd that is made shared (INIT_SHARED) is so before anybody converts it', async () => {
    const told = await tell(makesVmWith(3, 0), BOUND, starts(0), folio('vcpu0', 'add_to'));
    expect(told.gmem_interval.filter((i) => i['to_ns'] === null)).toMatchObject([
      { gpa: RAM, size: PAGE, shareability: 'shared', attribute: 'unknown', state: 'shared', allocation: 'allocated' },
      { gpa: RAM + PAGE, size: 15 * PAGE, shareability: 'shared', state: 'shared', certainty: 'inferred' },
    ]);
    expect(told.finding).toEqual([]);
  });

  it.each([
    ['in place, made with INIT_SHARED', 3, 'shared'],
    ['in place, made without', 1, 'private'],
  ])('%s', async (_what, flags, shareability) => {
    const told = await tell(makesVmWith(flags), BOUND, starts(0), inPlace('private', 'vmm'), inPlace('shared', 'vmm'));
    expect(told.gmem_interval.filter((i) => i['to_ns'] === null)).toMatchObject([
      { gpa: RAM, shareability: 'shared', certainty: 'observed' },
      { gpa: RAM + PAGE, shareability, attribute: 'unknown', certainty: 'inferred' },
    ]);
  });

  it('RFC v2 gave the flags other meanings: 3 is made private, 1 shared', async () => {
    const convert = `vmm: sys_ioctl(fd: ${GMEM_FD}, cmd: 0xc040af41, arg: 0x7fef076fe090)\nvmm: sys_ioctl -> 0x0`;
    for (const [flags, shareability] of [
      [3, 'private'],
      [1, 'shared'],
    ] as const) {
      const told = await tell(makesVmWith(flags), BOUND, starts(0), convert);
      expect(lastOf(told)).toMatchObject({ gpa: RAM, size: 16 * PAGE, shareability, certainty: 'inferred' });
    }
  });

  it('between tracepoint and return neither view is sure; an error leaves it as it was', async () => {
    const told = await tell(
      makesVm(),
      BOUND,
      starts(0),
      convertsTo('private', RAM, PAGE, 'vmm'),
      convertsTo('shared', RAM, PAGE, 'vmm', '0xfffffffffffffff4'),
    );
    expect(statesOf(told)).toEqual(['shared', 'converting', 'private', 'converting', 'private']);
    expect(lastOf(told)).toMatchObject({ attribute: 'private', certainty: 'observed' });
  });

  it('still unanswered at the end of the trace, it is in between', async () => {
    const told = await tell(
      makesVm(),
      BOUND,
      starts(0),
      asksByHypercall(0, 'private', RAM, PAGE),
      `vcpu0: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vcpu0: ${setAttributes(RAM, PAGE, 'private')}`,
    );
    expect(lastOf(told)).toMatchObject({ conversion: 'to_private', state: 'converting', attribute: 'shared' });
  });

  it('a private access that ends in a mapping shows a page private, which nobody was seen making so', async () => {
    const told = await tell(`vcpu0: ${kvmEntry(0)}`, touches(0, '0x2000400000004'), touches(1));
    expect(told.gmem_interval).toMatchObject([
      { gpa: RAM, size: PAGE, attribute: 'private', certainty: 'inferred', to_ns: null },
    ]);
  });

  it('a memory fault shows the other view, by assumption: there may be no memory at all', async () => {
    const told = await tell(
      `vcpu0: ${kvmEntry(0)}`,
      // The shared bit is learned first.
      faults(0, RAM + 8 * PAGE + 2 ** 47, 'npf'),
      convertsTo('shared', RAM + 8 * PAGE, PAGE, 'vcpu0'),
      runsAgain(0),
      faults(0, RAM, 'npf'),
    );
    expect(lastOf(told)).toMatchObject({ gpa: RAM, attribute: 'shared', certainty: 'assumed' });
  });
});

describe('03, display states of a conversion', () => {
  const RUNNING = makesVm() + BOUND + convertsTo('private', RAM, 16 * PAGE, 'vmm') + starts(0);

  it('to shared: converting, discarding until the private copy is gone, shared', async () => {
    const told = await tell(
      RUNNING,
      folio('vcpu0', 'add_to'),
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      punches('vcpu0'),
      runsAgain(0),
    );
    expect(statesOf(told).slice(3)).toEqual(['private', 'converting', 'discarding', 'shared', 'shared']);
  });

  it('a private copy that is left when the guest runs on is stale', async () => {
    const told = await tell(
      RUNNING,
      folio('vcpu0', 'add_to'),
      asksByHypercall(0, 'shared', RAM, PAGE),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(statesOf(told).slice(3)).toEqual(['private', 'converting', 'discarding', 'shared-stale']);
  });

  it('a page that is held: blocked from the first EAGAIN to the flip, also while it is tried again', async () => {
    const told = await tell(
      makesVmWith(3),
      BOUND,
      starts(0),
      asksByHypercall(0, 'private', RAM, PAGE),
      inPlace('private', 'vcpu0', EAGAIN),
      inPlace('private', 'vcpu0', EAGAIN),
      inPlace('private', 'vcpu0'),
      runsAgain(0),
    );
    expect(statesOf(told)).toEqual(['shared', 'converting', 'converting-blocked', 'private']);
    expect(told.gmem_interval.map((i) => i['conversion'])).toContain('blocked');
  });

  it('given up: shared as before', async () => {
    const told = await tell(
      makesVmWith(3),
      BOUND,
      starts(0),
      asksByHypercall(0, 'private', RAM, PAGE),
      inPlace('private', 'vcpu0', EAGAIN),
      runsAgain(0),
    );
    expect(statesOf(told)).toEqual(['shared', 'converting', 'converting-blocked', 'shared']);
  });

  it('a guest that nobody answers waits to the end of the trace', async () => {
    const told = await tell(RUNNING, asksByHypercall(0, 'shared', RAM, PAGE));
    expect(lastOf(told)).toMatchObject({ conversion: 'to_shared', state: 'converting' });
  });

  it('one whose thread dies does not', async () => {
    const told = await tell(
      RUNNING,
      asksByHypercall(0, 'shared', RAM, PAGE),
      'vcpu0: sched_process_exit: comm=CPU 0/KVM pid=101 prio=120',
    );
    expect(lastOf(told)).toMatchObject({ conversion: 'idle', state: 'private' });
  });

  it('where events of its thread are lost, it is not taken for going on', async () => {
    const told = await tell(
      RUNNING,
      `vmm: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vmm: ${setAttributes(RAM, PAGE, 'shared')}
       CPU:1 [LOST 12 EVENTS]
       vmm: sys_close(fd: 20)`,
    );
    expect(lastOf(told)).toMatchObject({ conversion: 'idle', attribute: 'private', certainty: 'assumed' });
  });
});
