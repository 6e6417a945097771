// Writes docs/accuracy.md: what gmemtrace says of every capture, held against what really happened in it.
// Usage: node scripts/make-accuracy.mjs [--simulated N] [--only PREFIX] [--dist DIR] [--out FILE]
// --simulated N also asks it about N seeds of the simulator per platform and mechanism; --only takes the captures whose
// name starts so; --dist is a build of src/ (default: dist). Captures are those beside the repository, or else its fixtures.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { register } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { decompress } from 'fzstd';

const { values } = parseArgs({
  options: {
    simulated: { type: 'string', default: '0' },
    only: { type: 'string', default: '' },
    dist: { type: 'string', default: fileURLToPath(new URL('../dist', import.meta.url)) },
    out: { type: 'string', default: fileURLToPath(new URL('../docs/accuracy.md', import.meta.url)) },
  },
});
const seeds = Number(values.simulated);
if (!Number.isInteger(seeds) || seeds < 0) throw new Error(`--simulated ${values.simulated}: a whole number is needed`);
const dist = resolve(values.dist);
register('./lib/ts-hooks.mjs', { parentURL: import.meta.url, data: { build: `${pathToFileURL(dist).href}/` } });
const { answerTo } = await import('../test/support/answer.ts');
const { CAPTURES, FIXTURES, captureNames, readRecordings } = await import('../test/support/capture.ts');
const { holdAgainstTruth } = await import('../test/support/truth.ts');
const tables = await import('./lib/accuracy-tables.ts');

const isWhole = captureNames(CAPTURES).length > 0;
const origin = isWhole
  ? 'The whole collection of captures (`../shared/captures`); those of the repository (`fixtures/`) are some of them.'
  : 'The captures of the repository (`fixtures/`): the whole collection was not there.';
const root = isWhole ? CAPTURES : FIXTURES;
const note = (text) => process.stderr.write(`${text}\n`);

/** The answer to a recording, held against its truth. An error is a result, too; its text has no path of this machine. */
async function judge(capture, recording) {
  const about = {
    capture,
    recording: recording.name,
    carries: recording.carries,
    isClean: (recording.truth.expected_findings ?? []).length === 0,
  };
  try {
    const answer = await answerTo(recording.files);
    const outcome = { verdict: holdAgainstTruth(recording, answer) };
    return { ...about, outcome, unavailable: answer.analysis.unavailable };
  } catch (error) {
    const failure = recording.files.reduce(
      (text, file) => text.replaceAll(file, basename(file)),
      String(error.message),
    );
    return { ...about, outcome: { failure }, unavailable: [] };
  }
}

/**
 * A capture whose truth is packed and which comes without a capture.json: x86-big. It was recorded with `-e kvm` and probes,
 * without syscalls (its commands.txt). Its truth was never given a list of allowed findings: it gets that of the other x86 captures.
 */
function packedRecordings(capture) {
  const [path, trace] = [join(root, capture, 'truth.json.zst'), join(root, capture, 'a.dat')];
  if (existsSync(join(root, capture, 'capture.json')) || !existsSync(path) || !existsSync(trace)) return [];
  return [
    {
      name: 'dat',
      files: [trace],
      carries: new Set(['conversions', 'offsets', 'faults', 'findings', 'times']),
      notFindings: [],
      allowedFindings: ['conversion-ping-pong', 'conversion-stall', 'implicit-storm', 'small-conversions'],
      toleranceNs: 5_000_000,
      truth: JSON.parse(new TextDecoder().decode(decompress(readFileSync(path)))),
    },
  ];
}

/** Runs `work` on all items, a few at a time; results in the order of the items. */
async function mapFewAtATime(items, work) {
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const k = next++;
      results[k] = await work(items[k]);
    }
  };
  await Promise.all(Array.from({ length: 3 }, worker));
  return results;
}

