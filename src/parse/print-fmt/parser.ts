/** Print fmt source → expression trees. Grammar: C expressions as tracepoint headers use them (reference: include/trace/stages). */
import { integerType, isTypeWord, type CType, type IntType } from './c-types.js';
import { tokenize, type Token } from './tokens.js';

export type Node =
  | { readonly k: 'num'; readonly value: bigint; readonly suffix: string; readonly hex: boolean }
  | { readonly k: 'str'; readonly value: string }
  | { readonly k: 'id'; readonly name: string }
  | { readonly k: 'field'; readonly name: string }
  | { readonly k: 'member'; readonly base: Node; readonly name: string }
  | { readonly k: 'index'; readonly base: Node; readonly index: Node }
  | { readonly k: 'call'; readonly name: string; readonly args: readonly Node[] }
  | { readonly k: 'list'; readonly items: readonly Node[] }
  | { readonly k: 'unary'; readonly op: string; readonly arg: Node }
  | { readonly k: 'binary'; readonly op: string; readonly a: Node; readonly b: Node }
  | { readonly k: 'cond'; readonly test: Node; readonly yes: Node | null; readonly no: Node }
  | { readonly k: 'cast'; readonly type: CType; readonly arg: Node }
  | { readonly k: 'sizeof'; readonly bytes: bigint }
  | { readonly k: 'stmt'; readonly body: StatementBody }
  | { readonly k: 'unsupported'; readonly why: string };

/** A `({ … })` that prints into the sequence and yields what it printed (kvmmmu's page role). */
export interface StatementBody {
  readonly tables: ReadonlyMap<string, readonly string[]>;
  /** Variables of a union type, and what their `.word` is set to. */
  readonly unions: ReadonlyMap<string, { readonly type: string; readonly word: Node }>;
  readonly format: string;
  readonly args: readonly Node[];
}

export interface ParsedPrintFmt {
  readonly format: string;
  readonly args: readonly Node[];
}

/** Why a source could not be parsed; never leaves this folder. */
export class PrintFmtSyntax extends Error {}

const PRECEDENCE: readonly (readonly string[])[] = [
  ['||'],
  ['&&'],
  ['|'],
  ['^'],
  ['&'],
  ['==', '!='],
  ['<', '>', '<=', '>='],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];

class Parser {
  private at = 0;
  private depth = 0;

  private readonly tokens: readonly Token[];
  private readonly longBits: 32 | 64;

  constructor(tokens: readonly Token[], longBits: 32 | 64) {
    this.tokens = tokens;
    this.longBits = longBits;
  }

  get done(): boolean {
    return this.at >= this.tokens.length;
  }

  private is(text: string, ahead = 0): boolean {
    const token = this.tokens[this.at + ahead];
    return token?.kind === 'op' && token.text === text;
  }

  private take(text: string): boolean {
    if (!this.is(text)) return false;
    this.at++;
    return true;
  }

  expect(text: string): void {
    if (!this.take(text)) {
      throw new PrintFmtSyntax(`"${text}" expected before "${this.tokens[this.at]?.text ?? 'the end'}"`);
    }
  }

  /** Adjacent string literals, joined; null where there is none. */
  strings(): string | null {
    let text: string | null = null;
    for (let token = this.tokens[this.at]; token?.kind === 'str'; token = this.tokens[++this.at]) {
      text = (text ?? '') + token.text;
    }
    return text;
  }

  expression(): Node {
    if (++this.depth > 200) throw new PrintFmtSyntax('nested too deeply');
    const test = this.binary(0);
    let result = test;
    if (this.take('?')) {
      const yes = this.is(':') ? null : this.expression();
      this.expect(':');
      result = { k: 'cond', test, yes, no: this.expression() };
    }
    this.depth--;
    return result;
  }

