import { describe, expect, it } from 'vitest';
import type { Result } from '../../scripts/lib/accuracy-tables.js';
import {
  renderFailures,
  renderRecordings,
  renderRules,
  renderSimulated,
  renderTotals,
  renderUnavailable,
  scoreRules,
  withoutMissing,
} from '../../scripts/lib/accuracy-tables.js';
import { emptyVerdict, noteMissing, noteRight, noteWrong } from '../support/verdict.js';
import type { Verdict } from '../support/verdict.js';

const RULES = ['conversion-stall', 'refcount-leak'];

function resultOf(change: (verdict: Verdict) => void, more: Partial<Result> = {}): Result {
  const verdict = emptyVerdict();
  change(verdict);
  const carries = new Set(['conversions', 'findings']);
  return { capture: 'x', recording: 'dat', carries, isClean: true, outcome: { verdict }, unavailable: [], ...more };
}

const good = resultOf(
  (verdict) => {
    verdict.happened = 2;
    noteRight(verdict, 'conversions');
    noteRight(verdict, 'conversions');
    verdict.counts.faults = { were: 3, said: 3, isAsked: true };
    verdict.counts.punches = { were: 5, said: 4, isAsked: false };
    verdict.expected.push({ rule: 'refcount-leak', isFound: true, isAsked: true });
    noteRight(verdict, 'findings');
  },
  { isClean: false },
);
const bad = resultOf((verdict) => {
  verdict.happened = 2;
  noteRight(verdict, 'conversions');
  noteMissing(verdict, 'conversions', 'conversion: b');
  noteRight(verdict, 'times');
  noteWrong(verdict, 'times', 'request_ns of a');
  verdict.counts.faults = { were: 3, said: null, isAsked: true };
  verdict.expected.push({ rule: 'refcount-leak', isFound: false, isAsked: true });
  verdict.expected.push({ rule: 'conversion-stall', isFound: true, isAsked: false });
  verdict.unexpected.push('conversion-stall');
});
const broken = resultOf(() => undefined, { recording: 'text', outcome: { failure: 'page 17: commit exceeds' } });

const rowsOf = (table: string): string[] => table.split('\n').slice(2);

describe('the accuracy tables', () => {
  it('have a row a recording, in which every failure stands out', () => {
    expect(rowsOf(renderRecordings([good, bad, broken]))).toEqual([
      '| x | dat | 2 | 2 | 0 | 0 | 0 | – | – | – | – | 3/3 | – | (4/5) | 1/1 | 1/1 | 0 |',
      '| x | dat | 2 | 1 | **1** | 0 | 0 | – | – | **1/2** | – | **?/3** | – | – | **0/1** | **0/1** (1 more) | **1** |',
      `| x | text | **no answer** |${' – |'.repeat(14)}`,
    ]);
  });

  it('sum up by topic', () => {
    const rows = rowsOf(renderTotals([good, bad, broken]));
    expect(rows).toContain('| conversions | 3 | 1 | 0 |');
    expect(rows.at(-1)).toBe('| all | 5 | 1 | 1 |');
  });

  it('print what is missing or wrong, and recordings without an answer', () => {
    expect(renderFailures([good, bad, broken])).toBe(
      [
        '- x dat',
        '  - wrong: request_ns of a',
        '  - missing: conversion: b',
        '- x text',
        '  - no answer: page 17: commit exceeds',
      ].join('\n'),
    );
    expect(renderFailures([good])).toBe('None.');
  });

  it('say how many texts are not printed', () => {
    const many = resultOf((verdict) => {
      for (let k = 0; k < 45; k++) noteMissing(verdict, 'times', `time ${k}`);
    });
    expect(renderFailures([many]).split('\n').at(-1)).toBe('  - and 5 more');
  });

  it('give precision and recall per rule', () => {
    expect(rowsOf(renderRules(scoreRules([good, bad, broken], RULES)))).toEqual([
      '| `conversion-stall` | 0 | 0 | 0 | 1 | **1** | **1** | 50 % | – | 0 |',
      '| `refcount-leak` | 2 | 1 | **1** | 0 | 0 | 0 | 100 % | 50 % | 0 |',
    ]);
  });

  it('list what rules lack in how many recordings', () => {
    const unavailable = [
      { what: 'refcount-leak', missing: 'no results of ioctls' },
      { what: 'attempts', missing: 'no results of ioctls' },
    ];
    const poor = resultOf(() => undefined, { unavailable });
    expect(rowsOf(renderUnavailable([poor, poor, good], RULES))).toEqual([
      '| `refcount-leak` | no results of ioctls | 2 |',
    ]);
  });

  it('count simulated runs: with losses only what is false is a failure', () => {
    const silent = withoutMissing(resultOf((verdict) => noteMissing(verdict, 'conversions', 'conversion: b')));
    const group = { platform: 'tdx', mechanism: 'vm-attributes', whole: [good, bad], lossy: [silent, bad, broken] };
    expect(rowsOf(renderSimulated([group]))).toEqual([
      '| tdx | vm-attributes | 2 | 4 | 1 | **1** | 3 | 1 | **2** |',
      '| all |  | 2 | 4 | 1 | **1** | 3 | 1 | **2** |',
    ]);
    expect(renderFailures([silent])).toBe('None.');
  });
});
