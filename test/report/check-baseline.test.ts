/** Comparing a trace with what it showed before. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { TraceError } from '../../src/base/errors.js';
import { didYouMean } from '../../src/cli/suggest.js';
import { baselineEntryOf, compareBaseline, type BaselineEntry } from '../../src/report/check/baseline.js';
import { parseBaseline, renderBaseline } from '../../src/report/check/baseline-file.js';
import { judgeTrace, type Observed } from '../../src/report/check/judge.js';
import { parseCheckSpec } from '../../src/report/check/spec.js';
import type { TraceSpec } from '../../src/report/check/spec-types.js';
import { analysis, finding, latency } from './check-fixture.js';

const rules = ['conversion-stall', 'lost-events', 'refcount-leak'];
const schema = JSON.parse(
  readFileSync(new URL('../../schema/baseline.schema.json', import.meta.url), 'utf8'),
) as object;
const isValid = new Ajv2020({ allowUnionTypes: true }).compile(schema);

function specWith(body = ''): TraceSpec {
  const source = `version: 1\nbaseline: b.json\ntraces:\n  - path: a.dat\n${body}`;
  const known = new Map(rules.map((rule) => [rule, []]));
  return parseCheckSpec('a.yaml', source, { rules: known, suggest: didYouMean }).traces[0]!;
}

function observed(values: Parameters<typeof analysis>[0] = {}): Observed {
  return { analysis: analysis(values), latency: latency(), rules };
}

const was = baselineEntryOf(specWith(), observed({ findings: [finding({})] }));

/** Each differing or remarked line, by section. */
function drift(now: BaselineEntry, body = '', before: BaselineEntry | null = was): Record<string, readonly string[]> {
  const cases = compareBaseline(specWith(body), before, now).filter((one) => one.message !== '');
  return Object.fromEntries(cases.map((one) => [`${one.status} ${one.name}`, one.details]));
}

describe('an entry', () => {
  it('holds counts, findings, states of rules and percentiles', () => {
    expect(was.counts).toMatchObject({ 'conversions.total': 5, 'conversions.outcome.refused': 1, references: null });
    expect(was.findings).toEqual({ 'error conversion-stall vm1': 1 });
    expect(was.rules).toEqual({
      'conversion-stall': 'judged',
      'lost-events': 'judged',
      'refcount-leak': 'unavailable',
    });
    expect(was.latency).toMatchObject({
      'to_private.count': 2,
      'to_private.p50_ns': 600_000,
      'to_private.p90_ns': null,
      'to_private.max_ns': 402_000_000,
      'to_shared.count': 0,
      'to_shared.p99_ns': null,
    });
  });

  it('leaves out findings that may come and go, and those that are inconclusive', () => {
    const found = observed({ findings: [finding({}), finding({ rule: 'lost-events', verdict: 'inconclusive' })] });
    const entry = baselineEntryOf(specWith('    expect: { allow_findings: [conversion-stall] }'), found);
    expect(entry.findings).toEqual({});
    expect(entry.rules['lost-events']).toBe('inconclusive');
  });

  it('comes back from its file as it was', () => {
    const text = renderBaseline(
      new Map([
        ['b', was],
        ['a', was],
      ]),
    );
    expect(isValid(JSON.parse(text))).toBe(true);
    expect([...parseBaseline('b.json', text)]).toEqual([
      ['a', was],
      ['b', was],
    ]);
  });
});

