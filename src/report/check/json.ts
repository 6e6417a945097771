/** The result of `check` for other programs (schema/check-result.schema.json). */
import { isMet, type CheckCase, type CheckReport, type TraceResult } from './result.js';

/** Renders it. There is no time and no host in it: the same traces give the same file. */
export function renderCheckJson(report: CheckReport): string {
  const document = {
    schema: 'gmemtrace.check/1',
    spec: report.spec,
    ok: isMet(report),
    traces: report.traces.map(traceJson),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function traceJson({ name, paths, place, status, reason, cases }: TraceResult): object {
  return { name, paths, line: place.line, status, reason, cases: cases.map(caseJson) };
}

function caseJson({ name, kind, rule, place, status, message, details }: CheckCase): object {
  return { name, kind, rule, line: place.line, status, message, details };
}
