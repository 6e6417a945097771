/** What `diff` says of two sides: noise is no change, a shift is found, what is missing is said. */
import { describe, expect, it } from 'vitest';
import { causeOf } from '../../../src/report/diff/compare-findings.js';
import { compareSides, type DiffOptions, type DiffReport, type DiffSide } from '../../../src/report/diff/index.js';
import { drawCount, drawLatency, makeCount, makeFinding, makeGroup, makeRandom, makeSide } from './sides.js';

const OPTIONS: DiffOptions = { by: ['direction'], alpha: 0.05, minChange: 0.1, failOn: 'warning' };
const diff = (a: DiffSide, b: DiffSide, change: Partial<DiffOptions> = {}): DiffReport =>
  compareSides(a, b, { ...OPTIONS, ...change });

const many = <T>(count: number, make: (k: number) => T): T[] => Array.from({ length: count }, (_, k) => make(k));

interface World {
  readonly median: number;
  readonly faults: number;
  readonly refused: number;
}

const USUAL: World = { median: 1_000_000, faults: 3, refused: 0.1 };

/** One recording of a world: three groups of 40 latencies, faults in bursts, refusals. */
function record(random: () => number, world: World): DiffSide {
  const refused = many(80, () => random() < world.refused).filter(Boolean).length;
  const bursts = many(20, () => drawCount(random, world.faults) * (random() < 0.3 ? 4 : 1));
  return makeSide({
    groups: ['one', 'two', 'three'].map((name) =>
      makeGroup(
        name,
        many(40, () => drawLatency(random, world.median, 0.6)),
      ),
    ),
    counts: [makeCount('memory faults', 'mismatch', bursts)],
    shares: [{ metric: 'conversions refused or failed', label: 'to_shared', count: refused, of: 80 }],
  });
}

describe('noise', () => {
  it('is called a regression in at most 5 % of pairs of runs of the same', () => {
    const random = makeRandom(7);
    const pairs = many(600, () => [record(random, USUAL), record(random, USUAL)] as const);
    const share = (test: (report: DiffReport) => boolean, settings: Partial<DiffOptions> = {}): number =>
      pairs.filter(([a, b]) => test(diff(a, b, settings))).length / pairs.length;
    expect(share(({ regressions }) => regressions > 0)).toBeLessThanOrEqual(0.05);
    // Both ways, and by significance alone, it is alpha: 5 %, and two standard errors of 600 draws.
    const either = share(({ summary }) => summary.worse + summary.better > 0, { minChange: 1e-6 });
    expect(either).toBeGreaterThan(0.01);
    expect(either).toBeLessThanOrEqual(0.05 + 2 * Math.sqrt((0.05 * 0.95) / 600));
  });

  it.each([
    ['latencies of 1.6 times', { ...USUAL, median: 1_600_000 }],
    ['four times as many faults', { ...USUAL, faults: 12 }],
    ['four times as many refusals', { ...USUAL, refused: 0.4 }],
  ])('does not hide %s: found in at least 95 % of pairs, and better the other way round', (_, world) => {
    const random = makeRandom(8);
    const pairs = many(100, () => [record(random, USUAL), record(random, world)] as const);
    expect(pairs.filter(([a, b]) => diff(a, b).regressions > 0).length).toBeGreaterThanOrEqual(95);
    expect(pairs.filter(([a, b]) => diff(b, a).summary.better > 0).length).toBeGreaterThanOrEqual(95);
    expect(pairs.filter(([a, b]) => diff(b, a).regressions > 0).length).toBeLessThanOrEqual(5);
  });

  it('a trace against itself is no change, whatever is in it', () => {
    const random = makeRandom(9);
    for (const world of many(20, () => record(random, USUAL))) {
      const side = { ...world, findings: [makeFinding('conversion-stall'), makeFinding('refcount-leak')] };
      const { summary, regressions, notes } = diff(side, side);
      expect({ regressions, notes }).toEqual({ regressions: 0, notes: [] });
      expect(summary).toMatchObject({ worse: 0, better: 0, more: 0, less: 0 });
    }
  });
});

