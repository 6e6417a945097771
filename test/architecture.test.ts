/** The house rules that hold for all of src/ and that no other tool checks (docs/architecture.md). */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../src/', import.meta.url));
const RULE_PAGES = fileURLToPath(new URL('../docs/rules/', import.meta.url));

/** Rooms from the top of the house to the bottom. */
const FLOORS = ['cli', 'report', 'replay', 'store', 'parse', 'base'];
/** Rooms beside the stairs, and the only rooms below that they use; of those above, the command line alone uses them. */
const SIDE_ROOMS: Readonly<Record<string, readonly string[]>> = { simulate: ['parse', 'base'] };
const MAX_LINES = 600;
/** Where raw DuckDB bindings are used: everything else goes through them. */
const BINDINGS = ['native', 'db', 'bulk-writer', 'result-rows', 'string-words', 'stream'].map(
  (name) => `store/${name}.ts`,
);

interface Source {
  /** From src/, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
  /** As written: `./x.js`, `node:fs`, a package. */
  readonly imports: readonly string[];
  /** Those that are left when types are erased. */
  readonly runtimeImports: readonly string[];
}

function filesOf(extension: string): readonly string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith(extension))
    .sort();
}

function* nodesOf(node: ts.Node): Generator<ts.Node> {
  yield node;
  for (const child of node.getChildren()) yield* nodesOf(child);
}

/** Where an import, a re-export, `import()` or an import type points to. */
function specifierOf(node: ts.Node): string | null {
  const place =
    ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
        ? node.arguments[0]
        : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
          ? node.argument.literal
          : undefined;
  return place !== undefined && ts.isStringLiteral(place) ? place.text : null;
}

const isOfTypes = (node: ts.Node): boolean =>
  ts.isImportTypeNode(node) ||
  (ts.isImportDeclaration(node) && node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword) ||
  (ts.isExportDeclaration(node) && node.isTypeOnly);

const sources: readonly Source[] = filesOf('.ts').map((path) => {
  const text = readFileSync(join(SRC, path), 'utf8');
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  const nodes = [...nodesOf(tree)];
  const imports = nodes.map(specifierOf).filter((specifier) => specifier !== null);
  const runtimeImports = nodes
    .filter((node) => !isOfTypes(node))
    .map(specifierOf)
    .filter((specifier) => specifier !== null);
  return { path, text, tree, imports, runtimeImports };
});

/** The file of src/ that a relative import is; null where it is a package. */
function targetOf(from: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  const target = resolve(SRC, dirname(from), specifier).replace(/\.js$/, '.ts');
  return relative(SRC, target).replaceAll('\\', '/');
}

const roomOf = (path: string): string => path.split('/')[0]!;
const targetsOf = (path: string, imports: readonly string[]): readonly string[] =>
  imports.map((specifier) => targetOf(path, specifier)).filter((target) => target !== null);

function mayUse(user: string, used: string): boolean {
  if (user === used) return true;
  if (user in SIDE_ROOMS) return SIDE_ROOMS[user]!.includes(used);
  if (used in SIDE_ROOMS) return user === FLOORS[0];
  return FLOORS.indexOf(user) < FLOORS.indexOf(used);
}

