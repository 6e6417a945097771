/** Progress on standard error: a line that redraws itself on a terminal, one line a stage with --verbose. */
import { formatCount } from '../base/units.js';
import type { OutStream } from './command.js';

export interface Progress {
  /** A stage begins: `import a.dat`, `replay`, `rules`. */
  stage(name: string): void;
  /** Bytes (of `total`, null = not known) and events of this stage so far. */
  update(bytes: number, total: number | null, events: number): void;
  /** Removes the line; the work is over or failed. */
  end(): void;
}

export interface ProgressOptions {
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
}

/** Nothing is drawn in the first half second, then at most ten times a second. */
const FIRST_MS = 500;
const STEP_MS = 100;
const CLEAR_LINE = '\r\u001b[K';

/** Progress for a stream. Silent on anything but a terminal unless verbose. */
export function makeProgress(stream: OutStream, { quiet, verbose, now }: ProgressOptions): Progress {
  const draws = stream.isTTY === true && !quiet && !verbose;
  let name = '';
  let startedAt = now();
  let drawnAt = startedAt + FIRST_MS - STEP_MS;
  let isDrawn = false;
  const clear = (): void => {
    if (isDrawn) stream.write(CLEAR_LINE);
    isDrawn = false;
  };
  const finishStage = (): void => {
    clear();
    if (verbose && !quiet && name !== '') stream.write(`${name}: ${((now() - startedAt) / 1000).toFixed(2)} s\n`);
  };
  return {
    stage(next) {
      finishStage();
      name = next;
      startedAt = now();
    },
    update(bytes, total, events) {
      const at = now();
      if (!draws || at - drawnAt < STEP_MS) return;
      drawnAt = at;
      stream.write(`${CLEAR_LINE}${progressLine(name, { bytes, total, events, seconds: (at - startedAt) / 1000 })}`);
      isDrawn = true;
    },
    end() {
      finishStage();
      name = '';
    },
  };
}

interface Figures {
  readonly bytes: number;
  readonly total: number | null;
  readonly events: number;
  readonly seconds: number;
}

/** `import 41% 512 MB/s 3.1 M ev/s 4 s left`. */
export function progressLine(name: string, { bytes, total, events, seconds }: Figures): string {
  const share = total === null || total === 0 ? null : Math.min(1, bytes / total);
  const left = share === null || share === 0 ? null : (seconds * (1 - share)) / share;
  return [
    name,
    ...(share === null ? [] : [`${Math.floor(share * 100)}%`]),
    ...(seconds > 0 ? [`${Math.round(bytes / 1e6 / seconds)} MB/s`, rate(events / seconds)] : []),
    ...(left === null ? [] : [`${Math.ceil(left)} s left`]),
  ].join(' ');
}

function rate(perSecond: number): string {
  return perSecond >= 1e6 ? `${(perSecond / 1e6).toFixed(1)} M ev/s` : `${formatCount(Math.round(perSecond))} ev/s`;
}
