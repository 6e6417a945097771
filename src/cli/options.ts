/** Options that several commands share. Each command adds the groups that it needs. */
import { Option, type Command } from 'commander';
import { TraceError } from '../base/errors.js';

export interface OutputOptions {
  readonly format: string;
  readonly output?: string;
  readonly limit?: number;
  readonly color: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly debug?: boolean;
}

export interface InputOptions {
  readonly clock?: string;
  readonly clockOffset: readonly string[];
  readonly probes?: string;
  readonly threads?: number;
  readonly memory?: string;
}

export interface RuleOptions {
  readonly rules: readonly string[];
  readonly config?: string;
  readonly select: readonly string[];
  readonly ignore: readonly string[];
  readonly param: readonly string[];
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];
const collectList = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value.split(',').filter((word) => word !== ''),
];

/** An option that may be given more than once; `none` is what the help says of its default. */
function repeatable(flags: string, description: string, gather: typeof collect): Option {
  return new Option(flags, description).argParser(gather).default([], 'none');
}

/** A whole number that is not negative, as an option's value. Throws TraceError `usage` on anything else. */
export function parseCount(flag: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0) {
      throw new TraceError('usage', `${flag} ${text}: not a whole number from 0`);
    }
    return value;
  };
}

function parseThreads(text: string): number {
  const value = parseCount('--threads')(text);
  if (value < 1 || value > 1024) throw new TraceError('usage', `--threads ${text}: must be 1 to 1024`);
  return value;
}

function parseMemory(text: string): string {
  if (!/^\d+(\.\d+)?\s*([KMGT]i?B)$/i.test(text)) {
    throw new TraceError('usage', `--memory ${text}: not a size`, { hint: 'write it like 500MB or 2GB' });
  }
  return text;
}

/** --format, --output, --limit and what goes to the terminal. `formats`: the default first. */
export function addOutputOptions(command: Command, formats: readonly string[]): Command {
  return command
    .optionsGroup('Output:')
    .addOption(new Option('-f, --format <format>', 'how to write it').choices(formats).default(formats[0]))
    .option('-o, --output <file>', 'write to a file that appears when it is whole; - is standard output')
    .option('-q, --quiet', 'nothing but results and errors')
    .option('-v, --verbose', 'more detail, and one line a stage')
    .option('--no-color', 'no colour (NO_COLOR and FORCE_COLOR are heeded, too)')
    .addOption(new Option('--debug', 'show where in gmemtrace an error was raised'));
}

/** --limit, for commands that list; 0 lists all. */
export function addLimitOption(command: Command, what: string): Command {
  return command.option('--limit <n>', `show at most n ${what}; 0 shows all`, parseCount('--limit'));
}

/** Options that say how to read traces. */
export function addInputOptions(command: Command): Command {
  return command
    .optionsGroup('Input:')
    .option('--clock <name>', 'clock of a text trace, which does not name its own (mono, boot, …)')
    .addOption(
      repeatable(
        '--clock-offset <[file=]ns>',
        'nanoseconds to add to the stamps of an input: FILE=NS, or NS for the only input; with several inputs the ' +
          'first bare NS is for the second input, the next for the third',
        collect,
      ),
    )
    .option('--probes <file>', 'definitions of the probes (probes.txt, kprobe_events), where the trace has none')
    .option('--threads <n>', 'threads of the database (default: all cores)', parseThreads)
    .option('--memory <size>', 'memory limit of the database, like 500MB', parseMemory);
}

/** Options that say which rules judge, and how. */
export function addRuleOptions(command: Command): Command {
  return command
    .optionsGroup('Rules:')
    .addOption(repeatable('--rules <dir>', 'folder with further rules (*.sql); may be repeated', collect))
    .option('--config <file>', 'configuration (default: gmemtrace.config.json or .yaml in the working directory)')
    .addOption(repeatable('--select <rules>', 'judge by these rules only (comma list)', collectList))
    .addOption(repeatable('--ignore <rules>', 'leave these rules out (comma list)', collectList))
    .addOption(repeatable('--param <rule.name=value>', 'set a parameter of a rule; may be repeated', collect));
}

/** Adds examples at the end of a command's help. */
export function addExamples(command: Command, examples: readonly (readonly [line: string, what: string])[]): Command {
  const lines = examples.map(([line, what]) => `  $ gmemtrace ${line}\n      ${what}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}\n`);
}
