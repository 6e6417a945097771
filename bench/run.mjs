// Measures import, replay and analysis on a large trace and on its text and on a perf.data, with the tools that read the
// same files beside it. `npm run bench` builds before; see --help. Nothing is judged by it: it only tells.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir, totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makePerf } from './make-perf.mjs';
import { makeText } from './make-text.mjs';
import { measure, medianOf } from './measure.mjs';

const HELP = `node bench/run.mjs [options] [TRACE]

TRACE is a trace.dat; by default x86-big of the captures beside the repository, else the largest fixture.
  --perf FILE      perf.data to take instead of the captures' one made large
  --runs N         measured runs of each row, after one that is not (default 3); the median is shown
  --only WORDS     rows whose name has one of the words, separated by commas
  --dist DIR       compiled program (default: dist)
  --no-peers       without trace-cmd and perf
  --json FILE      also write the numbers
  --compare FILE   show each number against an older --json

Wall time says little on a busy machine: compare CPU seconds, of runs made one after the other.
`;

const root = fileURLToPath(new URL('..', import.meta.url));
/** Made inputs are kept here from run to run, by name and size of what they were made of. */
const cache = join(tmpdir(), 'gmemtrace-bench');
/** Events that a perf.data is made large to. */
const PERF_COPIES = 2500;
/** How often the replay's second pass sees the events of the trace: long enough for what Node compiles on the way. */
const REPLAY_COPIES = 5;
/** Conversions of single pages scattered over a guest of 1 TiB, nine events each. */
const SCATTERED = 1_000_000;
/** The same number of them by one guest, and by a thousand. */
const OF_VMS = 100_000;

function firstThatExists(...paths) {
  return paths.map((path) => join(root, path)).find((path) => existsSync(path)) ?? null;
}

function isInstalled(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;
}

async function findInputs({ dist, trace, perf }) {
  mkdirSync(cache, { recursive: true });
  const dat = trace ?? firstThatExists('../shared/captures/x86-big/a.dat', 'fixtures/x86-basic/a.dat');
  const small = firstThatExists('fixtures/x86-basic/a.dat') ?? dat;
  const named = `${basename(dirname(dat))}-${statSync(dat).size}`;
  const text = join(cache, `${named}.txt`);
  await makeText(dat, text, { dist });
  const perfSmall = firstThatExists('../shared/captures/formats/perf61.data');
  let perfBig = perf ?? null;
  if (perfBig === null && perfSmall !== null) {
    perfBig = join(cache, `perf-${statSync(perfSmall).size}-${PERF_COPIES}.data`);
    if (!existsSync(perfBig)) makePerf(perfSmall, perfBig, PERF_COPIES);
  }
  return { dat, text, perf: perfBig, small };
}

/** Rows of the table: what is run, on which file. `peer` names the row whose speed it is shown against. */
function listRows({ dat, text, perf, small }, dist, peers) {
  const main = join(dist, 'cli/main.js');
  const stage = join(root, 'bench/stage.mjs');
  const node = process.execPath;
  const database = join(cache, `run-${process.pid}.duckdb`);
  const load = (file) => [node, stage, dist, 'load', file, database];
  const run = (file) => [node, main, 'import', file, '--quiet', '--db', database];
  const analyze = (file) => [node, main, 'analyze', file];
  const rows = [];
  const add = (name, file, command, more = {}) => rows.push({ name, file, command, database, ...more });
  const family = (kind, file, peer) => {
    add(`load ${kind}`, file, load(file), { peer, counts: true });
    add(`import ${kind}`, file, run(file), { peer });
    add(`analyze ${kind}`, file, analyze(file), { peer });
  };
  const [cmd, script] = ['trace-cmd report', 'perf script'];
  if (peers && isInstalled('trace-cmd')) add(cmd, dat, ['trace-cmd', 'report', dat]);
  family('trace.dat', dat, cmd);
  const made = (name, conversions, vms) =>
    add(name, null, [node, stage, dist, 'scattered', String(conversions), database, String(vms)], { inside: true });
  add('replay, events in order', dat, [node, stage, dist, 'replay', dat, String(REPLAY_COPIES)], { inside: true });
  made('replay, 1 TiB scattered', SCATTERED, 1);
  made('replay, of 1 VM', OF_VMS, 1);
  made('replay, of 1000 VMs', OF_VMS, 1000);
  family('text', text);
  if (perf !== null) {
    if (peers && isInstalled('perf')) add(script, perf, ['perf', 'script', '-f', '-i', perf]);
    family('perf.data', perf, script);
  }
  add('analyze, small file', small, analyze(small), { small: true });
  return rows;
}

