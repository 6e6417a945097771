/** Every trace.dat of the format collection: events, first and last stamp, losses as an independent reader found them. */
import { describe, expect, it } from 'vitest';
import { openSource } from '../../../src/parse/source.js';
import { latencyText } from '../../../src/parse/tracedat/index.js';
import { initZstd } from '../../../src/parse/zstd.js';
import { capturePath, decodeCapture, hasCaptures } from './captures.js';

/** name, version, clock, events, first and last stamp as read (converted where the file says how). */
const FILES: readonly (readonly [string, string, string, number, bigint, bigint])[] = [
  ['be-s390x-v6', '6', 'local', 1043, 24998561703n, 25553374147n],
  ['be-s390x-v7', '7 none', 'local', 1186, 16043579784n, 16806136185n],
  ['be-s390x-v7z-broken', '7 zstd', 'local', 1028, 20761681729n, 21274113746n],
  ['clock-boot', '7 zstd', 'boot', 40, 1681477006720n, 1681484251643n],
  ['clock-counter', '7 zstd', 'counter', 4, 18n, 21n],
  ['clock-global', '7 zstd', 'global', 13, 1679829909268n, 1679831671769n],
  ['clock-mono', '7 zstd', 'mono', 7, 1680994051016n, 1680994851591n],
  ['clock-mono_raw', '7 zstd', 'mono_raw', 2, 1680977384168n, 1680977391910n],
  ['clock-perf', '7 zstd', 'perf', 47, 1680717322263n, 1680722252113n],
  ['clock-tai', '7 zstd', 'tai', 9, 1795409746281264557n, 1795409746283251140n],
  // 168022 ticks of 10 ms.
  ['clock-uptime', '7 zstd', 'uptime', 8, 1680220000000n, 1680220000000n],
  ['clock-x86-tsc', '7 zstd', 'x86-tsc', 22, 4367770395613n, 4367784295161n],
  // 1687357082791 + 0x660ea03e7c621 microseconds.
  ['date', '7 zstd', 'local', 22, 1795409751755963791n, 1795409751759199688n],
  ['guest-synthetic', '7 zstd', 'mono', 7, 1680994051016n, 1680994851591n],
  ['i386-v6', '6', 'local', 851, 21009878476n, 21331683892n],
  ['i386-v7', '7 none', 'local', 931, 14236966385n, 14610307696n],
  ['i386-v7z', '7 zstd', 'local', 835, 17526782386n, 17784277783n],
  ['instances', '7 zstd', 'mono', 735, 1747424677075n, 1747441752414n],
  ['instances-v6', '6', 'local', 484, 1795566828003n, 1795626068429n],
  ['kvm', '7 zstd', 'local', 3266, 2405565375799n, 2406648001019n],
  ['marker', '7 none', 'local', 9, 1799327968665n, 1799332329639n],
  ['missed', '7 zstd', 'local', 1173, 2217942169055n, 2217952549019n],
  ['missed-unknown', '7 zstd', 'local', 27570, 3335868582907n, 3335921939043n],
  ['subbuf64k.zstd', '7 zstd', 'local', 1466, 1685223162356n, 1685233164138n],
  ['subbuf8k', '7 zstd', 'local', 1903, 1684693811111n, 1684707208177n],
  ['timeshift-synthetic', '7 zstd', 'mono', 7, 1685994051016n, 1685994851591n],
  ['tsc2nsec-synthetic', '7 zstd', 'x86-tsc', 22, 1682416950462n, 1682422304414n],
  ['v6-tc31', '6', 'local', 489, 1649273724313n, 1649279694460n],
  ['v6-tc33', '6', 'local', 525, 1679594109317n, 1679602987243n],
  ['v7-none-tc31', '7 none', 'local', 651, 1648042057479n, 1648056567264n],
  ['v7-zlib-tc33', '7 zlib', 'local', 644, 1679261254483n, 1679270758289n],
  ['v7-zstd-tc31', '7 zstd', 'local', 319, 1648216839536n, 1648221404023n],
  ['v7-zstd-tc33', '7 zstd', 'local', 1934, 1678868779588n, 1678886404114n],
];

