/** All records but samples: names of threads, losses, and in the pipe form the attrs and features. */
import { attrLength, decodeAttr, readU64 } from './attr.js';
import { decodeIds, decodeName, readFeature } from './features.js';
import type { PerfEvent } from './events.js';
import type { SampleReader } from './samples.js';
import { addRemark } from './session.js';
import type { Session } from './session.js';

export const PERF_RECORD_SAMPLE = 9;
export const PERF_RECORD_TRACING_DATA = 66;
export const PERF_RECORD_AUXTRACE = 71;
export const PERF_RECORD_COMPRESSED = 81;
export const PERF_RECORD_COMPRESSED2 = 83;

const PERF_RECORD_MMAP = 1;
const PERF_RECORD_LOST = 2;
const PERF_RECORD_COMM = 3;
const PERF_RECORD_EXIT = 4;
const PERF_RECORD_THROTTLE = 5;
const PERF_RECORD_FORK = 7;
const PERF_RECORD_MMAP2 = 10;
const PERF_RECORD_LOST_SAMPLES = 13;
const PERF_RECORD_LAST_KERNEL = 22;
const PERF_RECORD_HEADER_ATTR = 64;
const PERF_RECORD_ID_INDEX = 69;
const PERF_RECORD_EVENT_UPDATE = 78;
const PERF_RECORD_HEADER_FEATURE = 80;
const PERF_RECORD_LAST_USER = 86;

/** misc of LOST_SAMPLES that a BPF filter dropped: nothing is missing (tools/perf: PERF_RECORD_MISC_LOST_SAMPLES_BPF). */
const MISC_LOST_SAMPLES_BPF = 1 << 15;
const EVENT_UPDATE_NAME = 2;

/** One record: its place in the block and its header. */
export interface RecordPlace {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly at: number;
  readonly size: number;
  readonly type: number;
  readonly misc: number;
  readonly seq: number;
}

/** What the sample_id trailer says; time 0 where it says none (or the record was synthesized). */
interface Trailer {
  readonly size: number;
  readonly timeNs: bigint;
  readonly cpu: number | null;
}

/** Takes what the record says; one that is too short for its type, or of a type of later years, is counted. */
export function takeRecord(session: Session, samples: SampleReader, record: RecordPlace): void {
  const { view, at, size, type, seq } = record;
  const little = session.header.little;
  const u32 = (offset: number): number => view.getUint32(at + offset, little);
  const minimum = MIN_SIZE[type] ?? 8;
  if (size < minimum) {
    session.skips.add(`record of type ${type} that is too short`, `byte ${seq}`);
    return;
  }
  switch (type) {
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2:
    case PERF_RECORD_COMM:
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT:
      takeTask(session, record);
      break;
    case PERF_RECORD_LOST:
      takeLost(session, samples, record);
      break;
    case PERF_RECORD_LOST_SAMPLES:
      if ((record.misc & MISC_LOST_SAMPLES_BPF) === 0) session.lost.addTotal(readU64(view, at + 8, little));
      break;
    case PERF_RECORD_THROTTLE:
      addRemark(session, 'times the kernel throttled a counter');
      break;
    case PERF_RECORD_HEADER_ATTR:
      takeAttr(session, record);
      break;
    case PERF_RECORD_ID_INDEX:
      takeIdIndex(session, record);
      break;
    case PERF_RECORD_EVENT_UPDATE:
      if (readU64(view, at + 8, little) === EVENT_UPDATE_NAME) {
        session.events.rename(readU64(view, at + 16, little), decodeName(record.bytes, at + 24, at + size));
      }
      break;
    case PERF_RECORD_HEADER_FEATURE: {
      const { features } = session.header;
      readFeature(features, u32(little ? 8 : 12), record.bytes.subarray(at + 16, at + size), little);
      session.events.describe(features.events);
      break;
    }
    default:
      if (type === 0 || type > PERF_RECORD_LAST_USER || (type > PERF_RECORD_LAST_KERNEL && type < 64)) {
        session.skips.add(`record of unknown type ${type}`, `byte ${seq}`);
      }
  }
}

