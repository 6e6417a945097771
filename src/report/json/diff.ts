import type { CountComparison } from '../diff/compare-counts.js';
import type { FindingComparison, FindingsOfSide } from '../diff/compare-findings.js';
import type { LatencyComparison } from '../diff/compare-latency.js';
import { isFindingRegression } from '../diff/compare-findings.js';
import type { DiffReport, SideHead } from '../diff/index.js';
import type { Outcome } from '../diff/outcome.js';
import type { Stats } from '../stats.js';
import { jsonInteger } from './integer.js';

/** Six digits are more than any of these figures has; p values and ratios of two machines agree in them. */
const rounded = (value: number | null): number | null => (value === null ? null : Number(value.toPrecision(6)));

function outcomeJson({ verdict, reason, ratio, low, high, p, adjusted }: Outcome): object {
  return {
    verdict,
    reason,
    ratio: rounded(ratio),
    ratio_low: rounded(low),
    ratio_high: rounded(high),
    p: rounded(p),
    p_adjusted: rounded(adjusted),
  };
}

function sideJson(side: SideHead): object {
  return {
    traces: side.traces.map((t) => ({
      path: t.path,
      format: t.format,
      kernel: t.kernel,
      arch: t.arch,
      clock: t.clock,
      clock_unit: t.clockUnit,
      start_ns: jsonInteger(t.startNs),
      end_ns: jsonInteger(t.endNs),
      events: t.events,
      lost: t.lost,
    })),
    seconds: rounded(side.seconds),
    platforms: side.platforms,
    vms: side.vms,
    lost: side.lost,
    left_out: side.leftOut,
  };
}

function statsJson(stats: Stats | null): object | null {
  if (stats === null) return null;
  const { count, min, mean, p50, p90, p99, p999, max } = stats;
  return { count, min, mean, p50, p90, p99, p99_9: p999, max };
}

function latencyJson(group: LatencyComparison, by: readonly string[]): object {
  return {
    key: Object.fromEntries(by.map((name, k) => [name, group.key[k] ?? null])),
    a_ns: statsJson(group.a),
    b_ns: statsJson(group.b),
    tests: group.tests.map((t) => ({ statistic: t.statistic, ...outcomeJson(t.outcome) })),
    phases: group.phases.map((p) => ({
      phase: p.phase,
      a_ns: statsJson(p.a),
      b_ns: statsJson(p.b),
      ...outcomeJson(p.outcome),
    })),
  };
}

function countJson(count: CountComparison): object {
  return {
    metric: count.metric,
    label: count.label,
    unit: count.unit,
    a: count.a,
    b: count.b,
    of_a: rounded(count.ofA),
    of_b: rounded(count.ofB),
    dispersion: rounded(count.dispersion),
    ...outcomeJson(count.outcome),
  };
}

function findingJson(finding: FindingComparison, failOn: DiffReport['options']['failOn']): object {
  const side = (s: FindingsOfSide | null): object | null =>
    s === null
      ? null
      : { severity: s.severity, verdict: s.verdict, findings: s.findings, cases: s.cases, title: s.title };
  return {
    rule: finding.rule,
    vm: finding.vm,
    cause: finding.cause,
    change: finding.change,
    regression: isFindingRegression(finding, failOn),
    reason: finding.reason,
    a: side(finding.a),
    b: side(finding.b),
  };
}

/** `gmemtrace.diff/1`: durations in ns (or in clock_unit). */
export function* renderDiff(report: DiffReport): Generator<string> {
  const { options } = report;
  const value = {
    schema: 'gmemtrace.diff/1',
    settings: { by: options.by, alpha: options.alpha, min_change: options.minChange, fail_on: options.failOn },
    a: sideJson(report.a),
    b: sideJson(report.b),
    notes: report.notes,
    regressions: report.regressions,
    summary: report.summary,
    findings: report.findings.map((f) => findingJson(f, options.failOn)),
    latency: report.latency.map((g) => latencyJson(g, options.by)),
    counts: report.counts.map(countJson),
    unavailable: report.unavailable,
  };
  yield `${JSON.stringify(value, null, 2)}\n`;
}
