/** One event name of a text: which formats the catalogue has for it, which of them this trace has, and its rows. */
import type { ByteStrings } from '../byte-strings.js';
import type { StringTable } from '../batch.js';
import { catalogueFormat } from '../catalogue/index.js';
import type { CatalogueEvent } from '../catalogue/index.js';
import { planFields } from '../event-format.js';
import type { EventSchema, ProbeInfo } from '../model.js';
import { decode } from './bytes.js';
import { compilePrintFmt, eventColumns, printedRadixes } from './compile-print-fmt.js';
import type { EventColumns } from './compile-print-fmt.js';
import type { LineContext } from './context.js';
import type { Cursor } from './cursor.js';
import { LooseEvent } from './loose-event.js';
import { looseNumber, parseLooseText } from './loose-text.js';
import type { PairStyle } from './loose-text.js';
import { Output } from './output.js';
import { runProgram, skipComplaints } from './program.js';
import type { Program } from './program.js';
import { compileKeyValues, compileWordings, isPrint } from './wordings.js';

/** What the kinds of one trace share. */
export interface KindEnvironment {
  readonly table: StringTable;
  readonly strings: ByteStrings;
  /** Outputs whose batch is full. */
  readonly full: Output[];
  /** The text is printed by the kernel (not by trace-cmd or perf). */
  readonly kernelText: boolean;
  readonly probes: ReadonlyMap<string, ProbeInfo>;
  /** Something of a row could not be kept. */
  readonly oddity: (reason: string, line: number) => void;
}

/** One format of the event, with all the wordings that are known of it. */
interface Variant {
  readonly schema: EventSchema;
  readonly programs: Program[];
  readonly output: Output;
}

const SPACE = 0x20;

export class EventKind {
  private variants: Variant[] | null = null;
  /** The format that the first understood line had. */
  private chosen: Variant | null = null;
  private loose: LooseEvent | null = null;

  private readonly system: string | null;
  private readonly name: string;
  private readonly style: PairStyle;
  private readonly formats: readonly CatalogueEvent[];
  private readonly environment: KindEnvironment;

  /**
   * @param system null where the line did not name it
   * @param formats of the catalogue, of that name and system
   */
  constructor(
    system: string | null,
    name: string,
    style: PairStyle,
    formats: readonly CatalogueEvent[],
    environment: KindEnvironment,
  ) {
    this.system = system;
    this.name = name;
    this.style = style;
    this.formats = formats;
    this.environment = environment;
  }

  /** Stores the text [cursor.pos, cursor.end) as a row. */
  store(cursor: Cursor, context: LineContext): void {
    const { buf, end } = cursor;
    while (cursor.pos < end && buf[cursor.pos] === SPACE) cursor.pos++;
    const from = cursor.pos;
    const { chosen } = this;
    if (chosen !== null) {
      if (storeIn(chosen, cursor, context)) return;
      cursor.pos = from;
    } else if (this.formats.length === 0) {
      skipComplaints(cursor);
      this.storeLoose(cursor, context);
      return;
    }
    this.storeRare(cursor, context);
  }

  /** Whether it is ftrace:print, whose text may go on in further lines. */
  get isPrint(): boolean {
    return this.system === 'ftrace' && this.name === 'print';
  }

  /** Adds a line to the text of the print event stored last. False where that cannot be. */
  append(text: string): boolean {
    return this.chosen?.output.appendText('buf', text) ?? false;
  }

  private storeRare(cursor: Cursor, context: LineContext): void {
    skipComplaints(cursor);
    const from = cursor.pos;
    if (this.chosen) {
      if (storeIn(this.chosen, cursor, context)) return;
    } else {
      this.variants ??= this.makeVariants();
      for (const variant of this.variants) {
        cursor.pos = from;
        if (!storeIn(variant, cursor, context)) continue;
        this.chosen = variant;
        return;
      }
    }
    cursor.pos = from;
    if (this.storePairs(cursor, context)) return;
    cursor.pos = from;
    if (this.chosen && cursor.buf[from] !== 0x28) this.storeEmpty(this.chosen, context);
    else this.storeLoose(cursor, context);
  }

  private makeVariants(): Variant[] {
    return mergeFormats(this.formats).map((formats) => makeVariant(formats, this.environment));
  }

