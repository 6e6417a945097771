/** Simulated runs as recordings that an answer can be held against. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { captureOf, completeOptions, simulate, textLines, truthOf, writeTraceDat } from '../../src/simulate/index.js';
import type { EventSource, Mechanism, Platform, SimulatedRun, SimulateOptions } from '../../src/simulate/index.js';
import { isArmPlatform, MECHANISMS_OF, SOURCES } from '../../src/simulate/options.js';
import { makeRandom } from '../../src/simulate/random.js';
import { answerTo } from '../support/answer.js';
import type { AnswerHolder } from '../support/answer.js';
import type { Carried, Recording, Truth } from '../support/capture.js';
import { holdAgainstTruth } from '../support/truth.js';
import type { Verdict } from '../support/truth.js';
import { noteRight, noteWrong } from '../support/verdict.js';

/** Every platform with every mechanism that it can have. */
export const COMBINATIONS: readonly (readonly [Platform, Mechanism])[] = Object.entries(MECHANISMS_OF).flatMap(
  ([platform, mechanisms]) => mechanisms.map((mechanism) => [platform as Platform, mechanism] as const),
);

/** Options that a seed decides: how many VMs, what goes wrong, what is recorded besides. */
export function optionsOf(platform: Platform, mechanism: Mechanism, seed: number): SimulateOptions {
  const random = makeRandom(seed, 'options');
  const isInPlace = mechanism !== 'vm-attributes';
  return completeOptions({
    platform,
    mechanism,
    seed,
    vms: random.pick([1, 1, 2, 3]),
    vcpus: random.int(1, 3),
    conversions: random.int(10, 40),
    memory: random.pick([64, 256, 1024, 6144]) * 2 ** 20,
    stalls: random.chance(0.3) ? 1 : 0,
    retries: random.chance(0.4) ? random.int(1, 3) : 0,
    refusals: mechanism !== 'vcpu-run' && random.chance(0.4) ? random.int(1, 3) : 0,
    leaks: isInPlace && random.chance(0.15) ? 1 : 0,
    reboots: random.chance(0.3) ? random.int(1, 2) : 0,
    reset: random.chance(0.5),
    implicit: random.pick([0, 0.2, 0.5]),
    noise: random.int(0, 6),
  });
}

/** A run in which everything goes wrong that its platform and mechanism allow: what the rules are for. */
export function troubledOptionsOf(platform: Platform, mechanism: Mechanism, seed: number): SimulateOptions {
  const random = makeRandom(seed, 'trouble');
  const isArm = isArmPlatform(platform);
  // a VMM that hangs reboots nobody
  const reboots = isArm || seed % 2 === 0 ? 1 : 0;
  return completeOptions({
    platform,
    mechanism,
    seed,
    vcpus: random.int(1, 3),
    conversions: random.int(30, 60),
    stalls: random.int(1, 3),
    retries: random.int(1, 3),
    refusals: mechanism === 'vcpu-run' ? 0 : random.int(1, 2),
    leaks: mechanism === 'vm-attributes' ? 0 : 1,
    // which range an SNP guest asked for shows only when it is tried
    unanswered: reboots === 0 && platform !== 'snp' ? 1 : 0,
    reboots,
    implicit: random.pick([0, 0.2]),
    noise: random.int(0, 5),
  });
}

/** Without these nobody could tell the VMs apart by more than their threads. */
const IDENTITY: ReadonlySet<EventSource> = new Set(['kvm', 'syscalls', 'sched']);

/** Rarer runs: many VMs and vCPUs, up to 1 TiB, several troubles of each kind, and recorders that were not told to record all. */
export function rareOptionsOf(platform: Platform, mechanism: Mechanism, seed: number): SimulateOptions {
  const random = makeRandom(seed, 'rare options');
  const usual = optionsOf(platform, mechanism, seed + 1_000_000);
  const isInPlace = mechanism !== 'vm-attributes';
  return completeOptions({
    ...usual,
    seed,
    vms: random.int(1, 6),
    vcpus: random.int(1, 8),
    memory: 2 ** random.int(24, platform === 'x86-sw' ? 37 : 40),
    conversions: random.int(5, 90),
    stalls: random.int(0, 2),
    retries: random.int(0, 6),
    refusals: mechanism === 'vcpu-run' ? 0 : random.int(0, 5),
    leaks: isInPlace ? random.int(0, 2) : 0,
    reboots: random.int(0, 4),
    sources: random.chance(0.5) ? SOURCES : SOURCES.filter((source) => IDENTITY.has(source) || random.chance(0.6)),
  });
}

