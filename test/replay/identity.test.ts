/** Who is who: VMs, vCPUs, guest_memfds and offsets, and numbers that are used again (reference chapter 06). */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  faults,
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
  toUserspace,
  traceText,
  type Cast,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;

/** Two VMMs of one name; each has one vCPU thread here. */
const TWO_VMMS: Cast = {
  vmm: 'qemu-kvm-100 (100) [001]',
  vcpu0: 'CPU 0/KVM-101 (100) [000]',
  vmmB: 'qemu-kvm-200 (200) [001]',
  vcpu0B: 'CPU 0/KVM-201 (200) [002]',
};

const startsB = `
  vcpu0B: ${kvmRun(7)}
  vcpu0B: ${kvmEntry(0, '0xfff0')}`;
const asksB = (gpa: number): string => `
  vcpu0B: ${kvmExit(0, 'VMCALL')}
  vcpu0B: kvm_hypercall: nr 0xc a0 0x${gpa.toString(16)} a1 0x1 a2 0x0 a3 0x20000
  ${toUserspace('vcpu0B', 'KVM_EXIT_HYPERCALL (3)')}`;
const runsB = `
  vcpu0B: ${kvmRun(7)}
  vcpu0B: ${kvmEntry(0)}`;

describe('two VMMs', () => {
  const story = [
    makesVm(),
    makesVm(1, 'vmmB'),
    starts(0),
    startsB,
    asksByHypercall(0, 'shared', RAM, PAGE),
    asksB(RAM),
    convertsTo('shared', RAM, PAGE, 'vcpu0B'),
    convertsTo('shared', RAM, PAGE, 'vcpu0'),
    runsAgain(0),
    runsB,
  ];

  it('of the same descriptors, gpas and comms: kept apart by their process', async () => {
    const told = await analyse(traceText(story, { cast: TWO_VMMS }));
    expect(told.vm).toMatchObject([
      { vm_id: 1, pid: 100, certainty: 'observed' },
      { vm_id: 2, pid: 200, certainty: 'observed' },
    ]);
    expect(told.conversion).toMatchObject([
      { vm_id: 1, tid: 101, gpa: RAM, outcome: 'done', attempts: 1 },
      { vm_id: 2, tid: 201, gpa: RAM, outcome: 'done', attempts: 1 },
    ]);
    expect(told.gmem.map((g) => g['vm_id'])).toEqual([1, 2]);
  });

  it('of the same comm without tgids: threads follow the VMM that made their descriptor', async () => {
    const told = await analyse(traceText(story, { cast: TWO_VMMS, tgids: false }));
    expect(told.vm).toHaveLength(2);
    expect(told.vcpu).toMatchObject([
      { vm_id: 1, vcpu: 0, tid: 101 },
      { vm_id: 2, vcpu: 0, tid: 201 },
    ]);
    expect(told.conversion).toMatchObject([
      { vm_id: 1, tid: 101, outcome: 'done' },
      { vm_id: 2, tid: 201, outcome: 'done' },
    ]);
  });

  it('of the same comm without tgids and without set-up: no flip is given to the wrong vCPU', async () => {
    const told = await analyse(
      traceText(
        [
          `vcpu0: ${kvmEntry(0)}
           vcpu0B: ${kvmEntry(0)}`,
          asksByHypercall(0, 'shared', RAM, PAGE),
          asksB(RAM + 0x10000),
          convertsTo('shared', RAM + 0x10000, PAGE, 'vcpu0B'),
          convertsTo('shared', RAM, PAGE, 'vcpu0'),
          runsAgain(0),
          runsB,
        ],
        { cast: TWO_VMMS, tgids: false },
      ),
    );
    expect(told.conversion).toMatchObject([
      { tid: 101, gpa: RAM, outcome: 'done', attempts: 1 },
      { tid: 201, gpa: RAM + 0x10000, outcome: 'done', attempts: 1 },
    ]);
    const [first, second] = told.conversion;
    expect(first!['vm_id']).not.toBe(second!['vm_id']);
  });
});

