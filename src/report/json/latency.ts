/** JSON of the latency report: `gmemtrace.latency/1`, schema/latency.schema.json. Durations and bucket borders in ns. */
import type { ClockUnit } from '../../base/units.js';
import { errorPercent, type GuestExits } from '../exits/guest.js';
import type { UserExits } from '../exits/user.js';
import type { FaultRate } from '../fault-rate.js';
import { bucketStart } from '../histogram.js';
import type { LatencyGroup, LatencyReport, SlowConversion } from '../latency.js';
import type { LatencySections } from '../latency-sections.js';
import type { RenderOptions } from '../render.js';
import { rounded, share } from '../share.js';
import type { Sizes } from '../sizes.js';
import type { Stats } from '../stats.js';
import { jsonInteger } from './integer.js';

/** Sections that were not asked for are absent; null: the trace cannot show it. */
export function* renderLatency(sections: LatencySections, { unit }: Pick<RenderOptions, 'unit'>): Generator<string> {
  const { conversions, sizes, userExits, guestExits, memoryFaults } = sections;
  const value = {
    schema: 'gmemtrace.latency/1',
    clock_unit: unit,
    ...(conversions && { conversions: conversionsJson(conversions, unit) }),
    ...(sizes && { sizes: sizesJson(sizes) }),
    ...(userExits !== undefined && { user_exits: userExits && userExitsJson(userExits) }),
    ...(guestExits && { guest_exits: guestExitsJson(guestExits) }),
    ...(memoryFaults !== undefined && { memory_faults: memoryFaults && faultRateJson(memoryFaults) }),
  };
  yield `${JSON.stringify(value, null, 2)}\n`;
}

function stats({ count, min, mean, p50, p90, p99, p999, max }: Stats): object {
  return { count, min, mean, p50, p90, p99, p99_9: p999, max };
}

function conversionsJson(report: LatencyReport, unit: ClockUnit): object {
  return {
    by: report.by,
    where: report.where,
    groups: report.groups.map((group) => groupJson(group, report.by, unit)),
    slowest: report.slowest.map(slowJson),
    left_out: report.leftOut,
  };
}

function groupJson(group: LatencyGroup, by: LatencyReport['by'], unit: ClockUnit): object {
  return {
    key: Object.fromEntries(by.map((name, k) => [name, group.key[k] ?? null])),
    count: group.count,
    pages: group.pages,
    pages_per_s: unit === 'ns' ? rounded(group.pagesPerSecond, 3) : null,
    exits_per_page: rounded(group.exitsPerPage, 6),
    whole_ns: stats(group.whole),
    phases_ns: group.phases.map((p) => ({ phase: p.phase, ...stats(p) })),
    retry_wait_ns: stats(group.retryWait),
    histogram: group.histogram.map((b) => ({
      from_ns: Math.round(bucketStart(b.index)),
      to_ns: Math.round(bucketStart(b.index + 1)),
      count: b.count,
    })),
  };
}

function slowJson(slow: SlowConversion): object {
  return {
    id: slow.id,
    vm: slow.vm,
    vcpu: slow.vcpu,
    gpa: jsonInteger(slow.gpa),
    size: jsonInteger(slow.size),
    direction: slow.direction,
    request_ns: jsonInteger(slow.requestNs),
    latency_ns: slow.latencyNs,
    phases: slow.phases.map(({ phase, sinceNs, ns }) => ({ phase, since_ns: jsonInteger(sinceNs), ns })),
    retry_waits: slow.waits.map(({ sinceNs, ns }) => ({ since_ns: jsonInteger(sinceNs), ns })),
  };
}

function sizesJson({ count, pages, mergeable, runs, unknown, limits, buckets }: Sizes): object {
  return {
    count,
    pages,
    mergeable,
    runs,
    unknown,
    limits: { requests: limits.requests, pages: limits.pages, gap_ns: limits.gapNs },
    buckets: buckets.map((b) => ({
      from_pages: 2 ** b.power,
      to_pages: 2 ** (b.power + 1),
      count: b.count,
      pages: b.pages,
      mergeable: b.mergeable,
    })),
  };
}

function userExitsJson({ by, totalNs, lines }: UserExits): object {
  return {
    by,
    total_ns: totalNs,
    reasons: lines.map(({ name, vm, vcpu, count, time }) => ({
      reason: name,
      vm,
      vcpu,
      count,
      time_percent: rounded(share(time.sum ?? 0, totalNs), 4),
      time_ns: stats(time),
    })),
  };
}

function guestExitsJson(exits: GuestExits): object {
  const { event, by, missing, samples, totalNs, unmatched } = exits;
  return {
    event,
    by,
    missing: missing.map((name) => `kvm:${name}`),
    samples,
    total_ns: totalNs,
    reasons: exits.lines.map((line) => ({
      reason: line.name,
      vm: line.vm,
      vcpu: line.vcpu,
      samples_percent: rounded(share(line.time.count, samples), 4),
      time_percent: rounded(share(line.time.sum ?? 0, totalNs), 4),
      time_ns: stats(line.time),
      stddev_ns: rounded(line.stddev, 0),
      error_percent: rounded(errorPercent(line), 4),
    })),
    unmatched: {
      early: unmatched.early,
      unended: unmatched.unended,
      unbegun: unmatched.unbegun,
    },
    over_loss: unmatched.overLoss,
  };
}

function faultRateJson({ total, startNs, endNs, bucketNs, lines }: FaultRate): object {
  return {
    total,
    start_ns: jsonInteger(startNs),
    end_ns: jsonInteger(endNs),
    bucket_ns: bucketNs,
    by_vm: lines.map(({ vm, count, counts }) => ({ vm, count, counts })),
  };
}
