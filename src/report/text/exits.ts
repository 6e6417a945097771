import { formatCount, type ClockUnit } from '../../base/units.js';
import { errorPercent, type ExitLine, type GuestExits } from '../exits/guest.js';
import type { UserExits } from '../exits/user.js';
import { durationOr, plural, spanWords } from '../names.js';
import type { RenderOptions } from '../render.js';
import { percent } from '../share.js';
import { drawTable, wrapParts } from './layout.js';

const TITLES = {
  vmexit: 'exits from the guest',
  mmio: 'MMIO accesses',
  ioport: 'I/O port accesses',
  msr: 'MSR accesses',
};

/** Breaks a long name at its underscores, so that the figures of a table keep their room. */
function breakName(name: string, most: number): string {
  if (name.length <= most) return name;
  const cut = name.lastIndexOf('_', most - 1);
  return cut <= 0 ? name : `${name.slice(0, cut + 1)}\n${breakName(name.slice(cut + 1), most)}`;
}

/** `vm1 vcpu0`; what is not known is said to be. */
function ownerOf({ vm, vcpu }: { vm: number | null; vcpu: number | null }, by: readonly string[]): string {
  return by.map((name) => (name === 'vm' ? `vm${vm ?? '?'}` : `vcpu${vcpu ?? '?'}`)).join(' ');
}

/** Rows of a table with a line for each owner before its own, where lines are split. */
function withOwners<L extends { readonly vm: number | null; readonly vcpu: number | null }>(
  lines: readonly L[],
  by: readonly string[],
  rowOf: (line: L) => readonly string[],
): readonly (readonly string[])[] {
  let owner = '';
  return lines.flatMap((line) => {
    const name = ownerOf(line, by);
    const isNew = name !== owner;
    owner = name;
    return [...(isNew ? [[name]] : []), rowOf(line)];
  });
}

const aligned = (head: readonly string[]) =>
  ({ head, aligns: head.map((_, k) => (k === 0 ? 'left' : 'right')), indent: 2 }) as const;

/** Reasons of exits to userspace, and how long the VMM took. */
export function userExitsText(exits: UserExits | null, { paint, width, unit }: RenderOptions): string {
  const title = paint('strong', 'exits to userspace');
  if (exits === null) return `${title} not known: no kvm:kvm_userspace_exit in the trace`;
  if (exits.lines.length === 0) return `${title} none`;
  const rows = withOwners(exits.lines, exits.by, ({ name, count, time }) => [
    breakName(name, 22),
    formatCount(count),
    percent(time.sum ?? 0, exits.totalNs),
    ...[time.mean, time.p50, time.p99, time.max].map(durationOr(unit)),
  ]);
  const open = exits.lines.reduce((sum, line) => sum + line.count - line.time.count, 0);
  const note = open === 0 ? [] : [`  ${plural(open, 'exit')} without a return seen: counted, not in the times`];
  const all = exits.lines.reduce((sum, line) => sum + line.count, 0);
  const head = [`${title} ${formatCount(all)}`, `${spanWords(exits.totalNs, unit)} until KVM_RUN was called again`];
  return [
    wrapParts(head, ' · ', width, '  '),
    drawTable(rows, aligned(['reason', 'count', 'time', 'mean', 'p50', 'p99', 'max'])),
    ...note,
  ].join('\n');
}

/** Exits from the guest as `perf kvm stat report` tells them, and below what had no partner. */
export function guestExitsText(exits: GuestExits, { paint, width, unit }: RenderOptions): string {
  const title = paint('strong', TITLES[exits.event]);
  if (exits.missing.length > 0) {
    const names = exits.missing.map((name) => `kvm:${name}`);
    return `${title} not known: no ${names.join(', ')} in the trace`;
  }
  const wide = width >= 100;
  const rows = withOwners(exits.lines, exits.by, (line) => exitRow(line, exits, { wide, unit }));
  const head = ['', 'samples', 'of all', 'of time', 'min', ...(wide ? ['p50', 'p99'] : []), 'max', 'mean', '+-'];
  const total = [
    `${title} ${plural(exits.samples, 'sample')}`,
    `${spanWords(exits.totalNs, unit)} until the vCPU ran again`,
  ];
  return [
    wrapParts(total, ' · ', width, '  '),
    ...(rows.length === 0 ? [] : [drawTable(rows, aligned(head))]),
    ...unmatchedText(exits, width),
  ].join('\n');
}

function exitRow(
  line: ExitLine,
  { samples, totalNs }: GuestExits,
  { wide, unit }: { readonly wide: boolean; readonly unit: ClockUnit },
): readonly string[] {
  const { name, time } = line;
  return [
    breakName(name, wide ? 30 : 16),
    formatCount(time.count),
    percent(time.count, samples),
    percent(time.sum ?? 0, totalNs),
    ...[time.min, ...(wide ? [time.p50, time.p99] : []), time.max, time.mean].map(durationOr(unit)),
    `${errorPercent(line).toFixed(1)}%`,
  ];
}

function unmatchedText({ event, unmatched }: GuestExits, width: number): readonly string[] {
  const begun = event === 'vmexit' ? 'exit' : 'access';
  const many = event === 'vmexit' ? 'exits' : 'accesses';
  const ended = event === 'vmexit' ? plural(unmatched.unbegun, 'entry', 'entries') : plural(unmatched.unbegun, 'read');
  const parts = [
    ...(unmatched.unended > 0 ? [`${plural(unmatched.unended, begun, many)} that no entry followed`] : []),
    ...(unmatched.unbegun > 0 ? [`${ended} with no exit before`] : []),
    ...(unmatched.early > 0 ? [`${plural(unmatched.early, begun, many)} before the thread’s first entry`] : []),
  ];
  const lines =
    parts.length === 0
      ? []
      : [wrapParts([`  not in these figures: ${parts[0]!}`, ...parts.slice(1)], '; ', width, '    ')];
  if (unmatched.overLoss === 0) return lines;
  return [
    ...lines,
    `  ${plural(unmatched.overLoss, 'sample')} with events lost in between: the time may be that of several`,
  ];
}
