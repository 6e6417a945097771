import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { Command } from 'commander';
import { TraceError } from '../../base/errors.js';
import { loadRules } from '../../replay/rules.js';
import { judgeTrace, type CheckReport, type TraceResult } from '../../report/check/judge.js';
import { parseCheckSpec, type CheckSpec, type TraceSpec } from '../../report/check/spec.js';
import { renderCheckJson, renderCheckText } from '../../report/check/text.js';
import { globPattern } from '../../report/events/read.js';
import { renderJunit } from '../../report/junit/index.js';
import { readLatency } from '../../report/latency.js';
import { readAnalysis } from '../../report/model.js';
import type { Cli } from '../command.js';
import { readRuleSettings, type RuleSettings } from '../config.js';
import { addExamples, addInputOptions, addOutputOptions, addRuleOptions } from '../options.js';
import type { InputOptions, OutputOptions, RuleOptions } from '../options.js';
import { emit, openTarget, reasonOf, type Target } from '../output.js';
import { withSession } from '../session.js';
import { hasColor, painter } from '../style.js';
import { didYouMean } from '../suggest.js';

interface CheckOptions extends InputOptions, OutputOptions, RuleOptions {
  readonly junit?: string;
  readonly list?: boolean;
  readonly filter?: string;
}

/** `check`: the CI gate. Exit status 1 where the spec is not met, 2 where it is wrong, 3 where a trace cannot be read. */
export function buildCheck(cli: Cli): Command {
  const command = new Command('check')
    .summary('hold traces against a spec (CI)')
    .description('Checks that traces show what a spec expects of them, and nothing else.')
    .argument('<spec>', 'YAML or JSON (schema/check.schema.json); paths in it are relative to its folder')
    .optionsGroup('Selection:')
    .option('--list', 'list the traces of the spec and check nothing')
    .option('--filter <glob>', 'check only the traces whose name matches')
    .optionsGroup('Reports:')
    .option('--junit <file>', 'write JUnit XML: one suite a trace, one case an expectation');
  addOutputOptions(command, ['text', 'json']);
  addInputOptions(command);
  addRuleOptions(command);
  addExamples(command, [
    ['check traces.check.yaml --junit junit.xml', 'in CI: a readable result, and one for the CI system'],
    ['check traces.check.yaml --filter "stalls*"', 'one trace of it'],
  ]);
  return command.action(async (path: string, options: CheckOptions) => {
    await check(cli, path, options);
  });
}

async function check(cli: Cli, path: string, options: CheckOptions): Promise<void> {
  const settings = await readRuleSettings(options);
  const rules = loadRules(settings.dirs);
  const parameters = new Map(rules.map((rule) => [rule.name, rule.params.map((param) => param.name)]));
  const spec = parseCheckSpec(path, await readSpec(path), { rules: parameters, suggest: didYouMean });
  const judged = [...parameters.keys()].filter((rule) => isSelected(rule, settings));
  const traces = selectTraces(spec, options.filter);
  if (options.list) {
    const lines = traces.map(
      (trace) => `${trace.name}${trace.optional ? '  (optional)' : ''}  ${trace.paths.join(' ')}\n`,
    );
    await emit(options.output, cli.io, () => lines);
    return;
  }
  const junit = options.junit === undefined ? null : await openTarget(options.junit, cli.io);
  try {
    const results: TraceResult[] = [];
    for (const trace of traces) {
      results.push(await checkTrace(cli, trace, { folder: dirname(path), options, settings, rules: judged }));
    }
    await report(cli, { spec: path, traces: results }, options, junit);
  } catch (error) {
    await junit?.abandon();
    throw error;
  }
}

function isSelected(rule: string, { select, ignore }: RuleSettings): boolean {
  return (select.length === 0 || select.includes(rule)) && !ignore.includes(rule);
}

async function readSpec(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new TraceError('spec', `${path}: cannot be read: ${reasonOf(error)}`, { input: path, cause: error });
  }
}

function selectTraces(spec: CheckSpec, filter: string | undefined): readonly TraceSpec[] {
  if (filter === undefined) return spec.traces;
  const pattern = globPattern(filter);
  const traces = spec.traces.filter((trace) => pattern.test(trace.name));
  if (traces.length > 0) return traces;
  const hint = didYouMean(
    filter,
    spec.traces.map((trace) => trace.name),
  );
  throw new TraceError('usage', `--filter ${filter}: no trace of the spec has such a name`, { hint });
}

interface Setting {
  readonly folder: string;
  readonly options: CheckOptions;
  readonly settings: RuleSettings;
  readonly rules: readonly string[];
}

async function checkTrace(cli: Cli, trace: TraceSpec, setting: Setting): Promise<TraceResult> {
  const { folder, options, settings, rules } = setting;
  const paths = trace.paths.map((path) => (isAbsolute(path) ? path : join(folder, path)));
  const missing = paths.filter((path) => !existsSync(path));
  if (missing.length > 0 && trace.optional) return unjudged(trace, 'skip', 'not there (optional)');
  const until: RuleSettings = { ...settings, params: new Map([...settings.params, ...trace.params]) };
  try {
    return await withSession(cli, paths, { ...options, until }, async (store) => {
      const analysis = await readAnalysis(store);
      const needsLatency = trace.latency.length > 0;
      const latency = needsLatency ? await readLatency(store, { by: ['direction'], slowest: 20 }) : null;
      return judgeTrace(trace, analysis, latency, rules);
    });
  } catch (error) {
    if (!(error instanceof TraceError) || !isUnreadable(error)) throw error;
    return unjudged(trace, 'unreadable', error.message);
  }
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

function unjudged(trace: TraceSpec, status: 'skip' | 'unreadable', reason: string): TraceResult {
  return { name: trace.name, paths: trace.paths, status, reason, cases: [] };
}

async function report(cli: Cli, result: CheckReport, options: CheckOptions, junit: Target | null): Promise<void> {
  await junit?.write(renderJunit(result));
  await junit?.finish();
  const color = hasColor(cli.io.stdout, cli.io.env, options.color && options.output === undefined);
  const written = options.junit === undefined || options.junit === '-' ? [] : [options.junit];
  const chunks =
    options.format === 'json' ? [renderCheckJson(result)] : renderCheckText(result, painter(color), written);
  await emit(options.output, cli.io, () => chunks);
  const statuses = new Set(result.traces.map((trace) => trace.status));
  cli.status = statuses.has('unreadable') ? 3 : statuses.has('fail') ? 1 : 0;
}
