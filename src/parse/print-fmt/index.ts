/**
 * Print fmts: the C format string and arguments by which the kernel prints a tracepoint, compiled once to closures that
 * print events from their fields (include/trace/stages/stage3_trace_output.h, kernel/trace/trace_output.c).
 */
import type { FieldSpec } from '../model.js';
import { CONSTANTS } from '../text/constants.js';
import { splitFormat } from './conversion.js';
import { compileNode } from './expressions.js';
import { parsePrintFmt, PrintFmtSyntax, type Node, type ParsedPrintFmt } from './parser.js';
import { rawFields } from './raw.js';
import { renderPieces } from './text.js';
import { longBitsOf, type Context, type FieldGetter } from './value.js';

export type { FieldGetter } from './value.js';
export { rawFields, type RawField } from './raw.js';

export interface PrintFmt {
  /** The event's text as the kernel prints it; fields as `name=value` where the print fmt cannot be evaluated. */
  readonly render: (get: FieldGetter) => string;
  /** The event's fields as `name=value`, in the order of the format file. */
  readonly renderRaw: (get: FieldGetter) => string;
  /** True where `render` prints fields because some argument cannot be evaluated. */
  readonly isRaw: boolean;
  /** What of the print fmt cannot be evaluated, one reason each; a part that is left out or printed as a number, too. */
  readonly unevaluable: readonly string[];
}

/**
 * Compiles a print fmt (without its leading `print fmt: `) for events with these fields. Never throws: what cannot be
 * parsed or evaluated is named in `unevaluable`, and the fields are printed as they are.
 */
export function compilePrintFmt(printFmt: string, fields: readonly FieldSpec[]): PrintFmt {
  const notes = new Set<string>();
  const context = contextOf(printFmt, fields, notes);
  let parsed: ParsedPrintFmt | null = null;
  try {
    parsed = parsePrintFmt(printFmt, context.longBits);
  } catch (error) {
    if (!(error instanceof PrintFmtSyntax)) throw error;
    notes.add(`syntax: ${error.message}`);
  }
  const renderRaw = joinFields(fields, parsed);
  if (!parsed) return { render: renderRaw, renderRaw, isRaw: true, unevaluable: [...notes] };
  const args = parsed.args.map((arg) => compileNode(arg, context));
  const text = renderPieces(splitFormat(parsed.format), args, context);
  if (text.kind === 'unknown') {
    notes.add(text.why);
    return { render: renderRaw, renderRaw, isRaw: true, unevaluable: [...notes] };
  }
  return { render: text.eval, renderRaw, isRaw: false, unevaluable: [...notes] };
}

function contextOf(printFmt: string, fields: readonly FieldSpec[], notes: Set<string>): Context {
  const longBits = longBitsOf(fields);
  return {
    fields: new Map(fields.map((field) => [field.name, field])),
    longBits,
    constants: enumerators(printFmt),
    notes,
  };
}

/**
 * The argument of a print fmt that gives the values of `field` names (`__print_symbolic`), as a function of its own: of
 * kvm_exit's exit_reason `npf`. A value without a name is printed in hex, as the kernel does. null: there is no such
 * argument, or it cannot be evaluated.
 */
export function compileSymbol(
  printFmt: string,
  fields: readonly FieldSpec[],
  field: string,
): ((get: FieldGetter) => string) | null {
  const context = contextOf(printFmt, fields, new Set());
  try {
    const node = parsePrintFmt(printFmt, context.longBits).args.find((arg) => names(arg, field));
    if (node === undefined) return null;
    const compiled = compileNode(node, context);
    return compiled.kind === 'str' ? compiled.eval : null;
  } catch (error) {
    if (error instanceof PrintFmtSyntax) return null;
    throw error;
  }
}

/** Whether an expression holds a table of names for a field. */
function names(node: Node, field: string): boolean {
  switch (node.k) {
    case 'call':
      return node.name === '__print_symbolic' && node.args[0] !== undefined && reads(node.args[0], field);
    case 'cond':
      return (node.yes !== null && names(node.yes, field)) || names(node.no, field);
    default:
      return false;
  }
}

function reads(node: Node, field: string): boolean {
  switch (node.k) {
    case 'field':
      return node.name === field;
    case 'binary':
      return reads(node.a, field) || reads(node.b, field);
    case 'cast':
      return reads(node.arg, field);
    default:
      return false;
  }
}

/**
 * Enumerators have no value in a print fmt. Those of the page flags move between kernels: the table is that of 6.16 to 7.3,
 * which a print fmt shows by naming both PG_owner_2 and PG_dropbehind.
 */
function enumerators(printFmt: string): ReadonlyMap<string, bigint> {
  const isTable = printFmt.includes('PG_owner_2') && printFmt.includes('PG_dropbehind');
  return isTable ? CONSTANTS : new Map([...CONSTANTS].filter(([name]) => !name.startsWith('PG_')));
}

/** Prints fields as `name=value` for an event that has no print fmt at all. */
export function renderFields(fields: readonly FieldSpec[]): (get: FieldGetter) => string {
  return joinFields(fields, null);
}

function joinFields(fields: readonly FieldSpec[], parsed: ParsedPrintFmt | null): (get: FieldGetter) => string {
  const printers = rawFields(fields, parsed);
  return (get) => printers.map((field) => `${field.name}=${field.print(get)}`).join(' ');
}
