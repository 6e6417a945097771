/**
 * What integer stamps count. ftrace prints them for the clocks counter, uptime and x86-tsc; trace-cmd report for x86-tsc
 * and, in ns, for boot (reference: kernel/trace/trace.c:trace_clocks, trace-cmd's list of ns clocks lacks boot).
 */
import { decode } from './bytes.js';
import type { LineContext } from './context.js';
import type { TraceMeta } from '../model.js';

export interface ClockVerdict {
  readonly clock: string;
  readonly unit: TraceMeta['clockUnit'];
  readonly note: string | null;
}

const UNITS: Readonly<Record<string, TraceMeta['clockUnit']>> = {
  uptime: 'ticks',
  counter: 'count',
  'x86-tsc': 'cycles',
  tsc: 'cycles',
};

/** Looks at what texts say of times beside their own stamps. */
export class ClockWitness {
  private nsVotes = 0;
  private cycleVotes = 0;
  private isArm = false;
  private repeats = 0;
  private steps = 0;
  private last = -1;
  private largest = 0;

  /** Takes note of the stamp of an event; for integer stamps only. */
  see(context: LineContext): void {
    const stamp = (context.tsHi >>> 0) * 4294967296 + (context.tsLo >>> 0);
    if (stamp === this.last) this.repeats++;
    else this.steps++;
    this.last = stamp;
    if (stamp > this.largest) this.largest = stamp;
  }

  /**
   * Looks at the text of an event that may tell a time: a new guest's TSC offset is minus the host's TSC; a marker often
   * holds its writer's clock in ns; arm64's exits mean that there is no TSC at all.
   */
  look(buf: Uint8Array, context: LineContext, end: number): void {
    const name = decode(buf, context.nameFrom, context.nameTo);
    const text = decode(buf, context.textFrom, Math.min(end, context.textFrom + 400));
    const stamp = (context.tsHi >>> 0) * 4294967296 + (context.tsLo >>> 0);
    if (name === 'kvm_write_tsc_offset') {
      const offset = /(?:next|next_tsc_offset)=(\d+)/.exec(text);
      const tsc = offset ? Number(BigInt.asUintN(64, -BigInt(offset[1]!))) : 0;
      if (tsc > 0 && Math.abs(tsc - stamp) < 0.01 * stamp) this.cycleVotes++;
      else if (tsc > 0 && /prev(?:ious_tsc_offset)?=0\b/.test(text)) this.nsVotes++;
    } else if (name === 'kvm_exit' && text.includes('HSR_EC')) this.isArm = true;
    else {
      for (const number of text.match(/\d{9,19}/g) ?? []) {
        if (Math.abs(Number(number) - stamp) < 0.02 * stamp) this.nsVotes++;
      }
    }
  }

  /** Whether `look` is worth it for a name of this length and first byte; cheap. */
  static wants(buf: Uint8Array, context: LineContext): boolean {
    const length = context.nameTo - context.nameFrom;
    const first = buf[context.nameFrom];
    // kvm_write_tsc_offset, kvm_exit, tracing_mark_write, print
    return (first === 0x6b && (length === 20 || length === 8)) || length === 18 || (first === 0x70 && length === 5);
  }

  /** @param isReport printed by trace-cmd report @param named the clock as the user named it */
  verdict(isReport: boolean, named: string | undefined): ClockVerdict {
    if (named !== undefined) return { clock: named, unit: UNITS[named] ?? 'ns', note: null };
    const advice = 'name it with --clock if that is wrong';
    if (isReport && (this.isArm || this.nsVotes > this.cycleVotes)) {
      const why = this.isArm ? 'arm64 has no TSC clock' : 'times in event texts agree';
      return {
        clock: 'boot',
        unit: 'ns',
        note: `stamps are integers, taken as ns of the boot clock (${why}); ${advice}`,
      };
    }
    if (this.cycleVotes > 0 || isReport || this.largest >= 1e11) {
      const why = this.cycleVotes > 0 ? 'guests’ TSC offsets agree' : 'a guess by their size';
      return { clock: 'x86-tsc', unit: 'cycles', note: `stamps are integers, taken as TSC cycles (${why}); ${advice}` };
    }
    const isUptime = this.repeats > this.steps;
    return isUptime
      ? { clock: 'uptime', unit: 'ticks', note: `stamps are integers that repeat, taken as ticks of 10 ms; ${advice}` }
      : { clock: 'counter', unit: 'count', note: `stamps are integers, taken as a counter of events; ${advice}` };
  }
}
