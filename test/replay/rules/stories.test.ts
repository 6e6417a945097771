/** Rules on small traces from the kernel's text to the finding: what happened, the same without the trouble, the same with losses. */
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
  setsPrivate,
  starts,
  tell,
  VM_TYPE,
} from '../../support/trace-text.js';

const PAGE = 4096;
const RAM = 0x1_0000_0000;
const LATER = `+3s vcpu1: ${kvmExit(1, 'HLT')}\n+3s vcpu1: ${kvmEntry(1)}`;
const LOSS = `CPU:0 [LOST 5 EVENTS]`;
const running = (type: number = VM_TYPE.sw): string =>
  makesVm(type) + setsPrivate(0, RAM + 0x1000_0000) + starts(0) + starts(1);

async function findings(rule: string, ...parts: readonly string[]): Promise<readonly string[]> {
  const told = await tell(...parts);
  return told.finding.filter((f) => f['rule'] === rule).map((f) => `${String(f['verdict'])}: ${String(f['title'])}`);
}

function repeat(n: number, make: (k: number) => string): string {
  return Array.from({ length: n }, (_, k) => make(k)).join('\n');
}

describe('conversion-ping-pong', () => {
  const flip = (k: number, delay: string): string => {
    const to = k % 2 === 0 ? 'shared' : 'private';
    return `+${delay} vcpu0: ${kvmEntry(0)}\n${asksByHypercall(0, to, RAM, PAGE)}${convertsTo(to, RAM, PAGE, 'vcpu0')}${runsAgain(0)}`;
  };

  it('six flips of one page within a second', async () => {
    expect(
      await findings(
        'conversion-ping-pong',
        running(),
        repeat(6, (k) => flip(k, '100ms')),
      ),
    ).toEqual([expect.stringMatching(/^fail: 1 place from gpa 0x100000000 flipped 6 times in 50\d ms/)]);
  });

  it('a flip a second is none', async () => {
    expect(
      await findings(
        'conversion-ping-pong',
        running(),
        repeat(6, (k) => flip(k, '1s')),
      ),
    ).toEqual([]);
  });
});

describe('punch-missing', () => {
  const slot = 'kvm=0xffff88810a5f9000 slot=1 base_gfn=1048576 npages=16384';
  const bound = `
    vmm: sys_ioctl(fd: 5, cmd: 0x40a0ae49, arg: 0x7ffd1c2e5a30)
    vmm: bind: (kvm_gmem_prepare_memory_region+0x0/0x1f6) ${slot} fd=${GMEM_FD} offset=0
    vmm: bind_commit: (kvm_gmem_commit_memory_region+0x0/0x80) ${slot} pgoff=0 ino=2128 mapping=0xffff888104b6d3a0
    vmm: sys_ioctl -> 0x0`;
  const booted = makesVm() + bound + setsPrivate(0, RAM + 0x1000_0000) + starts(0) + starts(1);
  const uses = `
    vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
    vcpu0: ${kvmPageFault(0, RAM)}
    vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
    vcpu0: kvm_mmu_spte_requested: gfn 100000 pfn 107e18 level 1 access f
    vcpu0: kvm_mmu_set_spte: gfn 100000 spte 107e18e67 (rwxu) level 1 at 107e13298
    vcpu0: ${kvmEntry(0)}`;
  const punches = `
    vcpu0: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0, len: 0x1000)
    vcpu0: mm_filemap_delete_from_page_cache: dev 0:15 ino 850 pfn=0x107e18 ofs=0 order=0
    vcpu0: sys_fallocate -> 0x0`;
  const asks = asksByHypercall(0, 'shared', RAM, PAGE) + convertsTo('shared', RAM, PAGE, 'vcpu0');
  // Another page is punched, so that the trace shows that it would show it.
  const elsewhere = `
    vmm: sys_fallocate(fd: ${GMEM_FD}, mode: 3, offset: 0x100000, len: 0x1000)
    vmm: sys_fallocate -> 0x0`;

  it('the private copy stays', async () => {
    expect(await findings('punch-missing', booted, uses, asks, runsAgain(0), elsewhere, LATER)).toEqual([
      expect.stringMatching(/^fail: 1 page from offset 0x0 became shared and kept the private copy for 6\.0\d s$/),
    ]);
  });

  it('the private copy is punched', async () => {
    expect(await findings('punch-missing', booted, uses, asks, punches, runsAgain(0), LATER)).toEqual([]);
  });

  it('the punch may have been lost', async () => {
    const goesOn = `vcpu0: ${kvmExit(0, 'HLT')}\nvcpu0: ${kvmEntry(0)}`;
    const story = [booted, uses, asks, runsAgain(0), elsewhere, goesOn, LOSS, LATER];
    expect(await findings('punch-missing', ...story, `vcpu0: ${kvmExit(0, 'HLT')}`)).toEqual([
      expect.stringMatching(/^inconclusive: /),
    ]);
  });
});

