/** DMA: mappings that outlive a conversion, that it lacks, and that take its time (reference chapter 07 §8). */
import { describe, expect, it } from 'vitest';
import { attempt, conversion, explain, judge, PAGE, times, withLosses, type Facts, type Fields } from './facts.js';

const titles = async (rule: string, facts: Facts): Promise<readonly string[]> =>
  (await judge(rule, facts)).findings.map((finding) => `${finding.severity}: ${finding.title}`);

describe('dma-mapped-at-flip, with shared memory elsewhere', () => {
  const flip = conversion(1000, { direction: 'to_private' });
  const map = (unmappedMs: number | null): Fields => ({
    vm_id: 1,
    gmem_id: 1,
    offset: 0,
    iova: 0x10000,
    paddr: 77 * PAGE,
    size: PAGE,
    tid: 101,
    mapped_ms: 500,
    unmapped_ms: unmappedMs,
    certainty: 'observed',
  });
  const facts = (unmappedMs: number | null, fields: Fields = {}, enabled = ['iommu:unmap']): Facts => ({
    enabled,
    tables: {
      conversion: [{ ...flip, ...fields }],
      conversion_attempt: [attempt(flip, 1, 1000.02, 1000.08)],
      dma_map: [map(unmappedMs)],
    },
    memoryEvents: [{ kind: 'ioctl_enter', ts_ms: 1000.095, value: 0xae80 }],
  });

  it('is an error where the vCPU ran on before it was unmapped', async () => {
    expect(await titles('dma-mapped-at-flip', facts(1500))).toEqual([
      'error: gpa 0x0+4K became private and its vCPU ran on while iova 0x10000 still mapped its shared copy for DMA, for 500 ms more',
    ]);
    expect((await judge('dma-mapped-at-flip', facts(null))).findings[0]!.title).toMatch(/to the end of the trace$/);
    expect((await judge('dma-mapped-at-flip', withLosses(facts(1500)))).findings).toMatchObject([
      { verdict: 'inconclusive' },
    ]);
  });

  it('is let go where it was unmapped before the vCPU ran on, with the reason', async () => {
    expect(await explain('dma-mapped-at-flip', facts(1000.09))).toEqual({
      findings: [],
      dismissed: [expect.stringMatching(/became private while iova[^]*as QEMU does$/)],
    });
  });

  it('is none before the flip, of the VMM itself, or where unmapping is not recorded', async () => {
    expect(await titles('dma-mapped-at-flip', facts(999))).toEqual([]);
    expect(await titles('dma-mapped-at-flip', facts(1500, { origin: 'vmm', resume_ms: null }))).toEqual([]);
    expect(await titles('dma-mapped-at-flip', facts(null, {}, ['iommu:map']))).toEqual([]);
  });
});

describe('dma-mapped-at-flip, memory that no device can reach', () => {
  const given = times(6, (k) => conversion(1000 + 10 * k, { gpa: k * PAGE }));
  const maps = (pages: readonly number[], atMs = 1000.09) =>
    pages.map((k) => ({
      kind: 'dma_map' as const,
      ts_ms: atMs + 10 * k,
      address: k * PAGE,
      size: PAGE,
      value: 0x5000 + k,
    }));
  const facts = (
    pages: readonly number[],
    more: readonly Fields[] = [],
    others: ReturnType<typeof maps> = [],
  ): Facts => ({
    tables: { conversion: [...given, ...more], conversion_attempt: [attempt(given[0]!, 1, 1000.02, 1000.08)] },
    memoryEvents: [...maps(pages), ...others],
    events: [{ system: 'iommu', name: 'map', rows: [] }],
  });

  it('is a remark where the others were mapped', async () => {
    expect(await titles('dma-mapped-at-flip', facts([0, 1, 2, 4, 5]))).toEqual([
      'info: gpa 0x3000+4K became shared and was not mapped for DMA in 1.00 s, as 5 others were',
    ]);
  });

  it('is none where all are mapped, soon or from before, where it is taken back, or where none is', async () => {
    expect(await titles('dma-mapped-at-flip', facts([0, 1, 2, 3, 4, 5]))).toEqual([]);
    expect(await titles('dma-mapped-at-flip', facts([0, 1, 2, 4, 5], [], maps([3], 1500)))).toEqual([]);
    expect(await titles('dma-mapped-at-flip', facts([0, 1, 2, 4, 5], [], maps([3], 500)))).toEqual([]);
    const back = conversion(1200, { direction: 'to_private', gpa: 3 * PAGE });
    expect(await titles('dma-mapped-at-flip', facts([0, 1, 2, 4, 5], [back]))).toEqual([]);
    expect(await titles('dma-mapped-at-flip', facts([]))).toEqual([]);
  });
});

describe('dma-blocks-conversion, by time', () => {
  const slow = conversion(1000, { exit_ms: 1000.01, commit_ms: 1010, resume_ms: 1020, stop_ns: 20_000_000 });
  const facts = (call: number, size: number, fromMs = 1000.1): Facts => ({
    tables: { conversion: [slow], conversion_attempt: [attempt(slow, 1, 1009, 1010)] },
    events: [{ system: 'iommu', name: 'unmap', rows: [] }],
    enabled: ['iommu:map'],
    memoryEvents: [
      { kind: 'ioctl_enter', ts_ms: fromMs, value: 0x3b72 },
      { kind: 'dma_unmap', ts_ms: fromMs + call / 2, address: 0, size },
      { kind: 'ioctl_exit', ts_ms: fromMs + call, result: 0 },
    ],
  });

  it('tells of far more mapped and unmapped than converted, before the ioctl and after it', async () => {
    expect(await titles('dma-blocks-conversion', facts(8, 2 ** 30))).toEqual([
      'warning: to_shared gpa 0x0+4K: mapping and unmapping 1G for DMA before the ioctl took 8.0 ms of 9.0 ms',
    ]);
    expect(await titles('dma-blocks-conversion', facts(8, 2 ** 30, 1011))).toEqual([
      'warning: to_shared gpa 0x0+4K: mapping and unmapping 1G for DMA after the ioctl took 8.0 ms of 10.0 ms',
    ]);
  });

  it('is silent where it takes less than half, or where no more is unmapped than converted', async () => {
    expect(await titles('dma-blocks-conversion', facts(3, 2 ** 30))).toEqual([]);
    expect(await titles('dma-blocks-conversion', facts(8, PAGE))).toEqual([]);
  });
});
