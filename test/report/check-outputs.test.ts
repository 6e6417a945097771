/** Every way to write a check down, on one and the same result. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { loadRules } from '../../src/replay/rules.js';
import { renderAnnotation, renderAnnotations } from '../../src/report/check/annotations.js';
import { renderCheckJson } from '../../src/report/check/json.js';
import { renderCheckMarkdown } from '../../src/report/check/markdown.js';
import { caseOf, type CheckReport } from '../../src/report/check/result.js';
import { renderCheckText } from '../../src/report/check/text.js';
import { PLAIN } from '../../src/report/render.js';
import { renderCheckSarif } from '../../src/report/sarif/check.js';
import { sarifFaults } from '../support/sarif-schema.js';

const schema = JSON.parse(
  readFileSync(new URL('../../schema/check-result.schema.json', import.meta.url), 'utf8'),
) as object;
const isValid = new Ajv2020({ allowUnionTypes: true }).compile(schema);

const at = (line: number) => ({ line, column: 5 });
const EVENT = 'CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0';

const REPORT: CheckReport = {
  spec: 'ci/traces.check.yaml',
  traces: [
    {
      name: 'basic.dat',
      paths: ['basic.dat'],
      place: at(4),
      status: 'ok',
      reason: '',
      cases: [
        caseOf('count', 'conversions.total', at(6)),
        caseOf('rule', 'rule refcount-leak', at(4), {
          rule: 'refcount-leak',
          status: 'skip',
          message: 'unavailable: no page_ref events',
          details: ['record -e page_ref'],
        }),
        caseOf('baseline', 'baseline latency', at(4), {
          message: 'baseline latency: better or new; check --update-baseline would keep it',
          details: ['latency.to_private.p50: 1.00 ms, was 3.00 ms (tolerance 25 %)'],
        }),
      ],
    },
    {
      name: 'stalls | 100%, "x"',
      paths: ['stalls.dat', 'hyp.txt'],
      place: at(8),
      status: 'fail',
      reason: '',
      cases: [
        caseOf('count', 'vms', at(10), { status: 'fail', message: 'vms: 1, expected 2' }),
        caseOf('rule', 'rule conversion-stall', at(8), {
          rule: 'conversion-stall',
          status: 'fail',
          message: 'findings: conversion-stall was found once, expected none',
          details: [`+ error conversion-stall vm1 a\`\`\`b (stalls.dat, byte 9)`, `    ${EVENT}`],
          evidence: [
            { trace: 'ci/my stalls.dat', position: 'cpu 1 byte 9', text: EVENT },
            { trace: 'ci/hyp.txt', position: 'line 12', text: EVENT },
          ],
        }),
        caseOf('baseline', 'baseline counts', at(8), {
          status: 'fail',
          message: 'baseline counts: not as it was',
          details: Array.from({ length: 14 }, (_, i) => `count${i}: 2, was 1`),
        }),
        caseOf('unavailable', 'unavailable', at(11), {
          status: 'fail',
          message: 'unavailable: not what is expected',
          details: Array.from({ length: 14 }, (_, i) => `- figure${i}`),
        }),
      ],
    },
    { name: 'tdx.dat', paths: ['tdx.dat'], place: at(12), status: 'skip', reason: 'not there (optional)', cases: [] },
    { name: 'cut.dat', paths: ['cut.dat'], place: at(14), status: 'unreadable', reason: 'cut.dat: empty', cases: [] },
  ],
};

describe('the result of check', () => {
  it('as text', () => {
    expect([...renderCheckText(REPORT, PLAIN.paint, ['a.sarif'])].join('')).toMatchInlineSnapshot(`
      " ok    basic.dat           3 expectations · 1 not judged
              note: baseline latency: better or new; check --update-baseline would keep it
                latency.to_private.p50: 1.00 ms, was 3.00 ms (tolerance 25 %)
       FAIL  stalls | 100%, "x"  4 of 4 expectations
              vms: 1, expected 2
              findings: conversion-stall was found once, expected none
                + error conversion-stall vm1 a\`\`\`b (stalls.dat, byte 9)
                    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0
              baseline counts: not as it was
                count0: 2, was 1
                count1: 2, was 1
                count2: 2, was 1
                count3: 2, was 1
                count4: 2, was 1
                count5: 2, was 1
                count6: 2, was 1
                count7: 2, was 1
                count8: 2, was 1
                count9: 2, was 1
                count10: 2, was 1
                count11: 2, was 1
                count12: 2, was 1
                count13: 2, was 1
              unavailable: not what is expected
                - figure0
                - figure1
                - figure2
                - figure3
                - figure4
                - figure5
                - figure6
                - figure7
                - figure8
                - figure9
                - figure10
                - figure11
                … 2 more lines; --format json shows all
       skip  tdx.dat             not there (optional)
       FAIL  cut.dat             cut.dat: empty
      4 traces, 1 failed, 1 could not be read · wrote a.sarif
      "
    `);
  });

  it('as Markdown, which no text breaks', () => {
    expect([...renderCheckMarkdown(REPORT)].join('')).toMatchInlineSnapshot(`
      "## gmemtrace check: FAIL: 4 traces, 1 failed, 1 could not be read

      \`ci/traces.check.yaml\`

      | trace | result | expectations |
      | --- | --- | --- |
      | basic.dat | ok | 3 expectations · 1 not judged |
      | stalls \\| 100%, "x" | FAIL | 4 of 4 expectations |
      | tdx.dat | skipped | not there (optional) |
      | cut.dat | FAIL (not readable) | cut.dat: empty |

      ### basic.dat

      - note: baseline latency: better or new; check --update-baseline would keep it

        \`\`\`
        latency.to_private.p50: 1.00 ms, was 3.00 ms (tolerance 25 %)
        \`\`\`

      ### stalls \\| 100%, "x"

      - vms: 1, expected 2
      - findings: conversion-stall was found once, expected none

        \`\`\`\`
        + error conversion-stall vm1 a\`\`\`b (stalls.dat, byte 9)
            CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0
        \`\`\`\`
      - baseline counts: not as it was

        \`\`\`
        count0: 2, was 1
        count1: 2, was 1
        count2: 2, was 1
        count3: 2, was 1
        count4: 2, was 1
        count5: 2, was 1
        count6: 2, was 1
        count7: 2, was 1
        count8: 2, was 1
        count9: 2, was 1
        count10: 2, was 1
        count11: 2, was 1
        count12: 2, was 1
        count13: 2, was 1
        \`\`\`
      - unavailable: not what is expected

        \`\`\`
        - figure0
        - figure1
        - figure2
        - figure3
        - figure4
        - figure5
        - figure6
        - figure7
        - figure8
        - figure9
        - figure10
        - figure11
        … 2 more lines; --format json shows all
        \`\`\`
      "
    `);
  });

  it('as annotations of GitHub', () => {
    expect([...renderAnnotations(REPORT, REPORT.spec)].join('')).toMatchInlineSnapshot(`
      "::error file=ci/traces.check.yaml,line=10,col=5,title=stalls | 100%25%2C "x"%3A vms::vms: 1, expected 2
      ::error file=ci/traces.check.yaml,line=8,col=5,title=stalls | 100%25%2C "x"%3A rule conversion-stall::findings: conversion-stall was found once, expected none%0A+ error conversion-stall vm1 a\`\`\`b (stalls.dat, byte 9)%0A    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0
      ::error file=ci/traces.check.yaml,line=8,col=5,title=stalls | 100%25%2C "x"%3A baseline counts::baseline counts: not as it was%0Acount0: 2, was 1%0Acount1: 2, was 1%0Acount2: 2, was 1%0Acount3: 2, was 1%0Acount4: 2, was 1%0Acount5: 2, was 1%0Acount6: 2, was 1%0Acount7: 2, was 1%0Acount8: 2, was 1%0Acount9: 2, was 1%0Acount10: 2, was 1%0Acount11: 2, was 1%0Acount12: 2, was 1%0Acount13: 2, was 1
      ::error file=ci/traces.check.yaml,line=11,col=5,title=stalls | 100%25%2C "x"%3A unavailable::unavailable: not what is expected%0A- figure0%0A- figure1%0A- figure2%0A- figure3%0A- figure4%0A- figure5%0A- figure6%0A- figure7%0A- figure8%0A- figure9%0A- figure10%0A- figure11%0A… 2 more lines; --format json shows all
      ::error file=ci/traces.check.yaml,line=14,col=5,title=cut.dat%3A trace::cut.dat: empty
      "
    `);
  });

  it('as JSON that agrees with its schema', () => {
    const value: unknown = JSON.parse(renderCheckJson(REPORT));
    expect(isValid(value)).toBe(true);
    expect(value).toMatchObject({
      ok: false,
      traces: [
        { status: 'ok', line: 4 },
        { status: 'fail', cases: [{ kind: 'count', line: 10, message: 'vms: 1, expected 2' }, {}, {}, {}] },
        { status: 'skip' },
        { status: 'unreadable', reason: 'cut.dat: empty' },
      ],
    });
  });
});

describe('an annotation', () => {
  it('escapes what would end a command, a property or a line', () => {
    const annotation = { file: 'a,b:c.yaml', place: {}, title: '100%: x,\ny', lines: ['50% of a::b,c', 'second\r'] };
    expect(renderAnnotation(annotation)).toBe(
      '::error file=a%2Cb%3Ac.yaml,title=100%25%3A x%2C%0Ay::50%25 of a::b,c%0Asecond%0D\n',
    );
  });
});

interface Log {
  readonly runs: readonly [
    {
      readonly tool: {
        readonly driver: { readonly version: string; readonly rules: readonly { readonly id: string }[] };
      };
      readonly invocations: readonly [{ readonly executionSuccessful: boolean }];
      readonly results: readonly { readonly ruleIndex: number; readonly ruleId: string }[];
    },
  ];
}

describe('the result of check as SARIF', () => {
  const rules = loadRules().filter((rule) => ['conversion-stall', 'refcount-leak'].includes(rule.name));
  const text = renderCheckSarif(REPORT, { version: '1.2.3', rules });
  const log = JSON.parse(text) as Log;
  const [run] = log.runs;

  it('agrees with the schema of SARIF 2.1.0', () => {
    expect(sarifFaults(log)).toEqual([]);
    expect(sarifFaults({ ...log, version: '2.0.0' })).not.toEqual([]);
    expect(sarifFaults({ ...log, runs: [{ ...run, results: [{ kind: 'maybe' }] }] })).not.toEqual([]);
  });

  it('is this', () => {
    expect(JSON.stringify(run.results, null, 1)).toMatchInlineSnapshot(`
      "[
       {
        "kind": "fail",
        "level": "error",
        "ruleId": "expected-count",
        "message": {
         "text": "stalls | 100%, \\"x\\": vms: 1, expected 2"
        },
        "locations": [
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/traces.check.yaml"
           },
           "region": {
            "startLine": 10,
            "startColumn": 5
           }
          },
          "logicalLocations": [
           {
            "fullyQualifiedName": "stalls | 100%, \\"x\\"",
            "kind": "resource"
           }
          ]
         }
        ],
        "partialFingerprints": {
         "gmemtraceFinding/v1": "e6f52df1784b023b44e9f9b8b23d212b"
        },
        "ruleIndex": 2
       },
       {
        "kind": "fail",
        "level": "error",
        "ruleId": "conversion-stall",
        "message": {
         "text": "stalls | 100%, \\"x\\": findings: conversion-stall was found once, expected none\\n+ error conversion-stall vm1 a\`\`\`b (stalls.dat, byte 9)\\n    CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0"
        },
        "locations": [
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/traces.check.yaml"
           },
           "region": {
            "startLine": 8,
            "startColumn": 5
           }
          },
          "logicalLocations": [
           {
            "fullyQualifiedName": "stalls | 100%, \\"x\\"",
            "kind": "resource"
           }
          ]
         }
        ],
        "relatedLocations": [
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/my%20stalls.dat"
           },
           "region": {
            "byteOffset": 9
           }
          },
          "message": {
           "text": "cpu 1 byte 9: CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0"
          }
         },
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/hyp.txt"
           },
           "region": {
            "startLine": 12
           }
          },
          "message": {
           "text": "line 12: CPU 0/KVM-99 [000] d..1. 16.2: kvm_exit: vcpu 0"
          }
         }
        ],
        "partialFingerprints": {
         "gmemtraceFinding/v1": "7c74bc4d3c3e47ebfa8b8863b07852aa"
        },
        "ruleIndex": 0
       },
       {
        "kind": "fail",
        "level": "error",
        "ruleId": "expected-baseline",
        "message": {
         "text": "stalls | 100%, \\"x\\": baseline counts: not as it was\\ncount0: 2, was 1\\ncount1: 2, was 1\\ncount2: 2, was 1\\ncount3: 2, was 1\\ncount4: 2, was 1\\ncount5: 2, was 1\\ncount6: 2, was 1\\ncount7: 2, was 1\\ncount8: 2, was 1\\ncount9: 2, was 1\\ncount10: 2, was 1\\ncount11: 2, was 1\\ncount12: 2, was 1\\ncount13: 2, was 1"
        },
        "locations": [
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/traces.check.yaml"
           },
           "region": {
            "startLine": 8,
            "startColumn": 5
           }
          },
          "logicalLocations": [
           {
            "fullyQualifiedName": "stalls | 100%, \\"x\\"",
            "kind": "resource"
           }
          ]
         }
        ],
        "partialFingerprints": {
         "gmemtraceFinding/v1": "afe337cedcadb32ec18d65b7fba2e0bd"
        },
        "ruleIndex": 5
       },
       {
        "kind": "fail",
        "level": "error",
        "ruleId": "expected-unavailable",
        "message": {
         "text": "stalls | 100%, \\"x\\": unavailable: not what is expected\\n- figure0\\n- figure1\\n- figure2\\n- figure3\\n- figure4\\n- figure5\\n- figure6\\n- figure7\\n- figure8\\n- figure9\\n- figure10\\n- figure11\\n- figure12\\n- figure13"
        },
        "locations": [
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/traces.check.yaml"
           },
           "region": {
            "startLine": 11,
            "startColumn": 5
           }
          },
          "logicalLocations": [
           {
            "fullyQualifiedName": "stalls | 100%, \\"x\\"",
            "kind": "resource"
           }
          ]
         }
        ],
        "partialFingerprints": {
         "gmemtraceFinding/v1": "2e2995dbb9c1f54b167ea411d5595b1a"
        },
        "ruleIndex": 4
       },
       {
        "kind": "fail",
        "level": "error",
        "ruleId": "expected-trace",
        "message": {
         "text": "cut.dat: cut.dat: empty"
        },
        "locations": [
         {
          "physicalLocation": {
           "artifactLocation": {
            "uri": "ci/traces.check.yaml"
           },
           "region": {
            "startLine": 14,
            "startColumn": 5
           }
          },
          "logicalLocations": [
           {
            "fullyQualifiedName": "cut.dat",
            "kind": "resource"
           }
          ]
         }
        ],
        "partialFingerprints": {
         "gmemtraceFinding/v1": "dfcaefd01c156a034655c816e2cef2ad"
        },
        "ruleIndex": 6
       }
      ]"
    `);
    expect(JSON.stringify(run.invocations, null, 1)).toMatchInlineSnapshot(`
      "[
       {
        "executionSuccessful": false,
        "toolExecutionNotifications": [
         {
          "level": "note",
          "message": {
           "text": "basic.dat: rule refcount-leak: unavailable: no page_ref events\\nrecord -e page_ref"
          },
          "associatedRule": {
           "id": "refcount-leak"
          }
         },
         {
          "level": "note",
          "message": {
           "text": "tdx.dat: not there (optional)"
          }
         }
        ]
       }
      ]"
    `);
  });

  it('describes each rule that a result names', () => {
    const described = run.tool.driver.rules.map((rule) => rule.id);
    expect(run.results.map((result) => described[result.ruleIndex])).toEqual(run.results.map((r) => r.ruleId));
    expect(run.tool.driver.version).toBe('1.2.3');
    expect(run.tool.driver.rules[0]).toMatchObject({
      id: 'conversion-stall',
      help: { markdown: expect.stringContaining('vCPU') as string },
      defaultConfiguration: { level: 'warning' },
      properties: { parameters: { factor: 8 } },
    });
  });

  it('is the same every time, and has a fingerprint of its own for each result', () => {
    expect(renderCheckSarif(REPORT, { version: '1.2.3', rules })).toBe(text);
    const prints = text.match(/"gmemtraceFinding\/v1": "\w+"/g)!;
    expect(new Set(prints).size).toBe(run.results.length);
  });
});
