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

/** Both halves of a stamp as one number. */
export function stampNs(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

/** Reads the samples of a session one by one. */
export class SampleReader {
  /** Samples that became events. */
  count = 0;
  /** First and last stamp as halves; only of use where `count` > 0. */
  firstLo = 0;
  firstHi = 0;
  lastLo = 0;
  lastHi = 0;

  private readonly session: Session;
  private readonly little: boolean;
  private readonly offsetLo: number;
  private readonly offsetHi: number;
  private readonly head: SampleHead;
  private readonly scratch = new Uint8Array(65_536);
  private readonly scratchView = new DataView(this.scratch.buffer);
  /** Last stamp of each CPU, as halves. */
  private lastTimes = new Int32Array(128);
  private lastId = -1;
  private lastEvent: PerfEvent | undefined;

  constructor(session: Session) {
    this.session = session;
    this.little = session.header.little;
    this.offsetLo = Number(BigInt.asUintN(32, session.clockOffsetNs));
    this.offsetHi = Number(BigInt.asUintN(32, session.clockOffsetNs >> 32n));
    this.head = { at: 0, timeLo: 0, timeHi: 0, cpu: 0, tid: 0, seqLo: 0, seqHi: 0, flags: NO_FLAGS };
  }

  /** Decodes the sample of `size` bytes at `at`, which has position `seq`; gives a batch that has become full. */
  read(bytes: Uint8Array, view: DataView, at: number, size: number, seq: number): EventBatch | null {
    const event = this.findEvent(view, at, size);
    if (!event) return this.skip('sample of an event that the file does not describe', seq);
    const layout = event.layout;
    if (layout.end > size) return this.skip('sample shorter than its event says', seq);
    const raw = layout.hasRaw ? findRaw(view, at, size, layout, this.little) : -1;
    if (raw === DAMAGED) return this.skip('sample whose lengths do not fit into it', seq);
    this.readHead(view, at, layout, seq);
    const head = this.head;
    const length = raw < 0 ? 0 : view.getUint32(raw - 4, this.little);
    if (length < 8 || !event.isTracepoint) return this.pushPlain(event, bytes, view, -1);
    const pid = view.getInt32(raw + 4, this.little);
    // A task that is being reaped has no pid any more (kernel/events/core.c:perf_event_pid_type): the record knows it.
    if (head.tid < 0) head.tid = pid;
    const { payloads } = this.session;
    if (payloads?.formats.has(view.getUint16(raw, this.little)) !== true) {
      return this.pushPlain(event, bytes, view, raw);
    }
    const { decoder } = payloads;
    if (pid === head.tid) {
      return decoder.push(bytes, raw, length, head.timeLo, head.timeHi, head.cpu, head.seqLo, head.seqHi);
    }
    // Recorded inside a pid namespace: the sample has the recorder's number of the thread, as COMM and FORK have.
    this.scratch.set(bytes.subarray(raw, raw + length));
    this.scratchView.setInt32(4, head.tid, this.little);
    return decoder.push(this.scratch, 0, length, head.timeLo, head.timeHi, head.cpu, head.seqLo, head.seqHi);
  }

  /** Stamp of the sample before on that CPU, in ns; null where there was none. */
  lastTimeOf(cpu: number): bigint | null {
    const hi = this.lastTimes[2 * cpu + 1] ?? 0;
    const lo = this.lastTimes[2 * cpu] ?? 0;
    return hi === 0 && lo === 0 ? null : stampNs(lo, hi);
  }

  private skip(reason: string, seq: number): null {
    this.session.skips.add(reason, `byte ${seq}`);
    return null;
  }

  private findEvent(view: DataView, at: number, size: number): PerfEvent | undefined {
    const { events } = this.session;
    if (events.idOffset < 0) return events.events[0];
    if (events.idOffset + 8 > size) return undefined;
    const id = readU64(view, at + events.idOffset, this.little);
    if (id !== this.lastId || !this.lastEvent) {
      this.lastId = id;
      this.lastEvent = events.byId(id);
    }
    return this.lastEvent;
  }

  /** Takes time, CPU, thread and position of the sample. */
  private readHead(view: DataView, at: number, layout: SampleLayout, seq: number): void {
    const { head, little } = this;
    head.timeLo = 0;
    head.timeHi = 0;
    if (layout.time >= 0) {
      const time = at + layout.time;
      const sum = view.getUint32(little ? time : time + 4, little) + this.offsetLo;
      head.timeLo = sum >>> 0;
      // Signed, so that stamps which an offset moves below 0 come first.
      head.timeHi = (view.getUint32(little ? time + 4 : time, little) + this.offsetHi + (sum > 0xffffffff ? 1 : 0)) | 0;
    } else addRemark(this.session, 'samples without a time are shown at 0');
    const cpu = layout.cpu >= 0 ? view.getUint32(at + layout.cpu, little) : MAX_CPU + 1;
    head.at = at;
    head.cpu = cpu <= MAX_CPU ? cpu : this.findCpu(view, at, layout);
    head.seqLo = seq >>> 0;
    head.seqHi = Math.floor(seq / 4294967296);
    head.tid = -1;
    if (layout.tid >= 0) {
      head.tid = view.getInt32(at + layout.tid + 4, little);
      this.session.tasks.sample(head.tid, view.getInt32(at + layout.tid, little), head.timeLo, head.timeHi);
    }
    this.noteTime(head.cpu, head.timeLo, head.timeHi);
  }

  /** The CPU of a sample that does not say it: that of its id, or 0. */
  private findCpu(view: DataView, at: number, layout: SampleLayout): number {
    const { cpuOfId } = this.session;
    const place = layout.identifier >= 0 ? layout.identifier : layout.id;
    const cpu = place < 0 || cpuOfId.size === 0 ? undefined : cpuOfId.get(readU64(view, at + place, this.little));
    if (cpu === undefined) addRemark(this.session, 'samples that do not say their CPU are shown on CPU 0');
    return cpu ?? 0;
  }

  private noteTime(cpu: number, lo: number, hi: number): void {
    if (2 * cpu >= this.lastTimes.length) {
      const bigger = new Int32Array(Math.max(this.lastTimes.length * 2, 2 * cpu + 2));
      bigger.set(this.lastTimes);
      this.lastTimes = bigger;
    }
    this.lastTimes[2 * cpu] = lo;
    this.lastTimes[2 * cpu + 1] = hi;
    if (this.count === 0 || hi < this.firstHi || (hi === this.firstHi && lo < this.firstLo)) {
      this.firstLo = lo;
      this.firstHi = hi;
    }
    if (this.count === 0 || hi > this.lastHi || (hi === this.lastHi && lo > this.lastLo)) {
      this.lastLo = lo;
      this.lastHi = hi;
    }
    this.count++;
  }

  /** A sample without a known format: keeps what every sample has. `raw` is the place of its raw data, -1 without. */
  private pushPlain(event: PerfEvent, bytes: Uint8Array, view: DataView, raw: number): EventBatch | null {
    event.counter ??= makeCounter(this.session, event);
    this.head.flags = raw < 0 ? NO_FLAGS : bytes[raw + 2]! | (bytes[raw + 3]! << 8);
    if (event.isTracepoint) {
      const trouble = raw < 0 ? 'tracepoint samples without raw data' : 'tracepoint samples without event format';
      addRemark(this.session, trouble);
    }
    return pushCounter(event.counter, this.head, view, this.little) ? event.counter.batch : null;
  }
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
