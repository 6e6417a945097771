#!/usr/bin/env node
// Many simulated runs, replayed and held against their truth: node scripts/simulate-many.mjs 1-1000 --whole --only tdx
// Every platform with every mechanism (--only takes those whose names hold the text), every seed with nothing lost (--whole),
// so in a rarer run (--rare), and with events dropped: in stretches (--lossy), a few at a time (--bursts), and so that no
// mark says where (--unmarked, of which some cannot be told); by default all but the last. Failures are printed as they
// come; then how many conversions there were, and how many of them the replay told.
// --jobs N: processes; --dist DIR: a build of src/ (default: dist, as `npm run build` makes it).
import { fork } from 'node:child_process';
import { register } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: '' },
    whole: { type: 'boolean', default: false },
    rare: { type: 'boolean', default: false },
    lossy: { type: 'boolean', default: false },
    bursts: { type: 'boolean', default: false },
    unmarked: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '1' },
    dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
    // of a process that another one has started: it takes every `jobs`th run
    part: { type: 'string' },
  },
});
const range = /^(\d+)(?:-(\d+))?$/.exec(positionals[0] ?? '1-20');
const jobs = Number(values.jobs);
if (!range || !Number.isInteger(jobs) || jobs < 1) {
  process.stderr.write(
    'usage: node scripts/simulate-many.mjs FIRST-LAST [--only TEXT] [--whole] [--rare] [--lossy] [--bursts] [--unmarked] [--jobs N] [--dist DIR]\n',
  );
  process.exit(2);
}
const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
const KINDS = ['whole', 'rare', 'lossy', 'bursts', 'unmarked'];
const asked = KINDS.filter((kind) => values[kind]);
const kinds = asked.length > 0 ? asked : KINDS.filter((kind) => kind !== 'unmarked');

register('./lib/ts-hooks.mjs', {
  parentURL: import.meta.url,
  data: { build: `${pathToFileURL(resolve(values.dist)).href}/` },
});
const { COMBINATIONS, judgeLossy, judgeRare, judgeWhole } = await import('../test/simulate/simulated.ts');
const JUDGES = {
  whole: judgeWhole,
  rare: judgeRare,
  lossy: judgeLossy,
  bursts: (platform, mechanism, seed) => judgeLossy(platform, mechanism, seed, 'bursts'),
  unmarked: (platform, mechanism, seed) => judgeLossy(platform, mechanism, seed, 'unmarked'),
};
const pairs = COMBINATIONS.filter((names) => names.join(' ').includes(values.only));

/** All runs, seed by seed, so that a run that is stopped early has seen every pair. */
function* allRuns() {
  for (let seed = first; seed <= last; seed++) {
    for (const pair of pairs) for (const kind of kinds) yield { pair, kind, seed };
  }
}

/** What a run came to, as plain data for the other process. */
async function judge({ pair: [platform, mechanism], kind, seed }) {
  const start = performance.now();
  const about = { pair: `${platform} ${mechanism}`, kind, seed };
  try {
    const verdict = await JUDGES[kind](platform, mechanism, seed);
    const missing = kind === 'lossy' ? [] : verdict.missing;
    const { happened: conversions, wrong, scores } = verdict;
    return { ...about, ms: performance.now() - start, conversions, told: scores.conversions.right, missing, wrong };
  } catch (error) {
    const wrong = [String(error.stack)];
    return { ...about, ms: performance.now() - start, conversions: 0, told: 0, missing: [], wrong };
  }
}

async function judgePart(part) {
  let at = 0;
  for (const run of allRuns()) {
    if (at++ % jobs === part) process.send(await judge(run));
  }
  process.disconnect();
}

const totals = new Map();

function note({ pair, kind, seed, ms, conversions, told, missing, wrong }) {
  const total = totals.get(`${pair} ${kind}`) ?? { runs: 0, conversions: 0, told: 0, failed: [], ms: 0 };
  totals.set(`${pair} ${kind}`, total);
  total.runs++;
  total.conversions += conversions;
  total.told += told;
  total.ms += ms;
  if (missing.length + wrong.length === 0) return;
  total.failed.push(seed);
  const lines = [...wrong.map((text) => `wrong: ${text}`), ...missing.map((text) => `missing: ${text}`)];
  process.stdout.write(`${pair} seed ${seed} ${kind}\n${lines.map((line) => `  ${line}\n`).join('')}`);
}

function printSummary() {
  const all = { runs: 0, conversions: 0, told: 0, failed: [], ms: 0 };
  for (const total of totals.values()) {
    for (const name of ['runs', 'conversions', 'told', 'ms']) all[name] += total[name];
    all.failed.push(...total.failed);
  }
  process.stdout.write(
    '\n| runs | number | conversions | told | failed | ms a run | failing seeds |\n| --- | --: | --: | --: | --: | --: | --- |\n',
  );
  for (const [name, { runs, conversions, told, failed, ms }] of [...totals, ['all', all]]) {
    const seeds = name === 'all' ? '' : failed.slice(0, 20).join(' ');
    process.stdout.write(
      `| ${name} | ${runs} | ${conversions} | ${told} | ${failed.length} | ${(ms / runs).toFixed(0)} | ${seeds} |\n`,
    );
  }
  process.exitCode = all.failed.length > 0 ? 1 : 0;
}

if (values.part !== undefined) await judgePart(Number(values.part));
else {
  if (jobs === 1) for (const run of allRuns()) note(await judge(run));
  else {
    const file = fileURLToPath(import.meta.url);
    const parts = Array.from({ length: jobs }, (_, k) => fork(file, [...process.argv.slice(2), '--part', String(k)]));
    for (const part of parts) part.on('message', note);
    await Promise.all(parts.map((part) => new Promise((done) => part.on('exit', done))));
  }
  printSummary();
}
