/** The page size of every guest_memfd that kernels up to 7.3 make (order-0 folios only), in bytes. */
export const PAGE_SIZE = 4096;

const NS_STEPS: readonly (readonly [number, number, string])[] = [
  [1e9, 1e9, 's'],
  [1e6, 1e6, 'ms'],
  [1e3, 1e3, 'µs'],
];

/** What a trace's stamps count: few clocks count time (`cycles` of the TSC, `ticks` of the timer, a `count` of events). */
export type ClockUnit = 'ns' | 'cycles' | 'ticks' | 'count';

const COUNT_STEPS: readonly (readonly [number, number, string])[] = [
  [1e9, 1e9, 'G'],
  [1e6, 1e6, 'M'],
  [1e4, 1e3, 'k'],
];

/** A duration in ns as people read it: `850 ns`, `52.1 ms`, `1.03 s`. */
export function formatDuration(ns: number): string {
  return inSteps(ns, NS_STEPS) ?? `${Math.round(ns)} ns`;
}

/** A difference of two stamps: a duration where they are ns, else a number without unit (`52.1 M`, `850`): the place says of what. */
export function formatSpan(value: number, unit: ClockUnit): string {
  return unit === 'ns' ? formatDuration(value) : (inSteps(value, COUNT_STEPS) ?? String(Math.round(value)));
}

function inSteps(value: number, steps: typeof NS_STEPS): string | null {
  const step = steps.find(([from]) => Math.abs(value) >= from);
  if (step === undefined) return null;
  const [, unit, name] = step;
  const scaled = value / unit;
  const digits = Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return `${scaled.toFixed(digits)} ${name}`;
}

/** A size in bytes as people read it: `4 KiB`, `2.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]!}`;
}

/** A count with thousands separators, the same in every locale: `1,614`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** An address or offset: `0x1001b4000`. */
export function formatHex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** A time stamp in ns as the kernel's text prints it, seconds with 9 decimals: `57.101000123`. */
export function formatSeconds(ns: bigint): string {
  const negative = ns < 0n;
  const abs = negative ? -ns : ns;
  return `${negative ? '-' : ''}${abs / 1_000_000_000n}.${String(abs % 1_000_000_000n).padStart(9, '0')}`;
}

/** Physical addresses have no more bits (x86's MAXPHYADDR, arm64's FEAT_LPA2), nor has a file of memory: above is damage. */
export const END_OF_MEMORY = 2 ** 52;
