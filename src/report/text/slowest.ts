import { formatSpan } from '../../base/units.js';
import { phaseIndex, type LatencyReport, type PhaseTime, type SlowConversion } from '../latency.js';
import { conversionName, rangeName, sinceStart } from '../names.js';
import type { RenderOptions } from '../render.js';
import { visibleLength, wrapParts } from './layout.js';

/** Letters of the phases in the bars; a capital stands for merged ones. */
const LETTERS = ['u', 'c', 'k', 'r', 'f'] as const;
const WAIT = 'w';
const REST = '.';
const MEANINGS: Readonly<Record<string, string>> = {
  u: 'to userspace',
  c: 'coordination (VMM, before the ioctl)',
  k: 'commit (ioctls)',
  [WAIT]: 'retry wait (refused, until the next try)',
  r: 'resume',
  f: 'first use',
  [REST]: 'in no phase that was seen',
};

/** The slowest, each with its phases as a bar in proportion to time, and what the letters mean. */
export function slowestText(report: LatencyReport, options: RenderOptions): string {
  const longest = report.slowest[0]!.latencyNs;
  const room = Math.max(10, Math.min(60, options.width - 40));
  const legend = new Map<string, string>();
  const lines = report.slowest.map((slow) => {
    const columns = Math.max(1, Math.round((slow.latencyNs / longest) * room));
    const label = `  ${conversionName(slow.id).padEnd(8)} ${formatSpan(slow.latencyNs, options.unit).padStart(8)}  [${drawPhases(slow, columns, legend)}]`;
    const where = [
      `${slow.direction ?? 'unknown'} gpa ${rangeName(slow.gpa, slow.size)}`,
      ...(slow.vm === null ? [] : [`vm${slow.vm}`]),
      ...(slow.vcpu === null ? [] : [`vcpu${slow.vcpu}`]),
      ...(slow.requestNs === null ? [] : [`at ${sinceStart(slow.requestNs, report.startNs, options.unit)}`]),
    ].join(' ');
    const line = `${label}  ${where}`;
    return visibleLength(line) <= options.width ? line : `${label}\n${' '.repeat(11)}${where}`;
  });
  const order = Object.keys(MEANINGS);
  const place = ([letter]: readonly [string, string]): number => order.indexOf(letter.toLowerCase());
  const entries = [...legend].sort((a, b) => place(a) - place(b)).map(([letter, meaning]) => `${letter} ${meaning}`);
  return [
    `${options.paint('strong', 'slowest')} ${report.slowest.length}`,
    ...lines,
    `  ${wrapParts(entries, ' · ', options.width - 2, '  ')}`,
  ].join('\n');
}

/** Pieces of a conversion in order: its phases, cut at the waits between attempts. */
export function pieces({ phases, waits }: SlowConversion): readonly PhaseTime[] {
  return phases.flatMap((phase) => {
    const end = phase.sinceNs + BigInt(phase.ns);
    const within = waits.filter((w) => w.sinceNs >= phase.sinceNs && w.sinceNs + BigInt(w.ns) <= end);
    let at = phase.sinceNs;
    const cut = within.flatMap((wait) => {
      const before = { phase: phase.phase, sinceNs: at, ns: Number(wait.sinceNs - at) };
      at = wait.sinceNs + BigInt(wait.ns);
      return [before, { phase: 'retry_wait', ...wait }];
    });
    return [...cut, { phase: phase.phase, sinceNs: at, ns: Number(end - at) }].filter((piece) => piece.ns > 0);
  });
}

/** One letter a column; what is too short for a column is left out of the picture, not of the table. Fills `legend`. */
function drawPhases(slow: SlowConversion, columns: number, legend: Map<string, string>): string {
  let bar = '';
  let elapsed = 0;
  for (const { phase, ns } of pieces(slow)) {
    elapsed += ns;
    const until = Math.min(columns, Math.round((elapsed / slow.latencyNs) * columns));
    if (until <= bar.length) continue;
    const [letter, meaning] = letterOf(phase);
    legend.set(letter, meaning);
    bar += letter.repeat(until - bar.length);
  }
  if (bar.length < columns) legend.set(REST, MEANINGS[REST]!);
  return bar.padEnd(columns, REST);
}

function letterOf(phase: string): readonly [letter: string, meaning: string] {
  if (phase === 'retry_wait') return [WAIT, MEANINGS[WAIT]!];
  const letter = LETTERS[phaseIndex(phase)]!;
  if (!phase.includes('+')) return [letter, MEANINGS[letter]!];
  return [letter.toUpperCase(), 'merged from here on: a border was not seen'];
}
