#!/usr/bin/env node
/** The program: the process's streams, signals and exit status around one run. */
import { run } from './app.js';
import { guardPipe } from './output.js';

const interrupt = new AbortController();
// Ctrl-C, and what `timeout` and CI systems send. The second one finds no handler and ends the process at once.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupt.abort());

// To the process's end: the reader of a pipe may go away after the last write was handed over.
guardPipe(process.stdout);
guardPipe(process.stderr);

process.exitCode = await run(process.argv.slice(2), {
  io: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env: process.env },
  signal: interrupt.signal,
});
