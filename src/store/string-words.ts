/**
 * Strings of one string table as DuckDB's 16-byte string words, encoded once per id, so that a text column is copied
 * like a number column. The word (DuckDB: src/include/duckdb/common/types/string_type.hpp), little-endian:
 *
 *     ≤ 12 bytes:  length u32 | bytes, padded with zeros
 *     longer:      length u32 | first 4 bytes | pointer u64
 *
 * The pointer of a long one leads into a chunk that this object keeps alive and never resets.
 */
import type { DataChunk, Vector } from '@duckdb/node-bindings';
import { loadBindings } from './native.js';

const INLINE_BYTES = 12;
/** u32 words of a string word. */
export const STRING_WORDS = 4;
/** Long strings kept natively before the cache starts anew: bounds memory where every event has its own text. */
const MAX_HEAP_BYTES = 32 << 20;

export class StringWords {
  private readonly bindings = loadBindings();
  private readonly encoder = new TextEncoder();
  private words = new Uint32Array(64 * STRING_WORDS);
  private isKnown = new Uint8Array(64);
  private heapBytes = 0;
  private heap: { readonly chunk: DataChunk; readonly vector: Vector } | null = null;

  private readonly strings: readonly string[];

  constructor(strings: readonly string[]) {
    this.strings = strings;
  }

  /**
   * Writes the words of `rows` ids, from `ids[at]` on, to the start of `out` (4 words a row). An id beyond the table
   * gives string 0. The words are valid until the next `trim`: append them before.
   */
  fill(ids: Uint32Array, at: number, rows: number, out: Uint32Array): void {
    const count = this.strings.length;
    if (this.isKnown.length < count) this.grow(count);
    const known = this.isKnown;
    const words = this.words;
    for (let i = 0; i < rows; i++) {
      let id = ids[at + i]!;
      if (id >= count) id = 0;
      if (known[id] === 0) this.encode(id);
      const from = id * STRING_WORDS;
      const to = i * STRING_WORDS;
      out[to] = words[from]!;
      out[to + 1] = words[from + 1]!;
      out[to + 2] = words[from + 2]!;
      out[to + 3] = words[from + 3]!;
    }
  }

  private encode(id: number): void {
    const bytes = this.encoder.encode(this.strings[id] ?? '');
    const place = id * STRING_WORDS * 4;
    const target = new Uint8Array(this.words.buffer, place, STRING_WORDS * 4);
    if (bytes.length <= INLINE_BYTES) {
      this.words[id * STRING_WORDS] = bytes.length;
      target.set(bytes, 4);
    } else {
      target.set(this.keep(bytes));
    }
    this.isKnown[id] = 1;
  }

  /** Stores a long string natively and gives its word. */
  private keep(bytes: Uint8Array): Uint8Array {
    const { bindings } = this;
    if (this.heap === null) {
      const chunk = bindings.create_data_chunk([bindings.create_logical_type(bindings.Type.VARCHAR)]);
      this.heap = { chunk, vector: bindings.data_chunk_get_vector(chunk, 0) };
    }
    bindings.vector_assign_string_element_len(this.heap.vector, 0, bytes);
    this.heapBytes += bytes.length;
    return bindings.vector_get_data(this.heap.vector, STRING_WORDS * 4);
  }

  private grow(count: number): void {
    const size = Math.max(count, this.isKnown.length * 2);
    const words = new Uint32Array(size * STRING_WORDS);
    words.set(this.words);
    const isKnown = new Uint8Array(size);
    isKnown.set(this.isKnown);
    this.words = words;
    this.isKnown = isKnown;
  }

  /** Starts the cache anew when it has become large. Not between `fill` and the append of what it filled. */
  trim(): void {
    if (this.heapBytes <= MAX_HEAP_BYTES) return;
    this.heap = null;
    this.heapBytes = 0;
    this.isKnown.fill(0);
    this.words.fill(0);
  }
}
