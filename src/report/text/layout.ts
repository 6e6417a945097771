/** Wrapping and tables for terminals: nothing is cut, what does not fit goes to the next line. */
import { createRequire } from 'node:module';
import type CliTable3 from 'cli-table3';

// cli-table3 is CommonJS with `export =`; loaded this way it costs nothing until a table is drawn.
const require = createRequire(import.meta.url);

const ANSI = /\u001b\[[0-9;]*m/g;

/** Columns that a text takes, colours not counted. All our glyphs are one column wide. */
export function visibleLength(text: string): number {
  return [...text.replace(ANSI, '')].length;
}

/** Breaks a text at blanks; lines after the first are indented. A word longer than the width stays whole. */
export function wrap(text: string, width: number, indent: string, first = ''): string {
  return wrapWords(text.split(' '), ' ', { width, indent, first });
}

/** Joins parts with a separator and breaks only between parts. */
export function wrapParts(parts: readonly string[], separator: string, width: number, indent: string): string {
  return wrapWords(parts, separator, { width, indent, first: '' });
}

function wrapWords(
  words: readonly string[],
  separator: string,
  { width, indent, first }: { readonly width: number; readonly indent: string; readonly first: string },
): string {
  const tail = separator.trimEnd();
  const lines: string[] = [];
  let line = first;
  let isFresh = true;
  for (const word of words) {
    if (isFresh) line += word;
    else if (visibleLength(line) + visibleLength(separator) + visibleLength(word) + visibleLength(tail) <= width) {
      line += separator + word;
    } else {
      lines.push(line + tail);
      line = indent + word;
    }
    isFresh = false;
  }
  return [...lines, line].join('\n');
}

export interface TableLayout {
  readonly head?: readonly string[];
  readonly aligns: readonly ('left' | 'right')[];
  /** Blanks before each line. */
  readonly indent: number;
}

/** A compact table without borders, two blanks between columns. */
export function drawTable(rows: readonly (readonly string[])[], layout: TableLayout): string {
  const Table = require('cli-table3') as typeof CliTable3;
  const table = new Table({
    ...(layout.head === undefined ? {} : { head: [...layout.head] }),
    colAligns: [...layout.aligns],
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: ' '.repeat(layout.indent),
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '  ',
    },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
  });
  table.push(...rows.map((row) => [...row]));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd()).join('\n');
}
