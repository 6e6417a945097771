/** Holds an answer against the truth of its recording: what is right, what is missing, what never happened. */
import type { Answer, AnswerConversion, AnswerFinding, JsonNumber } from './answer.js';
import type { Carried, Recording, TruthConversion } from './capture.js';
import { emptyVerdict, noteMissing, noteRight, noteWrong } from './verdict.js';
import type { Topic, Verdict } from './verdict.js';

export type { Verdict } from './verdict.js';

/** VM of the answer → VM of the truth. */
type VmMap = ReadonlyMap<number, number | string>;

interface Trial {
  readonly recording: Recording;
  readonly answer: Answer;
  readonly vmOf: VmMap;
  /** What the recording spans on the truth's clock; null where its clock is another one. */
  readonly span: readonly [number, number] | null;
  readonly verdict: Verdict;
}

/** A guest waits up to so many tolerances longer than the VMM noticed: a thread that waits for a CPU stamps late. */
const SCHEDULING_SLACK = 50;
/** A row this many tolerances from any event of the truth is about something else. */
const PAIRING_SLACK = 20;

/** Compares everything that the recording can be asked for; what it cannot carry may be absent but not wrong. */
export function holdAgainstTruth(recording: Recording, answer: Answer): Verdict {
  const verdict = emptyVerdict();
  const vmOf = matchVms(recording, answer);
  const trial: Trial = { recording, answer, vmOf, span: spanOf(recording, answer), verdict };
  judgeVms(trial);
  judgeConversions(trial);
  judgeCounts(trial);
  judgeFindings(trial);
  return verdict;
}

const numberOf = (value: JsonNumber | undefined): number | null =>
  value === null || value === undefined ? null : Number(value);
const hex = (value: JsonNumber): string => (value === null ? '?' : `0x${Number(value).toString(16)}`);
const carries = (trial: Trial, what: Carried): boolean => trial.recording.carries.has(what);

function spanOf(recording: Recording, { analysis }: Answer): readonly [number, number] | null {
  if (!recording.carries.has('times')) return null;
  const starts = analysis.traces.map((trace) => numberOf(trace.start_ns)).filter((ns) => ns !== null);
  const ends = analysis.traces.map((trace) => numberOf(trace.end_ns)).filter((ns) => ns !== null);
  return starts.length === 0 ? null : [Math.min(...starts), Math.max(...ends)];
}

const isInSpan = ({ span }: Trial, ns: number): boolean => span === null || (ns >= span[0] && ns <= span[1]);

/** By threads of vCPUs first, by process where no thread is known; each VM of the truth is taken once. */
function matchVms({ truth }: Recording, { analysis }: Answer): VmMap {
  const taken = new Map<number, number | string>();
  for (const found of analysis.vms) {
    const tids = new Set(found.vcpus.map((vcpu) => vcpu.tid));
    const ranked = truth.vms
      .filter((vm) => ![...taken.values()].includes(vm.id))
      .map((vm) => {
        const threads = vm.vcpus.filter((vcpu) => tids.has(vcpu.tid)).length;
        return { id: vm.id, likeness: threads * 2 + (vm.pid === found.pid ? 1 : 0) };
      })
      .sort((a, b) => b.likeness - a.likeness);
    if (ranked[0] !== undefined && ranked[0].likeness > 0) taken.set(found.id, ranked[0].id);
  }
  return taken;
}

function judgeVms(trial: Trial): void {
  const { recording, answer, verdict } = trial;
  const [found, were] = [answer.analysis.vms.length, recording.truth.vms.length];
  if (found === were) noteRight(verdict, 'vms');
  else if (carries(trial, 'conversions')) {
    (found > were ? noteWrong : noteMissing)(verdict, 'vms', `VMs: ${found}, were ${were}`);
  }
}

type Value = string | number;

/** Something that the answer may say; absent counts only where the recording carries it. */
interface Question {
  readonly topic: Topic;
  readonly what: string;
  readonly isAsked: boolean;
}

/** Equal, absent or different. */
function judgeValue({ verdict }: Trial, { topic, what, isAsked }: Question, were: Value, said: Value | null): void {
  if (said === null) {
    if (isAsked) noteMissing(verdict, topic, `${what}: was ${were}`);
  } else if (String(said) === String(were)) noteRight(verdict, topic);
  else noteWrong(verdict, topic, `${what}: said ${said}, was ${were}`);
}

