/** Kinds of files that people give to a trace reader and that are no traces (or not yet): what to tell them. */

interface ForeignKind {
  /** Bytes at `at` by which it is known. */
  readonly magic: string;
  readonly at?: number;
  readonly hint: string;
}

const KINDS: readonly ForeignKind[] = [
  { magic: '\xfd7zXZ\0', hint: 'it is compressed with xz: `xz -dc FILE | gmemtrace … -`' },
  { magic: '\x04"M\x18', hint: 'it is compressed with lz4: `lz4 -dc FILE | gmemtrace … -`' },
  { magic: 'BZh', hint: 'it is compressed with bzip2: `bzip2 -dc FILE | gmemtrace … -`' },
  { magic: 'PK\x03\x04', hint: 'it is a zip archive: unpack it and name the traces in it' },
  { magic: '7z\xbc\xaf\x27\x1c', hint: 'it is a 7z archive: unpack it and name the traces in it' },
  { magic: 'ustar', at: 257, hint: 'it is a tar archive: unpack it and name the traces in it' },
  { magic: '\x7fELF', hint: 'it is a program, library or core dump' },
  { magic: '%PDF', hint: 'it is a PDF' },
  { magic: 'DUCK', at: 8, hint: 'it is a database made by `gmemtrace import`: give it alone, not with traces' },
  { magic: '\xc1\x1f\xfc\xc1', hint: 'it is a CTF trace: record with trace-cmd or perf, or convert it to text' },
  { magic: '\xc1\xfc\x1f\xc1', hint: 'it is a CTF trace: record with trace-cmd or perf, or convert it to text' },
  { magic: '\x57\x1d\xd1\x75', hint: 'it is the metadata of a CTF trace: record with trace-cmd or perf' },
  { magic: '/* CTF ', hint: 'it is the metadata of a CTF trace: record with trace-cmd or perf' },
  { magic: '\xff\xfe', hint: 'it is UTF-16 text: `iconv -f UTF-16 -t UTF-8 FILE | gmemtrace … -`' },
  { magic: '\xfe\xff', hint: 'it is UTF-16 text: `iconv -f UTF-16 -t UTF-8 FILE | gmemtrace … -`' },
];

const PERF_JSON = '"linux-perf-json-version"';

/** What the file is, and what to do, where its first bytes tell; null where they tell nothing. */
export function hintForForeign(head: Uint8Array): string | null {
  const start = Buffer.from(head.subarray(0, 4096)).toString('latin1');
  for (const { magic, at = 0, hint } of KINDS) if (start.startsWith(magic, at)) return hint;
  if (start.includes(PERF_JSON)) {
    return 'it is the output of `perf data convert --to-json`, which has no event names: give the perf.data itself';
  }
  if (/^\s*[[{]/.test(start)) return 'it is JSON: give the trace that it was made from';
  if (head.length > 0 && head.every((byte) => byte === 0)) return 'its first bytes are all zero: was it copied wholly?';
  return null;
}

/** The first bytes as they are shown in an error: `%PDF-1.7`, or in hex where they are no text. */
export function showStart(head: Uint8Array): string {
  const start = head.subarray(0, 8);
  const isText = start.every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 9 || byte === 10 || byte === 13);
  return isText ? JSON.stringify(Buffer.from(start).toString('latin1')) : Buffer.from(start).toString('hex');
}
