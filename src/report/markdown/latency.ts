import { formatCount, formatSpan } from '../../base/units.js';
import { drawHistogram } from '../histogram.js';
import type { LatencyReport } from '../latency.js';
import type { LatencySections } from '../latency-sections.js';
import { latencyTables } from '../latency-tables.js';
import type { RenderOptions } from '../render.js';
import type { CellValue, Table } from '../table.js';
import { guestExitsText, userExitsText } from '../text/exits.js';
import { faultRateText } from '../text/fault-rate.js';
import { unitNote } from '../text/latency.js';
import { sizesText } from '../text/sizes.js';
import { slowestText } from '../text/slowest.js';
import { drawTable, escapeMarkdown } from './table.js';

/** A heading for each part, its sum in a line and its figures as a table; bars and histograms as the terminal has them. */
export function* renderLatency(sections: LatencySections, options: RenderOptions): Generator<string> {
  const { conversions, sizes, userExits, guestExits, memoryFaults } = sections;
  const tables = new Map(latencyTables(sections).map((one) => [one.part, one.table]));
  const tableOf = (name: string): string => {
    const table = tables.get(name)!;
    return table.rows.length === 0 ? '' : `\n${drawTable(inWords(table, options))}`;
  };
  // Sentences are not broken here, Markdown does it; what the text has as title is the heading.
  const plain: RenderOptions = { ...options, paint: (_tone, text) => text, width: 100 };
  const words: RenderOptions = { ...plain, width: 10_000, paint: (tone, text) => (tone === 'strong' ? '' : text) };
  const parts = [
    ...unitNote(options).map((note) => `${sentence(note)}\n`),
    ...(conversions === undefined
      ? []
      : [`### Conversions\n${tableOf('conversions')}${belowConversions(conversions, plain)}`]),
    ...(sizes === undefined ? [] : [part('Sizes', sizesText(sizes, words).split('\n'), tableOf('sizes'))]),
    ...(userExits === undefined
      ? []
      : [part('Exits to userspace', [headOf(userExitsText(userExits, words))], tableOf('user_exits'))]),
    ...(guestExits === undefined
      ? []
      : [part('Exits from the guest', [headOf(guestExitsText(guestExits, words))], tableOf('guest_exits'))]),
    ...(memoryFaults === undefined ? [] : [`### Memory faults\n${block(faultRateText(memoryFaults, plain))}`]),
  ];
  for (const [k, text] of parts.entries()) yield `${k === 0 ? '' : '\n'}${text}`;
}

const headOf = (text: string): string => text.split('\n')[0]!;
const sentence = (text: string): string => escapeMarkdown(text.trim().replace(/^./, (first) => first.toUpperCase()));

/** The first line of a part's text is its sum, the last one (where there are more) what follows from it. */
function part(title: string, [sum, ...more]: readonly string[], table: string): string {
  const last = more.at(-1);
  const below = last === undefined ? '' : `\n${sentence(last)}\n`;
  return `### ${title}\n\n${sentence(sum!)}\n${table}${below}`;
}

const block = (text: string): string => `\n\`\`\`\n${text}\n\`\`\`\n`;

function belowConversions(report: LatencyReport, options: RenderOptions): string {
  const { groups, slowest, leftOut } = report;
  const histograms = groups.map(({ key, histogram }) => {
    const name = key.map((value) => value ?? 'unknown').join(' ');
    return [name, ...drawHistogram(histogram, { ...options, width: 76 })].join('\n');
  });
  const left = leftOut.map((l) => `${formatCount(l.count)} ${l.reason}`).join('; ');
  return [
    groups.length === 0 ? '\nNo conversion with a known latency.\n' : '',
    slowest.length === 0 ? '' : block(slowestText(report, options)),
    groups.length === 0
      ? ''
      : `\n<details><summary>Histograms</summary>\n${block(histograms.join('\n\n'))}\n</details>\n`,
    left === '' ? '' : `\nNot in these figures: ${escapeMarkdown(left)}\n`,
  ].join('');
}

/** Durations and shares as people read them; their columns lose the unit. */
function inWords({ columns, rows }: Table, { unit }: RenderOptions): Table {
  const cellOf = (name: string, value: CellValue): CellValue => {
    if (typeof value !== 'number') return value;
    if (name.endsWith('_ns')) return formatSpan(value, unit);
    if (name.endsWith('_percent')) return `${value.toFixed(1)}%`;
    return Number.isInteger(value) ? formatCount(value) : Number(value.toPrecision(3));
  };
  const shown = columns.map((c, k) => ({ ...c, k })).filter(({ name }) => unit === 'ns' || name !== 'pages_per_s');
  return {
    columns: shown.map(({ name, align }) => ({ name: wordsOf(name), align })),
    rows: rows.map((row) => shown.map(({ name, k }) => cellOf(name, row[k]!))),
  };
}

const NAMES: Readonly<Record<string, string>> = {
  p99_9_ns: 'p99.9',
  samples_percent: 'of all',
  time_percent: 'of time',
  error_percent: '+-',
};

/** As the text has them: `mean_ns` → `mean`, `exits_per_page` → `exits/page`. */
function wordsOf(name: string): string {
  return NAMES[name] ?? name.replace(/_ns$/, '').replace('_per_', '/').replaceAll('_', ' ');
}
