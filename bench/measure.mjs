// Runs a command to its end and tells what the operating system counted for it, all its threads included.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const GNU_TIME = '/usr/bin/time';
/** Ticks of /proc/PID/stat (USER_HZ): 100 a second on every Linux that Node runs on. */
const TICKS = 100;

/** GNU time where it is installed; else the shell's own count of its children, which knows no peak of memory. */
function wrap(command, file) {
  if (existsSync(GNU_TIME)) return [GNU_TIME, '-q', '-o', file, '-f', '%U %S %M', ...command];
  return ['/bin/sh', '-c', '"$@"; code=$?; cat /proc/$$/stat > "$0"; exit $code', file, ...command];
}

function readCount(file) {
  const text = readFileSync(file, 'utf8').trim();
  if (existsSync(GNU_TIME)) {
    const [user, system, peak] = text.split('\n').at(-1).split(' ').map(Number);
    return { cpu: user + system, peakMb: (peak * 1024) / 1e6 };
  }
  // Fields 16 and 17, cutime and cstime, counted from behind the name (proc_pid_stat(5)).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { cpu: (Number(fields[13]) + Number(fields[14])) / TICKS, peakMb: null };
}

/**
 * Runs `command`, its output thrown away. Gives wall and CPU seconds, peak resident memory in MB (10^6 bytes), seconds to
 * the first byte of output, and, for `keep`, the output. Rejects where the command fails.
 */
export async function measure(command, { keep = false } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-bench-'));
  try {
    const [program, ...args] = wrap(command, join(folder, 'count'));
    const started = performance.now();
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let first = null;
    const output = [];
    const errors = [];
    child.stdout.on('data', (piece) => {
      first ??= (performance.now() - started) / 1000;
      if (keep) output.push(piece);
    });
    child.stderr.on('data', (piece) => errors.length < 20 && errors.push(piece));
    const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
    const wall = (performance.now() - started) / 1000;
    if (code !== 0) throw new Error(`${command.join(' ')}: exit status ${code}\n${Buffer.concat(errors)}`);
    return { wall, first, ...readCount(join(folder, 'count')), output: Buffer.concat(output).toString() };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Median of each number of several measurements; null where one of them has none. */
export function medianOf(runs, keys) {
  const middle = (values) => {
    const sorted = values.toSorted((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };
  return Object.fromEntries(
    keys.map((key) => [key, runs.some((run) => run[key] == null) ? null : middle(runs.map((run) => run[key]))]),
  );
}
