/** struct perf_event_attr (include/uapi/linux/perf_event.h), and what it says about the layout of samples. */

/** Sample bits of attr.sample_type that come before the raw data or tell a sample's place in the trailer. */
export const PERF_SAMPLE_IP = 1 << 0;
export const PERF_SAMPLE_TID = 1 << 1;
export const PERF_SAMPLE_TIME = 1 << 2;
export const PERF_SAMPLE_ADDR = 1 << 3;
export const PERF_SAMPLE_READ = 1 << 4;
export const PERF_SAMPLE_CALLCHAIN = 1 << 5;
export const PERF_SAMPLE_ID = 1 << 6;
export const PERF_SAMPLE_CPU = 1 << 7;
export const PERF_SAMPLE_PERIOD = 1 << 8;
export const PERF_SAMPLE_STREAM_ID = 1 << 9;
export const PERF_SAMPLE_RAW = 1 << 10;
export const PERF_SAMPLE_IDENTIFIER = 1 << 16;

export const PERF_TYPE_SOFTWARE = 1;
export const PERF_TYPE_TRACEPOINT = 2;

/** attr sizes: PERF_ATTR_SIZE_VER0, and the largest that is believed. */
export const MIN_ATTR_SIZE = 64;
export const MAX_ATTR_SIZE = 4096;

export interface PerfAttr {
  readonly type: number;
  /** Tracepoints: the event id. Above 2^53 rounded. */
  readonly config: number;
  readonly sampleType: number;
  readonly readFormat: number;
  readonly sampleIdAll: boolean;
  /** attr.clockid where use_clockid is set, else null. */
  readonly clockid: number | null;
  /** Sample ids as numbers (ids count up from 1, so 2^53 is never reached by real ones). */
  ids: readonly number[];
  /** `sched:sched_switch`, `page-faults`, … as EVENT_DESC or EVENT_UPDATE names it; null where neither does. */
  name: string | null;
}

/** The u64 at `offset` as a number, rounded above 2^53. */
export function readU64(view: DataView, offset: number, little: boolean): number {
  const first = view.getUint32(offset, little);
  const second = view.getUint32(offset + 4, little);
  return little ? second * 4294967296 + first : first * 4294967296 + second;
}

/** Length of the attr at `offset` by its own size field, kept within `limit` bytes; 0 where it cannot be an attr. */
export function attrLength(view: DataView, offset: number, limit: number, little: boolean): number {
  if (limit < MIN_ATTR_SIZE) return 0;
  const own = view.getUint32(offset + 4, little);
  // The first version of the structure left its size 0.
  const size = own === 0 ? MIN_ATTR_SIZE : own;
  return size < MIN_ATTR_SIZE || size > MAX_ATTR_SIZE || size > limit ? 0 : size;
}

/** Decodes the attr of `length` bytes (at least 64) at `offset`. */
export function decodeAttr(view: DataView, offset: number, length: number, little: boolean): PerfAttr {
  // Bit fields are filled from the other end of the u64 on big-endian machines.
  const flag = (bit: number): boolean =>
    little
      ? ((view.getUint32(offset + 40, true) >>> bit) & 1) === 1
      : ((view.getUint32(offset + 40, false) >>> (31 - bit)) & 1) === 1;
  const low = little ? 0 : 4;
  return {
    type: view.getUint32(offset, little),
    config: readU64(view, offset + 8, little),
    sampleType: view.getUint32(offset + 24 + low, little),
    readFormat: view.getUint32(offset + 32 + low, little),
    sampleIdAll: flag(18),
    clockid: flag(25) && length >= 96 ? view.getInt32(offset + 92, little) : null,
    ids: [],
    name: null,
  };
}

