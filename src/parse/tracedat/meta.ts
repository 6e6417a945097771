import type { EventFormat } from '../event-format.js';
import type { TraceMeta } from '../model.js';
import type { ClockFacts } from './clock.js';
import type { TraceFile } from './file.js';

/**
 * A recording of chosen events holds the formats of their systems only; `trace-cmd extract` and `-e all` save those of the
 * whole kernel (66 systems in a small one), from which nothing follows about what was enabled.
 */
const MOST_CHOSEN_SYSTEMS = 30;

/** What the file says about the recording. `notes` are added to those of the file. */
export function buildMeta(path: string, file: TraceFile, clock: ClockFacts, notes: readonly string[]): TraceMeta {
  const { header, options } = file;
  // `sysname nodename release machine` of uname(2).
  const [, host, kernel, arch] = (options.uname ?? '').split(/\s+/);
  const enabled = enabledEvents(file.blobs.formats);
  const unknownEvents =
    enabled === null ? ['the file holds all formats of the kernel: it does not tell which events were enabled'] : [];
  return {
    path,
    format: 'trace.dat',
    version: header.version === 6 ? '6' : `7 ${header.compression}`,
    kernel: kernel ?? null,
    arch: arch ?? null,
    clock: clock.name,
    clockUnit: clock.unit,
    resolutionNs: clock.resolutionNs,
    recorder: options.version === null ? 'trace-cmd' : `trace-cmd ${options.version.split(/\s/)[0]!}`,
    host: host === undefined || host === '(none)' ? null : host,
    cpus: options.cpuCount,
    enabledEvents: enabled,
    notes: [...file.notes, ...options.notes, ...clock.notes, ...unknownEvents, ...notes],
  };
}

function enabledEvents(formats: readonly EventFormat[]): string[] | null {
  const systems = new Set(formats.map((format) => format.system));
  if (systems.size > MOST_CHOSEN_SYSTEMS) return null;
  return formats.map((format) => `${format.system}:${format.name}`);
}
