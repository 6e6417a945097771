/** Conversions: summed up for `analyze`, and one by one for `conversions`. */
import { TraceError } from '../base/errors.js';
import { singleSelect, type Store } from '../store/db.js';
import { errnoName } from './errno.js';
import { bucketSql, readBuckets, type Bucket } from './histogram.js';
import { LATENCY_SQL, phasesSql } from './phases.js';
import { bigOrNull, list, num, numOrNull, text, textOrNull, type Row } from './rows.js';
import { readStats, statsSql, type Stats } from './stats.js';

/** Conversions of one VM, direction, origin, request, mechanism and outcome. */
export interface ConversionGroup {
  readonly vm: number | null;
  readonly direction: string | null;
  readonly origin: string;
  readonly request: string;
  readonly mechanism: string;
  readonly outcome: string;
  readonly count: number;
  /** Bytes of those whose size is known; null where it is known of none. */
  readonly bytes: number | null;
  readonly latency: Stats;
}

/** Conversions of all VMs of one direction, origin and outcome: a line of the text output. */
export interface ConversionLine {
  readonly direction: string | null;
  readonly origin: string;
  readonly outcome: string;
  readonly count: number;
  readonly pages: number | null;
  readonly latency: Stats;
  readonly histogram: readonly Bucket[];
}

/** Where the time of the done conversions of a direction went. */
export interface PhaseShare {
  readonly direction: string | null;
  /** `coordination`, or several joined by `+` where the border between them was not seen. */
  readonly phase: string;
  /** Sum over the conversions, ns. */
  readonly ns: number;
}

export interface ConversionSummary {
  /** null: the trace cannot show conversions. */
  readonly total: number | null;
  readonly groups: readonly ConversionGroup[];
  readonly lines: readonly ConversionLine[];
  readonly phases: readonly PhaseShare[];
  /** Of all conversions, how many are known how surely. */
  readonly certainties: readonly { readonly certainty: string; readonly count: number }[];
  readonly attempts: {
    readonly total: number | null;
    readonly failed: number | null;
    readonly byErrno: readonly { readonly name: string; readonly count: number }[];
  };
}

/** Sums up table conversion. `cannot` holds the figures that the trace cannot show. */
export async function readConversionSummary(store: Store, cannot: ReadonlySet<string>): Promise<ConversionSummary> {
  const certainties = await store.rows(`
    SELECT certainty, count(*) AS n FROM conversion GROUP BY certainty
    ORDER BY list_position(['observed', 'inferred', 'assumed', 'unknown'], certainty), certainty`);
  const total = certainties.reduce((sum, row) => sum + num(row, 'n'), 0);
  return {
    total: total === 0 && cannot.has('conversions') ? null : total,
    groups: await readGroups(store),
    lines: await readLines(store),
    phases: await readPhaseShares(store),
    certainties: certainties.map((row) => ({ certainty: text(row, 'certainty'), count: num(row, 'n') })),
    attempts: await readAttempts(store, cannot.has('attempts')),
  };
}

async function readGroups(store: Store): Promise<readonly ConversionGroup[]> {
  const keys = 'vm_id, direction, origin, request, mechanism, outcome';
  const rows = await store.rows(`
    SELECT ${keys}, count(*) AS n, sum(size)::BIGINT AS bytes, ${statsSql('latency')}
    FROM (SELECT *, ${LATENCY_SQL} AS latency FROM conversion) GROUP BY ${keys}
    ORDER BY vm_id NULLS LAST, direction NULLS LAST, origin, request, mechanism, outcome`);
  return rows.map((row) => ({
    vm: numOrNull(row, 'vm_id'),
    direction: textOrNull(row, 'direction'),
    origin: text(row, 'origin'),
    request: text(row, 'request'),
    mechanism: text(row, 'mechanism'),
    outcome: text(row, 'outcome'),
    count: num(row, 'n'),
    bytes: numOrNull(row, 'bytes'),
    latency: readStats(row),
  }));
}

