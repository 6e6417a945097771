import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Command, Option } from 'commander';
import { TraceError } from '../../base/errors.js';
import {
  compareSides,
  GROUPING_NAMES,
  parseGroupings,
  readSide,
  SEVERITIES,
  type Severity,
} from '../../report/index.js';
import type { DiffSide } from '../../report/index.js';
import type { BuildCommand, Cli } from '../command.js';
import { readRuleSettings, type RuleSettings } from '../config.js';
import { addExamples, addInputOptions, addOutputOptions, addRuleOptions } from '../options.js';
import type { InputOptions, OutputOptions, RuleOptions } from '../options.js';
import { checkStdin } from '../inputs.js';
import { emit } from '../output.js';
import { formatsOf, outputNamed, renderOptions } from '../rendering.js';

interface DiffOptions extends OutputOptions, InputOptions, RuleOptions {
  readonly withA: readonly string[];
  readonly withB: readonly string[];
  readonly by: string;
  readonly where?: string;
  readonly minChange: number;
  readonly alpha: number;
  readonly failOn: Severity;
  readonly failOnRegression?: boolean;
}

function parseShare(flag: string, limit: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && value > 0 && value < limit) return value;
    throw new TraceError('usage', `${flag} ${text}: not a number above 0 and below ${limit}`);
  };
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** `diff`: is B worse than A? Status 1 only where --fail-on-regression is given and it is. */
export const buildDiff: BuildCommand = (cli) => {
  const command = new Command('diff')
    .summary('two traces side by side: what got worse, beyond noise')
    .description(
      'Compares latencies, counts and findings of two recordings: the change, and whether it is more than noise. What one of ' +
        'them cannot show is said. docs/diff.md defines the tests.',
    )
    .argument('<A>', 'the one to compare with: a trace, a folder saved by a capture, or a .duckdb')
    .argument('<B>', 'the other: is it worse?')
    .addOption(
      new Option('--with-a <file>', 'a further file of the run of A; may be repeated')
        .argParser(collect)
        .default([], 'none'),
    )
    .addOption(
      new Option('--with-b <file>', 'a further file of the run of B; may be repeated')
        .argParser(collect)
        .default([], 'none'),
    )
    .optionsGroup('Comparison:')
    .option('--by <groupings>', `groups of latencies, of ${GROUPING_NAMES.join(', ')}`, 'direction,origin,mechanism')
    .option('--where <sql>', 'only latencies of conversions that fit (as in `latency`)')
    .addOption(
      new Option('--min-change <percent>', 'smaller changes are none')
        .argParser(parseShare('--min-change', 1000))
        .default(10),
    )
    .addOption(
      new Option('--alpha <p>', 'chance of a false alarm over all tests')
        .argParser(parseShare('--alpha', 0.5))
        .default(0.05),
    )
    .addOption(
      new Option('--fail-on <severity>', 'a new finding from this severity on is a regression')
        .choices(SEVERITIES)
        .default('warning'),
    )
    .option('--fail-on-regression', 'exit with 1 when B is worse');
  addOutputOptions(command, formatsOf('diff'));
  addInputOptions(command);
  addRuleOptions(command);
  addExamples(command, [
    ['diff last-week.dat today.dat', 'what got worse, what got better'],
    ['diff base.duckdb new.dat --fail-on-regression --format markdown -o diff.md', 'for a CI job'],
    ['diff a.dat b.dat --with-a a.hyp.txt --with-b b.hyp.txt', 'runs of two files each'],
  ]);
  return command.action(async (a: string, b: string, options: DiffOptions) => diff(cli, [a, b], options));
};

async function diff(cli: Cli, [a, b]: readonly [string, string], options: DiffOptions): Promise<void> {
  const sides = [
    [a, ...options.withA],
    [b, ...options.withB],
  ] as const;
  checkStdin(sides.flat());
  const by = parseGroupings(options.by);
  const rules = await readRuleSettings(options);
  const output = outputNamed(options.format, 'diff');
  checkOffsets(options.clockOffset, sides.flat());
  await emit(options.output, cli.io, async function* (target) {
    const read = (inputs: readonly string[]): Promise<DiffSide> => openSide(cli, inputs, { options, rules, by });
    // One after the other: each run may need all the memory there is.
    const report = compareSides(await read(sides[0]), await read(sides[1]), {
      by,
      alpha: options.alpha,
      minChange: options.minChange / 100,
      failOn: options.failOn,
    });
    yield* output(report, renderOptions(cli, target, options));
    if (options.failOnRegression === true && report.regressions > 0) cli.status = 1;
  });
}

interface Opening {
  readonly options: DiffOptions;
  readonly rules: RuleSettings;
  readonly by: ReturnType<typeof parseGroupings>;
}

async function openSide(cli: Cli, inputs: readonly string[], { options, rules, by }: Opening): Promise<DiffSide> {
  const { withSession } = await import('../session.js');
  const clockOffset = options.clockOffset.filter((option) => inputs.some((input) => isAbout(option, input)));
  const wanted = { by, ...(options.where === undefined ? {} : { where: options.where }) };
  return withSession(cli, inputs, { ...options, clockOffset, until: rules }, (store) => readSide(store, wanted));
}

/** Whether `FILE=NS` names this input, by path or name, or a file in this folder. */
function isAbout(option: string, input: string): boolean {
  const name = option.slice(0, option.lastIndexOf('='));
  return (
    name === input || name === basename(input) || name.startsWith(join(input, '/')) || existsSync(join(input, name))
  );
}

function checkOffsets(options: readonly string[], inputs: readonly string[]): void {
  for (const option of options) {
    if (!option.includes('=')) {
      throw new TraceError('usage', `--clock-offset ${option}: with two runs it must name the file`, {
        hint: `like --clock-offset ${inputs.at(-1)!}=${option}`,
      });
    }
    if (!inputs.some((input) => isAbout(option, input))) {
      throw new TraceError('usage', `--clock-offset ${option}: no such input`);
    }
  }
}
