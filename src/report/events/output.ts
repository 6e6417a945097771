/** Events as text, JSON lines or CSV, some ten thousand at a time. */
import type { Store, Value } from '../../store/db.js';
import { jsonInteger } from '../json/integer.js';
import { lineWriter, readTraceFacts, type TraceFacts } from './lines.js';
import { lostLines } from './lost.js';
import { countEvents, readEvents, type EventSelection } from './read.js';
import { eventPrinter } from './render.js';
import type { EventRow } from './rows.js';
import type { LineOptions, LineStyle } from './styles.js';
import type { EventType } from './types.js';

export type EventFormat = 'text' | 'json' | 'csv';

export interface EventOutputOptions extends LineOptions {
  readonly format: EventFormat;
  readonly style: LineStyle;
  /** Stop after so many; null = all. */
  readonly limit: number | null;
}

/** Why a tracepoint's own wording could not be printed in full. */
export interface UnevaluableFmt {
  readonly event: string;
  readonly reasons: readonly string[];
}

/** Lines of the selected events, in order. Yields one text a batch. */
export async function* renderEvents(
  store: Store,
  selection: EventSelection,
  options: EventOutputOptions,
): AsyncGenerator<string, void, void> {
  const traces = await readTraceFacts(store);
  const write = makeWriter(selection, traces, options);
  if (options.format === 'csv') yield 'trace,ts_ns,cpu,tid,comm,system,name,text\n';
  const lost = options.format === 'text' ? await lostLines(store, selection, options.style) : () => '';
  let left = options.limit ?? Infinity;
  if (left <= 0) return;
  for await (const batch of readEvents(store, selection)) {
    let text = '';
    for (const event of left < batch.length ? batch.slice(0, left) : batch) {
      text += `${lost(event)}${write(event)}\n`;
    }
    if (text !== '') yield text;
    left -= batch.length;
    if (left <= 0) return;
  }
}

function makeWriter(
  selection: EventSelection,
  traces: ReadonlyMap<number, TraceFacts>,
  options: EventOutputOptions,
): (event: EventRow) => string {
  const { types, tasks } = selection;
  if (options.format === 'text') return lineWriter(traces, types, tasks, options.style, options);
  const pathOf = (event: EventRow) => traces.get(event.type.traceId)?.path ?? '';
  const commOf = (event: EventRow) => tasks(event.type.traceId, event.tid, event.tsNs).comm;
  if (options.format === 'json') return (event) => jsonLine(event, pathOf(event), commOf(event));
  const text = lineWriter(traces, types, tasks, options.style, { ...options, textOnly: true });
  return (event) => {
    const { system, name } = event.type;
    const cells = [
      pathOf(event),
      event.tsNs,
      event.cpu,
      event.tid,
      commOf(event) ?? '',
      system,
      name,
      text(event).trim(),
    ];
    return cells.map(csvCell).join(',');
  };
}

/** `{trace, ts_ns, cpu, tid, comm, system, name, fields}`; what is not known is null. */
function jsonLine(event: EventRow, trace: string, comm: string | null): string {
  const { type, cpu } = event;
  const fields: Record<string, unknown> = {};
  type.fields.forEach((field, k) => (fields[field.name] = jsonValue(event.values[k] ?? null)));
  const tid = event.tid < 0 ? null : event.tid;
  return JSON.stringify({
    trace,
    ts_ns: jsonInteger(event.tsNs),
    cpu,
    tid,
    comm,
    system: type.system,
    name: type.name,
    fields,
  });
}

function jsonValue(value: Value): unknown {
  return typeof value === 'bigint' ? jsonInteger(value) : value;
}

function csvCell(value: string | number | bigint): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** How many events there are of each kind, most first. */
export async function renderCounts(store: Store, selection: EventSelection, format: EventFormat): Promise<string> {
  const counts = await countEvents(store, selection);
  const sums = new Map<string, number>();
  selection.types.forEach((type, k) => {
    const name = `${type.system}:${type.name}`;
    sums.set(name, (sums.get(name) ?? 0) + counts[k]!);
  });
  const rows = [...sums].filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const total = rows.reduce((sum, [, count]) => sum + count, 0);
  if (format === 'json') return `${JSON.stringify({ total, events: Object.fromEntries(rows) })}\n`;
  if (format === 'csv') return ['event,count', ...rows.map(([name, count]) => `${name},${count}`), ''].join('\n');
  const width = String(total).length;
  const line = (count: number, what: string) => `${String(count).padStart(width)}  ${what}\n`;
  return rows.map(([name, count]) => line(count, name)).join('') + line(total, 'events');
}

/** The tracepoints whose print fmt could not be evaluated in full: shown as numbers or fields. */
export function unevaluableFmts(types: readonly EventType[], style: LineStyle): UnevaluableFmt[] {
  const found = types.map((type) => ({
    event: `${type.system}:${type.name}`,
    reasons: eventPrinter(type, style).unevaluable,
  }));
  return found.filter(({ reasons }) => reasons.length > 0);
}
