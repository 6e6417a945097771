/** Options of a trace.dat: everything about the recording that is no event (reference trace-cmd.dat(5), "Options"). */
import { TraceError } from '../../base/errors.js';
import type { ByteCursor } from '../byte-cursor.js';
import { cursorOver } from '../byte-cursor.js';
import type { SkipLog } from '../skips.js';

export interface CpuRange {
  readonly cpu: number;
  readonly offset: number;
  readonly size: number;
}

export interface BufferOption {
  readonly name: string;
  /** Version 6: of the buffer's own table. Version 7: of its section. */
  readonly offset: number;
  readonly clock: string | null;
  /** Bytes of a sub-buffer; null in version 6 (that of the header). */
  readonly pageSize: number | null;
  /** CPUs with data; empty in version 6. */
  readonly cpus: readonly CpuRange[];
}

/** Correction of guest stamps to host time: one row of samples a CPU, sorted by time, without double times. */
export interface TimeShift {
  readonly interpolate: boolean;
  readonly cpus: readonly (readonly ShiftSample[])[];
}

export interface ShiftSample {
  readonly time: bigint;
  readonly offset: bigint;
  readonly scaling: bigint;
  readonly fraction: bigint;
}

/** What one CPU's `stats` file said at the end of the recording. */
export interface CpuStat {
  /** '' for the top buffer. */
  readonly buffer: string;
  readonly cpu: number;
  readonly overrun: number;
  readonly commitOverrun: number;
  readonly dropped: number;
}

export interface Options {
  dateNs: bigint;
  offsetNs: bigint;
  /** The clock that was in use, where its option or what follows the CPU table names it. */
  traceClock: string | null;
  /** Version 6: the clock's text follows the CPU table (the option itself is empty in old files). */
  hasClockText: boolean;
  uname: string | null;
  version: string | null;
  cpuCount: number | null;
  timeShift: TimeShift | null;
  tsc2nsec: { readonly mult: number; readonly shift: number } | null;
  readonly stats: CpuStat[];
  readonly buffers: BufferOption[];
  /** Buffers of which the kernel's text was saved (latency tracers): offset of the section. */
  readonly textBuffers: BufferOption[];
  /** Section offsets by option id (16 HEADER_INFO … 21 CMDLINES). */
  readonly sections: Map<number, number>;
  readonly notes: string[];
  /** The buffer to which further CPUSTAT options belong. */
  statBuffer: string;
}

/** Option and section ids of trace-cmd: include/private/trace-cmd-private.h, enum TRACECMD_OPTION_*. */
export const OPTION = {
  DONE: 0,
  DATE: 1,
  CPUSTAT: 2,
  BUFFER: 3,
  TRACECLOCK: 4,
  UNAME: 5,
  OFFSET: 7,
  CPUCOUNT: 8,
  VERSION: 9,
  TIME_SHIFT: 12,
  GUEST: 13,
  TSC2NSEC: 14,
  HEADER_INFO: 16,
  FTRACE_EVENTS: 17,
  EVENT_FORMATS: 18,
  KALLSYMS: 19,
  PRINTK: 20,
  CMDLINES: 21,
  BUFFER_TEXT: 22,
} as const;

/** Highest number of CPUs that a kernel can be built for (NR_CPUS of x86-64 MAXSMP), with room. */
const MOST_CPUS = 65_536;

export function noOptions(): Options {
  return {
    dateNs: 0n,
    offsetNs: 0n,
    traceClock: null,
    hasClockText: false,
    uname: null,
    version: null,
    cpuCount: null,
    timeShift: null,
    tsc2nsec: null,
    stats: [],
    buffers: [],
    textBuffers: [],
    sections: new Map(),
    notes: [],
    statBuffer: '',
  };
}

/**
 * Reads one list of options: up to DONE, or to the cursor's end. Gives the offset of the next list (version 7; 0 = none).
 * An option that cannot be read is counted in `skips`; the list goes on behind it.
 */
export function readOptionList(cursor: ByteCursor, version: 6 | 7, into: Options, skips: SkipLog): number {
  while (cursor.left >= 2) {
    const at = cursor.pos;
    const id = cursor.u16();
    if (id === OPTION.DONE && version === 6) return 0;
    const size = cursor.u32();
    const body = cursorOver(cursor.bytes(size), cursor.bigEndian);
    if (id === OPTION.DONE) return body.left >= 8 ? body.size() : 0;
    try {
      readOption(id, body, version, into);
    } catch (error) {
      if (!(error instanceof TraceError) && !(error instanceof SyntaxError)) throw error;
      skips.add(`option ${id} is not readable`, `byte ${at}`);
    }
  }
  return 0;
}

