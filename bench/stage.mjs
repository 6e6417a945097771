// One stage of the work in a process of its own: `node bench/stage.mjs DIST load FILE DB` or `… replay FILE`.
// Prints a JSON object with what it counted.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [dist, stage, file, database = null] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);

async function timed(work) {
  const started = performance.now();
  const before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return { result, wall: (performance.now() - started) / 1000, cpu: (user + system) / 1e6 };
}

async function openLoaded() {
  const { openStore } = await load('store/db.js');
  const { ingestAll } = await load('store/ingest.js');
  const { openTrace } = await load('parse/index.js');
  const store = await openStore(database);
  const trace = await openTrace(file);
  const [summary] = await ingestAll(store, [{ path: file, reader: trace.reader, sha256: null }]);
  trace.source.close();
  return { store, events: summary.events };
}

async function runLoad() {
  const { store, events } = await openLoaded();
  await store.run('CHECKPOINT');
  store.close();
  return { events };
}

async function runReplay() {
  const { prepareReplay, replayEvents } = await load('replay/index.js');
  const { store } = await openLoaded();
  const preparing = await timed(() => prepareReplay(store));
  const passing = await timed(() => replayEvents(store, preparing.result));
  const [row] = await store.rows('SELECT count(*)::DOUBLE AS n FROM memory_event');
  store.close();
  return {
    events: row.n,
    wall: passing.wall,
    cpu: passing.cpu,
    prepareWall: preparing.wall,
    prepareCpu: preparing.cpu,
  };
}

process.stdout.write(JSON.stringify(stage === 'load' ? await runLoad() : await runReplay()));
