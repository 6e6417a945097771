/** The events that a simulated kernel can record: real formats of the catalogue, and probes as they would be defined. */
import { TraceError } from '../base/errors.js';
import { catalogueFormat, loadCatalogue } from '../parse/catalogue/index.js';
import type { CatalogueEvent } from '../parse/catalogue/index.js';
import { schemaOf } from '../parse/event-format.js';
import type { EventFormat, RawField } from '../parse/event-format.js';
import { compilePrintFmt } from '../parse/print-fmt/index.js';
import type { FieldGetter } from '../parse/print-fmt/index.js';
import { isArmPlatform } from './options.js';
import type { EventSource, Platform } from './options.js';
import { probeFormat, probesOf } from './probes.js';
import type { Probe } from './probes.js';

/** An event's fields by name; a field that is not named is 0. */
export type Values = Readonly<Record<string, number | bigint | string>>;

export interface EventDefinition {
  readonly name: string;
  readonly system: string;
  /** common_type of the simulated kernel. */
  readonly id: number;
  /** TRACE_FLAG_* bits (08 §8) and preemption depth when the event is recorded. */
  readonly commonFlags: number;
  readonly preemptCount: number;
  readonly fields: readonly RawField[];
  /** The `format` file. */
  readonly formatText: string;
  readonly probe: Probe | null;
  readonly pack: (values: Values) => (number | bigint | string)[];
  /** The text behind the event's name, as the print fmt says it. */
  readonly render: (get: FieldGetter) => string;
}

export interface EventSet {
  readonly isArm: boolean;
  /** undefined where the recorder does not record the event. */
  readonly get: (name: string) => EventDefinition | undefined;
  readonly all: readonly EventDefinition[];
}

const IRQS_OFF = 1;

/** Which events belong to a source, and how interrupts and preemption stand where the kernel fires them. */
const TRACEPOINTS: Readonly<
  Record<Exclude<EventSource, 'probes'>, Readonly<Record<string, readonly [number, number]>>>
> = {
  kvm: {
    kvm_entry: [IRQS_OFF, 1],
    kvm_exit: [IRQS_OFF, 1],
    kvm_hypercall: [0, 0],
    kvm_page_fault: [0, 0],
    kvm_userspace_exit: [0, 0],
    kvm_vm_set_mem_attributes: [0, 0],
    kvm_unmap_hva_range: [0, 0],
    kvm_mmio: [0, 0],
    kvm_pio: [0, 0],
    kvm_msr: [0, 0],
    kvm_vcpu_wakeup: [0, 0],
    kvm_vmgexit_enter: [0, 0],
    kvm_vmgexit_exit: [0, 1],
    kvm_vmgexit_msr_protocol_enter: [0, 0],
    kvm_vmgexit_msr_protocol_exit: [0, 0],
    kvm_rmp_fault: [0, 0],
    kvm_guest_fault: [0, 0],
    kvm_hvc_arm64: [0, 0],
    kvm_wfx_arm64: [0, 0],
  },
  kvmmmu: { kvm_mmu_spte_requested: [0, 2], kvm_tdp_mmu_spte_changed: [0, 2], kvm_mmu_set_spte: [0, 2] },
  syscalls: {
    sys_enter_ioctl: [0, 0],
    sys_exit_ioctl: [0, 0],
    sys_enter_fallocate: [0, 0],
    sys_exit_fallocate: [0, 0],
    sys_enter_madvise: [0, 0],
    sys_exit_madvise: [0, 0],
    sys_enter_munmap: [0, 0],
    sys_exit_munmap: [0, 0],
    sys_enter_close: [0, 0],
    sys_exit_close: [0, 0],
  },
  filemap: { mm_filemap_add_to_page_cache: [0, 0], mm_filemap_delete_from_page_cache: [IRQS_OFF, 2] },
  page_ref: {
    page_ref_set: [0, 1],
    page_ref_mod: [0, 1],
    page_ref_mod_unless: [0, 1],
    page_ref_mod_and_test: [0, 1],
    page_ref_freeze: [IRQS_OFF, 3],
  },
  sched: { sched_switch: [IRQS_OFF, 2], sched_process_exit: [0, 0], task_newtask: [0, 0] },
};

