/** The result of `check` for people, and as JSON. */
import { plural } from '../names.js';
import type { Paint, Tone } from '../render.js';
import type { CheckReport, TraceResult } from './judge.js';

const MARKS: Readonly<Record<TraceResult['status'], { readonly word: string; readonly tone: Tone }>> = {
  ok: { word: ' ok  ', tone: 'good' },
  fail: { word: ' FAIL', tone: 'error' },
  skip: { word: ' skip', tone: 'faint' },
  unreadable: { word: ' FAIL', tone: 'error' },
};

/** Evidence lines of one difference before the rest is only counted. */
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
    yield `${paint(mark.tone, mark.word)}  ${trace.name.padEnd(width)}  ${summary(trace)}\n`;
    for (const line of differences(trace)) yield `${line}\n`;
  }
  const failed = report.traces.filter((trace) => trace.status === 'fail').length;
  const unreadable = report.traces.filter((trace) => trace.status === 'unreadable').length;
  const words = [
    plural(report.traces.length, 'trace'),
    ...(failed > 0 || unreadable === 0 ? [`${failed} failed`] : []),
    ...(unreadable > 0 ? [`${unreadable} could not be read`] : []),
  ];
  yield `${words.join(', ')}${written.length > 0 ? ` · wrote ${written.join(', ')}` : ''}\n`;
}

function summary(trace: TraceResult): string {
  if (trace.reason !== '') return trace.reason;
  const failed = trace.cases.filter((one) => one.status === 'fail').length;
  const skipped = trace.cases.filter((one) => one.status === 'skip').length;
  const total = plural(trace.cases.length, 'expectation');
  const notJudged = skipped > 0 ? ` · ${skipped} not judged` : '';
  return failed > 0 ? `${failed} of ${total}${notJudged}` : `${total}${notJudged}`;
}

function* differences(trace: TraceResult): Generator<string> {
  for (const one of trace.cases) {
    if (one.status !== 'fail') continue;
    yield `        ${one.message}`;
    for (const detail of one.details.slice(0, MAX_DETAILS)) yield `          ${detail}`;
    const more = one.details.length - MAX_DETAILS;
    if (more > 0) yield `          … ${more} more lines; --format json shows all`;
  }
}

/** `{schema, spec, ok, traces: [{name, paths, status, reason, cases: [{name, status, message, details}]}]}`. */
export function renderCheckJson(report: CheckReport): string {
  const passed = report.traces.every((trace) => trace.status === 'ok' || trace.status === 'skip');
  const document = { schema: 'gmemtrace.check/1', spec: report.spec, ok: passed, traces: report.traces };
  return `${JSON.stringify(document, null, 2)}\n`;
}