  /** `key=value` in any order and not all of them. */
  private storePairs(cursor: Cursor, context: LineContext): boolean {
    const text = decode(cursor.buf, cursor.pos, cursor.end).trim();
    if (!text.includes('=') || text.startsWith('(')) return false;
    const { pairs } = parseLooseText(text, 'equals', this.environment.kernelText);
    const variants = this.chosen ? [this.chosen] : (this.variants ?? []);
    const variant = variants.find(({ schema }) => schema.fields.some((field) => pairs.has(field.name)));
    if (!variant) return false;
    const { output, schema } = variant;
    output.beginRow();
    schema.fields.forEach((field, column) => {
      const value = pairs.get(field.name);
      const number = value === undefined ? undefined : looseNumber(field.name, value);
      if (value !== undefined && field.type === 'string') output.setText(column, value);
      else if (typeof number === 'bigint') {
        output.setNumber(column, Number(BigInt.asIntN(32, number)), Number(BigInt.asIntN(32, number >> 32n)));
      } else output.setNull(column);
    });
    output.endRow(context);
    this.chosen = variant;
    return true;
  }

  /** The event happened, whatever its text says. */
  private storeEmpty(variant: Variant, context: LineContext): void {
    variant.output.beginRow();
    variant.schema.fields.forEach((_, column) => variant.output.setNull(column));
    variant.output.endRow(context);
    this.environment.oddity(`text of ${variant.schema.system}:${this.name} that is not understood`, context.line);
  }

  private storeLoose(cursor: Cursor, context: LineContext): void {
    const { environment, name, style } = this;
    this.loose ??= new LooseEvent(
      {
        system: this.system ?? (style === 'syscall' ? 'syscalls' : 'unknown'),
        name,
        style,
        kernelText: environment.kernelText,
        probe: environment.probes.get(name) ?? null,
      },
      environment,
    );
    this.loose.store(cursor, context);
  }

  /** Stores what was kept back. */
  finish(): void {
    this.loose?.decide();
  }

  /** The outputs that have got rows. */
  outputs(): Output[] {
    const outputs: Output[] = [];
    if (this.chosen) outputs.push(this.chosen.output);
    if (this.loose?.output) outputs.push(this.loose.output);
    return outputs;
  }
}

/** Tries the wordings, the one that fitted last first. */
function storeIn(variant: Variant, cursor: Cursor, context: LineContext): boolean {
  const { programs, output } = variant;
  const from = cursor.pos;
  for (let k = 0; k < programs.length; k++) {
    cursor.pos = from;
    output.beginRow();
    const program = programs[k]!;
    if (!runProgram(program, cursor, output)) continue;
    output.endRow(context);
    if (k > 0) {
      programs.splice(k, 1);
      programs.unshift(program);
    }
    return true;
  }
  return false;
}

/** Formats that have the same columns but print them otherwise are one variant. */
function mergeFormats(formats: readonly CatalogueEvent[]): CatalogueEvent[][] {
  const groups = new Map<string, CatalogueEvent[]>();
  for (const event of formats) {
    const fields = planFields(catalogueFormat(event)).map((plan) => `${plan.spec.name}:${plan.spec.type}`);
    const key = `${event.system} ${fields.join(' ')}`;
    const group = groups.get(key);
    if (group) group.push(event);
    else groups.set(key, [event]);
  }
  return [...groups.values()];
}

function makeVariant(formats: readonly CatalogueEvent[], environment: KindEnvironment): Variant {
  const first = formats[0]!;
  const columns: EventColumns[] = formats.map((event) => eventColumns(catalogueFormat(event)));
  const radixes = printedRadixes(columns[0]!);
  const specs = planFields(columns[0]!.format).map((plan) => plan.spec);
  const schema: EventSchema = {
    system: first.system,
    name: first.name,
    id: null,
    fields: specs.map((spec, k) => ({ ...spec, radix: radixes.get(k) ?? spec.radix })),
    formatSource: `catalogue:${first.kernel}`,
    printFmt: first.printFmt === '' ? null : first.printFmt,
    probe: null,
  };
  const { kernelText } = environment;
  const print = isPrint(columns[0]!);
  const printed = print ? [] : columns.map((event) => compilePrintFmt(event, kernelText));
  const keyValues = compileKeyValues(columns[0]!, kernelText);
  const wordings = compileWordings(columns[0]!, printed[0] ?? null, kernelText);
  const programs = (print ? [keyValues, ...wordings] : [...printed, ...wordings, keyValues]).filter(
    (program) => program !== null,
  );
  return { schema, programs, output: new Output(schema, environment.table, environment.strings, environment.full) };
}
