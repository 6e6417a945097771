import { formatCount } from '../../base/units.js';
import { startOf, type Analysis } from '../model.js';
import { shownFindings, type Finding } from '../model-findings.js';
import { plural, sinceStart, spanWords } from '../names.js';
import type { RenderOptions } from '../render.js';
import { wrap, wrapParts } from './layout.js';

/** Evidence lines a finding shows by default. */
const DEFAULT_EVIDENCE = 1;
/** Findings that are shown by default, worst first. */
const DEFAULT_FINDINGS = 25;

/** One line a finding that can be grepped for, then why it is said and the events it rests on. */
export function renderFindings(analysis: Analysis, options: RenderOptions): string {
  const start = startOf(analysis.traces);
  const many = analysis.traces.length > 1;
  const all = analysis.findings;
  const shown = shownFindings(all, options.limit, DEFAULT_FINDINGS);
  const texts = shown.map((finding) => `\n${renderFinding(finding, { start, many, options })}`);
  const rest =
    shown.length < all.length
      ? `\nshowing ${shown.length} of ${formatCount(all.length)} findings; --limit 0 shows all\n`
      : '';
  return `${texts.join('')}${rest}${thresholds(shown, options)}`;
}

/** The parameters that decided, once a rule; durations in words. */
function thresholds(findings: readonly Finding[], options: RenderOptions): string {
  const byRule = new Map(findings.flatMap((f) => (f.thresholds ? [[f.rule, f.thresholds] as const] : [])));
  if (byRule.size === 0) return '';
  const lines = [...byRule].map(([rule, text]) => {
    const words = text.replace(
      /(\w+_ns) = (\d+)/g,
      (_, name: string, ns: string) => `${name} = ${spanWords(Number(ns), options.unit)}`,
    );
    return wrapParts([` ${rule}: ${words.split(', ')[0]!}`, ...words.split(', ').slice(1)], ', ', options.width, '   ');
  });
  return `\n${options.paint('strong', 'Judged by')} (--param RULE.NAME=VALUE changes it)\n${lines.join('\n')}\n`;
}

/** What looked like a finding and is none, with the reason; told with --verbose. */
export function renderDismissed({ dismissed, traces }: Analysis, options: RenderOptions): string {
  if (dismissed.length === 0) return '';
  const start = startOf(traces);
  const lines = dismissed.flatMap(({ rule, vm, title, reason, sinceNs, count }) => {
    const where = [
      vm === null ? '' : ` vm${vm}`,
      sinceNs === null ? '' : ` at ${sinceStart(sinceNs, start, options.unit)}`,
    ].join('');
    return [
      wrap(`[${rule}]${where}: ${title}`, options.width, '   ', ' '),
      wrap(`${count > 1 ? `${formatCount(count)} cases, ` : ''}because: ${reason}`, options.width, '     ', '   '),
    ];
  });
  return `\n${options.paint('strong', 'Looked at and let go')}\n${lines.join('\n')}\n`;
}

interface Place {
  readonly start: bigint | null;
  readonly many: boolean;
  readonly options: RenderOptions;
}

function renderFinding(finding: Finding, { start, many, options }: Place): string {
  const { paint, width } = options;
  const severity = finding.verdict === 'fail' ? finding.severity : 'inconclusive';
  const tone = finding.verdict === 'fail' ? finding.severity : 'warning';
  const where = [
    ...(finding.vm === null ? [] : [`vm${finding.vm}`]),
    ...(finding.vcpu === null ? [] : [`vcpu${finding.vcpu}`]),
    ...(finding.sinceNs === null ? [] : [`at ${sinceStart(finding.sinceNs, start, options.unit)}`]),
  ].join(' ');
  const head = `${paint(tone, severity)}[${paint('strong', finding.rule)}]${where === '' ? '' : ` ${where}`}: ${finding.title}`;
  const count = finding.count > 1 ? `${formatCount(finding.count)} cases · ` : '';
  const lines = [wrap(head, width, '  '), wrap(`${count}${finding.certainty}`, width, '  ', '  ')];
  lines.push(...finding.details.map((detail) => wrap(detail, width, '    ', '  ')));
  const shown = finding.evidence.slice(0, options.evidence ?? DEFAULT_EVIDENCE);
  for (const e of shown) {
    // Column padding of the kernel's text says nothing in a single line.
    const event = `${many ? `${e.trace} ` : ''}${e.position}: ${e.text.trim().replace(/\s+/g, ' ')}`;
    lines.push(paint('faint', wrap(event, width, '    ', '  ')));
  }
  const hidden = finding.evidence.length - shown.length;
  if (hidden > 0)
    lines.push(`  ${plural(hidden, 'more event')} of evidence; --evidence ${finding.evidence.length} shows all`);
  if (finding.hint !== null) lines.push(wrap(`hint: ${finding.hint}`, width, '        ', '  '));
  return `${lines.join('\n')}\n`;
}
