/** A synthetic run of confidential VMs and everything that really happened in it (docs/simulate.md). */
import { makeEventSet } from './event-set.js';
import type { EventDefinition } from './event-set.js';
import { emit, makeHost, runHost, startTask } from './host.js';
import type { SimEvent } from './host.js';
import { loseEvents } from './lose.js';
import type { Loss } from './lose.js';
import type { World } from './model.js';
import { startNoise } from './noise.js';
import type { SimulateOptions } from './options.js';
import { planVms } from './plan.js';
import { makeRandom } from './random.js';
import { emptyTruth } from './truth.js';
import type { Truth } from './truth.js';

export { completeOptions, DEFAULT_OPTIONS, LOSS_MARKS, MECHANISMS, PLATFORMS, SOURCES } from './options.js';
export type { EventSource, LossMarks, Mechanism, Platform, SimulateOptions } from './options.js';
export { captureOf, truthOf } from './write-truth.js';
export { writeProbeDefinitions } from './probes.js';
export { textLines } from './text.js';
export { writeTraceDat } from './trace-dat.js';

/** What was recorded, and what was. */
export interface SimulatedRun {
  readonly options: SimulateOptions;
  readonly definitions: readonly EventDefinition[];
  readonly cpus: number;
  /** In order of time; those of one CPU have stamps that grow. */
  readonly events: readonly SimEvent[];
  /** Stretches whose events are not in `events`. */
  readonly losses: readonly Loss[];
  readonly truth: Truth;
}

/** Longest simulated time, ns: a run that takes longer is cut there. */
const LONGEST_NS = 3_600e9;

/** Simulates a run; the same options give the same run. */
export function simulate(options: SimulateOptions): SimulatedRun {
  const random = makeRandom(options.seed, `${options.platform}/${options.mechanism}`);
  const threads = options.vms * (options.vcpus + 1) + options.noise;
  const cpus = Math.max(2, Math.min(64, random.chance(0.6) ? threads + 2 : Math.ceil(threads * 0.7)));
  const eventSet = makeEventSet(options.platform, options.sources, options.mechanism);
  const startNs = random.int(1_000, 40_000) * 1e9 + random.int(0, 999_999_999);
  const host = makeHost({ cpus, startNs, eventSet, random: random.fork('host') });
  const world: World = {
    host,
    options,
    random: random.fork('world'),
    truth: emptyTruth(),
    isArm: eventSet.isArm,
    isInPlace: options.mechanism !== 'vm-attributes',
    gmemDevice: random.int(12, 21),
    shmemDevice: random.int(22, 30),
    nextPid: random.int(900, 30_000),
    nextInode: random.int(1_000, 900_000),
    nextPfn: random.int(0x100000, 0x140000),
    nextPointer: (eventSet.isArm ? 0xffff000100efd000n : 0xffff88810c1d7000n) + BigInt(random.int(0, 0xfff)) * 0x1000n,
    freePids: [],
    vms: [],
  };
  startTask(host, { tid: world.nextPid - 1, tgid: world.nextPid - 1, comm: 'gmemtrace' }, function* (task) {
    yield* emit(task, 'print', { buf: `synthetic: written by gmemtrace simulate, seed ${options.seed}\n` });
  });
  startNoise(world, options.noise);
  planVms(world);
  runHost(host, startNs + LONGEST_NS);
  const { lost: share, lostBurst: longest } = options;
  const { kept, losses } = loseEvents(host.events, { cpus, share, longest, random: random.fork('lost') });
  return { options, definitions: eventSet.all, cpus, events: kept, losses, truth: world.truth };
}
