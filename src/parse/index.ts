/** The door of the parse room: which formats there are, which one an input has, and its reader. */
import { TraceError } from '../base/errors.js';
import { hintForForeign, showStart } from './foreign.js';
import type { EventReader, Format, Verdict } from './model.js';
import { perfdataFormat } from './perfdata/index.js';
import { openSource } from './source.js';
import type { Source } from './source.js';
import { TEXT_FORMATS } from './text/index.js';
import { tracedatFormat } from './tracedat/index.js';

/** All formats that can be read. Where two judge alike the earlier one is taken. */
export const FORMATS: readonly Format[] = [tracedatFormat, perfdataFormat, ...TEXT_FORMATS];

/** Bytes that formats judge by. */
const HEAD_BYTES = 64 * 1024;

/**
 * The format of the input by its content: the first that is sure, else the first that may be. Throws
 * TraceError('unknown-format') with every format's reason where none knows it.
 */
export function detectFormat(source: Source): Format {
  const head = source.readAt(0, HEAD_BYTES).slice();
  const verdicts: (readonly [Format, Verdict])[] = [];
  for (const format of FORMATS) {
    const verdict = format.detect(head);
    // The earlier format wins where two are sure: the rest need not be asked.
    if (verdict === 'yes') return format;
    verdicts.push([format, verdict]);
  }
  const maybe = verdicts.find(([, verdict]) => verdict === 'maybe');
  if (maybe) return maybe[0];
  const reasons = verdicts.map(([{ name }, verdict]) => `${name}: ${typeof verdict === 'object' ? verdict.no : ''}`);
  throw new TraceError(
    'unknown-format',
    `not a trace that gmemtrace knows (first bytes are ${showStart(head)})\n  ${reasons.join('\n  ')}`,
    { input: source.path, hint: hintForForeign(head) ?? '`gmemtrace --help formats` lists what can be read' },
  );
}

/** An input that was opened: close `source` when done. */
export interface OpenTrace {
  readonly source: Source;
  readonly format: Format;
  readonly reader: EventReader;
}

/** Opens an input (`-` is `stdin`) and finds its format. Errors as openSource and detectFormat. */
export async function openTrace(path: string, stdin?: AsyncIterable<unknown>): Promise<OpenTrace> {
  const source = await openSource(path, stdin);
  try {
    const format = detectFormat(source);
    return { source, format, reader: format.open(source) };
  } catch (error) {
    source.close();
    throw error;
  }
}
