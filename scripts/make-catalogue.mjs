// Makes src/parse/catalogue/*.json: the event formats of known kernels, for traces that do not bring their own (texts).
// Usage: node scripts/make-catalogue.mjs FORMATS_DIR
// FORMATS_DIR has a folder per kernel, in it system/event/format as tracefs gives them; hypervisor events lie under remotes*/.
// A kernel after the first keeps only what differs from all before it.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KERNELS = [
  { folder: '7.3.4+deb13-x86_64', name: '7.3.4-x86_64' },
  { folder: '7.3.4-arm64-lab', name: '7.3.4-arm64' },
  { folder: '6.18.44-fc-x86_64', name: '6.18.44-x86_64' },
  { folder: '6.12.107+deb13-x86_64', name: '6.12.107-x86_64' },
  { folder: '6.1.0-56-x86_64', name: '6.1.0-x86_64' },
];
/** Internal records of ftrace that a text shows as events. */
const FTRACE_EVENTS = new Set(['print', 'bprint', 'bputs', 'raw_data', 'function', 'kernel_stack', 'user_stack']);

/** arch/x86/include/asm/trace/exceptions.h: not in every kernel's list, the same in all of them. */
const EXCEPTIONS = ['page_fault_user', 'page_fault_kernel'].map((name) => ({
  system: 'exceptions',
  name,
  fields: ['address', 'ip', 'error_code'].map((field, k) => `unsigned long ${field};${8 + 8 * k};8;0`),
  printFmt: '"address=%ps ip=%ps error_code=0x%lx", (void *)REC->address, (void *)REC->ip, REC->error_code',
}));

/** `field:TYPE NAME;	offset:N;	size:N;	signed:N;` → `TYPE NAME;offset;size;signed`. */
function compactField(line) {
  const [, declaration, offset, size, signed] = /field:(.*?);\s*offset:(\d+);\s*size:(\d+);\s*signed:(\d);/.exec(line);
  return `${declaration};${offset};${size};${signed}`;
}

function parseFormat(system, path) {
  const text = readFileSync(path, 'utf8');
  const name = /^name: (\S+)/m.exec(text)[1];
  let printFmt = (/^print fmt: (.*)$/m.exec(text)?.[1] ?? '').trim();
  // Some hypervisor events print `""id=%llu", REC->id", `: the macro quotes what is quoted already.
  const doubled = /^"(".*)",?$/.exec(printFmt);
  if (doubled && printFmt.startsWith('""')) printFmt = doubled[1];
  const lines = text.split('\n').filter((line) => line.includes('field:') && !/\bcommon_\w+;/.test(line));
  return { system, name, fields: lines.map(compactField), printFmt };
}

function readSystem(folder, system) {
  const events = [];
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name, 'format');
    if (existsSync(path) && (system !== 'ftrace' || FTRACE_EVENTS.has(name))) events.push(parseFormat(system, path));
  }
  return events;
}

function readKernel(folder) {
  const events = [];
  for (const system of readdirSync(folder).sort()) {
    const path = join(folder, system);
    // pkvm holds probes of one recording, which other traces define otherwise.
    if (!statSync(path).isDirectory() || system === 'pkvm') continue;
    if (system.startsWith('remotes')) events.push(...readSystem(join(path, 'hypervisor'), 'hypervisor'));
    else events.push(...readSystem(path, system));
  }
  return events;
}

const root = process.argv[2];
if (!root) throw new Error('usage: node scripts/make-catalogue.mjs FORMATS_DIR');
const seen = new Set();
for (const kernel of KERNELS) {
  const events = readKernel(join(root, kernel.folder));
  if (kernel === KERNELS[0]) events.push(...EXCEPTIONS);
  const kept = events.filter((event) => {
    const key = JSON.stringify([event.system, event.name, event.fields, event.printFmt]);
    return !seen.has(key) && seen.add(key);
  });
  const lines = kept.map((event) => JSON.stringify(event));
  const file = new URL(`../src/parse/catalogue/${kernel.name}.json`, import.meta.url);
  writeFileSync(file, `{"kernel":"${kernel.name}","events":[\n${lines.join(',\n')}\n]}\n`);
}
