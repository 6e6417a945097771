/** Reading a YAML (or JSON) document strictly: every key known, every value of its kind, every error with its line. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Node as YamlNode } from 'yaml';
import { TraceError } from '../../base/errors.js';

export type Node = YamlNode | null;

/** Says which of the known words was meant: `did you mean "expect"?` */
export type Suggest = (word: string, known: readonly string[]) => string;

export interface Reader {
  readonly path: string;
  readonly root: Node;
  /** Throws TraceError('spec') at the line of a node. */
  readonly fail: (node: Node, message: string, hint?: string) => never;
  readonly lineOf: (node: Node) => number;
  readonly suggest: Suggest;
}

/** Opens a document. Throws TraceError('spec') with the line where it is no YAML. */
export function openYaml(path: string, source: string, suggest: Suggest): Reader {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const lineAt = (offset: number | undefined) => (offset === undefined ? 1 : lines.linePos(offset).line);
  const [problem] = document.errors;
  if (problem) {
    throw new TraceError('spec', problem.message, { input: path, line: lineAt(problem.pos[0]) });
  }
  const lineOf = (node: Node) => lineAt(node?.range?.[0]);
  return {
    path,
    root: document.contents,
    suggest,
    lineOf,
    fail: (node, message, hint) => {
      const place = { input: path, line: lineOf(node) };
      throw new TraceError('spec', message, hint === undefined ? place : { ...place, hint });
    },
  };
}

/** The entries of a mapping that may have these keys only; a missing node gives none. */
export function mapOf(
  reader: Reader,
  node: Node,
  what: string,
  known: readonly string[] | null,
): ReadonlyMap<string, Node> {
  if (!isMap(node)) return reader.fail(node, `${what} is ${kindOf(node)}, expected keys with values`);
  const entries = new Map<string, Node>();
  for (const pair of node.items) {
    const key = pair.key as Node;
    const name = isScalar(key) ? String(key.value) : '';
    if (known && !known.includes(name)) {
      reader.fail(key, `unknown key "${name}" in ${what}`, reader.suggest(name, known));
    }
    // an absent value (`expect:`) keeps the place of its key for messages
    entries.set(name, (pair.value as Node) ?? key);
  }
  return entries;
}

/** The items of a list. */
export function listOf(reader: Reader, node: Node, what: string): readonly Node[] {
  if (!isSeq(node)) return reader.fail(node, `${what} is ${kindOf(node)}, expected a list`);
  return node.items as Node[];
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
  if (isAlias(node)) return reader.fail(node, `${what} is an alias: aliases stand for whole lists and mappings only`);
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