/** Bytes that a record of the type has at least, header included. */
const MIN_SIZE: Readonly<Record<number, number>> = {
  [PERF_RECORD_MMAP]: 40,
  [PERF_RECORD_MMAP2]: 72,
  [PERF_RECORD_LOST]: 24,
  [PERF_RECORD_COMM]: 16,
  [PERF_RECORD_EXIT]: 32,
  [PERF_RECORD_FORK]: 32,
  [PERF_RECORD_LOST_SAMPLES]: 16,
  [PERF_RECORD_HEADER_ATTR]: 72,
  [PERF_RECORD_ID_INDEX]: 16,
  [PERF_RECORD_EVENT_UPDATE]: 24,
  [PERF_RECORD_HEADER_FEATURE]: 16,
};

function readTrailer(session: Session, { view, at, size }: RecordPlace): Trailer {
  const { little } = session.header;
  const { events, idOffset } = session.events;
  const first = events[0];
  if (!first || first.trailer.size + 8 > size) return { size: 0, timeNs: 0n, cpu: null };
  const end = at + size;
  // Where the attrs differ they all have IDENTIFIER, which stands last.
  const byId: PerfEvent | undefined = idOffset === 8 ? session.events.byId(readU64(view, end - 8, little)) : undefined;
  const { trailer } = byId ?? first;
  if (trailer.size + 8 > size) return { size: 0, timeNs: 0n, cpu: null };
  const cpu = trailer.cpu === 0 ? null : view.getUint32(end - trailer.cpu, little);
  return {
    size: trailer.size,
    timeNs: trailer.time === 0 ? 0n : shifted(session, view.getBigUint64(end - trailer.time, little)),
    cpu: cpu === null || cpu > 0xfffe ? null : cpu,
  };
}

/** COMM and MMAP: u32 pid, tid; FORK and EXIT: u32 pid, ppid, tid, ptid, u64 time. */
function takeTask(session: Session, record: RecordPlace): void {
  const { bytes, view, at, size, type } = record;
  const { tasks, header } = session;
  const i32 = (offset: number): number => view.getInt32(at + offset, header.little);
  if (type === PERF_RECORD_FORK) tasks.forked(i32(16), i32(8), i32(20), readTime(session, record, 24));
  else if (type === PERF_RECORD_EXIT) tasks.seen(i32(16), i32(8), readTime(session, record, 24));
  else {
    const trailer = readTrailer(session, record);
    if (type === PERF_RECORD_COMM) {
      const comm = decodeName(bytes, at + 16, Math.max(at + 16, at + size - trailer.size));
      tasks.named(i32(12), i32(8), comm, trailer.timeNs);
    } else tasks.seen(i32(12), i32(8), trailer.timeNs);
  }
}

function readTime(session: Session, { view, at }: RecordPlace, offset: number): bigint {
  return shifted(session, view.getBigUint64(at + offset, session.header.little));
}

/** The stamp on the axis that the user asked for; 0 stays 0, as it means "synthesized". */
function shifted(session: Session, timeNs: bigint): bigint {
  return timeNs === 0n ? 0n : BigInt.asIntN(64, timeNs + session.clockOffsetNs);
}

function takeLost(session: Session, samples: SampleReader, record: RecordPlace): void {
  const { timeNs, cpu } = readTrailer(session, record);
  const from = cpu === null ? null : samples.lastTimeOf(cpu);
  const to = timeNs === 0n ? null : timeNs;
  const count = readU64(record.view, record.at + 16, session.header.little);
  session.lost.addRecord(cpu, from !== null && to !== null && from > to ? null : from, to, count);
}

/** HEADER_ATTR of the pipe form: the attr with its own size, then ids to the end of the record. */
function takeAttr(session: Session, { view, at, size, seq }: RecordPlace): void {
  const { little } = session.header;
  const length = attrLength(view, at + 8, size - 8, little);
  if (length === 0) {
    session.skips.add('event description that is cut off or damaged', `byte ${seq}`);
    return;
  }
  const attr = decodeAttr(view, at + 8, length, little);
  attr.ids = decodeIds(view, at + 8 + length, Math.floor((size - 8 - length) / 8), little);
  session.events.add(attr);
}

/** ID_INDEX: u64 nr, nr × {u64 id, idx, cpu, tid}. */
function takeIdIndex(session: Session, { view, at, size }: RecordPlace): void {
  const { little } = session.header;
  const count = Math.min(readU64(view, at + 8, little), Math.floor((size - 16) / 32));
  for (let k = 0; k < count; k++) {
    const entry = at + 16 + 32 * k;
    const cpu = readU64(view, entry + 16, little);
    if (cpu <= 0xfffe) session.cpuOfId.set(readU64(view, entry, little), cpu);
  }
}
