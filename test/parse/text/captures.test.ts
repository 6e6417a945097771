import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CAPTURES, countEvents, hasCaptures, readCapture } from './read-text.js';
import type { Row, TextResult } from './read-text.js';

/** Columns that two wordings of one event legitimately print differently: hashed pointers, bytes cut to the instruction. */
const UNEQUAL = new Set(['mark_mmio_spte.sptep', 'kvm_emulate_insn.insn', 'page_ref.mapping']);

function differences(a: Row, b: Row): string[] {
  const name = a.event.replace(/^.*:/, '');
  return Object.keys(a.values).filter((key) => {
    const x = a.values[key] ?? null;
    const y = b.values[key] ?? null;
    return x !== null && y !== null && String(x) !== String(y) && !UNEQUAL.has(`${name}.${key}`);
  });
}

/** Rows of one thread and event in the order they came. */
function byThread(result: TextResult): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of result.rows) {
    const key = `${row.event.replace(/^.*:/, '')} ${row.tid}`;
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  return groups;
}

describe.skipIf(!hasCaptures)('texts of one run (x86-basic)', async () => {
  const names = ['trace', 'pipe', 'report', 'reportN', 'reportR', 'script'] as const;
  const results = new Map<string, TextResult>();
  if (hasCaptures) for (const name of names) results.set(name, await readCapture(`x86-basic/a.${name}.txt.zst`));
  const get = (name: (typeof names)[number]): TextResult => results.get(name)!;

  it('are recognised', () => {
    expect(names.map((name) => get(name).format)).toEqual([
      'ftrace-text',
      'ftrace-text',
      'trace-cmd-report',
      'trace-cmd-report',
      'trace-cmd-report',
      'perf-script',
    ]);
  });

  it('have the counts of check.txt', () => {
    for (const name of names) {
      const counts = countEvents(get(name).rows);
      expect(get(name).summary.events).toBe(9838);
      expect(counts).toMatchObject({
        kvm_userspace_exit: 177,
        kvm_hypercall: 60,
        kvm_vm_set_mem_attributes: 104,
        vm_set_attrs: 104,
        fallocate: 51,
        kvm_exit: 672,
        kvm_entry: 672,
        kvm_page_fault: 516,
      });
      expect(get(name).summary.skipped).toEqual([]);
      expect(get(name).summary.lost).toEqual([]);
    }
  });

  it('have the same events as often', () => {
    const expected = countEvents(get('trace').rows);
    for (const name of ['pipe', 'report', 'reportN', 'reportR', 'script'] as const) {
      expect(countEvents(get(name).rows), name).toEqual(expected);
    }
  });

  it('have the same columns, whatever the wording', () => {
    const columns = (result: TextResult): Record<string, string[]> =>
      Object.fromEntries(
        [...result.schemas]
          .filter(([, schema]) => schema.formatSource !== 'text')
          .map(([name, schema]) => [name, schema.fields.map((field) => `${field.name} ${field.type}`)]),
      );
    for (const name of names) expect(columns(get(name)), name).toEqual(columns(get('trace')));
    expect(columns(get('trace'))['kvm:kvm_exit']).toEqual([
      'exit_reason u32',
      'guest_rip u64',
      'isa u32',
      'info1 u64',
      'info2 u64',
      'intr_info u32',
      'error_code u32',
      'vcpu_id u32',
      'requests u64',
    ]);
  });

  it('say the same of each event, line by line, in the three texts of trace-cmd', () => {
    const raw = get('reportR').rows;
    for (const name of ['report', 'reportN'] as const) {
      const bad = get(name).rows.flatMap((row, k) => differences(row, raw[k]!).map((key) => `${row.event}.${key}`));
      expect(bad, name).toEqual([]);
    }
  });

  it('say the same of each event in order, thread by thread, in all texts', () => {
    const raw = byThread(get('reportR'));
    for (const name of ['trace', 'pipe', 'script'] as const) {
      for (const [key, rows] of byThread(get(name))) {
        const others = raw.get(key) ?? [];
        // a thread switched away while it was recorded has its switch under another tid at the edges
        if (others.length !== rows.length) continue;
        const bad = rows.flatMap((row, k) => differences(row, others[k]!));
        expect(bad, `${name} ${key}`).toEqual([]);
      }
    }
  });

  it('tell memory fault exits as far as the wording does', () => {
    const exits = (name: (typeof names)[number]): Record<string, number> => {
      const counts: Record<string, number> = {};
      for (const row of get(name).rows) {
        if (row.event !== 'kvm:kvm_userspace_exit') continue;
        const key = `${String(row.values['reason'])}/${String(row.values['errno'])}`;
        counts[key] = (counts[key] ?? 0) + 1;
      }
      return counts;
    };
    expect(exits('reportR')).toMatchObject({ '39/-14': 46, '3/0': 60 });
    expect(exits('trace')).toMatchObject({ 'null/-14': 46, '3/0': 60 });
    expect(exits('report')).toMatchObject({ '39/null': 46, '3/0': 60 });
    expect(exits('script')).toMatchObject({ '39/null': 46, '3/0': 60 });
  });

  it('name the function of each probe, or its address', () => {
    const probe = get('trace').schemas.get('probe:get_pfn_ret')!;
    expect(probe.probe).toEqual({ fn: 'kvm_gmem_get_pfn', isReturn: true });
    expect(probe.fields.map((field) => `${field.name} ${field.type}`)).toEqual([
      '__probe_func u64',
      '__probe_ret_ip u64',
      'gfn i64',
      'pfn i64',
      'ret i64',
    ]);
    expect(get('script').schemas.get('gmem:get_pfn')!.probe).toEqual({ fn: null, isReturn: false });
    const raw = get('report').rows.find((row) => row.event === 'probe:get_pfn_ret')!;
    expect(raw.values['__probe_func']).toBe(0xffffffff810336ebn);
    expect(raw.values['__probe_ret_ip']).toBe(0xffffffff8106a810n);
  });

  it('know threads and processes', () => {
    const tasks = get('trace').summary.tasks;
    expect(tasks.find((task) => task.tid === 100)).toMatchObject({ comm: 'CPU 1/KVM', tgid: 97 });
    // perf saw the thread before it took its name
    const seen = get('script').summary.tasks.filter((task) => task.tid === 100);
    expect(seen.map((task) => [task.comm, task.tgid])).toEqual([
      ['gmemvm', null],
      ['CPU 1/KVM', null],
    ]);
  });
});