describe.skipIf(!hasCaptures)('the format collection', () => {
  it.each(FILES)('%s', async (name, version, clock, events, firstNs, lastNs) => {
    const { summary, rows } = await decodeCapture(`formats/${name}.dat`);
    expect(summary).toMatchObject({
      events,
      firstNs,
      lastNs,
      skipped: [],
      meta: { version, clock, format: 'trace.dat' },
    });
    expect(rows).toHaveLength(events);
    expect([rows[0]!.tsNs, rows.at(-1)!.tsNs]).toEqual([firstNs, lastNs]);
  });

  it('gives the same rows for both versions of one recording', async () => {
    const seven = await decodeCapture('x86-basic/a.dat');
    const six = await decodeCapture('x86-basic/a.v6.dat.zst');
    expect(six.summary.meta).toMatchObject({ version: '6', clock: 'mono', kernel: '7.3.4', arch: 'x86_64', cpus: 2 });
    expect(six.rows).toEqual(seven.rows);
  });

  it('says what the stamps are where they are no time', async () => {
    const units = [];
    for (const name of ['clock-counter', 'clock-x86-tsc', 'clock-uptime', 'tsc2nsec-synthetic']) {
      const { meta } = (await decodeCapture(`formats/${name}.dat`)).summary;
      units.push([meta.clockUnit, meta.resolutionNs]);
    }
    expect(units).toEqual([
      ['count', 1],
      ['cycles', 1],
      ['ns', 10_000_000],
      ['ns', 1],
    ]);
  });

  it('knows the machine and the recorder', async () => {
    const { summary } = await decodeCapture('formats/be-s390x-v7.dat');
    expect(summary.meta).toMatchObject({ kernel: '6.12.107+deb13-s390x', arch: 's390x', cpus: 1, host: null });
    expect(summary.meta.recorder).toMatch(/^trace-cmd 3\.3\.\d$/);
    expect(summary.tasks).toContainEqual({ tid: 17, tgid: null, comm: 'rcu_sched', fromNs: null });
  });

  it('adds the offset that the user gives, to times only', async () => {
    const clockOffsetNs = 5_000_000_000n;
    const mono = await decodeCapture('formats/clock-mono.dat', { clockOffsetNs });
    const counter = await decodeCapture('formats/clock-counter.dat', { clockOffsetNs });
    expect([mono.summary.firstNs, counter.summary.firstNs]).toEqual([1685994051016n, 18n]);
  });

  it('keeps seq of several buffers apart', async () => {
    const { rows, summary } = await decodeCapture('formats/instances.dat');
    expect(new Set(rows.map((row) => `${row.cpu} ${row.seq}`)).size).toBe(735);
    expect(summary.meta.notes.slice(-4)).toEqual([
      'top buffer: 186 events',
      'buffer "inst two": 160 events',
      'buffer "inst1": 389 events',
      'the file states the clock of the top buffer only: those of the other buffers are taken to be the same',
    ]);
  });

  it('tells of a guest', async () => {
    const { meta } = (await decodeCapture('formats/guest-synthetic.dat')).summary;
    expect(meta.notes).toContain('guest "guest-a" (trace id 0x1234): vcpu 0 is thread 4242, vcpu 1 is thread 4243');
  });

  it('hands out the text of a latency tracer', async () => {
    await initZstd();
    const source = await openSource(capturePath('formats/latency-v6-synthetic.dat'));
    const text = latencyText(source)!;
    expect(new TextDecoder().decode(text.readAt(0, 14))).toBe('# tracer: nop\n');
    source.close();
    expect((await decodeCapture('formats/latency-v6-synthetic.dat')).summary.events).toBe(0);
    expect(latencyText(await openSource(capturePath('formats/kvm.dat')))).toBeNull();
  });
});

