import { formatCount, formatSpan } from '../../base/units.js';
import { MOST_BUCKETS, type FaultRate } from '../fault-rate.js';
import { drawSparkline } from '../histogram.js';
import { plural, spanWords, vmName } from '../names.js';
import type { RenderOptions } from '../render.js';
import { wrap } from './layout.js';

/** One line a VM: its faults over the trace's time, a column a bucket. */
export function faultRateText(rate: FaultRate | null, options: RenderOptions): string {
  const title = options.paint('strong', 'memory faults');
  if (rate === null)
    return `${title} not known: the trace holds no exits to userspace (record -e kvm:kvm_userspace_exit)`;
  const { unit } = options;
  const span = spanWords(Number(rate.endNs - rate.startNs), unit);
  if (rate.total === 0) return `${title} none in ${span}`;
  const columns = Math.max(10, Math.min(MOST_BUCKETS, options.width - 20));
  const lines = rate.lines.map((line) => {
    const buckets = line.counts.map((count, index) => ({ index, count })).filter((b) => b.count > 0);
    const axis = { from: 0, to: line.counts.length - 1 };
    const spark = drawSparkline(buckets, axis, { width: columns, unicode: options.unicode });
    return `  ${vmName(line.vm).padEnd(5)} ${formatCount(line.count).padStart(7)} ${options.unicode ? '│' : '|'}${spark.padEnd(Math.min(columns, line.counts.length))}${options.unicode ? '│' : '|'}`;
  });
  const peak = peakOf(rate);
  const rateText = unit === 'ns' ? `, ${plural(Math.round((peak.count * 1e9) / rate.bucketNs), 'fault')}/s` : '';
  const head =
    `${title} ${formatCount(rate.total)} in ${span}, at most ${formatCount(peak.count)} in ` +
    `${spanWords(rate.bucketNs, unit)} (at +${formatSpan(peak.index * rate.bucketNs, unit)}${rateText})`;
  return [wrap(head, options.width, '  '), ...lines].join('\n');
}

/** The bucket with most faults of all VMs together. */
function peakOf({ lines }: FaultRate): { readonly index: number; readonly count: number } {
  const sums = lines[0]!.counts.map((_, k) => lines.reduce((sum, line) => sum + line.counts[k]!, 0));
  const count = Math.max(...sums);
  return { index: sums.indexOf(count), count };
}
