/** Checks the traces of a spec, one by one or several at a time; the results are the same and in the same order. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { TraceError, type ErrorCode, type ErrorPlace } from '../../base/errors.js';
import type { Cli } from '../command.js';
import { checkTrace, type Checked, type CheckJob, type CheckSetting } from './trace.js';

/** What a thread is asked: to check a trace, to leave off what it does, to end. */
export type Request = CheckJob | 'cancel' | 'end';

/** What a thread says of one trace; `messages` are for standard error. */
export type Answer = { readonly messages: string } & (
  | { readonly checked: Checked }
  | { readonly failure: { readonly code: ErrorCode; readonly message: string; readonly place: ErrorPlace } }
);

/** Checks all. Throws the error of the first trace that has one (those of checkTrace), or `cancelled`. */
export async function checkTraces(
  cli: Cli,
  jobs: readonly CheckJob[],
  setting: CheckSetting,
  atOnce: number,
): Promise<readonly Checked[]> {
  if (Math.min(atOnce, jobs.length) > 1) return await checkInThreads(cli, jobs, setting, Math.min(atOnce, jobs.length));
  const results: Checked[] = [];
  for (const job of jobs) results.push(await checkTrace(cli, job, setting));
  return results;
}

/** Each thread takes the next trace when it is done with one. The cores are shared among the threads' databases. */
async function checkInThreads(
  cli: Cli,
  jobs: readonly CheckJob[],
  setting: CheckSetting,
  count: number,
): Promise<readonly Checked[]> {
  const threads = setting.options.threads ?? Math.max(1, Math.floor(availableParallelism() / count));
  const workerData: CheckSetting = { ...setting, options: { ...setting.options, threads } };
  const answers: Answer[] = [];
  let next = 0;
  const work = async (worker: Worker): Promise<void> => {
    while (next < jobs.length && !cli.signal.aborted) {
      const index = next++;
      const answer = await ask(worker, jobs[index]!);
      answers[index] = answer;
      // traces are taken in order: all before this one are done or under way
      if ('failure' in answer) next = jobs.length;
    }
  };
  const workers = Array.from(
    { length: count },
    () => new Worker(new URL('./worker.js', import.meta.url), { workerData }),
  );
  const tell = (request: Request): void => workers.forEach((worker) => worker.postMessage(request));
  const cancel = (): void => tell('cancel');
  cli.signal.addEventListener('abort', cancel);
  try {
    await Promise.all(workers.map(work));
  } finally {
    cli.signal.removeEventListener('abort', cancel);
    // a thread is never ended from outside: a database at work in it would end the whole process
    tell('end');
  }
  if (cli.signal.aborted) throw new TraceError('cancelled', 'interrupted');
  return answers.map((answer) => checkedOf(cli, answer));
}

function checkedOf(cli: Cli, answer: Answer): Checked {
  if (answer.messages !== '') cli.io.stderr.write(answer.messages);
  if ('checked' in answer) return answer.checked;
  const { code, message, place } = answer.failure;
  throw new TraceError(code, message, place);
}

function ask(worker: Worker, job: CheckJob): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      worker.off('message', onMessage);
      worker.off('error', onError);
      worker.off('exit', onExit);
    };
    const onMessage = (answer: Answer): void => {
      settle();
      resolve(answer);
    };
    const onError = (cause: unknown): void => {
      settle();
      reject(new TraceError('internal', `a thread ended: ${String(cause)}`, { cause }));
    };
    const onExit = (): void => {
      settle();
      reject(new TraceError('internal', `the thread that checked ${job.trace.name} ended without an answer`));
    };
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.on('exit', onExit);
    worker.postMessage(job);
  });
}
