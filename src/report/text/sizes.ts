import { formatCount } from '../../base/units.js';
import { drawBar } from '../histogram.js';
import { plural, spanWords } from '../names.js';
import type { RenderOptions } from '../render.js';
import { percent } from '../share.js';
import { sizeName, type SizeBucket, type Sizes } from '../sizes.js';
import { drawTable, wrap, wrapParts } from './layout.js';

/** A histogram of sizes; the part of a bar that could have been merged is drawn lighter. */
export function sizesText(sizes: Sizes, options: RenderOptions): string {
  const head = [
    `${options.paint('strong', 'sizes')} ${plural(sizes.count, 'conversion')}`,
    plural(sizes.pages, 'page'),
    ...(sizes.unknown === 0 ? [] : [`${formatCount(sizes.unknown)} of unknown size`]),
  ];
  if (sizes.count === 0) return wrapParts(head, ' · ', options.width, '  ');
  const most = Math.max(...sizes.buckets.map((b) => b.count));
  const room = Math.max(8, Math.min(options.width, 76) - 46);
  const rows = sizes.buckets.map((b) => [
    sizeName(b),
    formatCount(b.count),
    formatCount(b.pages),
    percent(b.mergeable, b.count),
    barOf(b, (b.count / most) * room, options.unicode),
  ]);
  const table = drawTable(rows, {
    head: ['pages each', 'count', 'pages', 'mergeable', ''],
    aligns: ['left', 'right', 'right', 'right', 'left'],
    indent: 2,
  });
  return [wrapParts(head, ' · ', options.width, '  '), table, mergeText(sizes, options)].join('\n');
}

function barOf({ count, mergeable }: SizeBucket, length: number, unicode: boolean): string {
  const light = Math.round((mergeable / count) * length);
  return (unicode ? '▒' : ':').repeat(light) + drawBar(length - light, unicode);
}

function mergeText({ mergeable, count, runs, limits }: Sizes, { width, unicode, unit }: RenderOptions): string {
  const rule = `(rule small-conversions: ${limits.requests} or more in a row over adjacent gpas, of at most ${limits.pages} pages, at most ${spanWords(limits.gapNs, unit)} apart)`;
  const merged =
    mergeable === 0
      ? 'none could have been merged'
      : `${unicode ? '▒' : ':'} ${percent(mergeable, count)}: ${plural(mergeable, 'request')} that ${formatCount(runs)} could have done`;
  return wrap(`${merged} ${rule}`, width, '    ', '  ');
}
