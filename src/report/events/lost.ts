/** The lines that tell of lost events, before the first event after the gap, as the kernel and trace-cmd print them. */
import type { Store } from '../../store/db.js';
import { big, num, numOrNull } from '../rows.js';
import type { EventSelection } from './read.js';
import type { EventRow } from './rows.js';
import type { LineStyle } from './styles.js';

interface Gap {
  readonly traceId: number;
  /** null: any CPU. */
  readonly cpu: number | null;
  readonly toNs: bigint;
  /** null: at least one, number not known. */
  readonly count: number | null;
}

/** Gaps that end within the trace, in order of their end. */
async function readGaps(store: Store): Promise<readonly Gap[]> {
  const rows = await store.rows(
    'SELECT * FROM lost WHERE to_ns IS NOT NULL ORDER BY to_ns, trace_id, cpu NULLS FIRST, count NULLS LAST',
  );
  return rows.map((row) => ({
    traceId: num(row, 'trace_id'),
    cpu: numOrNull(row, 'cpu'),
    toNs: big(row, 'to_ns'),
    count: numOrNull(row, 'count'),
  }));
}

/** `CPU:1 [LOST 92 EVENTS]` (trace_pipe) or `CPU:1 [92 EVENTS DROPPED]` (trace-cmd report). */
export function lostLine(gap: Pick<Gap, 'cpu' | 'count'>, style: LineStyle): string {
  const cpu = gap.cpu ?? '?';
  if (style === 'trace-cmd' || style === 'raw') {
    return `CPU:${cpu} [${gap.count === null ? '' : `${gap.count} `}EVENTS DROPPED]`;
  }
  return `CPU:${cpu} [LOST ${gap.count === null ? '' : `${gap.count} `}EVENTS]`;
}

/**
 * Gives the lost lines that come before each event, which must be asked for in their order. Gaps of CPUs that are not
 * selected are left out; a gap whose next event is not selected comes before the next one that is.
 */
export async function lostLines(
  store: Store,
  selection: EventSelection,
  style: LineStyle,
): Promise<(event: EventRow) => string> {
  const gaps = (await readGaps(store)).filter((gap) => gap.cpu === null || selection.isCpu(gap.cpu));
  let next = 0;
  return (event) => {
    let text = '';
    for (let gap = gaps[next]; gap && gap.toNs <= event.tsNs; gap = gaps[++next]) {
      if (selection.isAfterStart(gap.toNs)) text += `${lostLine(gap, style)}\n`;
    }
    return text;
  };
}
