/** The result of `check` as SARIF: what differs, at its line of the spec, which lies in the repository. */
import type { CaseKind, CheckCase, CheckReport, TraceResult } from '../check/result.js';
import type { Tool } from '../render.js';
import {
  describeRule,
  makeFingerprints,
  renderLog,
  traceLocation,
  uriOf,
  type Descriptor,
  type Location,
  type Notification,
  type Result,
} from './log.js';

/** Expectations that are about no rule, as rules of the specification. */
const EXPECTATIONS: Readonly<Record<Exclude<CaseKind, 'rule'> | 'trace', string>> = {
  count: 'A count is not what the specification expects.',
  latency: 'A latency is beyond its limit.',
  unavailable: 'What a trace cannot show is not what the specification expects.',
  baseline: 'A trace shows something else than its baseline.',
  trace: 'A trace of the specification could not be read.',
};

const idOf = (name: keyof typeof EXPECTATIONS): string => `expected-${name}`;

/** Renders a check. */
export function renderCheckSarif(report: CheckReport, tool: Tool): string {
  const fingerprints = makeFingerprints();
  const results = report.traces.flatMap((trace) => resultsOf(report, trace, fingerprints));
  return renderLog({
    tool,
    descriptors: [...tool.rules.map(describeRule), ...expectations()],
    results,
    notifications: report.traces.flatMap(notificationsOf),
    successful: report.traces.every((trace) => trace.status !== 'unreadable'),
  });
}

function expectations(): readonly Descriptor[] {
  return (Object.keys(EXPECTATIONS) as (keyof typeof EXPECTATIONS)[]).map((name) => ({
    id: idOf(name),
    shortDescription: { text: EXPECTATIONS[name] },
    defaultConfiguration: { level: 'error' },
  }));
}

function resultsOf(
  report: CheckReport,
  trace: TraceResult,
  fingerprints: ReturnType<typeof makeFingerprints>,
): readonly Result[] {
  const at = ({ line, column }: CheckCase['place']): Location => ({
    physicalLocation: {
      artifactLocation: { uri: uriOf(report.spec) },
      region: { startLine: line, startColumn: column },
    },
    logicalLocations: [{ fullyQualifiedName: trace.name, kind: 'resource' }],
  });
  const error = { kind: 'fail', level: 'error' } as const;
  if (trace.status === 'unreadable') {
    const message = { text: `${trace.name}: ${trace.reason}` };
    const partialFingerprints = fingerprints(trace.name, 'trace');
    return [{ ...error, ruleId: idOf('trace'), message, locations: [at(trace.place)], partialFingerprints }];
  }
  return trace.cases
    .filter((one) => one.status === 'fail')
    .map((one) => ({
      ...error,
      ruleId: one.rule ?? idOf(one.kind === 'rule' ? 'count' : one.kind),
      message: { text: `${trace.name}: ${[one.message, ...one.details].join('\n')}` },
      locations: [at(one.place)],
      ...(one.evidence.length === 0
        ? {}
        : { relatedLocations: one.evidence.map((e) => traceLocation(e.trace, e.position, e.text)) }),
      partialFingerprints: fingerprints(trace.name, one.name),
    }));
}

function notificationsOf(trace: TraceResult): readonly Notification[] {
  const whole = trace.status === 'skip' ? [{ level: 'note' as const, text: `${trace.name}: ${trace.reason}` }] : [];
  const cases = trace.cases
    .filter((one) => one.status === 'skip')
    .map((one) => ({
      level: 'note' as const,
      text: [`${trace.name}: ${one.name}: ${one.message}`, ...one.details].join('\n'),
      ...(one.rule === null ? {} : { rule: one.rule }),
    }));
  return [...whole, ...cases];
}
