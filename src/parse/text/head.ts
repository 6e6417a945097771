/** Judges a text by its first lines: which family, which dialect, and what stands before every line. Cold code. */
import { Cursor } from './cursor.js';
import { LineContext } from './context.js';
import { DIALECTS } from './dialect.js';
import type { Dialect, FamilyName } from './dialect.js';
import { StampReader } from './stamps.js';

/** Lines that are looked at. */
const SAMPLE_LINES = 400;

export interface HeadVotes {
  /** Lines that are neither blank, nor comments, nor frames of a stack. */
  readonly lines: number;
  /** Of those, the ones that each family understands. */
  readonly families: Readonly<Record<FamilyName, number>>;
  /** The dialect that most lines of a family are in. */
  readonly dialects: Readonly<Record<FamilyName, Dialect>>;
  /** Bytes (of blanks and an instance's name) before each line of trace-cmd report of several buffers; 0 for none. */
  readonly instanceColumn: number;
  /** `12:` or `12-` of grep -n, `[   12.345678] ` of a kernel log, before nearly every line. */
  readonly prefix: 'none' | 'grep' | 'dmesg';
  readonly hasTracerHeader: boolean;
}

const FRAME = /^\s*(?:=> |[0-9a-f]{5,16} )/;
const GREP = /^\d+[:-]/;
const DMESG = /^(?:<\d+>)?\[ *\d+\.\d{6}\] /;
const CSI = /\x1b\[[0-9;?]*[A-Za-z]/g;

/** The first lines as text, without BOM, CR and colours, blank ones left out. */
export function sampleLines(head: Uint8Array): string[] {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  const lines = text.replace(/^\xef\xbb\xbf/, '').split('\n');
  // the last one may be cut
  if (lines.length > 1) lines.pop();
  return lines
    .map((line) => line.replace(CSI, '').replace(/[\r\0]+$/, ''))
    .filter((line) => line.trim() !== '')
    .slice(0, SAMPLE_LINES);
}

export function judgeHead(head: Uint8Array): HeadVotes {
  const sample = sampleLines(head);
  const prefix = commonPrefix(sample);
  const pattern = prefix === 'grep' ? GREP : DMESG;
  const bare = prefix === 'none' ? sample : sample.map((line) => line.replace(pattern, ''));
  const candidates = bare.filter((line) => !line.startsWith('#') && !FRAME.test(line));
  const instanceColumn = findInstanceColumn(candidates);
  const lines = candidates.map((line) => line.slice(instanceColumn));
  const votes = new Map<Dialect, number>();
  let padded = 0;
  for (const line of lines) {
    for (const dialect of new Set(Object.values(DIALECTS).flat())) {
      const result = tryLine(line, dialect);
      if (!result) continue;
      votes.set(dialect, (votes.get(dialect) ?? 0) + 1);
      if (result.isPadded) padded++;
    }
  }
  const best = (family: FamilyName): Dialect =>
    DIALECTS[family].reduce((a, b) => ((votes.get(b) ?? 0) > (votes.get(a) ?? 0) ? b : a));
  const count = (family: FamilyName): number => votes.get(best(family)) ?? 0;
  const isReport = candidates.some((line) => /^(?:\S+: )?cpus=\d+$/.test(line)) || padded * 2 > count('ftrace-text');
  const families: Record<FamilyName, number> = {
    'ftrace-text': isReport ? 0 : count('ftrace-text'),
    'trace-cmd-report': isReport ? count('trace-cmd-report') : 0,
    'perf-script': count('perf-script'),
    'hyp-text': count('hyp-text'),
  };
  return {
    lines: lines.length,
    families,
    dialects: {
      'ftrace-text': best('ftrace-text'),
      'trace-cmd-report': best('trace-cmd-report'),
      'perf-script': best('perf-script'),
      'hyp-text': best('hyp-text'),
    },
    instanceColumn,
    prefix,
    hasTracerHeader: sample.some((line) => /^# tracer: |latency trace v[\d.]+ on /.test(line)),
  };
}

function commonPrefix(sample: readonly string[]): HeadVotes['prefix'] {
  const share = (pattern: RegExp): number => sample.filter((line) => pattern.test(line)).length / sample.length;
  if (sample.length === 0) return 'none';
  if (share(GREP) >= 0.9) return 'grep';
  return share(DMESG) >= 0.9 && share(/^\[\d{3}\]\t/) === 0 ? 'dmesg' : 'none';
}

/** Whether a dialect understands a line. */
function tryLine(line: string, dialect: Dialect): { readonly isPadded: boolean } | null {
  const cursor = new Cursor();
  cursor.buf = Buffer.from(line, 'latin1');
  cursor.end = cursor.buf.length;
  const context = new LineContext();
  const kind = dialect.scan(cursor, context, new StampReader(0n));
  if (kind === 'none') return null;
  // a perf script line names a system, or has its tid apart from the comm
  const isScript = DIALECTS['perf-script'].includes(dialect);
  if (isScript && context.systemTo === context.systemFrom && context.taskTo === context.taskFrom) return null;
  const text = line.slice(context.textFrom);
  return { isPadded: !isScript && text.startsWith('  ') && context.nameTo - context.nameFrom < 19 };
}

/**
 * trace-cmd report of several buffers prints each line's buffer before it, right-aligned: `probes:`, blanks for the top
 * one. So there is a column where every line has a colon or nothing but blanks up to it.
 */
function findInstanceColumn(lines: readonly string[]): number {
  const events = lines.filter((line) => /\[\d{3,}\]/.test(line));
  if (events.length < 2) return 0;
  const first = events.find((line) => /^ *[^ ].*?: {2,}/.test(line));
  if (!first) return 0;
  for (
    let colon = first.indexOf(':');
    colon >= 0 && colon < first.indexOf(' [');
    colon = first.indexOf(':', colon + 1)
  ) {
    const fits = (line: string): boolean =>
      line[colon + 1] === ' ' && (line[colon] === ':' || line.slice(0, colon + 1).trim() === '');
    if (events.every(fits)) return colon + 1;
  }
  return 0;
}
