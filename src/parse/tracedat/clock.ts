/**
 * Raw stamps of the ring buffer → ns, in the order of trace-cmd's reader (trace-input.c:timestamp_calc): correction of a
 * guest, cycles to ns, then date and offset. Per stamp two 32-bit halves, exact.
 */
import type { TraceMeta } from '../model.js';
import type { Options, ShiftSample } from './options.js';

type Unit = TraceMeta['clockUnit'];

/** Clocks of kernel/trace/trace.c:trace_clocks; those of the architectures count cycles. */
const UNITS: Readonly<Record<string, Unit>> = {
  local: 'ns',
  global: 'ns',
  perf: 'ns',
  mono: 'ns',
  mono_raw: 'ns',
  boot: 'ns',
  tai: 'ns',
  // jiffies since boot, shown in USER_HZ: kernel/trace/trace_clock.c:trace_clock_jiffies.
  uptime: 'ns',
  counter: 'count',
  'x86-tsc': 'cycles',
  'ppc-tb': 'cycles',
  's390-tod': 'cycles',
};

/** One tick of the clock `uptime` in ns: USER_HZ is 100 on every architecture that traces. */
const UPTIME_TICK_NS = 10_000_000;

export interface ClockFacts {
  readonly name: string;
  readonly unit: Unit;
  readonly resolutionNs: number;
  readonly notes: readonly string[];
}

/** What the file tells of its clock, and what is worth a line in the report. */
export function clockFacts(options: Options, bufferClock: string | null): ClockFacts {
  const stated = options.traceClock ?? bufferClock;
  const name = stated ?? 'local';
  const notes: string[] = [];
  if (stated === null) notes.push('the file names no clock: local, the default of the kernel, is assumed');
  const unit = options.tsc2nsec ? 'ns' : UNITS[name];
  if (unit === undefined) notes.push(`the clock ${JSON.stringify(name)} is not known: its stamps are taken as ns`);
  if (unit === 'cycles') notes.push(`stamps are cycles of ${name}: the file has no TSC2NSEC to make times of them`);
  if (unit === 'count') notes.push('the clock counts events: stamps tell the order only, not the time');
  if (options.dateNs !== 0n) notes.push(`recorded with --date: ${options.dateNs} ns are added, times are wall clock`);
  if (options.timeShift) notes.push('stamps of a guest, corrected to the time of its host (TIME_SHIFT)');
  const resolutionNs = name === 'uptime' ? UPTIME_TICK_NS : 1;
  return { name, unit: unit ?? 'ns', resolutionNs, notes };
}

/** Converts the stamps of one CPU. Results are in `lo` and `hi` after `convert`. */
export class CpuClock {
  lo = 0;
  hi = 0;
  /** Only `addLo` and `addHi` are to be added: the walker does that itself. */
  readonly isPlain: boolean;
  readonly addLo: number;
  readonly addHi: number;
  private readonly beforeLo: number;
  private readonly beforeHi: number;
  private readonly samples: readonly ShiftSample[] | null;
  private readonly interpolate: boolean;
  private readonly mult: number;
  private readonly shift: number;

  constructor(options: Options, facts: ClockFacts, cpu: number, clockOffsetNs: bigint) {
    const samples = options.timeShift?.cpus[cpu] ?? [];
    const before = samples.length === 1 ? samples[0]!.offset : 0n;
    // Offsets are ns: they mean nothing to stamps that are no time.
    const add = facts.unit === 'ns' ? options.dateNs + options.offsetNs + clockOffsetNs : 0n;
    const ticks = facts.name === 'uptime' && !options.tsc2nsec;
    this.mult = options.tsc2nsec?.mult ?? (ticks ? UPTIME_TICK_NS : 0);
    this.shift = options.tsc2nsec?.shift ?? 0;
    this.samples = samples.length > 1 ? samples : null;
    this.interpolate = options.timeShift?.interpolate ?? false;
    this.isPlain = before === 0n && this.samples === null && options.tsc2nsec === null && !ticks;
    this.beforeLo = lowHalf(before);
    this.beforeHi = highHalf(before);
    this.addLo = lowHalf(add);
    this.addHi = highHalf(add);
  }

  /** Converts one raw stamp. */
  convert(lo: number, hi: number): void {
    this.lo = lo;
    this.hi = hi;
    if (this.samples) this.correct(this.samples);
    else this.add(this.beforeLo, this.beforeHi);
    if (this.mult !== 0) this.multiply();
    this.add(this.addLo, this.addHi);
  }

  private add(lo: number, hi: number): void {
    const sum = this.lo + lo;
    this.lo = sum >>> 0;
    this.hi = (this.hi + hi + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  }

  /** stamp × mult >> shift with a product of 96 bits (kernel: mul_u64_u32_shr), in 16-bit steps that doubles hold exactly. */
  private multiply(): void {
    const low = this.mult & 0xffff;
    const high = this.mult >>> 16;
    const a = this.lo * low;
    const b = this.lo * high;
    const sum0 = (a % 4294967296) + (b % 65536) * 65536;
    const p0 = sum0 % 4294967296;
    const carry0 = Math.floor(a / 4294967296) + Math.floor(b / 65536) + (sum0 >= 4294967296 ? 1 : 0);
    const c = this.hi * low;
    const d = this.hi * high;
    const sum1 = (c % 4294967296) + (d % 65536) * 65536 + carry0;
    const p1 = sum1 % 4294967296;
    const p2 = Math.floor(c / 4294967296) + Math.floor(d / 65536) + Math.floor(sum1 / 4294967296);
    const { shift } = this;
    if (shift === 0) {
      this.lo = p0;
      this.hi = p1;
    } else if (shift < 32) {
      this.lo = ((p0 >>> shift) | (p1 << (32 - shift))) >>> 0;
      this.hi = ((p1 >>> shift) | (p2 << (32 - shift))) >>> 0;
    } else if (shift === 32) {
      this.lo = p1;
      this.hi = p2 >>> 0;
    } else {
      this.lo = ((p1 >>> (shift - 32)) | (p2 << (64 - shift))) >>> 0;
      this.hi = p2 >>> (shift - 32);
    }
  }

  /** Rare (traces of guests with several samples), so in BigInt: trace-timesync.c:tracecmd_tsync_get… and timestamp_host_sync. */
  private correct(samples: readonly ShiftSample[]): void {
    const stamp = (BigInt(this.hi) << 32n) | BigInt(this.lo);
    let k = samples.findIndex((sample) => sample.time > stamp);
    k = k < 0 ? samples.length - 2 : Math.min(Math.max(k - 1, 0), samples.length - 2);
    const min = samples[k]!;
    const max = samples[k + 1]!;
    let correction = min.offset;
    if (this.interpolate) {
      const span = max.time - min.time;
      correction += ((stamp - min.time) * (max.offset - min.offset) + span / 2n) / span;
    }
    const result = ((stamp * min.scaling) >> min.fraction) + correction;
    this.lo = lowHalf(result);
    this.hi = highHalf(result);
  }
}

function lowHalf(value: bigint): number {
  return Number(BigInt.asUintN(32, value));
}

function highHalf(value: bigint): number {
  return Number(BigInt.asUintN(32, value >> 32n));
}
