/** What a spec may say beyond plain values: anchors, rules of a trace, baselines; and where its mistakes are. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { TraceError } from '../../src/base/errors.js';
import { didYouMean } from '../../src/cli/suggest.js';
import { parseCheckSpec } from '../../src/report/check/spec.js';
import type { CheckSpec } from '../../src/report/check/spec-types.js';

const RULES = new Map([
  ['conversion-stall', ['min_ns']],
  ['refcount-leak', []],
]);
const schema = JSON.parse(readFileSync(new URL('../../schema/check.schema.json', import.meta.url), 'utf8')) as object;
const isValid = new Ajv2020({ allowUnionTypes: true }).compile(schema);

const parseSpec = (source: string): CheckSpec =>
  parseCheckSpec('a.check.yaml', source, { rules: RULES, suggest: didYouMean });

function errorOf(source: string): TraceError {
  try {
    parseSpec(source);
  } catch (error) {
    if (error instanceof TraceError) return error;
  }
  throw new Error('the spec was accepted');
}

/** The schema sees what a YAML reader makes of anchors and merges. */
const agrees = (source: string): boolean => isValid(parse(source, { merge: true }));

describe('anchors and aliases', () => {
  const ANCHORS = `
version: 1
x-common: &common
  conversions: &counts { total: 110, attempts: { min: 100 } }
  vms: &one 1
traces:
  - path: a.dat
    expect: *common
  - path: b.dat
    expect:
      <<: *common
      conversions: { <<: *counts, total: 109 }
      gmems: *one
      findings: &found [refcount-leak]
  - path: c.dat
    expect: { <<: [{ vms: 3 }, *common], findings: *found }
`;

  it('stand for mappings, lists and single values, and are merged under what is written out', () => {
    const ranges = parseSpec(ANCHORS).traces.map(({ counts }) =>
      counts.map(({ name, range }) => [name, range.min, range.max]),
    );
    expect(ranges).toEqual([
      [
        ['conversions.total', 110, 110],
        ['conversions.attempts', 100, null],
        ['vms', 1, 1],
      ],
      [
        ['conversions.total', 109, 109],
        ['conversions.attempts', 100, null],
        ['vms', 1, 1],
        ['gmems', 1, 1],
      ],
      [
        ['conversions.total', 110, 110],
        ['conversions.attempts', 100, null],
        ['vms', 3, 3],
      ],
    ]);
    expect(parseSpec(ANCHORS).traces[2]!.findings!.map(({ rule }) => rule)).toEqual(['refcount-leak']);
    expect(agrees(ANCHORS)).toBe(true);
  });

  it.each([
    ['traces: [{ path: a, expect: *gone }]', 2, 29, 'no anchor "&gone" stands before this alias'],
    ['x-a: &a { <<: *a, vms: 1 }\ntraces: [{ path: a, expect: *a }]', 2, 11, 'this mapping is merged into itself'],
    ['x-a: &a { vmz: 1 }\ntraces: [{ path: a, expect: { <<: *a } }]', 2, 11, 'unknown key "vmz" in expect'],
    ['x-a: &a [1]\ntraces: [{ path: a, expect: *a }]', 2, 9, 'expect is a list, expected keys with values'],
  ])('refuses %j', (body, line, column, message) => {
    const error = errorOf(`version: 1\n${body}\n`);
    expect(error.message).toBe(message);
    // a mistake in what an alias stands for is told where it was made
    expect([error.place.line, error.place.column]).toEqual([line, column]);
  });
});

describe('rules of a trace', () => {
  const withTrace = (body: string): string =>
    `version: 1\ndefaults: { ignore_rules: [refcount-leak] }\ntraces:\n  - path: a.dat\n${body}`;

  it('are those it names, without those it or the defaults leave out', () => {
    const [trace] = parseSpec(withTrace('    rules: [conversion-stall]\n    ignore_rules: []\n')).traces;
    expect(trace).toMatchObject({ rules: ['conversion-stall'], ignoredRules: ['refcount-leak'] });
    expect(parseSpec(withTrace('')).traces[0]).toMatchObject({ rules: [], ignoredRules: ['refcount-leak'] });
  });

  it.each([
    ['rules: [refcount-leek]', 5, 13, 'there is no rule "refcount-leek"', 'did you mean refcount-leak?'],
    [
      'expect: { findings: [refcount-leak] }',
      5,
      26,
      'a finding of refcount-leak is expected, but the rule does not judge this trace',
      'take it out of "ignore_rules"',
    ],
    [
      'rules: [refcount-leak]\n    expect: { findings: [conversion-stall] }',
      6,
      26,
      'a finding of conversion-stall is expected, but the rule does not judge this trace',
      'add it to "rules"',
    ],
    [
      'params: { conversion-stall.min_ns: fast }',
      5,
      40,
      'conversion-stall.min_ns is "fast", expected a number',
      undefined,
    ],
  ])('refuses %s', (body, line, column, message, hint) => {
    const error = errorOf(withTrace(`    ${body}\n`));
    expect(error).toMatchObject({ code: 'spec', message });
    expect(error.place).toEqual({ input: 'a.check.yaml', line, column, ...(hint === undefined ? {} : { hint }) });
  });
});

describe('a baseline in the spec', () => {
  const SPEC = `
version: 1
baseline: base.json
defaults: { tolerance: { latency: 50% } }
traces:
  - { path: a.dat, tolerance: { counts: 2.5 %, latency_floor: 20us } }
  - { path: b.dat, baseline: false }
`;

  it('holds for every trace that does not say otherwise', () => {
    const spec = parseSpec(SPEC);
    expect(spec.baseline).toBe('base.json');
    expect(spec.traces.map((trace) => [trace.baseline, trace.tolerance])).toEqual([
      [true, { counts: 0.025, latency: 0.5, latencyFloorNs: 20_000 }],
      [false, { counts: 0, latency: 0.5, latencyFloorNs: 1_000_000 }],
    ]);
    expect(agrees(SPEC)).toBe(true);
  });

  it.each([
    ['baseline: 3\ntraces: [{ path: a }]', 2, 11, 'baseline is 3, expected a text'],
    ['traces:\n  - path: a\n    baseline: true', 4, 15, 'the spec names no baseline file'],
    ['traces:\n  - path: a\n    tolerance: { counts: 5 }', 4, 26, 'counts is 5, expected a share in per cent'],
    ['traces:\n  - path: a\n    tolerance: { latencies: 5% }', 4, 18, 'unknown key "latencies" in tolerance'],
  ])('refuses %j', (body, line, column, message) => {
    const error = errorOf(`version: 1\n${body}\n`);
    expect(error.message).toBe(message);
    expect([error.place.line, error.place.column]).toEqual([line, column]);
  });
});
