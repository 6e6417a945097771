import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { TraceError } from '../../base/errors.js';
import { renderCheckJson } from '../../report/check/json.js';
import { renderCheckMarkdown } from '../../report/check/markdown.js';
import type { CheckReport } from '../../report/check/result.js';
import { parseCheckSpec } from '../../report/check/spec.js';
import type { CheckSpec, TraceSpec } from '../../report/check/spec-types.js';
import { renderCheckText } from '../../report/check/text.js';
import { globPattern } from '../../report/events/read.js';
import { annotate, annotateError, ANNOTATIONS, openReports, wantsAnnotations } from '../checking/reports.js';
import type { ReportOptions } from '../checking/reports.js';
import { checkSpec, type SpecOptions } from '../checking/spec.js';
import type { Cli } from '../command.js';
import { readRuleSettings, type RuleSettings } from '../config.js';
import { knownRules, settleRules } from '../judging.js';
import { addExamples, addInputOptions, addOutputOptions, addRuleOptions, parseCount } from '../options.js';
import type { OutputOptions, RuleOptions } from '../options.js';
import { emit, reasonOf } from '../output.js';
import { outputNamed, renderOptions } from '../rendering.js';
import { hasColor, painter } from '../style.js';
import { didYouMean } from '../suggest.js';
import { readVersion } from '../version.js';

interface CheckOptions extends SpecOptions, OutputOptions, RuleOptions, ReportOptions {
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
    .addOption(
      new Option('--list', 'list the traces of the spec and check nothing').conflicts([
        'updateBaseline',
        'junit',
        'sarif',
        'summary',
      ]),
    )
    .option('--filter <glob>', 'check only the traces whose name matches')
    .option('--jobs <n>', 'check n traces at a time, each in memory of its own', parseJobs, 1)
    .option('--update-baseline', 'write the baseline of the spec anew, instead of comparing with it')
    .optionsGroup('Reports:')
    .option('--junit <file>', 'write JUnit XML: one suite a trace, one case an expectation')
    .option('--sarif <file>', 'write SARIF 2.1.0: what differs, at its line of the spec')
    .option('--summary <file>', 'add a Markdown summary to a file ($GITHUB_STEP_SUMMARY)')
    .addOption(
      new Option('--annotations <system>', 'mark what differs in the spec; auto: where GITHUB_ACTIONS is true')
        .choices(ANNOTATIONS)
        .default(ANNOTATIONS[0]),
    );
  addOutputOptions(command, ['text', 'json', 'markdown']);
  addInputOptions(command);
  addRuleOptions(command);
  addExamples(command, [
    [
      'check traces.check.yaml --junit junit.xml --sarif check.sarif',
      'in CI: a readable result, and files for the system',
    ],
    ['check traces.check.yaml --filter "stalls*"', 'one trace of it'],
    ['check traces.check.yaml --update-baseline', 'what the traces show now is what they shall show'],
  ]);
  return command.action(async (path: string, options: CheckOptions) => {
    await check(cli, path, options);
  });
}

function parseJobs(text: string): number {
  const jobs = parseCount('--jobs')(text);
  if (jobs < 1 || jobs > 256) throw new TraceError('usage', `--jobs ${text}: must be 1 to 256`);
  return jobs;
}

async function check(cli: Cli, path: string, options: CheckOptions): Promise<void> {
  const settings = await readRuleSettings(options);
  const spec = await readSpec(cli, path, { options, settings });
  const traces = selectTraces(spec, options.filter);
  if (options.list === true) return await list(cli, traces, options);
  const tool = { version: readVersion(), rules: settleRules(settings).rules };
  const reports = await openReports(cli.io, options, tool);
  try {
    const { results, written } = await checkSpec(cli, spec, { traces, options, settings });
    const result: CheckReport = { spec: path, traces: results.map((one) => one.result) };
    await reports.write(result);
    await show(cli, result, options, [...written, ...reports.names]);
  } catch (error) {
    await reports.abandon();
    throw error;
  }
}

/** What would be checked. */
async function list(cli: Cli, traces: readonly TraceSpec[], options: CheckOptions): Promise<void> {
  const rows = traces.map(({ name, optional, paths }) => [name, optional, paths.join(' ')]);
  const columns = ['name', 'optional', 'paths'].map((column) => ({ name: column, align: 'left' as const }));
  await emit(options.output, cli.io, (target) =>
    options.format === 'text'
      ? traces.map(({ name, optional, paths }) => `${name}${optional ? '  (optional)' : ''}  ${paths.join(' ')}\n`)
      : outputNamed(options.format, 'table')({ columns, rows }, renderOptions(cli, target, options)),
  );
}

interface Setting {
  readonly options: CheckOptions;
  readonly settings: RuleSettings;
}

async function readSpec(cli: Cli, path: string, { options, settings }: Setting): Promise<CheckSpec> {
  const rules = new Map(knownRules(settings).map((rule) => [rule.name, rule.params.map((param) => param.name)]));
  try {
    return parseCheckSpec(path, await readText(path), { rules, suggest: didYouMean });
  } catch (error) {
    if (error instanceof TraceError && wantsAnnotations(cli.io, options)) await annotateError(cli.io, path, error);
    throw error;
  }
}

async function readText(path: string): Promise<string> {
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

async function show(cli: Cli, result: CheckReport, options: CheckOptions, written: readonly string[]): Promise<void> {
  const color = hasColor(cli.io.stdout, cli.io.env, options.color && options.output === undefined);
  await emit(options.output, cli.io, () => {
    if (options.format === 'json') return [renderCheckJson(result)];
    if (options.format === 'markdown') return renderCheckMarkdown(result);
    return renderCheckText(result, painter(color), written);
  });
  if (wantsAnnotations(cli.io, options)) await annotate(cli.io, result);
  const statuses = new Set(result.traces.map((trace) => trace.status));
  cli.status = statuses.has('unreadable') ? 3 : statuses.has('fail') ? 1 : 0;
}