describe('latencies', () => {
  const groups = (name: string, count: number, median: number): DiffSide['groups'] => [
    makeGroup(
      name,
      many(count, (k) => median * (1 + k / count)),
    ),
  ];

  it('a significant change below the least change is none', () => {
    const [a, b] = [makeSide({ groups: groups('g', 1000, 1e6) }), makeSide({ groups: groups('g', 1000, 1.05e6) })];
    const [median] = diff(a, b).latency[0]!.tests;
    expect(median!.outcome).toMatchObject({ verdict: 'same' });
    expect(median!.outcome.adjusted).toBeLessThan(0.001);
    expect(diff(a, b, { minChange: 0.02 }).latency[0]!.tests[0]!.outcome.verdict).toBe('worse');
  });

  it('a change below the resolution of the stamps is none', () => {
    const [a, b] = [makeSide({ groups: groups('g', 50, 2000) }), makeSide({ groups: groups('g', 50, 6000) })];
    expect(diff(a, b).regressions).toBe(2);
    expect(diff({ ...a, resolution: 10_000 }, b).regressions).toBe(0);
  });

  it('a tail that grew is found where the median stayed', () => {
    const usual = many(200, (k) => 1e6 + k * 1000);
    const a = makeSide({ groups: [makeGroup('g', usual)] });
    const b = makeSide({
      groups: [
        makeGroup(
          'g',
          usual.map((ns, k) => (k % 4 === 0 ? ns * 50 : ns)),
        ),
      ],
    });
    const verdicts = diff(a, b).latency[0]!.tests.map((t) => [t.statistic, t.outcome.verdict]);
    expect(verdicts).toEqual([
      ['median', 'same'],
      ['p90', 'worse'],
    ]);
  });

  it('tests p99 from 500 samples on each side on', () => {
    const big = makeSide({ groups: groups('g', 500, 1e6) });
    expect(diff(big, big).latency[0]!.tests.map((t) => t.statistic)).toEqual(['median', 'p90', 'p99']);
  });

  it('too few samples are too few to tell, however far apart', () => {
    const report = diff(makeSide({ groups: groups('g', 4, 1e6) }), makeSide({ groups: groups('g', 60, 1e9) }));
    expect(report.latency[0]!.tests).toMatchObject([
      { outcome: { verdict: 'too-few', reason: '4 and 60 samples', p: null } },
    ]);
  });

  it('a group of one side only, and units that differ, are said and not judged', () => {
    const [a, b] = [makeSide({ groups: groups('a', 50, 1e6) }), makeSide({ groups: groups('b', 50, 1e6) })];
    expect(diff(a, b).latency.map((g) => g.tests[0]!.outcome.reason)).toEqual(['none in B', 'none in A']);
    const cycles = makeSide({ groups: groups('a', 50, 1e9), clockUnit: 'cycles', seconds: null });
    const report = diff(a, cycles);
    expect(report.latency[0]!.tests[0]!.outcome).toMatchObject({
      verdict: 'not-comparable',
      reason: 'stamps in ns and cycles',
    });
    expect(report.notes).toContain('stamps: A in ns, B in cycles; no duration is compared');
    expect(report.regressions).toBe(0);
  });
});

describe('counts', () => {
  const faults = (pieces: readonly number[], change: Partial<DiffSide> = {}): DiffSide =>
    makeSide({ counts: [makeCount('memory faults', 'mismatch', pieces)], ...change });
  const outcomeOf = (report: DiffReport, metric: string): object =>
    report.counts.find((c) => c.metric === metric)!.outcome;

  it('are told by the second; one burst is as good as one event', () => {
    const quiet = faults(many(20, () => 1));
    expect(outcomeOf(diff(quiet, faults(many(20, () => 5))), 'memory faults')).toMatchObject({
      verdict: 'worse',
      ratio: 5,
    });
    const burst = faults(many(20, (k) => (k === 3 ? 100 : 0)));
    expect(outcomeOf(diff(quiet, burst), 'memory faults')).toMatchObject({
      verdict: 'too-few',
      reason: '20 and 100, in bursts: as good as 2',
    });
  });

  it('a rise from nothing is one, an exit more often is neither good nor bad', () => {
    const a = makeSide({
      counts: [
        makeCount(
          'guest exits',
          'npf',
          many(20, () => 5),
        ),
      ],
    });
    const b = makeSide({
      counts: [
        makeCount(
          'guest exits',
          'npf',
          many(20, () => 50),
        ),
        makeCount(
          'memory faults',
          'mismatch',
          many(20, () => 5),
        ),
      ],
    });
    const report = diff(a, b);
    expect(outcomeOf(report, 'guest exits')).toMatchObject({ verdict: 'more', ratio: 10 });
    expect(outcomeOf(report, 'memory faults')).toMatchObject({ verdict: 'worse', ratio: null });
    expect(report.regressions).toBe(1);
  });

  it('lost events that could be the difference take the verdict away; those of the other side do not', () => {
    const [few, more] = [many(20, () => 1), many(20, () => 6)];
    expect(outcomeOf(diff(faults(few, { lost: 5 }), faults(more)), 'memory faults')).toMatchObject({
      verdict: 'worse',
    });
    expect(outcomeOf(diff(faults(few), faults(more, { lost: null })), 'memory faults')).toMatchObject({
      verdict: 'worse',
    });
    expect(outcomeOf(diff(faults(few, { lost: 100 }), faults(more)), 'memory faults')).toMatchObject({
      verdict: 'not-comparable',
      reason: 'A lost 100 events, which could be the difference',
    });
    expect(outcomeOf(diff(faults(few, { lost: null }), faults(more)), 'memory faults')).toMatchObject({
      verdict: 'not-comparable',
    });
  });

  it('what a side cannot show is said with what it lacks, never a zero', () => {
    const blind = makeSide({
      unavailable: new Map([
        ['memory_faults', 'no kvm:kvm_userspace_exit'],
        ['references', 'no page_ref events'],
      ]),
      outstanding: null,
    });
    const report = diff(blind, faults(many(20, () => 9)));
    expect(outcomeOf(report, 'memory faults')).toMatchObject({
      verdict: 'not-comparable',
      reason: 'A: no kvm:kvm_userspace_exit',
    });
    expect(outcomeOf(report, 'references outstanding at the end')).toMatchObject({ reason: 'A: no page_ref events' });
    expect(outcomeOf(report, 'guest exits')).toMatchObject({ reason: 'A: none recorded; B: none recorded' });
    expect(report.unavailable.map((u) => [u.what, u.side])).toEqual([
      ['memory_faults', 'a'],
      ['references', 'a'],
    ]);
    expect(report.regressions).toBe(0);
  });
});

