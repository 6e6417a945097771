/** DMA mappings of guest memory: whose they are, what they keep from converting, what outlives the file (reference 07 §8). */
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
  analyse,
  traceText,
  ONE_VM,
} from '../support/trace-text.js';

const RAM = 0x1_0000_0000;
const PAGE = 4096;
const PFN = 0x107e18;

const hex = (n: number, width = 16): string => `0x${n.toString(16).padStart(width, '0')}`;

/** The guest touches the page at `offset`: it comes into the file in frame PFN + offset / 4096. */
function touches(offset: number): string {
  const pfn = (PFN + offset / PAGE).toString(16);
  return `
    vcpu0: ${kvmExit(0, 'EPT_VIOLATION')}
    vcpu0: ${kvmPageFault(0, RAM + offset)}
    vcpu0: mm_filemap_add_to_page_cache: dev 0:15 ino 850 pfn=0x${pfn} ofs=${offset} order=0
    vcpu0: kvm_mmu_spte_requested: gfn ${((RAM + offset) / PAGE).toString(16)} pfn ${pfn} level 1 access f
    vcpu0: ${kvmEntry(0)}`;
}

function leaves(offset: number): string {
  const pfn = (PFN + offset / PAGE).toString(16);
  return `vmm: mm_filemap_delete_from_page_cache: dev 0:15 ino 850 pfn=0x${pfn} ofs=${offset} order=0`;
}

function maps(who: string, iova: number, offset: number, size: number): string {
  const paddr = PFN * PAGE + offset;
  return `${who}: map: IOMMU: iova=${hex(iova)} - ${hex(iova + size)} paddr=${hex(paddr)} size=${size}`;
}

function unmaps(who: string, iova: number, size: number): string {
  return `${who}: unmap: IOMMU: iova=${hex(iova)} - ${hex(iova + size)} size=${size} unmapped_size=${size}`;
}

const ioctl = (cmd: string, ...inside: string[]): string => `
  vmm: sys_ioctl(fd: 0x1f, cmd: ${cmd}, arg: 0x7ffd1c2e5a30)
  ${inside.join('\n')}
  vmm: sys_ioctl -> 0x0`;

/** The VMM converts in place; `returns` as the system call does. */
function convertsInPlace(returns = '0x0', who = 'vcpu0'): string {
  return `
    ${who}: sys_ioctl(fd: ${GMEM_FD}, cmd: 0xc080aed2, arg: 0x7ffd1c2e5a40)
    ${who}: gmemset: (__kvm_gmem_set_attributes+0x0/0x2c0) ino=0x850 start=0x0 nr_pages=0x1 attrs=0x8
    ${who}: sys_ioctl -> ${returns}`;
}

const RUNNING = makesVm() + starts(0) + touches(0) + touches(PAGE) + touches(2 * PAGE);

