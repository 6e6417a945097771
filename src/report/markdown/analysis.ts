import { formatBytes, formatCount } from '../../base/units.js';
import { startOf, type Analysis } from '../model.js';
import { shownFindings, type Finding } from '../model-findings.js';
import { durationOr, plural, sinceStart } from '../names.js';
import type { RenderOptions } from '../render.js';
import type { Table } from '../table.js';
import { unitNote } from '../text/latency.js';
import { verdictOf } from '../verdict.js';
import { drawTable, escapeHtml, escapeMarkdown } from './table.js';

/** Findings that are written out; the table of all stands above them. */
const DETAILED = 20;

/** A summary for a CI page: the verdict as heading, findings as a table, all else folded. */
export function* renderAnalysis(analysis: Analysis, options: RenderOptions): Generator<string> {
  const { word, detail } = verdictOf(analysis);
  const open = new Set(analysis.unavailable.map((u) => u.what)).size;
  yield `## gmemtrace: ${word}: ${detail}\n\n`;
  yield `${analysis.traces.map(traceLine).join('\n')}\n`;
  if (open > 0) yield `\n${plural(open, 'rule or figure', 'rules and figures')} could not be judged (below).\n`;
  if (analysis.findings.length > 0) yield `\n### Findings\n\n${drawTable(findings(analysis, options))}`;
  const listed = shownFindings(analysis.findings, options.limit);
  if (listed.length < analysis.findings.length) {
    yield `\nShowing ${listed.length} of ${formatCount(analysis.findings.length)} findings; \`--limit 0\` shows all.\n`;
  }
  const detailed = shownFindings(listed, options.limit, DETAILED);
  for (const finding of detailed) yield findingDetails(finding, options);
  if (detailed.length < listed.length) {
    yield `\nDetails of ${listed.length - detailed.length} more findings: \`--limit 0\`.\n`;
  }
  const notes = unitNote(options).map((note) => `${escapeMarkdown(note)}\n\n`);
  yield `\n### Conversions\n\n${notes.join('')}${conversions(analysis, options)}`;
  yield `\n${facts(analysis)}\n`;
  yield fold(`VMs (${analysis.vms.length})`, drawTable(vms(analysis)));
  if (analysis.unavailable.length > 0) yield fold(`Could not be judged (${open})`, drawTable(unavailable(analysis)));
  yield losses(analysis);
}

function traceLine(t: Analysis['traces'][number]): string {
  const parts = [
    `\`${t.path}\``,
    `${t.format} ${t.version}`.trimEnd(),
    t.kernel === null ? 'kernel unknown' : `Linux ${t.kernel} ${t.arch ?? ''}`.trimEnd(),
    plural(t.events, 'event'),
    t.lost === 0
      ? 'nothing lost'
      : t.lost === null
        ? `at least ${formatCount(Math.max(1, t.lostAtLeast))} lost`
        : `${formatCount(t.lost)} lost`,
  ];
  return `- ${parts.join(' · ')}`;
}

function findings(analysis: Analysis, options: RenderOptions): Table {
  const start = startOf(analysis.traces);
  return {
    columns: [
      { name: 'severity', align: 'left' },
      { name: 'rule', align: 'left' },
      { name: 'where', align: 'left' },
      { name: 'what', align: 'left' },
      { name: 'count', align: 'right' },
      { name: 'certainty', align: 'left' },
    ],
    rows: shownFindings(analysis.findings, options.limit).map((f) => [
      f.verdict === 'fail' ? f.severity : 'inconclusive',
      f.rule,
      [f.vm === null ? '' : `vm${f.vm}`, f.sinceNs === null ? '' : sinceStart(f.sinceNs, start, options.unit)]
        .join(' ')
        .trim() || null,
      f.title,
      f.count,
      f.certainty,
    ]),
  };
}