/** What the run's text or trace.dat should be read as. */
export interface Simulated {
  readonly run: SimulatedRun;
  readonly recording: Recording;
}

/** Writes the run's text or trace.dat to a folder of its own, and has `use` look at it. */
export async function withRecording<T>(
  options: SimulateOptions,
  format: 'text' | 'dat',
  use: (simulated: Simulated) => Promise<T>,
): Promise<T> {
  const run = simulate(options);
  const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-simulate-'));
  try {
    const path = join(folder, format === 'text' ? 'trace.txt' : 'trace.dat');
    writeFileSync(path, format === 'text' ? [...textLines(run)].join('') : writeTraceDat(run));
    return await use({ run, recording: recordingOf(run, path) });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface CaptureFile {
  readonly time_tolerance_ns: number;
  readonly recordings: readonly { readonly carries: readonly Carried[] }[];
}

function recordingOf(run: SimulatedRun, path: string): Recording {
  // through JSON, as a reader of the files would get them
  const capture = JSON.parse(JSON.stringify(captureOf(run))) as CaptureFile;
  const truth = JSON.parse(JSON.stringify(truthOf(run))) as Truth;
  return {
    name: 'simulated',
    files: [path],
    carries: new Set(capture.recordings[0]!.carries),
    notFindings: [],
    allowedFindings: [],
    toleranceNs: capture.time_tolerance_ns,
    truth: run.losses.length > 0 ? asOneVm(truth) : truth,
  };
}

/**
 * Where events are lost, VMs of the answer cannot be told by their threads: tids are used again, and a guest that was made
 * anew keeps its own. Rows are then held against the conversions of all VMs, by range and time.
 */
function asOneVm(truth: Truth): Truth {
  const conversions = truth.conversions.map((conversion) => ({ ...conversion, vm: 'any' }));
  const expected_findings = (truth.expected_findings ?? []).map(({ rule }) => ({ rule }));
  return { ...truth, vms: truth.vms.map((vm) => ({ ...vm, id: 'any' })), conversions, expected_findings };
}

/** The replay's answer to the run, held against what really happened. */
export function judgeRun(options: SimulateOptions, format: 'text' | 'dat'): Promise<Verdict> {
  return withRecording(options, format, async ({ run, recording }) => {
    const answer = await answerTo(recording.files);
    const verdict = holdAgainstTruth(recording, answer);
    for (const holder of answer.holders) {
      const isPin = run.truth.pins.some(
        ({ tid, offset, size }) => tid === holder.tid && overlaps(holder, offset, size),
      );
      if (isPin) noteRight(verdict, 'findings');
      else
        noteWrong(verdict, 'findings', `holder: thread ${holder.tid} at offset ${holder.offset}, which held nothing`);
    }
    return verdict;
  });
}

function overlaps(holder: AnswerHolder, offset: number, size: number): boolean {
  return holder.offset < offset + size && offset < holder.offset + holder.size;
}

/** The run of a seed with nothing lost: the answer must be the truth. Half of the seeds are read as text, half as trace.dat. */
export function judgeWhole(platform: Platform, mechanism: Mechanism, seed: number): Promise<Verdict> {
  return judgeRun(optionsOf(platform, mechanism, seed), seed % 2 === 0 ? 'text' : 'dat');
}

/** The same of a rarer run. */
export function judgeRare(platform: Platform, mechanism: Mechanism, seed: number): Promise<Verdict> {
  return judgeRun(rareOptionsOf(platform, mechanism, seed), seed % 2 === 0 ? 'text' : 'dat');
}

/** How a recorder loses events: in stretches as a ring buffer does, a few at a time, and so that nothing marks the place. */
const LOSSES = {
  stretches: {},
  bursts: { lostBurst: 3 },
  unmarked: { lostBurst: 3, lostMarks: 'none' },
} as const satisfies Readonly<Record<string, Partial<SimulateOptions>>>;

/** The run of a seed with 2 to 34 % of its events lost: what is missing is missing, but nothing may be false. */
export function judgeLossy(
  platform: Platform,
  mechanism: Mechanism,
  seed: number,
  how: keyof typeof LOSSES = 'stretches',
): Promise<Verdict> {
  const options = { ...optionsOf(platform, mechanism, seed), lost: 0.02 + (seed % 5) * 0.08, ...LOSSES[how] };
  return judgeRun(options, seed % 2 === 0 ? 'dat' : 'text');
}