function readOption(id: number, body: ByteCursor, version: 6 | 7, into: Options): void {
  switch (id) {
    case OPTION.DATE:
      // Microseconds; the reader adds them in ns: trace-input.c, case TRACECMD_OPTION_DATE.
      into.dateNs += parseInteger(textOf(body)) * 1000n;
      break;
    case OPTION.OFFSET:
      into.offsetNs += parseInteger(textOf(body));
      break;
    case OPTION.CPUSTAT:
      readCpuStat(textOf(body), into);
      break;
    case OPTION.BUFFER:
      into.buffers.push(readBuffer(body, version));
      break;
    case OPTION.BUFFER_TEXT:
      into.textBuffers.push({ offset: body.size(), name: body.zString(), clock: null, pageSize: null, cpus: [] });
      break;
    case OPTION.TRACECLOCK:
      into.hasClockText = true;
      into.traceClock = chosenClock(textOf(body));
      break;
    case OPTION.UNAME:
      into.uname = textOf(body).trim();
      break;
    case OPTION.VERSION:
      into.version = textOf(body).trim();
      break;
    case OPTION.CPUCOUNT:
      into.cpuCount = Math.min(body.u32(), MOST_CPUS);
      break;
    case OPTION.TIME_SHIFT:
      into.timeShift = readTimeShift(body);
      break;
    case OPTION.GUEST:
      into.notes.push(readGuest(body));
      break;
    case OPTION.TSC2NSEC:
      into.tsc2nsec = readTsc2nsec(body, into);
      break;
    default:
      if (id >= OPTION.HEADER_INFO && id <= OPTION.CMDLINES) into.sections.set(id, body.size());
  }
}

function textOf(body: ByteCursor): string {
  return body.text(body.left).replace(/\0[\s\S]*$/, '');
}

/** A C integer as strtoll(…, 0) reads it: `0x1f`, `-12`. Throws SyntaxError. */
function parseInteger(text: string): bigint {
  const match = /^\s*([-+]?)(0[xX][0-9a-fA-F]+|\d+)/.exec(text);
  if (!match) throw new SyntaxError('not a number');
  const value = BigInt(match[2]!);
  return match[1] === '-' ? -value : value;
}

/** The clock in use out of the text of trace_clock (`[local] global …`), or the single name that newer files hold. */
export function chosenClock(text: string): string | null {
  const bracketed = /\[([^\]\s]+)\]/.exec(text)?.[1];
  const only = /^\s*([\w-]+)\s*$/.exec(text)?.[1];
  return bracketed ?? only ?? null;
}

function readCpuStat(text: string, into: Options): void {
  const buffer = /^\s*Buffer: (.*)/.exec(text)?.[1];
  if (buffer !== undefined) {
    into.statBuffer = buffer.trim();
    return;
  }
  const field = (name: string): number => Number(new RegExp(`^\\s*${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  into.stats.push({
    buffer: into.statBuffer,
    cpu: field('CPU'),
    overrun: field('overrun'),
    commitOverrun: field('commit overrun'),
    dropped: field('dropped events'),
  });
}

function readBuffer(body: ByteCursor, version: 6 | 7): BufferOption {
  const offset = body.size();
  const name = body.zString();
  if (version === 6) return { offset, name, clock: null, pageSize: null, cpus: [] };
  const clock = body.zString();
  const pageSize = body.u32();
  const count = body.u32();
  const cpus: CpuRange[] = [];
  for (let k = 0; k < count; k++) cpus.push({ cpu: body.u32(), offset: body.size(), size: body.size() });
  return { offset, name, clock: chosenClock(clock) ?? (clock || null), pageSize, cpus };
}

function readTsc2nsec(body: ByteCursor, into: Options): { mult: number; shift: number } {
  const mult = body.u32();
  const shift = body.u32();
  const offset = body.u64();
  // trace-cmd stores the offset and does not apply it (3.1.6, 3.3.1): stamps here are the same as its own.
  if (offset !== 0n)
    into.notes.push(`TSC2NSEC states an offset of ${offset} ns, which is not applied (as trace-cmd does)`);
  if (shift > 63) throw new TraceError('corrupt', `TSC2NSEC shift ${shift} is beyond 63`);
  return { mult, shift };
}

function readTimeShift(body: ByteCursor): TimeShift {
  body.skip(8);
  const flags = body.u32();
  const count = body.u32();
  const rows: { time: bigint[]; offset: bigint[]; scaling: bigint[] }[] = [];
  for (let cpu = 0; cpu < count; cpu++) {
    const samples = body.u32();
    const column = (): bigint[] => {
      if (samples * 8 > body.left) throw new TraceError('truncated', 'TIME_SHIFT ends early');
      return Array.from({ length: samples }, () => body.u64());
    };
    rows.push({ time: column(), offset: column().map((v) => BigInt.asIntN(64, v)), scaling: column() });
  }
  const cpus = rows.map(({ time, offset, scaling }) => {
    const hasFractions = body.left >= time.length * 8;
    const samples = time.map((t, k) => ({
      time: t,
      offset: offset[k]!,
      scaling: BigInt.asIntN(64, scaling[k]!),
      fraction: hasFractions ? body.u64() & 63n : 0n,
    }));
    samples.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
    return samples.filter((sample, k) => k === 0 || sample.time !== samples[k - 1]!.time);
  });
  return { interpolate: (flags & 1) !== 0, cpus };
}

function readGuest(body: ByteCursor): string {
  const name = body.zString();
  const id = body.u64();
  const count = body.u32();
  const pairs: string[] = [];
  for (let k = 0; k < count; k++) pairs.push(`vcpu ${body.u32()} is thread ${body.u32()}`);
  return `guest ${JSON.stringify(name)} (trace id 0x${id.toString(16)}): ${pairs.join(', ')}`;
}
