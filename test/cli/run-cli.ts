/** Runs the command line in this process, with streams that keep what is written. */
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli/app.js';
import type { CliIo } from '../../src/cli/command.js';

export interface CliResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliSetting {
  readonly env?: CliIo['env'];
  readonly stdin?: string | Uint8Array;
  readonly isTTY?: boolean;
  readonly signal?: AbortSignal;
}

/** A stream that keeps its text. */
export function makeSink(isTTY: boolean): Writable & { readonly isTTY: boolean; text: string } {
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      state.text += chunk.toString('utf8');
      done();
    },
  });
  const state = Object.assign(sink, { isTTY, text: '' });
  return state;
}

/** `gmemtrace ARGS`: status and both streams. */
export async function runCli(args: readonly string[], setting: CliSetting = {}): Promise<CliResult> {
  const stdout = makeSink(setting.isTTY ?? false);
  const stderr = makeSink(setting.isTTY ?? false);
  const io: CliIo = {
    stdin: Readable.from([Buffer.from(setting.stdin ?? '')]) as CliIo['stdin'],
    stdout,
    stderr,
    env: { LANG: 'C.UTF-8', COLUMNS: '80', ...setting.env },
  };
  const signal = setting.signal ?? new AbortController().signal;
  const status = await run(args, { io, signal });
  return { status, stdout: stdout.text, stderr: stderr.text };
}
