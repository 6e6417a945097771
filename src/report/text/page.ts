/** A page of Markdown as text: paragraphs, items and tables fitted to the width, headings marked, code as it is. */
import type { RenderOptions } from '../render.js';
import { wrap } from './layout.js';

/** Renders what rule pages have: headings, paragraphs, flat lists, tables, fenced code. */
export function renderPage(page: string, { paint, width }: Pick<RenderOptions, 'paint' | 'width'>): string {
  const lines: string[] = [];
  let text: string[] = [];
  let inCode = false;
  const flush = (): void => {
    if (text.length > 0) lines.push(fitted(text.join(' '), width));
    text = [];
  };
  for (const line of page.trimEnd().split('\n')) {
    const isFence = line.startsWith('```');
    if (isFence) inCode = !inCode;
    if (isFence || inCode || line === '' || line.startsWith('#') || line.startsWith('|')) {
      flush();
      if (isFence) continue;
      if (inCode) lines.push(`    ${line}`.trimEnd());
      else if (line.startsWith('#')) lines.push(paint('strong', line.replace(/^#+ /, '')));
      else if (line === '') lines.push('');
      else if (!/^[| :-]+$/.test(line)) lines.push(rowText(line, width));
      continue;
    }
    if (/^[-*] /.test(line)) flush();
    text.push(line.trim());
  }
  flush();
  return lines.join('\n');
}

function fitted(text: string, width: number): string {
  return /^[-*] /.test(text) ? wrap(text, width, '    ', '  ') : wrap(text, width, '');
}

/** A row of a table: its cells with a bar between them, `\\|` is a bar within one. */
function rowText(line: string, width: number): string {
  const cells = line
    .trim()
    .slice(1, -1)
    .split(/(?<!\\)\|/);
  return wrap(cells.map((cell) => cell.trim().replaceAll('\\|', '|')).join(' | '), width, '    ', '  ');
}
