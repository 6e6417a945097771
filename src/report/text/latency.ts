import { formatCount, formatDuration } from '../../base/units.js';
import { drawHistogram } from '../histogram.js';
import { phaseIndex, type LatencyGroup, type LatencyReport, type SlowConversion } from '../latency.js';
import { conversionName, durationOr, plural, rangeName, sinceStart } from '../names.js';
import { PHASES } from '../phases.js';
import type { RenderOptions } from '../render.js';
import type { Stats } from '../stats.js';
import { drawTable, visibleLength, wrapParts } from './layout.js';

/** Letters of the phases in the bars of the slowest. */
const LETTERS = ['u', 'c', 'k', 'r', 'f'] as const;
const MEANINGS = [
  'to userspace',
  'coordination (VMM, before the ioctl)',
  'commit (ioctls and waits between them)',
  'resume',
  'first use',
] as const;

/** Percentiles whole and by phase, a histogram for each group, then the slowest with their phases. */
export function* renderLatency(report: LatencyReport, options: RenderOptions): Generator<string> {
  if (report.groups.length === 0) yield 'no conversion with a known latency\n';
  for (const [k, group] of report.groups.entries()) yield `${k === 0 ? '' : '\n'}${groupText(group, options)}\n`;
  if (report.slowest.length > 0) yield `\n${slowestText(report, options)}\n`;
  if (report.leftOut.length > 0) {
    const parts = report.leftOut.map((l) => `${formatCount(l.count)} ${l.reason}`);
    yield `\n${wrapParts([`not in these figures: ${parts[0]!}`, ...parts.slice(1)], '; ', options.width, '  ')}\n`;
  }
}

function groupText(group: LatencyGroup, options: RenderOptions): string {
  const name = group.key.map((value) => value ?? 'unknown').join(' ');
  const { mean, min } = group.whole;
  const head = [
    options.paint('strong', name),
    plural(group.count, 'conversion'),
    ...(group.pages === null ? [] : [plural(group.pages, 'page')]),
    `mean ${durationOr(mean)}`,
    `fastest ${durationOr(min)}`,
  ];
  const wide = options.width >= 72;
  const row = (label: string, s: Stats): string[] => [
    label,
    ...[s.p50, s.p90, s.p99, ...(wide ? [s.p999] : []), s.max].map(durationOr),
    ...(s.count === group.count ? [''] : [`of ${formatCount(s.count)}`]),
  ];
  const rows = [row('whole', group.whole), ...group.phases.map((p) => row(p.phase.replaceAll('+', ' + '), p))];
  const table = drawTable(rows, {
    head: ['', 'p50', 'p90', 'p99', ...(wide ? ['p99.9'] : []), 'max', ''],
    aligns: ['left', 'right', 'right', 'right', 'right', ...(wide ? ['right' as const] : []), 'left'],
    indent: 2,
  });
  const merged = group.phases.some((p) => p.phase.includes('+'))
    ? ['  a + b: the border between the two phases was not seen in the trace']
    : [];
  const chart = drawHistogram(group.histogram, Math.min(options.width, 76), options.unicode).map((line) => `  ${line}`);
  return [wrapParts(head, ' · ', options.width, '  '), table, ...merged, ...chart].join('\n');
}

function slowestText(report: LatencyReport, options: RenderOptions): string {
  const longest = report.slowest[0]!.latencyNs;
  const room = Math.max(10, Math.min(40, options.width - 40));
  const used = new Set<number>();
  const lines = report.slowest.map((slow) => {
    const bar = phaseBar(slow, { longest, room, used });
    const label = `  ${conversionName(slow.id).padEnd(8)} ${formatDuration(slow.latencyNs).padStart(8)}  [${bar}]`;
    const where = [
      `${slow.direction ?? 'unknown'} gpa ${rangeName(slow.gpa, slow.size)}`,
      `${slow.vm === null ? '' : `vm${slow.vm} `}${slow.vcpu === null ? '' : `vcpu${slow.vcpu} `}`.trimEnd(),
      ...(slow.requestNs === null ? [] : [`at ${sinceStart(slow.requestNs, report.startNs)}`]),
    ].filter((part) => part !== '');
    const line = `${label}  ${where.join(' ')}`;
    return visibleLength(line) <= options.width ? line : `${label}\n${' '.repeat(11)}${where.join(' ')}`;
  });
  const legend = [...used].sort().map((k) => `${LETTERS[k]!} ${MEANINGS[k]!}`);
  const head = `${options.paint('strong', 'slowest')} ${report.slowest.length}`;
  return [
    head,
    ...lines,
    wrapParts(
      legend.map((l, k) => (k === 0 ? `  ${l}` : l)),
      ' · ',
      options.width,
      '  ',
    ),
  ].join('\n');
}

interface BarScale {
  readonly longest: number;
  readonly room: number;
  /** Phases that were drawn, for the legend. */
  readonly used: Set<number>;
}

/** Letters in proportion to time; a phase too short for a column is left out of the picture, not of the table. */
function phaseBar(slow: SlowConversion, { longest, room, used }: BarScale): string {
  const columns = Math.max(1, Math.round((slow.latencyNs / longest) * room));
  let bar = '';
  let elapsed = 0;
  for (const { phase, ns } of slow.phases) {
    elapsed += ns;
    const k = phaseIndex(phase);
    const until = Math.min(columns, Math.round((elapsed / slow.latencyNs) * columns));
    if (k < 0 || k >= PHASES.length || until <= bar.length) continue;
    used.add(k);
    bar += LETTERS[k]!.repeat(until - bar.length);
  }
  return bar;
}
