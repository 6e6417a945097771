import { describe, expect, it } from 'vitest';
import { loadRules } from '../../src/replay/rules.js';
import { PLAIN } from '../../src/report/render.js';
import { renderPage } from '../../src/report/text/page.js';
import { renderRules } from '../../src/report/text/rules.js';

const page = (...lines: string[]): string => renderPage(lines.join('\n'), { ...PLAIN, width: 30 });

describe('a page of Markdown in 30 columns', () => {
  it('has its paragraphs and items fitted', () => {
    expect(
      page('One two three four five', 'six seven.', '', '- an item that is too long', '  for one line', '- b'),
    ).toBe('One two three four five six\nseven.\n\n  - an item that is too long\n    for one line\n  - b');
  });

  it('has rows of tables without their frame, and code as it is', () => {
    expect(
      page(
        '## Head',
        '',
        '| a | b |',
        '| --- | --: |',
        '| one | two \\| three and a few more |',
        '',
        '```',
        'x  =  1',
        '```',
      ),
    ).toBe('Head\n\n  a | b\n  one | two | three and a few\n    more\n\n    x  =  1');
  });
});

describe.each([80, 120])('gmemtrace rules NAME in %d columns', (width) => {
  it.each(loadRules().map((rule) => [rule.name, rule] as const))('%s fits, but for its example', (_name, rule) => {
    const text = [...renderRules({ rules: [rule], detailed: true }, { ...PLAIN, width })].join('');
    const wide = text.split('\n').filter((line) => [...line].length > width && !line.startsWith('    '));
    expect(wide).toEqual([]);
    expect(text).toContain(rule.name);
  });
});
