/** A pipe whose reader goes away ends the program quietly, whatever it was printing. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const MAIN = process.env['GMEMTRACE_MAIN'] ?? fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const TRACE = fileURLToPath(new URL('../fixtures/x86-basic/a.dat', import.meta.url));

function runIntoClosedPipe(args: readonly string[]): Promise<{ status: number | null; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('close', (status) => resolve({ status, stderr }));
  });
}

describe('a pipe without a reader', () => {
  it.each([['--help'], ['events', '--help'], ['rules'], ['analyze', TRACE], ['events', TRACE]])(
    'ends gmemtrace %s quietly',
    async (...args) => {
      expect(await runIntoClosedPipe(args)).toEqual({ status: 0, stderr: '' });
    },
  );
});
