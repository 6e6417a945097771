/**
 * Rules that read tracepoints or probes themselves: `{event SYSTEM.NAME: field, …}`, `{probe FUNCTION: arg, …}` and
 * `{retprobe …}` in a rule's SQL stand for their rows, as in the vocabulary. A rule whose source is missing cannot be
 * judged, unless the trace says that it was recorded and nothing came. With `?` (`{probe? …}`) a source may be missing.
 */
import type { Store } from '../store/db.js';
import { readEventTables } from './memory-events.js';
import { guessProbeFunction } from './probe-names.js';
import { resolveSource, type EventTable } from './vocabulary.js';

export interface RuleSources {
  readonly tables: readonly EventTable[];
  /** system:name of what was recorded, whether or not it came. */
  readonly enabled: readonly string[];
}

/** What a rule lacks, in words, and what to record for it. */
export interface Lack {
  readonly missing: string;
  readonly record: string;
}

interface Placeholder {
  readonly kind: 'event' | 'probe' | 'retprobe';
  readonly isOptional: boolean;
  readonly name: string;
  readonly fields: string;
}

const PLACEHOLDER = /\{(event|probe|retprobe)(\??)\s+([\w.]+):\s*([^}]*)\}/g;

export async function readRuleSources(store: Store): Promise<RuleSources> {
  const rows = await store.rows(
    'SELECT DISTINCT unnest(enabled_events) AS event FROM trace WHERE enabled_events IS NOT NULL ORDER BY event',
  );
  return { tables: await readEventTables(store), enabled: rows.map((row) => row['event'] as string) };
}

function wasRecorded({ kind, name }: Placeholder, enabled: readonly string[]): boolean {
  if (kind === 'event') return enabled.includes(name.replace('.', ':'));
  return enabled.some((event) => guessProbeFunction(event.split(':')[1] ?? '', [], kind === 'retprobe') === name);
}

function emptySource(fields: string): string {
  const names = fields.split(',').map((field) => field.trim().replace('?', '').split('|')[0]!);
  const columns = names.map((name) => `NULL::BIGINT AS "${name}"`).join(', ');
  return `SELECT NULL::UTINYINT AS trace_id, NULL::BIGINT AS ts_ns, NULL::USMALLINT AS cpu, NULL::INTEGER AS tid, NULL::BIGINT AS seq, ${columns} WHERE false`;
}

function lackOf({ kind, name }: Placeholder): Lack {
  if (kind !== 'event') return { missing: `no probe on ${name}`, record: `a ${kind} on ${name}` };
  const event = name.replace('.', ':');
  return { missing: `no ${event}`, record: `-e ${event}` };
}

/** The SQL with its placeholders filled, and what it lacks; only with nothing lacking can it run. */
export function fillSources(
  sql: string,
  sources: RuleSources,
): { readonly sql: string; readonly lacks: readonly Lack[] } {
  const lacks: Lack[] = [];
  const filled = sql.replace(
    PLACEHOLDER,
    (_, kind: Placeholder['kind'], mark: string, name: string, fields: string) => {
      const place: Placeholder = { kind, isOptional: mark === '?', name, fields };
      const found = resolveSource(sources.tables, kind, name, fields);
      if (found !== null) return `(${found})`;
      if (!place.isOptional && !wasRecorded(place, sources.enabled)) lacks.push(lackOf(place));
      return `(${emptySource(fields)})`;
    },
  );
  return { sql: filled, lacks };
}