interface Bounds {
  readonly from: number;
  readonly to: number;
}

function judgeTime({ verdict }: Trial, question: Question, { from, to }: Bounds, said: JsonNumber): void {
  const { topic, what, isAsked } = question;
  const ns = numberOf(said);
  if (ns === null) {
    if (isAsked) noteMissing(verdict, topic, `${what}: was between ${from} and ${to}`);
  } else if (ns >= from && ns <= to) noteRight(verdict, topic);
  else noteWrong(verdict, topic, `${what}: said ${ns}, was between ${from} and ${to}`);
}

/** Only what is observed or inferred is claimed; the rest is an honest doubt. */
const isClaim = (row: AnswerConversion): boolean => row.certainty === 'observed' || row.certainty === 'inferred';

const stampOf = (row: AnswerConversion): number | null =>
  numberOf(row.exit_ns) ?? numberOf(row.request_ns) ?? numberOf(row.attempts[0]?.start_ns) ?? numberOf(row.commit_ns);

const distanceTo = (ns: number, from: number, to: number): number => Math.max(0, from - ns, ns - to);

/** ns between a row and what happened. The VMM's log brackets tries exactly; it sees a request late. */
function distance(truth: TruthConversion, row: AnswerConversion): number {
  const [first, last] = [truth.attempts?.[0], truth.attempts?.at(-1)];
  const tried = numberOf(row.attempts[0]?.start_ns) ?? numberOf(row.commit_ns);
  if (first !== undefined && last !== undefined && tried !== null)
    return distanceTo(tried, first.start_ns, last.end_ns);
  const stamp = stampOf(row);
  const until = truth.completed_ns ?? truth.resumed_ns ?? truth.requested_ns;
  return stamp === null ? 0 : distanceTo(stamp, truth.requested_ns, until);
}

function isSamePlace(trial: Trial, truth: TruthConversion, row: AnswerConversion): boolean {
  if (row.direction !== truth.direction || numberOf(row.size) !== truth.size) return false;
  const vm = row.vm === null ? undefined : trial.vmOf.get(row.vm);
  if (vm !== undefined && vm !== truth.vm) return false;
  if (row.gpa !== null) return numberOf(row.gpa) === truth.gpa;
  return row.offset === null || truth.offset === null || numberOf(row.offset) === truth.offset;
}

interface Pair {
  readonly row: AnswerConversion;
  readonly truth: TruthConversion;
  readonly distance: number;
  /** Between their beginnings, ns: tells tries apart that happened at once. */
  readonly apart: number;
}

function startsApart(truth: TruthConversion, row: AnswerConversion): number {
  const started = numberOf(row.request_ns) ?? stampOf(row);
  return started === null ? 0 : Math.abs(started - truth.requested_ns);
}

/** Each row with the nearest conversion of its place; a claim goes before a doubt. */
function pairUp(trial: Trial, wanted: readonly TruthConversion[]): ReadonlyMap<AnswerConversion, TruthConversion> {
  const limit = PAIRING_SLACK * trial.recording.toleranceNs;
  const isTimed = trial.span !== null;
  const pairs: Pair[] = [];
  const byGpa = new Map<number, TruthConversion[]>();
  for (const truth of wanted) byGpa.set(truth.gpa, [...(byGpa.get(truth.gpa) ?? []), truth]);
  for (const row of trial.answer.conversions) {
    for (const truth of row.gpa === null ? wanted : (byGpa.get(Number(row.gpa)) ?? [])) {
      if (!isSamePlace(trial, truth, row)) continue;
      const [between, apart] = isTimed ? [distance(truth, row), startsApart(truth, row)] : [0, 0];
      const pair = { row, truth, distance: between, apart };
      if (pair.distance <= limit) pairs.push(pair);
    }
  }
  pairs.sort((a, b) => Number(isClaim(b.row)) - Number(isClaim(a.row)) || a.distance - b.distance || a.apart - b.apart);
  const paired = new Map<AnswerConversion, TruthConversion>();
  const used = new Set<TruthConversion>();
  for (const { row, truth } of pairs) {
    if (paired.has(row) || used.has(truth)) continue;
    paired.set(row, truth);
    used.add(truth);
  }
  return paired;
}

