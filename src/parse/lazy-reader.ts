import type { EventReader } from './model.js';

/** A reader whose code is loaded when it reads: an input needs one format's, which is a small part of what there is. */
export function lazyReader(load: () => Promise<EventReader>): EventReader {
  return { read: async (sink, options) => (await load()).read(sink, options) };
}
