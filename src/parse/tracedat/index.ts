import type { Format, Verdict } from '../model.js';
import { hasTracingMagic } from '../tracing-data.js';
import { readTraceDat } from './reader.js';

export { latencyText } from './latency.js';

/** trace.dat of trace-cmd, versions 6 and 7. */
export const tracedatFormat: Format = {
  name: 'trace.dat',
  description: 'binary recording of trace-cmd (versions 6 and 7; plain, zlib, zstd)',
  detect,
  open: (source) => ({ read: (sink, options) => readTraceDat(source, sink, options) }),
};

function detect(head: Uint8Array): Verdict {
  if (!hasTracingMagic(head)) return { no: 'does not start with 17 08 44 "tracing"' };
  // The blob inside a perf.data starts alike, with version 0.5 or 0.6.
  return head[10] === 0x30 ? { no: 'is the tracing data of a perf.data, not a file of its own' } : 'yes';
}
