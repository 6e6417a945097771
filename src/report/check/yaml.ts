/** Reading a YAML (or JSON) document strictly: every key known, every value of its kind, every error with its line. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Node as YamlNode } from 'yaml';
import { TraceError } from '../../base/errors.js';

export type Node = YamlNode | null;

/** Says which of the known words was meant: `did you mean "expect"?` */
export type Suggest = (word: string, known: readonly string[]) => string;

/** Where something stands in a document; both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** An open document. All nodes that the functions below hand out are what aliases stand for, never aliases. */
export interface Reader {
  readonly path: string;
  readonly root: Node;
  /** Throws TraceError('spec') at the place of a node. */
  readonly fail: (node: Node, message: string, hint?: string) => never;
  readonly placeOf: (node: Node) => Place;
  /** What an alias (`*name`) stands for; any other node as it is. */
  readonly resolve: (node: Node) => Node;
  readonly suggest: Suggest;
}

/** Opens a document. Throws TraceError('spec') with the place where it is no YAML. */
export function openYaml(path: string, source: string, suggest: Suggest): Reader {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const placeAt = (offset: number | undefined): Place => {
    const { line, col } = lines.linePos(offset ?? 0);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const hint = 'it must be YAML or JSON';
  const binary = source.indexOf('\0');
  if (binary >= 0) throw new TraceError('spec', 'it holds binary data', { input: path, ...placeAt(binary), hint });
  const [problem] = document.errors;
  if (problem) throw new TraceError('spec', problem.message, { input: path, ...placeAt(problem.pos[0]), hint });
  const placeOf = (node: Node) => placeAt(node?.range?.[0]);
  const fail = (node: Node, message: string, hint?: string): never => {
    const place = { input: path, ...placeOf(node) };
    throw new TraceError('spec', message, hint === undefined ? place : { ...place, hint });
  };
  const resolve = (node: Node): Node =>
    isAlias(node)
      ? (node.resolve(document) ?? fail(node, `no anchor "&${node.source}" stands before this alias`))
      : node;
  return { path, root: document.contents, suggest, placeOf, fail, resolve };
}

/**
 * The entries of a mapping that may have these keys only. Those of a merge (`<<: *name`) lie under the mapping's own
 * (YAML 1.1, tag:yaml.org,2002:merge).
 */
export function mapOf(
  reader: Reader,
  node: Node,
  what: string,
  known: readonly string[] | null,
): ReadonlyMap<string, Node> {
  return new Map(entriesOf(reader, node, { what, known, within: [] }));
}

interface Mapping {
  readonly what: string;
  readonly known: readonly string[] | null;
  /** Mappings that are being merged into: none of them can be merged once more. */
  readonly within: readonly Node[];
}

/** Merged entries first, so that the mapping's own replace them. */
function entriesOf(reader: Reader, node: Node, { what, known, within }: Mapping): readonly (readonly [string, Node])[] {
  if (!isMap(node)) return reader.fail(node, `${what} is ${kindOf(node)}, expected keys with values`);
  const merged: (readonly [string, Node])[] = [];
  const own: (readonly [string, Node])[] = [];
  for (const pair of node.items) {
    const key = pair.key as Node;
    const name = isScalar(key) ? String(key.value) : '';
    // an absent value (`expect:`) keeps the place of its key for messages
    const value = reader.resolve((pair.value as Node) ?? key);
    if (name === '<<') {
      // of several the first wins
      for (const source of isSeq(value) ? [...listOf(reader, value, '<<')].reverse() : [value]) {
        if (source === node || within.includes(source)) reader.fail(key, 'this mapping is merged into itself');
        merged.push(...entriesOf(reader, source, { what, known, within: [...within, node] }));
      }
      continue;
    }
    if (known && !known.includes(name)) {
      reader.fail(key, `unknown key "${name}" in ${what}`, reader.suggest(name, known));
    }
    own.push([name, value]);
  }
  return [...merged, ...own];
}

/** The items of a list. */
export function listOf(reader: Reader, node: Node, what: string): readonly Node[] {
  if (!isSeq(node)) return reader.fail(node, `${what} is ${kindOf(node)}, expected a list`);
  return (node.items as Node[]).map(reader.resolve);
}

/** Whether a node is a mapping. */
export function isMapping(node: Node): boolean {
  return isMap(node);
}

/** A text. */
export function textOf(reader: Reader, node: Node, what: string): string {
  const value = scalarOf(reader, node, what);
  if (typeof value !== 'string' || value === '')
    return reader.fail(node, `${what} is ${kindOf(node)}, expected a text`);
  return value;
}

/** A whole number from 0. */
export function countOf(reader: Reader, node: Node, what: string): number {
  const value = scalarOf(reader, node, what);
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    return reader.fail(node, `${what} is ${kindOf(node)}, expected a whole number from 0`);
  }
  return value;
}

/** true or false. */
export function flagOf(reader: Reader, node: Node, what: string): boolean {
  const value = scalarOf(reader, node, what);
  return typeof value === 'boolean' ? value : reader.fail(node, `${what} is ${kindOf(node)}, expected true or false`);
}

/** One of a few words. */
export function wordOf<T extends string>(reader: Reader, node: Node, what: string, words: readonly T[]): T {
  const value = textOf(reader, node, what);
  const word = words.find((candidate) => candidate === value);
  return word ?? reader.fail(node, `${what} is "${value}"`, reader.suggest(value, words));
}

/** A text or a number as it stands. */
export function scalarOf(reader: Reader, node: Node, what: string): string | number | boolean | null {
  if (!isScalar(node)) return reader.fail(node, `${what} is ${kindOf(node)}, expected a single value`);
  const { value } = node;
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}

/** What a node is, in words, for messages. */
export function kindOf(node: Node): string {
  if (isMap(node)) return 'a mapping';
  if (isSeq(node)) return 'a list';
  if (!isScalar(node) || node.value === null) return 'empty';
  return JSON.stringify(node.value) ?? 'empty';
}
