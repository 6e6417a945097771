/** A thread of `check --jobs`: gets one trace at a time, answers with its result. */
import { PassThrough } from 'node:stream';
import { parentPort, workerData } from 'node:worker_threads';
import { TraceError } from '../../base/errors.js';
import type { Cli } from '../command.js';
import type { Answer, Request } from './pool.js';
import { checkTrace, type CheckJob, type CheckSetting } from './trace.js';

const setting = workerData as CheckSetting;
const interrupt = new AbortController();

async function answerTo(job: CheckJob): Promise<Answer> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  let messages = '';
  stderr.on('data', (chunk: Buffer) => (messages += chunk.toString()));
  const cli: Cli = { io: { stdin, stdout, stderr, env: process.env }, signal: interrupt.signal, status: 0 };
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

parentPort!.on('message', (request: Request) => {
  if (request === 'cancel') interrupt.abort();
  else if (request === 'end') parentPort!.close();
  else void answerTo(request).then((answer) => parentPort!.postMessage(answer));
});
