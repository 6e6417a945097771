import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { decompress } from 'fzstd';
import { describe, expect, it } from 'vitest';
import { CAPTURES, countByEvent, hasCaptures, readCapture } from './collect.js';
import type { Row } from './collect.js';

interface ScriptLine {
  readonly event: string;
  readonly cpu: number;
  readonly tid: number;
  readonly tsNs: bigint;
  readonly text: string;
}

const LINE =
  /^\s*(?<comm>.+?)\s+(?<tid>-?\d+)\s+\[(?<cpu>\d+)\]\s+(?<s>\d+)\.(?<ns>\d{9}):\s+(?<event>[\w:-]+):(?<text>.*)$/;

function parseScript(text: string): ScriptLine[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const { tid, cpu, s, ns, event, text: fields } = LINE.exec(line)!.groups!;
      return {
        event: event!,
        cpu: Number(cpu),
        tid: Number(tid),
        tsNs: BigInt(s!) * 1_000_000_000n + BigInt(ns!),
        text: fields!,
      };
    });
}

/** Numbers that the line and the row both have, as unsigned values of the row's width: [name, line, row]. */
function comparable(line: ScriptLine, row: Row): [string, bigint, bigint][] {
  const pairs: [string, bigint, bigint][] = [];
  for (const [, name, digits] of line.text.matchAll(/\b(\w+)(?:=|: )(-?(?:0x)?[0-9a-f]+)(?=[\s,]|$)/g)) {
    const value = row.fields[name!];
    if (typeof value !== 'number' && typeof value !== 'bigint') continue;
    if (!/^(?:-?\d+|0x[0-9a-f]+)$/.test(digits!)) continue;
    // perf prints syscall arguments in the width of the register, rows have that of the C type.
    pairs.push([name!, BigInt.asUintN(32, BigInt(digits!)), BigInt.asUintN(32, BigInt(value))]);
  }
  return pairs;
}

const CASES: readonly (readonly [string, string, number])[] = [
  ['perf73.data', 'perf73.perf73-script-ns.txt.gz', 800],
  ['perf73-dir', 'perf73-dir.perf73-script-ns.txt.gz', 1500],
  ['perf73-zstd.data', 'perf73-zstd.perf73-script-ns.txt.gz', 1000],
  ['perf73-kvm.data.gz', 'perf73-kvm.perf73-script-ns.txt.gz', 0],
];

describe.skipIf(!hasCaptures)('against perf script', () => {
  it.each(CASES)('%s: event, CPU, thread, time and numbers of every line', async (name, expected, minimum) => {
    const { rows } = await readCapture(`formats/${name}`);
    const lines = parseScript(gunzipSync(readFileSync(`${CAPTURES}formats/expected/${expected}`)).toString());
    const key = (one: ScriptLine | Row): string => `${one.tsNs} ${one.cpu} ${one.tid} ${one.event}`;
    expect(rows.map(key).sort()).toEqual(lines.map(key).sort());

    const byKey = new Map(rows.map((row) => [key(row), row]));
    let compared = 0;
    for (const line of lines) {
      for (const [field, wanted, found] of comparable(line, byKey.get(key(line))!)) {
        expect(found, `${field} of ${key(line)}`).toBe(wanted);
        compared++;
      }
    }
    expect(compared).toBeGreaterThanOrEqual(minimum);
  });

  it('x86-basic: as many of every event as the script has', async () => {
    const { rows } = await readCapture('x86-basic/a.perf.data.zst');
    const script = Buffer.from(decompress(readFileSync(`${CAPTURES}x86-basic/a.script.txt.zst`))).toString();
    const counts: Record<string, number> = {};
    for (const line of script.split('\n')) {
      const event = /\d+\.\d{9}:\s+([\w:-]+):/.exec(line)?.[1];
      if (event) counts[event] = (counts[event] ?? 0) + 1;
    }
    expect(countByEvent(rows)).toEqual(counts);
  });
});
