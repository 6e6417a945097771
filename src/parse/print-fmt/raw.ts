/** Fields as `name=value`, for events without a print fmt that can be evaluated and for the raw style. */
import { formatHex } from '../../base/units.js';
import type { FieldSpec } from '../model.js';
import { conversionBits, formatInteger, splitFormat, type Conversion } from './conversion.js';
import type { Node, ParsedPrintFmt } from './parser.js';
import { fieldType, longBitsOf, type FieldGetter } from './value.js';

export interface RawField {
  readonly name: string;
  readonly print: (get: FieldGetter) => string;
}

interface FieldFormat {
  readonly conversion: Conversion;
  readonly prefix: string;
}

/**
 * One printer a field, in the order of the format file; an array that lies in several columns is one field. A number that
 * the print fmt prints as it stands has that conversion (`0x%08x`), as `trace-cmd report -R` does it.
 */
export function rawFields(fields: readonly FieldSpec[], parsed: ParsedPrintFmt | null): RawField[] {
  const formats = parsed ? directFormats(parsed) : new Map<string, FieldFormat>();
  const longBits = longBitsOf(fields);
  const names = new Set(fields.map((field) => field.name));
  const result: RawField[] = [];
  for (const field of fields) {
    const element = /^(.+)_(\d+)$/.exec(field.name);
    const isElement = element !== null && names.has(`${element[1]}_0`) && /\[/.test(field.cType);
    if (isElement && element[2] !== '0') continue;
    if (isElement) result.push(arrayField(element[1]!, names));
    else
      result.push({
        name: field.name,
        print: printField(field, formats.get(field.name), { longBits, hasFmt: parsed !== null }),
      });
  }
  return result;
}

function arrayField(name: string, names: ReadonlySet<string>): RawField {
  const columns: string[] = [];
  while (names.has(`${name}_${columns.length}`)) columns.push(`${name}_${columns.length}`);
  const text = (value: bigint | string | null) =>
    typeof value === 'bigint' ? BigInt.asUintN(64, value).toString(16).padStart(2, '0') : (value ?? '?');
  return { name, print: (get) => `ARRAY[${columns.map((column) => text(get(column))).join(', ')}]` };
}

interface Wording {
  readonly longBits: 32 | 64;
  /** The event has a print fmt; else the radix by which a text printed the number counts. */
  readonly hasFmt: boolean;
}

/** Without a conversion of their own pointers and unsigned longs are hexadecimal (libtraceevent: print_event_fields). */
function printField(field: FieldSpec, format: FieldFormat | undefined, wording: Wording): RawField['print'] {
  const { name } = field;
  const { longBits, hasFmt } = wording;
  const type = fieldType(field, longBits);
  const isPointer = field.cType.trim().endsWith('*');
  const isLong = /\blong\b/.test(field.cType) && !/\blong long\b/.test(field.cType);
  const isHex = isPointer || (hasFmt ? isLong && !type?.signed : field.radix === 16);
  const bits = format ? conversionBits(format.conversion, longBits) : 0;
  // a conversion of fewer bits is that of a cast, and would drop the upper ones
  const own = format && type && bits >= type.bits ? format : null;
  const isSigned = own !== null && (own.conversion.type === 'd' || own.conversion.type === 'i');
  return (get) => {
    const value = get(name);
    if (typeof value === 'string') return value;
    if (value === null) return '?';
    // a narrow negative number stays one: in the kernel's cast to unsigned long it would seem to be a huge one
    if (own && (isSigned || value >= 0n || type!.bits >= bits)) {
      const { conversion, prefix } = own;
      const cut = isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
      const text = formatInteger(cut, conversion, Number(conversion.width ?? -1), Number(conversion.precision ?? -1));
      return prefix + text;
    }
    return isHex ? formatHex(BigInt.asUintN(64, value)) : value.toString();
  };
}

/** The conversions of arguments that are a field as it stands, with the `0x` before them. */
function directFormats(parsed: ParsedPrintFmt): Map<string, FieldFormat> {
  const formats = new Map<string, FieldFormat>();
  let before = '';
  let at = 0;
  for (const piece of splitFormat(parsed.format)) {
    if (typeof piece === 'string') {
      before = piece;
      continue;
    }
    if (piece.width === '*') at++;
    if (piece.precision === '*') at++;
    const field = directField(parsed.args[at++]);
    if (field !== null && 'diuxXo'.includes(piece.type) && !formats.has(field)) {
      formats.set(field, { conversion: piece, prefix: before.endsWith('0x') ? '0x' : '' });
    }
    before = '';
  }
  return formats;
}

function directField(node: Node | undefined): string | null {
  if (node?.k === 'cast') return directField(node.arg);
  return node?.k === 'field' ? node.name : null;
}
