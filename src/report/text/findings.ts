import { formatCount } from '../../base/units.js';
import { startOf, type Analysis } from '../model.js';
import type { Finding } from '../model-findings.js';
import { plural, sinceStart } from '../names.js';
import type { RenderOptions } from '../render.js';
import { wrap } from './layout.js';

/** Evidence lines a finding shows by default. */
const DEFAULT_EVIDENCE = 3;

/** One line a finding that can be grepped for, then why it is said and the events it rests on. */
export function renderFindings(analysis: Analysis, options: RenderOptions): string {
  const start = startOf(analysis.traces);
  const many = analysis.traces.length > 1;
  return analysis.findings.map((finding) => `\n${renderFinding(finding, { start, many, options })}`).join('');
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
    ...(finding.sinceNs === null ? [] : [`at ${sinceStart(finding.sinceNs, start)}`]),
  ].join(' ');
  const head = `${paint(tone, severity)}[${paint('strong', finding.rule)}]${where === '' ? '' : ` ${where}`}: ${finding.title}`;
  const count = finding.count > 1 ? `${formatCount(finding.count)} cases · ` : '';
  const because = finding.thresholds === null ? '' : ` · judged by ${finding.thresholds}`;
  const lines = [wrap(head, width, '  '), wrap(`${count}${finding.certainty}${because}`, width, '  ', '  ')];
  const shown = finding.evidence.slice(0, options.evidence ?? DEFAULT_EVIDENCE);
  for (const e of shown)
    lines.push(paint('faint', `  ${many ? `${e.trace} ` : ''}${e.position}: ${e.text.trimStart()}`));
  const hidden = finding.evidence.length - shown.length;
  if (hidden > 0)
    lines.push(`  ${plural(hidden, 'more event')} of evidence; --evidence ${finding.evidence.length} shows all`);
  if (finding.hint !== null) lines.push(wrap(`hint: ${finding.hint}`, width, '        ', '  '));
  return `${lines.join('\n')}\n`;
}