/** Events that only one architecture has. */
const ARM_ONLY = new Set(['kvm_guest_fault', 'kvm_hvc_arm64', 'kvm_wfx_arm64']);
const X86_ONLY = /^kvm_(?:hypercall|page_fault|pio|msr|vmgexit|rmp_fault|mmu_|tdp_)/;
/** Of kernels with VM attributes: x86, and the CCA series up to v14. */
const VM_ATTRIBUTES_ONLY = new Set(['kvm_vm_set_mem_attributes']);

const COMMON_FIELDS: readonly (readonly [string, number, number, number])[] = [
  ['unsigned short common_type', 0, 2, 0],
  ['unsigned char common_flags', 2, 1, 0],
  ['unsigned char common_preempt_count', 3, 1, 0],
  ['int common_pid', 4, 4, 1],
];

const FIRST_ID = 400;

/** The events that a host of this platform records, and their formats (catalogue of 7.3.4, probes of reference 05). */
export function makeEventSet(platform: Platform, sources: readonly EventSource[], mechanism: string): EventSet {
  const isArm = isArmPlatform(platform);
  const catalogue = loadCatalogue();
  const all: EventDefinition[] = [];
  const add = (
    format: EventFormat,
    [commonFlags, preemptCount]: readonly [number, number],
    probe: Probe | null,
  ): void => {
    all.push(
      define(
        { ...format, id: format.name === 'print' ? 5 : FIRST_ID + all.length },
        { commonFlags, preemptCount, probe },
      ),
    );
  };
  add(catalogueFormat(findEvent(catalogue, 'print', isArm)), [0, 0], null);
  for (const source of sources) {
    if (source === 'probes') continue;
    for (const [name, context] of Object.entries(TRACEPOINTS[source])) {
      if (isArm ? X86_ONLY.test(name) : ARM_ONLY.has(name)) continue;
      if (isArm && mechanism !== 'vm-attributes' && VM_ATTRIBUTES_ONLY.has(name)) continue;
      add(catalogueFormat(findEvent(catalogue, name, isArm)), context, null);
    }
  }
  if (sources.includes('probes')) {
    for (const probe of probesOf(platform, mechanism)) add(probeFormat(probe), [0, 0], probe);
  }
  const byName = new Map(all.map((definition) => [definition.name, definition]));
  return { isArm, get: (name) => byName.get(name), all };
}

function findEvent(
  catalogue: ReadonlyMap<string, readonly CatalogueEvent[]>,
  name: string,
  isArm: boolean,
): CatalogueEvent {
  const known = catalogue.get(name) ?? [];
  const own = isArm ? '7.3.4-arm64' : '7.3.4-x86_64';
  const event = known.find(({ kernel }) => kernel === own) ?? known[0];
  if (!event) throw new TraceError('internal', `the format catalogue has no ${name}`);
  return event;
}

function define(
  format: EventFormat,
  context: { readonly commonFlags: number; readonly preemptCount: number; readonly probe: Probe | null },
): EventDefinition {
  const schema = schemaOf(format);
  const printFmt = format.printFmt ?? '""';
  const { system, name, id, fields } = format;
  return {
    ...context,
    name,
    system,
    id,
    fields,
    formatText: writeFormat(format),
    pack: (values) => fields.map((field) => values[field.name] ?? (field.isString ? '' : 0)),
    render: compilePrintFmt(printFmt, schema.fields).render,
  };
}

/** The text of a `format` file (kernel/trace/trace_events.c:f_show). */
function writeFormat({ name, id, fields, printFmt }: EventFormat): string {
  const line = (declaration: string, offset: number, size: number, signed: number): string =>
    `\tfield:${declaration};\toffset:${offset};\tsize:${size};\tsigned:${signed};\n`;
  const common = COMMON_FIELDS.map(([declaration, offset, size, signed]) =>
    line(declaration, offset, size, signed),
  ).join('');
  const own = fields.map((field) => {
    const brackets = /\[\d*\]$/.exec(field.cType)?.[0] ?? '';
    const declaration = `${field.cType.slice(0, field.cType.length - brackets.length)} ${field.name}${brackets}`;
    return line(declaration, field.offset, field.size, field.signed ? 1 : 0);
  });
  return `name: ${name}\nID: ${id}\nformat:\n${common}\n${own.join('')}\nprint fmt: ${printFmt ?? '""'}\n`;
}
