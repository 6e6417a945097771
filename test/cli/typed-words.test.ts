import { describe, expect, it } from 'vitest';
import { parseProbeDefinitions } from '../../src/cli/probe-definitions.js';
import { progressLine } from '../../src/cli/progress.js';
import { hasColor } from '../../src/cli/style.js';
import { closest } from '../../src/cli/suggest.js';
import { parseHandle, parseInstant, parseRange } from '../../src/cli/times.js';
import { makeSink } from './run-cli.js';

const span = { first: 16_191_555_749n, last: 17_901_279_818n };

describe('instants', () => {
  it.each([
    ['16.5', 16_500_000_000n],
    ['16.191555749', 16_191_555_749n],
    ['16500000000ns', 16_500_000_000n],
    ['+1.2s', 17_391_555_749n],
    ['+1.2', 17_391_555_749n],
    ['+300us', 16_191_855_749n],
    ['start', 16_191_555_749n],
    ['end', 17_901_279_818n],
  ])('%s', (text, ns) => {
    expect(parseInstant(text, span)).toBe(ns);
  });

  it.each(['', 'soon', '1.2.3', '-5', '1e9', '5 minutes'])('refuses %j', (text) => {
    expect(() => parseInstant(text, span)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('ranges and handles', () => {
  it.each([
    ['0x200000+2M', { from: 0x200000n, size: 0x200000n }],
    ['4096', { from: 4096n, size: 4096n }],
    ['1G+4KiB', { from: 1n << 30n, size: 4096n }],
  ])('%s', (text, range) => {
    expect(parseRange(text, '--gpa')).toEqual(range);
  });

  it('takes handles as reports print them', () => {
    expect(['gmem1', 'gmem#1', '1'].map((text) => parseHandle(text, 'gmem'))).toEqual([1, 1, 1]);
    expect(() => parseHandle('vm1', 'gmem')).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('probe definitions', () => {
  it('reads what tracefs prints and what a recorder noted of it', () => {
    const text = [
      'ok   p:gmem/vm_set_attrs kvm_vm_set_mem_attributes kvm=kvm start=start',
      'ok   r:gmem/vm_set_attrs_ret kvm_vm_set_mem_attributes ret=$retval:s32',
      'FAIL p:gmem/gone kvm_gone',
      'r10:pkvm/gup kvm:__gup_longterm_locked.isra.0+0x0 ret=$retval',
      'f:fp/exit kvm_gmem_fallocate%return ret=$retval',
      '# a comment',
    ].join('\r\n');
    expect([...parseProbeDefinitions(text, 'probes.txt')]).toEqual([
      ['vm_set_attrs', { fn: 'kvm_vm_set_mem_attributes', isReturn: false }],
      ['vm_set_attrs_ret', { fn: 'kvm_vm_set_mem_attributes', isReturn: true }],
      ['gup', { fn: '__gup_longterm_locked', isReturn: true }],
      ['exit', { fn: 'kvm_gmem_fallocate', isReturn: true }],
    ]);
  });

  it('refuses a file without any', () => {
    expect(() => parseProbeDefinitions('hello\n', 'x.txt')).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('suggestions', () => {
  it.each([
    ['analize', 'analyze'],
    ['conv', 'conversions'],
    ['lantecy', 'latency'],
    ['xyzzy', null],
  ])('%s → %s', (word, match) => {
    expect(closest(word, ['analyze', 'conversions', 'latency', 'state'])).toBe(match);
  });
});

describe('colour and progress', () => {
  it('is on for a terminal only, and heeds NO_COLOR, FORCE_COLOR and --no-color', () => {
    expect(hasColor(makeSink(true), {}, true)).toBe(true);
    expect(hasColor(makeSink(false), {}, true)).toBe(false);
    expect(hasColor(makeSink(true), { NO_COLOR: '1' }, true)).toBe(false);
    expect(hasColor(makeSink(true), { TERM: 'dumb' }, true)).toBe(false);
    expect(hasColor(makeSink(false), { FORCE_COLOR: '1', NO_COLOR: '1' }, true)).toBe(true);
    expect(hasColor(makeSink(true), { FORCE_COLOR: '1' }, false)).toBe(false);
  });

  it('says share, rates and time left', () => {
    const line = progressLine('import a.dat', { bytes: 41e6, total: 100e6, events: 310_000, seconds: 0.1 });
    expect(line).toBe('import a.dat 41% 410 MB/s 3.1 M ev/s 1 s left');
  });
});