function judgeCaptures() {
  const captures = readdirSync(root).filter((capture) => capture.startsWith(values.only));
  const tasks = captures.sort().flatMap((capture) => {
    const listed = existsSync(join(root, capture, 'capture.json')) ? readRecordings(root, capture) : [];
    return [...listed, ...packedRecordings(capture)].map((recording) => ({ capture, recording }));
  });
  return mapFewAtATime(tasks, async ({ capture, recording }) => {
    const result = await judge(capture, recording);
    note(`${capture} ${recording.name}: ${summaryOf(result)}`);
    return result;
  });
}

const summaryOf = ({ outcome: { verdict, failure } }) =>
  failure ?? `right ${verdict.right}, missing ${verdict.missing.length}, wrong ${verdict.wrong.length}`;

/** As test/simulate/property.test.ts: half of the runs as text, half as trace.dat; up to a third of the events lost. */
async function judgeSimulated() {
  const { COMBINATIONS, optionsOf, troubledOptionsOf, withRecording } = await import('../test/simulate/simulated.ts');
  const groups = [];
  for (const [platform, mechanism] of COMBINATIONS) {
    const all = Array.from({ length: seeds }, (_, k) => k + 1);
    const runs = await mapFewAtATime(all, async (seed) => {
      const options = optionsOf(platform, mechanism, seed);
      const [format, other] = seed % 2 === 0 ? ['text', 'dat'] : ['dat', 'text'];
      const ask = ({ recording }) => judge(`${platform} ${mechanism}`, { ...recording, name: `seed ${seed}` });
      const result = await withRecording({ ...options, lost: lossOf(seed) }, other, ask);
      return {
        whole: await withRecording(options, format, ask),
        troubled: await withRecording(troubledOptionsOf(platform, mechanism, seed), format, ask),
        lossy: tables.withoutMissing({ ...result, recording: `seed ${seed} with losses` }),
      };
    });
    const [whole, lossy] = [runs.flatMap((run) => [run.whole, run.troubled]), runs.map((run) => run.lossy)];
    groups.push({ platform, mechanism, whole, lossy });
    note(`${platform} ${mechanism}: ${seeds} seeds`);
  }
  return groups;
}

const lossOf = (seed) => 0.02 + (seed % 5) * 0.08;

/** Name and severity of the built-in rules, from the heads of their files. */
function readRules() {
  const folder = join(dist, 'replay/rules');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => {
      const severity = /^-- severity: (\w+)/m.exec(readFileSync(join(folder, file), 'utf8'))?.[1];
      return { name: basename(file, '.sql'), severity };
    });
}

const rules = readRules();
const names = rules.map(({ name }) => name);
const habits = rules.filter(({ severity }) => severity === 'info').map(({ name }) => `\`${name}\``);

function renderCaptures(results) {
  const isSynthetic = ({ capture }) => capture.startsWith('sim-');
  const real = results.filter((result) => !isSynthetic(result));
  const synthetic = results.filter(isSynthetic);
  const clean = results.filter(({ isClean }) => isClean);
  const captures = new Set(clean.map(({ capture }) => capture)).size;
  const scores = tables.scoreRules(results, names);
  const falseAlarms = scores.reduce((sum, { onClean }) => sum + onClean, 0);
  return `## Real captures

${origin}
Kernels, events and VMMs are real. The machines were emulated, so the times are those of emulated machines and say nothing of
hardware. \`text-cut\` and the \`lost\` captures lost events on purpose.

${tables.renderTotals(real)}

${tables.renderRecordings(real)}

### Everything missing or wrong

${tables.renderFailures(real)}

## Synthetic captures

**Not recorded**: a generator that is no part of this project wrote these traces of TDX, SEV-SNP and the proposed
KVM_EXIT_UNSHARE, for want of such hosts.

${tables.renderTotals(synthetic)}

${tables.renderRecordings(synthetic)}

### Everything missing or wrong

${tables.renderFailures(synthetic)}

## Rules

All rules with their default thresholds, over all recordings above, the synthetic ones included. Expected findings of the
truths are the positives, once a rule and VM. What a truth allows (it lies near a threshold) counts neither for nor against a
rule, and so do findings of severity \`info\`, the usual one of ${habits.join(', ')}: they tell of habits,
not of faults. *Also found*: in recordings that need not show the finding. A rule that nothing asked for has no recall, and
one that found nothing has no precision.

${clean.length} recordings of ${captures} captures are clean, that is, no finding is expected of them: **${falseAlarms} false findings** there.

${tables.renderRules(scores)}

### Rules that a recording cannot carry

They are listed as \`unavailable\` in the answer, with what is missing, and give no verdict.

${tables.renderUnavailable(results, names)}`;
}

