import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { openStore, type Store } from '../../src/store/db.js';

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A store in memory that is closed at the end of the test. */
export async function memoryStore(): Promise<Store> {
  const store = await openStore(null);
  cleanups.push(() => store.close());
  return store;
}

/** An empty folder that is removed at the end of the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gmemtrace-test-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Closes a store at the end of the test. */
export function closeLater(store: Store): Store {
  cleanups.push(() => store.close());
  return store;
}
