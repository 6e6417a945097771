/** The events of a recording: attrs, what they are called, and which one a sample id belongs to. */
import { counterName, isDummy, PERF_TYPE_TRACEPOINT, sampleLayout, trailerLayout } from './attr.js';
import type { PerfAttr, SampleLayout, TrailerLayout } from './attr.js';
import type { CounterBatch } from './counters.js';

/** Ids below this are found by an array. */
const TABLE_IDS = 1 << 17;

export interface PerfEvent {
  readonly attr: PerfAttr;
  readonly layout: SampleLayout;
  readonly trailer: TrailerLayout;
  readonly isTracepoint: boolean;
  /** Batch of its samples that no event format describes; made with the first. */
  counter: CounterBatch | null;
}

export interface EventList {
  readonly events: readonly PerfEvent[];
  /** Offset of the id in a sample; -1 where all samples belong to the first event. */
  idOffset: number;
  add(attr: PerfAttr): void;
  /** EVENT_DESC: names and ids, in the order of the attrs or told by their ids. */
  describe(described: readonly PerfAttr[]): void;
  /** EVENT_UPDATE of a name. */
  rename(id: number, name: string): void;
  /** The event of a sample id; the first one for id 0; undefined where no event has it. */
  byId(id: number): PerfEvent | undefined;
}

/** A list of `attrs`, to which the pipe form adds one by one. */
export function makeEventList(attrs: readonly PerfAttr[]): EventList {
  const events: PerfEvent[] = [];
  const ids = new Map<number, PerfEvent>();
  // Ids count up from 1 since boot: nearly all are small, and an array is twice as fast as the map.
  const table: (PerfEvent | undefined)[] = [];

  function setId(id: number, event: PerfEvent): void {
    ids.set(id, event);
    if (id < TABLE_IDS) {
      while (table.length <= id) table.push(undefined);
      table[id] = event;
    }
  }

  function add(attr: PerfAttr): void {
    const event: PerfEvent = {
      attr,
      layout: sampleLayout(attr),
      trailer: trailerLayout(attr),
      isTracepoint: attr.type === PERF_TYPE_TRACEPOINT,
      counter: null,
    };
    events.push(event);
    for (const id of attr.ids) setId(id, event);
    list.idOffset = findIdOffset(events);
  }

  const list: EventList = {
    events,
    idOffset: -1,
    add,
    describe(described) {
      described.forEach((one, k) => {
        const first = one.ids[0];
        const event = (first === undefined ? undefined : ids.get(first)) ?? events[k];
        if (!event) return;
        event.attr.name ??= one.name;
        for (const id of one.ids) if (!ids.has(id)) setId(id, event);
      });
    },
    rename(id, name) {
      const event = ids.get(id);
      if (event) event.attr.name = name;
    },
    byId: (id) => {
      const event = id < table.length ? table[id] : ids.get(id);
      return event ?? (id === 0 || ids.size === 0 ? events[0] : undefined);
    },
  };
  for (const attr of attrs) add(attr);
  return list;
}

/**
 * Where all samples have IDENTIFIER it comes first. Else the id lies behind fields that then are the same in all attrs
 * (tools/perf/util/evlist.c:evlist__valid_sample_type).
 */
function findIdOffset(events: readonly PerfEvent[]): number {
  if (events.length < 2) return -1;
  if (events.every((event) => event.layout.identifier === 8)) return 8;
  const place = events[0]!.layout.id;
  return events.every((event) => event.layout.id === place) ? place : -1;
}

/** `system:name` of an event, by its tracepoint's format (`formatName`) or by the recorder; null where neither tells. */
export function eventName(event: PerfEvent, formatName: string | undefined): string | null {
  if (!event.isTracepoint) return `perf:${counterName(event.attr)}`;
  if (formatName !== undefined) return formatName;
  return event.attr.name?.includes(':') ? event.attr.name : null;
}

/** Names of all events that were enabled; null where one of them cannot be named. */
export function enabledEvents(
  events: readonly PerfEvent[],
  formatName: (id: number) => string | undefined,
): string[] | null {
  const names = new Set<string>();
  for (const event of events) {
    if (isDummy(event.attr)) continue;
    const name = eventName(event, event.isTracepoint ? formatName(event.attr.config) : undefined);
    if (name === null) return null;
    names.add(name);
  }
  return names.size === 0 ? null : [...names].sort();
}
