/** truth.json and capture.json of a simulated run, in the form of the captures'. */
import type { SimulatedRun } from './index.js';
import { isArmPlatform } from './options.js';
import { judge } from './truth.js';

/** Clock tolerance of a comparison, ns: the text rounds to µs. */
const TOLERANCE_NS = 5_000;

/** truth.json. */
export function truthOf({ options, truth, losses }: SimulatedRun): object {
  const { platform, mechanism, seed } = options;
  const { expected, allowed } = judge(truth, options, losses.length > 0);
  return {
    scenario: `simulate-${platform}-${mechanism}`,
    synthetic: true,
    seed,
    options,
    kernel: '7.3.4 (layouts)',
    arch: isArmPlatform(platform) ? 'arm64' : 'x86_64',
    platform: truth.vms[0]?.platform ?? platform,
    mechanism,
    clock: 'mono',
    vms: truth.vms,
    conversions: truth.conversions.map((conversion) => without(conversion, 'stopNs')),
    memory_faults: truth.memory_faults,
    punches: truth.punches,
    reboots: truth.reboots.map((reboot) => without(reboot, 'faults')),
    pins: truth.pins,
    expected_findings: expected,
    allowed_findings: allowed,
  };
}

/** capture.json: the recordings and what each can be asked for. */
export function captureOf(run: SimulatedRun): object {
  const { options, losses } = run;
  const carries = losses.length > 0 ? ['times'] : carriedBy(run);
  return {
    scenario: `simulate-${options.platform}-${options.mechanism}`,
    synthetic: true,
    seed: options.seed,
    time_tolerance_ns: TOLERANCE_NS,
    recordings: [
      { name: 'text', files: ['trace.txt'], carries, sources: options.sources },
      { name: 'dat', files: ['trace.dat'], carries, sources: options.sources },
    ],
  };
}

function carriedBy({ options }: SimulatedRun): string[] {
  const has = new Set(options.sources);
  const isInPlace = options.mechanism !== 'vm-attributes';
  const carries = ['times', 'faults'];
  // An ioctl on a guest_memfd shows its range to probes only, and so does a refused request of TDX and SNP.
  const showsRefusals = options.platform === 'x86-sw' || options.refusals === 0;
  const hasRanges = has.has('probes') || (!isInPlace && showsRefusals);
  if (hasRanges) carries.push('conversions', 'findings');
  if (has.has('syscalls') && hasRanges && options.mechanism !== 'vcpu-run') carries.push('attempts');
  if (has.has('syscalls')) carries.push('reboots', 'punches');
  if (has.has('probes')) carries.push('offsets');
  if (has.has('probes') && isInPlace && options.mechanism !== 'vcpu-run') carries.push('error_offset');
  return carries;
}

/** What is kept for the findings only is not written. */
function without<T extends object>(row: T, name: keyof T): Partial<T> {
  const copy: Partial<T> = { ...row };
  delete copy[name];
  return copy;
}