function judgeConversions(trial: Trial): void {
  const { recording, answer, verdict } = trial;
  const wanted = recording.truth.conversions.filter((truth) => isInSpan(trial, truth.requested_ns));
  const paired = pairUp(trial, wanted);
  const answered = new Set<TruthConversion>();
  verdict.happened = wanted.length;
  for (const row of answer.conversions) {
    const truth = paired.get(row);
    if (!isClaim(row)) {
      verdict.unsure++;
      continue;
    }
    if (truth !== undefined) {
      answered.add(truth);
      judgeConversion(trial, truth, row);
    } else if (row.size !== null || !isNearAny(trial, wanted, row)) {
      const where = `${row.direction} gpa ${hex(row.gpa)} size ${hex(row.size)} at ${stampOf(row)}`;
      const what = `${row.certainty} conversion that did not happen: ${row.origin} ${where} (${row.outcome})`;
      noteWrong(verdict, 'conversions', what);
    } else verdict.unsure++;
  }
  if (!carries(trial, 'conversions')) return;
  for (const truth of wanted) {
    if (!answered.has(truth) && truth.outcome !== 'noop')
      noteMissing(verdict, 'conversions', `conversion: ${nameOf(truth)}`);
  }
}

/** A row that leaves its range open still says that something happened then. */
function isNearAny(trial: Trial, wanted: readonly TruthConversion[], row: AnswerConversion): boolean {
  const limit = PAIRING_SLACK * trial.recording.toleranceNs;
  return trial.span === null || wanted.some((truth) => distance(truth, row) <= limit);
}

const nameOf = (truth: TruthConversion): string =>
  `${truth.origin} ${truth.direction} gpa ${hex(truth.gpa)} size ${hex(truth.size)} at ${truth.requested_ns}`;

/** A request for what is so already is done; whether anything changed, no event tells. */
const outcomeOf = (outcome: string): string => (outcome === 'noop' ? 'done' : outcome);

function judgeConversion(trial: Trial, truth: TruthConversion, row: AnswerConversion): void {
  const name = nameOf(truth);
  const isAsked = carries(trial, 'conversions');
  const detail = (what: string): Question => ({ topic: 'details', what: `${what} of ${name}`, isAsked });
  noteRight(trial.verdict, 'conversions');
  judgeValue(trial, detail('origin'), truth.origin, row.origin);
  const outcome = row.outcome === 'unknown' ? null : outcomeOf(row.outcome);
  if (truth.outcome !== 'pending' || outcome !== null)
    judgeValue(trial, detail('outcome'), outcomeOf(truth.outcome), outcome);
  if (truth.vcpu !== null && truth.origin !== 'vmm') judgeValue(trial, detail('vcpu'), truth.vcpu, row.vcpu);
  judgeValue(trial, { topic: 'ranges', what: `gpa of ${name}`, isAsked }, truth.gpa, numberOf(row.gpa));
  if (truth.offset !== null) {
    const offset: Question = { topic: 'ranges', what: `offset of ${name}`, isAsked: carries(trial, 'offsets') };
    judgeValue(trial, offset, truth.offset, numberOf(row.offset));
  }
  judgeAttempts(trial, truth, row, name);
  if (trial.span !== null) judgeTimes(trial, truth, row, name);
}

function judgeAttempts(trial: Trial, truth: TruthConversion, row: AnswerConversion, name: string): void {
  if (!carries(trial, 'attempts') || truth.attempts == null) return;
  const errnos = (attempts: readonly { readonly errno: number | null }[]): string =>
    attempts.map((attempt) => attempt.errno ?? 0).join(' ');
  const topic = 'attempts';
  const tries: Question = { topic, what: `errnos of ${name}`, isAsked: true };
  judgeValue(trial, tries, errnos(truth.attempts), errnos(row.attempts));
  const isAsked = carries(trial, 'error_offset');
  truth.attempts.forEach((attempt, k) => {
    if (attempt.errno === 0 || attempt.error_offset === null) return;
    const said = numberOf(row.attempts[k]?.error_offset);
    judgeValue(trial, { topic, what: `error_offset ${k} of ${name}`, isAsked }, attempt.error_offset, said);
  });
}

