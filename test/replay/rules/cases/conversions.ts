import { attempt, conversion, memoryFault, PAGE, times, type Fields } from '../facts.js';
import type { RuleCase } from './model.js';

const MIB = 1024 * 1024;
const usual = times(30, (k) => conversion(100 + k, { gpa: k * PAGE }));
const slow = conversion(1000, { gpa: MIB, exit_ms: 1000.01, commit_ms: 1049.9, resume_ms: 1050, stop_ns: 50_000_000 });
const unsure: Fields = { certainty: 'assumed' };
const flipped = (n: number, stepMs: number, fields: Fields = {}) =>
  times(n, (k) => conversion(100 + k * stepMs, { direction: k % 2 === 0 ? 'to_shared' : 'to_private', ...fields }));
const neighbours = (n: number, stepMs: number, fields: Fields = {}) =>
  times(n, (k) => conversion(100 + k * stepMs, { gpa: k * PAGE, ...fields }));
const tried = conversion(100, {
  direction: 'to_private',
  outcome: 'failed',
  failed_attempts: 12,
  attempts: 12,
  last_errno: 11,
});
const failedTries = (n: number) =>
  times(n, (k) => attempt(tried, k + 1, 100 + k, 100.5 + k, { errno: 11, error_offset: 0 }));
const dropped = conversion(100, { outcome: 'unknown', attempts: 0, certainty: 'inferred', commit_ms: null });
/** Faults of one vCPU whose conversion had nothing to do, `others` conversions by another vCPU before each. */
function racing(n: number, others: number): Readonly<Record<string, readonly Fields[]>> {
  const noops = times(n, (k) => conversion(100 + k, { direction: 'to_private', outcome: 'noop', origin: 'implicit' }));
  const faster = times(n * others, (k) => conversion(99.5 + k, { vcpu: 1, tid: 102, direction: 'to_private' }));
  const faults = noops.map((row, k) => memoryFault(100 + k, { conversion_id: row['conversion_id']! }));
  return { conversion: [...noops, ...faster], memory_fault: faults };
}
const pending: Fields = { outcome: 'pending', commit_ms: null, resume_ms: null, stop_ns: null, attempts: 0 };
const stormy = (n: number, stepMs: number) => times(n, (k) => memoryFault(1000 + k * stepMs, { gpa: k * PAGE }));

