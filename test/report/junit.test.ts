import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { describe, expect, it } from 'vitest';
import { caseOf, type CheckReport } from '../../src/report/check/result.js';
import { renderJunit } from '../../src/report/junit/index.js';

const place = { line: 3, column: 5 };
const REPORT: CheckReport = {
  spec: 'a&b.yaml',
  traces: [
    {
      name: 'basic "1" <x>',
      paths: ['basic.dat'],
      place,
      status: 'fail',
      reason: '',
      cases: [
        caseOf('count', 'conversions.total', place),
        caseOf('rule', 'rule conversion-stall', place, {
          status: 'fail',
          message: 'found 3 times, expected 2 & no more\nreally',
          details: ['+ error <vm1> a -> b ]]> \u0001\ud800', '    kvm_exit: "vcpu 0"'],
        }),
        caseOf('rule', 'rule refcount-leak', place, {
          status: 'skip',
          message: 'unavailable: no page_ref',
          details: ['record -e page_ref'],
        }),
        caseOf('rule', 'rule lost-events', place, { status: 'skip', message: 'inconclusive' }),
      ],
    },
    { name: 'tdx.dat', paths: ['tdx.dat'], place, status: 'skip', reason: 'not there (optional)', cases: [] },
    { name: 'cut.dat', paths: ['cut.dat'], place, status: 'unreadable', reason: 'cut.dat: empty', cases: [] },
  ],
};

/** What junit-10.xsd of the Jenkins xUnit plugin allows in each element: attributes (`!` = required) and elements. */
const XSD: Readonly<Record<string, { readonly attributes: readonly string[]; readonly children: readonly string[] }>> =
  {
    testsuites: { attributes: ['name', 'time', 'tests', 'failures', 'errors'], children: ['testsuite'] },
    testsuite: {
      attributes: ['name!', 'tests!', 'failures!', 'errors!', 'time', 'skipped', 'timestamp', 'hostname', 'id', 'file'],
      children: ['testcase', 'properties', 'system-out', 'system-err'],
    },
    testcase: {
      attributes: ['name!', 'time', 'classname', 'group'],
      children: ['skipped', 'error', 'failure', 'system-out', 'system-err'],
    },
    failure: { attributes: ['type', 'message'], children: [] },
    error: { attributes: ['type', 'message'], children: [] },
    skipped: { attributes: ['type', 'message'], children: [] },
  };

/** An element as fast-xml-parser gives it where order counts: `{ testsuite: [...], ':@': attributes }`. */
type Ordered = Readonly<Record<string, unknown>>;

/** What of an element and of those in it the schema does not allow. */
function xsdFaults(element: Ordered): readonly string[] {
  const name = Object.keys(element).find((key) => key !== ':@')!;
  if (name === '#text' || name === '?xml') return [];
  const allowed = XSD[name];
  if (allowed === undefined) return [`<${name}> is unknown`];
  const given = Object.keys(element[':@'] ?? {});
  const children = element[name] as readonly Ordered[];
  const names = children.map((child) => Object.keys(child).find((key) => key !== ':@')!);
  return [
    ...given
      .filter((key) => !allowed.attributes.some((one) => one.replace('!', '') === key))
      .map((k) => `${name}@${k}`),
    ...allowed.attributes.filter((one) => one.endsWith('!') && !given.includes(one.slice(0, -1))),
    ...names.filter((child) => child !== '#text' && !allowed.children.includes(child)).map((c) => `${c} in ${name}`),
    ...children.flatMap(xsdFaults),
  ];
}

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

  it('holds no element and no attribute that the schema does not know', () => {
    const ordered = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '', preserveOrder: true });
    expect((ordered.parse(xml) as Ordered[]).flatMap(xsdFaults)).toEqual([]);
    const wrong = xml.replace('<testsuites ', '<testsuites skipped="3" ').replace(' name="conversions.total"', '');
    expect((ordered.parse(wrong) as Ordered[]).flatMap(xsdFaults)).toEqual(['testsuites@skipped', 'name!']);
  });

  it('counts each suite and the whole', () => {
    const counts = (of: Element) => ['tests', 'failures', 'errors'].map((key) => Number(of[key]));
    const skipped = suites.map((suite) => Number(suite['skipped']));
    expect(suites.map(counts)).toEqual([
      [4, 1, 0],
      [1, 0, 0],
      [1, 0, 1],
    ]);
    expect(skipped).toEqual([2, 1, 0]);
    expect(counts(root)).toEqual([6, 1, 1]);
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