describe('DMA mappings', () => {
  it('VFIO type1 and iommufd are told apart; a mapping that no such ioctl made says neither', async () => {
    const told = await tell(
      RUNNING,
      ioctl('0x3b71', maps('vmm', 0x100000, 0, PAGE)),
      ioctl('0x3b85', maps('vmm', 0x200000, PAGE, PAGE)),
      maps('other', 0x300000, 2 * PAGE, PAGE),
      // Unmapping is recorded.
      unmaps('other', 0x900000, PAGE),
    );
    expect(told.dma_map).toMatchObject([
      { iova: 0x100000, offset: 0, how: 'vfio-type1', unmapped_ns: null, certainty: 'observed' },
      { iova: 0x200000, offset: PAGE, how: 'iommufd' },
      { iova: 0x300000, offset: 2 * PAGE, how: null },
    ]);
  });

  it('one call over several pages is one row where the file goes on, and two where it does not', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, 3 * PAGE),
      // The frame after the third page is no guest memory.
      maps('vmm', 0x200000, 2 * PAGE, 2 * PAGE),
    );
    expect(told.dma_map).toMatchObject([
      { iova: 0x100000, offset: 0, size: 3 * PAGE },
      { iova: 0x200000, offset: 2 * PAGE, size: PAGE },
    ]);
  });

  it('unmapped in part: the rest stays mapped', async () => {
    const told = await tell(RUNNING, maps('vmm', 0x100000, 0, 3 * PAGE), unmaps('vmm', 0x101000, PAGE));
    const rows = told.dma_map.map((d) => [d['offset'], d['size'], d['unmapped_ns'] !== null]);
    expect(rows.sort()).toEqual([
      [0, PAGE, false],
      [PAGE, PAGE, true],
      [2 * PAGE, PAGE, false],
    ]);
  });

  it('the same iova of another process: its unmap ends its own mapping only', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, PAGE),
      maps('other', 0x100000, PAGE, PAGE),
      unmaps('other', 0x100000, PAGE),
    );
    expect(told.dma_map).toMatchObject([
      { offset: 0, unmapped_ns: null },
      { offset: PAGE, unmapped_ns: expect.any(Number) as number },
    ]);
  });

  it('the same iova twice in one process (two domains): no more is said than that one of them ended', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, PAGE),
      maps('vmm', 0x100000, 0, PAGE),
      unmaps('vmm', 0x100000, PAGE),
    );
    expect(told.dma_map.map((d) => [d['certainty'], d['unmapped_ns'] !== null])).toEqual([
      ['inferred', true],
      ['inferred', false],
    ]);
  });

  it('unmapped by a driver in another task’s time: the mapping ends all the same', async () => {
    const told = await tell(RUNNING, maps('vmm', 0x100000, 0, PAGE), unmaps('other', 0x100000, PAGE));
    expect(told.dma_map[0]!['unmapped_ns']).not.toBeNull();
  });
});

describe('DMA and conversion', () => {
  it('unmapped before the conversion: in its way at no time', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, PAGE),
      asksByHypercall(0, 'private', RAM, PAGE),
      unmaps('vcpu0', 0x100000, PAGE),
      convertsInPlace(),
      runsAgain(0),
    );
    expect(told.dma_map).toMatchObject([{ blocks_conversion: null, flip_conversion: null }]);
    expect(told.finding).toEqual([]);
  });

  it('unmapped after the first EAGAIN: it made that try fail', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, PAGE),
      asksByHypercall(0, 'private', RAM, PAGE),
      convertsInPlace('0xfffffffffffffff5'),
      unmaps('vcpu0', 0x100000, PAGE),
      convertsInPlace(),
      runsAgain(0),
    );
    expect(told.dma_map).toMatchObject([{ blocks_conversion: 1, flip_conversion: null }]);
    expect(told.conversion).toMatchObject([{ outcome: 'done', attempts: 2 }]);
    expect(told.finding.map((f) => f['rule'])).toEqual(['dma-blocks-conversion']);
  });

  it('still mapped at the flip: it names the conversion', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, PAGE),
      asksByHypercall(0, 'private', RAM, PAGE),
      convertsInPlace(),
      runsAgain(0),
      unmaps('vmm', 0x100000, PAGE),
    );
    expect(told.dma_map).toMatchObject([{ blocks_conversion: null, flip_conversion: 1 }]);
    expect(told.finding.map((f) => f['rule'])).toEqual(['dma-mapped-at-flip']);
  });

  it('a page that leaves its file while a device still reaches it', async () => {
    const told = await tell(
      RUNNING,
      maps('vmm', 0x100000, 0, PAGE),
      maps('vmm', 0x200000, PAGE, PAGE),
      unmaps('vmm', 0x200000, PAGE),
      leaves(0),
      leaves(PAGE),
    );
    expect(told.dma_map).toMatchObject([
      { offset: 0, page_gone_ns: expect.any(Number) as number },
      { offset: PAGE, page_gone_ns: null },
    ]);
  });

  it('without tgids, the mapping of a thread that nothing ties to a process is told, too', async () => {
    const story = traceText([RUNNING, maps('vmm', 0x100000, 0, PAGE), unmaps('vmm', 0x100000, PAGE)], {
      cast: ONE_VM,
      tgids: false,
    });
    const told = await analyse(story);
    expect(told.dma_map).toMatchObject([{ offset: 0, unmapped_ns: expect.any(Number) as number }]);
  });
});