async function readLines(store: Store): Promise<readonly ConversionLine[]> {
  const keys = 'direction, origin, outcome';
  const from = `(SELECT *, ${LATENCY_SQL} AS latency FROM conversion)`;
  const rows = await store.rows(`
    SELECT ${keys}, count(*) AS n, (sum(size) // 4096)::BIGINT AS pages, ${statsSql('latency')}
    FROM ${from} GROUP BY ${keys} ORDER BY direction DESC NULLS LAST,
      list_position(['explicit', 'implicit', 'vmm'], origin), n DESC, outcome`);
  const buckets = await store.rows(`
    SELECT ${keys}, ${bucketSql('latency')} AS bucket, count(*) AS n
    FROM ${from} WHERE latency IS NOT NULL GROUP BY ALL ORDER BY ALL`);
  const keyOf = (row: Row): string => `${textOrNull(row, 'direction')}/${text(row, 'origin')}/${text(row, 'outcome')}`;
  return rows.map((row) => ({
    direction: textOrNull(row, 'direction'),
    origin: text(row, 'origin'),
    outcome: text(row, 'outcome'),
    count: num(row, 'n'),
    pages: numOrNull(row, 'pages'),
    latency: readStats(row),
    histogram: readBuckets(buckets.filter((b) => keyOf(b) === keyOf(row))),
  }));
}

/** first_use is left out: it is the guest's own time, no part of the stop. */
async function readPhaseShares(store: Store): Promise<readonly PhaseShare[]> {
  const done = `SELECT * FROM conversion WHERE outcome = 'done' AND origin <> 'vmm' AND stop_ns IS NOT NULL`;
  const rows = await store.rows(`
    SELECT direction, phase, first_border, sum(ns)::DOUBLE AS ns
    FROM (${phasesSql(done)}) JOIN conversion USING (conversion_id)
    WHERE phase NOT LIKE '%first_use' GROUP BY ALL ORDER BY direction DESC NULLS LAST, first_border, phase`);
  return rows.map((row) => ({
    direction: textOrNull(row, 'direction'),
    phase: text(row, 'phase'),
    ns: num(row, 'ns'),
  }));
}

async function readAttempts(store: Store, unknown: boolean): Promise<ConversionSummary['attempts']> {
  const rows = await store.rows(
    'SELECT errno, count(*) AS n FROM conversion_attempt GROUP BY errno ORDER BY n DESC, errno NULLS LAST',
  );
  if (unknown && rows.length === 0) return { total: null, failed: null, byErrno: [] };
  const results = rows.map((row) => ({ errno: numOrNull(row, 'errno'), count: num(row, 'n') }));
  const failed = results.filter((r) => r.errno !== null && r.errno !== 0);
  const sum = (of: readonly { readonly count: number }[]): number => of.reduce((all, r) => all + r.count, 0);
  const noResult = results.length > 0 && results.every((r) => r.errno === null);
  return {
    total: sum(results),
    failed: noResult ? null : sum(failed),
    byErrno: failed.map((r) => ({ name: errnoName(r.errno!), count: r.count })),
  };
}

export interface Attempt {
  readonly startNs: bigint | null;
  readonly endNs: bigint | null;
  /** Positive, 0 = success; null = result not seen. */
  readonly errno: number | null;
  readonly errorOffset: bigint | null;
}

/** One row of table conversion with its attempts. */
export interface Conversion {
  readonly id: number;
  readonly vm: number | null;
  readonly vcpu: number | null;
  readonly tid: number | null;
  readonly gmem: number | null;
  readonly gpa: bigint | null;
  readonly offset: bigint | null;
  readonly size: bigint | null;
  readonly direction: string | null;
  readonly origin: string;
  readonly request: string;
  readonly mechanism: string;
  readonly outcome: string;
  readonly requestNs: bigint | null;
  readonly exitNs: bigint | null;
  readonly commitNs: bigint | null;
  readonly resumeNs: bigint | null;
  readonly firstUseNs: bigint | null;
  /** The guest's stop, or the ioctl's time of one that the VMM made by itself; ns. */
  readonly latencyNs: number | null;
  readonly attempts: readonly Attempt[];
  readonly certainty: string;
}

export interface ConversionFilter {
  /** SQL over the columns of table conversion, latency_ns and pages. */
  readonly where?: string;
  /** The N slowest, slowest first; else all in order of request. */
  readonly slowest?: number;
  /** At most so many. */
  readonly limit?: number;
}

export interface ConversionListing {
  /** How many fit the filter, shown or not. */
  readonly total: number;
  readonly shown: number;
  readonly slowestFirst: boolean;
  /** Whether `limit` hides rows that would be shown without it. */
  readonly isLimited: boolean;
  /** First stamp of the trace, for times told from its start. */
  readonly startNs: bigint | null;
  readonly batches: () => AsyncIterable<readonly Conversion[]>;
}

/** The rows that a filter is about, with what people ask for by name. */
export const CONVERSIONS_SQL = `
  SELECT conversion.*, ${LATENCY_SQL} AS latency_ns, size // 4096 AS pages,
    (SELECT platform FROM vm WHERE vm.vm_id = conversion.vm_id) AS platform
  FROM conversion`;

