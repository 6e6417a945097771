/** What really happened, in the form of the captures' truth.json. Times in ns of the trace's clock, sizes and addresses in bytes. */
import { ENOMEM } from './calls.js';
import type { SimulateOptions } from './options.js';

export interface Attempt {
  readonly start_ns: number;
  readonly end_ns: number;
  /** Positive; 0 = done. */
  readonly errno: number;
  readonly error_offset: number | null;
}

export type Direction = 'to_private' | 'to_shared';

export interface Conversion {
  readonly vm: string;
  readonly vcpu: number | null;
  readonly tid: number;
  readonly gmem: string | null;
  readonly gpa: number;
  readonly offset: number | null;
  readonly size: number;
  readonly direction: Direction;
  readonly origin: 'explicit' | 'implicit' | 'vmm';
  /** How it was asked for (captures/README-sim.md). */
  readonly mechanism: string;
  readonly requested_ns: number;
  /** null where the flow has no ioctl. */
  attempts: Attempt[] | null;
  chunks: number;
  outcome: 'done' | 'noop' | 'refused' | 'failed' | 'pending';
  errno: number | null;
  ended_ns: number | null;
  resumed_ns: number | null;
  exit_ns: number | null;
  mapgpa_calls?: number;
  batch?: string;
  case?: string;
  exits?: number;
  /** Longest time that the guest stood still for it, ns; for the findings, not written. */
  stopNs?: number;
}

export interface TruthVm {
  readonly id: string;
  readonly platform: string;
  readonly pid: number;
  readonly comm: string;
  readonly vcpus: { readonly index: number; readonly tid: number; readonly comm: string }[];
  readonly gmems: {
    readonly id: string;
    readonly inode: number;
    readonly size: number;
    readonly bindings: {
      readonly slot: number;
      readonly gpa: number;
      readonly offset: number;
      readonly size: number;
    }[];
  }[];
}

export interface Pin {
  readonly vm: string;
  readonly gmem: string;
  readonly offset: number;
  readonly size: number;
  readonly how: string;
  readonly tid: number;
  readonly from_ns: number;
  to_ns: number | null;
}

export interface Finding {
  readonly rule: string;
  readonly vm: string;
  readonly about: string;
}

export interface Truth {
  readonly vms: TruthVm[];
  readonly conversions: Conversion[];
  readonly memory_faults: {
    readonly vm: string;
    readonly vcpu: number;
    readonly gpa: number;
    readonly size: number;
    readonly private: boolean;
    readonly t_ns: number;
  }[];
  readonly punches: {
    readonly vm: string;
    readonly gmem: string;
    readonly offset: number;
    readonly size: number;
    readonly start_ns: number;
    readonly end_ns: number;
    readonly errno: number;
  }[];
  readonly reboots: {
    readonly vm: string;
    readonly t_ns: number;
    readonly reset: boolean;
    readonly how: string;
    faults: number;
  }[];
  readonly pins: Pin[];
  /** VMs whose process ended before the trace did; for the findings, not written. */
  readonly ended: string[];
}

export function emptyTruth(): Truth {
  return { vms: [], conversions: [], memory_faults: [], punches: [], reboots: [], pins: [], ended: [] };
}

/** Rules whose findings a healthy run may show, too: what they count is the guest's own habit. */
const HABITS = ['implicit-storm', 'small-conversions', 'conversion-ping-pong'];

const MS = 1_000_000;

/**
 * Findings that the default thresholds of DESIGN chapter 6 ask for. What lies near a threshold is allowed instead: neither
 * asked for nor held against an answer.
 */
export function judge(
  truth: Truth,
  options: SimulateOptions,
  hasLosses: boolean,
): { expected: Finding[]; allowed: string[] } {
  const expected: Finding[] = [];
  const allowed = new Set(HABITS);
  if (hasLosses) allowed.add('lost-events');
  judgePins(truth, options, { expected, allowed });
  for (const conversion of truth.conversions) judgeConversion(conversion, { expected, allowed });
  if (wishesAgain(truth.conversions)) allowed.add('conversion-retry-loop');
  for (const reboot of truth.reboots) {
    if (reboot.faults >= 24) {
      expected.push({ rule: 'reboot-memory-faults', vm: reboot.vm, about: `${reboot.faults} faults after the reboot` });
    } else if (reboot.faults > 8) allowed.add('reboot-memory-faults');
  }
  return { expected: unique(expected), allowed: [...allowed].sort() };
}

/**
 * A reference that is never dropped and stood in the way of a conversion; it shows by its own events only. Where the trace
 * ends before the process does, it may be dropped yet.
 */
function judgePins(
  { pins, conversions, ended }: Truth,
  { sources, mechanism }: SimulateOptions,
  { expected, allowed }: { readonly expected: Finding[]; readonly allowed: Set<string> },
): void {
  for (const pin of pins) {
    if (pin.to_ns !== null) continue;
    const isMet = conversions.some(
      ({ vm, gmem, offset, size, outcome }) =>
        vm === pin.vm &&
        gmem === pin.gmem &&
        outcome !== 'done' &&
        offset !== null &&
        pin.offset >= offset &&
        pin.offset < offset + size,
    );
    const about = `offset 0x${pin.offset.toString(16)}`;
    if (isMet && ended.includes(pin.vm) && sources.includes('page_ref') && mechanism !== 'vcpu-run') {
      expected.push({ rule: 'refcount-leak', vm: pin.vm, about });
    } else allowed.add('refcount-leak');
  }
}

/** Chance has a guest ask again for what was refused: two requests in vain are a loop on some platforms. */
function wishesAgain(conversions: readonly Conversion[]): boolean {
  const vain = conversions.filter(({ outcome }) => outcome === 'refused' || outcome === 'failed');
  return new Set(vain.map(({ vm, gpa, direction }) => `${vm} ${gpa} ${direction}`)).size < vain.length;
}

function judgeConversion(
  conversion: Conversion,
  { expected, allowed }: { readonly expected: Finding[]; readonly allowed: Set<string> },
): void {
  const { vm, stopNs = 0 } = conversion;
  const where = `${conversion.direction} gpa 0x${conversion.gpa.toString(16)}`;
  const isDone = conversion.outcome === 'done';
  if (isDone && stopNs > 150 * MS) {
    expected.push({ rule: 'conversion-stall', vm, about: `${where} took ${Math.round(stopNs / MS)} ms` });
  } else if (stopNs > 7 * MS) allowed.add('conversion-stall');
  const fails = conversion.attempts?.filter(({ errno }) => errno !== 0) ?? [];
  const tries = conversion.attempts === null ? (conversion.exits ?? 1) - 1 : fails.length;
  // two failures for lack of memory are a loop already
  const [few, many] = fails.every(({ errno }) => errno === ENOMEM) && fails.length > 0 ? [1, 2] : [6, 11];
  if (tries > many) expected.push({ rule: 'conversion-retry-loop', vm, about: `${where}: ${tries} tries in vain` });
  else if (tries > few) allowed.add('conversion-retry-loop');
  if (conversion.outcome === 'pending' && conversion.attempts?.length === 0 && conversion.exit_ns !== null) {
    expected.push({ rule: 'conversion-never-completed', vm, about: where });
  } else if (conversion.outcome === 'pending' || conversion.outcome === 'failed') {
    allowed.add('conversion-never-completed');
  }
}

function unique(findings: readonly Finding[]): Finding[] {
  const seen = new Set<string>();
  return findings.filter(({ rule, vm }) => !seen.has(`${rule}/${vm}`) && seen.add(`${rule}/${vm}`));
}
