/**
 * An event that no catalogue knows. Its first lines are kept back until there are enough to tell the columns; from then
 * on the columns are fixed.
 */
import type { EventSchema, FieldSpec, ProbeInfo } from '../model.js';
import { decode } from './bytes.js';
import type { RowPlace } from './context.js';
import type { Cursor } from './cursor.js';
import type { KindEnvironment } from './event-kind.js';
import { looseFields, looseNumber, parseLooseText } from './loose-text.js';
import type { LooseText, PairStyle } from './loose-text.js';
import { Output } from './output.js';
import { OP, runProgram } from './program.js';
import type { Program } from './program.js';
import { ProgramBuilder } from './program-builder.js';

/** Lines that decide the columns. */
const DECIDING_ROWS = 512;
/** More columns than any event has: the rest stays in `text`. */
const MAX_FIELDS = 200;

export interface LooseOrigin {
  readonly system: string;
  readonly name: string;
  readonly style: PairStyle;
  readonly kernelText: boolean;
  /** What was told of the probe beside the trace. */
  readonly probe: ProbeInfo | null;
}

interface WaitingRow {
  readonly text: string;
  readonly context: RowPlace;
}

export class LooseEvent {
  output: Output | null = null;
  private waiting: WaitingRow[] = [];
  private program: Program | null = null;
  private readonly columnOf = new Map<string, number>();
  private readonly origin: LooseOrigin;
  private readonly environment: KindEnvironment;

  constructor(origin: LooseOrigin, environment: KindEnvironment) {
    this.origin = origin;
    this.environment = environment;
  }

  /** Stores the text [cursor.pos, cursor.end) of a line, now or when the columns are known. */
  store(cursor: Cursor, context: RowPlace): void {
    if (this.output) {
      this.write(cursor, context);
      return;
    }
    const text = decode(cursor.buf, cursor.pos, cursor.end).trim();
    const { line, cpu, tid, flags, tsLo, tsHi } = context;
    this.waiting.push({ text, context: { line, cpu, tid, flags, tsLo, tsHi } });
    if (this.waiting.length >= DECIDING_ROWS) this.decide();
  }

  /** Fixes the columns by the lines kept back and stores those; to be called at the end at the latest. */
  decide(): void {
    if (this.output || this.waiting.length === 0) return;
    const texts = this.waiting.map((row) => this.parse(row.text));
    const schema = this.schemaOf(texts);
    const { table, strings, full } = this.environment;
    const output = new Output(schema, table, strings, full);
    schema.fields.forEach((field, k) => this.columnOf.set(field.name, k));
    this.output = output;
    this.program = this.compile(schema, texts[0]!);
    for (const [k, row] of this.waiting.entries()) {
      this.writeText(texts[k]!, row.context);
    }
    this.waiting = [];
  }

  private parse(text: string): LooseText {
    return parseLooseText(text, this.origin.style, this.origin.kernelText);
  }

  private schemaOf(texts: readonly LooseText[]): EventSchema {
    const { system, name, style, probe } = this.origin;
    const head = texts.find((text) => text.head)?.head ?? null;
    const own = looseFields(texts);
    const fields: FieldSpec[] = own.length > MAX_FIELDS ? cutFields(own) : own;
    if (style === 'syscall') {
      fields.unshift({ name: '__syscall_nr', type: 'i32', cType: 'int', radix: 10 });
      const bare = fields.findIndex((field) => field.name === 'text');
      if (name.startsWith('sys_exit_') && bare >= 0) {
        fields[bare] = { name: 'ret', type: 'i64', cType: 'long', radix: 16 };
      }
    }
    const isReturn = head ? head.isReturn : fields.some((field) => field.name === '__probe_func');
    const isProbe = head !== null || isReturn || fields.some((field) => field.name === '__probe_ip');
    return {
      system: isProbe && system === 'unknown' ? 'probe' : system,
      name,
      id: null,
      fields,
      formatSource: 'text',
      printFmt: null,
      probe: isProbe ? { fn: head?.fn ?? probe?.fn ?? null, isReturn } : null,
    };
  }