describe('findings', () => {
  const of = (...findings: ReturnType<typeof makeFinding>[]): DiffSide => makeSide({ findings });
  const only = (report: DiffReport): DiffReport['findings'][number] => report.findings[0]!;

  it('are matched by rule, VM and cause, not by time or numbers', () => {
    const title = (gpa: string, time: string): string => `to_shared gpa ${gpa}+16K stopped its vCPU for ${time}`;
    const a = of(makeFinding('conversion-stall', { title: title('0x1000', '403 ms (352 x median)'), sinceNs: 5n }));
    const b = of(makeFinding('conversion-stall', { title: title('0x77000', '1.03 s; 3 such stops'), sinceNs: 900n }));
    expect(diff(a, b).findings).toHaveLength(1);
    expect(only(diff(a, b))).toMatchObject({ change: 'same', cause: 'to_shared gpa # stopped its vCPU for #' });
    const ofVm2 = of(makeFinding('conversion-stall', { title: title('0x1000', '403 ms'), vm: 2 }));
    expect(diff(a, ofVm2).findings.map((f) => f.change)).toEqual(['new', 'gone']);
  });

  it.each([
    [
      '187 memory faults after reboot 2 on pages left shared, 1.62 s in all',
      '# memory faults after reboot # on pages left shared, # in all',
    ],
    [
      '1,024 pages at offset 0x1f000: pinned by io (99) and never dropped',
      '# page at offset #: pinned by io and never dropped',
    ],
    ['most of it in to_userspace', 'most of it in to_userspace'],
  ])('the cause of %j', (title, cause) => {
    expect(causeOf(title)).toBe(cause);
  });

  it('new and worse ones from --fail-on on are regressions', () => {
    const warning = of(makeFinding('refcount-leak'));
    const error = of(makeFinding('refcount-leak', { severity: 'error' }));
    expect(diff(of(), warning)).toMatchObject({ regressions: 1, findings: [{ change: 'new' }] });
    expect(diff(of(), warning, { failOn: 'error' }).regressions).toBe(0);
    expect(diff(warning, error, { failOn: 'error' })).toMatchObject({
      regressions: 1,
      findings: [{ change: 'worse' }],
    });
    expect(diff(error, warning)).toMatchObject({ regressions: 0, findings: [{ change: 'milder' }] });
    expect(diff(error, of())).toMatchObject({ regressions: 0, findings: [{ change: 'gone' }], summary: { better: 1 } });
  });

  it('an inconclusive one is no regression; one that became certain is', () => {
    const open = of(makeFinding('refcount-leak', { verdict: 'inconclusive', severity: 'error' }));
    expect(diff(of(), open).regressions).toBe(0);
    expect(diff(open, of(makeFinding('refcount-leak')))).toMatchObject({
      regressions: 1,
      findings: [{ change: 'worse' }],
    });
  });

  it('many more of the same are one, a few more are not', () => {
    const times = (count: number): DiffSide => of(...many(count, () => makeFinding('conversion-stall')));
    expect(diff(times(2), times(4)).regressions).toBe(0);
    expect(diff(times(2), times(30)).regressions).toBe(1);
  });

  it('of a rule that one side could not judge are neither new nor gone', () => {
    const blind = makeSide({ unavailable: new Map([['refcount-leak', 'no page_ref events']]) });
    const leak = of(makeFinding('refcount-leak'));
    for (const [report, reason] of [
      [diff(blind, leak), 'A: no page_ref events'],
      [diff(leak, blind), 'B: no page_ref events'],
    ] as const) {
      expect(only(report)).toMatchObject({ change: 'unjudged', reason });
      expect(report).toMatchObject({
        regressions: 0,
        summary: { better: 0, 'not-comparable': expect.any(Number) as number },
      });
    }
  });
});
