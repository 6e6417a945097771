/** PERF_RECORD_SAMPLE: place, time and thread of each sample, and its raw data to the decoder. The hot part of the reader. */
import type { EventBatch } from '../batch.js';
import { readU64 } from './attr.js';
import type { SampleLayout } from './attr.js';
import { makeCounterBatch, pushCounter } from './counters.js';
import type { SampleHead } from './counters.js';
import { eventName } from './events.js';
import type { PerfEvent } from './events.js';
import { addRemark } from './session.js';
import type { Session } from './session.js';

/** CPUs beyond this are no numbers of CPUs (struct sample_id says -1 where it knows none). */
const MAX_CPU = 0xfffe;
const NO_FLAGS = 0xffff;

/** Bits of read_format (include/uapi/linux/perf_event.h). */
const FORMAT_TOTAL_TIME_ENABLED = 1;
const FORMAT_TOTAL_TIME_RUNNING = 2;
const FORMAT_ID = 4;
const FORMAT_GROUP = 8;
const FORMAT_LOST = 16;

export interface SampleReader {
  /** Samples that became events. */
  count: number;
  /** First and last stamp as halves; only of use where `count` > 0. */
  firstLo: number;
  firstHi: number;
  lastLo: number;
  lastHi: number;
  /** Decodes the sample of `size` bytes at `at`; gives a batch that has become full. */
  read(bytes: Uint8Array, view: DataView, at: number, size: number, seq: number): EventBatch | null;
  /** Stamp of the sample before on that CPU, in ns; null where there was none. */
  lastTimeOf(cpu: number): bigint | null;
}

