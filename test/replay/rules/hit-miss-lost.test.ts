/** Each rule on facts where it must speak, on facts close to them where it must not, and on a recording with losses. */
import { describe, expect, it } from 'vitest';
import { loadRules } from '../../../src/replay/rules.js';
import { CONVERSION_CASES } from './cases/conversions.js';
import { MEMORY_CASES } from './cases/memory.js';
import { PLATFORM_CASES } from './cases/platforms.js';
import { judge, withLosses } from './facts.js';

const CASES = [...CONVERSION_CASES, ...MEMORY_CASES, ...PLATFORM_CASES];

it('has cases for every rule', () => {
  expect([...new Set(CASES.map((c) => c.rule))].sort()).toEqual(loadRules().map((rule) => rule.name));
});

describe.each(CASES)('$rule: $what', ({ rule, hit, severity, title, miss, withLosses: lossy }) => {
  it('is found, once', async () => {
    const { findings } = await judge(rule, hit);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ severity, verdict: 'fail' });
    expect(findings[0]!.title).toMatch(title);
  });

  it.each(Object.entries(miss))('is not found %s', async (_, facts) => {
    expect(await judge(rule, facts)).toEqual({ findings: [], unavailable: [] });
  });

  it(`is ${lossy} where events were lost`, async () => {
    if (rule === 'lost-events') return expect((await judge(rule, hit)).findings).toHaveLength(1);
    const { findings } = await judge(rule, withLosses(hit));
    expect(findings.map((finding) => finding.verdict)).toEqual([lossy]);
  });
});

describe('a rule whose sources are missing', () => {
  it('is unavailable, and says what to record', async () => {
    const { findings, unavailable } = await judge('rmp-contention', { platform: 'snp' });
    expect(findings).toEqual([]);
    expect(unavailable).toEqual(['no kvm:kvm_rmp_fault']);
  });

  it('is not about VMs of other platforms', async () => {
    expect(await judge('rmp-contention', { platform: 'tdx' })).toEqual({ findings: [], unavailable: [] });
  });

  it('passes where the trace says that the event was recorded and none came', async () => {
    const { unavailable } = await judge('rmp-contention', { platform: 'snp', enabled: ['kvm:kvm_rmp_fault'] });
    expect(unavailable).toEqual([]);
  });
});
