import { describe, expect, it } from 'vitest';
import { countByEvent, hasCaptures, readCapture } from './collect.js';

/** Counts, stamps and losses of captures/formats/README.md, which equal `perf script`. */
const RECORDINGS: readonly (readonly [string, string, number, bigint, bigint, number])[] = [
  ['perf61.data', 'file', 409, 1835460445643n, 1835472174553n, 0],
  ['perf73.data', 'file', 419, 1837534524709n, 1837557631426n, 0],
  ['perf61-pipe.data.gz', 'pipe', 894, 1840573646709n, 1840598919043n, 0],
  ['perf73-pipe.data.gz', 'pipe', 1480, 1838984042029n, 1839010980410n, 0],
  ['perf61-zstd.data', 'file zstd', 405, 1843546101891n, 1843558045390n, 0],
  ['perf73-zstd.data', 'file zstd', 592, 1841921594995n, 1841933631978n, 0],
  ['perf73-dir', 'directory', 811, 1844770737260n, 1844785796542n, 0],
  ['perf73-zdir', 'directory zstd', 2012, 1846172603517n, 1846211407426n, 0],
  ['perf73-mono.data.gz', 'file', 1039, 1847717420582n, 1847740158740n, 0],
  ['perf73-g.data', 'file', 37, 1849095003351n, 1849117663915n, 0],
  ['perf73-task.data', 'file', 54, 1851369694522n, 1851371468720n, 0],
  ['perf73-lost.data.gz', 'file', 1262, 3397608423700n, 3397618335228n, 1561],
  ['perf73-kvm.data.gz', 'file', 1034, 3251405966754n, 3252278500425n, 0],
];

