/** Findings of `analyze` as SARIF. */
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadRules } from '../../src/replay/rules.js';
import type { Analysis } from '../../src/report/model.js';
import { PLAIN, type RenderOptions } from '../../src/report/render.js';
import { sarifOutput } from '../../src/report/sarif/index.js';
import { regionOf, uriOf } from '../../src/report/sarif/log.js';
import { runCli } from '../cli/run-cli.js';
import { sarifFaults } from '../support/sarif-schema.js';
import { analysis, finding } from './check-fixture.js';

interface SarifResult {
  readonly ruleId: string;
  readonly kind: string;
  readonly level: string;
  readonly message: { readonly text: string };
  readonly locations: readonly object[];
  readonly relatedLocations?: readonly object[];
  readonly partialFingerprints: Readonly<Record<string, string>>;
}

interface Run {
  readonly tool: { readonly driver: { readonly rules: readonly { readonly id: string }[] } };
  readonly invocations: readonly [
    { readonly toolExecutionNotifications: readonly { readonly level: string; readonly message: { text: string } }[] },
  ];
  readonly results: readonly SarifResult[];
}

const OPTIONS: RenderOptions = { ...PLAIN, tool: { version: '1.2.3', rules: loadRules() } };
const text = (found: Analysis, options: Partial<RenderOptions> = {}): string =>
  [...(sarifOutput.analysis!(found, { ...OPTIONS, ...options }) as Iterable<string>)].join('');

function runOf(found: Analysis, options: Partial<RenderOptions> = {}): Run {
  const log = JSON.parse(text(found, options)) as { readonly runs: readonly [Run] };
  expect(sarifFaults(log)).toEqual([]);
  return log.runs[0];
}

describe('a finding as SARIF', () => {
  const hinted = finding({ hint: 'look at the VMM', thresholds: 'factor = 8' });

  it('is a result at its first event, with the rest as related places', () => {
    const [first] = hinted.evidence;
    const evidence = [first!, { ...first!, trace: '/tmp/a b.txt', position: 'line 12' }];
    const [result] = runOf(analysis({ findings: [{ ...hinted, evidence }] })).results;
    expect(result).toEqual({
      ruleId: 'conversion-stall',
      ruleIndex: loadRules().findIndex((rule) => rule.name === 'conversion-stall'),
      kind: 'fail',
      level: 'error',
      message: { text: 'gpa 0x100007000 +16 KiB took 402 ms\n\nhint: look at the VMM' },
      locations: [
        {
          physicalLocation: { artifactLocation: { uri: 'stalls.dat' }, region: { byteOffset: 184320 } },
          message: { text: 'cpu 1 byte 184320: CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0' },
          logicalLocations: [{ fullyQualifiedName: 'vm1/gmem1/vcpu0', kind: 'resource' }],
        },
      ],
      relatedLocations: [
        {
          physicalLocation: { artifactLocation: { uri: 'file:///tmp/a%20b.txt' }, region: { startLine: 12 } },
          message: { text: 'line 12: CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0' },
        },
      ],
      partialFingerprints: { 'gmemtraceFinding/v1': expect.stringMatching(/^[0-9a-f]{32}$/) as string },
      properties: { certainty: 'observed', count: 1, since_ns: 1, until_ns: 2, thresholds: 'factor = 8' },
    });
  });

  it.each([
    ['error', 'fail', 'fail', 'error'],
    ['warning', 'fail', 'fail', 'warning'],
    ['info', 'fail', 'fail', 'note'],
    ['error', 'inconclusive', 'open', 'none'],
  ] as const)('%s and %s is of kind %3$s and level %4$s', (severity, verdict, kind, level) => {
    const [result] = runOf(analysis({ findings: [finding({ severity, verdict })] })).results;
    expect(result).toMatchObject({ kind, level });
  });

  it('stands in the trace where it has no event, and belongs to nothing where nothing is known', () => {
    const bare = finding({ evidence: [], vm: null, gmem: null, vcpu: null });
    const [result] = runOf(analysis({ findings: [bare] })).results;
    expect(result!.locations).toEqual([{ physicalLocation: { artifactLocation: { uri: 'a.dat' } } }]);
  });

  it('has a fingerprint that does not know times, titles and paths, but which of several it is', () => {
    const prints = (...findings: readonly ReturnType<typeof finding>[]) =>
      runOf(analysis({ findings })).results.map((result) => result.partialFingerprints['gmemtraceFinding/v1']);
    const [one] = prints(finding({}));
    expect(prints(finding({ title: 'other', sinceNs: 7n, count: 9, evidence: [] }))).toEqual([one]);
    const [first, second] = prints(finding({}), finding({}));
    expect(first).toBe(one);
    expect(second).not.toBe(one);
    expect(prints(finding({ vm: 2 }))).not.toEqual([one]);
  });
});

