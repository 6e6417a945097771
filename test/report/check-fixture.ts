/** A small analysis as the tests of check and JUnit see it. */
import type { LatencyReport } from '../../src/report/latency.js';
import type { Analysis } from '../../src/report/model.js';
import type { Finding } from '../../src/report/model-findings.js';
import type { Stats } from '../../src/report/stats.js';

const stats = (values: Partial<Stats>): Stats => ({
  count: 2,
  min: null,
  p50: null,
  p90: null,
  p99: null,
  p999: null,
  max: null,
  mean: null,
  sum: null,
  ...values,
});

const group = (direction: string, origin: string, outcome: string, count: number) => ({
  vm: 1,
  direction,
  origin,
  request: 'map-gpa-range',
  mechanism: 'vm-attributes',
  outcome,
  count,
  bytes: null,
  latency: stats({}),
});

/** An error of conversion-stall with one event as evidence. */
export function finding(values: Partial<Finding>): Finding {
  return {
    id: 1,
    rule: 'conversion-stall',
    severity: 'error',
    verdict: 'fail',
    vm: 1,
    gmem: 1,
    vcpu: 0,
    title: 'gpa 0x100007000 +16 KiB took 402 ms',
    details: [],
    sinceNs: 1n,
    untilNs: 2n,
    count: 1,
    certainty: 'observed',
    hint: null,
    thresholds: null,
    evidence: [
      {
        trace: 'stalls.dat',
        position: 'cpu 1 byte 184320',
        tsNs: 1n,
        text: 'CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0',
      },
    ],
    ...values,
  };
}

/** Five conversions of one VM, two memory faults, two things that could not be judged. */
export function analysis(values: Partial<Analysis> = {}): Analysis {
  return {
    traces: [
      {
        id: 1,
        path: 'a.dat',
        format: 'trace.dat',
        version: '7 zstd',
        kernel: '7.3.4',
        arch: 'x86_64',
        clock: 'mono',
        clockUnit: 'ns',
        recorder: null,
        startNs: 0n,
        endNs: 10n,
        events: 1000,
        lost: 0,
        lostAtLeast: 0,
        lostStretches: 0,
        skipped: [],
        notes: [],
      },
    ],
    vms: [
      {
        id: 1,
        platform: null,
        pid: 97,
        comm: 'gmemvm',
        how: '',
        certainty: 'observed',
        vcpus: [],
        gmems: [],
        conversions: 5,
      },
    ],
    gmems: [],
    conversions: {
      total: 5,
      groups: [
        group('to_private', 'explicit', 'done', 1),
        group('to_private', 'implicit', 'done', 1),
        group('to_shared', 'explicit', 'done', 2),
        group('to_shared', 'explicit', 'refused', 1),
      ],
      lines: [],
      phases: [],
      certainties: [],
      attempts: { total: 4, failed: 0, byErrno: [] },
    },
    memoryFaults: { total: 2, byVm: [], byCause: [] },
    punches: { total: 0, bytes: 0 },
    reboots: [],
    references: { outstanding: null, untilTeardown: 0 },
    findings: [],
    dismissed: [],
    unavailable: [
      { what: 'memory_faults', missing: 'no kvm_userspace_exit', record: '-e kvm:kvm_userspace_exit' },
      { what: 'refcount-leak', missing: 'no page_ref events', record: '-e page_ref' },
    ],
    ...values,
  };
}

/** Two conversions to private, the slower one of 402 ms. */
export function latency(): LatencyReport {
  return {
    where: null,
    by: ['direction'],
    groups: [
      {
        key: ['to_private'],
        count: 2,
        pages: 4,
        pagesPerSecond: null,
        exitsPerPage: null,
        whole: stats({ min: 600_000, p50: 600_000, p99: 402_000_000, max: 402_000_000 }),
        phases: [],
        retryWait: stats({ count: 0 }),
        histogram: [],
      },
    ],
    slowest: [
      {
        id: 2,
        vm: 1,
        vcpu: 0,
        gpa: 0x100007000n,
        size: 16384n,
        direction: 'to_private',
        requestNs: 1n,
        latencyNs: 402_000_000,
        phases: [],
        waits: [],
      },
    ],
    startNs: 0n,
    leftOut: [],
  };
}
