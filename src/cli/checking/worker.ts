/** A thread of `check --jobs`: gets one trace at a time, answers with its result. */
import { PassThrough } from 'node:stream';
import { parentPort, workerData } from 'node:worker_threads';
import { TraceError } from '../../base/errors.js';
import type { Cli } from '../command.js';
import type { Answer } from './pool.js';
import { checkTrace, type CheckJob, type CheckSetting } from './trace.js';

const setting = workerData as CheckSetting;

async function answerTo(job: CheckJob): Promise<Answer> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  let messages = '';
  stderr.on('data', (chunk: Buffer) => (messages += chunk.toString()));
  // the main thread ends this one when it is interrupted
  const cli: Cli = { io: { stdin, stdout, stderr, env: process.env }, signal: new AbortController().signal, status: 0 };
  try {
    const checked = await checkTrace(cli, job, setting);
    return { checked, messages };
  } catch (error) {
    if (!(error instanceof TraceError)) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { failure: { code: 'internal', message: text, place: {} }, messages };
    }
    // a cause need not be clonable
    const place = { ...error.place, cause: undefined };
    return { failure: { code: error.code, message: error.message, place }, messages };
  }
}

parentPort!.on('message', (job: CheckJob) => {
  void answerTo(job).then((answer) => parentPort!.postMessage(answer));
});
