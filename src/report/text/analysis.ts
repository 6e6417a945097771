import { formatBytes, formatCount } from '../../base/units.js';
import { startOf, type Analysis, type TraceSummary } from '../model.js';
import type { GmemSummary, VmSummary } from '../model-identity.js';
import { plural, sinceStart, spanWords, unitName } from '../names.js';
import type { RenderOptions } from '../render.js';
import { verdictOf } from '../verdict.js';
import { renderConversionSummary } from './conversion-summary.js';
import { renderDismissed, renderFindings } from './findings.js';
import { unitNote } from './latency.js';
import { wrap, wrapParts } from './layout.js';

/** The report that people read: verdict first, then who and how fast, at the end what could not be known. */
export function* renderAnalysis(analysis: Analysis, options: RenderOptions): Generator<string> {
  for (const trace of analysis.traces) yield `${traceLine(trace, options)}\n`;
  yield `\n${verdictLine(analysis, options)}\n`;
  yield renderFindings(analysis, options);
  if (options.verbose) yield renderDismissed(analysis, options);
  yield `\n${identityBlock(analysis, options)}\n`;
  yield `\n${unitNote(options)
    .map((note) => `${wrap(note, options.width, '  ')}\n`)
    .join('')}`;
  yield renderConversionSummary(analysis.conversions, options);
  yield `\n${factsBlock(analysis, options)}\n`;
  yield unavailableBlock(analysis, options);
  yield `\n${lossesBlock(analysis, options)}\n`;
}

/** What a trace is, in one line; with `verbose` also what its reader noted. */
export function traceLine(trace: TraceSummary, options: RenderOptions): string {
  const span = trace.startNs === null || trace.endNs === null ? null : Number(trace.endNs - trace.startNs);
  const isTime = trace.clockUnit === 'ns';
  const parts = [
    `${options.paint('strong', trace.path)}  ${[trace.format, trace.version].filter((s) => s !== '').join(' ')}`,
    trace.kernel === null ? 'kernel unknown' : `Linux ${trace.kernel} ${trace.arch ?? ''}`.trimEnd(),
    trace.clock === 'unknown'
      ? 'clock not named'
      : `clock ${trace.clock}${isTime ? '' : ` (in ${unitName(trace.clockUnit)})`}`,
    ...(span === null ? [] : [spanWords(span, trace.clockUnit)]),
    plural(trace.events, 'event'),
    lossWords(trace),
    ...(options.verbose && trace.recorder !== null ? [trace.recorder] : []),
  ];
  const notes = options.verbose ? trace.notes.map((note) => wrap(note, options.width, '    ', '  ')) : [];
  return [wrapParts(parts, ' · ', options.width, '  '), ...notes].join('\n');
}

function lossWords(trace: TraceSummary): string {
  const skipped = trace.skipped.length === 0 ? '' : `, parts unreadable`;
  if (trace.lost === null) return `at least ${formatCount(Math.max(1, trace.lostAtLeast))} lost${skipped}`;
  if (trace.lost > 0) return `${formatCount(trace.lost)} lost${skipped}`;
  if (trace.lostStretches > 0) return `may lack events${skipped}`;
  return skipped === '' ? 'nothing lost' : 'parts unreadable';
}

function verdictLine(analysis: Analysis, { paint, width }: RenderOptions): string {
  const { tone, word, detail } = verdictOf(analysis);
  const rules = new Set(analysis.unavailable.map((u) => u.what)).size;
  const left = `${paint(tone, word)}  ${detail}`;
  if (rules === 0) return left;
  const right = `not judged: ${rules} (see below)`;
  const gap = width - word.length - 2 - detail.length - right.length;
  return gap >= 2 ? left + ' '.repeat(gap) + right : `${left}\n  ${right}`;
}

function identityBlock(analysis: Analysis, options: RenderOptions): string {
  const { vms } = analysis;
  if (vms.length === 0) return 'VMs     none could be told apart';
  const lines = vms.map((vm, k) => {
    const [first, ...rest] = vmParts(vm, analysis);
    return wrapParts(
      [`${k === 0 ? 'VMs  ' : '     '}vm${vm.id}  ${first!}`, ...rest],
      ' · ',
      options.width,
      '          ',
    );
  });
  if (options.verbose) lines.push(...analysis.gmems.map((gmem) => bindingLines(gmem, options)));
  return lines.join('\n');
}

function vmParts(vm: VmSummary, analysis: Analysis): string[] {
  const gmems = analysis.gmems.filter((g) => vm.gmems.includes(g.id));
  const memory = gmems.map((g) => {
    const slots = new Set(g.bindings.flatMap((b) => (b.slot === null ? [] : [b.slot]))).size;
    const size = g.size === null ? '' : ` ${formatBytes(Number(g.size))}`;
    const bound = g.bindings.length === 0 ? '' : ', slots not seen';
    return `gmem${g.id}${size}${slots === 0 ? bound : ` in ${plural(slots, 'slot')}`}`;
  });
  return [
    vm.platform ?? 'platform unknown',
    [vm.pid === null ? 'pid unknown' : `pid ${vm.pid}`, vm.comm ?? ''].join(' ').trimEnd(),
    plural(vm.vcpus.length, 'vCPU'),
    memory.length > 4 ? `${memory.length} guest_memfds` : memory.join(', ') || 'no guest_memfd seen',
    vm.certainty,
  ];
}