/** Both halves of a stamp as one number. */
export function stampNs(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

/** A reader of the session's samples. */
export function makeSampleReader(session: Session): SampleReader {
  const { little } = session.header;
  const { events, tasks, skips } = session;
  const offsetLo = Number(BigInt.asUintN(32, session.clockOffsetNs));
  const offsetHi = Number(BigInt.asUintN(32, session.clockOffsetNs >> 32n));
  const low = little ? 0 : 4;
  const high = 4 - low;
  const head: SampleHead = { at: 0, timeLo: 0, timeHi: 0, cpu: 0, tid: 0, seqLo: 0, seqHi: 0, flags: NO_FLAGS };
  const scratch = new Uint8Array(65_536);
  const scratchView = new DataView(scratch.buffer);
  let lastTimes = new Int32Array(128);
  let lastId = -1;
  let lastEvent: PerfEvent | undefined;

  function findEvent(view: DataView, at: number, size: number): PerfEvent | undefined {
    if (events.idOffset < 0) return events.events[0];
    if (events.idOffset + 8 > size) return undefined;
    const id = readU64(view, at + events.idOffset, little);
    if (id !== lastId || !lastEvent) {
      lastId = id;
      lastEvent = events.byId(id);
    }
    return lastEvent;
  }

  function cpuOf(view: DataView, at: number, layout: SampleLayout): number {
    if (layout.cpu >= 0) {
      const cpu = view.getUint32(at + layout.cpu, little);
      if (cpu <= MAX_CPU) return cpu;
    } else if (session.cpuOfId.size > 0) {
      const place = layout.identifier >= 0 ? layout.identifier : layout.id;
      const cpu = place < 0 ? undefined : session.cpuOfId.get(readU64(view, at + place, little));
      if (cpu !== undefined) return cpu;
    }
    addRemark(session, 'samples that do not say their CPU are shown on CPU 0');
    return 0;
  }

  function noteTime(cpu: number, lo: number, hi: number): void {
    if (2 * cpu >= lastTimes.length) {
      const bigger = new Int32Array(Math.max(lastTimes.length * 2, 2 * cpu + 2));
      bigger.set(lastTimes);
      lastTimes = bigger;
    }
    lastTimes[2 * cpu] = lo;
    lastTimes[2 * cpu + 1] = hi;
    if (reader.count === 0 || hi < reader.firstHi || (hi === reader.firstHi && lo < reader.firstLo)) {
      reader.firstLo = lo;
      reader.firstHi = hi;
    }
    if (reader.count === 0 || hi > reader.lastHi || (hi === reader.lastHi && lo > reader.lastLo)) {
      reader.lastLo = lo;
      reader.lastHi = hi;
    }
    reader.count++;
  }

  /** A sample without a known format: keeps what every sample has. `raw` is the place of its raw data, -1 without. */
  function pushPlain(event: PerfEvent, bytes: Uint8Array, view: DataView, raw: number): EventBatch | null {
    event.counter ??= makeCounter(session, event);
    head.flags = raw < 0 ? NO_FLAGS : bytes[raw + 2]! | (bytes[raw + 3]! << 8);
    if (event.isTracepoint) {
      addRemark(session, raw < 0 ? 'tracepoint samples without raw data' : 'tracepoint samples without event format');
    }
    return pushCounter(event.counter, head, view, little) ? event.counter.batch : null;
  }

  function pushRaw(bytes: Uint8Array, view: DataView, raw: number, length: number): EventBatch | null {
    const { decoder } = session.payloads!;
    const pid = view.getInt32(raw + 4, little);
    if (pid === head.tid) {
      return decoder.push(bytes, raw, length, head.timeLo, head.timeHi, head.cpu, head.seqLo, head.seqHi);
    }
    // Recorded inside a pid namespace: the sample has the recorder's number of the thread, as COMM and FORK have.
    scratch.set(bytes.subarray(raw, raw + length));
    scratchView.setInt32(4, head.tid, little);
    return decoder.push(scratch, 0, length, head.timeLo, head.timeHi, head.cpu, head.seqLo, head.seqHi);
  }

  function read(bytes: Uint8Array, view: DataView, at: number, size: number, seq: number): EventBatch | null {
    const event = findEvent(view, at, size);
    if (!event) {
      skips.add('sample of an event that the file does not describe', `byte ${seq}`);
      return null;
    }
    const layout = event.layout;
    if (layout.end > size) {
      skips.add('sample shorter than its event says', `byte ${seq}`);
      return null;
    }
    const raw = layout.hasRaw ? findRaw(view, at, size, layout, little) : -1;
    if (raw === DAMAGED) {
      skips.add('sample whose lengths do not fit into it', `byte ${seq}`);
      return null;
    }
    let timeLo = 0;
    let timeHi = 0;
    if (layout.time >= 0) {
      const sum = view.getUint32(at + layout.time + low, little) + offsetLo;
      timeLo = sum >>> 0;
      // Signed, so that stamps which an offset moves below 0 come first.
      timeHi = (view.getUint32(at + layout.time + high, little) + offsetHi + (sum > 0xffffffff ? 1 : 0)) | 0;
    } else addRemark(session, 'samples without a time are shown at 0');
    const cpu = layout.cpu >= 0 ? view.getUint32(at + layout.cpu, little) : MAX_CPU + 1;
    head.at = at;
    head.timeLo = timeLo;
    head.timeHi = timeHi;
    head.cpu = cpu <= MAX_CPU ? cpu : cpuOf(view, at, layout);
    head.seqLo = seq >>> 0;
    head.seqHi = Math.floor(seq / 4294967296);
    head.tid = -1;
    if (layout.tid >= 0) {
      head.tid = view.getInt32(at + layout.tid + 4, little);
      tasks.sample(head.tid, view.getInt32(at + layout.tid, little), timeLo, timeHi);
    }
    noteTime(head.cpu, timeLo, timeHi);
    const length = raw < 0 ? 0 : view.getUint32(raw - 4, little);
    if (length < 8 || !event.isTracepoint) return pushPlain(event, bytes, view, -1);
    // A task that is being reaped has no pid any more (kernel/events/core.c:perf_event_pid_type): the record knows it.
    if (head.tid < 0) head.tid = view.getInt32(raw + 4, little);
    if (session.payloads?.formats.has(view.getUint16(raw, little)) !== true) return pushPlain(event, bytes, view, raw);
    return pushRaw(bytes, view, raw, length);
  }

  const reader: SampleReader = {
    count: 0,
    firstLo: 0,
    firstHi: 0,
    lastLo: 0,
    lastHi: 0,
    read,
    lastTimeOf(cpu) {
      const hi = lastTimes[2 * cpu + 1] ?? 0;
      const lo = lastTimes[2 * cpu] ?? 0;
      return hi === 0 && lo === 0 ? null : stampNs(lo, hi);
    },
  };
  return reader;
}

const DAMAGED = -2;

/** Place of the raw data behind its length, past READ and CALLCHAIN; DAMAGED where a length leads out of the record. */
function findRaw(view: DataView, at: number, size: number, layout: SampleLayout, little: boolean): number {
  const end = at + size;
  let place = at + layout.end;
  if (layout.hasRead) {
    const format = layout.readFormat;
    let words = 0;
    if ((format & FORMAT_TOTAL_TIME_ENABLED) !== 0) words++;
    if ((format & FORMAT_TOTAL_TIME_RUNNING) !== 0) words++;
    const perValue = 1 + ((format & FORMAT_ID) !== 0 ? 1 : 0) + ((format & FORMAT_LOST) !== 0 ? 1 : 0);
    if ((format & FORMAT_GROUP) !== 0) {
      if (place + 8 > end) return DAMAGED;
      place += 8 * (1 + words) + 8 * perValue * readU64(view, place, little);
    } else place += 8 * (words + perValue);
  }
  if (layout.hasCallchain) {
    if (place + 8 > end) return DAMAGED;
    place += 8 + 8 * readU64(view, place, little);
  }
  if (place + 4 > end || place + 4 + view.getUint32(place, little) > end) return DAMAGED;
  return place + 4;
}

/** The batch of an event's samples, named by the recorder, or by the number of the tracepoint where it did not get to it. */
function makeCounter(session: Session, event: PerfEvent): ReturnType<typeof makeCounterBatch> {
  const { attr } = event;
  const id = event.isTracepoint ? attr.config : null;
  const format = id === null ? undefined : session.payloads?.formats.get(id);
  const full =
    eventName(event, format ? `${format.system}:${format.name}` : undefined) ?? `unknown:event_${attr.config}`;
  const colon = full.indexOf(':');
  return makeCounterBatch(full.slice(0, colon), full.slice(colon + 1), id, event.layout, session.strings);
}
