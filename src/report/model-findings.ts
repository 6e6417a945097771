/** Findings with the trace lines that they rest on. */
import type { Store } from '../store/db.js';
import { readEventLines } from './events/read.js';
import { big, bigOrNull, list, num, numOrNull, text, textOrNull } from './rows.js';

export interface Evidence {
  /** Path of the trace, as the user named it. */
  readonly trace: string;
  /** `byte 69632` or `line 12`. */
  readonly position: string;
  readonly tsNs: bigint;
  /** The event as the kernel prints it. */
  readonly text: string;
}

export type Severity = 'error' | 'warning' | 'info';

export interface Finding {
  readonly id: number;
  readonly rule: string;
  readonly severity: Severity;
  readonly verdict: 'fail' | 'inconclusive';
  readonly vm: number | null;
  readonly gmem: number | null;
  readonly vcpu: number | null;
  readonly title: string;
  /** What else is known of it, a line each. */
  readonly details: readonly string[];
  readonly sinceNs: bigint | null;
  readonly untilNs: bigint | null;
  readonly count: number;
  readonly certainty: string;
  readonly hint: string | null;
  /** The parameters that decided, `name = value`. */
  readonly thresholds: string | null;
  readonly evidence: readonly Evidence[];
}

/** What looked like a finding and is none. */
export interface Dismissed {
  readonly rule: string;
  readonly vm: number | null;
  readonly title: string;
  /** Why it is none. */
  readonly reason: string;
  readonly sinceNs: bigint | null;
  readonly count: number;
}

/** Severities from bad to harmless. */
export const SEVERITIES: readonly Severity[] = ['error', 'warning', 'info'];

/** The findings that `--limit` lets through, the worst first: null shows `usual` of them, 0 all. */
export function shownFindings(
  findings: readonly Finding[],
  limit: number | null,
  usual = findings.length,
): readonly Finding[] {
  const most = limit ?? usual;
  return most === 0 ? findings : findings.slice(0, most);
}

/** All findings, worst first, with all their evidence. */
export async function readFindings(
  store: Store,
  traces: readonly { readonly id: number; readonly path: string }[],
): Promise<readonly Finding[]> {
  const findings = await store.rows('SELECT * FROM finding ORDER BY finding_id');
  const evidence = await readEvidence(store, traces);
  return findings.map((row) => {
    const id = num(row, 'finding_id');
    return {
      id,
      rule: text(row, 'rule'),
      severity: text(row, 'severity') as Severity,
      verdict: text(row, 'verdict') as Finding['verdict'],
      vm: numOrNull(row, 'vm_id'),
      gmem: numOrNull(row, 'gmem_id'),
      vcpu: numOrNull(row, 'vcpu'),
      title: text(row, 'title'),
      details: list(row, 'details').map(String),
      sinceNs: bigOrNull(row, 'since_ns'),
      untilNs: bigOrNull(row, 'until_ns'),
      count: num(row, 'count'),
      certainty: text(row, 'certainty'),
      hint: textOrNull(row, 'hint'),
      thresholds: textOrNull(row, 'thresholds'),
      evidence: evidence.get(id) ?? [],
    };
  });
}

/** What the rules looked at and let go, by rule and time. */
export async function readDismissed(store: Store): Promise<readonly Dismissed[]> {
  const rows = await store.rows('SELECT * FROM dismissed ORDER BY rule, since_ns NULLS LAST, vm_id NULLS LAST, title');
  return rows.map((row) => ({
    rule: text(row, 'rule'),
    vm: numOrNull(row, 'vm_id'),
    title: text(row, 'title'),
    reason: text(row, 'reason'),
    sinceNs: bigOrNull(row, 'since_ns'),
    count: num(row, 'count'),
  }));
}

async function readEvidence(
  store: Store,
  traces: readonly { readonly id: number; readonly path: string }[],
): Promise<ReadonlyMap<number, readonly Evidence[]>> {
  const paths = new Map(traces.map((t) => [t.id, t.path]));
  const rows = await store.rows('SELECT * FROM finding_evidence ORDER BY finding_id, rank');
  const keys = rows.map((row) => ({
    findingId: num(row, 'finding_id'),
    traceId: num(row, 'trace_id'),
    cpu: num(row, 'cpu'),
    seq: big(row, 'seq'),
    tsNs: big(row, 'ts_ns'),
  }));
  const lines = keys.length === 0 ? [] : await readEventLines(store, keys);
  const byFinding = new Map<number, Evidence[]>();
  for (const [i, key] of keys.entries()) {
    const line = lines[i];
    const entry = {
      trace: paths.get(key.traceId) ?? `trace ${key.traceId}`,
      position: line?.position ?? `record ${key.seq}`,
      tsNs: key.tsNs,
      text: line?.text ?? '',
    };
    const list = byFinding.get(key.findingId);
    if (list === undefined) byFinding.set(key.findingId, [entry]);
    else list.push(entry);
  }
  return byFinding;
}