function renderSimulator(groups) {
  const whole = groups.flatMap((group) => group.whole);
  const scores = tables.scoreRules(whole, names);
  const counts = ({ asked, beyond, unexpected }) => asked + beyond + unexpected > 0;
  const asked = scores.filter(counts);
  const platforms = [...new Set(groups.map(({ platform }) => platform))];
  const byPlatform = platforms.map((platform) => {
    const runs = groups.filter((group) => group.platform === platform).flatMap((group) => group.whole);
    const clean = runs.filter(({ isClean }) => isClean).length;
    return `#### ${platform}\n\n${runs.length} runs, ${clean} of them clean.\n\n${tables.renderRules(tables.scoreRules(runs, names).filter(counts))}`;
  });
  return `## Simulated runs

**Synthetic**: ${seeds} seeds of \`gmemtrace simulate\` for each platform and mechanism. A seed decides how many VMs and vCPUs there are
and what goes wrong (stalls, retries, refusals, leaks, reboots); half of the runs are read as text, half as trace.dat. A second
run of each seed has all the trouble that its platform and mechanism allow, hangs included. Each of the first is asked about twice: whole, where the answer must be the truth exactly, and with 2 to 34 % of its events dropped,
where it may say less, but nothing false.

${tables.renderSimulated(groups)}

### Everything missing or wrong

${tables.renderFailures([...whole, ...groups.flatMap((group) => group.lossy)])}

### Rules

Of the whole runs, default thresholds. A rule that is not listed was expected nowhere and reported nothing that was not expected.

${tables.renderRules(asked)}

${byPlatform.join('\n\n')}`;
}

const command = ['node scripts/make-accuracy.mjs', ...(seeds > 0 ? [`--simulated ${seeds}`] : [])].join(' ');
const results = await judgeCaptures();
const groups = seeds > 0 ? await judgeSimulated() : [];
const page = `<!-- Made by scripts/make-accuracy.mjs: do not edit. -->

# Accuracy

What gmemtrace says of recordings whose truth is known. Made by

\`\`\`
npm run build && ${command}
\`\`\`

with the comparison that the tests use (\`test/support/truth.ts\`). The truth of a capture comes from the log that its VMM wrote
of its own doing.

How to read the tables: *conversions* is how many happened within the recording; of these the answer has some *right*
(observed or inferred, same VM, range and direction, near in time), and some are *missing* although the recording
carries them. A request for what was so already (a no-op) may be absent, so right and missing need not add up.
*Wrong* ones never happened. *Unsure* rows of the answer are marked as assumed or have no range: no claim, so neither right
nor wrong. The other columns are right/judged: *ranges* are gpas and offsets, *times* are request, commit and resume within the
tolerance of the recording's clock (and the wait for a CPU), *attempts* every try's errno and error_offset;
*faults*, *reboots*, *punches*: found/happened; *leaks* (findings of \`refcount-leak\`) and *findings*: found/expected.
–: the recording does not carry it; in brackets: it need not carry all, so nothing was asked. **Bold** is a failure.

${[renderCaptures(results), ...(seeds > 0 ? [renderSimulator(groups)] : [])].join('\n\n')}
`;
writeFileSync(values.out, page);
