import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { renderCheckJson } from '../../src/report/check/json.js';
import { judgeTrace } from '../../src/report/check/judge.js';
import type { CheckCase } from '../../src/report/check/result.js';
import { parseCheckSpec } from '../../src/report/check/spec.js';
import type { CheckSpec } from '../../src/report/check/spec-types.js';
import { renderCheckText } from '../../src/report/check/text.js';
import { PLAIN } from '../../src/report/render.js';
import { TraceError } from '../../src/base/errors.js';
import { didYouMean } from '../../src/cli/suggest.js';
import { analysis, finding, latency } from './check-fixture.js';

const RULES = new Map([
  ['conversion-stall', ['absolute_ms', 'factor']],
  ['refcount-leak', []],
  ['lost-events', []],
]);
const schema = JSON.parse(readFileSync(new URL('../../schema/check.schema.json', import.meta.url), 'utf8')) as object;
const isValid = new Ajv2020({ allowUnionTypes: true }).compile(schema);

const parseSpec = (source: string): CheckSpec =>
  parseCheckSpec('a.check.yaml', source, { rules: RULES, suggest: didYouMean });
const withTrace = (body: string): string => `version: 1\ntraces:\n  - path: a.dat\n${body}`;

function errorOf(source: string): TraceError {
  try {
    parseSpec(source);
  } catch (error) {
    if (error instanceof TraceError) return error;
  }
  throw new Error('the spec was accepted');
}

const FULL = `
version: 1
defaults:
  expect: { lost: 0, allow_findings: [lost-events] }
  latency: { to_private: { p99: 300ms } }
  params: { conversion-stall.factor: 9 }
traces:
  - path: stalls.dat
    expect:
      conversions:
        total: 84
        direction: { to_private: 42, to_shared: { min: 40 } }
        origin: { explicit: { min: 80, max: 84 } }
        outcome: { done: 83 }
        groups:
          - { vm: 1, direction: to_shared, origin: explicit, outcome: done, count: 42 }
      memory_faults: 2
      findings:
        - { rule: conversion-stall, vm: vm1, count: 2, severity: error }
        - refcount-leak
    latency: { to_private: { p99: 1.5 s, p50: { min: 100us, max: 10 ms } } }
    params: { conversion-stall.absolute_ms: 20 }
  - paths: [host.dat, hyp.txt]
    optional: true
`;

