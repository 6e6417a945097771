import { existsSync } from 'node:fs';
import { Command, Option, type Argument } from 'commander';
import { TraceError } from '../base/errors.js';
import type { BuildCommand, Cli } from './command.js';
import { didYouMean } from './suggest.js';
import { hasColor, painter } from './style.js';
import { readVersion } from './version.js';

/** The verbs in the order of the help. A new one is a file in commands/ and a line here. */
const COMMANDS = {
  analyze: async () => (await import('./commands/analyze.js')).buildAnalyze,
  conversions: async () => (await import('./commands/conversions.js')).buildConversions,
  latency: async () => (await import('./commands/latency.js')).buildLatency,
  diff: async () => (await import('./commands/diff.js')).buildDiff,
  state: async () => (await import('./commands/state.js')).buildState,
  events: async () => (await import('./commands/events.js')).buildEvents,
  check: async () => (await import('./commands/check.js')).buildCheck,
  import: async () => (await import('./commands/import.js')).buildImport,
  sql: async () => (await import('./commands/sql.js')).buildSql,
  rules: async () => (await import('./commands/rules.js')).buildRules,
  simulate: async () => (await import('./commands/simulate.js')).buildSimulate,
} as const satisfies Readonly<Record<string, () => Promise<BuildCommand>>>;

type Verb = keyof typeof COMMANDS;

const VERBS = Object.keys(COMMANDS) as readonly Verb[];

const EXIT_HELP = `
Exit status:
    0  fine
    1  findings at or above --fail-on; a check whose spec is not met; a regression (diff)
    2  wrong usage, specification or configuration
    3  an input could not be read at all
    4  an internal error: please report it
  130  interrupted

Examples:
  $ gmemtrace analyze trace.dat
      what the trace is, who is in it, conversions, findings with their evidence
  $ gmemtrace latency trace.dat --by direction,size
      how long conversions take, and where the time goes
  $ gmemtrace analyze trace.dat hyp.trace.txt --format json --output result.json
      a pKVM host and its hypervisor buffer on one time axis, for another program

\`gmemtrace --help formats\` lists what can be read.
`;

/**
 * The command tree that `args` ask for, writing to the streams of `cli`; commander's exits come as exceptions. Loading
 * every verb's code would take longer than many a trace: only those are built that are named, all where none is.
 */
export async function buildProgram(cli: Cli, args: readonly string[]): Promise<Command> {
  const program = new Command('gmemtrace')
    .description(
      'Reads kernel traces of confidential VMs and tells why private/shared conversions were slow or failed.',
    )
    .usage('COMMAND INPUT... [options]')
    .option('-V, --version', 'print the version')
    .helpOption(false)
    // Options after a command are the command's own.
    .enablePositionalOptions()
    .addOption(new Option('-h, --help [topic]', 'this help, or that of a topic: formats'))
    .addHelpText('after', EXIT_HELP)
    .argument('[command]')
    .argument('[input...]')
    .allowUnknownOption()
    .action(async (word: string | undefined, _inputs: string[], options: ProgramOptions) => {
      await withoutCommand(program, cli, { word, ...options });
    });
  program.hook('preAction', async (_, command) => {
    if (command !== program) await (await import('./config.js')).applyDefaults(command);
  });
  const named = VERBS.filter((verb) => args.includes(verb));
  for (const verb of named.length > 0 ? named : VERBS) program.addCommand((await COMMANDS[verb]())(cli));
  for (const command of [program, ...program.commands]) configure(command, cli);
  return program;
}

/** Sends what commander writes to our streams, and turns its exits into exceptions. */
function configure(command: Command, { io: { stdout, stderr, env } }: Cli): void {
  const paint = painter(hasColor(stdout, env, true));
  command
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
      getOutHelpWidth: () => Math.min(stdout.columns ?? 80, 100),
      getErrHelpWidth: () => Math.min(stderr.columns ?? 80, 100),
    })
    .configureHelp({ styleTitle: (text) => paint('strong', text), visibleArguments: hideProgramArguments })
    .showHelpAfterError('(add --help for what there is)');
}

/** The words that the program itself takes only to say what is wrong with them stay out of its help. */
function hideProgramArguments(command: Command): Argument[] {
  return command.parent === null ? [] : [...command.registeredArguments];
}

interface ProgramOptions {
  readonly help?: string | true;
  readonly version?: boolean;
}

/** Everything that names no command: help, a topic, a file where a verb belongs, a typing error. */
async function withoutCommand(
  program: Command,
  cli: Cli,
  { word, help, version }: ProgramOptions & { readonly word: string | undefined },
): Promise<void> {
  if (version === true) return void cli.io.stdout.write(`${readVersion()}\n`);
  if (help === 'formats') return void cli.io.stdout.write(await formatsHelp());
  const names = program.commands.map((c) => c.name());
  if (help === true || word === 'help') return program.help();
  if (help !== undefined) {
    const topic = program.commands.find((c) => c.name() === help);
    if (topic !== undefined) return topic.help();
    throw new TraceError('usage', `--help ${help}: no such topic`, { hint: didYouMean(help, ['formats', ...names]) });
  }
  if (word === undefined) return program.help({ error: true });
  if (existsSync(word) || word === '-') {
    throw new TraceError('usage', `${word}: a command comes first`, { hint: `gmemtrace analyze ${word}` });
  }
  throw new TraceError('usage', `unknown command "${word}"`, { hint: didYouMean(word, VERBS) });
}

async function formatsHelp(): Promise<string> {
  const { FORMATS } = await import('../parse/index.js');
  const width = Math.max(...FORMATS.map((f) => f.name.length));
  const lines = FORMATS.map((f) => `  ${f.name.padEnd(width)}  ${f.description}`);
  return (
    `What can be read (told by content, never by name):\n${lines.join('\n')}\n` +
    '  .duckdb files made by `gmemtrace import`\n' +
    'Each may be compressed by gzip or zstd; texts may come on standard input (-).\n'
  );
}