  private binary(level: number): Node {
    const operators = PRECEDENCE[level];
    if (!operators) return this.unary();
    let a = this.binary(level + 1);
    for (let token = this.tokens[this.at]; token?.kind === 'op' && operators.includes(token.text);) {
      this.at++;
      a = { k: 'binary', op: token.text, a, b: this.binary(level + 1) };
      token = this.tokens[this.at];
    }
    return a;
  }

  private unary(): Node {
    if (++this.depth > 200) throw new PrintFmtSyntax('nested too deeply');
    const node = this.unaryInner();
    this.depth--;
    return node;
  }

  private unaryInner(): Node {
    for (const op of ['-', '+', '!', '~', '&', '*']) {
      if (this.take(op)) return { k: 'unary', op, arg: this.unary() };
    }
    const type = this.is('(') ? this.castType() : null;
    return type ? { k: 'cast', type, arg: this.unary() } : this.postfix(this.primary());
  }

  /** Reads `(type)` where that is one, else stays where it is. */
  private castType(): CType | null {
    const start = this.at;
    this.at++;
    const type = this.typeName();
    if (type && this.take(')')) return type;
    this.at = start;
    return null;
  }

  private typeName(): CType | null {
    const words: string[] = [];
    let opaque = false;
    for (let token = this.tokens[this.at]; token?.kind === 'id'; token = this.tokens[this.at]) {
      if (token.text === 'struct' || token.text === 'union' || token.text === 'enum') {
        words.push(token.text);
        this.at += 2;
      } else if (isTypeWord(token.text)) {
        words.push(token.text);
        this.at++;
      } else if (words.length === 0 && this.looksLikeTypedef(token.text)) {
        opaque = true;
        this.at++;
        break;
      } else break;
    }
    if (words.length === 0 && !opaque) return null;
    let pointer = false;
    while (this.take('*') || (this.tokens[this.at]?.text === 'const' && ++this.at)) pointer = true;
    const element: IntType | null = opaque ? null : integerType(words, this.longBits);
    if (pointer) return { kind: 'pointer', element };
    return element ? { kind: 'int', int: element } : { kind: 'opaque' };
  }

  /** A name in parentheses is a cast where an operand follows: `(xfs_off_t) REC->x`, `(struct_name *)p`. */
  private looksLikeTypedef(name: string): boolean {
    if (name === 'REC') return false;
    let ahead = 1;
    while (this.is('*', ahead)) ahead++;
    if (!this.is(')', ahead)) return false;
    const next = this.tokens[this.at + ahead + 1];
    if (ahead > 1 || name.endsWith('_t')) return next !== undefined;
    return next !== undefined && next.kind !== 'op';
  }

  private primary(): Node {
    const text = this.strings();
    if (text !== null) return { k: 'str', value: text };
    const token = this.tokens[this.at];
    if (!token) throw new PrintFmtSyntax('an operand is missing at the end');
    this.at++;
    if (token.kind === 'num') return { k: 'num', value: token.value, suffix: token.suffix, hex: token.hex };
    if (token.kind === 'id') return this.name(token.text);
    if (token.text === '{') return this.list();
    if (token.text === '(') {
      if (this.is('{')) return this.statement();
      const inner = this.expression();
      this.expect(')');
      return inner;
    }
    throw new PrintFmtSyntax(`"${token.text}" where an operand is expected`);
  }

  private name(name: string): Node {
    if (name === 'sizeof' && this.is('(')) {
      const type = this.castType();
      if (!type) throw new PrintFmtSyntax('sizeof of an expression');
      if (type.kind === 'int') return { k: 'sizeof', bytes: BigInt(type.int.bits / 8) };
      return type.kind === 'pointer'
        ? { k: 'sizeof', bytes: BigInt(this.longBits / 8) }
        : { k: 'unsupported', why: 'sizeof of an unknown type' };
    }
    if (!this.take('(')) return { k: 'id', name };
    const args: Node[] = [];
    while (!this.take(')')) {
      args.push(this.expression());
      if (!this.is(')')) this.expect(',');
    }
    return { k: 'call', name, args };
  }

