/** Formats of known kernels' tracepoints, for traces that do not bring their own. Made by scripts/make-catalogue.mjs. */
import { readFileSync } from 'node:fs';
import { TraceError } from '../../base/errors.js';
import { parseFieldLine } from '../event-format.js';
import type { EventFormat } from '../event-format.js';

/** One tracepoint as one kernel has it. */
export interface CatalogueEvent {
  /** Release and machine, `7.3.4-x86_64`. */
  readonly kernel: string;
  readonly system: string;
  readonly name: string;
  /** `TYPE NAME;offset;size;signed` as in the format file, without the common fields. */
  readonly fields: readonly string[];
  /** Without the leading `print fmt: `. */
  readonly printFmt: string;
}

/** Newest first; a kernel holds only what differs from all before it. */
const KERNELS = ['7.3.4-x86_64', '7.3.4-arm64', '6.18.44-x86_64', '6.12.107-x86_64', '6.1.0-x86_64'] as const;

interface CatalogueFile {
  readonly kernel: string;
  readonly events: readonly Omit<CatalogueEvent, 'kernel'>[];
}

function isCatalogueFile(value: unknown): value is CatalogueFile {
  return typeof value === 'object' && value !== null && 'events' in value && Array.isArray(value.events);
}

function readKernel(kernel: string): CatalogueEvent[] {
  const parsed: unknown = JSON.parse(readFileSync(new URL(`./${kernel}.json`, import.meta.url), 'utf8'));
  if (!isCatalogueFile(parsed)) throw new TraceError('internal', `the format catalogue ${kernel}.json is damaged`);
  return parsed.events.map((event) => ({ kernel, ...event }));
}

/** All formats by event name, the newest kernel's first (a few ms: call it once a trace). */
export function loadCatalogue(): ReadonlyMap<string, readonly CatalogueEvent[]> {
  const byName = new Map<string, CatalogueEvent[]>();
  for (const kernel of KERNELS) {
    for (const event of readKernel(kernel)) {
      const known = byName.get(event.name);
      if (known) known.push(event);
      else byName.set(event.name, [event]);
    }
  }
  return byName;
}

/** A catalogue entry as an event format, as if a trace had brought it; id -1. */
export function catalogueFormat(event: CatalogueEvent): EventFormat {
  const fields = event.fields.flatMap((field) => {
    const [declaration, offset, size, signed] = field.split(';');
    const line = `field:${declaration};\toffset:${offset};\tsize:${size};\tsigned:${signed};`;
    return parseFieldLine(line) ?? [];
  });
  return {
    system: event.system,
    name: event.name,
    id: -1,
    commonFields: [],
    fields,
    printFmt: event.printFmt,
    text: '',
  };
}
