import { formatCount } from '../../base/units.js';
import { drawHistogram } from '../histogram.js';
import type { LatencyGroup, LatencyReport } from '../latency.js';
import type { LatencySections } from '../latency-sections.js';
import { durationOr, plural, unitName } from '../names.js';
import type { RenderOptions } from '../render.js';
import type { Stats } from '../stats.js';
import { guestExitsText, userExitsText } from './exits.js';
import { faultRateText } from './fault-rate.js';
import { drawTable, wrap, wrapParts } from './layout.js';
import { sizesText } from './sizes.js';
import { slowestText } from './slowest.js';

/** Percentiles whole and by phase, a histogram for each group, the slowest with their phases; sizes, exits, memory faults. */
export function* renderLatency(sections: LatencySections, options: RenderOptions): Generator<string> {
  const { conversions, sizes, userExits, guestExits, memoryFaults } = sections;
  const parts = [
    ...unitNote(options).map((note) => wrap(note, options.width, '  ')),
    ...(conversions === undefined ? [] : conversionParts(conversions, options)),
    ...(sizes === undefined ? [] : [sizesText(sizes, options)]),
    ...(userExits === undefined ? [] : [userExitsText(userExits, options)]),
    ...(guestExits === undefined ? [] : [guestExitsText(guestExits, options)]),
    ...(memoryFaults === undefined ? [] : [faultRateText(memoryFaults, options)]),
  ];
  for (const [k, part] of parts.entries()) yield `${k === 0 ? '' : '\n'}${part}\n`;
}

/** What figures are where the clock counts no time; empty where it does. */
export function unitNote({ unit }: Pick<RenderOptions, 'unit'>): readonly string[] {
  if (unit === 'ns') return [];
  return [`durations are in ${unitName(unit)} of the trace’s clock, not in time (record -C mono)`];
}

function conversionParts(report: LatencyReport, options: RenderOptions): readonly string[] {
  const groups = report.groups.map((group) => groupText(group, options));
  const left = report.leftOut.map((l) => `${formatCount(l.count)} ${l.reason}`);
  return [
    ...(groups.length === 0 ? [noneText(report)] : groups),
    ...(report.slowest.length === 0 ? [] : [slowestText(report, options)]),
    ...(left.length === 0
      ? []
      : [wrapParts([`not in these figures: ${left[0]!}`, ...left.slice(1)], '; ', options.width, '  ')]),
  ];
}

function noneText({ where, leftOut }: LatencyReport): string {
  return where !== null && leftOut.length === 0
    ? `no conversion fits --where ${where}`
    : 'no conversion with a known latency';
}

/** Three digits: `255`, `12.3`, `0.250`. */
function rate(value: number): string {
  if (value === 0) return '0';
  return value >= 1000 ? formatCount(Math.round(value)) : value.toPrecision(3);
}

function groupText(group: LatencyGroup, options: RenderOptions): string {
  const { pagesPerSecond, exitsPerPage } = group;
  const head = [
    options.paint('strong', group.key.map((value) => value ?? 'unknown').join(' ')),
    plural(group.count, 'conversion'),
    ...(group.pages === null ? [] : [plural(group.pages, 'page')]),
    ...(pagesPerSecond === null || options.unit !== 'ns' ? [] : [`${rate(pagesPerSecond)} pages/s`]),
    ...(exitsPerPage === null ? [] : [`${rate(exitsPerPage)} exits/page`]),
    `fastest ${durationOr(options.unit)(group.whole.min)}`,
  ];
  const merged = group.phases.some((p) => p.phase.includes('+'))
    ? ['  a + b: the border between the two phases was not seen in the trace']
    : [];
  const chart = drawHistogram(group.histogram, { ...options, width: Math.min(options.width, 76) }).map(
    (line) => `  ${line}`,
  );
  return [wrapParts(head, ' · ', options.width, '  '), phaseTable(group, options), ...merged, ...chart].join('\n');
}

function phaseTable(group: LatencyGroup, { width, unit }: RenderOptions): string {
  const wide = width >= 80;
  const row = (label: string, s: Stats): string[] => [
    label,
    formatCount(s.count),
    ...[...(wide ? [s.mean] : []), s.p50, s.p90, s.p99, ...(wide ? [s.p999] : []), s.max].map(durationOr(unit)),
  ];
  // Merged names are long: in 80 columns each part has its line.
  const named = (phase: string): string => phase.replaceAll('+', width >= 100 ? ' + ' : ' +\n');
  const rows = [
    row('whole', group.whole),
    ...group.phases.flatMap((p) => [
      row(named(p.phase), p),
      ...(p.phase.includes('commit') && group.retryWait.count > 0 ? [row(' retry_wait', group.retryWait)] : []),
    ]),
  ];
  const head = ['', 'count', ...(wide ? ['mean'] : []), 'p50', 'p90', 'p99', ...(wide ? ['p99.9'] : []), 'max'];
  return drawTable(rows, { head, aligns: head.map((_, k) => (k === 0 ? 'left' : 'right')), indent: 2 });
}