/** One cycle as the files that it goes through; null where there is none. Types may know each other: they load nothing. */
function findCycle(): readonly string[] | null {
  const targets = new Map(sources.map((source) => [source.path, targetsOf(source.path, source.runtimeImports)]));
  const finished = new Set<string>();
  const visit = (path: string, way: readonly string[]): readonly string[] | null => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (finished.has(path)) return null;
    for (const target of targets.get(path) ?? []) {
      const cycle = visit(target, [...way, path]);
      if (cycle !== null) return cycle;
    }
    finished.add(path);
    return null;
  };
  for (const path of targets.keys()) {
    const cycle = visit(path, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

const hasDocstring = (node: ts.Node): boolean => ts.getJSDocCommentsAndTags(node).length > 0;
const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some((m) => m.kind === ts.SyntaxKind.ExportKeyword);

describe('the house', () => {
  it('has no room that nobody planned', () => {
    const rooms = [...new Set(sources.map((source) => roomOf(source.path)))];
    expect(rooms.filter((room) => !FLOORS.includes(room) && !(room in SIDE_ROOMS))).toEqual([]);
    expect(sources.length).toBeGreaterThan(100);
  });

  it('imports downwards only', () => {
    const upwards = sources.flatMap((source) =>
      targetsOf(source.path, source.imports)
        .filter((target) => !mayUse(roomOf(source.path), roomOf(target)))
        .map((target) => `${source.path} → ${target}`),
    );
    expect(upwards).toEqual([]);
  });

  it('has no cycle of imports', () => {
    expect(findCycle()).toBeNull();
  });

  it('touches raw DuckDB bindings in few files only', () => {
    const users = sources.filter((source) => source.imports.some((specifier) => specifier.startsWith('@duckdb/')));
    expect(users.map((source) => source.path).filter((path) => !BINDINGS.includes(path))).toEqual([]);
    expect(users.length).toBeGreaterThan(0);
  });
});

describe('docs/architecture.md', () => {
  const text = readFileSync(fileURLToPath(new URL('../docs/architecture.md', import.meta.url)), 'utf8');
  const known = new Set([...filesOf('.ts'), ...filesOf('.sql')].flatMap((path) => [path, path.split('/').at(-1)!]));
  const named = [...text.matchAll(/`(?:src\/)?([\w/-]+\.(?:ts|sql))`/g)].map(([, path]) => path!);

  it('names files that there are', () => {
    expect(named.length).toBeGreaterThan(30);
    const isThere = (path: string): boolean => known.has(path) || [...known].some((file) => file.endsWith(`/${path}`));
    expect(named.filter((path) => !isThere(path))).toEqual([]);
  });
});

describe('each file', () => {
  it(`has at most ${MAX_LINES} lines`, () => {
    const long = sources.filter((source) => source.text.split('\n').length - 1 > MAX_LINES);
    expect(long.map((source) => source.path)).toEqual([]);
  });

  it('never ends the process, and knows no any', () => {
    const bad = sources.flatMap(({ path, tree }) =>
      [...nodesOf(tree)]
        .filter(
          (node) =>
            node.kind === ts.SyntaxKind.AnyKeyword ||
            (ts.isPropertyAccessExpression(node) && node.getText() === 'process.exit'),
        )
        .map((node) => `${path}:${tree.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${node.getText()}`),
    );
    expect(bad).toEqual([]);
  });

  it('says what it is for: in a header or at what it exports', () => {
    const silent = sources.filter(({ text, tree }) => {
      const hasHeader = (ts.getLeadingCommentRanges(text, 0) ?? []).length > 0;
      return !hasHeader && !tree.statements.some((node) => isExported(node) && hasDocstring(node));
    });
    expect(silent.map((source) => source.path)).toEqual([]);
  });

  it('exports by name', () => {
    const byDefault = sources.filter(({ tree }) => tree.statements.some((node) => ts.isExportAssignment(node)));
    expect(byDefault.map((source) => source.path)).toEqual([]);
  });
});

describe('SQL', () => {
  const rules = filesOf('.sql').filter((path) => path.startsWith('replay/rules/'));

  it.each(rules)('%s tells its name, severity, needs and meaning', (path) => {
    const text = readFileSync(join(SRC, path), 'utf8');
    const header = text.slice(0, text.search(/^(?!--)/m));
    const name = path.slice('replay/rules/'.length, -'.sql'.length);
    expect(header).toMatch(new RegExp(`^-- name: ${name}$`, 'm'));
    for (const key of ['severity: .', 'needs:', 'summary: .']) expect(header).toMatch(new RegExp(`^-- ${key}`, 'm'));
  });

  it.skipIf(!existsSync(RULE_PAGES)).each(rules)('%s has a page in docs/rules', (path) => {
    const page = path.slice('replay/rules/'.length).replace(/\.sql$/, '.md');
    expect(existsSync(join(RULE_PAGES, page))).toBe(true);
  });

  it.each(filesOf('.sql').filter((path) => !rules.includes(path)))('%s begins with what it holds', (path) => {
    expect(readFileSync(join(SRC, path), 'utf8')).toMatch(/^-- \S/);
  });
});
