/** One run of the command line: words in, exit status out. The process belongs to main.ts. */
import { CommanderError, type Command } from 'commander';
import { TraceError, type ErrorCode } from '../base/errors.js';
import type { Cli, CliIo, ExitStatus } from './command.js';
import { BrokenPipe, flush, guardPipe, writeTo } from './output.js';
import { buildProgram } from './program.js';
import { hasColor, painter } from './style.js';

/** Exit status of each kind of error (README, `--help`). */
const EXIT_STATUS = {
  usage: 2,
  spec: 2,
  'rule-invalid': 2,
  'not-found': 3,
  'unknown-format': 3,
  truncated: 3,
  corrupt: 3,
  'unsupported-version': 3,
  'field-missing': 3,
  db: 3,
  cancelled: 130,
  internal: 4,
} as const satisfies Record<ErrorCode, ExitStatus>;

export interface RunOptions {
  readonly io: CliIo;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Runs `gmemtrace ARGS`. Never throws; what went wrong is on standard error and in the status. */
export async function run(args: readonly string[], { io, signal }: RunOptions): Promise<ExitStatus> {
  const cli: Cli = { io, signal, status: 0 };
  const releases = [guardPipe(io.stdout), guardPipe(io.stderr)];
  const program = await buildProgram(cli, args);
  try {
    await parse(program, args);
    await flush(io.stdout);
    return cli.status;
  } catch (error) {
    return await report(error, { args, cli, program });
  } finally {
    for (const release of releases) release();
  }
}

/** Help and the version end the parsing, too, and are no error. */
async function parse(program: Command, args: readonly string[]): Promise<void> {
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError) || error.exitCode !== 0) throw error;
  }
}

interface Failure {
  readonly args: readonly string[];
  readonly cli: Cli;
  readonly program: Command;
}

async function report(error: unknown, { args, cli }: Failure): Promise<ExitStatus> {
  if (error instanceof BrokenPipe) return 0;
  // commander has printed its own message already.
  if (error instanceof CommanderError) return 2;
  if (cli.signal.aborted) return 130;
  const color = hasColor(cli.io.stderr, cli.io.env, !args.includes('--no-color'));
  const text = describeError(error, { debug: args.includes('--debug'), paint: painter(color) });
  await writeTo(cli.io.stderr, text).catch(() => {});
  return error instanceof TraceError ? EXIT_STATUS[error.code] : 4;
}

/** An error as people read it: fact, place, hint; of a bug also what to report. */
export function describeError(
  error: unknown,
  { debug, paint }: { readonly debug: boolean; readonly paint: ReturnType<typeof painter> },
): string {
  const stack = debug && error instanceof Error && error.stack !== undefined ? `${error.stack}\n` : '';
  const head = paint('error', 'error:');
  if (!(error instanceof TraceError) || error.code === 'internal') {
    const message = error instanceof Error ? error.message : String(error);
    return (
      `${head} internal: ${message}\n` +
      '  this is a bug in gmemtrace; please report it with this message' +
      `${debug ? '' : ', best with what --debug adds'}\n${stack}`
    );
  }
  const { input, byteOffset, line, column, hint } = error.place;
  const named = input !== undefined && !error.message.startsWith(input) ? `${input}: ` : '';
  const at =
    byteOffset !== undefined
      ? [`  at byte ${byteOffset}`]
      : line !== undefined
        ? [`  at line ${line}${column === undefined ? '' : `, column ${column}`}`]
        : [];
  const lines = [`${head} ${named}${error.message}`, ...at, ...(hint === undefined ? [] : [`  hint: ${hint}`])];
  return `${lines.join('\n')}\n${stack}`;
}
