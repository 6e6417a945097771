/** All that `gmemtrace latency` tells: conversions, their sizes, exits of both kinds, memory faults over time. */
import { TraceError } from '../base/errors.js';
import type { Store } from '../store/db.js';
import { readGuestExits, type ExitOrder, type GuestExits } from './exits/guest.js';
import type { ExitEvent } from './exits/samples.js';
import { readUserExits, type UserExits } from './exits/user.js';
import { readFaultRate, type FaultRate } from './fault-rate.js';
import { countedSql, readLatency, type LatencyOptions, type LatencyReport } from './latency.js';
import { readSizes, type Sizes } from './sizes.js';

export const LATENCY_SECTIONS = ['conversions', 'sizes', 'user-exits', 'guest-exits', 'memory-faults'] as const;
export type LatencySection = (typeof LATENCY_SECTIONS)[number];

/** A section that was not asked for is absent; null: the trace cannot show it. */
export interface LatencySections {
  readonly conversions?: LatencyReport;
  readonly sizes?: Sizes;
  readonly userExits?: UserExits | null;
  readonly guestExits?: GuestExits;
  readonly memoryFaults?: FaultRate | null;
}

export interface SectionOptions extends LatencyOptions {
  readonly show: readonly LatencySection[];
  readonly exits: ExitEvent;
  readonly order: ExitOrder;
}

/** Reads a `--show` list. Throws TraceError `usage` on a word that is none. */
export function parseSections(words: string): readonly LatencySection[] {
  return words.split(',').map((word) => {
    const name = LATENCY_SECTIONS.find((section) => section === word.trim());
    if (name !== undefined) return name;
    const fault =
      word.trim() === '' ? `--show "${words}": a name is empty` : `--show ${word.trim()}: not a part of the report`;
    throw new TraceError('usage', fault, {
      hint: `there are: ${LATENCY_SECTIONS.join(', ')}`,
    });
  });
}

/** Exits are split by those of the groupings that they have. */
function exitSplit({ by }: SectionOptions): readonly ('vm' | 'vcpu')[] {
  if (by.includes('vcpu')) return ['vm', 'vcpu'];
  return by.includes('vm') ? ['vm'] : [];
}

/** Makes the report. `where` chooses conversions; exits and memory faults are those of the whole trace. Errors as readLatency. */
export async function readLatencySections(store: Store, options: SectionOptions): Promise<LatencySections> {
  const { show, exits: event, order } = options;
  const by = exitSplit(options);
  return {
    ...(show.includes('conversions') && { conversions: await readLatency(store, options) }),
    ...(show.includes('sizes') && { sizes: await readSizes(store, await countedSql(store, options)) }),
    ...(show.includes('user-exits') && { userExits: await readUserExits(store, by) }),
    ...(show.includes('guest-exits') && { guestExits: await readGuestExits(store, { event, order, by }) }),
    ...(show.includes('memory-faults') && { memoryFaults: await readFaultRate(store) }),
  };
}
