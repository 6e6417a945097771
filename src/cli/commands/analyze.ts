import { Command, Option } from 'commander';
import { readAnalysis, SEVERITIES, unitOf, type Analysis, type Severity } from '../../report/index.js';
import type { BuildCommand, Cli } from '../command.js';
import { readRuleSettings } from '../config.js';
import {
  addExamples,
  addInputOptions,
  addLimitOption,
  addOutputOptions,
  addRuleOptions,
  parseCount,
  type InputOptions,
  type OutputOptions,
  type RuleOptions,
} from '../options.js';
import { emit } from '../output.js';
import { formatsOf, outputNamed, renderOptions } from '../rendering.js';

interface AnalyzeOptions extends OutputOptions, InputOptions, RuleOptions {
  readonly failOn?: Severity;
  readonly evidence?: number;
}

/** Whether a finding is at or above the level. */
function reaches(analysis: Analysis, level: Severity): boolean {
  const limit = SEVERITIES.indexOf(level);
  return analysis.findings.some((f) => f.verdict === 'fail' && SEVERITIES.indexOf(f.severity) <= limit);
}

/** What is for programs has no place to say that a limit cut it. */
function sayWhatIsLeftOut(cli: Cli, count: number, { format, limit, quiet }: AnalyzeOptions): void {
  const isSilent = format === 'json' || format === 'csv';
  if (!isSilent || quiet === true || limit === undefined || limit === 0 || count <= limit) return;
  cli.io.stderr.write(`note: showing ${limit} of ${count} findings; --limit 0 shows all\n`);
}

/** `analyze`: the whole answer. Status 1 only where --fail-on is given and reached. */
export const buildAnalyze: BuildCommand = (cli) => {
  const command = new Command('analyze')
    .summary('what happened: VMs, conversions, latency, faults, findings, and what could not be known')
    .description('Says what the trace is, who is in it, what conversions did, and what is wrong, with evidence.')
    .argument('<input...>', 'traces of one run, a folder saved by a capture, or one .duckdb');
  addOutputOptions(command, formatsOf('analysis')).option(
    '--evidence <n>',
    'events to show for each finding (default: 1 in text, all in json)',
    parseCount('--evidence'),
  );
  addLimitOption(command, 'findings (default: 25 in text, else all)');
  addInputOptions(command);
  addRuleOptions(command).addOption(
    new Option('--fail-on <severity>', 'exit with 1 when a finding is at least this bad').choices(SEVERITIES),
  );
  addExamples(command, [
    ['analyze trace.dat', 'the report'],
    ['analyze trace.dat --fail-on error --format markdown -o summary.md', 'for a CI job'],
    ['analyze host.txt hyp.txt --clock-offset 1500000', 'two files of one run, the second 1.5 ms behind'],
  ]);
  return command.action(async (inputs: string[], options: AnalyzeOptions) => {
    const { withSession } = await import('../session.js');
    const { settleRules } = await import('../judging.js');
    const rules = await readRuleSettings(options);
    const output = outputNamed(options.format, 'analysis');
    await emit(options.output, cli.io, async function* (target) {
      const analysis = await withSession(cli, inputs, { ...options, until: rules }, readAnalysis);
      const rendered = { rules: settleRules(rules).rules, unit: unitOf(analysis.traces) };
      yield* output(analysis, renderOptions(cli, target, options, rendered));
      sayWhatIsLeftOut(cli, analysis.findings.length, options);
      if (options.failOn !== undefined && reaches(analysis, options.failOn)) cli.status = 1;
    });
  });
};
