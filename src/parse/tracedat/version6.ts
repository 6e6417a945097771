/** Body of a version 6 file: the metadata blobs in a row, then tagged parts (trace-cmd.dat.v6(5)). */
import { TraceError } from '../../base/errors.js';
import type { ByteCursor } from '../byte-cursor.js';
import { SkipLog } from '../skips.js';
import { readBlobs } from '../tracing-data.js';
import type { CpuStream, TextRange, TraceBuffer, TraceFile } from './file.js';
import { limitStreams } from './file.js';
import type { FileHeader } from './header.js';
import { chosenClock, noOptions, readOptionList } from './options.js';
import type { Options } from './options.js';

type RawStream = Omit<CpuStream, 'limit'>;

const TAG_BYTES = 10;

interface Body {
  readonly cursor: ByteCursor;
  readonly options: Options;
  readonly skips: SkipLog;
  cpus: number;
}

/** Reads everything but the events. `cursor` stands behind the header. What is cut off is counted in the file's `skips`. */
export function openVersion6(header: FileHeader, cursor: ByteCursor): TraceFile {
  const skips = new SkipLog();
  const options = noOptions();
  const blobs = readBlobs(cursor, skips, true);
  const buffers: { name: string; streams: readonly RawStream[] }[] = [];
  let text: TextRange | null = null;
  if (blobs.complete) {
    try {
      const body: Body = { cursor, options, skips, cpus: cursor.u32() };
      const top = readTagged(body);
      options.cpuCount ??= body.cpus;
      if ('streams' in top) buffers.push({ name: '', streams: top.streams });
      else text = top;
      for (const buffer of options.buffers)
        buffers.push({ name: buffer.name, streams: readInstance(body, buffer.offset) });
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      skips.add('table of CPU data is not readable', `byte ${error.place.byteOffset ?? cursor.pos}`);
    }
  }
  const all = limitStreams(
    buffers.flatMap((buffer) => buffer.streams),
    [],
    cursor.end,
    skips,
  );
  let next = 0;
  const limited: TraceBuffer[] = buffers.map(({ name, streams }) => {
    next += streams.length;
    return { name, pageSize: header.pageSize, streams: all.slice(next - streams.length, next) };
  });
  return { header, size: cursor.end, options, blobs, buffers: limited, text, notes: [], skips };
}

function readInstance(body: Body, offset: number): readonly RawStream[] {
  if (offset <= 0 || offset > body.cursor.end) {
    throw new TraceError('corrupt', `buffer at byte ${offset} is outside the file`, { byteOffset: offset });
  }
  body.cursor.pos = offset;
  const tagged = readTagged(body);
  return 'streams' in tagged ? tagged.streams : [];
}

function readTagged(body: Body): { readonly streams: readonly RawStream[] } | TextRange {
  const { cursor } = body;
  const at = cursor.pos;
  const tag = cursor.text(TAG_BYTES);
  switch (tag) {
    case 'options  \0':
      readOptionList(cursor, 6, body.options, body.skips);
      return readTagged(body);
    case 'latency  \0':
      return { offset: cursor.pos, size: cursor.left, compressed: false };
    case 'flyrecord\0':
      return { streams: readCpuTable(body) };
    default:
      throw new TraceError('corrupt', `tag ${JSON.stringify(tag)} at byte ${at} is not known`, { byteOffset: at });
  }
}

function readCpuTable(body: Body): RawStream[] {
  const { cursor, options } = body;
  const cpus = Math.max(body.cpus, options.cpuCount ?? 0);
  const streams: RawStream[] = [];
  for (let cpu = 0; cpu < cpus; cpu++) {
    streams.push({ cpu, offset: cursor.size(), size: cursor.size(), compressed: false });
  }
  // For readers that know nothing of CPUCOUNT one pair of zeros follows: trace-output.c:tracecmd_write_cpu_data.
  if (cpus > body.cpus) cursor.skip(16);
  if (options.hasClockText) readClock(body, Math.min(...streams.map((s) => s.offset).filter((o) => o > 0)));
  return streams.filter((stream) => stream.size > 0);
}

/** `u64` length and text of trace_clock; old writers got it wrong, so it is believed only if it fits before the data. */
function readClock(body: Body, dataStart: number): void {
  const { cursor, options } = body;
  const length = cursor.left >= 8 ? cursor.size() : 0;
  if (length > 0 && length < 4096 && cursor.pos + length <= dataStart) {
    options.traceClock = chosenClock(cursor.text(length).replace(/\0[\s\S]*$/, '')) ?? options.traceClock;
  }
}