describe('a log', () => {
  it('says what could not be judged, what was lost and what was left out', () => {
    const [trace] = analysis().traces;
    const lossy = { ...trace!, lost: null, lostAtLeast: 31, skipped: [{ reason: 'page', count: 2, first: 'byte 8' }] };
    const found = analysis({ traces: [lossy], findings: [finding({}), finding({})] });
    const run = runOf(found, { limit: 1 });
    expect(run.results).toHaveLength(1);
    const notes = run.invocations[0].toolExecutionNotifications.map((one) => `${one.level} ${one.message.text}`);
    expect(notes).toEqual([
      'warning a.dat: at least 31 events lost',
      'warning a.dat: 2 not read: page (first: byte 8)',
      'note memory_faults could not be judged: no kvm_userspace_exit; record -e kvm:kvm_userspace_exit',
      'note refcount-leak could not be judged: no page_ref events; record -e page_ref',
      'note 1 more findings: --limit 0 shows all',
    ]);
  });

  it('is valid without any finding, and with ten thousand', () => {
    expect(runOf(analysis()).results).toEqual([]);
    const findings = Array.from({ length: 10_000 }, (_, id) => finding({ id }));
    expect(runOf(analysis({ findings })).results).toHaveLength(10_000);
  });

  it.each([
    ['a b/ü.dat', 'a%20b/%C3%BC.dat'],
    ['/tmp/a.dat', 'file:///tmp/a.dat'],
    ['../x.dat', '../x.dat'],
  ])('has %s as %s', (path, uri) => {
    expect(uriOf(path)).toBe(uri);
  });

  it.each([
    ['cpu 1 byte 184320', { byteOffset: 184320 }],
    ['byte 8', { byteOffset: 8 }],
    ['line 12', { startLine: 12 }],
    ['record 12', null],
  ])('takes %s for the region %j', (position, region) => {
    expect(regionOf(position)).toEqual(region);
  });
});

describe('analyze --format sarif', () => {
  const trace = fileURLToPath(new URL('../../fixtures/x86-stalls/a.dat', import.meta.url));
  let answer: { readonly status: number; readonly stdout: string };
  beforeAll(async () => {
    answer = await runCli(['analyze', trace, '--format', 'sarif', '--ignore', 'small-conversions']);
  });

  it('tells the findings of a recording in a valid log', () => {
    expect(answer.status).toBe(0);
    const log = JSON.parse(answer.stdout) as { readonly runs: readonly [Run] };
    expect(sarifFaults(log)).toEqual([]);
    const [run] = log.runs;
    const rules = run.results.map((result) => result.ruleId);
    expect(rules).toContain('conversion-never-completed');
    expect(rules).toContain('conversion-stall');
    expect(new Set(run.results.map((result) => result.partialFingerprints['gmemtraceFinding/v1'])).size).toBe(
      rules.length,
    );
    const described = run.tool.driver.rules.map((rule) => rule.id);
    expect(described).toContain('conversion-stall');
    expect(described).not.toContain('small-conversions');
  });

  it('does not depend on when and where it runs', async () => {
    const again = await runCli(['analyze', trace, '--format', 'sarif', '--ignore', 'small-conversions']);
    expect(again.stdout).toBe(answer.stdout);
  });
});