describe('the spec', () => {
  it('is read with its defaults laid under each trace', () => {
    const { traces } = parseSpec(FULL);
    expect(traces.map((trace) => [trace.name, trace.paths, trace.optional])).toEqual([
      ['stalls.dat', ['stalls.dat'], false],
      ['host.dat + hyp.txt', ['host.dat', 'hyp.txt'], true],
    ]);
    expect(traces[0]!.counts).toMatchObject([
      { name: 'lost', range: { min: 0, max: 0 } },
      { name: 'conversions.total', range: { min: 84, max: 84 } },
      { name: 'conversions.direction.to_private', range: { min: 42, max: 42 } },
      { name: 'conversions.direction.to_shared', range: { min: 40, max: null } },
      { name: 'conversions.origin.explicit', range: { min: 80, max: 84 } },
      { name: 'conversions.outcome.done', range: { min: 83, max: 83 } },
      { name: 'memory_faults', range: { min: 2, max: 2 } },
    ]);
    expect(traces[0]!.latency).toMatchObject([
      { direction: 'to_private', figure: 'p99', range: { min: null, max: 1_500_000_000 } },
      { direction: 'to_private', figure: 'p50', range: { min: 100_000, max: 10_000_000 } },
    ]);
    expect([...traces[0]!.params]).toEqual([
      ['conversion-stall.factor', '9'],
      ['conversion-stall.absolute_ms', '20'],
    ]);
    expect(traces[0]!.findings![0]).toEqual({
      rule: 'conversion-stall',
      vm: 1,
      severity: 'error',
      count: { min: 2, max: 2 },
      place: { line: 19, column: 11 },
    });
    expect(traces[1]!.counts).toEqual([{ name: 'lost', range: { min: 0, max: 0 }, place: { line: 4, column: 19 } }]);
    expect(traces[1]!.allowed).toEqual([{ rule: 'lost-events', vm: null }]);
  });

  it('may be JSON, and agrees with its schema', () => {
    const value: unknown = parse(FULL);
    expect(isValid(value)).toBe(true);
    const plain = (spec: CheckSpec): unknown =>
      JSON.parse(JSON.stringify(spec, (key, v: unknown) => (key === 'place' ? 0 : v)));
    expect(plain(parseSpec(JSON.stringify(value)))).toEqual(plain(parseSpec(FULL)));
  });

  it.each([
    ['expct: {}', 4, 'unknown key "expct" in a trace', 'did you mean expect?'],
    ['expect:\n      conversion: 3', 5, 'unknown key "conversion" in expect', 'did you mean conversions?'],
    [
      'expect:\n      findings:\n        - conversion-stal',
      6,
      'there is no rule "conversion-stal"',
      'did you mean conversion-stall?',
    ],
    ['expect: { vms: -1 }', 4, 'vms is -1, expected a whole number from 0', undefined],
    ['expect: { vms: two }', 4, 'vms is "two", expected a whole number from 0', undefined],
    ['expect: { vms: { min: 3, max: 2 } }', 4, 'vms: min 3 is above max 2', undefined],
    ['expect: { vms: {} }', 4, 'vms has neither min nor max', undefined],
    [
      'expect: { conversions: { direction: { to_secret: 1 } } }',
      4,
      'unknown key "to_secret" in direction',
      'did you mean to_shared?',
    ],
    [
      'latency: { to_private: { p99: 300 } }',
      4,
      'p99 is 300, expected a duration with its unit',
      'for example 10ms, 1.5s, 300us',
    ],
    ['latency: { to_private: { p98: 3s } }', 4, 'unknown key "p98" in to_private', 'did you mean p90?'],
    [
      'params: { conversion-stall.facto: 3 }',
      4,
      'there is no rule parameter "conversion-stall.facto"',
      'did you mean conversion-stall.factor?',
    ],
    ['paths: [b.dat]', 4, 'a trace has either path or paths', undefined],
    ['optional: maybe', 4, 'optional is "maybe", expected true or false', undefined],
  ])('refuses %s with its line', (body, line, message, hint) => {
    const error = errorOf(withTrace(`    ${body}\n`));
    expect(error.code).toBe('spec');
    expect(error.message).toBe(message);
    expect(error.place).toMatchObject({ input: 'a.check.yaml', line });
    expect(error.place.hint).toBe(hint);
  });

  it.each([
    ['', 1],
    ['traces: []', 1],
    ['version: 2\ntraces: [{path: a}]', 1],
    ['version: 1\ntraces: []', 2],
    ['version: 1\ntraces:\n  - {}', 3],
    ['version: 1\ntraces:\n  - path: a\n    path: b', 4],
    ['version: 1\n\ttraces: x', 2],
    ['version: 1\ntraces: [{path: [}]', 2],
  ])('refuses %j at line %i', (source, line) => {
    const error = errorOf(source);
    expect(error.code).toBe('spec');
    expect(error.place.line).toBe(line);
  });
});

function judge(body: string, found = analysis()): readonly CheckCase[] {
  const [trace] = parseSpec(withTrace(body)).traces;
  return judgeTrace(trace!, { analysis: found, latency: latency(), rules: [...RULES.keys()] }).cases;
}

const failures = (cases: readonly CheckCase[]) => cases.filter((one) => one.status === 'fail');