/** Places of a sample's fields, from the start of the record (header included); -1 where the attr does not ask for it. */
export interface SampleLayout {
  readonly identifier: number;
  readonly ip: number;
  readonly tid: number;
  readonly time: number;
  readonly addr: number;
  readonly id: number;
  readonly cpu: number;
  /** End of the fields of fixed size: READ, CALLCHAIN and RAW follow. */
  readonly end: number;
  readonly hasRead: boolean;
  readonly readFormat: number;
  readonly hasCallchain: boolean;
  readonly hasRaw: boolean;
}

/** Layout of PERF_RECORD_SAMPLE (kernel/events/core.c:perf_output_sample). */
export function sampleLayout(attr: PerfAttr): SampleLayout {
  let end = 8;
  const place = (bit: number): number => {
    if ((attr.sampleType & bit) === 0) return -1;
    end += 8;
    return end - 8;
  };
  const identifier = place(PERF_SAMPLE_IDENTIFIER);
  const ip = place(PERF_SAMPLE_IP);
  const tid = place(PERF_SAMPLE_TID);
  const time = place(PERF_SAMPLE_TIME);
  const addr = place(PERF_SAMPLE_ADDR);
  const id = place(PERF_SAMPLE_ID);
  place(PERF_SAMPLE_STREAM_ID);
  const cpu = place(PERF_SAMPLE_CPU);
  place(PERF_SAMPLE_PERIOD);
  return {
    identifier,
    ip,
    tid,
    time,
    addr,
    id,
    cpu,
    end,
    hasRead: (attr.sampleType & PERF_SAMPLE_READ) !== 0,
    readFormat: attr.readFormat,
    hasCallchain: (attr.sampleType & PERF_SAMPLE_CALLCHAIN) !== 0,
    hasRaw: (attr.sampleType & PERF_SAMPLE_RAW) !== 0,
  };
}

/** Places of the sample_id trailer's fields, counted back from the end of the record; 0 where there is none. */
export interface TrailerLayout {
  readonly size: number;
  readonly tid: number;
  readonly time: number;
  readonly id: number;
  readonly cpu: number;
}

/** Layout of struct sample_id, which ends every kernel record but samples (perf_event__output_id_sample). */
export function trailerLayout(attr: PerfAttr): TrailerLayout {
  let size = 0;
  const place = (bit: number): number => {
    if (!attr.sampleIdAll || (attr.sampleType & bit) === 0) return 0;
    size += 8;
    return size;
  };
  const identifier = place(PERF_SAMPLE_IDENTIFIER);
  const cpu = place(PERF_SAMPLE_CPU);
  place(PERF_SAMPLE_STREAM_ID);
  const id = place(PERF_SAMPLE_ID);
  const time = place(PERF_SAMPLE_TIME);
  const tid = place(PERF_SAMPLE_TID);
  return { size, tid, time, id: identifier || id, cpu };
}

const HARDWARE_NAMES = [
  'cycles',
  'instructions',
  'cache-references',
  'cache-misses',
  'branches',
  'branch-misses',
  'bus-cycles',
  'stalled-cycles-frontend',
  'stalled-cycles-backend',
  'ref-cycles',
];
const SOFTWARE_NAMES = [
  'cpu-clock',
  'task-clock',
  'page-faults',
  'context-switches',
  'cpu-migrations',
  'minor-faults',
  'major-faults',
  'alignment-faults',
  'emulation-faults',
  'dummy',
  'bpf-output',
  'cgroup-switches',
];

/** Whether the attr is the `dummy` event that only owns the side-band records. */
export function isDummy(attr: PerfAttr): boolean {
  return attr.type === PERF_TYPE_SOFTWARE && attr.config === SOFTWARE_NAMES.indexOf('dummy');
}

/** Name of an event that is no tracepoint, as perf lists it. */
export function counterName(attr: PerfAttr): string {
  if (attr.name !== null && attr.name !== '') return attr.name;
  const names = attr.type === 0 ? HARDWARE_NAMES : attr.type === PERF_TYPE_SOFTWARE ? SOFTWARE_NAMES : [];
  return names[attr.config] ?? `type${attr.type}_0x${attr.config.toString(16)}`;
}
