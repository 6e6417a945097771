/** A capture folder: recordings of one run (`capture.json`) and what really happened in it (`truth.json`). */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The captures that lie in the repository. */
export const FIXTURES = fileURLToPath(new URL('../../fixtures/', import.meta.url));
/** The whole collection; tests skip where it is not there. */
export const CAPTURES = fileURLToPath(new URL('../../../shared/captures/', import.meta.url));

/** What a recording holds, so what an answer can be asked for. */
export type Carried =
  'conversions' | 'attempts' | 'offsets' | 'error_offset' | 'faults' | 'reboots' | 'punches' | 'findings' | 'times';

export interface Recording {
  readonly name: string;
  readonly files: readonly string[];
  readonly carries: ReadonlySet<Carried>;
  /** Expected findings that it cannot show. */
  readonly notFindings: readonly string[];
  readonly allowedFindings: readonly string[];
  /** How far its clock may lie from that of the truth, ns. */
  readonly toleranceNs: number;
  readonly truth: Truth;
}

export interface TruthAttempt {
  readonly start_ns: number;
  readonly end_ns: number;
  /** Positive, 0 = success. */
  readonly errno: number;
  readonly error_offset: number | null;
}

export interface TruthConversion {
  readonly vm: number | string;
  readonly vcpu: number | null;
  readonly gpa: number;
  readonly offset: number | null;
  readonly size: number;
  readonly direction: 'to_private' | 'to_shared';
  readonly origin: string;
  readonly outcome: string;
  /** When the VMM saw the request. */
  readonly requested_ns: number;
  /** When the guest was told, where only that is known. */
  readonly completed_ns?: number;
  readonly ended_ns?: number | null;
  /** Just before the VMM ran the vCPU again. */
  readonly resumed_ns?: number | null;
  readonly attempts?: readonly TruthAttempt[] | null;
}

export interface Truth {
  readonly vms: readonly {
    readonly id: number | string;
    readonly pid: number;
    readonly vcpus: readonly { readonly index: number; readonly tid: number }[];
  }[];
  readonly conversions: readonly TruthConversion[];
  readonly memory_faults?: readonly { readonly t_ns: number }[];
  readonly punches?: readonly { readonly t_ns?: number; readonly start_ns?: number }[];
  readonly reboots?: readonly { readonly vm: number | string; readonly t_ns: number }[];
  readonly expected_findings?: readonly { readonly rule: string; readonly vm?: number | string }[];
  readonly allowed_findings?: readonly string[];
}

interface CaptureJson {
  readonly time_tolerance_ns?: number;
  readonly recordings: readonly {
    readonly name: string;
    readonly files: readonly string[];
    readonly carries?: readonly Carried[];
    readonly truth?: string;
    readonly time_tolerance_ns?: number;
    readonly not_findings?: readonly string[];
    readonly allowed_findings?: readonly string[];
  }[];
}

const DEFAULT_TOLERANCE_NS = 5_000_000;

export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}

/** Names of the folders that have a truth, of those whose name starts with `prefix`. */
export function captureNames(root: string, prefix = ''): readonly string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .filter((name) => name.startsWith(prefix) && existsSync(join(root, name, 'capture.json')))
    .sort();
}

/** The recordings of a capture, files with their folder. */
export function readRecordings(root: string, capture: string): readonly Recording[] {
  const folder = join(root, capture);
  const { recordings, time_tolerance_ns } = readJson<CaptureJson>(join(folder, 'capture.json'));
  return recordings.map((recording) => ({
    name: recording.name,
    files: recording.files.map((file) => join(folder, file)),
    carries: new Set(recording.carries ?? []),
    notFindings: recording.not_findings ?? [],
    allowedFindings: recording.allowed_findings ?? [],
    toleranceNs: recording.time_tolerance_ns ?? time_tolerance_ns ?? DEFAULT_TOLERANCE_NS,
    truth: readJson<Truth>(join(folder, recording.truth ?? 'truth.json')),
  }));
}
