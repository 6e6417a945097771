import { lazyReader } from '../lazy-reader.js';
import type { Format } from '../model.js';
import { detectPerfData } from './header.js';

/** perf.data of perf record: file, pipe and directory form, plain or with zstd records (docs/formats/perf-data.md). */
export const perfdataFormat: Format = {
  name: 'perf.data',
  description: 'perf record, also -z, --threads, and through a pipe',
  detect: detectPerfData,
  open: (source) => lazyReader(async () => (await import('./reader.js')).openPerfData(source)),
};
