/** Threads and processes as the kernel is seen making them (kernel/fork.c). */
import { emit, startTask } from './host.js';
import type { Flow, Task } from './host.js';
import { newPid } from './model.js';
import type { World } from './model.js';

/** What pthread_create and fork of glibc ask clone for. */
const CLONE_FLAGS = { thread: 0x3d0f00, process: 0x1200000 } as const;

interface NewTask {
  readonly comm: string;
  readonly delayNs: number;
  /** Nobody waits for its end. */
  readonly isBackground?: boolean;
}

/** A thread of the same process. */
export function* spawnThread(
  task: Task,
  world: World,
  { comm, ...options }: NewTask,
  flow: (task: Task) => Flow,
): Flow<Task> {
  const tid = newPid(world);
  yield* emit(task, 'task_newtask', { pid: tid, comm: task.comm, clone_flags: CLONE_FLAGS.thread });
  return startTask(task.host, { tid, tgid: task.tgid, comm }, flow, options);
}

/** A process that a shell makes, which then ends. */
export function startByShell(
  world: World,
  child: Pick<Task, 'tid' | 'tgid' | 'comm'>,
  flow: (task: Task) => Flow,
  delayNs: number,
): void {
  const tid = newPid(world);
  const make = function* (task: Task): Flow {
    yield* emit(task, 'task_newtask', { pid: child.tid, comm: task.comm, clone_flags: CLONE_FLAGS.process });
    startTask(task.host, child, flow, { delayNs: 40_000 });
  };
  startTask(world.host, { tid, tgid: tid, comm: 'sh' }, make, { delayNs });
}
