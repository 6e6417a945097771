/** References on pages of guest_memfds: who let go, and what only the end of a process dropped (reference chapter 07 §7). */
import { describe, expect, it } from 'vitest';
import {
  analyse,
  kvmEntry,
  kvmExit,
  kvmPageFault,
  makesVm,
  starts,
  traceText,
  type Cast,
} from '../support/trace-text.js';

const CAST: Cast = {
  vmm: 'qemu-kvm-100 (100) [001]',
  vcpu0: 'CPU 0/KVM-101 (100) [000]',
  worker: 'vhost-worker-103 (100) [001]',
};
const RAM = 0x1_0000_0000;
const GFN = (RAM / 4096).toString(16);

const page = (who: string, how: string, val: number): string =>
  `${who}: ${how}: pfn=0x107e18 flags=uptodate|dirty|unevictable count=2 mapcount=-1 mapping=00000000be275cc9 mt=0 val=${val} ret=0`;
const PINNED = `
  ${makesVm()}
  ${starts(0)}
  vcpu0: ${kvmExit(0, 'npf')}
  vcpu0: ${kvmPageFault(0, RAM)}
  vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
  vcpu0: kvm_mmu_spte_requested: gfn ${GFN} pfn 107e18 level 1 access f
  vcpu0: kvm_mmu_set_spte: gfn ${GFN} spte 107e18e67 (rwxu) level 1 at 107e13298
  vcpu0: ${kvmEntry(0)}
  ${page('worker', 'page_ref_mod', 1024)}
  +5ms vcpu0: ${kvmExit(0, 'HLT')}`;
const dropped = page('worker', 'page_ref_mod_and_test', -1024);
const workerEnds = 'worker: sched_process_exit: comm=vhost-worker pid=103 prio=120 group_dead=false';
const tellOf = (...story: readonly string[]) => analyse(traceText([PINNED, ...story], { cast: CAST }));

describe('a pin that goes after the last run of its VM', () => {
  it('was dropped by its holder where that goes on living: the guest may just be idle', async () => {
    const told = await tellOf(`+90ms ${dropped}`, `+1s ${workerEnds}`);
    expect(told.page_ref).toMatchObject([{ tid: 103, how: 'pin', dropped_by: 'holder' }]);
  });

  it('was dropped by the kernel where its holder ends first', async () => {
    const told = await tellOf(`+90ms ${workerEnds}`, dropped);
    expect(told.page_ref).toMatchObject([{ tid: 103, how: 'pin', dropped_by: 'teardown' }]);
  });
});

describe('a pin that was held while events were lost', () => {
  it('is assumed: its drop may be among them', async () => {
    const told = await tellOf('CPU:1 [LOST 12 EVENTS]', `+90ms ${page('vmm', 'page_ref_mod', 1024)}`);
    expect(told.page_ref).toMatchObject([{ tid: 103, dropped_ns: null, certainty: 'assumed' }, { tid: 100 }]);
  });

  it('is observed where they were lost before it was taken', async () => {
    const again = page('vmm', 'page_ref_mod', 1024);
    const told = await tellOf(dropped, 'CPU:1 [LOST 12 EVENTS]', `+90ms ${again}`, `+9ms vcpu0: ${kvmExit(0, 'HLT')}`);
    expect(told.page_ref).toMatchObject([{ tid: 103 }, { tid: 100, certainty: 'observed' }]);
  });
});
