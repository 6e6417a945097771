/** References on guest memory: who took and dropped them, and what is nobody's (reference chapter 07 §7). */
import { describe, expect, it } from 'vitest';
import {
  asksByHypercall,
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
const FLAGS = 'flags=uptodate|dirty|unevictable';
const MAPPING = 'mapcount=-1 mapping=00000000be275cc9 mt=0';

/** A step of the page's count; `how` is the tracepoint's ending. */
function ref(who: string, val: number, count: number, how: 'mod' | 'mod_and_test' | 'mod_unless' = 'mod'): string {
  const ret = how === 'mod' ? '' : ` ret=${how === 'mod_unless' ? 1 : 0}`;
  return `${who}: page_ref_${how}: pfn=0x107e18 ${FLAGS} count=${count} ${MAPPING} val=${val}${ret}`;
}

/** The page comes in as mm/filemap.c does it: into a batch (+1), then its allocator's own reference goes. */
const touched = `
  vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
  vcpu0: ${kvmPageFault(0, RAM)}
  vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
  ${ref('vcpu0', 1, 3)}
  vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
  ${ref('vcpu0', -1, 2, 'mod_and_test')}
  vcpu0: ${kvmEntry(0)}`;
const drained = ref('other', -1, 1, 'mod_and_test');
const RUNNING = makesVm() + starts(0) + touched;

function tries(returns: string): string {
  return `
    vcpu0: sys_ioctl(fd: ${GMEM_FD}, cmd: 0xc080aed2, arg: 0x7ffd1c2e5a40)
    vcpu0: gmemset: (__kvm_gmem_set_attributes+0x0/0x2c0) ino=0x850 start=0x0 nr_pages=0x1 attrs=0x8
    vcpu0: sys_ioctl -> ${returns}`;
}
const EAGAIN = '0xfffffffffffffff5';
const asks = asksByHypercall(0, 'private', RAM, PAGE);

describe('references', () => {
  it('a pin: who took it, who dropped it, when, and what the count says', async () => {
    const told = await tell(
      RUNNING,
      drained,
      `+1ms ${ref('vmm', 1024, 1025)}`,
      `+5ms ${ref('other', -1024, 1, 'mod_and_test')}`,
      `+5ms vcpu0: ${kvmExit(0, 'HLT')}
       vcpu0: ${kvmEntry(0)}`,
    );
    expect(told.page_ref).toMatchObject([
      {
        offset: 0,
        gpa: RAM,
        size: PAGE,
        how: 'pin',
        taken_as: 'pin',
        tid: 100,
        dropped_tid: 900,
        dropped_comm: 'postgres',
        dropped_by: 'holder',
        seen_count: 1025,
        expected_count: 1025,
      },
    ]);
  });

  it('GUP-fast takes its pin in two steps: one pin, not a reference and a pin', async () => {
    const told = await tell(RUNNING, drained, ref('vmm', 1, 2, 'mod_unless'), ref('vmm', 1023, 1025));
    expect(told.page_ref).toMatchObject([{ how: 'pin', taken_as: 'gup-fast', tid: 100, dropped_ns: null }]);
  });

  it('more references than the trace shows: the count says so', async () => {
    const told = await tell(RUNNING, drained, ref('vmm', 1024, 1028));
    expect(told.page_ref).toMatchObject([{ seen_count: 1028, expected_count: 1025 }]);
  });

  it('a batch of additions to the LRU is told from a holder, and is no leak', async () => {
    const told = await tell(
      RUNNING,
      `+2ms ${asks.trim()}`,
      tries(EAGAIN),
      drained,
      tries('0x0'),
      runsAgain(0),
      `+6s vcpu0: ${kvmExit(0, 'HLT')}`,
    );
    expect(told.page_ref).toMatchObject([
      { how: 'get', taken_as: 'lru-batch', tid: 101, dropped_tid: 900, blocks_conversion: 1 },
    ]);
    expect(told.finding).toEqual([]);
  });

  it('a speculative reference that is gone at once is nobody’s, and a conversion that it met is tried again', async () => {
    const told = await tell(
      RUNNING,
      drained,
      asks,
      ref('other', 1, 2, 'mod_unless'),
      tries(EAGAIN),
      ref('other', -1, 1, 'mod_and_test'),
      tries('0x0'),
      runsAgain(0),
    );
    expect(told.page_ref).toEqual([]);
    expect(told.conversion).toMatchObject([{ outcome: 'done', attempts: 2, failed_attempts: 1 }]);
    expect(told.finding).toEqual([]);
  });

  it('a count that was only looked at (freeze, unless that failed) changes nothing', async () => {
    const told = await tell(
      RUNNING,
      drained,
      `other: page_ref_freeze: pfn=0x107e18 ${FLAGS} count=1 ${MAPPING} val=1 ret=0
       other: page_ref_mod_unless: pfn=0x107e18 ${FLAGS} count=1 ${MAPPING} val=1 ret=0
       +2s vcpu0: ${kvmExit(0, 'HLT')}`,
      asks.replace(/^.*kvm_exit.*$/m, ''),
      tries(EAGAIN),
    );
    expect(told.page_ref).toEqual([]);
  });

  it('a held reference that makes a try fail names the conversion', async () => {
    const told = await tell(
      RUNNING,
      drained,
      `+1ms ${ref('vmm', 1, 2, 'mod_unless')}`,
      `+2ms ${asks.trim()}`,
      tries(EAGAIN),
      runsAgain(0),
    );
    expect(told.page_ref).toMatchObject([{ how: 'get', taken_as: 'get', tid: 100, blocks_conversion: 1 }]);
  });
});
