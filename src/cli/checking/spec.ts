/** A whole spec: its traces and its baseline. */
import { dirname } from 'node:path';
import { TraceError } from '../../base/errors.js';
import type { CheckSpec, TraceSpec } from '../../report/check/spec-types.js';
import type { Cli } from '../command.js';
import type { RuleSettings } from '../config.js';
import type { InputOptions, OutputOptions } from '../options.js';
import { baselinePath, readBaseline, writeBaseline } from './baseline.js';
import { checkTraces } from './pool.js';
import type { Checked } from './trace.js';

export interface SpecOptions extends InputOptions, Pick<OutputOptions, 'quiet' | 'verbose'> {
  /** Traces to check at a time. */
  readonly jobs: number;
  readonly updateBaseline?: boolean;
}

/** What of a spec is checked, and how. */
export interface Selection {
  readonly traces: readonly TraceSpec[];
  readonly options: SpecOptions;
  readonly settings: RuleSettings;
}

/** Checks traces of a spec and keeps its baseline; `written` names it where it was written. Errors as those of checkTraces. */
export async function checkSpec(
  cli: Cli,
  spec: CheckSpec,
  { traces, options, settings }: Selection,
): Promise<{ readonly results: readonly Checked[]; readonly written: readonly string[] }> {
  const updatesBaseline = options.updateBaseline ?? false;
  const path = baselinePath(spec);
  if (updatesBaseline && path === null) {
    const hint = 'add a line like "baseline: traces.baseline.json" to it';
    throw new TraceError('usage', `--update-baseline: ${spec.path} names no baseline`, { hint });
  }
  const isCompared = traces.some((trace) => trace.baseline);
  const before = path !== null && isCompared ? await readBaseline(path, updatesBaseline) : new Map<string, never>();
  const jobs = traces.map((trace) => ({ trace, was: before.get(trace.name) ?? null }));
  const input = inputOptions(options);
  const setting = { folder: dirname(spec.path), options: input, settings, updatesBaseline };
  const results = await checkTraces(cli, jobs, setting, options.jobs);
  if (!updatesBaseline || path === null) return { results, written: [] };
  await writeBaseline(path, { spec, before, results, io: cli.io });
  return { results, written: [path] };
}

/** The part of the options that says how to read a trace. */
function inputOptions(options: SpecOptions): InputOptions & Pick<OutputOptions, 'quiet' | 'verbose'> {
  const { clock, clockOffset, probes, threads, memory, quiet, verbose } = options;
  const given = Object.entries({ clock, probes, threads, memory, quiet, verbose }).filter(([, v]) => v !== undefined);
  return { clockOffset, ...(Object.fromEntries(given) as Omit<InputOptions, 'clockOffset'>) };
}
