/** The simulated machine: threads that run on CPUs in one order of time, and what its recorder sees of them. */
import type { Random } from './random.js';
import type { EventDefinition, EventSet, Values } from './event-set.js';

/** What a thread does next: `run` keeps its CPU, `sleep` and `wait` give it up. Times in ns. */
export type Step =
  | { readonly kind: 'run'; readonly ns: number; readonly isPreemptible: boolean }
  | { readonly kind: 'sleep'; readonly ns: number }
  | { readonly kind: 'wait'; readonly signal: Signal };

/** A thread's program; each yield is a point at which other CPUs go on. */
export type Flow<T = void> = Generator<Step, T, void>;

/** Something that threads wait for; whoever wakes looks again at its condition. */
export interface Signal {
  readonly waiting: Task[];
}

export interface Task {
  readonly host: Host;
  readonly tid: number;
  readonly tgid: number;
  readonly comm: string;
  flow: Flow | null;
  cpu: number;
  /** When it got its CPU last, ns. */
  since: number;
  state: 'blocked' | 'ready' | 'running' | 'dead';
}

interface Cpu {
  readonly index: number;
  current: Task | null;
  readonly queue: Task[];
  lastNs: number;
}

/** One recorded event; values in the order of the definition's fields. */
export interface SimEvent {
  readonly ns: number;
  readonly cpu: number;
  readonly tid: number;
  readonly tgid: number;
  readonly comm: string;
  readonly definition: EventDefinition;
  readonly values: readonly (number | bigint | string)[];
}

interface Due {
  readonly at: number;
  readonly order: number;
  readonly task: Task;
  readonly what: 'step' | 'wake' | 'start';
}

export interface Host {
  now: number;
  readonly cpus: readonly Cpu[];
  readonly events: SimEvent[];
  readonly eventSet: EventSet;
  readonly random: Random;
  readonly due: Due[];
  order: number;
  /** Threads that are neither dead nor to be waited for at the end. */
  readonly background: Set<Task>;
  alive: number;
}

/** Longest time that a thread keeps its CPU while another waits for it, ns. */
const SLICE_NS = 700_000;

export function makeHost(options: {
  readonly cpus: number;
  readonly startNs: number;
  readonly eventSet: EventSet;
  readonly random: Random;
}): Host {
  const cpus = Array.from({ length: options.cpus }, (_, index) => ({ index, current: null, queue: [], lastNs: 0 }));
  const { eventSet, random, startNs } = options;
  return { now: startNs, cpus, events: [], eventSet, random, due: [], order: 0, background: new Set(), alive: 0 };
}

export function makeSignal(): Signal {
  return { waiting: [] };
}

/** A thread that starts to run `flow` after `delayNs`. */
export function startTask(
  host: Host,
  identity: { readonly tid: number; readonly tgid: number; readonly comm: string },
  flow: (task: Task) => Flow,
  options: { readonly delayNs?: number; readonly isBackground?: boolean } = {},
): Task {
  const task: Task = { host, ...identity, flow: null, cpu: -1, since: 0, state: 'blocked' };
  task.flow = flow(task);
  if (options.isBackground === true) host.background.add(task);
  else host.alive++;
  schedule(host, task, 'wake', options.delayNs ?? 0);
  return task;
}

/** Runs until every thread that is not background has ended, or until `untilNs`. */
export function runHost(host: Host, untilNs: number): void {
  while (host.alive > 0) {
    const next = popDue(host.due);
    if (!next || next.at > untilNs) return;
    host.now = next.at;
    if (next.task.state === 'dead') continue;
    if (next.what === 'wake') wakeTask(next.task);
    else if (next.what === 'start') beginOnCpu(next.task);
    else stepTask(next.task);
  }
}

/** Wakes all that wait for the signal. */
export function raise(signal: Signal): void {
  for (const task of signal.waiting.splice(0)) wakeTask(task);
}

/** The thread keeps its CPU for a while. */
export function run(ns: number, isPreemptible = false): Step {
  return { kind: 'run', ns, isPreemptible };
}

/** Waits until `condition` holds; the signal tells when to look again. */
export function* waitFor(signal: Signal, condition: () => boolean): Flow {
  while (!condition()) yield { kind: 'wait', signal };
}

/** The thread does nothing more, and nobody waits for it: the trace ends before it does. */
export function* retire(task: Task): Flow {
  const { host } = task;
  if (!host.background.has(task)) {
    host.background.add(task);
    host.alive--;
  }
  yield* waitFor(makeSignal(), () => false);
}

export function* sleep(ns: number): Flow {
  yield { kind: 'sleep', ns };
}

