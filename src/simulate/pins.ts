/** A VMM's worker that holds pages of guest memory for I/O, and lets go of them late or never. */
import { PAGE_SIZE } from '../base/units.js';
import { raise, run, sleep, waitFor } from './host.js';
import type { Flow, Task } from './host.js';
import type { PinJob, Vm } from './model.js';
import { makeSignal } from './host.js';
import { dropRef, hostFault, recordRef, takeRef } from './pages.js';
import type { Pin } from './truth.js';

/** What FOLL_PIN adds to an order-0 folio's count (mm/gup.c: GUP_PIN_COUNTING_BIAS). */
const GUP_PIN_COUNTING_BIAS = 1024;

/** Has the worker pin a page, and waits until it does. */
export function* pinPage(vm: Vm, at: Pick<PinJob, 'gmem' | 'index' | 'hva' | 'isLongTerm'>): Flow<PinJob> {
  const job: PinJob = { ...at, state: 'asked', page: null, changed: makeSignal() };
  vm.pinJobs.push(job);
  raise(vm.changed);
  yield* waitFor(job.changed, () => job.state === 'held');
  return job;
}

/** Tells the worker to let go; it does so when it gets to run. */
export function* askDrop(job: PinJob): Flow {
  if (job.state === 'held') {
    job.state = 'release';
    raise(job.changed);
  }
  yield run(500);
}

/** The worker's thread: one job at a time is enough for what is simulated. */
export function* workForPins(task: Task, vm: Vm): Flow {
  for (let next = 0; ; next++) {
    yield* waitFor(vm.changed, () => vm.pinJobs.length > next || vm.isEnding);
    const job = vm.pinJobs[next];
    if (!job) return;
    const pin = yield* take(task, vm, job);
    job.state = 'held';
    raise(job.changed);
    // a job that nobody asks to drop must not keep the others waiting
    if (job.isLongTerm) continue;
    yield* waitFor(job.changed, () => isToBeDropped(job) || vm.isEnding);
    if (!isToBeDropped(job)) return;
    yield* sleep(4_000);
    yield* letGo(task, job);
    pin.to_ns = task.host.now;
    job.state = 'dropped';
    raise(job.changed);
  }
}

function isToBeDropped({ state }: PinJob): boolean {
  return state === 'release';
}

function* take(task: Task, vm: Vm, job: PinJob): Flow<Pin> {
  const { gmem, index } = job;
  const page = yield* hostFault(task, vm.world, job);
  const pin: Pin = {
    vm: vm.id,
    gmem: gmem.id,
    offset: index * PAGE_SIZE,
    size: PAGE_SIZE,
    how: job.isLongTerm ? 'never dropped' : 'block device buffer',
    tid: task.tid,
    from_ns: task.host.now,
    to_ns: null,
  };
  vm.world.truth.pins.push(pin);
  job.page = page;
  // GUP-fast takes one reference and makes it a pin; the slow way adds all at once
  const isFast = index % 2 === 0;
  if (isFast) yield* takeRef(task, gmem, page);
  const by = GUP_PIN_COUNTING_BIAS - (isFast ? 1 : 0);
  page.refs += by;
  recordRef(task, 'page_ref_mod', page, gmem.mapping, { by });
  yield run(800);
  return pin;
}

function* letGo(task: Task, { gmem, page }: PinJob): Flow {
  if (page) yield* dropRef(task, gmem, page, GUP_PIN_COUNTING_BIAS);
}

/** The process ends: the kernel drops what its files still hold. Some pins are somebody else's and stay. */
export function* dropAll(task: Task, vm: Vm): Flow {
  for (const job of vm.pinJobs) if (job.state === 'held' && vm.random.chance(0.7)) yield* letGo(task, job);
}
