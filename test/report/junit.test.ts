import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { describe, expect, it } from 'vitest';
import type { CheckReport } from '../../src/report/check/judge.js';
import { renderJunit } from '../../src/report/junit/index.js';

const REPORT: CheckReport = {
  spec: 'a&b.yaml',
  traces: [
    {
      name: 'basic "1" <x>',
      paths: ['basic.dat'],
      status: 'fail',
      reason: '',
      cases: [
        { name: 'conversions.total', status: 'ok', message: '', details: [] },
        {
          name: 'rule conversion-stall',
          status: 'fail',
          message: 'found 3 times, expected 2 & no more\nreally',
          details: ['+ error <vm1> a -> b ]]> \u0001\ud800', '    kvm_exit: "vcpu 0"'],
        },
        {
          name: 'rule refcount-leak',
          status: 'skip',
          message: 'unavailable: no page_ref',
          details: ['record -e page_ref'],
        },
        { name: 'rule lost-events', status: 'skip', message: 'inconclusive', details: [] },
      ],
    },
    { name: 'tdx.dat', paths: ['tdx.dat'], status: 'skip', reason: 'not there (optional)', cases: [] },
    { name: 'cut.dat', paths: ['cut.dat'], status: 'unreadable', reason: 'cut.dat: empty', cases: [] },
  ],
};

interface Element {
  readonly [key: string]: string | readonly Element[] | Element | undefined;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '',
  textNodeName: 'text',
  isArray: (name) => name === 'testsuite' || name === 'testcase',
  trimValues: false,
  htmlEntities: true,
});

const list = (value: Element[string]): readonly Element[] =>
  Array.isArray(value) ? (value as readonly Element[]) : [];

describe('JUnit XML', () => {
  const xml = renderJunit(REPORT);
  const root = (parser.parse(xml) as { testsuites: Element }).testsuites;
  const suites = list(root['testsuite']);

  it('is well-formed, whatever the texts hold', () => {
    expect(XMLValidator.validate(xml)).toBe(true);
    expect(suites[0]!['name']).toBe('basic "1" <x>');
    const failure = list(suites[0]!['testcase'])[1]!['failure'] as Element;
    expect(failure['text']).toBe('+ error <vm1> a -> b ]]> \ufffd\ufffd\n    kvm_exit: "vcpu 0"');
    expect(failure['message']).toBe('found 3 times, expected 2 & no more\nreally');
  });

  it('counts each suite and the whole', () => {
    const counts = (of: Element) => ['tests', 'failures', 'errors', 'skipped'].map((key) => Number(of[key]));
    expect(suites.map(counts)).toEqual([
      [4, 1, 0, 2],
      [1, 0, 0, 1],
      [1, 0, 1, 0],
    ]);
    expect(counts(root)).toEqual([6, 1, 1, 3]);
    for (const suite of suites) expect(list(suite['testcase'])).toHaveLength(Number(suite['tests']));
  });

  it('skips what could not be judged, with its reason', () => {
    const cases = list(suites[0]!['testcase']);
    expect(cases.map((one) => one['name'])).toEqual([
      'conversions.total',
      'rule conversion-stall',
      'rule refcount-leak',
      'rule lost-events',
    ]);
    expect((cases[2]!['skipped'] as Element)['message']).toBe('unavailable: no page_ref');
    expect((list(suites[1]!['testcase'])[0]!['skipped'] as Element)['message']).toBe('not there (optional)');
    expect((list(suites[2]!['testcase'])[0]!['error'] as Element)['message']).toBe('cut.dat: empty');
  });

  it('is the same every time', () => {
    expect(renderJunit(REPORT)).toBe(xml);
    expect(xml).not.toMatch(/timestamp|hostname|time=/);
  });
});
