/**
 * JUnit XML as CI systems read it (junit-10.xsd of the Jenkins xUnit plugin): one suite a trace, one case an expectation or
 * rule. What could not be judged is skipped, with its reason.
 */
import type { CheckCase, CheckReport, TraceResult } from '../check/result.js';

/** Characters that XML 1.0 cannot hold, in any form. */
const FORBIDDEN = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu;

function escapeXml(text: string): string {
  return text
    .replace(FORBIDDEN, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll('\n', '&#10;');
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${escapeXml(String(value))}"`)
    .join('');
}

/** Text between tags: newlines stay. */
function content(lines: readonly string[]): string {
  return lines.map(escapeXml).join('\n');
}

/** Renders a check. There is no time and no host in it: the same traces give the same file. */
export function renderJunit(report: CheckReport): string {
  const suites = report.traces.map(suiteOf);
  const total = (key: 'tests' | 'failures' | 'errors') => suites.reduce((sum, suite) => sum + suite[key], 0);
  const head = attributes({
    name: `gmemtrace check ${report.spec}`,
    tests: total('tests'),
    failures: total('failures'),
    errors: total('errors'),
  });
  const body = suites.map((suite) => suite.xml).join('');
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites${head}>\n${body}</testsuites>\n`;
}

interface Suite {
  readonly tests: number;
  readonly failures: number;
  readonly errors: number;
  readonly xml: string;
}

function suiteOf(trace: TraceResult): Suite {
  const errors = trace.status === 'unreadable' ? 1 : 0;
  // a trace that was not judged is a suite of one case: CI systems leave out empty suites
  const whole = trace.cases.length === 0;
  const failures = trace.cases.filter((one) => one.status === 'fail').length;
  const skipped = trace.cases.filter((one) => one.status === 'skip').length + (whole && errors === 0 ? 1 : 0);
  const tests = whole ? 1 : trace.cases.length;
  const cases = whole ? wholeCase(trace) : trace.cases.map((one) => caseOf(trace, one)).join('');
  const head = attributes({ name: trace.name, tests, failures, errors, skipped });
  return { tests, failures, errors, xml: `  <testsuite${head}>\n${cases}  </testsuite>\n` };
}

function wholeCase(trace: TraceResult): string {
  const head = attributes({ classname: trace.name, name: 'trace' });
  const result = trace.status === 'unreadable' ? 'error' : 'skipped';
  return `    <testcase${head}>\n      <${result}${attributes({ message: trace.reason })}/>\n    </testcase>\n`;
}

function caseOf(trace: TraceResult, one: CheckCase): string {
  const head = attributes({ classname: trace.name, name: one.name });
  if (one.status === 'ok') return `    <testcase${head}/>\n`;
  const tag = one.status === 'fail' ? 'failure' : 'skipped';
  const message = attributes({ message: one.message });
  const body = one.details.length === 0 ? '/>' : `>${content(one.details)}</${tag}>`;
  return `    <testcase${head}>\n      <${tag}${message}${body}\n    </testcase>\n`;
}
