/**
 * A good text with stretches of lines taken out, marked as the kernel marks lost events. Whatever is then claimed as
 * observed or inferred must have happened (truth of the capture), and no rule may blame the healthy VM of it.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openSource } from '../../src/parse/source.js';
import { FIXTURES, readJson, type Truth, type TruthConversion } from '../support/capture.js';
import { analyse, type Told } from '../support/trace-text.js';

const FOLDER = join(FIXTURES, 'x86-basic');
/** With everything, without probes, with nothing but kvm:*. */
const TEXTS = ['a.trace.txt.zst', 'noprobes.trace.txt.zst', 'kvmonly.trace.txt.zst'] as const;
/** Set-up and the first half of the run: enough of everything. */
const LINES = 4500;
/** The VMM stamps its own log somewhat before and after what the kernel sees. */
const SLACK_NS = 50_000_000;

/** Same numbers for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

async function readLines(path: string): Promise<string[]> {
  const source = await openSource(path);
  const chunks: Buffer[] = [];
  for await (const chunk of source.stream()) chunks.push(Buffer.from(chunk));
  source.close();
  return Buffer.concat(chunks).toString('latin1').split('\n');
}

function cpuOf(line: string): number {
  const match = /\[(\d{3})\] [.a-zA-Z0-9]{5}\s+\d+\.\d{6}: /.exec(line);
  return match ? Number(match[1]) : -1;
}

/** Takes stretches out of each CPU's lines: `share` of them in stretches of up to `longest`, each with its marker. */
function withLosses(lines: readonly string[], seed: number, share: number, longest: number): string {
  const next = random(seed);
  const left = new Map<number, number>();
  const dropped = new Map<number, number>();
  const out: string[] = [];
  for (const line of lines) {
    const cpu = cpuOf(line);
    if (cpu < 0) {
      out.push(line);
      continue;
    }
    let todo = left.get(cpu) ?? 0;
    if (todo === 0 && next() < (2 * share) / longest) todo = 1 + Math.floor(next() * longest);
    if (todo > 0) {
      left.set(cpu, todo - 1);
      dropped.set(cpu, (dropped.get(cpu) ?? 0) + 1);
      continue;
    }
    const lost = dropped.get(cpu) ?? 0;
    if (lost > 0) out.push(`CPU:${cpu} [LOST ${lost} EVENTS]`);
    dropped.set(cpu, 0);
    out.push(line);
  }
  return out.join('\n');
}

type Row = Told['conversion'][number];

function isNear(row: Row, t: TruthConversion): boolean {
  const at = Number(row['request_ns'] ?? row['exit_ns'] ?? row['commit_ns']);
  return at >= t.requested_ns - SLACK_NS && at <= (t.resumed_ns ?? t.ended_ns ?? t.requested_ns) + SLACK_NS;
}

/** What is wrong in a claimed row, '' where it tells of something that happened. */
function wrongIn(row: Row, truth: Truth): string {
  const has = (name: string): boolean => row[name] !== null;
  const fits = truth.conversions.filter(
    (t) =>
      isNear(row, t) &&
      (!has('gpa') || row['gpa'] === t.gpa) &&
      (!has('size') || row['size'] === t.size) &&
      (!has('offset') || row['offset'] === t.offset) &&
      (!has('direction') || row['direction'] === t.direction) &&
      (!has('vcpu') || row['origin'] === 'vmm' || row['vcpu'] === t.vcpu) &&
      row['origin'] === t.origin,
  );
  const told = JSON.stringify(row, (key, value: unknown) => (/_ns$|evidence/.test(key) ? undefined : value));
  if (fits.length === 0) return `did not happen: ${told} at ${String(row['request_ns'] ?? row['exit_ns'])}`;
  const same = (outcome: string): string => (outcome === 'noop' ? 'done' : outcome);
  const outcome = same(String(row['outcome']));
  const isRight = outcome === 'unknown' || outcome === 'pending' || fits.some((t) => same(t.outcome) === outcome);
  return isRight ? '' : `ended otherwise (${fits.map((t) => t.outcome).join()}): ${told}`;
}

const isClaimed = (row: Row): boolean => row['certainty'] === 'observed' || row['certainty'] === 'inferred';

describe('a healthy VM under lost events', () => {
  const texts: string[][] = [];
  let truth: Truth & { readonly allowed_findings: readonly string[] };
  beforeAll(async () => {
    const noise = / (kvm_fpu|page_fault_user|kvm_mmu_get_page|kvm_emulate_insn|page_fault_ret): /;
    truth = readJson(join(FOLDER, 'truth.json'));
    for (const name of TEXTS) {
      const lines = await readLines(join(FOLDER, name));
      texts.push(lines.filter((line) => !noise.test(line)).slice(0, LINES));
    }
  });

  const check = (told: Told): void => {
    const wrong = told.conversion.filter(isClaimed).map((row) => wrongIn(row, truth));
    expect(wrong.filter((text) => text !== '')).toEqual([]);
    for (const fault of told.memory_fault.filter((f) => isClaimed(f) && f['gpa'] !== null && f['wanted'] !== null)) {
      const direction = fault['wanted'] === 'private' ? 'to_private' : 'to_shared';
      const happened = truth.conversions.some(
        (t) => t.origin === 'implicit' && t.gpa === fault['gpa'] && t.direction === direction,
      );
      expect(happened, JSON.stringify(fault)).toBe(true);
    }
    const blamed = told.finding.filter((f) => f['verdict'] === 'fail').map((f) => String(f['rule']));
    expect(blamed.filter((rule) => !truth.allowed_findings.includes(rule))).toEqual([]);
    expect(told.vm).toHaveLength(1);
    expect(told.reboot).toEqual([]);
  };

  it.each([0, 1, 2])('text %i: nothing is wrong with it as it is', async (text) => {
    const told = await analyse(texts[text]!.join('\n'));
    check(told);
    expect(told.conversion.length).toBeGreaterThan(30);
  });

  it.each(Array.from({ length: 30 }, (_, seed) => seed))('seed %i: no claim of what did not happen', async (seed) => {
    const share = [0.02, 0.1, 0.3, 0.6][seed % 4]!;
    const longest = [3, 20, 200][Math.floor(seed / 4) % 3]!;
    check(await analyse(withLosses(texts[seed % texts.length]!, seed, share, longest)));
  });
});