describe.skipIf(!hasCaptures)('real recordings', () => {
  it.each(RECORDINGS)('%s gives what perf script gives', async (name, version, samples, first, last, lost) => {
    const { summary, rows } = await readCapture(`formats/${name}`);
    expect(summary.meta.version).toBe(version);
    expect(summary.events).toBe(samples);
    expect(rows).toHaveLength(samples);
    expect([summary.firstNs, summary.lastNs]).toEqual([first, last]);
    expect([rows[0]!.tsNs, rows.at(-1)!.tsNs]).toEqual([first, last]);
    expect(summary.lost.reduce((sum, one) => sum + one.count!, 0)).toBe(lost);
    expect(summary.skipped).toEqual([]);
  });

  it('says what the recording is', async () => {
    const { summary } = await readCapture('formats/perf73-mono.data.gz');
    expect(summary.meta).toMatchObject({
      format: 'perf.data',
      kernel: '6.18.44-fc-v669',
      arch: 'x86_64',
      clock: 'mono',
      clockUnit: 'ns',
      resolutionNs: 1,
      recorder: 'perf 7.3.4',
      host: 'vm',
      cpus: 2,
      notes: [],
    });
    expect(summary.meta.enabledEvents).toEqual([
      'irq:softirq_entry',
      'kmem:mm_page_alloc',
      'sched:sched_process_exec',
      'sched:sched_switch',
      'syscalls:sys_enter_ioctl',
      'syscalls:sys_enter_openat',
      'syscalls:sys_exit_openat',
    ]);
  });

  it('keeps the samples of a killed recorder, whose event formats were never written', async () => {
    const { summary, rows } = await readCapture('formats/perf73-killed.data');
    expect(summary.events).toBe(9);
    expect([summary.firstNs, summary.lastNs]).toEqual([3209069448373n, 3209069890706n]);
    expect(countByEvent(rows)).toEqual({ 'unknown:event_372': 8, 'unknown:event_782': 1 });
    expect(summary.skipped).toEqual([
      { reason: 'perf record was killed before it wrote the event formats', count: 1, first: 'byte 632' },
    ]);
    expect(summary.meta.enabledEvents).toBeNull();
    expect(summary.meta.notes[0]).toMatch(/perf record was killed/);
  });

  it('keeps page faults beside tracepoints of another sample layout', async () => {
    const { summary, rows } = await readCapture('formats/perf73-task.data');
    expect(countByEvent(rows)).toEqual({ 'perf:page-faults': 9, 'syscalls:sys_enter_openat': 45 });
    expect(summary.meta.enabledEvents).toEqual(['perf:page-faults', 'syscalls:sys_enter_openat']);
    const fault = rows.find((row) => row.event === 'perf:page-faults')!;
    expect(Object.keys(fault.fields)).toEqual(['ip', 'addr']);
  });

  it('skips callchains to the raw data', async () => {
    const { rows } = await readCapture('formats/perf73-g.data');
    expect(countByEvent(rows)).toEqual({ 'sched:sched_switch': 37 });
    expect(rows[0]!.fields).toMatchObject({ prev_comm: 'perf', next_comm: 'migration/0' });
  });

  it('gives every loss its CPU and stretch', async () => {
    const { summary } = await readCapture('formats/perf73-lost.data.gz');
    expect(summary.lost[0]).toEqual({
      cpu: 1,
      fromNs: 3397610060995n,
      toNs: 3397610481871n,
      count: 336,
      source: 'perf-lost',
    });
  });

  it('moves stamps, losses and tasks by the clock offset', async () => {
    const plain = await readCapture('formats/perf73-lost.data.gz');
    const moved = await readCapture('formats/perf73-lost.data.gz', { clockOffsetNs: -3_000_000_000_000n });
    expect(moved.summary.firstNs).toBe(plain.summary.firstNs! - 3_000_000_000_000n);
    expect(moved.rows[5]!.tsNs).toBe(plain.rows[5]!.tsNs - 3_000_000_000_000n);
    expect(moved.summary.lost[0]!.fromNs).toBe(plain.summary.lost[0]!.fromNs! - 3_000_000_000_000n);
    const task = await readCapture('formats/perf73-task.data', { clockOffsetNs: 1n });
    expect(task.summary.tasks).toContainEqual({ tid: 24465, tgid: 24465, comm: 'ls', fromNs: 1851369635485n });
  });

  it('stops when asked to', async () => {
    const signal = AbortSignal.abort();
    await expect(readCapture('formats/perf73.data', { signal })).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('knows the process and name of every thread that has samples', async () => {
    const { summary, rows } = await readCapture('x86-basic/a.perf.data.zst');
    const known = new Map(summary.tasks.map((task) => [task.tid, task]));
    const running = new Set(rows.map((row) => row.tid).filter((tid) => tid > 0));
    expect(running.size).toBeGreaterThan(5);
    for (const tid of running) {
      expect(known.get(tid)?.tgid).toBeGreaterThan(0);
      expect(known.get(tid)?.comm).toBeTruthy();
    }
    const vcpus = summary.tasks.filter((task) => /^CPU \d+\/KVM$/.test(task.comm ?? ''));
    expect(vcpus.length).toBeGreaterThan(0);
    for (const vcpu of vcpus) expect(vcpu.tgid).not.toBe(vcpu.tid);
  });

  it('gives positions that rise within a CPU', async () => {
    const { rows } = await readCapture('formats/perf73-zdir');
    const seen = new Map<number, bigint>();
    for (const row of [...rows].sort((a, b) => Number(a.seq - b.seq))) {
      expect(row.tsNs).toBeGreaterThanOrEqual(seen.get(row.cpu) ?? 0n);
      seen.set(row.cpu, row.tsNs);
    }
    expect(new Set(rows.map((row) => row.seq)).size).toBe(rows.length);
  });
});

/** Samples by `perf report -D` (captures/wild/README.md): recordings of other people, perf 3.2 to 6.12. */
const WILD: Readonly<Record<string, number>> = {
  'hotspot-perf.data.true.v2.gz': 1,
  'mstange-fibo.compressed2.pipe.data': 547,
  'mstange-sleep.compressed.data': 8,
  'mstange-sleep.compressed.pipe.data': 8,
  'mstange-sleep.compressed2.data': 7,
  'mstange-sleep.compressed2.pipe.data': 7,
  'mstange-sleep.data': 7,
  'quipper-branch-4.14.data': 13,
  'quipper-ctx_switch_namespaces-4.14.data': 2,
  'quipper-group_desc-4.14.data': 13,
  'quipper-hybrid_topology.data': 7,
  'quipper-lost_samples-4.4.data': 191,
  'quipper-piped.ctx_switch_namespaces-4.14.data': 7,
  'quipper-piped.header_features-4.16.data': 2,
  'quipper-piped.header_features_aligned-6.12.data': 9,
  'quipper-piped.header_feautres_group_desc-6.8.data': 21,
  'quipper-piped.lost_samples-4.4.data': 191,
  'quipper-piped.no_attr_ids-4.14.data': 7,
  'quipper-piped.target.throttled-3.4.data': 228,
  'quipper-proc.map.timeout-3.18.data': 8,
  'quipper-remmap-3.2.data': 198,
  'quipper-singleprocess-3.4.data': 77,
  'kdab-probe.data.file': 1,
  'kdab-probe.data.stream': 1,
  'kdab-parallel_static_gcc-perf.data.zstd': 242,
  'kdab-fork_static_gcc-perf.data.zstd': 106,
  'kdab-vector_static_gcc-perf.data.zstd': 34,
  'kdab-vector_static_gcc-perf.lbr.data': 29,
  'kdab-contentsize.data': 69,
};

describe.skipIf(!hasCaptures)('recordings of other people', () => {
  it.each(Object.entries(WILD))('%s has %i samples', async (name, samples) => {
    const { summary, rows } = await readCapture(`wild/perf/${name}`);
    expect(summary.events).toBe(samples);
    expect(rows).toHaveLength(samples);
  });

  it('shows samples without a CPU on CPU 0 and says so', async () => {
    const { summary, rows } = await readCapture('wild/perf/quipper-branch-4.14.data');
    expect(new Set(rows.map((row) => row.cpu))).toEqual(new Set([0]));
    expect(summary.meta.notes).toEqual(['13 samples that do not say their CPU are shown on CPU 0']);
  });
});
