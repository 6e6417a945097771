/** One trace of a spec, from its files to the result. */
import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { TraceError } from '../../base/errors.js';
import { baselineEntryOf, compareBaseline, type BaselineEntry } from '../../report/check/baseline.js';
import { judgeTrace, type Observed } from '../../report/check/judge.js';
import type { TraceResult } from '../../report/check/result.js';
import type { TraceSpec } from '../../report/check/spec-types.js';
import { readLatency } from '../../report/latency.js';
import { readAnalysis } from '../../report/model.js';
import type { Cli } from '../command.js';
import type { RuleSettings } from '../config.js';
import { settleRules } from '../judging.js';
import type { InputOptions } from '../options.js';
import { withSession } from '../session.js';

/** What holds for all traces of a check. Plain data: it goes to other threads. */
export interface CheckSetting {
  /** Of the spec: paths in it are relative to it. */
  readonly folder: string;
  readonly options: InputOptions & { readonly quiet?: boolean; readonly verbose?: boolean };
  readonly settings: RuleSettings;
  /** Entries of a baseline are made anew and nothing is compared. */
  readonly updatesBaseline: boolean;
}

export interface CheckJob {
  readonly trace: TraceSpec;
  /** Its entry in the baseline. */
  readonly was: BaselineEntry | null;
}

export interface Checked {
  readonly result: TraceResult;
  /** What a baseline would say of it; null where none is asked for, or nothing could be read. */
  readonly entry: BaselineEntry | null;
}

/** Slowest conversions that are kept as evidence. */
const SLOWEST = 20;

/** Checks one trace. A trace that cannot be read is a result, not an error. Throws TraceError on wrong usage. */
export async function checkTrace(cli: Cli, { trace, was }: CheckJob, setting: CheckSetting): Promise<Checked> {
  const paths = trace.paths.map((path) => (isAbsolute(path) ? path : join(setting.folder, path)));
  const missing = paths.filter((path) => !existsSync(path));
  if (missing.length > 0 && trace.optional) return unjudged(trace, 'skip', 'not there (optional)');
  const until = settingsOf(trace, setting.settings);
  const rules = settleRules(until).rules.map((rule) => rule.name);
  try {
    return await withSession(cli, paths, { ...setting.options, until }, async (store) => {
      const needsLatency = trace.latency.length > 0 || trace.baseline;
      const latency = needsLatency ? await readLatency(store, { by: ['direction'], slowest: SLOWEST }) : null;
      return judgeObserved({ trace, was }, { analysis: await readAnalysis(store), latency, rules }, setting);
    });
  } catch (error) {
    if (!(error instanceof TraceError) || !isUnreadable(error)) throw error;
    return unjudged(trace, 'unreadable', reasonOf(error));
  }
}

/** Why a trace could not be read, with its file and position, in a line. */
function reasonOf({ message, place: { input, byteOffset, line, hint } }: TraceError): string {
  const at = byteOffset !== undefined ? ` (at byte ${byteOffset})` : line !== undefined ? ` (at line ${line})` : '';
  const named = input === undefined || message.startsWith(input) ? '' : `${input}: `;
  const [first = ''] = message.split('\n');
  return `${named}${first}${at}${hint === undefined ? '' : `; ${hint}`}`;
}

function judgeObserved({ trace, was }: CheckJob, observed: Observed, setting: CheckSetting): Checked {
  if (!trace.baseline) return { result: judgeTrace(trace, observed), entry: null };
  const entry = baselineEntryOf(trace, observed);
  const compared = setting.updatesBaseline ? [] : compareBaseline(trace, was, entry);
  return { result: judgeTrace(trace, observed, compared), entry };
}

/** The rules that judge a trace: --select of the run stands before the rules that the spec names; --ignore adds to its own. */
function settingsOf(trace: TraceSpec, settings: RuleSettings): RuleSettings {
  return {
    ...settings,
    select: settings.select.length > 0 ? settings.select : trace.rules,
    ignore: [...settings.ignore, ...trace.ignoredRules],
    params: new Map([...settings.params, ...trace.params]),
  };
}

function isUnreadable(error: TraceError): boolean {
  const codes: readonly string[] = [
    'not-found',
    'unknown-format',
    'truncated',
    'corrupt',
    'unsupported-version',
    'field-missing',
    'db',
  ];
  return codes.includes(error.code);
}

function unjudged(trace: TraceSpec, status: 'skip' | 'unreadable', reason: string): Checked {
  const { name, paths, place } = trace;
  return { result: { name, paths, place, status, reason, cases: [] }, entry: null };
}