describe('comparing', () => {
  it('finds no drift in the same trace', () => {
    expect(drift(was)).toEqual({});
    expect(compareBaseline(specWith(), was, was).map((one) => [one.name, one.status])).toEqual([
      ['baseline counts', 'ok'],
      ['baseline findings', 'ok'],
      ['baseline rules', 'ok'],
      ['baseline latency', 'ok'],
    ]);
  });

  it('tells every figure that moved, what it is and what it was', () => {
    const now = observed({
      memoryFaults: { total: 3, byVm: [], byCause: [] },
      punches: { total: null, bytes: null },
      findings: [finding({}), finding({}), finding({ rule: 'lost-events', severity: 'warning', vm: null })],
      unavailable: [{ what: 'conversion-stall', missing: 'x', record: 'y' }],
    });
    expect(drift(baselineEntryOf(specWith(), now))).toEqual({
      'fail baseline counts': ['memory_faults: 3, was 2', 'punches: not known, was 0'],
      'fail baseline findings': [
        'finding error conversion-stall vm1: 2, was 1',
        'finding warning lost-events: 1, was 0',
      ],
      'fail baseline rules': [
        'rule conversion-stall: unavailable, was judged',
        'rule refcount-leak: judged, was unavailable',
      ],
    });
  });

  it('says of a metric that only one side has that it is missing', () => {
    const now: BaselineEntry = {
      ...was,
      counts: { 'conversions.total': 5 },
      findings: {},
      rules: { 'conversion-stall': 'judged', 'refcount-leak': 'unavailable', 'my-rule': 'judged' },
      latency: { ...was.latency, 'to_private.p99_ns': null, 'to_shared.p99_ns': 5_000_000 },
    };
    const found = drift(now);
    expect(found['fail baseline counts']).toContain('vms: not known, was 1');
    expect(found['fail baseline findings']).toEqual(['finding error conversion-stall vm1: 0, was 1']);
    expect(found['fail baseline rules']).toEqual([
      'rule lost-events: not run, was judged',
      'rule my-rule: judged, was not in the baseline',
    ]);
    expect(found['fail baseline latency']).toEqual([
      'latency.to_private.p99: not known, was 402 ms',
      'latency.to_shared.p99: 5.00 ms, was not known',
    ]);
  });

  const times = (p50: number, max: number): BaselineEntry => ({
    ...was,
    latency: { ...was.latency, 'to_private.p50_ns': p50, 'to_private.max_ns': max },
  });

  it.each([
    // within 25 %, or within 1 ms however much that is
    ['', times(600_000, 502_000_000), {}],
    ['', times(1_600_000, 402_000_000), {}],
    [
      '',
      times(1_600_001, 502_500_001),
      {
        'fail baseline latency': [
          'latency.to_private.p50: 1.60 ms, was 600 µs (tolerance 25 %, at least 1.00 ms)',
          'latency.to_private.max: 503 ms, was 402 ms (tolerance 25 %, at least 1.00 ms)',
        ],
      },
    ],
    [
      'tolerance: { latency: 0%, latency_floor: 0ns }',
      times(600_001, 402_000_000),
      { 'fail baseline latency': ['latency.to_private.p50: 600,001 ns, was 600,000 ns (tolerance 0 %)'] },
    ],
    [
      '',
      times(600_000, 100_000_000),
      { 'ok baseline latency': ['latency.to_private.max: 100 ms, was 402 ms (tolerance 25 %, at least 1.00 ms)'] },
    ],
  ])('of times heeds the tolerance, and faster is no fault (%s %#)', (body, now, expected) => {
    expect(drift(now, `    ${body}`)).toEqual(expected);
  });

  it.each([
    ['tolerance: { counts: 10% }', 5500, {}],
    ['tolerance: { counts: 10% }', 5501, { 'fail baseline counts': ['events: 5,501, was 5,000 (tolerance 10 %)'] }],
    ['tolerance: { counts: 10% }', 4499, { 'fail baseline counts': ['events: 4,499, was 5,000 (tolerance 10 %)'] }],
    ['', 5001, { 'fail baseline counts': ['events: 5,001, was 5,000'] }],
  ])('of counts heeds the tolerance in both directions (%s %i)', (body, events, expected) => {
    const before: BaselineEntry = { ...was, counts: { events: 5000 } };
    expect(drift({ ...was, counts: { events } }, `    ${body}`, before)).toEqual(expected);
  });

  it('fails where there is no entry', () => {
    expect(drift(was, '', null)).toEqual({ 'fail baseline': ['check --update-baseline adds it'] });
  });
});

describe('findings with a baseline', () => {
  const status = (body: string): string => {
    const { cases } = judgeTrace(specWith(body), observed({ findings: [finding({})] }));
    return cases.find((one) => one.name === 'rule conversion-stall')!.status;
  };

  it('are those of the baseline where the spec says nothing of them, else those of the spec', () => {
    expect(status('')).toBe('ok');
    expect(status('    expect: { findings: [] }')).toBe('fail');
    expect(status('    expect: { findings: [conversion-stall] }')).toBe('ok');
    expect(status('    baseline: false')).toBe('fail');
  });
});

describe('a baseline file that is none', () => {
  it.each([
    ['{', 'b.json: not JSON'],
    ['[]', 'b.json: the baseline is no object'],
    ['{"schema":"gmemtrace.baseline/2"}', 'b.json: schema is "gmemtrace.baseline/2", expected "gmemtrace.baseline/1"'],
    ['{"schema":"gmemtrace.baseline/1","traces":{"a":{}}}', 'b.json: a: counts is no object'],
    [
      renderBaseline(new Map([['a', was]])).replace('"judged"', '"good"'),
      'b.json: a: rules.conversion-stall is none of judged, inconclusive, unavailable',
    ],
    [
      renderBaseline(new Map([['a', was]])).replace('"events": 1000', '"events": "many"'),
      'b.json: a: counts.events is neither a number nor null',
    ],
  ])('is refused: %s', (text, message) => {
    const read = (): unknown => parseBaseline('b.json', text);
    expect(read).toThrow(TraceError);
    expect(read).toThrow(message);
  });
});