describe.skipIf(!hasCaptures)('losses', () => {
  it('trace_pipe and trace-cmd report tell stretches and counts', async () => {
    const pipe = await readCapture('x86-lost/a.pipe.txt.zst');
    expect(pipe.summary.lost.every((loss) => loss.source === 'lost-line' && loss.cpu !== null)).toBe(true);
    expect(pipe.summary.lost).toHaveLength(23);
    const report = await readCapture('x86-lost/a.report.txt.zst');
    expect(report.summary.lost).toContainEqual(expect.objectContaining({ cpu: 0, count: 5881 }));
    expect(report.summary.lost).toContainEqual(expect.objectContaining({ cpu: 1, count: null }));
  });

  it('an overwritten trace has lost what came before the first event of each CPU', async () => {
    const { summary } = await readCapture('x86-lost/a.trace.txt.zst');
    expect(summary.events).toBe(6187);
    const [all, ...cpus] = summary.lost;
    expect(all).toMatchObject({ cpu: null, fromNs: null, count: 46361, source: 'overwritten' });
    expect(cpus.map((loss) => loss.cpu)).toEqual([0, 1]);
    expect(all!.toNs).toBe(cpus.map((loss) => loss.toNs!).reduce((a, b) => (a > b ? a : b)));
  });

  it('the hypervisor prints its own', async () => {
    const { summary } = await readCapture('pkvm-lost/hyp.trace_pipe.txt');
    expect(summary.lost.map((loss) => loss.count).sort()).toEqual([1020, 509]);
    expect(summary.events).toBe(1568);
  });
});