describe('judging', () => {
  it('is met by what is there', () => {
    const cases = judge(`
    expect:
      conversions:
        total: 5
        direction: { to_private: 2, to_shared: 3 }
        outcome: { done: 4, refused: 1 }
        groups: [{ vm: 1, direction: to_shared, outcome: done, count: 2 }]
      memory_faults: { max: 2 }
      events: { min: 100 }
      lost: 0
      vms: 1
    latency: { to_private: { p99: 500ms } }`);
    expect(failures(cases)).toEqual([]);
    expect(cases.map((one) => one.name)).toContain('rule conversion-stall');
  });

  it('says what differs, and by how much', () => {
    const cases = judge(`
    expect:
      conversions: { total: 6, origin: { vmm: 1 }, groups: [{ direction: to_private, count: { min: 3 } }] }
      memory_faults: { min: 3, max: 4 }
    latency: { to_private: { p99: 300ms, p50: 1ms }, to_shared: { max: 1s } }`);
    expect(failures(cases).map((one) => one.message)).toEqual([
      'conversions.total: 5, expected 6',
      'conversions.origin.vmm: 0, expected 1',
      'memory_faults: 2, expected 3 to 4',
      'conversions[to_private]: 2, expected at least 3',
      'latency.to_private.p99: 402 ms, limit 300 ms',
      'latency.to_shared.max: no conversion of which the whole stop was seen',
    ]);
    expect(failures(cases)[4]!.details).toEqual(['conv2 402 ms gpa 0x100007000']);
  });

  it('does not take "not known" for 0', () => {
    const unknown = analysis({ memoryFaults: { total: null, byVm: [], byCause: [] } });
    const [failed] = failures(judge('    expect: { memory_faults: 0 }', unknown));
    expect(failed).toMatchObject({
      name: 'memory_faults',
      kind: 'count',
      place: { line: 4, column: 30 },
      status: 'fail',
      message: 'memory_faults: not known, expected 0',
      details: ['no kvm_userspace_exit; record -e kvm:kvm_userspace_exit'],
    });
  });

  it('fails on a finding that nobody expects, with its evidence', () => {
    const cases = judge('', analysis({ findings: [finding({})] }));
    expect(failures(cases)).toMatchObject([
      {
        name: 'rule conversion-stall',
        rule: 'conversion-stall',
        place: { line: 3, column: 5 },
        evidence: [{ trace: 'stalls.dat', position: 'cpu 1 byte 184320' }],
        status: 'fail',
        message: 'findings: conversion-stall was found once, expected none',
        details: [
          '+ error conversion-stall vm1 gpa 0x100007000 +16 KiB took 402 ms (stalls.dat, cpu 1 byte 184320)',
          '    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0',
        ],
      },
    ]);
  });

  it.each([
    ['findings: [{ rule: conversion-stall, count: 2 }]', 3, 'conversion-stall was found 3 times, expected 2'],
    [
      'findings: [{ rule: conversion-stall, vm: 2 }]',
      1,
      'conversion-stall of vm2 was found 0 times, expected 1; conversion-stall was found once beyond what is expected',
    ],
    [
      'findings: [{ rule: conversion-stall, severity: warning }]',
      1,
      'warning conversion-stall was found 0 times, expected 1; conversion-stall was found once beyond what is expected',
    ],
    ['findings: [conversion-stall]', 0, 'conversion-stall was found 0 times, expected 1'],
    ['allow_findings: [refcount-leak]', 1, 'conversion-stall was found once, expected none'],
  ])('%s with %i findings', (expected, count, message) => {
    const findings = Array.from({ length: count }, () => finding({}));
    const failed = failures(judge(`    expect: { ${expected} }`, analysis({ findings })));
    expect(failed.map((one) => one.message)).toEqual([`findings: ${message}`]);
  });

  it.each([
    ['findings: [{ rule: conversion-stall, count: { min: 1 } }]', 3],
    ['findings: [conversion-stall, { rule: conversion-stall, vm: 1, count: 0 }]', 0, 'fail'],
    ['allow_findings: [conversion-stall]', 2],
    ['allow_findings: [{ rule: conversion-stall, vm: vm1 }]', 2],
    ['findings: [{ rule: conversion-stall, vm: 1, severity: error }]', 1],
  ] as const)('%s with %i findings is as expected', (expected, count, status: string = 'ok') => {
    const findings = Array.from({ length: count }, () => finding({}));
    const cases = judge(`    expect: { ${expected} }`, analysis({ findings }));
    expect(cases.find((one) => one.name === 'rule conversion-stall')!.status).toBe(status);
  });

  it('skips rules that could not be judged, with the reason', () => {
    const found = analysis({ findings: [finding({ verdict: 'inconclusive' })] });
    const cases = judge('', found);
    expect(cases.find((one) => one.name === 'rule refcount-leak')).toMatchObject({
      name: 'rule refcount-leak',
      status: 'skip',
      message: 'unavailable: no page_ref events',
      details: ['record -e page_ref'],
    });
    expect(cases.find((one) => one.name === 'rule conversion-stall')).toMatchObject({
      status: 'skip',
      message: 'inconclusive: gpa 0x100007000 +16 KiB took 402 ms',
    });
    expect(failures(cases)).toEqual([]);
  });

  it('fails where an expected finding could not be judged', () => {
    const [failed] = failures(judge('    expect: { findings: [refcount-leak] }'));
    expect(failed!.message).toBe('findings: refcount-leak was found 0 times, expected 1');
    expect(failed!.details).toEqual(['not judged: no page_ref events; record -e page_ref']);
  });

  it('compares what is unavailable, where asked', () => {
    expect(failures(judge('    expect: { unavailable: [memory_faults, refcount-leak] }'))).toEqual([]);
    const [failed] = failures(judge('    expect: { unavailable: [memory_faults, reboots] }'));
    expect(failed!.details).toEqual(['+ refcount-leak: no page_ref events', '- reboots']);
  });
});

