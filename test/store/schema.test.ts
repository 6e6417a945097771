import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { TABLES } from '../../src/store/schema.js';

it('docs/schema.md is what scripts/make-schema-doc.mjs makes of the tables', () => {
  const script = fileURLToPath(new URL('../../scripts/make-schema-doc.mjs', import.meta.url));
  const run = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  expect(run.stderr).toBe('');
  expect(run.status).toBe(0);
});

it('no table or column is named twice', () => {
  expect(new Set(TABLES.map((table) => table.name)).size).toBe(TABLES.length);
  for (const table of TABLES) expect(new Set(table.columns.map((c) => c.name)).size).toBe(table.columns.length);
});