describe('sept-contention', () => {
  const accept = (k: number, tries: number): string => {
    const gfn = (0x100000 + k).toString(16);
    return `
      vcpu0: ${kvmExit(0, 'EPT_VIOLATION', '0x0')}
      vcpu0: ${kvmPageFault(0, RAM + k * PAGE, '0x2')}
      ${repeat(tries, () => `vcpu0: kvm_mmu_spte_requested: gfn ${gfn} pfn 10b3bb level 1 access 7`)}
      vcpu0: kvm_mmu_set_spte: gfn ${gfn} spte 6000010b3bb907 (rwxu) level 1 at 1001000e0
      vcpu0: ${kvmEntry(0, '0x0')}`;
  };

  it('faults that ask four times for their page', async () => {
    expect(
      await findings(
        'sept-contention',
        running(VM_TYPE.tdx),
        repeat(9, (k) => accept(k, 4)),
      ),
    ).toEqual([
      expect.stringMatching(
        /^fail: 9 faults asked for their page again, up to 4 times, the slowest \(gpa 0x10000\w+\) for 50\.0 µs$/,
      ),
    ]);
  });

  it('faults that ask once', async () => {
    expect(
      await findings(
        'sept-contention',
        running(VM_TYPE.tdx),
        repeat(9, (k) => accept(k, 1)),
      ),
    ).toEqual([]);
  });
});

describe('rmp-contention', () => {
  const rmpFault = (k: number): string =>
    `vcpu0: kvm_rmp_fault: vcpu 0 gpa ${(RAM + k * PAGE).toString(16).padStart(16, '0')} pfn 0x107e18 error_code 0x700000004 rmp_level 1 psmash_ret 0`;

  it('three RMP faults a page', async () => {
    expect(
      await findings(
        'rmp-contention',
        running(VM_TYPE.snp),
        repeat(12, (k) => rmpFault(k % 4)),
      ),
    ).toEqual(['fail: 4 pages from gpa 0x100000000+4K had 3 RMP faults and more within 100 ms']);
  });

  it('one RMP fault a page is what a first touch costs', async () => {
    expect(await findings('rmp-contention', running(VM_TYPE.snp), repeat(12, rmpFault))).toEqual([]);
  });

  it('without the tracepoint it cannot be judged', async () => {
    const told = await tell(running(VM_TYPE.snp));
    expect(told.unavailable.filter((row) => row['what'] === 'rmp-contention')).toEqual([
      { what: 'rmp-contention', missing: 'no kvm:kvm_rmp_fault', record: '-e kvm:kvm_rmp_fault' },
    ]);
  });
});

describe('implicit-storm', () => {
  const touch = (k: number): string =>
    faults(0, RAM + k * PAGE) + convertsTo('shared', RAM + k * PAGE, PAGE, 'vcpu0') + runsAgain(0);

  it('120 pages converted by faults in a moment', async () => {
    expect(await findings('implicit-storm', running(), repeat(120, touch))).toEqual([
      expect.stringMatching(/^fail: 120 pages were converted by faults, at the peak 120 in 1\.00 s, 100 %/),
    ]);
  });

  it('80 are none', async () => {
    expect(await findings('implicit-storm', running(), repeat(80, touch))).toEqual([]);
  });
});