/** Another thread waits for this one's CPU and its slice is over. */
export function shouldYield(task: Task): boolean {
  const cpu = task.host.cpus[task.cpu]!;
  return cpu.queue.length > 0 && task.host.now - task.since > SLICE_NS;
}

/** Records an event of the running thread, and lets the time pass that it takes. Gives the event's time stamp, ns. */
export function* emit(task: Task, name: string, values: Values): Flow<number> {
  const ns = record(task, name, values);
  yield run(300 + Math.floor(task.host.random.next() * 900));
  return ns;
}

/** Records an event where no time may pass; gives its time stamp, ns. */
export function record(task: Task, name: string, values: Values): number {
  const { host } = task;
  return recordOn(host.cpus[task.cpu]!, task, { host, name, values });
}

function recordOn(
  cpu: Cpu,
  by: { readonly tid: number; readonly tgid: number; readonly comm: string },
  { host, name, values }: { readonly host: Host; readonly name: string; readonly values: Values },
): number {
  const ns = Math.max(host.now, cpu.lastNs + 1);
  cpu.lastNs = ns;
  const definition = host.eventSet.get(name);
  if (definition) {
    host.events.push({
      ns,
      cpu: cpu.index,
      tid: by.tid,
      tgid: by.tgid,
      comm: by.comm,
      definition,
      values: definition.pack(values),
    });
  }
  return ns;
}

function stepTask(task: Task): void {
  const { host } = task;
  const cpu = host.cpus[task.cpu]!;
  const next = task.flow!.next();
  if (next.done === true) return endTask(task, cpu);
  const step = next.value;
  if (step.kind === 'run') {
    if (step.isPreemptible && shouldYield(task)) {
      task.state = 'ready';
      cpu.queue.push(task);
      switchTo(host, cpu, { from: task, state: 0 });
      return;
    }
    return schedule(host, task, 'step', step.ns);
  }
  task.state = 'blocked';
  if (step.kind === 'sleep') schedule(host, task, 'wake', step.ns);
  else step.signal.waiting.push(task);
  switchTo(host, cpu, { from: task, state: 1 });
}

function endTask(task: Task, cpu: Cpu): void {
  const { host } = task;
  task.state = 'dead';
  if (!host.background.delete(task)) host.alive--;
  // TASK_DEAD; the print fmt shows X for EXIT_DEAD, which a dying task's report state is
  switchTo(host, cpu, { from: task, state: 0x10 });
}

/** Gives the CPU to the next in its queue, or to none. */
function switchTo(host: Host, cpu: Cpu, { from, state }: { readonly from: Task; readonly state: number }): void {
  const next = cpu.queue.shift() ?? null;
  recordSwitch(host, cpu, { from, to: next, state });
  cpu.current = next;
  if (!next) return;
  next.state = 'running';
  next.since = host.now;
  next.cpu = cpu.index;
  schedule(host, next, 'step', 900);
}

function recordSwitch(
  host: Host,
  cpu: Cpu,
  { from, to, state }: { readonly from: Task | null; readonly to: Task | null; readonly state: number },
): void {
  const idle = { tid: 0, tgid: 0, comm: '<idle>' };
  const swapper = `swapper/${cpu.index}`;
  recordOn(cpu, from ?? idle, {
    host,
    name: 'sched_switch',
    values: {
      prev_comm: from?.comm ?? swapper,
      prev_pid: from?.tid ?? 0,
      prev_prio: 120,
      prev_state: state,
      next_comm: to?.comm ?? swapper,
      next_pid: to?.tid ?? 0,
      next_prio: 120,
    },
  });
}

function wakeTask(task: Task): void {
  if (task.state !== 'blocked') return;
  const { host } = task;
  const last = host.cpus[task.cpu];
  const free = last && !last.current ? last : host.cpus.find((cpu) => !cpu.current);
  if (free) {
    // reserved at once; the idle loop needs a moment to leave
    free.current = task;
    task.cpu = free.index;
    task.state = 'running';
    return schedule(host, task, 'start', host.random.int(1500, 6000));
  }
  const shortest = host.cpus.reduce((best, cpu) => (cpu.queue.length < best.queue.length ? cpu : best));
  task.state = 'ready';
  shortest.queue.push(task);
}

function beginOnCpu(task: Task): void {
  const { host } = task;
  recordSwitch(host, host.cpus[task.cpu]!, { from: null, to: task, state: 0 });
  task.since = host.now;
  schedule(host, task, 'step', 900);
}

function schedule(host: Host, task: Task, what: Due['what'], delayNs: number): void {
  pushDue(host.due, { at: host.now + Math.max(1, Math.floor(delayNs)), order: host.order++, task, what });
}

function isBefore(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function pushDue(heap: Due[], item: Due): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(item, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = item;
}

function popDue(heap: Due[]): Due | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (!top || !last || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = at * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