describe('two VMs in one process', () => {
  it('are kept apart by the descriptor of the ioctl', async () => {
    const told = await tell(
      makesVm(),
      `vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 1)
       vmm: sys_ioctl -> 0xa
       vmm: sys_ioctl(fd: 0xa, cmd: 0xae41, arg: 0)
       vmm: sys_ioctl -> 0xb
       vcpu0: ${kvmRun(7)}
       vcpu0: ${kvmEntry(0)}
       vcpu1: ${kvmRun(0xb)}
       vcpu1: ${kvmEntry(0)}`,
      `vmm: sys_ioctl(fd: 5, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vmm: ${setAttributes(RAM, PAGE, 'private')}
       vmm: sys_ioctl -> 0x0
       vmm: sys_ioctl(fd: 0xa, cmd: 0x4020aed2, arg: 0x7ffd1c2e5a40)
       vmm: ${setAttributes(RAM, 2 * PAGE, 'private')}
       vmm: sys_ioctl -> 0x0`,
    );
    expect(told.vm).toHaveLength(2);
    expect(told.vcpu).toMatchObject([
      { vm_id: 1, vcpu: 0, tid: 101 },
      { vm_id: 2, vcpu: 0, tid: 102 },
    ]);
    expect(told.conversion).toMatchObject([
      { vm_id: 1, size: PAGE, origin: 'vmm' },
      { vm_id: 2, size: 2 * PAGE, origin: 'vmm' },
    ]);
  });

  it('without a descriptor that tells: which of them is not claimed', async () => {
    const told = await tell(
      `vcpu0: ${kvmEntry(0)}
       vcpu1: ${kvmEntry(0)}
       vmm: ${setAttributes(RAM, PAGE, 'private')}`,
    );
    expect(told.vm).toHaveLength(2);
    expect(told.conversion).toMatchObject([{ vm_id: null, gpa: RAM }]);
  });
});

describe('vCPUs', () => {
  it('a vCPU that another thread runs later is still that vCPU', async () => {
    const told = await tell(
      makesVm() + starts(0),
      `vcpu0: ${kvmExit(0, 'HLT')}
       vcpu0: kvm_userspace_exit: reason restart (4)
       vcpu0: sys_ioctl -> 0xfffffffffffffffc
       vcpu1: ${kvmRun(7)}
       vcpu1: ${kvmEntry(0)}
       vcpu1: ${kvmExit(0, 'VMCALL')}
       vcpu1: kvm_hypercall: nr 0xc a0 0x100000000 a1 0x1 a2 0x0 a3 0x20000
       ${toUserspace('vcpu1', 'KVM_EXIT_HYPERCALL (3)')}`,
      convertsTo('shared', RAM, PAGE, 'vcpu1'),
      `vcpu1: ${kvmRun(7)}
       vcpu1: ${kvmEntry(0)}`,
    );
    expect(told.vm).toHaveLength(1);
    expect(told.conversion).toMatchObject([{ vm_id: 1, vcpu: 0, tid: 102, outcome: 'done' }]);
  });

  it('ids may be sparse: they are APIC ids', async () => {
    const told = await tell(
      `vmm: sys_ioctl(fd: 4, cmd: 0xae01, arg: 1)
       vmm: sys_ioctl -> 0x5
       vmm: sys_ioctl(fd: 5, cmd: 0xae41, arg: 0x10)
       vmm: sys_ioctl -> 0x7
       vcpu0: ${kvmRun(7)}
       vcpu0: ${kvmEntry(16)}`,
    );
    expect(told.vcpu).toMatchObject([{ vm_id: 1, vcpu: 16, tid: 101, certainty: 'observed' }]);
  });
});

