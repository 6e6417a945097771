/** What recorders lose: stretches of events of one CPU, as a ring buffer that is read too slowly drops them. */
import type { SimEvent } from './host.js';
import type { Random } from './random.js';

/** A run of events of one CPU that is not in the trace. */
export interface Loss {
  readonly cpu: number;
  readonly count: number;
  /** The first event of that CPU after the gap: position in the kept events. */
  readonly before: number;
}

/** How much is lost, of how many CPUs. */
interface LossPlan {
  readonly cpus: number;
  /** Of all events, 0 to 1. */
  readonly share: number;
  /** Longest stretch, in events of one CPU. */
  readonly longest: number;
  readonly random: Random;
}

/** Drops about `share` of the events; a stretch never reaches the end of its CPU, so that its end is seen. */
export function loseEvents(events: readonly SimEvent[], plan: LossPlan): { kept: SimEvent[]; losses: Loss[] } {
  const { cpus, share } = plan;
  if (share <= 0) return { kept: [...events], losses: [] };
  const byCpu: number[][] = Array.from({ length: cpus }, () => []);
  for (let i = 0; i < events.length; i++) byCpu[events[i]!.cpu]!.push(i);
  const isLost = new Uint8Array(events.length);
  for (const own of byCpu) dropStretches(own, isLost, plan);
  const kept: SimEvent[] = [];
  const losses: Loss[] = [];
  const pending = new Array<number>(cpus).fill(0);
  for (let i = 0; i < events.length; i++) {
    const event = events[i]!;
    if (isLost[i]) {
      pending[event.cpu]!++;
      continue;
    }
    const count = pending[event.cpu]!;
    if (count > 0) losses.push({ cpu: event.cpu, count, before: kept.length });
    pending[event.cpu] = 0;
    kept.push(event);
  }
  return { kept, losses };
}

function dropStretches(own: readonly number[], isLost: Uint8Array, { share, longest, random }: LossPlan): void {
  const mean = (1 + longest) / 2;
  const gap = Math.max(2, Math.round((mean * (1 - share)) / share));
  let at = random.int(1, gap);
  while (at < own.length - 1) {
    const end = Math.min(own.length - 1, at + random.int(1, longest));
    for (; at < end; at++) isLost[own[at]!] = 1;
    at += random.int(1, gap * 2);
  }
}