function judgeTimes(trial: Trial, truth: TruthConversion, row: AnswerConversion, name: string): void {
  const tolerance = trial.recording.toleranceNs;
  const time = (column: string): Question => {
    const isAsked = column !== 'commit_ns' && carries(trial, 'conversions');
    return { topic: 'times', what: `${column} of ${name}`, isAsked };
  };
  const last = truth.attempts?.at(-1);
  if (last !== undefined && outcomeOf(truth.outcome) === 'done') {
    const bounds = { from: last.start_ns - tolerance, to: last.end_ns + tolerance };
    judgeTime(trial, time('commit_ns'), bounds, row.commit_ns);
  }
  const told = truth.completed_ns;
  if (truth.origin === 'vmm' || (truth.resumed_ns == null && told === undefined)) return;
  const slack = SCHEDULING_SLACK * tolerance;
  const asked = {
    from: truth.requested_ns - (truth.resumed_ns == null ? tolerance : slack),
    to: (told ?? truth.requested_ns) + tolerance,
  };
  judgeTime(trial, time('request_ns'), asked, row.request_ns);
  if (truth.resumed_ns == null) return;
  const resumed = { from: truth.resumed_ns - tolerance, to: truth.resumed_ns + slack };
  judgeTime(trial, time('resume_ns'), resumed, row.resume_ns);
}

function judgeCounts(trial: Trial): void {
  const { truth } = trial.recording;
  const { analysis } = trial.answer;
  const kinds = [
    ['faults', truth.memory_faults?.map((fault) => fault.t_ns), analysis.memory_faults.total],
    ['punches', truth.punches?.map((punch) => punch.t_ns ?? punch.start_ns ?? 0), analysis.punches.total],
    ['reboots', truth.reboots?.map((reboot) => reboot.t_ns), analysis.reboots?.length ?? null],
  ] as const;
  for (const [kind, stamps, said] of kinds) {
    // How many punches a recording shows is known only where it says to carry them: others cut the run's setup off.
    const isAsked = carries(trial, kind);
    if (stamps === undefined || (kind === 'punches' && !isAsked)) continue;
    const were = stamps.filter((ns) => isInSpan(trial, ns)).length;
    trial.verdict.counts[kind] = { were, said, isAsked };
    if (said !== null && said < were) {
      if (isAsked) noteMissing(trial.verdict, kind, `${kind}: said ${said}, were ${were}`);
    } else if (said !== null || were > 0) judgeValue(trial, { topic: kind, what: kind, isAsked }, were, said);
  }
}

function judgeFindings(trial: Trial): void {
  const { recording, answer, vmOf, verdict } = trial;
  const { truth, notFindings, allowedFindings } = recording;
  const failed = answer.analysis.findings.filter((finding) => finding.verdict === 'fail');
  const expected = oncePerVm(truth.expected_findings ?? []);
  const isOf = (finding: AnswerFinding, { rule, vm }: (typeof expected)[number]): boolean =>
    finding.rule === rule && (vm === undefined || finding.vm === null || vmOf.get(finding.vm) === vm);
  for (const wanted of expected) {
    const { rule, vm } = wanted;
    const isFound = failed.some((finding) => isOf(finding, wanted));
    const isAsked = carries(trial, 'findings') && !notFindings.includes(rule);
    verdict.expected.push({ rule, isFound, isAsked });
    if (isFound) noteRight(verdict, 'findings');
    else if (isAsked) noteMissing(verdict, 'findings', `finding ${rule} of VM ${vm ?? '?'}`);
  }
  const allowed = [...(truth.allowed_findings ?? []), ...allowedFindings];
  for (const finding of failed) {
    const { rule, severity, title } = finding;
    if (severity === 'info' || allowed.includes(rule) || expected.some((wanted) => isOf(finding, wanted))) continue;
    verdict.unexpected.push(rule);
    noteWrong(verdict, 'findings', `finding ${rule}: ${title}`);
  }
}

/** A VM that stalled twice is one finding or two: findings of one cause are one. */
function oncePerVm<T extends { readonly rule: string; readonly vm?: number | string }>(findings: readonly T[]): T[] {
  return [...new Map(findings.map((finding) => [`${finding.rule}/${finding.vm}`, finding])).values()];
}
