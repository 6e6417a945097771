/** The commands check and events as a user runs them. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { XMLValidator } from 'fast-xml-parser';
import { afterAll, describe, expect, it } from 'vitest';
import { run } from '../../src/cli/app.js';

const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-check-'));
afterAll(() => rmSync(folder, { recursive: true }));

const capture = fileURLToPath(new URL('../../../shared/captures/x86-basic/a.dat', import.meta.url));

/** Three events of a text trace: enough for the import, nothing to find. */
const TEXT = `# tracer: nop
#
          gmemvm-97      [001] .....     1.000001: kvm_hypercall: nr 0xc a0 0x10016e000 a1 0x5 a2 0x0 a3 0x24000
          gmemvm-97      [001] d..1.     1.000020: kvm_entry: vcpu 1, rip 0x10000 intr_info 0x00000000 error_code 0x00000000
       CPU 0/KVM-99      [000] .....     1.000300: sys_ioctl(fd: 4, cmd: 0xae01, arg: 1)
`;

async function gmemtrace(...args: string[]) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const texts = { out: '', err: '' };
  stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString()));
  stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString()));
  const io = { stdin: new PassThrough(), stdout, stderr, env: {} };
  const status = await run(args, { io, signal: new AbortController().signal });
  return { status, ...texts };
}

function save(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const trace = save('small.txt', TEXT);

describe('check', () => {
  it('exits 0 where the spec is met, with paths relative to the spec', async () => {
    const spec = save('met.yaml', 'version: 1\ntraces:\n  - path: small.txt\n    expect: { events: 3 }\n');
    const result = await gmemtrace('check', spec);
    expect(result.err).toBe('');
    expect(result.out).toMatch(/^ ok {4}small\.txt/);
    expect(result.out).toContain('1 trace, 0 failed');
    expect(result.status).toBe(0);
  });

  it('exits 1 where it is not, and writes JUnit XML', async () => {
    const spec = save('unmet.yaml', 'version: 1\ntraces:\n  - { path: small.txt, expect: { events: 4 } }\n');
    const junit = join(folder, 'junit.xml');
    const result = await gmemtrace('check', spec, '--junit', junit);
    expect(result.out).toContain('events: 3, expected 4');
    expect(result.out).toContain(`wrote ${junit}`);
    expect(result.status).toBe(1);
    const xml = readFileSync(junit, 'utf8');
    expect(XMLValidator.validate(xml)).toBe(true);
    expect(xml).toContain('<failure message="events: 3, expected 4"/>');
  });

  it('exits 2 where the spec is wrong, naming line and what was meant', async () => {
    const spec = save('wrong.yaml', 'version: 1\ntraces:\n  - path: small.txt\n    expects: {}\n');
    const result = await gmemtrace('check', spec);
    expect(result.status).toBe(2);
    expect(result.out).toBe('');
    expect(result.err).toContain(
      'wrong.yaml: unknown key "expects" in a trace\n  at line 4, column 5\n  hint: did you mean expect?',
    );
  });

  it('exits 3 where a trace cannot be read, and still checks the others', async () => {
    const body = '  - path: gone.dat\n  - path: small.txt\n  - { path: later.dat, optional: true }\n';
    const spec = save('gone.yaml', `version: 1\ntraces:\n${body}`);
    const result = await gmemtrace('check', spec, '--format', 'json');
    expect(result.status).toBe(3);
    const report = JSON.parse(result.out) as { ok: boolean; traces: { status: string; reason: string }[] };
    expect(report.ok).toBe(false);
    expect(report.traces.map((one) => one.status)).toEqual(['unreadable', 'ok', 'skip']);
    expect(report.traces[0]!.reason).toContain('no such file');
  });

  it('lists and filters', async () => {
    const spec = save('list.yaml', 'version: 1\ntraces:\n  - path: small.txt\n  - { path: gone.dat, name: other }\n');
    expect((await gmemtrace('check', spec, '--list')).out).toBe('small.txt  small.txt\nother  gone.dat\n');
    expect((await gmemtrace('check', spec, '--filter', 'small*')).status).toBe(0);
    expect((await gmemtrace('check', spec, '--filter', 'nothing')).status).toBe(2);
  });
});

describe('events', () => {
  it('prints text, JSON lines and CSV', async () => {
    const text = await gmemtrace('events', trace);
    expect(text.out).toBe(TEXT.replace(/^#.*\n/gm, ''));
    const json = await gmemtrace('events', trace, '-e', 'kvm_hypercall', '--format', 'json');
    expect(JSON.parse(json.out)).toEqual({
      trace,
      ts_ns: 1_000_001_000,
      cpu: 1,
      tid: 97,
      comm: 'gmemvm',
      system: 'kvm',
      name: 'kvm_hypercall',
      fields: { nr: 12, a0: 0x10016e000, a1: 5, a2: 0, a3: 0x24000 },
    });
    const csv = await gmemtrace('events', trace, '--system', 'syscalls', '--format', 'csv');
    expect(csv.out).toBe(
      'trace,ts_ns,cpu,tid,comm,system,name,text\n' +
        `${trace},1000300000,0,99,CPU 0/KVM,syscalls,sys_enter_ioctl,"sys_ioctl(fd: 4, cmd: 0xae01, arg: 1)"\n`,
    );
  });

  it('selects by time, CPU, task and SQL, limits and counts', async () => {
    const lines = async (...args: string[]) => (await gmemtrace('events', trace, ...args)).out.split('\n').length - 1;
    expect(await lines('--from', '+10us')).toBe(2);
    expect(await lines('--to', '1.000020')).toBe(1);
    expect(await lines('--cpu', '0')).toBe(1);
    expect(await lines('--task', 'CPU*')).toBe(1);
    expect(await lines('--where', 'a1 = 5')).toBe(1);
    expect(await lines('--limit', '2')).toBe(2);
    expect((await gmemtrace('events', trace, '--count', '-e', 'kvm*')).out).toBe(
      '1  kvm:kvm_entry\n1  kvm:kvm_hypercall\n2  events\n',
    );
  });

  it.each([
    [['--event', 'kvm_hypercal'], 'no event matches "kvm_hypercal"'],
    [['--cpu', 'x'], '--cpu x: not a list of CPUs'],
    [['--where', 'a1 ='], '--where:'],
    [['--where', 'nothing = 1'], '--where: no event has all its columns'],
    [['--style', 'fancy'], 'fancy'],
  ])('refuses %j with status 2', async (args, message) => {
    const result = await gmemtrace('events', trace, ...args);
    expect(result.status).toBe(2);
    expect(result.out).toBe('');
    expect(result.err).toContain(message);
  });

  it.skipIf(!existsSync(capture))('gives the same from a trace and from the database made of it', async () => {
    const database = join(folder, 'a.duckdb');
    expect((await gmemtrace('import', capture, '--db', database, '--quiet')).status).toBe(0);
    const query = ['-e', 'kvm:*', '-e', 'gmem:*', '--format', 'text'];
    const direct = await gmemtrace('events', capture, ...query);
    expect(direct.out.split('\n').length).toBeGreaterThan(5000);
    expect((await gmemtrace('events', database, ...query)).out).toBe(direct.out);
  });
});
