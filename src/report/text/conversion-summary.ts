import { formatCount } from '../../base/units.js';
import { drawBar, drawSparkline } from '../histogram.js';
import type { ConversionLine, ConversionSummary, PhaseShare } from '../model-conversions.js';
import { durationOr, plural } from '../names.js';
import type { RenderOptions } from '../render.js';
import { UNKNOWN_CELL } from '../table.js';
import { drawTable, visibleLength, wrapParts } from './layout.js';

/** Narrower than this, p99 makes room for the histogram; `latency` has all percentiles. */
const WIDE = 90;
/** Columns of a histogram at least, and at most (three a decade: five decades). */
const SPARKLINE = { least: 6, most: 15 };

/** Conversions by direction, origin and outcome, then where their time goes. */
export function renderConversionSummary(summary: ConversionSummary, options: RenderOptions): string {
  if (summary.total === null) return 'Conversions    unknown (see below)\n';
  if (summary.total === 0) return 'Conversions    none\n';
  const parts = [
    title(summary, options),
    table(summary, options),
    footnotes(summary, options),
    ...phaseLines(summary.phases, options),
    attempts(summary, options),
  ];
  return `${parts.filter((part) => part !== '').join('\n')}\n`;
}

function table({ lines }: ConversionSummary, options: RenderOptions): string {
  const wide = options.width >= WIDE;
  const took = durationOr(options.unit);
  const row = (line: ConversionLine): string[] => [
    line.direction ?? 'unknown',
    line.origin,
    line.outcome,
    formatCount(line.count),
    line.pages === null ? UNKNOWN_CELL : formatCount(line.pages),
    took(line.latency.p50),
    took(line.latency.p90),
    ...(wide ? [took(line.latency.p99)] : []),
    took(line.latency.max),
  ];
  const rights = Array.from({ length: wide ? 6 : 5 }, () => 'right' as const);
  const figures = drawTable(lines.map(row), {
    head: ['', '', '', 'count', 'pages', 'p50', 'p90', ...(wide ? ['p99'] : []), 'max'],
    aligns: ['left', 'left', 'left', ...rights],
    indent: 1,
  }).split('\n');
  const room = options.width - Math.max(...figures.map(visibleLength)) - 2;
  const sparklines = histograms(lines, room, options.unicode);
  const label = options.unicode ? 'fast…slow' : 'fast-slow';
  const head = label.length <= room ? label : '';
  return figures.map((line, k) => `${line}  ${k === 0 ? head : sparklines[k - 1]!}`.trimEnd()).join('\n');
}

/** One histogram a line, all over the same range of durations. */
function histograms(lines: readonly ConversionLine[], room: number, unicode: boolean): readonly string[] {
  const buckets = lines.flatMap((line) => line.histogram.map((b) => b.index));
  if (buckets.length === 0) return lines.map(() => '');
  const axis = { from: Math.min(...buckets), to: Math.max(...buckets) };
  const width = Math.max(SPARKLINE.least, Math.min(SPARKLINE.most, room));
  return lines.map((line) => drawSparkline(line.histogram, axis, { width, unicode }));
}

function title({ total, certainties }: ConversionSummary, { paint, width }: RenderOptions): string {
  const sure = certainties.map((c) => `${formatCount(c.count)} ${c.certainty}`);
  return wrapParts([`${paint('strong', 'Conversions')}  ${formatCount(total ?? 0)}`, ...sure], ' · ', width, '  ');
}

/** What the figures of the table do not hold. */
function footnotes({ lines }: ConversionSummary, options: RenderOptions): string {
  const unseen = lines.reduce((sum, line) => sum + (line.count - line.latency.count), 0);
  const vmm = lines.some((line) => line.origin === 'vmm' && line.latency.count > 0);
  const notes = [
    ...(vmm ? ['vmm: time of the ioctl, no vCPU waited'] : []),
    ...(unseen > 0 ? [`${formatCount(unseen)} without a time (start or end not seen)`] : []),
  ];
  return notes.length === 0 ? '' : wrapParts([` ${notes[0]!}`, ...notes.slice(1)], ' · ', options.width, '   ');
}

function phaseLines(phases: readonly PhaseShare[], options: RenderOptions): readonly string[] {
  const directions = [...new Set(phases.map((p) => p.direction))];
  return directions.map((direction) => {
    const own = phases.filter((p) => p.direction === direction);
    const sum = own.reduce((all, p) => all + p.ns, 0);
    const shares = own.map((p) => {
      const share = sum === 0 ? 0 : p.ns / sum;
      return `${p.phase.replaceAll('_', ' ').replaceAll('+', ' + ')} ${percent(share)} ${drawBar(share * 10, options.unicode)}`.trimEnd();
    });
    return wrapParts(
      [` time goes (${direction ?? 'unknown'}): ${shares[0]!}`, ...shares.slice(1)],
      ', ',
      options.width,
      '   ',
    );
  });
}

function percent(share: number): string {
  return share > 0 && share < 0.005 ? '<1 %' : `${Math.round(share * 100)} %`;
}

function attempts({ attempts: tries }: ConversionSummary, options: RenderOptions): string {
  if (tries.total === null) return ' attempts (ioctls): unknown (see below)';
  if (tries.total === 0) return '';
  const errnos = tries.byErrno.map((e) => `${e.name} ${formatCount(e.count)}`).join(', ');
  const failed = tries.failed === null ? 'results not seen' : `${formatCount(tries.failed)} failed`;
  return wrapParts(
    [` ${plural(tries.total, 'attempt')} (ioctls)`, `${failed}${errnos === '' ? '' : `: ${errnos}`}`],
    ' · ',
    options.width,
    '   ',
  );
}