  /** A program for lines that look like `sample`: the same keys in the same order. */
  private compile(schema: EventSchema, sample: LooseText): Program | null {
    const builder = new ProgramBuilder();
    const { head } = sample;
    if (head) {
      builder.literal('(');
      if (head.addresses.size === 0) builder.skip();
      for (const [k, name] of [...head.addresses.keys()].entries()) {
        if (k > 0) builder.literal(' <- ');
        builder.add(OP.NUMBER, this.columnOf.get(name)!, 16);
      }
      if (head.isReturn && head.addresses.size === 1) return null;
      builder.literal(')');
    }
    const keys = [...sample.pairs.keys()];
    const isSyscall = this.origin.style === 'syscall';
    keys.forEach((key, k) => {
      const column = this.columnOf.get(key);
      const field = column === undefined ? undefined : schema.fields[column];
      if (!field || column === undefined) return;
      const join = isSyscall ? (k > 0 ? ', ' : '') : k > 0 || head ? ' ' : '';
      builder.literal(`${join}${key}${isSyscall ? ': ' : '='}`);
      builder.add(field.type === 'string' ? OP.QUOTED : OP.RAW_NUMBER, column, key.startsWith('__probe_') ? 16 : 10);
    });
    const ret = isSyscall && keys.length === 0 ? this.columnOf.get('ret') : undefined;
    if (ret !== undefined) builder.add(OP.RAW_NUMBER, ret, 10);
    const text = this.columnOf.get('text');
    if (keys.length === 0 && !head && text !== undefined) builder.add(OP.STRING, text);
    if (sample.rest !== '' && keys.length > 0) return null;
    return builder.build(schema.fields.length, this.origin.kernelText);
  }

  private write(cursor: Cursor, context: RowPlace): void {
    const output = this.output!;
    const from = cursor.pos;
    output.beginRow();
    if (this.program && runProgram(this.program, cursor, output)) {
      output.endRow(context);
      return;
    }
    this.writeText(this.parse(decode(cursor.buf, from, cursor.end).trim()), context);
  }

  private writeText(text: LooseText, context: RowPlace): void {
    const output = this.output!;
    output.beginRow();
    const { name } = this.origin;
    let rest = text.rest;
    for (const key of text.pairs.keys()) {
      if (this.columnOf.has(key)) continue;
      if (this.columnOf.has('text')) rest = `${rest} ${key}=${text.pairs.get(key)!}`.trim();
      else this.environment.oddity(`field of ${name} that its first ${DECIDING_ROWS} lines do not have`, context.line);
    }
    output.schema.fields.forEach((field, column) => {
      if (!this.writeField(field, column, text, rest)) {
        output.setNull(column);
        if (text.pairs.has(field.name))
          this.environment.oddity(`text in a field of ${name} that had numbers before`, context.line);
      }
    });
    if (rest !== '' && !this.columnOf.has('text') && !this.columnOf.has('ret')) {
      this.environment.oddity(`text of ${name} beside its fields`, context.line);
    }
    output.endRow(context);
  }

  /** False where the text has no value for the field (or one that the column cannot hold). */
  private writeField(field: FieldSpec, column: number, text: LooseText, rest: string): boolean {
    const output = this.output!;
    const address = text.head?.addresses.get(field.name);
    if (address !== undefined) return setBig(output, column, address);
    if (field.name === 'text' && !text.pairs.has('text')) {
      if (rest !== '') output.setText(column, rest);
      return rest !== '';
    }
    if (field.name === 'ret' && this.origin.style === 'syscall' && /^(?:-?\d+|0x[0-9a-f]+)$/.test(rest)) {
      return setBig(output, column, BigInt(rest));
    }
    const value = text.pairs.get(field.name);
    if (value === undefined) return false;
    if (field.type === 'string') {
      output.setText(column, value.replace(/^"([^]*)"$/, '$1'));
      return true;
    }
    const number = looseNumber(field.name, value);
    return typeof number === 'bigint' && setBig(output, column, number);
  }
}

function setBig(output: Output, column: number, value: bigint): boolean {
  output.setNumber(column, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  return true;
}

function cutFields(fields: readonly FieldSpec[]): FieldSpec[] {
  const kept = fields.slice(0, MAX_FIELDS).filter((field) => field.name !== 'text');
  return [...kept, { name: 'text', type: 'string', cType: '', radix: 10 }];
}
