import { describe, expect, it } from 'vitest';
import { TEXT_FORMATS } from '../../../src/parse/text/index.js';
import { detectText, readText, traceLine } from './read-text.js';

const FPU = 'kvm_fpu: load';

describe('fronts of lines', () => {
  it.each([
    [
      'with tgid',
      '       CPU 0/KVM-99      (     97) [003] d..1.    16.869512: kvm_fpu: load',
      99,
      3,
      0x0101,
      16869512000n,
    ],
    ['unknown tgid', '           a-b c-7       (-------) [000] .....     0.000001: kvm_fpu: load', 7, 0, 0, 1000n],
    ['no irq-info', '             git-28069   [000]   2124.694249: kvm_fpu: load', 28069, 0, 0xffff, 2124694249000n],
    [
      '4 flag columns',
      ' fc_vcpu 0-2779478 [001] d... 1820822.383974: kvm_fpu: load',
      2779478,
      1,
      0x0001,
      1820822383974000n,
    ],
    ['8 flag columns', '            sh-5 [001] d..h2..3 1.000001: kvm_fpu: load', 5, 1, 0x3209, 1000001000n],
    ['9 decimals', '            sh-5 [001] ..... 172.663432001: kvm_fpu: load', 5, 1, 0, 172663432001n],
    ['epoch seconds', '            sh-5 [001] ..... 1795410190.008641: kvm_fpu: load', 5, 1, 0, 1795410190008641000n],
    ['name like a front', ' [001] 1.5: x: y-12  [002] .Bs..    23.265970: kvm_fpu: load', 12, 2, 0x0036, 23265970000n],
    ['latency', '  gmemvm-649       0d..2. 244314us+: kvm_fpu: load', 649, 0, 0x0201, 244314000n],
  ])('%s', async (_, line, tid, cpu, flags, tsNs) => {
    const { rows, format } = await readText(`${line}\n`);
    expect(format).toBe('ftrace-text');
    expect(rows).toMatchObject([{ event: 'kvm:kvm_fpu', tid, cpu, flags, tsNs, values: { load: 1 } }]);
  });

  it.each([
    ['3.1.6', '              ls-26843 [001]  1124.295990: kvm_fpu:              load', 26843, 0xffff, 1124295990000n],
    [
      '3.3.1',
      '              ls-26843 [001] d..2.  1124.295990: kvm_fpu:              load',
      26843,
      0x0201,
      1124295990000n,
    ],
    ['-R', '              ls-6757  [001]-0x5  1648.042057: kvm_fpu:               load=1', 6757, 5, 1648042057000n],
    ['-t', '              ls-26843 [001]  1124.295990250: kvm_fpu:              load', 26843, 0xffff, 1124295990250n],
    ['-l', '      ls-6757    1.....  1648.042057: kvm_fpu:              load', 6757, 0, 1648042057000n],
    [
      '--ts-diff',
      '              ls-6757  [001] .....  1648.042072: (+15)    kvm_fpu:              load',
      6757,
      0,
      1648042072000n,
    ],
    [
      'glued TSC, flags',
      '            true-10932 [001] d..2.4367770395613: kvm_fpu:              load',
      10932,
      0x0201,
      4367770395613n,
    ],
    [
      'glued TSC',
      '            true-10932 [001]4367770395613: kvm_fpu:              load',
      10932,
      0xffff,
      4367770395613n,
    ],
  ])('trace-cmd report %s', async (_, line, tid, flags, tsNs) => {
    const { rows, format, summary } = await readText(`cpus=2\n${line}\n`);
    expect(format).toBe('trace-cmd-report');
    expect(rows).toMatchObject([{ event: 'kvm:kvm_fpu', tid, cpu: 1, flags, tsNs, values: { load: 1 } }]);
    expect(summary.meta.cpus).toBe(2);
  });

  it.each([
    ['default', '       CPU 0/KVM   14336 [001]  2408.639582:          kvm:kvm_fpu: load', 14336, 1, 2408639582000n],
    ['--ns', '       CPU 0/KVM   14336 [001]  2408.639582123:          kvm:kvm_fpu: load', 14336, 1, 2408639582123n],
    ['pid/tid', 'python3   24131/24132   [001]   1.000001:  kvm:kvm_fpu: load', 24132, 1, 1000001000n],
    ['period', 'python3   24132   [001]   1.000001:          1  kvm:kvm_fpu: load', 24132, 1, 1000001000n],
    [
      'one task',
      '              ls   24465  1851.369694:          1               kvm:kvm_fpu: load',
      24465,
      0,
      1851369694000n,
    ],
    ['no task, no CPU', ' 1837.550759:        kvm:kvm_fpu: load', 0, 0, 1837550759000n],
    ['a date before', 'sh 5 [001] 2026-11-23 04:58:32.144555  1847.717420: kvm:kvm_fpu: load', 5, 1, 1847717420000n],
  ])('perf script %s', async (_, line, tid, cpu, tsNs) => {
    const { rows, format } = await readText(`${line}\n`);
    expect(format).toBe('perf-script');
    expect(rows).toMatchObject([{ event: 'kvm:kvm_fpu', tid, cpu, flags: 0xffff, tsNs, values: { load: 1 } }]);
  });

  it('a stamp can be moved', async () => {
    const { rows, summary } = await readText(traceLine(FPU, '16.000000'), { clockOffsetNs: -17_000_000_000n });
    expect(rows[0]!.tsNs).toBe(-1_000_000_000n);
    expect(summary.firstNs).toBe(-1_000_000_000n);
  });
});