export const CONVERSION_CASES: readonly RuleCase[] = [
  {
    rule: 'conversion-stall',
    what: 'a stop of 50 ms where 0.1 ms is usual',
    hit: { tables: { conversion: [...usual, slow] } },
    severity: 'warning',
    title: /^to_shared gpa 0x100000\+4K stopped its vCPU for 50\.0 ms \(500 x median\), most of it in coordination/,
    miss: {
      'where all take as long': { tables: { conversion: usual.map((row) => ({ ...row, stop_ns: 50_000_000 })) } },
      'where the VMM refused': { tables: { conversion: [...usual, { ...slow, outcome: 'refused' }] } },
      'where nobody waited': { tables: { conversion: [...usual, { ...slow, origin: 'vmm' }] } },
      'where the row is assumed': { tables: { conversion: [...usual, { ...slow, ...unsure }] } },
      'below 100 ms where too few are there to compare with': { tables: { conversion: [slow] } },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-never-completed',
    what: 'a request that has no answer for 50 s',
    hit: { tables: { conversion: [conversion(1000, pending)] } },
    severity: 'error',
    title: /^to_shared gpa 0x0\+4K: asked, not answered in the 59\.00 s to the end of the trace$/,
    miss: {
      'where the trace ends 4 s later': { tables: { conversion: [conversion(56_000, pending)] } },
      'where it was refused': { tables: { conversion: [conversion(1000, { outcome: 'refused' })] } },
      'where the row is assumed': { tables: { conversion: [conversion(1000, { ...pending, ...unsure })] } },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-never-completed',
    what: 'a vCPU thread that ends before its answer',
    hit: {
      tables: {
        conversion: [conversion(59_000, pending)],
        vcpu: [{ vm_id: 1, vcpu: 0, tid: 101, to_ms: 59_500, how: 'test', certainty: 'observed' }],
      },
    },
    severity: 'error',
    title: /not answered when its thread ended 500 ms later$/,
    miss: {
      'where it had its answer': {
        tables: {
          conversion: [conversion(59_000)],
          vcpu: [{ vm_id: 1, vcpu: 0, tid: 101, to_ms: 59_500, how: 'test', certainty: 'observed' }],
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-retry-loop',
    what: 'twelve tries that fail at one page',
    hit: { tables: { conversion: [tried], conversion_attempt: failedTries(12) } },
    severity: 'warning',
    title: /^to_private gpa 0x0\+4K: 12 attempts without progress in 11\.5 ms \(EAGAIN\)$/,
    miss: {
      'after nine tries': { tables: { conversion: [tried], conversion_attempt: failedTries(9) } },
      'where each try gets further': {
        tables: {
          conversion: [tried],
          conversion_attempt: failedTries(12).map((row, k) => ({ ...row, error_offset: k * PAGE })),
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-never-completed',
    what: 'a request without an ioctl, and a fault on the memory afterwards',
    hit: { tables: { conversion: [dropped], memory_fault: [memoryFault(1500, { wanted: 'shared' })] } },
    severity: 'error',
    title: /^to_shared gpa 0x0\+4K: the vCPU ran on without it, and the guest faulted on the memory 1\.40 s later$/,
    miss: {
      'where no fault shows it': { tables: { conversion: [dropped] } },
      'where the guest wants it as it is': { tables: { conversion: [dropped], memory_fault: [memoryFault(1500)] } },
      'where it was converted back in between': {
        tables: {
          conversion: [dropped, conversion(1000, { direction: 'to_private' })],
          memory_fault: [memoryFault(1500, { wanted: 'shared' })],
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-retry-loop',
    what: 'three faults of a vCPU on memory that is as it wants it',
    hit: { tables: racing(3, 0) },
    severity: 'warning',
    title: /^to_private gpa 0x0\+4K: 3 faults on memory that was converted already without progress in 2\.0 ms$/,
    miss: { twice: { tables: racing(2, 0) }, 'where another vCPU was faster each time': { tables: racing(3, 1) } },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-retry-loop',
    what: 'a TDX guest that is refused twice',
    hit: {
      platform: 'tdx',
      tables: {
        conversion: times(2, (k) => conversion(100 + k, { request: 'tdx-mapgpa', outcome: 'refused', attempts: 0 })),
      },
    },
    severity: 'warning',
    title: /2 requests without progress/,
    miss: {
      'where it went through between': {
        platform: 'tdx',
        tables: {
          conversion: times(3, (k) =>
            conversion(100 + k, { request: 'tdx-mapgpa', outcome: k === 1 ? 'done' : 'refused', attempts: 0 }),
          ),
        },
      },
    },
    withLosses: 'inconclusive',
  },
  {
    rule: 'conversion-ping-pong',
    what: 'a page that is flipped eight times in 0.7 s',
    hit: { tables: { conversion: flipped(8, 100) } },
    severity: 'info',
    title: /^1 place from gpa 0x0 flipped 8 times in 700 ms, 800\.0 µs of stops in all$/,
    miss: {
      'where it is flipped once a second': { tables: { conversion: flipped(8, 1000) } },
      'by the VMM': { tables: { conversion: flipped(8, 100, { origin: 'vmm' }) } },
      'always the same way': { tables: { conversion: flipped(8, 100, { direction: 'to_shared' }) } },
      'where the rows are assumed': { tables: { conversion: flipped(8, 100, unsure) } },
    },
    withLosses: 'fail',
  },
  {
    rule: 'conversion-ping-pong',
    what: 'flips that take most of the time',
    hit: { tables: { conversion: flipped(8, 100, { stop_ns: 60_000_000 }) } },
    severity: 'warning',
    title: /480 ms of stops in all$/,
    miss: { 'three times': { tables: { conversion: flipped(3, 100, { stop_ns: 60_000_000 }) } } },
    withLosses: 'fail',
  },
  {
    rule: 'small-conversions',
    what: 'ten neighbouring pages one after the other',
    hit: { tables: { conversion: neighbours(10, 0.5) } },
    severity: 'info',
    title:
      /^10 requests to_shared of 10 neighbouring pages in 1 run, the longest 10 from gpa 0x0; merged they would have saved about 900\.0 µs$/,
    miss: {
      'where they are seven': { tables: { conversion: neighbours(7, 0.5) } },
      'where time passes between': { tables: { conversion: neighbours(10, 5) } },
      'where they are no neighbours': {
        tables: { conversion: neighbours(10, 0.5).map((row) => ({ ...row, gpa: Number(row['gpa']) * 2 })) },
      },
      'where a request cannot be larger': { tables: { conversion: neighbours(10, 0.5, { request: 'snp-psc-msr' }) } },
      'of the VMM': { tables: { conversion: neighbours(10, 0.5, { origin: 'vmm' }) } },
    },
    withLosses: 'fail',
  },
  {
    rule: 'implicit-storm',
    what: 'a fault a millisecond',
    hit: { tables: { memory_fault: stormy(300, 0.5) } },
    severity: 'info',
    title:
      /^300 pages were converted by faults, at the peak 300 in 1\.00 s, 100 % of the exits to userspace; 100 % were the neighbour of the page before$/,
    miss: {
      'where they are spread': { tables: { memory_fault: stormy(200, 20) } },
      'after a reboot, which has its own rule': {
        tables: { memory_fault: stormy(300, 0.5).map((row) => ({ ...row, cause: 'stale-after-reboot' })) },
      },
      'among many other exits': {
        tables: { memory_fault: stormy(150, 5) },
        memoryEvents: times(900, (k) => ({ kind: 'user_exit', ts_ms: 1000 + k, value: 2 })),
      },
    },
    withLosses: 'fail',
  },
];
