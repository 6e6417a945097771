/** Texts of traces that cannot be read: what they are, and what to record instead. */
import { sampleLines } from './head.js';

export interface Refusal {
  /** Follows "the text is". */
  readonly what: string;
  readonly hint: string;
}

interface Layout extends Refusal {
  /** Matches most lines (or, with `once`, any line) of such a text. */
  readonly pattern: RegExp;
  readonly once?: boolean;
}

const OPTION_HINT =
  'switch the option off (echo 0 > options/NAME in tracefs) and read the trace again, or record with trace-cmd';

const LAYOUTS: readonly Layout[] = [
  {
    what: 'output of bpftrace, which has no events',
    hint: 'record the tracepoints with trace-cmd or perf',
    pattern: /^(?:Attaching \d+ probes?\.\.\.|\{"type": "attached_probes")/,
    once: true,
  },
  {
    what: 'output of perf data convert --to-json, which leaves the event names out',
    hint: 'give the perf.data file itself',
    pattern: /"linux-perf-json-version"/,
    once: true,
  },
  {
    what: 'a trace read with the option raw, which prints no fields',
    hint: OPTION_HINT,
    pattern: /^-?\d+ \d+ \d+ type: \d+/,
  },
  {
    what: 'a trace read with the option hex, which prints no fields',
    hint: OPTION_HINT,
    pattern: /^(?:[0-9a-f]{8} ){2}[0-9a-f]{16} type: \d+/,
  },
  {
    what: 'a trace read with the option bin, which is not text',
    hint: OPTION_HINT,
    pattern: /\0.*type: \d+/,
    once: true,
  },
  {
    what: 'output of the function_graph tracer, which has no times and no events',
    hint: 'record the events of kvm with the nop tracer',
    pattern: /^\s*(?:\d+\)|\d+\.\d+ +\|).*\|/,
  },
  {
    what: 'a trace read without context-info, which has no times',
    hint: 'switch the option context-info on and read the trace again',
    pattern: /^[A-Za-z_]\w*: \S/,
  },
];

/** Why a text that no line of which can be read is none that can be; null where nothing is known of it. */
export function findRefusal(head: Uint8Array): Refusal | null {
  const lines = sampleLines(head).filter((line) => !line.startsWith('#'));
  const needed = Math.max(1, lines.length / 2);
  for (const layout of LAYOUTS) {
    const hits = lines.filter((line) => layout.pattern.test(line)).length;
    if (layout.once ? hits > 0 : hits >= needed) return layout;
  }
  return null;
}