/**
 * Query of the conversions that a `--where` keeps. Throws TraceError `usage`, with what a condition may name, where it is
 * none, or cannot be evaluated for one of them.
 */
export async function filteredSql(store: Store, where: string | undefined): Promise<string> {
  if (where === undefined) return CONVERSIONS_SQL;
  // The line break keeps a comment at the end of the text from swallowing the bracket.
  const sql = `SELECT * FROM (${CONVERSIONS_SQL}) AS c WHERE (${where}\n)`;
  try {
    await singleSelect(store, sql);
    await store.rows(`SELECT count(*) AS n FROM (${sql})`);
    return sql;
  } catch (error) {
    if (!(error instanceof TraceError) || !(error.code === 'usage' || /^Out of Range/.test(error.message))) throw error;
    const columns = await store.rows(`DESCRIBE ${CONVERSIONS_SQL}`);
    const hint = `a condition in SQL; it may name ${columns.map((row) => text(row, 'column_name')).join(', ')}`;
    throw new TraceError('usage', `--where ${where}: ${conditionFault(error.message)}`, { hint, cause: error });
  }
}

/** What DuckDB says of a condition, without its kind of error and the query that it was put into. */
function conditionFault(message: string): string {
  const [said = ''] = message.split('\n\nLINE');
  return said
    .replace(/^[\w ]+ Error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/^syntax error at or near "\)"$/, 'a syntax error at its end');
}

/** Rows of conversions a query, to hold only a part of a long list at once. */
const BATCH = 10_000;

/** Lists conversions. The store has to stay open until the batches are read. */
export async function readConversions(store: Store, filter: ConversionFilter): Promise<ConversionListing> {
  const from = await filteredSql(store, filter.where);
  const [count] = await store.rows(`SELECT count(*) AS n FROM (${from})`);
  const [span] = await store.rows('SELECT min(first_ns) AS start FROM trace');
  const total = num(count!, 'n');
  const wanted = Math.min(total, filter.slowest ?? total, filter.limit ?? total);
  const order = filter.slowest === undefined ? 'conversion_id' : 'latency_ns DESC NULLS LAST, conversion_id';
  return {
    total,
    shown: wanted,
    slowestFirst: filter.slowest !== undefined,
    isLimited: wanted < Math.min(total, filter.slowest ?? total),
    startNs: bigOrNull(span!, 'start'),
    batches: async function* () {
      for (let at = 0; at < wanted; at += BATCH) {
        const page = `SELECT * FROM (${from}) ORDER BY ${order} LIMIT ${Math.min(BATCH, wanted - at)} OFFSET ${at}`;
        yield (await store.rows(withAttempts(page, order))).map(readConversion);
      }
    },
  };
}

function withAttempts(page: string, order: string): string {
  return `
    SELECT p.*, a.tries FROM (${page}) AS p LEFT JOIN (
      SELECT conversion_id, list([start_ns, end_ns, errno::BIGINT, error_offset] ORDER BY attempt) AS tries
      FROM conversion_attempt GROUP BY conversion_id) AS a USING (conversion_id) ORDER BY ${order}`;
}

function readConversion(row: Row): Conversion {
  return {
    id: num(row, 'conversion_id'),
    vm: numOrNull(row, 'vm_id'),
    vcpu: numOrNull(row, 'vcpu'),
    tid: numOrNull(row, 'tid'),
    gmem: numOrNull(row, 'gmem_id'),
    gpa: bigOrNull(row, 'gpa'),
    offset: bigOrNull(row, 'offset'),
    size: bigOrNull(row, 'size'),
    direction: textOrNull(row, 'direction'),
    origin: text(row, 'origin'),
    request: text(row, 'request'),
    mechanism: text(row, 'mechanism'),
    outcome: text(row, 'outcome'),
    requestNs: bigOrNull(row, 'request_ns'),
    exitNs: bigOrNull(row, 'exit_ns'),
    commitNs: bigOrNull(row, 'commit_ns'),
    resumeNs: bigOrNull(row, 'resume_ns'),
    firstUseNs: bigOrNull(row, 'first_use_ns'),
    latencyNs: numOrNull(row, 'latency_ns'),
    attempts: list(row, 'tries').map((entry) => readAttempt(entry as readonly (bigint | null)[])),
    certainty: text(row, 'certainty'),
  };
}

function readAttempt(fields: readonly (bigint | null)[]): Attempt {
  const [startNs = null, endNs = null, errno = null, errorOffset = null] = fields;
  return { startNs, endNs, errno: errno === null ? null : Number(errno), errorOffset };
}