describe.skipIf(!hasCaptures)('losses', () => {
  it('takes counts that the page headers store', async () => {
    const { summary, rows } = await decodeCapture('formats/missed.dat');
    const first = rows.find((row) => row.cpu === 0)!;
    expect(summary.lost).toEqual([{ cpu: 0, fromNs: null, toNs: first.tsNs, count: 1858, source: 'page-header' }]);
  });

  it('bounds a gap by the last record before it and the first one after it', async () => {
    const { summary, rows } = await decodeCapture('formats/missed-unknown.dat');
    const known = summary.lost.filter((gap) => gap.count !== null && gap.fromNs !== null);
    expect(known.length).toBeGreaterThan(0);
    for (const gap of known) {
      const onCpu = rows.filter((row) => row.cpu === gap.cpu).map((row) => row.tsNs);
      expect(onCpu.indexOf(gap.toNs!)).toBe(onCpu.indexOf(gap.fromNs!) + 1);
    }
  });

  it('keeps gaps without a count unknown, never 0', async () => {
    const { lost, meta } = (await decodeCapture('formats/missed-unknown.dat')).summary;
    expect(lost.map((gap) => gap.count)).toEqual([null, null, 3226, 843, 2949, 3616]);
    expect(meta.notes).toContain('cpu 0: 173 overwritten events are missing in 2 gaps of unknown size');
  });

  it('tells the overwritten start of a ring', async () => {
    const { lost, firstNs } = (await decodeCapture('pkvm-lost/trace.dat')).summary;
    expect(lost.map(({ cpu, count, fromNs }) => ({ cpu, count, fromNs }))).toEqual([
      { cpu: 0, count: 895, fromNs: null },
      { cpu: 1, count: 357, fromNs: null },
    ]);
    expect(lost.every((gap) => gap.toNs! >= firstNs!)).toBe(true);
  });
});

describe.skipIf(!hasCaptures)('damaged files', () => {
  it('reads all sound pages around damaged ones', async () => {
    const { summary, rows } = await decodeCapture('formats/corrupt-pages-v6.dat');
    const whole = await decodeCapture('formats/v6-tc33.dat');
    // CPU 1 whole, three whole pages of CPU 0, and of a fourth the one record before the damage.
    expect(summary.events).toBe(137 + 81 + 86 + 42 + 1);
    const sound = new Set(whole.rows.map((row) => `${row.tsNs} ${row.event} ${row.tid}`));
    expect(rows.filter((row) => !sound.has(`${row.tsNs} ${row.event} ${row.tid}`))).toEqual([]);
    expect(summary.skipped).toEqual([
      { reason: 'damaged page: its length is beyond its size', count: 1, first: 'cpu 0 page 1' },
      { reason: 'damaged page: its entries are no records any more', count: 1, first: 'cpu 0 page 2, byte 84' },
    ]);
    expect(summary.lost.map((gap) => gap.source)).toEqual(['damage', 'damage']);
  });

  it('reads a cut version 6 file up to the cut', async () => {
    const { summary } = await decodeCapture('formats/trunc-v6.dat');
    expect(summary.events).toBeGreaterThanOrEqual(92);
    expect(summary.firstNs).toBe(1649273724313n);
    expect(summary.skipped).toEqual([
      { reason: 'bytes of CPU data are cut off', count: 17400, first: 'cpu 0, byte 85000' },
    ]);
  });

  it('finds the data of a version 7 file without the options that list it', async () => {
    const { summary } = await decodeCapture('formats/trunc-v7.dat');
    expect(summary).toMatchObject({ events: 741, firstNs: 1678868779588n, lastNs: 1678886404114n });
    expect(summary.meta.notes.join()).toContain('the list of CPUs was cut off');
    expect(summary.skipped.map((skip) => skip.first)).toEqual(['byte 17611', 'byte 45721']);
  });
});

describe.skipIf(!hasCaptures)('probes', () => {
  it('are named by the function they sit on, out of the file’s kallsyms', async () => {
    const { schemas } = (await decodeCapture('x86-inplace-refs/a.dat')).summary;
    const probes = new Map(schemas.filter((schema) => schema.probe).map((schema) => [schema.name, schema.probe]));
    expect(probes.get('set_attrs')).toEqual({ fn: '__kvm_gmem_set_attributes', isReturn: false });
    expect(probes.get('set_attrs_ret')).toEqual({ fn: '__kvm_gmem_set_attributes', isReturn: true });
    expect(probes.get('fault_user_ret')).toEqual({ fn: 'kvm_gmem_fault_user_mapping', isReturn: true });
  });
});
