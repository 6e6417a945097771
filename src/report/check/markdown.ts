/** The result of `check` as a summary on the page of a CI job. */
import { drawTable, escapeMarkdown } from '../markdown/table.js';
import { isMet, type CheckCase, type CheckReport, type TraceResult } from './result.js';
import { detailsOf, summaryOf, totalOf } from './text.js';

const WORDS: Readonly<Record<TraceResult['status'], string>> = {
  ok: 'ok',
  fail: 'FAIL',
  skip: 'skipped',
  unreadable: 'FAIL (not readable)',
};

/** The verdict as heading, traces as a table, differences below. */
export function* renderCheckMarkdown(report: CheckReport): Generator<string> {
  yield `## gmemtrace check: ${isMet(report) ? 'PASS' : 'FAIL'}: ${totalOf(report)}\n\n\`${report.spec}\`\n\n`;
  yield drawTable({
    columns: [
      { name: 'trace', align: 'left' },
      { name: 'result', align: 'left' },
      { name: 'expectations', align: 'left' },
    ],
    rows: report.traces.map((trace) => [trace.name, WORDS[trace.status], summaryOf(trace)]),
  });
  for (const trace of report.traces) {
    const told = trace.cases.filter((one) => one.status !== 'skip' && one.message !== '');
    if (told.length > 0) yield `\n### ${escapeMarkdown(trace.name)}\n\n${told.map(itemOf).join('')}`;
  }
}

/** A list item; its details as they are, in a block that no line of theirs can end. */
function itemOf(one: CheckCase): string {
  const head = `- ${one.status === 'fail' ? '' : 'note: '}${escapeMarkdown(one.message)}\n`;
  if (one.details.length === 0) return head;
  const fence = '`'.repeat(Math.max(3, ...one.details.map((line) => longestRun(line) + 1)));
  return `${head}\n  ${fence}\n${detailsOf(one)
    .map((line) => `  ${line}\n`)
    .join('')}  ${fence}\n`;
}

/** Length of the longest run of backquotes. */
function longestRun(line: string): number {
  return Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length));
}
