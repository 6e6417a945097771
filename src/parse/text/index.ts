/** Readers of traces as text: ftrace, trace-cmd report, perf script and the buffer of the pKVM hypervisor. */
import { lazyReader } from '../lazy-reader.js';
import type { Format, Verdict } from '../model.js';
import type { FamilyName } from './dialect.js';
import { judgeHead } from './head.js';
import { findRefusal } from './refused.js';

/** A text with more NUL bytes than this part is none. */
const MAX_NUL_SHARE = 0.05;

function detect(family: FamilyName, head: Uint8Array): Verdict {
  if (head.length === 0) return { no: 'the input is empty' };
  const isBinary = head.reduce((count, byte) => count + (byte === 0 ? 1 : 0), 0) > head.length * MAX_NUL_SHARE;
  const votes = judgeHead(head);
  const isFtrace = family === 'ftrace-text';
  if (isFtrace && votes.hasTracerHeader && votes.lines === 0) return findRefusal(head) ? 'maybe' : 'yes';
  const own = votes.families[family];
  if (own === 0 || isBinary) {
    // ftrace stands for all texts that are known and cannot be read: its reader says why
    const isKnown = isFtrace && Object.values(votes.families).every((count) => count === 0);
    if (isKnown && (votes.hasTracerHeader || findRefusal(head))) return 'maybe';
    return { no: isBinary ? 'the input is binary' : `none of the first lines looks like ${family}` };
  }
  return own * 2 >= votes.lines ? 'yes' : 'maybe';
}

function makeFormat(name: FamilyName, description: string): Format {
  return {
    name,
    description,
    detect: (head) => detect(name, head),
    open: (source) => lazyReader(async () => (await import('./reader.js')).makeTextReader(name, source)),
  };
}

export const TEXT_FORMATS: readonly Format[] = [
  makeFormat('ftrace-text', "the kernel's own text: tracefs trace and trace_pipe, also in latency format"),
  makeFormat('trace-cmd-report', 'output of trace-cmd report, with or without plugins (-N, -R, -t, -l)'),
  makeFormat('perf-script', 'output of perf script'),
  makeFormat('hyp-text', 'the trace of a pKVM hypervisor (tracefs remotes/hypervisor/trace)'),
];
