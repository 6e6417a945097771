/**
 * The contracts of the parse room: what a reader gives to whoever reads a trace. A reader turns bytes or text into
 * columns, one batch a tracepoint (batch.ts), and says at the end what the trace is and what it lost.
 * Nothing here knows of DuckDB.
 */
import type { EventBatch } from './batch.js';
import type { Source } from './source.js';

/** How a column is held and stored. `string` columns hold ids into the reader's string table. */
export type ColumnType = 'u8' | 'u16' | 'u32' | 'u64' | 'i8' | 'i16' | 'i32' | 'i64' | 'bool' | 'string';

/** One field of a tracepoint, in format order. */
export interface FieldSpec {
  /** The kernel's name of the field; element k of a short array is `name_k`. */
  readonly name: string;
  readonly type: ColumnType;
  /** The C type as in the format file (`unsigned long`, `char[16]`, `__data_loc char[]`); '' where unknown. */
  readonly cType: string;
  /** How a text trace printed the number; decides how an event without print fmt is rendered. */
  readonly radix: 10 | 16;
}

/** A probe (kprobe, kretprobe, fprobe, uprobe): the function it sits on decides what it means, not its name. */
export interface ProbeInfo {
  /** Kernel function, without offset and suffix; null where the trace does not tell. */
  readonly fn: string | null;
  readonly isReturn: boolean;
}

/** One tracepoint or probe as this trace has it. */
export interface EventSchema {
  /** `kvm`, `syscalls`, …; for text without a system that no catalogue knows: `unknown`. */
  readonly system: string;
  readonly name: string;
  /** common_type of a binary trace; null in text. Ids are per file: never compare them between files. */
  readonly id: number | null;
  readonly fields: readonly FieldSpec[];
  /** Where the fields come from: `file` (the trace itself), `catalogue:<kernel>`, or `text` (read off key=value). */
  readonly formatSource: string;
  /** print fmt of the format file, without the leading `print fmt: `; null where there is none. */
  readonly printFmt: string | null;
  readonly probe: ProbeInfo | null;
}

/** Gets each full batch. The batch is reused by the reader after the promise resolves: copy or consume it. */
export type BatchSink = (batch: EventBatch) => void | Promise<void>;

/** A stretch of one CPU in which events may be missing. Times in ns of the trace's clock; null = open end. */
export interface LostStretch {
  /** null: all CPUs (the header of an overwritten text buffer does not say which). */
  readonly cpu: number | null;
  readonly fromNs: bigint | null;
  readonly toNs: bigint | null;
  /** Missing events; null = at least one, unknown. */
  readonly count: number | null;
  /** `page-header`, `lost-line`, `perf-lost`, `overwritten`, `ring-start`, `damage`, … */
  readonly source: string;
}

/** Input that could not be read, summed up per reason. */
export interface Skipped {
  readonly reason: string;
  readonly count: number;
  /** First position: `byte 69632`, `line 12`, `cpu 1 page 3`. */
  readonly first: string;
}

/** A thread as the trace knows it. A comm that changes gives a second sighting. */
export interface TaskSighting {
  readonly tid: number;
  /** Process id; null where the trace does not tell. */
  readonly tgid: number | null;
  /** null for `<...>`. */
  readonly comm: string | null;
  /** From when on it is known; null = whole trace (a saved table that knows no time). */
  readonly fromNs: bigint | null;
}

export interface TraceMeta {
  /** As the user named it. */
  readonly path: string;
  /** `trace.dat`, `perf.data`, `ftrace-text`, `trace-cmd-report`, `perf-script`, `hyp-text`. */
  readonly format: string;
  /** `7 zstd`, `6`, `file zstd`, `latency`, …; '' where there is nothing to say. */
  readonly version: string;
  /** Kernel release, e.g. `7.3.4`; null where unknown. */
  readonly kernel: string | null;
  /** `x86_64`, `aarch64`, …; null where unknown (the replay may infer it from the events). */
  readonly arch: string | null;
  /** Kernel name of the clock (`mono`, `boot`, `local`, `x86-tsc`, …); `unknown` where the trace does not say. */
  readonly clock: string;
  /** `ns`, or `cycles` / `ticks` / `count` where stamps are no time: then ts_ns holds the raw stamp. */
  readonly clockUnit: 'ns' | 'cycles' | 'ticks' | 'count';
  /** Resolution of the stamps in ns (1, or 1000 for text with six decimals). */
  readonly resolutionNs: number;
  /** Recorder and version (`trace-cmd 3.3.1`, `perf 7.3`), null where unknown. */
  readonly recorder: string | null;
  readonly host: string | null;
  /** CPUs of the machine, null where unknown. */
  readonly cpus: number | null;
  /**
   * Events that were enabled, as `system:name`, where the file itself tells (its event formats); null where it does not.
   * An event that is in the list and never came is an absence; one that is not in the list is a missing source.
   */
  readonly enabledEvents: readonly string[] | null;
  /** Further facts worth a line in the report (`overwritten 46061 events`, `clock differs between buffers`). */
  readonly notes: readonly string[];
}

export interface ReadSummary {
  readonly meta: TraceMeta;
  readonly lost: readonly LostStretch[];
  readonly skipped: readonly Skipped[];
  readonly tasks: readonly TaskSighting[];
  /** Every schema of which at least one batch was given. */
  readonly schemas: readonly EventSchema[];
  readonly events: number;
  readonly firstNs: bigint | null;
  readonly lastNs: bigint | null;
}

export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Called now and then with what was read so far, in bytes of the input. */
  readonly onProgress?: (bytesRead: number, bytesTotal: number | null, events: number) => void;
  /** Added to every stamp, ns (`--clock-offset`). */
  readonly clockOffsetNs?: bigint;
  /** Names the clock of a text trace (`--clock`). */
  readonly clock?: string;
  /** Definitions of probes that came beside the trace (probes.txt): event name → probe. */
  readonly probes?: ReadonlyMap<string, ProbeInfo>;
}

export interface EventReader {
  /** Reads the whole trace into the sink. Throws TraceError only where nothing at all could be read. */
  read(sink: BatchSink, options?: ReadOptions): Promise<ReadSummary>;
}

/** `yes` = surely mine, `maybe` = could be, else why not (a fact for the error that lists all reasons). */
export type Verdict = 'yes' | 'maybe' | { readonly no: string };

export interface Format {
  readonly name: string;
  /** One line for `--help formats`. */
  readonly description: string;
  /** Judges by content, never by file name. `head` is up to 64 KiB from the start, already decompressed. */
  detect(head: Uint8Array): Verdict;
  open(source: Source): EventReader;
}
