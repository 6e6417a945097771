#!/usr/bin/env node
/** The program: the process's streams, Ctrl-C and exit status around one run. */
import { run } from './app.js';
import { guardPipe } from './output.js';

const interrupt = new AbortController();
// The second Ctrl-C finds no handler and ends the process at once.
process.once('SIGINT', () => interrupt.abort());

// To the process's end: the reader of a pipe may go away after the last write was handed over.
guardPipe(process.stdout);
guardPipe(process.stderr);

process.exitCode = await run(process.argv.slice(2), {
  io: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env: process.env },
  signal: interrupt.signal,
});
