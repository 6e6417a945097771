import { styleText } from 'node:util';
import type { Paint } from '../report/render.js';
import type { CliIo, OutStream } from './command.js';

const STYLES = {
  error: ['red', 'bold'],
  warning: ['yellow', 'bold'],
  info: ['cyan'],
  good: ['green'],
  strong: ['bold'],
  faint: ['dim'],
} as const;

/**
 * Whether a stream takes colour: a terminal that is not dumb and NO_COLOR unset; FORCE_COLOR and --no-color overrule
 * (no-color.org, force-color.org).
 */
export function hasColor(stream: OutStream, env: CliIo['env'], wanted: boolean): boolean {
  if (!wanted) return false;
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined && forced !== '') return forced !== '0';
  if (env['NO_COLOR']) return false;
  return stream.isTTY === true && env['TERM'] !== 'dumb';
}

/** Painter of a stream; without colour the text goes through as it is. */
export function painter(color: boolean): Paint {
  if (!color) return (_style, text) => text;
  return (style, text) => styleText([...STYLES[style]], text, { validateStream: false });
}

/** Columns of a stream: COLUMNS, the terminal's own, else 100 for files and pipes; never under 40. */
export function widthOf(stream: OutStream, env: CliIo['env']): number {
  const named = Number(env['COLUMNS']);
  const width = Number.isInteger(named) && named > 0 ? named : stream.columns || 100;
  return Math.max(40, width);
}

/** Whether the locale shows characters beyond ASCII; a locale that is not set is taken to be UTF-8. */
export function hasUnicode(env: CliIo['env']): boolean {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return locale === '' || locale === 'C' || locale === 'POSIX' || /utf-?8/i.test(locale)
    ? env['TERM'] !== 'linux'
    : false;
}
