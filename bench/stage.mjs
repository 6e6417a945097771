// One stage of the work in a process of its own, its result a JSON object of what it counted:
//   node bench/stage.mjs DIST load FILE DB            an import without the replay
//   node bench/stage.mjs DIST replay FILE [COPIES]    the replay's second pass over memory events in order
//   node bench/stage.mjs DIST scattered CONVERSIONS DB [VMS]   all of the replay of a made trace (make-events.mjs)
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fillScattered } from './make-events.mjs';

const [dist, stage, file, ...rest] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);

async function timed(work) {
  const started = performance.now();
  const before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return { result, wall: (performance.now() - started) / 1000, cpu: (user + system) / 1e6 };
}

async function openLoaded(database) {
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
  const { store, events } = await openLoaded(rest[0]);
  await store.run('CHECKPOINT');
  store.close();
  return { events };
}

/** The events once more, as if the same had happened later: in order as they are. */
async function repeatEvents(store, copies) {
  const [row] = await store.rows('SELECT (max(ts_ns) - min(ts_ns) + 1000000)::DOUBLE AS span FROM memory_event');
  for (let copy = 1; copy < copies; copy++) {
    await store.run(`INSERT INTO memory_event SELECT * REPLACE (ts_ns + ${copy * row.span} AS ts_ns) FROM memory_event
      WHERE ts_ns < (SELECT min(ts_ns) + ${row.span} FROM memory_event)`);
  }
}

async function countEvents(store) {
  const [row] = await store.rows('SELECT count(*)::DOUBLE AS n FROM memory_event');
  return row.n;
}

async function runReplay() {
  const { prepareReplay, replayEvents } = await load('replay/index.js');
  const { store } = await openLoaded(null);
  const preparing = await timed(() => prepareReplay(store));
  await repeatEvents(store, Number(rest[0] ?? 1));
  const { wall, cpu } = await timed(() => replayEvents(store, preparing.result));
  const events = await countEvents(store);
  store.close();
  return { events, wall, cpu, prepareWall: preparing.wall, prepareCpu: preparing.cpu };
}

async function runScattered() {
  const { openStore } = await load('store/db.js');
  const { createTables } = await load('store/tables.js');
  const { replay } = await load('replay/index.js');
  const [database, vms = 1] = rest;
  const store = await openStore(database);
  await createTables(store);
  await fillScattered(store, Number(file), Number(vms));
  const { wall, cpu } = await timed(() => replay(store));
  const events = await countEvents(store);
  store.close();
  return { events, wall, cpu };
}

const STAGES = { load: runLoad, replay: runReplay, scattered: runScattered };
process.stdout.write(JSON.stringify(await STAGES[stage]()));
