/** Two at a time: DuckDB plans a query on one thread, and small queries cost little else. */
import { connectBeside, type Store } from './db.js';

/**
 * Runs the tasks on the store and on a second connection beside it, in their order as far as one waits for a connection;
 * gives their results. A task sees what is committed, and no temporary tables. After a failure no further task begins; it
 * is thrown when both connections are idle.
 */
export async function runTogether<T extends readonly unknown[]>(
  store: Store,
  tasks: { readonly [K in keyof T]: (store: Store) => Promise<T[K]> },
): Promise<T> {
  const results: unknown[] = [];
  const waiting = [...tasks.entries()];
  const work = async (connection: Store): Promise<void> => {
    try {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [k, task] = next;
        results[k] = await task(connection);
      }
    } catch (error) {
      waiting.length = 0;
      throw error;
    }
  };
  const beside = await connectBeside(store);
  try {
    const ends = await Promise.allSettled([work(store), work(beside)]);
    const failure = ends.find((end) => end.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
    return results as unknown as T;
  } finally {
    beside.close();
  }
}
