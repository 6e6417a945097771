// Writes a trace as the kernel's text, by our own `events --style kernel`: node bench/make-text.mjs TRACE OUT [--repeat N]
// With --repeat the text comes N times, each time later than before: an input of any size.
import { execFileSync } from 'node:child_process';
import { createReadStream, createWriteStream, existsSync, renameSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const STAMP = /\s(\d+)\.(\d{6}): /;

/** Seconds that one copy must be moved for it to begin behind the one before. */
async function spanOf(path) {
  let first = null;
  let last = 0;
  for await (const line of createInterface({ input: createReadStream(path) })) {
    const match = STAMP.exec(line);
    if (match === null) continue;
    last = Number(match[1]);
    first ??= last;
  }
  return last - (first ?? 0) + 1;
}

async function repeat(from, to, times) {
  const span = await spanOf(from);
  const out = createWriteStream(to);
  for (let copy = 0; copy < times; copy++) {
    let block = '';
    for await (const line of createInterface({ input: createReadStream(from) })) {
      const later = copy === 0 ? line : line.replace(STAMP, (_, s, us) => ` ${Number(s) + copy * span}.${us}: `);
      block += `${later}\n`;
      if (block.length < 1 << 20) continue;
      if (!out.write(block)) await once(out, 'drain');
      block = '';
    }
    out.write(block);
  }
  out.end();
  await once(out, 'finish');
}

/** Makes the text at `out` unless it is there. `dist`: the compiled program. */
export async function makeText(trace, out, { dist, times = 1 }) {
  if (existsSync(out)) return;
  const once1 = `${out}.part`;
  const args = [
    `${dist}/cli/main.js`,
    'events',
    trace,
    '--style',
    'kernel',
    '--limit',
    '0',
    '--quiet',
    '--output',
    once1,
  ];
  execFileSync(process.execPath, args, { stdio: 'inherit' });
  if (times === 1) return renameSync(once1, out);
  await repeat(once1, out, times);
  rmSync(once1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    options: { repeat: { type: 'string', default: '1' }, dist: { type: 'string' } },
    allowPositionals: true,
  });
  const [trace, out] = positionals;
  const dist = values.dist ?? fileURLToPath(new URL('../dist', import.meta.url));
  await makeText(trace, out, { dist, times: Number(values.repeat) });
}
