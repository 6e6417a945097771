/** All events of one text, found by the bytes of their name. */
import { loadCatalogue } from '../catalogue/index.js';
import type { CatalogueEvent } from '../catalogue/index.js';
import { ByteTable } from './byte-table.js';
import { decode } from './bytes.js';
import type { LineContext, LineKind } from './context.js';
import { EventKind } from './event-kind.js';
import type { KindEnvironment } from './event-kind.js';
import type { Output } from './output.js';

/** More different events than any kernel has: a text with more is none. */
const MAX_KINDS = 20_000;

/** Systems whose events have another name in the catalogue than in the text of print events. */
const PRINT_NAMES: ReadonlySet<string> = new Set(['tracing_mark_write', 'print']);

export class EventTable {
  /** Names; per line kind another table, since `sys_ioctl` stands for two events. */
  private readonly names = { event: new ByteTable(), enter: new ByteTable(), exit: new ByteTable() };
  private readonly kinds: { readonly event: EventKind[]; readonly enter: EventKind[]; readonly exit: EventKind[] } = {
    event: [],
    enter: [],
    exit: [],
  };
  private readonly single = new Map<string, EventKind>();
  private readonly catalogue = loadCatalogue();

  private readonly environment: KindEnvironment;
  private readonly system: string | null;

  /** @param system of all events without one of their own (the hypervisor's buffer); null where there is none */
  constructor(environment: KindEnvironment, system: string | null) {
    this.environment = environment;
    this.system = system;
  }

  /** The kind of a line's event; null for too many of them. */
  find(buf: Uint8Array, context: LineContext, line: LineKind): EventKind | null {
    const { names, kinds } = this;
    if (line === 'syscall-enter') return this.findIn(names.enter, kinds.enter, buf, context, 'sys_enter_');
    if (line === 'syscall-exit') return this.findIn(names.exit, kinds.exit, buf, context, 'sys_exit_');
    return this.findIn(names.event, kinds.event, buf, context, null);
  }

  /** @param prefix of the event's name in place of the `sys_` in the text; null where the text has the name itself */
  private findIn(
    names: ByteTable,
    kinds: EventKind[],
    buf: Uint8Array,
    context: LineContext,
    prefix: string | null,
  ): EventKind | null {
    const from = context.systemTo > context.systemFrom ? context.systemFrom : context.nameFrom;
    const id = names.find(buf, from, context.nameTo);
    if (id >= 0) return kinds[id]!;
    if (names.length >= MAX_KINDS) return null;
    const kind = this.make(buf, context, prefix);
    names.add(buf, from, context.nameTo);
    kinds.push(kind);
    return kind;
  }

  private make(buf: Uint8Array, context: LineContext, prefix: string | null): EventKind {
    const printed = decode(buf, context.nameFrom, context.nameTo);
    const hasSystem = context.systemTo > context.systemFrom;
    const system = hasSystem ? decode(buf, context.systemFrom, context.systemTo) : this.system;
    // the kernel's own text of system calls has neither sys_enter_ nor sys_exit_
    if (prefix !== null) return this.named('syscalls', prefix + printed.slice('sys_'.length));
    if (system === null && PRINT_NAMES.has(printed)) return this.named('ftrace', 'print');
    return this.named(system, printed);
  }

  /** The kind of an event by name; `sys_ioctl(` and `sys_enter_ioctl:` are the same one. */
  named(system: string | null, name: string): EventKind {
    const isSyscall = /^sys_(?:enter|exit)_/.test(name) && (system === null || system === 'syscalls');
    const known = isSyscall ? 'syscalls' : system;
    const key = `${known ?? ''}:${name}`;
    let kind = this.single.get(key);
    if (!kind) {
      const formats = (this.catalogue.get(name) ?? []).filter((event) => fits(event, known));
      kind = new EventKind(known, name, isSyscall ? 'syscall' : 'equals', formats, this.environment);
      this.single.set(key, kind);
    }
    return kind;
  }

  /** Lines without an event name: `func <-parent` of the function tracer, `# 4 buf: 05` of trace_marker_raw. */
  nameless(line: 'function' | 'record'): EventKind {
    const name = line === 'function' ? 'function' : 'raw_data';
    let kind = this.single.get(line);
    if (!kind) {
      kind = new EventKind('ftrace', name, 'equals', [], this.environment);
      this.single.set(line, kind);
    }
    return kind;
  }

  /** Stores what was kept back; gives all outputs with rows. */
  finish(): Output[] {
    const kinds = [...this.single.values()];
    for (const kind of kinds) kind.finish();
    return kinds.flatMap((kind) => kind.outputs());
  }

  outputs(): Output[] {
    return [...this.single.values()].flatMap((kind) => kind.outputs());
  }
}

function fits(event: CatalogueEvent, system: string | null): boolean {
  if (system !== null) return event.system === system;
  // events of the hypervisor are in its own buffer only; ftrace's records have no name of their own in a text
  return event.system !== 'hypervisor' && event.system !== 'ftrace';
}
