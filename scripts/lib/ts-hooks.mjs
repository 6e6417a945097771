// Module hooks: TypeScript of test/ and scripts/ is stripped of its types as it is loaded; what it imports from src/ comes
// from a build of it.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = new URL('../..', import.meta.url).href;
const source = `${root}src/`;
let build = `${root}dist/`;

/** `data.build`: URL of the folder that stands for src/. */
export function initialize(data) {
  build = data.build;
}

export function resolve(specifier, context, next) {
  if (!specifier.startsWith('.') || !context.parentURL?.startsWith(root)) return next(specifier, context);
  const { href } = new URL(specifier, context.parentURL);
  if (href.startsWith(source)) return next(`${build}${href.slice(source.length)}`, context);
  const typed = href.replace(/\.js$/, '.ts');
  if (!typed.endsWith('.ts') || !existsSync(fileURLToPath(typed))) return next(specifier, context);
  return { url: typed, format: 'module', shortCircuit: true };
}

export function load(url, context, next) {
  if (!url.startsWith(root) || !url.endsWith('.ts')) return next(url, context);
  const { outputText } = ts.transpileModule(readFileSync(fileURLToPath(url), 'utf8'), {
    compilerOptions: { module: 'esnext', target: 'es2022', verbatimModuleSyntax: true },
  });
  return { format: 'module', source: outputText, shortCircuit: true };
}
