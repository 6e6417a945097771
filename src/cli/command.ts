import type { Command } from 'commander';

/** A stream that results or messages are written to; a terminal tells its width. */
export interface OutStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** The world that a command sees: tests give their own streams and environment. */
export interface CliIo {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: OutStream;
  readonly stderr: OutStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** 0 fine · 1 findings, a spec not met or a regression · 2 usage · 3 unreadable input · 4 internal · 130 interrupted. */
export type ExitStatus = 0 | 1 | 2 | 3 | 4 | 130;

/** What a command gets; `status` is what the process will end with when the command throws nothing. */
export interface Cli {
  readonly io: CliIo;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  status: ExitStatus;
}

/** One verb of the command line; `build` gives its commander command, made anew for each run. */
export type BuildCommand = (cli: Cli) => Command;
