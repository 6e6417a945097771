/** Every record against `trace-cmd report -R` of the same file: order, stamp, CPU, task, event and each field's value. */
import { describe, expect, it } from 'vitest';
import { captureText, decodeCapture, hasCaptures } from './captures.js';
import type { Row } from './captures.js';

interface Line {
  readonly tid: number;
  readonly cpu: number;
  readonly stamp: string;
  readonly event: string;
  readonly rest: string;
}

const LINE = /^ *(.*)-(\d+) +\[(\d+)\]\S* +(\d+\.\d+): (\S+): *(.*)$/s;

/** The report's lines; a line without the usual start goes on with the text of the one before. */
function parseReport(text: string): Line[] {
  const joined: string[] = [];
  for (const line of text.trimEnd().split('\n')) {
    if (/^cpus=|^CPU:\d+ \[/.test(line)) continue;
    if (LINE.test(line)) joined.push(line);
    else joined.push(`${joined.pop() ?? ''}\n${line}`);
  }
  return joined.map((line) => {
    const [, , tid, cpu, stamp, event, rest] = LINE.exec(line)!;
    return { tid: Number(tid), cpu: Number(cpu), stamp: stamp!, event: event!, rest: rest! };
  });
}

/** The texts behind `name=` of the given names, which come in this order. */
function splitFields(rest: string, names: readonly string[]): string[] {
  const values: string[] = [];
  let at = rest.startsWith(`${names[0]}=`) ? 0 : -1;
  names.forEach((name, k) => {
    const start = at + name.length + 1;
    const next = k + 1 < names.length ? rest.indexOf(` ${names[k + 1]}=`, start) : rest.length;
    values.push(at < 0 || next < 0 ? '<missing>' : rest.slice(start, next));
    at = next + 1;
  });
  return values;
}

/** trace-cmd prints a number by the event's print fmt: decimal, hex with or without 0x, cut or extended to 64 bits. */
function isSameNumber(text: string, value: bigint, width: number): boolean {
  const bare = text.replace(/[() ]/g, '').replace(/^nil$/, '0');
  const wanted = BigInt.asUintN(width, value);
  const readings = /^0x/.test(bare)
    ? [bare]
    : /^-?\d+$/.test(bare)
      ? [bare, `0x${bare.replace('-', '')}`]
      : [`0x${bare}`];
  return readings.some(
    (reading) => /^-?\d+$|^0x[0-9a-f]+$/.test(reading) && BigInt.asUintN(width, BigInt(reading)) === wanted,
  );
}

/** Printed by trace-cmd through a cast of the print fmt, `(u8)REC->e`: the report holds the low byte only. */
const CUT_BY_PRINT_FMT: ReadonlyMap<string, number> = new Map([
  ['kvm:kvm_ioapic_set_irq.e', 8],
  ['kvm:kvm_apic_ipi.icr_low', 8],
]);

function differences(row: Row, line: Line, widths: ReadonlyMap<string, number>): string[] {
  const wrong: string[] = [];
  const stamp = line.stamp.replace('.', '');
  const decimals = line.stamp.length - line.stamp.indexOf('.') - 1;
  // Six decimals are rounded half up.
  const ours = decimals === 9 ? row.tsNs : (row.tsNs + 500n) / 1000n;
  if (ours !== BigInt(stamp)) wrong.push(`stamp ${row.tsNs} is not ${line.stamp}`);
  if (row.event.split(':')[1] !== line.event) wrong.push(`event ${row.event} is not ${line.event}`);
  if (row.cpu !== line.cpu || row.tid !== line.tid) wrong.push(`cpu ${row.cpu} tid ${row.tid}`);
  const names = [...row.fields.keys()];
  const texts = splitFields(line.rest, names);
  names.forEach((name, k) => {
    const value = row.fields.get(name);
    const text = texts[k]!;
    const isSame =
      typeof value === 'bigint'
        ? isSameNumber(text, value, widths.get(`${row.event}.${name}`)!)
        : text.trimEnd() === (value ?? '').trimEnd();
    if (!isSame) wrong.push(`${line.event}.${name} = ${value} is not ${JSON.stringify(text)}`);
  });
  return wrong;
}

async function compare(dat: string, report: string): Promise<{ rows: number; lines: number; wrong: string[] }> {
  const { rows, summary } = await decodeCapture(dat);
  const lines = parseReport(await captureText(report));
  const widths = new Map<string, number>();
  for (const schema of summary.schemas) {
    for (const field of schema.fields) {
      widths.set(`${schema.system}:${schema.name}.${field.name}`, Number(/\d+$/.exec(field.type)?.[0] ?? 8));
    }
  }
  for (const [field, width] of CUT_BY_PRINT_FMT) widths.set(field, width);
  const wrong = rows.flatMap((row, k) => (lines[k] ? differences(row, lines[k], widths) : [])).slice(0, 20);
  return { rows: rows.length, lines: lines.length, wrong };
}

describe.skipIf(!hasCaptures)('records equal trace-cmd report -R', () => {
  it.each([
    ['v6-tc33', 525],
    ['v7-zstd-tc33', 1934],
    ['subbuf8k', 1903],
    ['i386-v7z', 835],
    ['be-s390x-v7', 1186],
    ['kvm', 3266],
    ['missed', 1173],
    ['marker', 9],
  ])('%s', async (name, events) => {
    const result = await compare(`formats/${name}.dat`, `formats/expected/${name}.tc331-report-tR.txt.gz`);
    expect(result).toEqual({ rows: events, lines: events, wrong: [] });
  });

  it('a conversion workload with probes and syscalls', async () => {
    const result = await compare('x86-basic/a.dat', 'x86-basic/a.reportR.txt.zst');
    expect(result).toEqual({ rows: 9838, lines: 9838, wrong: [] });
  });
});
