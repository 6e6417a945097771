/** Holds the findings of each rule against those that a spec expects: these, and no others. */
import { formatCount } from '../../base/units.js';
import type { Analysis } from '../model.js';
import type { Finding } from '../model-findings.js';
import { rangeText, isInside } from './range.js';
import { caseOf, type CaseEvidence, type CheckCase } from './result.js';
import type { FindingExpectation, TraceSpec } from './spec-types.js';

/** One case a rule: what is expected of it, nothing unexpected, or why it could not be judged. */
export function judgeFindings(spec: TraceSpec, analysis: Analysis, rules: readonly string[]): readonly CheckCase[] {
  const names = new Set([
    ...rules,
    ...analysis.findings.map((finding) => finding.rule),
    ...(spec.findings ?? []).map((expected) => expected.rule),
  ]);
  return [...names].sort().map((rule) => judgeRule(rule, { spec, analysis, isRun: rules.includes(rule) }));
}

/** Whether a spec says of a finding that it may be there or not. */
export function isAllowed(spec: Pick<TraceSpec, 'allowed'>, { rule, vm }: Pick<Finding, 'rule' | 'vm'>): boolean {
  return spec.allowed.some((one) => one.rule === rule && (one.vm === null || one.vm === vm));
}

/** What contradicts the spec, and the findings that show it. */
interface Fault {
  readonly text: string;
  readonly findings: readonly Finding[];
}

const NOT_RUN = 'not run: left out by --select, --ignore or the configuration';

interface RuleSetting {
  readonly spec: TraceSpec;
  readonly analysis: Analysis;
  readonly isRun: boolean;
}

function judgeRule(rule: string, { spec, analysis, isRun }: RuleSetting): CheckCase {
  const name = `rule ${rule}`;
  const ofRule = analysis.findings.filter((finding) => finding.rule === rule);
  const inconclusive = ofRule.filter((finding) => finding.verdict !== 'fail');
  const missing = analysis.unavailable.find((one) => one.what === rule);
  const expected = (spec.findings ?? []).filter((one) => one.rule === rule);
  const found = ofRule.filter((finding) => finding.verdict === 'fail');
  const place = expected[0]?.place ?? spec.place;
  if (!isRun && ofRule.length === 0) return caseOf('rule', name, place, { rule, status: 'skip', message: NOT_RUN });
  const faults = findFaults(rule, spec, found);
  if (faults.length > 0) {
    const findings = faults.flatMap((fault) => fault.findings);
    const details = [
      ...findings.flatMap(findingLines),
      ...(missing ? [`not judged: ${missing.missing}; record ${missing.record}`] : []),
      ...inconclusive.map((finding) => `? inconclusive ${finding.title}`),
    ];
    const message = `findings: ${faults.map((fault) => fault.text).join('; ')}`;
    return caseOf('rule', name, place, { rule, status: 'fail', message, details, evidence: evidenceOf(findings) });
  }
  if (expected.length > 0) return caseOf('rule', name, place, { rule });
  if (missing) {
    const message = `unavailable: ${missing.missing}`;
    return caseOf('rule', name, place, { rule, status: 'skip', message, details: [`record ${missing.record}`] });
  }
  if (inconclusive.length === 0) return caseOf('rule', name, place, { rule });
  const message = `inconclusive: ${inconclusive[0]!.title}`;
  const details = inconclusive.flatMap(findingLines);
  return caseOf('rule', name, place, { rule, status: 'skip', message, details, evidence: evidenceOf(inconclusive) });
}

/** Each expectation takes the findings that fit it, the strictest first; what is left over is a fault of its own. */
function findFaults(rule: string, spec: TraceSpec, found: readonly Finding[]): readonly Fault[] {
  const expected = (spec.findings ?? []).filter((one) => one.rule === rule);
  const unclaimed = new Set(found);
  const faults: Fault[] = [];
  for (const one of expected.sort((a, b) => strictness(b) - strictness(a))) {
    const matches = found.filter((finding) => unclaimed.has(finding) && fits(finding, one));
    for (const finding of matches) unclaimed.delete(finding);
    if (isInside(matches.length, one.count)) continue;
    const text = `${ruleText(one)} was found ${times(matches.length)}, expected ${rangeText(one.count, String)}`;
    faults.push({ text, findings: matches });
  }
  // what the baseline says of findings is judged there
  if (spec.findings === null && spec.baseline) return faults;
  const strangers = [...unclaimed].filter((finding) => !isAllowed(spec, finding));
  if (strangers.length > 0) {
    const others = expected.length > 0 ? ' beyond what is expected' : ', expected none';
    faults.push({ text: `${rule} was found ${times(strangers.length)}${others}`, findings: strangers });
  }
  return faults;
}

function strictness(expected: FindingExpectation): number {
  return (expected.vm === null ? 0 : 2) + (expected.severity === null ? 0 : 1);
}

function fits(finding: Finding, expected: FindingExpectation): boolean {
  return (
    (expected.vm === null || finding.vm === expected.vm) &&
    (expected.severity === null || finding.severity === expected.severity)
  );
}

function ruleText(expected: FindingExpectation): string {
  const vm = expected.vm === null ? '' : ` of vm${expected.vm}`;
  return `${expected.severity === null ? '' : `${expected.severity} `}${expected.rule}${vm}`;
}

function times(count: number): string {
  return count === 1 ? 'once' : `${formatCount(count)} times`;
}

/** The first event of each finding. */
function evidenceOf(findings: readonly Finding[]): readonly CaseEvidence[] {
  return findings.flatMap(({ evidence }) =>
    evidence.slice(0, 1).map(({ trace, position, text }) => ({ trace, position, text })),
  );
}

/** `+ error conversion-stall vm1 TITLE (stalls.dat, byte 184320)`, then the event itself. */
function findingLines(finding: Finding): string[] {
  const vm = finding.vm === null ? '' : ` vm${finding.vm}`;
  const [first] = finding.evidence;
  const where = first ? ` (${first.trace}, ${first.position})` : '';
  const head = `+ ${finding.verdict === 'fail' ? finding.severity : 'inconclusive'} ${finding.rule}${vm} ${finding.title}${where}`;
  return first && first.text !== '' ? [head, `    ${first.text}`] : [head];
}
