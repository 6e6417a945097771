#!/usr/bin/env node
/**
 * The property tests over many seeds: node scripts/simulate-many.mjs 1-1000 ["tdx vm-attributes"]
 * Every platform with every mechanism (or the one named) is simulated, replayed, and held against the truth.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const [seeds = '1-100', only] = process.argv.slice(2);
if (!/^\d+-\d+$/.test(seeds)) {
  process.stderr.write('usage: node scripts/simulate-many.mjs FIRST-LAST ["PLATFORM MECHANISM"]\n');
  process.exit(2);
}
const { status } = spawnSync('npx', ['vitest', 'run', 'test/simulate/property.test.ts'], {
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  stdio: 'inherit',
  env: { ...process.env, SIMULATE_SEEDS: seeds, ...(only === undefined ? {} : { SIMULATE_ONLY: only }) },
});
process.exit(status ?? 1);
