/** Puts a program together operation by operation (program.ts). */
import { OP, WordTable } from './program.js';
import type { Program } from './program.js';

interface Operation {
  op: number;
  a: number;
  b: number;
  c: number;
  /** Column that it writes besides a; -1 for none. */
  second: number;
}

const NO_COLUMN = -1;
/** Operations that read up to the next literal, with its place in b and c. */
const UP_TO_LITERAL: ReadonlySet<number> = new Set([OP.STRING, OP.QUOTED, OP.SKIP, OP.BYTES, OP.ADDRESS]);
/** The same, with the index of the literal's operands in c. */
const SEGMENTS: ReadonlySet<number> = new Set([OP.SYMBOL, OP.EXIT_REASON]);
const WRITES_NOTHING: ReadonlySet<number> = new Set([OP.LITERAL, OP.SKIP]);

export class ProgramBuilder {
  private readonly operations: Operation[] = [];
  private pool = '';
  private readonly tables: WordTable[] = [];

  table(entries: readonly (readonly [string, bigint | null])[], delimiter = ''): number {
    this.tables.push(new WordTable(entries, delimiter));
    return this.tables.length - 1;
  }

  /** Takes over tables of another program; gives the number of the first. */
  adopt(tables: readonly WordTable[]): number {
    this.tables.push(...tables);
    return this.tables.length - tables.length;
  }

  literal(text: string): void {
    if (text === '') return;
    const last = this.operations.at(-1);
    if (last?.op === OP.LITERAL) last.b += Buffer.byteLength(text);
    else this.add(OP.LITERAL, this.poolLength(), Buffer.byteLength(text), 0);
    this.pool += text;
  }

  add(op: number, a: number, b = 0, c = 0, second = NO_COLUMN): void {
    this.operations.push({ op, a, b, c, second });
  }

  /** Whether an operation so far writes the column. */
  writes(column: number): boolean {
    return this.operations.some(({ op, a, second }) => (a === column && !WRITES_NOTHING.has(op)) || second === column);
  }

  skip(): void {
    if (this.operations.at(-1)?.op !== OP.SKIP) this.add(OP.SKIP, 0);
  }

  private poolLength(): number {
    return Buffer.byteLength(this.pool);
  }

  /** @param columnCount columns of the schema; those that no operation writes are NULL in every row */
  build(columnCount: number, kernelText: boolean): Program {
    const operations = this.settle();
    const ops = new Int32Array(operations.length * 4);
    const written = new Set<number>();
    operations.forEach((operation, k) => {
      const next = operations[k + 1];
      if (UP_TO_LITERAL.has(operation.op)) {
        operation.b = next ? next.a : 0;
        operation.c = next ? next.b : 0;
      } else if (SEGMENTS.has(operation.op)) operation.c = next ? (k + 1) * 4 + 1 : -1;
      ops.set([operation.op, operation.a, operation.b, operation.c], k * 4);
      if (!WRITES_NOTHING.has(operation.op)) written.add(operation.a);
      written.add(operation.second);
    });
    const nullColumns = Array.from({ length: columnCount }, (_, k) => k).filter((k) => !written.has(k));
    return { ops, pool: Buffer.from(this.pool), tables: this.tables, nullColumns, kernelText };
  }

  /** What reads up to a literal must have one next; else it and what stands in between become one SKIP. */
  private settle(): Operation[] {
    const settled: Operation[] = [];
    const { operations } = this;
    for (let k = 0; k < operations.length; k++) {
      const operation = operations[k]!;
      const next = operations[k + 1];
      const reaches = UP_TO_LITERAL.has(operation.op) || SEGMENTS.has(operation.op);
      if (!reaches || !next || next.op === OP.LITERAL) {
        settled.push(operation);
      } else if (operation.op === OP.SYMBOL) {
        settled.push({ ...operation, op: OP.CHOICE, c: 0 });
      } else {
        settled.push({ op: OP.SKIP, a: 0, b: 0, c: 0, second: NO_COLUMN });
        while (operations[k + 1] && operations[k + 1]!.op !== OP.LITERAL) k++;
      }
    }
    return settled;
  }
}
