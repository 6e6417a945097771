// Compiles src/ to dist/ (or to --out DIR) and copies what code reads at run time (SQL, the format catalogue) beside it.
// --force goes on after type errors, for a build of work in progress.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { out: { type: 'string' }, force: { type: 'boolean' } } });
const root = fileURLToPath(new URL('..', import.meta.url));
const out = resolve(values.out ?? `${root}dist`);
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
rmSync(out, { recursive: true, force: true });
const compiled = spawnSync(process.execPath, [tsc, '-p', `${root}tsconfig.json`, '--outDir', out], {
  stdio: 'inherit',
  cwd: root,
});
if (compiled.status !== 0 && !values.force) process.exit(1);
const isRuntimeFile = (path) => !path.endsWith('.ts');
cpSync(`${root}src`, out, { recursive: true, filter: isRuntimeFile });
if (existsSync(`${out}/cli/main.js`)) chmodSync(`${out}/cli/main.js`, 0o755);