describe('what stands around the lines', () => {
  const plain = traceLine(FPU).repeat(3);
  const same = async (text: string): Promise<void> => {
    const { rows, format } = await readText(text);
    expect(format).toBe('ftrace-text');
    expect(rows.map((row) => row.values)).toEqual([{ load: 1 }, { load: 1 }, { load: 1 }]);
    expect(rows.map((row) => row.seq)).toEqual([1n, 2n, 3n]);
  };

  it('CRLF', () => same(plain.replaceAll('\n', '\r\n')));
  it('a byte order mark', () => same(`\ufeff${plain}`));
  it('colours', () =>
    same(plain.replaceAll('kvm_fpu', '\x1b[01;31mkvm_fpu\x1b[m').replaceAll('       CPU', '\x1b[32m       CPU')));
  it('line numbers of grep -n', () => same(plain.replaceAll(/^/gm, '12:').replace(/12:$/, '')));
  it('no newline at the end', () => same(plain.trimEnd()));
  it('blanks at the ends of lines', () => same(plain.replaceAll('\n', '   \n')));
});

describe('losses and headers', () => {
  it('a LOST line lies between the events of its CPU', async () => {
    const { summary } = await readText(
      traceLine(FPU, '1.000001') + 'CPU:0 [LOST 12 EVENTS]\nCPU:5 [LOST EVENTS]\n' + traceLine(FPU, '1.000009'),
    );
    expect(summary.lost).toEqual([
      { cpu: 0, fromNs: 1000001000n, toNs: 1000009000n, count: 12, source: 'lost-line' },
      { cpu: 5, fromNs: null, toNs: null, count: null, source: 'lost-line' },
    ]);
  });

  it('the header tells overwritten events, and a buffer that started late', async () => {
    const header = '# tracer: nop\n#\n# entries-in-buffer/entries-written: 2/9   #P:4\n#\n';
    const { summary } = await readText(header + traceLine(FPU, '1.000001') + traceLine(FPU, '1.000009'));
    expect(summary.lost).toEqual([
      { cpu: null, fromNs: null, toNs: 1000001000n, count: 7, source: 'overwritten' },
      { cpu: 0, fromNs: null, toNs: 1000001000n, count: null, source: 'overwritten' },
    ]);
    expect(summary.meta).toMatchObject({ cpus: 4, notes: ['overwritten 7 events'] });
    const late = await readText(
      `${traceLine(FPU, '1.000001')}##### CPU 0 buffer started ####\n${traceLine(FPU, '2.000001')}`,
    );
    expect(late.summary.lost).toMatchObject([{ cpu: 0, toNs: 2000001000n, source: 'ring-start' }]);
  });

  it('a latency header names the kernel', async () => {
    const { summary } = await readText(
      '# tracer: nop\n#\n# nop latency trace v1.1.5 on 6.18.44\n# latency: 0 us, #1/1, CPU#0 | (M:PREEMPT(none) VP:0, KP:0, SP:0 HP:0 #P:2)\n' +
        '  gmemvm-649       0d..2. 244314us+: kvm_fpu: load\n',
    );
    expect(summary.meta).toMatchObject({ kernel: '6.18.44', cpus: 2, version: 'latency' });
  });

  it('perf script says what it lost', async () => {
    const { summary } = await readText(
      'perf 7 [001]  1.000001: kvm:kvm_fpu: load\nperf 7 [001]  1.000002: PERF_RECORD_LOST lost 3659\nperf 7 [001]  1.000003: kvm:kvm_fpu: load\n',
    );
    expect(summary.lost).toEqual([
      { cpu: 1, fromNs: 1000001000n, toNs: 1000003000n, count: 3659, source: 'perf-lost' },
    ]);
  });
});

describe('recognition', () => {
  it('an empty trace is a trace', async () => {
    const { summary, format } = await readText(
      '# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0   #P:2\n#\n',
    );
    expect(format).toBe('ftrace-text');
    expect(summary).toMatchObject({ events: 0, firstNs: null, lastNs: null, skipped: [] });
  });

  it.each([
    ['prose', 'Dear list,\nthis is no trace at all.\n'],
    ['JSON', '{"a": 1}\n'],
    ['binary', Buffer.from(Array.from({ length: 4096 }, (_, k) => (k * 37) & 255))],
    ['nothing', ''],
  ])('%s is none', (_, text) => {
    const head = Buffer.from(text);
    expect(detectText(head)).toBeNull();
    for (const format of TEXT_FORMATS) expect(format.detect(head)).toHaveProperty('no');
  });
});
