/** Words for things that several outputs name in the same way. */
import { formatBytes, formatDuration, formatHex, formatSeconds } from '../base/units.js';
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

/** A duration, or a dash where it is not known. */
export function durationOr(ns: number | null): string {
  return ns === null ? UNKNOWN_CELL : formatDuration(ns);
}

/** `0x100045000 +16 KiB`; parts that are not known are left out. */
export function rangeName(start: bigint | null, size: bigint | number | null): string {
  if (start === null) return size === null ? UNKNOWN_CELL : `${formatBytes(Number(size))} somewhere`;
  return size === null ? formatHex(start) : `${formatHex(start)} +${formatBytes(Number(size))}`;
}

/** A stamp as the trace has it and as time since the first event: `57.311000123 s`, `+1.204 s`. */
export function sinceStart(ns: bigint, startNs: bigint | null): string {
  if (startNs === null) return `${formatSeconds(ns)} s`;
  const delta = Number(ns - startNs);
  return delta < 0 ? `-${formatDuration(-delta)}` : `+${formatDuration(delta)}`;
}

/** `1 error`, `3 errors`. */
export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ',')} ${count === 1 ? noun : many}`;
}