describe('the result', () => {
  const report = () => {
    const spec = parseSpec(FULL);
    const found = analysis({ findings: [finding({}), finding({}), finding({})] });
    const [first, second] = spec.traces;
    const rules = [...RULES.keys()];
    const place = { line: 1, column: 1 };
    return {
      spec: spec.path,
      traces: [
        judgeTrace({ ...second!, name: 'basic.dat', latency: [] }, { analysis: analysis(), latency: null, rules }),
        judgeTrace({ ...first!, counts: [], groups: [] }, { analysis: found, latency: latency(), rules }),
        {
          name: 'tdx.dat',
          paths: ['tdx.dat'],
          place,
          status: 'skip' as const,
          reason: 'not there (optional)',
          cases: [],
        },
        {
          name: 'broken.dat',
          paths: ['broken.dat'],
          place,
          status: 'unreadable' as const,
          reason: 'broken.dat: not a trace',
          cases: [],
        },
      ],
    };
  };

  it('for people', () => {
    expect([...renderCheckText(report(), PLAIN.paint, ['junit.xml'])].join('')).toMatchInlineSnapshot(`
      " ok    basic.dat     4 expectations · 1 not judged
       FAIL  stalls.dat    2 of 5 expectations
              findings: error conversion-stall of vm1 was found 3 times, expected 2
                + error conversion-stall vm1 gpa 0x100007000 +16 KiB took 402 ms (stalls.dat, cpu 1 byte 184320)
                    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0
                + error conversion-stall vm1 gpa 0x100007000 +16 KiB took 402 ms (stalls.dat, cpu 1 byte 184320)
                    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0
                + error conversion-stall vm1 gpa 0x100007000 +16 KiB took 402 ms (stalls.dat, cpu 1 byte 184320)
                    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0
              findings: refcount-leak was found 0 times, expected 1
                not judged: no page_ref events; record -e page_ref
       skip  tdx.dat       not there (optional)
       FAIL  broken.dat    broken.dat: not a trace
      4 traces, 1 failed, 1 could not be read · wrote junit.xml
      "
    `);
  });

  it('as JSON', () => {
    const value = JSON.parse(renderCheckJson(report())) as {
      ok: boolean;
      schema: string;
      traces: { status: string }[];
    };
    expect(value.schema).toBe('gmemtrace.check/1');
    expect(value.ok).toBe(false);
    expect(value.traces.map((trace) => trace.status)).toEqual(['ok', 'fail', 'skip', 'unreadable']);
  });
});