async function runRow(row, times) {
  const runs = [];
  for (let k = 0; k <= times; k++) {
    rmSync(row.database, { force: true });
    const run = await measure(row.command, { keep: row.counts === true || row.inside === true });
    const told = row.counts || row.inside ? JSON.parse(run.output) : {};
    if (k > 0 || times === 0) runs.push({ ...run, ...told });
  }
  const keys = ['wall', 'cpu', 'peakMb', 'first', 'events', 'prepareWall', 'prepareCpu'];
  const size = row.file === null ? 0 : statSync(row.file).size;
  return { name: row.name, file: basename(row.file ?? ''), bytes: size, ...medianOf(runs, keys) };
}

function fixed(value, digits) {
  return value == null || !Number.isFinite(value) ? '–' : value.toFixed(digits);
}

/** `12.3 (−20 %)` where an older value is known. */
function against(value, old, digits) {
  if (old == null || value == null) return fixed(value, digits);
  const change = Math.round((value / old - 1) * 100);
  return `${fixed(value, digits)} (${change > 0 ? '+' : ''}${change} %)`;
}

function cellsOf(result, results, older) {
  const old = older?.find((row) => row.name === result.name);
  const peer = results.find((row) => row.name === result.peer);
  const speed = (row, seconds) => (row?.events && !row.small ? row.events / row[seconds] / 1e6 : null);
  const mb = result.small ? null : result.bytes / result.wall / 1e6;
  return [
    result.name,
    against(speed(result, 'wall'), speed(old, 'wall'), 2),
    against(speed(result, 'cpu'), speed(old, 'cpu'), 2),
    result.inside ? '–' : fixed(mb, 0),
    against(result.wall, old?.wall, 2),
    against(result.cpu, old?.cpu, 2),
    against(result.peakMb, old?.peakMb, 0),
    result.first === null || result.inside ? '–' : fixed(result.first, 2),
    peer ? `${fixed(peer.wall / result.wall, 1)} / ${fixed(peer.cpu / result.cpu, 1)}` : '',
  ];
}

function printTable(results, older) {
  const head = ['', 'M ev/s', 'M ev/CPU-s', 'MB/s', 'wall s', 'CPU s', 'peak MB', 'first s', 'x peer wall/CPU'];
  const table = [head, ...results.map((result) => cellsOf(result, results, older))];
  const widths = head.map((_, k) => Math.max(...table.map((cells) => cells[k].length)));
  for (const cells of table) {
    const line = cells.map((cell, k) => (k === 0 ? cell.padEnd(widths[k]) : cell.padStart(widths[k]))).join('  ');
    process.stdout.write(`${line.trimEnd()}\n`);
  }
}

/** Rows of one file have the number of events that `load` counted, the peers' rows among them. */
function shareEvents(results) {
  for (const result of results) {
    if (result.inside) continue;
    result.events ??= results.find((row) => row.name.startsWith('load ') && row.file === result.file)?.events ?? null;
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    options: {
      perf: { type: 'string' },
      runs: { type: 'string', default: '3' },
      only: { type: 'string' },
      dist: { type: 'string', default: join(root, 'dist') },
      'no-peers': { type: 'boolean', default: false },
      json: { type: 'string' },
      compare: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  if (values.help) return void process.stdout.write(HELP);
  const older = values.compare ? JSON.parse(readFileSync(values.compare, 'utf8')).rows : null;
  const inputs = await findInputs({ dist: values.dist, trace: positionals[0], perf: values.perf });
  const words = values.only?.split(',') ?? [''];
  const rows = listRows(inputs, values.dist, !values['no-peers']).filter((row) =>
    words.some((w) => row.name.includes(w)),
  );
  const machine = `${cpus()[0]?.model ?? '?'}, ${cpus().length} CPUs, ${Math.round(totalmem() / 2 ** 30)} GiB`;
  process.stdout.write(
    `${machine}, load ${loadavg()[0].toFixed(1)}, Node ${process.version}, median of ${values.runs}\n`,
  );
  const results = [];
  for (const row of rows) {
    process.stderr.write(`${row.name} …\n`);
    const { peer, inside = false, small = false } = row;
    results.push({ ...(await runRow(row, Number(values.runs))), peer, inside, small });
  }
  rmSync(rows[0]?.database ?? '', { force: true });
  shareEvents(results);
  printTable(results, older);
  const pass = results.find((row) => row.prepareCpu != null);
  if (pass) {
    const { events, prepareWall, prepareCpu } = pass;
    process.stdout.write(
      `replay: ${events} memory events; prepared in ${fixed(prepareWall, 2)} s, ${fixed(prepareCpu, 2)} CPU s\n`,
    );
  }
  if (values.json)
    writeFileSync(values.json, `${JSON.stringify({ machine, node: process.version, rows: results }, null, 2)}\n`);
}

await main();
