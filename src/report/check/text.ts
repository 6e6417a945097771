/** The result of `check` for people. */
import { plural } from '../names.js';
import type { Paint, Tone } from '../render.js';
import type { CheckCase, CheckReport, TraceResult } from './result.js';

const MARKS: Readonly<Record<TraceResult['status'], { readonly word: string; readonly tone: Tone }>> = {
  ok: { word: ' ok  ', tone: 'good' },
  fail: { word: ' FAIL', tone: 'error' },
  skip: { word: ' skip', tone: 'faint' },
  unreadable: { word: ' FAIL', tone: 'error' },
};

/** Evidence lines of one difference before the rest is only counted. Of a baseline every figure that moved is told. */
const MAX_DETAILS = 12;

/**
 * One line a trace; of what differs, each difference with its evidence. `written` names files that were written beside.
 */
export function* renderCheckText(
  report: CheckReport,
  paint: Paint,
  written: readonly string[] = [],
): Generator<string> {
  const width = Math.max(...report.traces.map((trace) => trace.name.length), 12);
  for (const trace of report.traces) {
    const mark = MARKS[trace.status];
    yield `${paint(mark.tone, mark.word)}  ${trace.name.padEnd(width)}  ${summaryOf(trace)}\n`;
    for (const line of trace.cases.flatMap(linesOf)) yield `        ${line}\n`;
  }
  yield `${totalOf(report)}${written.length > 0 ? ` · wrote ${written.join(', ')}` : ''}\n`;
}

/** `17 traces, 1 failed, 1 could not be read`. */
export function totalOf({ traces }: CheckReport): string {
  const count = (status: TraceResult['status']) => traces.filter((trace) => trace.status === status).length;
  const unreadable = count('unreadable');
  return [
    plural(traces.length, 'trace'),
    ...(count('fail') > 0 || unreadable === 0 ? [`${count('fail')} failed`] : []),
    ...(unreadable > 0 ? [`${unreadable} could not be read`] : []),
  ].join(', ');
}

/** `2 of 12 expectations · 3 not judged`, or why there are none. */
export function summaryOf(trace: TraceResult): string {
  if (trace.reason !== '') return trace.reason;
  const failed = trace.cases.filter((one) => one.status === 'fail').length;
  const skipped = trace.cases.filter((one) => one.status === 'skip').length;
  const total = plural(trace.cases.length, 'expectation');
  const notJudged = skipped > 0 ? ` · ${skipped} not judged` : '';
  return failed > 0 ? `${failed} of ${total}${notJudged}` : `${total}${notJudged}`;
}

/** The evidence of a difference, a line each; what is more than a reader wants is counted. */
export function detailsOf({ kind, details }: CheckCase): readonly string[] {
  const more = kind === 'baseline' ? 0 : details.length - MAX_DETAILS;
  return more > 0 ? [...details.slice(0, MAX_DETAILS), `… ${more} more lines; --format json shows all`] : details;
}

/** Differences, and remarks on what is as expected. */
function linesOf(one: CheckCase): readonly string[] {
  if (one.message === '' || one.status === 'skip') return [];
  const head = one.status === 'fail' ? one.message : `note: ${one.message}`;
  return [head, ...detailsOf(one).map((detail) => `  ${detail}`)];
}