describe.skipIf(!hasCaptures)('pKVM', () => {
  it('reads arm64 events with their own columns from every text', async () => {
    const trace = await readCapture('pkvm-basic/trace.boot.txt');
    const report = await readCapture('pkvm-basic/report.txt');
    for (const result of [trace, report]) {
      expect(result.summary.events).toBe(1337);
      expect(result.summary.skipped).toEqual([]);
      const exit = result.rows.find((row) => row.event === 'kvm:kvm_exit')!;
      expect(exit.values).toEqual({ ret: 2, esr_ec: 0x20, vcpu_pc: 0x80000000n });
      expect(result.schemas.get('kvm:kvm_exit')!.formatSource).toBe('catalogue:7.3.4-arm64');
    }
    const bad = trace.rows.flatMap((row, k) =>
      differences(row, report.rows[k]!).filter((key) => !(row.event.startsWith('page_ref:') && key === 'mapping')),
    );
    expect(bad).toEqual([]);
    // nanoseconds in the report, microseconds in the text
    expect(report.rows.every((row, k) => Number(row.tsNs - trace.rows[k]!.tsNs) < 1000)).toBe(true);
    expect(report.summary.meta).toMatchObject({ clock: 'boot', clockUnit: 'ns', resolutionNs: 1 });
    expect(report.summary.meta.notes).toHaveLength(1);
  });

  it('reads the hypervisor’s buffer, upstream’s and the lab’s', async () => {
    const { rows, format, summary } = await readCapture('pkvm-basic-labhyp/hyp.trace.txt');
    expect(format).toBe('hyp-text');
    expect(rows).toHaveLength(3124);
    expect(rows[0]).toMatchObject({ event: 'hypervisor:hyp_exit', values: { reason: 6, vcpu: 0 }, flags: 0xffff });
    const refused = rows.find((row) => row.event === 'hypervisor:lab_guest_share_host' && row.values['ret'] === -2);
    expect(refused?.values).toMatchObject({ handle: 0x1000, vcpu_idx: 0, phys: 0n, nr_pages: 1n });
    expect(summary.skipped).toEqual([]);
  });

  it('accounts for every host and hypervisor text', async () => {
    const folders = readdirSync(CAPTURES).filter((name) => name.startsWith('pkvm-'));
    for (const folder of folders) {
      for (const file of readdirSync(new URL(`${folder}/`, CAPTURES)).filter((name) =>
        /^(hyp|trace).*\.txt$/.test(name),
      )) {
        const { summary } = await readCapture(`${folder}/${file}`);
        const text = readFileSync(new URL(`${folder}/${file}`, CAPTURES), 'latin1');
        const lines = text.split('\n').filter((line) => line !== '' && !/^(#|CPU:)/.test(line)).length;
        expect(summary.events, `${folder}/${file}`).toBe(lines);
        expect(summary.skipped, `${folder}/${file}`).toEqual([]);
      }
    }
  });
});

describe.skipIf(!hasCaptures)('clocks', () => {
  it.each([
    ['tsc.trace.txt.zst', 'x86-tsc', 'cycles'],
    ['counter.trace.txt.zst', 'counter', 'count'],
    ['uptime.trace.txt.zst', 'uptime', 'ticks'],
    ['x86-tsc.report.txt.zst', 'x86-tsc', 'cycles'],
    ['boot.report.txt.zst', 'boot', 'ns'],
    ['tsc2nsec.report.txt.zst', 'unknown', 'ns'],
    ['mono_raw.trace.txt.zst', 'unknown', 'ns'],
  ])('%s counts %s', async (file, clock, unit) => {
    const { summary } = await readCapture(`x86-clocks/${file}`);
    expect(summary.meta).toMatchObject({ clock, clockUnit: unit });
    expect(summary.skipped).toEqual([]);
  });

  it('takes the clock’s name from the user', async () => {
    const { summary } = await readCapture('x86-clocks/boot.report.txt.zst', { clock: 'x86-tsc' });
    expect(summary.meta).toMatchObject({ clock: 'x86-tsc', clockUnit: 'cycles', notes: [] });
  });
});

describe.skipIf(!hasCaptures)('layouts of trace-cmd and perf script', () => {
  it('reads lines of several buffers', async () => {
    const { summary, rows } = await readCapture('x86-variants/buffers.report.head600.txt.zst');
    expect(summary.events).toBe(599);
    expect(summary.meta.notes).toContain('lines of the buffers probes, sched; their clocks may differ');
    expect(rows[0]).toMatchObject({ event: 'sched:sched_switch', tid: 106, cpu: 1 });
  });

  it('passes over call chains', async () => {
    const { summary } = await readCapture('x86-variants/callgraph.script.head600.txt.zst');
    expect(summary.events).toBe(45);
    expect(summary.meta.notes).toEqual(['511 stack frames are not kept']);
    expect(summary.skipped).toEqual([]);
  });

  it.each(['raw.trace.txt.zst'])('refuses %s politely', async (file) => {
    await expect(readCapture(`x86-clocks/${file}`)).rejects.toMatchObject({
      code: 'unknown-format',
      message: 'the text is a trace read with the option raw, which prints no fields',
    });
  });
});
