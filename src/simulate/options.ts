/** What a simulated run is made of. */
import { TraceError } from '../base/errors.js';

export const PLATFORMS = ['x86-sw', 'tdx', 'snp', 'pkvm', 'pkvm-unshare', 'cca'] as const;
export type Platform = (typeof PLATFORMS)[number];

export function isArmPlatform(platform: Platform): boolean {
  return platform === 'pkvm' || platform === 'pkvm-unshare' || platform === 'cca';
}

/** A guest says with each access which view of memory it means; pKVM's has one only. */
export function hasViews(platform: Platform): boolean {
  return platform !== 'pkvm' && platform !== 'pkvm-unshare';
}

/** The VMM cannot set the registers of a guest whose state is encrypted: it reboots as a new VM (reference 03). */
export function rebootsAsNewVm(platform: Platform): boolean {
  return platform === 'tdx' || platform === 'snp' || platform === 'cca';
}

export const MECHANISMS = ['vm-attributes', 'gmem-attributes', 'gmem-convert', 'vcpu-run'] as const;
export type Mechanism = (typeof MECHANISMS)[number];

/** Groups of events that a recorder can be told to record. */
export const SOURCES = ['kvm', 'kvmmmu', 'syscalls', 'filemap', 'probes', 'page_ref', 'sched'] as const;
export type EventSource = (typeof SOURCES)[number];

/** Which mechanisms a platform can have (reference 02): the first is its default. */
export const MECHANISMS_OF: Readonly<Record<Platform, readonly Mechanism[]>> = {
  'x86-sw': ['vm-attributes', 'gmem-attributes', 'gmem-convert'],
  tdx: ['vm-attributes', 'gmem-attributes', 'gmem-convert'],
  snp: ['vm-attributes', 'gmem-attributes', 'gmem-convert'],
  pkvm: ['gmem-attributes'],
  'pkvm-unshare': ['vcpu-run'],
  // series v15, and v14 and before it (reference 02 §9)
  cca: ['gmem-attributes', 'vm-attributes'],
};

/** What a recorder says of events that it lost: how many, only that some are missing, or nothing at that place. */
export const LOSS_MARKS = ['counted', 'bare', 'none'] as const;
export type LossMarks = (typeof LOSS_MARKS)[number];

export interface SimulateOptions {
  readonly platform: Platform;
  readonly mechanism: Mechanism;
  readonly seed: number;
  /** VMs of the whole run; some share a process, some come after another has ended. */
  readonly vms: number;
  /** vCPUs of each VM. */
  readonly vcpus: number;
  /** Conversions that guests wish for, over all VMs; the VMM's own come on top. */
  readonly conversions: number;
  /** Memory of each VM, bytes. */
  readonly memory: number;
  /** Conversions that wait long in the VMM. */
  readonly stalls: number;
  /** Conversions that meet a reference, or ask again, and come through. */
  readonly retries: number;
  /** Conversions that the VMM or the kernel does not do. */
  readonly refusals: number;
  /** References that are never dropped and stand in the way of a conversion. */
  readonly leaks: number;
  /** Requests that the VMM never answers. */
  readonly unanswered: number;
  readonly reboots: number;
  /** Whether the VMM makes all memory private again at a reboot. */
  readonly reset: boolean;
  /** Share of the wishes that are mere touches of the other view, 0 to 1. */
  readonly implicit: number;
  /** Share of the events that recorders lose, 0 to 1. */
  readonly lost: number;
  /** Longest stretch of them, events of one CPU. */
  readonly lostBurst: number;
  readonly lostMarks: LossMarks;
  /** Tasks that have nothing to do with VMs. */
  readonly noise: number;
  readonly sources: readonly EventSource[];
}

/** Everything that was not asked for otherwise. */
export const DEFAULT_OPTIONS: SimulateOptions = {
  platform: 'tdx',
  mechanism: 'vm-attributes',
  seed: 1,
  vms: 1,
  vcpus: 2,
  conversions: 40,
  memory: 256 * 2 ** 20,
  stalls: 0,
  retries: 0,
  refusals: 0,
  leaks: 0,
  unanswered: 0,
  reboots: 0,
  reset: false,
  implicit: 0.2,
  lost: 0,
  lostBurst: 160,
  lostMarks: 'counted',
  noise: 2,
  sources: SOURCES,
};

/** Defaults for what is not given. Throws TraceError('usage') for a platform that has no such mechanism, or a number out of reach. */
export function completeOptions(given: Partial<SimulateOptions>): SimulateOptions {
  const platform = given.platform ?? DEFAULT_OPTIONS.platform;
  const mechanism = given.mechanism ?? MECHANISMS_OF[platform][0]!;
  if (!MECHANISMS_OF[platform].includes(mechanism)) {
    throw new TraceError('usage', `${platform} has no mechanism ${mechanism}`, {
      hint: `${platform} can have ${MECHANISMS_OF[platform].join(', ')}`,
    });
  }
  const options = { ...DEFAULT_OPTIONS, ...given, platform, mechanism };
  checkRange('--vms', options.vms, 1, 26);
  checkRange('--vcpus', options.vcpus, 1, 64);
  checkRange('--conversions', options.conversions, 0, 1_000_000);
  // the shared bit of a software-protected VM is bit 39: its memory lies below
  checkRange('--memory', options.memory, 16 * 2 ** 20, platform === 'x86-sw' ? 2 ** 37 : 2 ** 42);
  for (const name of ['stalls', 'retries', 'refusals', 'leaks', 'unanswered', 'reboots', 'noise'] as const) {
    checkRange(`--${name}`, options[name], 0, 100_000);
  }
  checkRange('--implicit', options.implicit, 0, 1);
  checkRange('--lost', options.lost, 0, 0.9);
  checkRange('--lost-burst', options.lostBurst, 1, 1_000_000);
  if (options.leaks > 0 && mechanism === 'vm-attributes') {
    throw new TraceError('usage', '--leaks: references hinder no conversion by VM attributes', {
      hint: 'take --mechanism gmem-attributes, gmem-convert or vcpu-run',
    });
  }
  if (options.refusals > 0 && mechanism === 'vcpu-run') {
    throw new TraceError('usage', '--refusals: with vcpu-run nobody is asked, so nobody refuses');
  }
  if (options.unanswered > 0 && (isArmPlatform(platform) || options.reboots > 0)) {
    throw new TraceError('usage', '--unanswered: only on x86, and in runs without reboots');
  }
  if (!options.sources.includes('kvm')) throw new TraceError('usage', '--sources without kvm shows no VM at all');
  return options;
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (value >= low && value <= high) return;
  throw new TraceError('usage', `${name} ${value}: only ${low} to ${high} can be simulated`);
}
