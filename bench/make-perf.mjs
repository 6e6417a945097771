// Makes a large perf.data of a small one: its samples come again and again, each time later.
// node bench/make-perf.mjs SMALL OUT TIMES. Little-endian file mode without compression, one sample type for all events.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** include/uapi/linux/perf_event.h; tools/perf/util/event.h. */
const PERF_RECORD_SAMPLE = 9;
const PERF_RECORD_FINISHED_ROUND = 68;
const SAMPLE = { ip: 1n, tid: 2n, time: 4n, identifier: 1n << 16n };

/** struct perf_file_header: offsets of its sections (tools/perf/util/header.h). */
const ATTRS = 24;
const DATA = 40;
const FLAGS = 72;

function offsetOfTime(sampleType) {
  if ((sampleType & SAMPLE.time) === 0n) throw new Error('the samples have no time');
  return 8 + [SAMPLE.identifier, SAMPLE.ip, SAMPLE.tid].filter((bit) => (sampleType & bit) !== 0n).length * 8;
}

function featureCount(bytes) {
  let count = 0;
  for (let k = 0; k < 32; k++) for (let bits = bytes[FLAGS + k]; bits > 0; bits &= bits - 1) count++;
  return count;
}

/** Records that come again, as one block, and the times of the first and the last of them. */
function findSamples(bytes, from, size, timeAt) {
  const pieces = [];
  let first = 2n ** 64n;
  let last = 0n;
  for (let at = from; at + 8 <= from + size; at += bytes.readUInt16LE(at + 6)) {
    const type = bytes.readUInt32LE(at);
    if (type !== PERF_RECORD_SAMPLE && type !== PERF_RECORD_FINISHED_ROUND) continue;
    pieces.push(bytes.subarray(at, at + bytes.readUInt16LE(at + 6)));
    if (type !== PERF_RECORD_SAMPLE) continue;
    const time = bytes.readBigUInt64LE(at + timeAt);
    if (time < first) first = time;
    if (time > last) last = time;
  }
  return { block: Buffer.concat(pieces), first, last };
}

function moveTimes(block, timeAt, by) {
  for (let at = 0; at < block.length; at += block.readUInt16LE(at + 6)) {
    if (block.readUInt32LE(at) !== PERF_RECORD_SAMPLE) continue;
    block.writeBigUInt64LE(block.readBigUInt64LE(at + timeAt) + by, at + timeAt);
  }
}

/** Writes `from` to `to` with its samples `times` times. */
export function makePerf(from, to, times) {
  const bytes = readFileSync(from);
  if (bytes.toString('latin1', 0, 8) !== 'PERFILE2') throw new Error(`${from}: not a little-endian perf.data`);
  const dataAt = Number(bytes.readBigUInt64LE(DATA));
  const dataSize = Number(bytes.readBigUInt64LE(DATA + 8));
  const attrsAt = Number(bytes.readBigUInt64LE(ATTRS));
  const timeAt = offsetOfTime(bytes.readBigUInt64LE(attrsAt + 24));
  const { block, first, last } = findSamples(bytes, dataAt, dataSize, timeAt);
  const added = block.length * (times - 1);
  const head = Buffer.from(bytes.subarray(0, dataAt + dataSize));
  head.writeBigUInt64LE(BigInt(dataSize + added), DATA + 8);
  const tail = Buffer.from(bytes.subarray(dataAt + dataSize));
  for (let k = 0; k < featureCount(bytes); k++) {
    tail.writeBigUInt64LE(tail.readBigUInt64LE(k * 16) + BigInt(added), k * 16);
  }
  const file = openSync(to, 'w');
  writeSync(file, head);
  for (let copy = 1; copy < times; copy++) {
    moveTimes(block, timeAt, last - first + 1_000_000n);
    writeSync(file, block);
  }
  writeSync(file, tail);
  closeSync(file);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to, times] = process.argv.slice(2);
  makePerf(from, to, Number(times));
}