describe('numbers used again', () => {
  const endsVm = `
    vcpu0: ${kvmExit(0, 'HLT')}
    vcpu0: kvm_userspace_exit: reason restart (4)
    vcpu0: sys_ioctl -> 0xfffffffffffffffc
    vcpu0: sched_process_exit: comm=CPU 0/KVM pid=101 prio=120 group_dead=false
    vmm: sched_process_exit: comm=qemu-kvm pid=100 prio=120 group_dead=true`;

  it('descriptors: a second VM in the process with the numbers of the first', async () => {
    const told = await tell(
      makesVm() + setsPrivate(RAM, 4 * MIB) + starts(0),
      `vcpu0: ${kvmExit(0, 'HLT')}
       vcpu0: kvm_userspace_exit: reason restart (4)
       vcpu0: sys_ioctl -> 0xfffffffffffffffc
       vmm: sys_close(fd: 8)
       vmm: sys_close(fd: 7)
       vmm: sys_close(fd: 6)
       vmm: sys_close(fd: 5)`,
      makesVm() + starts(0),
      asksByHypercall(0, 'private', RAM, PAGE),
      convertsTo('private', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.vm).toHaveLength(2);
    // Memory of a new VM is shared: what the VM before had says nothing.
    expect(told.conversion.at(-1)).toMatchObject({ vm_id: 2, direction: 'to_private', outcome: 'done' });
    expect(told.reboot).toEqual([]);
  });

  it('thread numbers: the next VMM’s vCPU has the tid of the last one’s', async () => {
    const life = (to: 'private' | 'shared'): string =>
      starts(0) + asksByHypercall(0, to, RAM, PAGE) + convertsTo(to, RAM, PAGE, 'vcpu0') + runsAgain(0);
    const first = traceText([makesVm() + setsPrivate(RAM, 4 * MIB), life('shared'), endsVm]);
    const second = traceText([makesVm(1, 'again'), life('private')], {
      cast: { again: 'qemu-kvm-300 (300) [001]', vcpu0: 'CPU 0/KVM-101 (300) [000]' },
    });
    const later = second.replace(/^#.*\n/gm, '').replaceAll(' 100.', ' 200.');
    const told = await analyse(first + later);
    expect(told.vm).toMatchObject([{ pid: 100 }, { pid: 300 }]);
    expect(told.conversion).toMatchObject([
      { vm_id: 1, origin: 'vmm' },
      { vm_id: 1, tid: 101, direction: 'to_shared', outcome: 'done' },
      { vm_id: 2, tid: 101, direction: 'to_private', outcome: 'done' },
    ]);
  });

  it('process and thread numbers: the next VMM has all of the last one’s', async () => {
    const life = (to: 'private' | 'shared'): string =>
      starts(0) + asksByHypercall(0, to, RAM, PAGE) + convertsTo(to, RAM, PAGE, 'vcpu0') + runsAgain(0);
    const first = traceText([makesVm() + setsPrivate(RAM, 4 * MIB), life('shared'), endsVm]);
    const later = traceText([makesVm(), life('private')])
      .replace(/^#.*\n/gm, '')
      .replaceAll(' 100.', ' 200.');
    const told = await analyse(first + later);
    expect(told.vm).toHaveLength(2);
    expect(told.conversion.slice(1)).toMatchObject([
      { vm_id: 1, direction: 'to_shared', outcome: 'done' },
      { vm_id: 2, direction: 'to_private', outcome: 'done' },
    ]);
    expect(told.reboot).toEqual([]);
    expect(told.finding).toEqual([]);
  });

  it('inode and frame: the next guest_memfd’s page is no page of the last', async () => {
    const faultsIn = (offset: number): string => `
       vcpu0: ${kvmExit(0, 'npf')}
       vcpu0: ${kvmPageFault(0, RAM + offset)}
       vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=${offset} order=0
       vcpu0: kvm_mmu_spte_requested: gfn ${((RAM + offset) / PAGE).toString(16)} pfn 107e18 level 1 access f
       vcpu0: kvm_mmu_set_spte: gfn ${((RAM + offset) / PAGE).toString(16)} spte 107e18e67 (rwxu) level 1 at 107e13298
       vcpu0: ${kvmEntry(0)}`;
    const told = await tell(
      makesVm() + starts(0),
      faultsIn(0x3000),
      `other: page_ref_mod: pfn=0x107e18 flags=uptodate|dirty|unevictable count=1026 mapcount=-1 mapping=00000000be275cc9 mt=0 val=1024
       +5ms other: page_ref_mod_and_test: pfn=0x107e18 flags=uptodate|dirty|unevictable count=2 mapcount=-1 mapping=00000000be275cc9 mt=0 val=-1024 ret=0
       vcpu0: mm_filemap_delete_from_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=12288 order=0
       other: mm_filemap_add_to_page_cache: dev 259:2 ino 51208 pfn=0x107e18 ofs=98304 order=0
       other: page_ref_mod: pfn=0x107e18 flags=uptodate|dirty count=1026 mapcount=-1 mapping=00000000be275cc9 mt=0 val=1024
       +5s other: sched_process_exit: comm=postgres pid=900 prio=120 group_dead=true
       +5s vcpu0: ${kvmExit(0, 'HLT')}`,
    );
    // The pin on the file's page is nobody's: that frame left the guest before.
    expect(told.page_ref).toMatchObject([{ tid: 900, how: 'pin', dropped_by: 'holder' }]);
    expect(told.finding).toEqual([]);
  });
});

describe('offsets', () => {
  it('two pairs of one distance speak for what lies between', async () => {
    const pair = (gpa: number, offset: number, pfn: string): string => `
      vcpu0: ${kvmExit(0, 'npf')}
      vcpu0: ${kvmPageFault(0, gpa)}
      vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x${pfn} ofs=${offset} order=0
      vcpu0: kvm_mmu_spte_requested: gfn ${(gpa / PAGE).toString(16)} pfn ${pfn} level 1 access f
      vcpu0: ${kvmEntry(0)}`;
    const told = await tell(
      makesVm() + starts(0),
      pair(RAM, 0x200000, '107e18'),
      pair(RAM + 0x80000, 0x280000, '107e19'),
      asksByHypercall(0, 'shared', RAM + 0x40000, PAGE),
      convertsTo('shared', RAM + 0x40000, PAGE, 'vcpu0'),
      runsAgain(0),
      asksByHypercall(0, 'shared', RAM + 0x900000, PAGE),
      convertsTo('shared', RAM + 0x900000, PAGE, 'vcpu0'),
      runsAgain(0),
    );
    expect(told.conversion).toMatchObject([{ offset: 0x240000 }, { offset: null }]);
  });

  it('page cache of another file is no guest_memfd, however close to a fault it comes', async () => {
    const told = await tell(
      makesVm() + starts(0),
      `vcpu0: ${kvmExit(0, 'npf')}
       vcpu0: ${kvmPageFault(0, RAM)}
       other: mm_filemap_add_to_page_cache: dev 259:2 ino 51208 pfn=0x1128b4 ofs=143360 order=0
       vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.binding).toEqual([]);
    expect(told.gmem.every((g) => g['inode'] === null)).toBe(true);
  });

  it.each([
    ['', 'where nothing names the frame'],
    ['vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 1093b4 level 1 access f', 'though its frame is mapped'],
  ])('a fault of the shared view does not tell an offset of memory that lies elsewhere%.0s, %s', async (requested) => {
    const told = await tell(
      makesVm() + setsPrivate(RAM, MIB) + starts(0),
      faults(0, RAM + 2 ** 39),
      convertsTo('shared', RAM, PAGE, 'vcpu0'),
      runsAgain(0),
      `vcpu0: ${kvmExit(0, 'npf')}
       vcpu0: ${kvmPageFault(0, RAM + 2 ** 39)}
       vcpu0: mm_filemap_add_to_page_cache: dev 0:19 ino 42 pfn=0x1093b4 ofs=0 order=0
       ${requested}
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.binding).toEqual([]);
  });
});
