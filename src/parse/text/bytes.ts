/** Bytes as text; bytes that are no UTF-8 become U+FFFD. */
export function decode(buf: Uint8Array, from: number, to: number): string {
  return Buffer.from(buf.buffer, buf.byteOffset + from, Math.max(0, to - from)).toString('utf8');
}

/** Whether buf has `word` (ASCII) at `at`, before `end`. */
export function startsWith(buf: Uint8Array, at: number, end: number, word: string): boolean {
  if (at + word.length > end) return false;
  for (let k = 0; k < word.length; k++) if (buf[at + k] !== word.charCodeAt(k)) return false;
  return true;
}