function findingDetails(finding: Finding, options: RenderOptions): string {
  const shown = finding.evidence.slice(0, options.evidence ?? 5);
  const lines = shown.map((e) => `${e.position}: ${e.text.trim()}`);
  const rest = finding.evidence.length - shown.length;
  const body = [
    ...finding.details.map((detail) => `- ${escapeMarkdown(detail)}`),
    ...(finding.details.length === 0 ? [] : ['']),
    ...(finding.hint === null ? [] : [`${escapeMarkdown(finding.hint)}\n`]),
    ...(finding.thresholds === null ? [] : [`Judged by ${escapeMarkdown(finding.thresholds)}.\n`]),
    ...(lines.length === 0 ? [] : [`\`\`\`\n${lines.join('\n')}\n\`\`\`\n`]),
    ...(rest > 0 ? [`${plural(rest, 'more event')} of evidence.\n`] : []),
  ];
  return body.length === 0 ? '' : fold(`${finding.rule}: ${finding.title}`, body.join('\n'));
}

function conversions({ conversions: summary }: Analysis, options: RenderOptions): string {
  if (summary.total === null) return 'Unknown: the trace cannot show them.\n';
  if (summary.total === 0) return 'None.\n';
  return drawTable({
    columns: [
      ...['direction', 'origin', 'outcome'].map((name) => ({ name, align: 'left' as const })),
      ...['count', 'pages', 'p50', 'p90', 'p99', 'max'].map((name) => ({ name, align: 'right' as const })),
    ],
    rows: summary.lines.map((line) => [
      line.direction,
      line.origin,
      line.outcome,
      line.count,
      line.pages,
      ...[line.latency.p50, line.latency.p90, line.latency.p99, line.latency.max].map(durationOr(options.unit)),
    ]),
  });
}

function facts(analysis: Analysis): string {
  const { memoryFaults, punches, reboots, references } = analysis;
  const count = (n: number | null | undefined): string => (n === null || n === undefined ? 'unknown' : formatCount(n));
  const bytes = punches.bytes === null ? '' : ` (${formatBytes(punches.bytes)})`;
  return [
    `Memory faults ${count(memoryFaults.total)}`,
    `punched holes ${count(punches.total)}${bytes}`,
    `reboots ${count(reboots?.length)}`,
    `references outstanding ${count(references.outstanding?.length)}`,
  ].join(' · ');
}

function vms(analysis: Analysis): Table {
  return {
    columns: ['VM', 'platform', 'process', 'vCPUs', 'guest_memfds', 'certainty'].map((name) => ({
      name,
      align: 'left',
    })),
    rows: analysis.vms.map((vm) => [
      `vm${vm.id}`,
      vm.platform,
      [vm.pid ?? '', vm.comm ?? ''].join(' ').trim() || null,
      vm.vcpus.map((v) => (v.tid === null ? `${v.index}` : `${v.index} (${v.tid})`)).join(', '),
      vm.gmems.map((id) => `gmem${id}`).join(', '),
      vm.certainty,
    ]),
  };
}

function unavailable(analysis: Analysis): Table {
  return {
    columns: ['what', 'because', 'record next time'].map((name) => ({ name, align: 'left' })),
    rows: analysis.unavailable.map((u) => [u.what, u.missing, u.record]),
  };
}

function losses({ traces }: Analysis): string {
  const rows = traces.flatMap((t) => [
    ...(t.lostStretches === 0 ? [] : [`${t.path}: events lost in ${plural(t.lostStretches, 'stretch', 'stretches')}`]),
    ...t.skipped.map((s) => `${t.path}: ${s.reason}: ${formatCount(s.count)} times, first at ${s.first}`),
  ]);
  if (rows.length === 0) return '\nNothing was lost, everything could be read.\n';
  return fold('Losses', rows.map((row) => `- ${escapeMarkdown(row)}\n`).join(''));
}

function fold(summary: string, body: string): string {
  return `\n<details><summary>${escapeHtml(summary)}</summary>\n\n${body}\n</details>\n`;
}
