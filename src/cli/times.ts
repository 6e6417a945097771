/** Instants, sizes and ranges as people type them. */
import { TraceError } from '../base/errors.js';

const UNITS: Readonly<Record<string, bigint>> = {
  '': 1_000_000_000n,
  s: 1_000_000_000n,
  ms: 1_000_000n,
  us: 1_000n,
  µs: 1_000n,
  ns: 1n,
};

/**
 * An instant on the trace's clock in ns: `57.311` (seconds, as traces print them), `57311000000ns`, `+1.2s` (from the
 * first event; ms, us, ns too), `start`, `end`. Throws TraceError `usage` on anything else.
 */
export function parseInstant(
  text: string,
  span: { readonly first: bigint | null; readonly last: bigint | null },
): bigint {
  if (text === 'start' && span.first !== null) return span.first;
  if (text === 'end' && span.last !== null) return span.last;
  const match = /^(\+?)(\d+)(?:\.(\d+))?(s|ms|us|µs|ns|)$/.exec(text.trim());
  if (match === null) {
    throw new TraceError('usage', `${text}: not a time`, {
      hint: 'write seconds as the trace prints them (57.311), ns (57311000000ns), from the start (+1.2s), start or end',
    });
  }
  const [, plus, whole, fraction = '', unit = ''] = match;
  const scale = UNITS[unit]!;
  const ns = BigInt(whole!) * scale + (BigInt(fraction || '0') * scale) / 10n ** BigInt(fraction.length);
  if (plus === '') return ns;
  if (span.first === null) throw new TraceError('usage', `${text}: the trace has no event to count from`);
  return span.first + ns;
}

const SIZES: Readonly<Record<string, bigint>> = { '': 1n, k: 1n << 10n, m: 1n << 20n, g: 1n << 30n, t: 1n << 40n };

function parseBytes(text: string, flag: string): bigint {
  const match = /^(0x[0-9a-f]+|\d+)([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (match === null) {
    throw new TraceError('usage', `${flag} ${text}: not a number of bytes`, {
      hint: 'write it like 0x200000, 4096 or 2M',
    });
  }
  return BigInt(match[1]!.toLowerCase()) * SIZES[match[2]!.toLowerCase()]!;
}

/** A range in bytes: `0x200000` (one page) or `0x200000+2M`. Throws TraceError `usage` on anything else. */
export function parseRange(text: string, flag: string): { readonly from: bigint; readonly size: bigint } {
  const [from, size, ...rest] = text.split('+');
  if (from === undefined || rest.length > 0) {
    throw new TraceError('usage', `${flag} ${text}: not a range`, { hint: 'write it like 0x200000+2M' });
  }
  return { from: parseBytes(from, flag), size: size === undefined ? 4096n : parseBytes(size, flag) };
}

/** The number in a handle as the reports print it: `gmem1`, `gmem#1` or `1`. Throws TraceError `usage`. */
export function parseHandle(text: string, prefix: string): number {
  const match = new RegExp(`^(?:${prefix}#?)?(\\d{1,9})$`).exec(text.trim());
  if (match === null) throw new TraceError('usage', `${text}: not of the form ${prefix}1`);
  return Number(match[1]);
}
