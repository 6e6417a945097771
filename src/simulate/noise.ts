/** Tasks that have nothing to do with VMs: the same calls on other files, other page cache, other pages held. */
import { ENOTTY, ioctl, IOCTL, succeed, systemCall } from './calls.js';
import { emit, record, run, sleep, startTask } from './host.js';
import type { Flow, Task } from './host.js';
import { newPfn, newPid } from './model.js';
import type { World } from './model.js';
import { deviceNumber, dropRef, recordRef, takeRef } from './pages.js';

const KINDS: readonly { readonly comm: string; readonly act: (task: Task, world: World) => Flow }[] = [
  { comm: 'sshd-session', act: useTerminal },
  { comm: 'jbd2/nvme0n1p2-', act: writeFiles },
  { comm: 'gpu-daemon', act: useTwinNumbers },
  { comm: 'fio', act: pinBuffers },
  { comm: 'mysqld', act: punchFile },
  { comm: 'kcompactd0', act: walkFrames },
];

/** Starts `count` of them; they run as long as the trace. */
export function startNoise(world: World, count: number): void {
  for (let i = 0; i < count; i++) {
    const kind = KINDS[i % KINDS.length]!;
    const tid = newPid(world);
    const random = world.random.fork(`noise${i}`);
    startTask(
      world.host,
      { tid, tgid: tid, comm: kind.comm },
      function* (task) {
        for (;;) {
          yield* sleep(random.int(200_000, 8_000_000));
          yield* kind.act(task, world);
        }
      },
      { delayNs: random.int(0, 3_000_000), isBackground: true },
    );
  }
}

function* useTerminal(task: Task): Flow {
  yield* ioctl(task, { fd: 3, cmd: IOCTL.TCGETS, arg: 0x7ffd8d63fbc0 }, () => succeed());
}

/** Files on a disk: pages come and go in their own order. */
function* writeFiles(task: Task, world: World): Flow {
  const { random } = world;
  const values = { i_ino: 0x51208 + random.int(0, 20), index: random.int(0, 60), s_dev: deviceNumber(259, 2) };
  const pfn = newPfn(world);
  yield* systemCall(task, 'fallocate', { fd: 5, mode: 0, offset: 0, len: 0x10000 }, function* () {
    yield* emit(task, 'mm_filemap_add_to_page_cache', { ...values, pfn });
    return 0;
  });
  if (random.chance(0.5)) yield* emit(task, 'mm_filemap_delete_from_page_cache', { ...values, pfn });
}

/** Numbers that other drivers use, too, or that fail on files that are no VM's. */
function* useTwinNumbers(task: Task, world: World): Flow {
  const { random } = world;
  const cmd = random.pick([IOCTL.KVM_SET_MEMORY_ATTRIBUTES, IOCTL.KVM_SET_MEMORY_ATTRIBUTES2, IOCTL.KVM_RUN]);
  yield* ioctl(task, { fd: random.int(9, 17), cmd, arg: 0x7ffc00001000 }, () => succeed(-ENOTTY));
}

/** I/O on its own memory: references that no guest_memfd knows of. */
function* pinBuffers(task: Task, world: World): Flow {
  const values = { pfn: newPfn(world), flags: 0x20028, mapcount: 0, mapping: 0xffff888103001c01n, mt: 1 };
  record(task, 'page_ref_mod', { ...values, count: 1026, val: 1024 });
  yield run(900);
  yield* sleep(world.random.int(20_000, 3_000_000));
  record(task, 'page_ref_mod_and_test', { ...values, count: 2, val: -1024 });
  yield run(900);
}

/** Compaction, and whatever else goes over page frames: speculative references on guest memory, gone in no time or not got at all. */
function* walkFrames(task: Task, world: World): Flow {
  const { random } = world;
  const gmems = world.vms.flatMap((vm) => vm.gmems).filter(({ pages }) => pages.size > 0);
  if (gmems.length === 0) return;
  const gmem = random.pick(gmems);
  const pages = [...gmem.pages.values()];
  const first = random.int(0, pages.length - 1);
  for (const page of pages.slice(first, first + 4)) {
    // folio_try_get: nobody gets a reference on a frame that is being freed
    if (page.refs === 0) recordRef(task, 'page_ref_mod_unless', page, 0n, { by: 1 });
    else {
      yield* takeRef(task, gmem, page);
      yield run(random.int(200, 1_500));
      yield* dropRef(task, gmem, page);
    }
  }
}

/** Holes in a database's file, by the call and file number that VMMs use as well. */
function* punchFile(task: Task, world: World): Flow {
  const { random } = world;
  const index = random.int(0, 4000);
  const pages = random.int(1, 4);
  yield* systemCall(
    task,
    'fallocate',
    { fd: random.int(9, 17), mode: 3, offset: index * 4096, len: pages * 4096 },
    function* () {
      for (let i = 0; i < pages; i++) {
        const values = { i_ino: 0x77001, index: index + i, s_dev: deviceNumber(259, 2), pfn: newPfn(world) };
        yield* emit(task, 'mm_filemap_delete_from_page_cache', values);
      }
      return 0;
    },
  );
}
