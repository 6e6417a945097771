import type { Analysis } from '../model.js';
import { shownFindings, type Finding } from '../model-findings.js';
import type { RenderOptions } from '../render.js';
import type { Stats } from '../stats.js';
import { jsonInteger } from './integer.js';

/** `latency_ns` of a group; null where no conversion of it has one. */
function latency(stats: Stats): object | null {
  if (stats.count === 0) return null;
  const { min, p50, p90, p99, max, mean } = stats;
  return { min, p50, p90, p99, max, mean };
}

function traces(analysis: Analysis): object[] {
  return analysis.traces.map((t) => ({
    path: t.path,
    format: t.format,
    kernel: t.kernel,
    arch: t.arch,
    clock: t.clock === 'unknown' ? null : t.clock,
    clock_unit: t.clockUnit,
    start_ns: jsonInteger(t.startNs),
    end_ns: jsonInteger(t.endNs),
    events: t.events,
    lost: t.lost,
    skipped: t.skipped.map(({ reason, count, first }) => ({ reason, count, first })),
  }));
}

function identities(analysis: Analysis): { vms: object[]; gmems: object[] } {
  return {
    vms: analysis.vms.map((vm) => ({
      id: vm.id,
      platform: vm.platform,
      pid: vm.pid,
      comm: vm.comm,
      certainty: vm.certainty,
      vcpus: vm.vcpus.map(({ index, tid }) => ({ index, tid })),
      gmems: vm.gmems,
    })),
    gmems: analysis.gmems.map((gmem) => ({
      id: gmem.id,
      vm: gmem.vm,
      inode: jsonInteger(gmem.inode),
      size: jsonInteger(gmem.size),
      certainty: gmem.certainty,
      bindings: gmem.bindings.map((b) => ({
        slot: b.slot,
        gpa: jsonInteger(b.gpa),
        offset: jsonInteger(b.offset),
        size: jsonInteger(b.size),
        certainty: b.certainty,
      })),
    })),
  };
}

function conversions({ conversions: summary }: Analysis): object {
  return {
    total: summary.total,
    groups: summary.groups.map((g) => ({
      vm: g.vm,
      direction: g.direction,
      origin: g.origin,
      request: g.request,
      mechanism: g.mechanism,
      outcome: g.outcome,
      count: g.count,
      bytes: g.bytes,
      latency_ns: latency(g.latency),
    })),
    attempts: {
      total: summary.attempts.total,
      failed: summary.attempts.failed,
      by_errno: Object.fromEntries(summary.attempts.byErrno.map((e) => [e.name, e.count])),
    },
  };
}

function references(analysis: Analysis): object {
  const outstanding = analysis.references.outstanding?.map((r) => ({
    gmem: r.gmem,
    offset: jsonInteger(r.offset),
    size: r.size,
    holder: r.holder,
    since_ns: jsonInteger(r.sinceNs),
    blocks_conversion: r.blocksConversion,
  }));
  return { outstanding: outstanding ?? null };
}

function finding(f: Finding, evidence: number | null): object {
  return {
    rule: f.rule,
    severity: f.severity,
    verdict: f.verdict,
    vm: f.vm,
    gmem: f.gmem,
    vcpu: f.vcpu,
    title: f.title,
    details: f.details,
    since_ns: jsonInteger(f.sinceNs),
    until_ns: jsonInteger(f.untilNs),
    count: f.count,
    certainty: f.certainty,
    hint: f.hint,
    thresholds: f.thresholds,
    evidence: f.evidence
      .slice(0, evidence ?? undefined)
      .map((e) => ({ trace: e.trace, position: e.position, ts_ns: jsonInteger(e.tsNs), text: e.text })),
  };
}

/** `gmemtrace.analysis/1` (schema/analysis.schema.json); the order of the keys is fixed. */
export function* renderAnalysis(analysis: Analysis, options: RenderOptions): Generator<string> {
  const { vms, gmems } = identities(analysis);
  const document = {
    schema: 'gmemtrace.analysis/1',
    traces: traces(analysis),
    vms,
    gmems,
    conversions: conversions(analysis),
    memory_faults: {
      total: analysis.memoryFaults.total,
      by_vm: analysis.memoryFaults.byVm.map((v) => ({
        vm: v.vm,
        count: v.count,
        to_private: v.toPrivate,
        to_shared: v.toShared,
      })),
    },
    punches: analysis.punches,
    reboots:
      analysis.reboots?.map(({ vm, tsNs, epoch, how, certainty }) => ({
        vm,
        ts_ns: jsonInteger(tsNs),
        epoch,
        how,
        certainty,
      })) ?? null,
    references: references(analysis),
    findings: shownFindings(analysis.findings, options.limit).map((f) => finding(f, options.evidence)),
    dismissed: analysis.dismissed.map(({ rule, vm, title, reason, sinceNs, count }) => ({
      rule,
      vm,
      title,
      reason,
      since_ns: jsonInteger(sinceNs),
      count,
    })),
    unavailable: analysis.unavailable.map(({ what, missing, record }) => ({ what, missing, record })),
  };
  yield `${JSON.stringify(document, null, 2)}\n`;
}
