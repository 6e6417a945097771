import { jsonInteger } from '../json/integer.js';
import type { Analysis } from '../model.js';
import { shownFindings, type Finding } from '../model-findings.js';
import type { RenderOptions } from '../render.js';
import {
  describeRule,
  LEVELS,
  makeFingerprints,
  renderLog,
  traceLocation,
  uriOf,
  type Location,
  type Notification,
  type Result,
} from './log.js';

/** Events that a result points to beside the first, where --evidence does not say. */
const RELATED = 10;

/** The findings as SARIF: a result each, in the trace at the first event of its evidence. */
export function* renderAnalysis(analysis: Analysis, options: RenderOptions): Generator<string> {
  const { tool, limit } = options;
  const fingerprints = makeFingerprints();
  const findings = shownFindings(analysis.findings, limit);
  yield renderLog({
    tool,
    descriptors: tool.rules.map(describeRule),
    results: findings.map((finding) => ({
      ...resultOf(finding, analysis, options.evidence ?? RELATED + 1),
      partialFingerprints: fingerprints(finding.rule, finding.vm, finding.gmem, finding.vcpu),
    })),
    notifications: notificationsOf(analysis, findings.length),
    successful: true,
  });
}

function resultOf(finding: Finding, analysis: Analysis, shown: number): Omit<Result, 'partialFingerprints'> {
  const isOpen = finding.verdict !== 'fail';
  const [first, ...more] = finding.evidence.slice(0, Math.max(shown, 1));
  const whole = analysis.traces[0];
  const place: readonly Location[] = first
    ? [traceLocation(first.trace, first.position, first.text)]
    : whole
      ? [{ physicalLocation: { artifactLocation: { uri: uriOf(whole.path) } } }]
      : [];
  const logical = logicalOf(finding);
  return {
    ruleId: finding.rule,
    kind: isOpen ? 'open' : 'fail',
    level: isOpen ? 'none' : LEVELS[finding.severity],
    message: { text: finding.hint === null ? finding.title : `${finding.title}\n\nhint: ${finding.hint}` },
    locations: place.map((location) => (logical === null ? location : { ...location, logicalLocations: [logical] })),
    ...(more.length === 0
      ? {}
      : { relatedLocations: more.map((one) => traceLocation(one.trace, one.position, one.text)) }),
    properties: {
      certainty: finding.certainty,
      count: finding.count,
      since_ns: jsonInteger(finding.sinceNs),
      until_ns: jsonInteger(finding.untilNs),
      thresholds: finding.thresholds,
    },
  };
}

/** `vm1/gmem1/vcpu0`, as far as it is known. */
function logicalOf({ vm, gmem, vcpu }: Finding): { readonly fullyQualifiedName: string; readonly kind: string } | null {
  const parts = [vm === null ? [] : `vm${vm}`, gmem === null ? [] : `gmem${gmem}`, vcpu === null ? [] : `vcpu${vcpu}`];
  const name = parts.flat().join('/');
  return name === '' ? null : { fullyQualifiedName: name, kind: 'resource' };
}

function notificationsOf({ unavailable, traces, findings }: Analysis, shown: number): readonly Notification[] {
  const hidden = findings.length - shown;
  return [
    ...traces.flatMap((trace): Notification[] => [
      ...(trace.lost === 0 ? [] : [{ level: 'warning' as const, text: `${trace.path}: ${lostText(trace)}` }]),
      ...trace.skipped.map(({ reason, count, first }) => ({
        level: 'warning' as const,
        text: `${trace.path}: ${count} not read: ${reason} (first: ${first})`,
      })),
    ]),
    ...unavailable.map(({ what, missing, record }) => ({
      level: 'note' as const,
      text: `${what} could not be judged: ${missing}; record ${record}`,
      rule: what,
    })),
    ...(hidden > 0 ? [{ level: 'note' as const, text: `${hidden} more findings: --limit 0 shows all` }] : []),
  ];
}

function lostText({ lost, lostAtLeast }: Analysis['traces'][number]): string {
  return lost === null ? `at least ${Math.max(1, lostAtLeast)} events lost` : `${lost} events lost`;
}
