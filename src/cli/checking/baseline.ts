/** The baseline file of a spec. */
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { TraceError } from '../../base/errors.js';
import type { Baseline } from '../../report/check/baseline.js';
import { parseBaseline, renderBaseline } from '../../report/check/baseline-file.js';
import type { CheckSpec } from '../../report/check/spec-types.js';
import type { CliIo } from '../command.js';
import { emit, reasonOf } from '../output.js';
import type { Checked } from './trace.js';

/** Where the baseline of a spec lies; null where the spec names none. */
export function baselinePath(spec: CheckSpec): string | null {
  if (spec.baseline === null) return null;
  return isAbsolute(spec.baseline) ? spec.baseline : join(dirname(spec.path), spec.baseline);
}

/** Reads a baseline. `mayLack`: one that is not there has no entries. Throws TraceError('spec'). */
export async function readBaseline(path: string, mayLack: boolean): Promise<Baseline> {
  try {
    return parseBaseline(path, await readFile(path, 'utf8'));
  } catch (error) {
    if (error instanceof TraceError) throw error;
    if (mayLack && (error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    const hint = 'check --update-baseline writes it';
    throw new TraceError('spec', `${path}: cannot be read: ${reasonOf(error)}`, { input: path, cause: error, hint });
  }
}

/**
 * Writes the entries of the traces that were checked over those of before. Traces that were not checked this time or
 * could not be read keep theirs; what the spec does not name any more goes.
 */
export async function writeBaseline(path: string, { spec, before, results, io }: BaselineUpdate): Promise<void> {
  const now = new Map(results.flatMap(({ result, entry }) => (entry === null ? [] : [[result.name, entry] as const])));
  const entries = spec.traces.flatMap(({ name, baseline }) => {
    const entry = baseline ? (now.get(name) ?? before.get(name)) : undefined;
    return entry === undefined ? [] : [[name, entry] as const];
  });
  await emit(path, io, () => [renderBaseline(new Map(entries))]);
}

export interface BaselineUpdate {
  readonly spec: CheckSpec;
  readonly before: Baseline;
  readonly results: readonly Checked[];
  readonly io: CliIo;
}
