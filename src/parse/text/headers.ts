/** What lines that are no events tell: headers and comments of ftrace, trace-cmd and perf script. Cold code. */

/** Facts of a text's header lines. */
export interface HeaderFacts {
  kernel: string | null;
  arch: string | null;
  host: string | null;
  cpus: number | null;
  recorder: string | null;
  /** Latency format: times are relative to the buffer's start. */
  isLatency: boolean;
  tracer: string | null;
  /** Clock that `# clock:`-like lines of perf script --header name. */
  clock: string | null;
}

export function emptyFacts(): HeaderFacts {
  return {
    kernel: null,
    arch: null,
    host: null,
    cpus: null,
    recorder: null,
    isLatency: false,
    tracer: null,
    clock: null,
  };
}

/** Reads a line beginning with `#`; gives the events that it says were overwritten. */
export function readHeaderLine(text: string, facts: HeaderFacts): number {
  const entries = /^# entries-in-buffer\/entries-written: (\d+)\/(\d+)\s+#P:(\d+)/.exec(text);
  if (entries) {
    facts.cpus = Number(entries[3]);
    return Math.max(0, Number(entries[2]) - Number(entries[1]));
  }
  const latency = /^# latency: .*#(\d+)\/(\d+), CPU#\d+ \|.*#P:(\d+)/.exec(text);
  if (latency) {
    facts.cpus = Number(latency[3]);
    return Math.max(0, Number(latency[2]) - Number(latency[1]));
  }
  const version = /^# (\S+) latency trace v[\d.]+ on (\S+)/.exec(text);
  if (version) {
    facts.isLatency = true;
    facts.tracer = version[1]!;
    facts.kernel = version[2]!;
  }
  const tracer = /^# tracer: (\S+)/.exec(text);
  if (tracer) facts.tracer = tracer[1]!;
  readPerfHeader(text, facts);
  return 0;
}

/** tools/perf/util/header.c: print_*; `perf script --header`. */
function readPerfHeader(text: string, facts: HeaderFacts): void {
  const pair = /^# ([a-z][a-z ]*?) ?: (.+)$/.exec(text.trimEnd());
  if (!pair) return;
  const value = pair[2]!.trim();
  switch (pair[1]) {
    case 'hostname':
      facts.host = value;
      break;
    case 'os release':
      facts.kernel = value;
      break;
    case 'arch':
      facts.arch = value;
      break;
    case 'nrcpus online':
      facts.cpus = Number(value) || facts.cpus;
      break;
    case 'perf version':
      facts.recorder = `perf ${value}`;
      break;
    default:
  }
}

export interface LossLine {
  readonly cpu: number;
  /** null: unknown. */
  readonly count: number | null;
  readonly source: 'lost-line' | 'ring-start';
}

/** `CPU:0 [LOST 8946 EVENTS]`, `CPU:1 [92 EVENTS DROPPED]`, both also without a number, `##### CPU 0 buffer started ####`. */
export function parseLossLine(text: string): LossLine | null {
  const lost = /CPU:(\d{1,5}) \[(?:LOST (?:(\d{1,15}) )?EVENTS|(?:(\d{1,15}) )?EVENTS DROPPED)\]/.exec(text);
  if (lost) {
    const count = lost[2] ?? lost[3];
    return { cpu: Number(lost[1]), count: count === undefined ? null : Number(count), source: 'lost-line' };
  }
  const started = /^##### CPU (\d{1,5}) buffer started ####/.exec(text);
  return started ? { cpu: Number(started[1]), count: null, source: 'ring-start' } : null;
}
