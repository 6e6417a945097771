// Compiles src/ to dist/ and copies what code reads at run time (SQL, the format catalogue, schemas) beside the output.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(process.execPath, [tsc, '-p', `${root}tsconfig.json`], { stdio: 'inherit', cwd: root });
const isRuntimeFile = (path) => !path.endsWith('.ts');
cpSync(`${root}src`, `${root}dist`, { recursive: true, filter: isRuntimeFile });
if (existsSync(`${root}dist/cli/main.js`)) chmodSync(`${root}dist/cli/main.js`, 0o755);
