#!/usr/bin/env node
/** The program: the process's streams, Ctrl-C and exit status around one run. */
import { run } from './app.js';

const interrupt = new AbortController();
// The second Ctrl-C finds no handler and ends the process at once.
process.once('SIGINT', () => interrupt.abort());

process.exitCode = await run(process.argv.slice(2), {
  io: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env: process.env },
  signal: interrupt.signal,
});