function bindingLines(gmem: GmemSummary, options: RenderOptions): string {
  const bindings = gmem.bindings.map((b) => {
    const size = b.size === null ? 'size unknown' : formatBytes(Number(b.size));
    return `slot ${b.slot ?? '?'}: gpa 0x${b.gpa.toString(16)} = offset 0x${b.offset.toString(16)}, ${size} (${b.certainty})`;
  });
  const inode = gmem.inode === null ? '' : `inode ${gmem.inode}`;
  return wrapParts([`  gmem${gmem.id} ${inode}`.trimEnd(), ...bindings], ' · ', options.width, '    ');
}

function factsBlock(analysis: Analysis, options: RenderOptions): string {
  return [faultFact(analysis, options), ...otherFacts(analysis, options)].join('\n');
}

function faultFact({ memoryFaults }: Analysis, options: RenderOptions): string {
  const { total, byVm, byCause } = memoryFaults;
  if (total === null) return 'Memory faults  unknown (see below)';
  if (total === 0) return 'Memory faults  none';
  const toPrivate = byVm.reduce((sum, v) => sum + v.toPrivate, 0);
  const toShared = byVm.reduce((sum, v) => sum + v.toShared, 0);
  const parts = [
    `Memory faults  ${formatCount(total)}`,
    `wanted private ${formatCount(toPrivate)}, shared ${formatCount(toShared)}`,
    `cause: ${byCause.map((c) => `${c.cause} ${formatCount(c.count)}`).join(', ')}`,
    ...(byVm.length > 1 ? [byVm.map((v) => `${v.vm === null ? 'no VM' : `vm${v.vm}`} ${v.count}`).join(', ')] : []),
  ];
  return wrapParts(parts, ' · ', options.width, '  ');
}

function otherFacts(analysis: Analysis, options: RenderOptions): string[] {
  const { punches, reboots, references } = analysis;
  const start = startOf(analysis.traces);
  const punched = punches.bytes === null ? '' : ` (${formatBytes(punches.bytes)})`;
  const reboot = (r: NonNullable<Analysis['reboots']>[number]): string => {
    const left = r.sharedPages === null ? '' : `, ${plural(r.sharedPages, 'page')} left shared`;
    return `${r.vm === null ? '' : `vm${r.vm} `}at ${sinceStart(r.tsNs, start, options.unit)} (${r.certainty}${left})`;
  };
  const lines = [
    punches.total === null
      ? 'Punched holes  unknown (see below)'
      : `Punched holes  ${punches.total === 0 ? 'none' : `${formatCount(punches.total)}${punched}`}`,
    reboots === null
      ? 'Reboots        unknown (see below)'
      : wrapParts(
          reboots.length === 0 ? ['Reboots        none'] : [`Reboots        ${reboots.length}`, ...reboots.map(reboot)],
          ' · ',
          options.width,
          '  ',
        ),
  ];
  return [...lines, referenceFact(references, options)];
}

function referenceFact({ outstanding, untilTeardown }: Analysis['references'], options: RenderOptions): string {
  if (outstanding === null) return 'References     unknown (see below)';
  const late = untilTeardown === 0 ? [] : [`${formatCount(untilTeardown)} dropped only when their VM or process ended`];
  if (outstanding.length === 0) {
    return wrapParts(['References     none outstanding at the end', ...late], ' · ', options.width, '  ');
  }
  const holders = new Set(outstanding.map((r) => `${r.holder.task ?? 'unknown task'}-${r.holder.tid ?? '?'}`));
  const bytes = outstanding.reduce((sum, r) => sum + r.size, 0);
  const blocking = outstanding.filter((r) => r.blocksConversion !== null).length;
  const parts = [
    `References     ${formatCount(outstanding.length)} outstanding (${formatBytes(bytes)})`,
    `${formatCount(blocking)} in the way of a conversion`,
    `held by ${[...holders].slice(0, 4).join(', ')}${holders.size > 4 ? ` and ${holders.size - 4} more` : ''}`,
    ...late,
  ];
  return wrapParts(parts, ' · ', options.width, '  ');
}

function unavailableBlock({ unavailable }: Analysis, options: RenderOptions): string {
  if (unavailable.length === 0) return '';
  const byCause = new Map<string, { what: string[]; missing: string; record: string }>();
  for (const { what, missing, record } of unavailable) {
    const key = `${missing}\n${record}`;
    const entry = byCause.get(key) ?? { what: [], missing, record };
    entry.what.push(what);
    byCause.set(key, entry);
  }
  const lines = [...byCause.values()].flatMap(({ what, missing, record }) => [
    wrapParts([` ${what[0]!}`, ...what.slice(1)], ', ', options.width, '   '),
    wrap(`because: ${missing}`, options.width, '     ', '   '),
    ...(record === '' ? [] : [wrap(`record: ${record}`, options.width, '     ', '   ')]),
  ]);
  return `\n${options.paint('strong', 'Could not be judged')}\n${lines.join('\n')}\n`;
}

function lossesBlock({ traces }: Analysis, options: RenderOptions): string {
  const lines = traces.flatMap((trace) => {
    const where = traces.length > 1 ? `${trace.path}: ` : '';
    const lost =
      trace.lostStretches === 0
        ? []
        : [
            `${where}${trace.lost === null ? `at least ${formatCount(Math.max(1, trace.lostAtLeast))}` : formatCount(trace.lost)} events lost in ` +
              `${plural(trace.lostStretches, 'stretch', 'stretches')} of single CPUs; nothing that overlaps them is said to be observed`,
          ];
    const skipped = trace.skipped.map((s) => `${where}${s.reason}: ${formatCount(s.count)} times, first at ${s.first}`);
    return [...lost, ...skipped];
  });
  if (lines.length === 0) return 'Losses  nothing was lost, everything could be read';
  const blocks = lines.map((line) => wrap(line, options.width, '   ', ' '));
  return `${options.paint('strong', 'Losses')}\n${blocks.join('\n')}`;
}
