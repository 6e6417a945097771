/** Reads the events of a trace.dat: buffer by buffer, CPU by CPU, each in the order of its pages. */
import { TraceError } from '../../base/errors.js';
import { clearBatch, StringTable } from '../batch.js';
import { makeKallsyms } from '../kallsyms.js';
import type { BatchSink, LostStretch, ReadOptions, ReadSummary } from '../model.js';
import { RecordDecoder } from '../record-decoder.js';
import type { Source } from '../source.js';
import { initZstd } from '../zstd.js';
import { readPageRuns } from './chunks.js';
import { clockFacts, CpuClock } from './clock.js';
import type { ClockFacts } from './clock.js';
import type { CpuStream, TraceBuffer, TraceFile } from './file.js';
import { buildLosses } from './losses.js';
import { buildMeta } from './meta.js';
import { openTraceFile } from './open.js';
import { PageWalker } from './pages.js';

/** High halves of seq that one buffer may use: 2^40 bytes a CPU and buffer. */
const SEQ_BUFFER_STEP = 256;

interface Reading {
  readonly source: Source;
  readonly file: TraceFile;
  readonly clock: ClockFacts;
  readonly decoder: RecordDecoder;
  readonly sink: BatchSink;
  readonly options: ReadOptions;
  readonly lost: LostStretch[];
  readonly notes: string[];
  firstNs: bigint | null;
  lastNs: bigint | null;
}

/** Reads the whole file into `sink`. Throws TraceError where nothing could be read, or on cancellation. */
export async function readTraceDat(source: Source, sink: BatchSink, options: ReadOptions = {}): Promise<ReadSummary> {
  await initZstd();
  const file = openTraceFile(source);
  demandSomething(file, source.path);
  const clock = clockFacts(file.options, file.options.buffers.find((b) => b.name === '')?.clock ?? null);
  const decoder = new RecordDecoder({
    formats: file.blobs.formats,
    bigEndian: file.header.bigEndian,
    strings: new StringTable(),
    probes: options.probes,
    kallsyms: file.blobs.kallsyms ? makeKallsyms(file.blobs.kallsyms) : null,
  });
  const reading: Reading = {
    source,
    file,
    clock,
    decoder,
    sink,
    options,
    lost: [],
    notes: [],
    firstNs: null,
    lastNs: null,
  };
  for (const [index, buffer] of file.buffers.entries()) await readBuffer(reading, buffer, index);
  for (const batch of decoder.flush()) {
    await sink(batch);
    clearBatch(batch);
  }
  noteBuffers(reading);
  return {
    meta: buildMeta(source.path, file, clock, reading.notes),
    lost: reading.lost,
    skipped: [...file.skips.list(), ...decoder.skipped()],
    tasks: file.blobs.tasks,
    schemas: decoder.schemas(),
    events: decoder.events,
    firstNs: reading.firstNs,
    lastNs: reading.lastNs,
  };
}

function demandSomething(file: TraceFile, path: string): void {
  if (file.buffers.length > 0 || file.text !== null) return;
  const unfinished = file.header.version === 7 && file.header.optionsOffset === 0;
  throw new TraceError('truncated', 'no events are in the file: the part that says where they are is missing', {
    input: path,
    byteOffset: file.size,
    hint: unfinished
      ? 'the recorder was killed before it wrote them; if its trace.dat.cpu* files are there, run trace-cmd restore'
      : 'copy the file again, or record again',
  });
}

async function readBuffer(reading: Reading, buffer: TraceBuffer, index: number): Promise<void> {
  const { file, decoder } = reading;
  const before = decoder.events;
  const outcomes = [];
  for (const stream of buffer.streams) {
    if (stream.size === 0) continue;
    const walker = await readCpu(reading, buffer, stream, index);
    outcomes.push({ cpu: stream.cpu, firstNs: walker.firstNs, lost: walker.lost });
  }
  const stats = file.options.stats.filter((stat) => stat.buffer === buffer.name);
  const { lost, notes } = buildLosses(outcomes, stats);
  reading.lost.push(...lost);
  reading.notes.push(...notes);
  if (file.buffers.length > 1) {
    const name = buffer.name === '' ? 'top buffer' : `buffer ${JSON.stringify(buffer.name)}`;
    reading.notes.push(`${name}: ${decoder.events - before} events`);
  }
}

async function readCpu(reading: Reading, buffer: TraceBuffer, stream: CpuStream, index: number): Promise<PageWalker> {
  const { source, file, decoder, sink, options } = reading;
  const walker = new PageWalker({
    cpu: stream.cpu,
    pageSize: buffer.pageSize,
    layout: file.blobs.layout,
    bigEndian: file.header.bigEndian,
    decoder,
    clock: new CpuClock(file.options, reading.clock, stream.cpu, options.clockOffsetNs ?? 0n),
    seqBaseHi: index * SEQ_BUFFER_STEP,
    skips: file.skips,
  });
  const onDamage = (reason: string, at: number, bytes: number): void => {
    file.skips.add(reason, `cpu ${stream.cpu}, byte ${at}`, bytes);
    walker.openGap('damage', null);
  };
  const readAt = (offset: number, length: number): Uint8Array => source.readAt(offset, length);
  for (const run of readPageRuns(stream, readAt, file.header, buffer.pageSize, onDamage)) {
    if (options.signal?.aborted) throw new TraceError('cancelled', 'reading was cancelled', { input: source.path });
    walker.startRun(run);
    for (let batch = walker.walk(); batch !== null; batch = walker.walk()) {
      await sink(batch);
      clearBatch(batch);
    }
    options.onProgress?.(stream.offset + Math.min(run.streamOffset, stream.size), file.size, decoder.events);
  }
  walker.finish();
  widen(reading, walker);
  return walker;
}

function widen(reading: Reading, walker: PageWalker): void {
  const { firstNs, lastNs } = walker;
  if (firstNs === null || lastNs === null) return;
  if (reading.firstNs === null || firstNs < reading.firstNs) reading.firstNs = firstNs;
  if (reading.lastNs === null || lastNs > reading.lastNs) reading.lastNs = lastNs;
}

function noteBuffers(reading: Reading): void {
  const { file, notes } = reading;
  if (file.buffers.length > 1) {
    notes.push('the file states the clock of the top buffer only: those of the other buffers are taken to be the same');
  }
  if (file.text !== null) notes.push(`the file holds the text of a latency tracer (${file.text.size} bytes)`);
}
