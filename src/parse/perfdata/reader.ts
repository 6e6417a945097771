/** Reads a whole perf.data recording: header, every stream of records, and what they add up to. */
import { clearBatch } from '../batch.js';
import type { EventBatch } from '../batch.js';
import type { BatchSink, EventReader, EventSchema, ReadOptions, ReadSummary, TraceMeta } from '../model.js';
import { SkipLog } from '../skips.js';
import type { Source } from '../source.js';
import { initZstd } from '../zstd.js';
import { enabledEvents } from './events.js';
import { readHeader } from './header.js';
import { SampleReader, stampNs } from './samples.js';
import { makeSession } from './session.js';
import type { Session } from './session.js';
import { readStream } from './stream.js';

/** Clocks by attr.clockid (include/uapi/linux/time.h), by the kernel's name of the same trace clock. */
const CLOCK_NAMES: Readonly<Record<number, string>> = { 0: 'realtime', 1: 'mono', 4: 'mono_raw', 7: 'boot', 11: 'tai' };

/** A reader of the recording in `source` (a file of either form, or a directory). */
export function openPerfData(source: Source): EventReader {
  return { read: (sink, options) => readRecording(source, sink, options ?? {}) };
}

async function readRecording(source: Source, sink: BatchSink, options: ReadOptions): Promise<ReadSummary> {
  await initZstd();
  const skips = new SkipLog();
  const parts = source.parts ?? [source];
  const main = parts[0]!;
  const header = readHeader(main, skips);
  const session = makeSession(header, skips, options);
  const samples = new SampleReader(session);
  const schemas = new Set<EventSchema>();
  const total = parts.reduce((sum, part) => sum + (part.size ?? 0), 0);
  let bytesRead = header.dataStart;

  const emit = async (batch: EventBatch): Promise<void> => {
    schemas.add(batch.schema);
    await sink(batch);
    clearBatch(batch);
  };
  const onBlock = (bytes: number): void => {
    bytesRead += bytes;
    options.onProgress?.(bytesRead, total, samples.count);
  };
  const context = { session, samples, emit, onBlock, signal: options.signal };

  let seq = await readStream(context, main, { start: header.dataStart, end: header.dataEnd }, 0);
  for (const part of parts.slice(1)) {
    seq = await readStream(context, part, { start: 0, end: part.size ?? 0 }, seq);
  }
  for (const { counter } of session.events.events) {
    if (counter && counter.batch.length > 0) await emit(counter.batch);
  }
  for (const batch of session.payloads?.decoder.flush() ?? []) await emit(batch);
  if (source.damage !== null) skips.add(source.damage, `byte ${main.size ?? 0}`);
  return summarize(source, session, samples, [...schemas]);
}

function summarize(source: Source, session: Session, samples: SampleReader, schemas: EventSchema[]): ReadSummary {
  const { tasks, skips, payloads } = session;
  const names = new Map((payloads?.tasks ?? []).map((task) => [task.tid, task.comm ?? '']));
  const sightings = tasks.list(names);
  if (tasks.dropped > 0) skips.add('task names beyond the first million', 'end of the data', tasks.dropped);
  return {
    meta: buildMeta(source, session),
    lost: session.lost.list(),
    skipped: [...skips.list(), ...(payloads?.decoder.skipped() ?? [])],
    tasks: sightings,
    schemas,
    events: samples.count,
    firstNs: samples.count === 0 ? null : stampNs(samples.firstLo, samples.firstHi),
    lastNs: samples.count === 0 ? null : stampNs(samples.lastLo, samples.lastHi),
  };
}

function buildMeta(source: Source, session: Session): TraceMeta {
  const { header, events, payloads, remarks } = session;
  const { features } = header;
  const clockid = events.events.find((event) => event.attr.clockid !== null)?.attr.clockid ?? null;
  const formatName = (id: number): string | undefined => {
    const format = payloads?.formats.get(id);
    return format && `${format.system}:${format.name}`;
  };
  const form = source.parts ? 'directory' : header.form;
  return {
    path: source.path,
    format: 'perf.data',
    version: `${form}${features.compressed ? ' zstd' : ''}${header.little ? '' : ' big-endian'}`,
    kernel: features.kernel,
    arch: features.arch,
    clock: clockid === null ? 'perf' : (CLOCK_NAMES[clockid] ?? `clockid ${clockid}`),
    clockUnit: 'ns',
    resolutionNs: 1,
    recorder: features.version === null ? null : `perf ${features.version}`,
    host: features.hostname,
    cpus: features.cpus,
    enabledEvents: enabledEvents(events.events, formatName),
    notes: [...header.notes, ...[...remarks].map(([remark, count]) => `${count} ${remark}`)],
  };
}
