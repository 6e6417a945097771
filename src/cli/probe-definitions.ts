/** Probe definitions as tracefs prints and takes them (kprobe_events, dynamic_events, uprobe_events). */
import { TraceError } from '../base/errors.js';
import type { ProbeInfo } from '../parse/model.js';

/** `p:grp/name function args`, `r16:…`, `f:…`, `t:…`; a recorder may put `ok` or `FAIL` in front. */
const DEFINITION = /^(?:(ok|FAIL)\s+)?([prft])(?:\d*):(?:([\w-]+)[/.])?([\w-]+)\s+(\S+)(?:\s+(.*))?$/;

/** `module:function+0x10%return` → function. Documentation/trace/kprobetrace.rst. */
function functionOf(place: string): { readonly fn: string; readonly isReturn: boolean } {
  const isReturn = place.endsWith('%return');
  const fn = place
    .replace(/%return$/, '')
    .replace(/^[\w-]+:/, '')
    .replace(/\+(0x[0-9a-f]+|\d+)$/i, '')
    .replace(/\.(isra|part|constprop|cold)(\.\d+)?.*$/, '');
  return { fn, isReturn };
}

/**
 * Event name → probe. Lines that define nothing (comments, probes that could not be set) are passed over; a file
 * without any definition throws TraceError `usage`.
 */
export function parseProbeDefinitions(text: string, path: string): ReadonlyMap<string, ProbeInfo> {
  const probes = new Map<string, ProbeInfo>();
  for (const line of text.split(/\r?\n/)) {
    const match = DEFINITION.exec(line.trim());
    if (match === null) continue;
    const [, state, kind, , name, place, args = ''] = match;
    if (state === 'FAIL' || kind === 't') continue;
    const { fn, isReturn } = functionOf(place!);
    probes.set(name!, { fn, isReturn: kind === 'r' || isReturn || /\$retval/.test(args) });
  }
  if (probes.size === 0) {
    throw new TraceError('usage', `${path}: no probe is defined here`, {
      input: path,
      hint: 'lines look like `p:group/name function arguments`, as /sys/kernel/tracing/kprobe_events prints them',
    });
  }
  return probes;
}