  private list(): Node {
    const items: Node[] = [];
    while (!this.take('}')) {
      items.push(this.expression());
      if (!this.is('}')) this.expect(',');
    }
    return { k: 'list', items };
  }

  private postfix(start: Node): Node {
    let node = start;
    for (;;) {
      if (this.take('->') || this.take('.')) {
        const token = this.tokens[this.at++];
        if (token?.kind !== 'id') throw new PrintFmtSyntax('a member name is missing');
        const record = node.k === 'id' && node.name === 'REC';
        node = record ? { k: 'field', name: token.text } : { k: 'member', base: node, name: token.text };
      } else if (this.take('[')) {
        const index = this.expression();
        this.expect(']');
        node = { k: 'index', base: node, index };
      } else return node;
    }
  }

  /** `({ …; value; })`, the opening parenthesis already read. */
  private statement(): Node {
    this.expect('{');
    const statements: Token[][] = [[]];
    for (let nesting = 0; ;) {
      const token = this.tokens[this.at++];
      if (!token) throw new PrintFmtSyntax('a statement expression has no end');
      if (token.kind === 'op' && token.text === '}' && nesting === 0) break;
      if (token.kind === 'op' && '({['.includes(token.text)) nesting++;
      if (token.kind === 'op' && ')}]'.includes(token.text)) nesting--;
      if (token.kind === 'op' && token.text === ';' && nesting === 0) statements.push([]);
      else statements.at(-1)!.push(token);
    }
    this.expect(')');
    return readStatements(statements, this.longBits);
  }
}

function readStatements(statements: readonly (readonly Token[])[], longBits: 32 | 64): Node {
  const tables = new Map<string, readonly string[]>();
  const types = new Map<string, string>();
  const unions = new Map<string, { type: string; word: Node }>();
  let print: readonly Node[] | null = null;
  for (const tokens of statements) {
    const texts = tokens.map((token) => token.text);
    const equals = texts.indexOf('=');
    const value = () => new Parser(tokens.slice(equals + 1), longBits).expression();
    if (tokens[equals + 1]?.text === '{' && texts[equals - 2] === '[') {
      const list = value();
      const items = list.k === 'list' ? list.items : [];
      tables.set(
        texts[equals - 3]!,
        items.map((item) => (item.k === 'str' ? item.value : '?')),
      );
    } else if (texts[0] === 'union' && tokens.length === 3) {
      types.set(texts[2]!, texts[1]!);
    } else if (texts[1] === '.' && texts[2] === 'word' && equals === 3) {
      unions.set(texts[0]!, { type: types.get(texts[0]!) ?? '', word: value() });
    } else if (texts[0] === 'trace_seq_printf' && print === null) {
      const call = new Parser(tokens, longBits).expression();
      print = call.k === 'call' ? call.args : null;
    } else if (!(tokens.length <= 1 || (equals > 0 && texts.includes('trace_seq_buffer_ptr')))) {
      return { k: 'unsupported', why: `statement expression with "${texts.slice(0, 6).join(' ')}"` };
    }
  }
  const format = print?.[1];
  if (format?.k !== 'str') return { k: 'unsupported', why: 'statement expression' };
  return { k: 'stmt', body: { tables, unions, format: format.value, args: print!.slice(2) } };
}

/** Parses `"fmt", arg, …`. Throws PrintFmtSyntax. */
export function parsePrintFmt(source: string, longBits: 32 | 64): ParsedPrintFmt {
  // trace remotes quote the whole of it once more: `""id=%llu", REC->id", ` (v7.3)
  const inner = /^"(".*)",\s*$/s.exec(source)?.[1] ?? source;
  const parser = new Parser(tokenize(inner), longBits);
  const format = parser.strings();
  if (format === null) throw new PrintFmtSyntax('it does not begin with a format string');
  const args: Node[] = [];
  while (!parser.done) {
    parser.expect(',');
    args.push(parser.expression());
  }
  return { format, args };
}
