/** Words for things that several outputs name in the same way. */
import { formatBytes, formatHex, formatSeconds, formatSpan, type ClockUnit } from '../base/units.js';
import { UNKNOWN_CELL } from './table.js';

/** `vm1`, or a dash where it is not known. */
export function vmName(id: number | null): string {
  return id === null ? UNKNOWN_CELL : `vm${id}`;
}

/** `gmem1`, or a dash where it is not known. */
export function gmemName(id: number | null): string {
  return id === null ? UNKNOWN_CELL : `gmem${id}`;
}

/** `conv17`. */
export function conversionName(id: number): string {
  return `conv${id}`;
}

/** Durations in the unit of the trace's clock, without its name where that is not ns; a dash where one is not known. */
export function durationOr(unit: ClockUnit): (value: number | null) => string {
  return (value) => (value === null ? UNKNOWN_CELL : formatSpan(value, unit));
}

/** A unit in the plural: `cycles`, `ticks`, `counts`. */
export function unitName(unit: ClockUnit): string {
  return unit === 'count' ? 'counts' : unit;
}

/** A duration within a sentence: `1.03 s`, `12.4 M cycles`, `31 ticks`, `7 counts`. */
export function spanWords(value: number, unit: ClockUnit): string {
  return unit === 'ns' ? formatSpan(value, unit) : `${formatSpan(value, unit)} ${unitName(unit)}`;
}

/** `0x100045000 +16 KiB`; parts that are not known are left out. */
export function rangeName(start: bigint | null, size: bigint | number | null): string {
  if (start === null) return size === null ? UNKNOWN_CELL : `${formatBytes(Number(size))} somewhere`;
  return size === null ? formatHex(start) : `${formatHex(start)} +${formatBytes(Number(size))}`;
}

/** A stamp as the trace has it and as time since the first event: `57.311000123 s`, `+1.204 s`; of another unit `319805065001`, `+1.20 M`. */
export function sinceStart(stamp: bigint, start: bigint | null, unit: ClockUnit): string {
  if (start === null) return unit === 'ns' ? `${formatSeconds(stamp)} s` : String(stamp);
  const delta = Number(stamp - start);
  return delta < 0 ? `-${formatSpan(-delta, unit)}` : `+${formatSpan(delta, unit)}`;
}

/** `1 error`, `3 errors`. */
export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ',')} ${count === 1 ? noun : many}`;
}
