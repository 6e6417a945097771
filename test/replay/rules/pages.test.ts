/** Every rule has its page beside its SQL, and docs/rules/ is made of both. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadRules, readRulePage } from '../../../src/replay/rules.js';

const root = new URL('../../../', import.meta.url);
const SECTIONS = ['## How it shows', '## What to look at next', '## Example'];

describe.each(loadRules())('$name', (rule) => {
  it('has a page with every section, and an example', () => {
    const page = readRulePage(rule) ?? '';
    expect(page.startsWith(`# ${rule.name}\n`)).toBe(true);
    expect(page.split('\n').filter((line) => line.startsWith('## '))).toEqual(SECTIONS);
    expect(page).toMatch(/```(console|text)\n[^`]+```\n$/);
  });

  it('has each parameter described', () => {
    const page = readFileSync(new URL(`docs/rules/${rule.name}.md`, root), 'utf8');
    expect(rule.params.length).toBeGreaterThan(0);
    for (const { name, value, doc } of rule.params) expect(page).toContain(`| \`${name}\` | ${value} | ${doc} |`);
  });

  it('uses each of its parameters, and explains no other', () => {
    const names = new Set([...rule.sql.matchAll(/\$(\w+)/g)].map((match) => match[1]!));
    expect([...names].sort()).toEqual(rule.params.map((param) => param.name).sort());
  });
});

it('docs/rules/ is current', () => {
  const script = fileURLToPath(new URL('scripts/make-rule-docs.mjs', root));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
