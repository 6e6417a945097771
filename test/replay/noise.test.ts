/**
 * A healthy VM beside everybody else: whatever other processes do, with the same ioctl numbers, descriptors, inode numbers
 * and kinds of events, and however often its threads lose their CPUs, it is told the same, and no finding comes of it.
 */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  asksByHypercall,
  convertsTo,
  faults,
  GMEM_FD,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  makesVm,
  ONE_VM,
  runsAgain,
  setsPrivate,
  starts,
  traceText,
  type Told,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const SHARED_BIT = 2 ** 39;

const HEALTHY = [
  makesVm(),
  `vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
   vmm: bind_commit: (kvm_gmem_commit_memory_region+0x0/0x80) kvm=0xffff88810a5f9000 slot=1 base_gfn=0x100000 npages=0x40 pgoff=0 ino=0x850
   vmm: sys_ioctl -> 0x0`,
  setsPrivate(RAM, 64 * PAGE),
  starts(0),
  starts(1),
  `vcpu0: ${kvmExit(0, 'npf')}
   vcpu0: ${kvmPageFault(0, RAM)}
   vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
   vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
   vcpu0: kvm_mmu_set_spte: gfn 100000 spte 107e18e67 (rwxu) level 1 at 107e13298
   vcpu0: ${kvmEntry(0)}`,
  asksByHypercall(0, 'shared', RAM, 2 * PAGE),
  convertsTo('shared', RAM, 2 * PAGE, 'vcpu0'),
  `vcpu0: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0, len: 0x2000)
   vcpu0: mm_filemap_delete_from_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
   vcpu0: sys_fallocate -> 0x0`,
  runsAgain(0),
  faults(1, RAM + 8 * PAGE + SHARED_BIT),
  convertsTo('shared', RAM + 8 * PAGE, PAGE, 'vcpu1'),
  runsAgain(1),
  asksByHypercall(1, 'private', RAM, PAGE),
  convertsTo('private', RAM, PAGE, 'vmm'),
  runsAgain(1),
  convertsTo('shared', RAM + 32 * PAGE, PAGE, 'vmm'),
]
  .flatMap((part) => part.split('\n'))
  .map((line) => line.trim())
  .filter((line) => line !== '');

const ioctl = (cmd: string, fd: number, returns = '0x0'): string =>
  `other: sys_ioctl(fd: ${fd}, cmd: ${cmd}, arg: 0x7ffd1c2e5a40)\nother: sys_ioctl -> ${returns}`;
const page = (what: string, dev: string, ino: string): string =>
  `other: mm_filemap_${what}_page_cache: dev ${dev} ino ${ino} pfn=0x99f0 ofs=0 order=0`;
const ref = (name: string, val: number): string =>
  `other: page_ref_${name}: pfn=0x99f0 flags=uptodate count=2 mapcount=0 mapping=00000000be275cc9 mt=0 val=${val}${name === 'mod' ? '' : ' ret=0'}`;
const offCpu = (who: 'vcpu0' | 'vcpu1' | 'vmm', comm: string, tid: number, state: string): string =>
  `${who}: sched_switch: prev_comm=${comm} prev_pid=${tid} prev_prio=120 prev_state=${state} ==> next_comm=swapper/0 next_pid=0 next_prio=120
   idle: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=${comm} next_pid=${tid} next_prio=120`;

/** What other people's processes do; every entry is lines that belong together. */
const NOISE: readonly string[] = [
  ioctl('0x4020aed2', 5),
  ioctl('0xc080aed2', 6, '0xfffffffffffffff5'),
  ioctl('0xc040af42', 6),
  ioctl('0xae80', 7, '0xfffffffffffffffc'),
  ioctl('0xae01', 4, '0x5'),
  ioctl('0x4090ae82', 7),
  ioctl('0x3b71', 9),
  'other: sys_close(fd: 5)',
  'other: sys_close(fd: 6)',
  `other: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0, len: 0x1000)\nother: sys_fallocate -> 0x0`,
  page('add_to', '0:20', '850'),
  page('delete_from', '0:20', '850'),
  page('add_to', '8:1', '1f2'),
  ref('mod', 1024),
  ref('mod', 1),
  ref('mod_and_test', -1024),
  'other: map: IOMMU: iova=0x0000000000100000 - 0x0000000000101000 paddr=0x00000000099f0000 size=4096',
  'other: unmap: IOMMU: iova=0x0000000000100000 - 0x0000000000101000 size=4096 unmapped_size=4096',
  'other: kvm_unmap_hva_range: mmu notifier unmap range: 0x007ff0d61aa000 -- 0x007ff0d61b2000',
  'other: page_fault_user: address=0x7f5733000000 ip=0x55d0c0de error_code=0x6',
  'other: signal_generate: sig=7 errno=0 code=2 comm=postgres pid=900 grp=0 res=0',
  'other: sched_process_exit: comm=postgres pid=901 prio=120',
  'idle: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=swapper/0 next_pid=0 next_prio=120',
  offCpu('vcpu0', 'CPU 0/KVM', 101, 'R'),
  offCpu('vcpu0', 'CPU 0/KVM', 101, 'S'),
  offCpu('vcpu1', 'CPU 1/KVM', 102, 'R+'),
  offCpu('vmm', 'qemu-kvm', 100, 'D'),
];

const CAST = { ...ONE_VM, idle: '<idle>-0 (0) [000]' };

/** What is told of the VM, without its times and the places in the file. */
function gist(told: Told): unknown {
  const pick = (rows: readonly Readonly<Record<string, unknown>>[], ...names: string[]): unknown[] =>
    rows.map((row) => names.map((name) => row[name]));
  return {
    vms: pick(told.vm, 'platform', 'pid', 'certainty'),
    vcpus: pick(told.vcpu, 'vcpu', 'tid', 'certainty'),
    gmems: pick(told.gmem, 'inode', 'fd', 'certainty'),
    conversions: pick(
      told.conversion,
      ...['vm_id', 'vcpu', 'tid', 'gpa', 'offset', 'size', 'direction', 'origin', 'outcome', 'attempts', 'certainty'],
    ),
    tries: pick(told.conversion_attempt, 'conversion_id', 'errno', 'tid'),
    faults: pick(told.memory_fault, 'gpa', 'wanted', 'cause', 'certainty'),
    punches: pick(told.punch, 'offset', 'size', 'errno'),
    states: pick(told.gmem_interval, 'gpa', 'size', 'state', 'allocation', 'certainty'),
    others: [told.reboot.length, told.page_ref.length, told.dma_map.length],
  };
}

/** The story with some kinds of noise before each of its lines. */
function storyWith(kinds: readonly string[], tgids: boolean): string {
  return traceText(
    HEALTHY.flatMap((line) => [...kinds, line]),
    { cast: CAST, tgids },
  );
}

describe('a healthy VM under noise', () => {
  it.each([0, 1, 2, 3, 4])('is told the same, and nothing is wrong with it (part %i of the noise)', async (part) => {
    const kinds = NOISE.filter((_, k) => k % 5 === part);
    const tgids = part % 2 === 0;
    const quiet = await analyse(storyWith([], tgids));
    expect(quiet.conversion.map((c) => c['outcome'])).toEqual(['done', 'done', 'done', 'done', 'done']);
    expect(quiet.finding).toEqual([]);
    const told = await analyse(storyWith(kinds, tgids));
    expect(gist(told)).toEqual(gist(quiet));
    expect(told.finding).toEqual([]);
  });
});
