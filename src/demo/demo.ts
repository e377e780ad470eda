/**
 * `npm run demo`: a disposable machine that labctl builds, pushes, changes and rolls back, told step by step.
 *
 *     node --import tsx src/demo/demo.ts
 *
 * Starts itself a second time inside private namespaces, for the steps that have a machine. Exit status: 0 all shown;
 * 1 something went wrong, or this host can't boot machines, so that a script never takes half a demo for a whole one;
 * 130 interrupted. Leaves nothing behind but the cached image.
 */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Diagnostic, formatDiagnostic } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { checkHost } from "../twin/host-support.ts";
import { ensureImage, type Image } from "../twin/image.ts";
import { isInNamespaces, runInNamespaces } from "../twin/namespace.ts";
import { makeLabCopy, removeLabCopy } from "./lab-copy.ts";
import { findLeftovers } from "./leftovers.ts";
import { formatTime, Narrator } from "./narrator.ts";
import { describeProblem } from "./problems.ts";
import { tellStory } from "./story.ts";

const PACKAGE_ROOT = fileURLToPath(new URL("../..", import.meta.url)) as AbsPath;
const PROGRAM = join(PACKAGE_ROOT, "dist/labctl.cjs") as AbsPath;

/** What the layers ask for: the machine has no internet. The same set as the tests', so that one image serves both. */
const IMAGE_PACKAGES: readonly string[] = ["nginx-light", "curl"];

/** Steps told before the namespaces: set-up and build, and the image where it is built. */
const STORY_ENV = "LABCTL_DEMO_STORY";

/** Of what mmdebstrap says, the lines that tell how far it is. */
const IMAGE_PHASE = /^(building|downloading|extracting|installing|creating) /;

const INTERRUPTED = 130;

/** What the outer process hands to the inner one. */
interface Handover {
  readonly lab: AbsPath;
  readonly image: Image;
  readonly firstStep: number;
}

async function main(): Promise<number> {
  const handover = process.env[STORY_ENV];
  if (handover !== undefined && isInNamespaces()) return runStory(JSON.parse(handover) as Handover);
  const startedAt = performance.now();
  const interrupt = watchSignals();
  const lab = makeLabCopy(PACKAGE_ROOT);
  const narrator = new Narrator();
  let status: number;
  let toldAt = startedAt;
  try {
    status = await runAll(narrator, lab, interrupt);
    toldAt = performance.now();
  } finally {
    removeLabCopy(lab);
    // The compiler's cache, if the set-up saw that there was none before.
    const compiled = process.env.LABCTL_SETUP_TSX;
    if (compiled) rmSync(compiled, { recursive: true, force: true });
  }
  interrupt.end();
  const left = findLeftovers(lab);
  if (left.length > 0) return report([describeProblem({ kind: "left-behind", what: left })]);
  if (status === 0) {
    narrator.begin("Clean up");
    narrator.end(
      "the machine, its disk and network, and the copy of the repository are gone",
      performance.now() - toldAt,
    );
    console.log("");
    narrator.say(
      `The whole demo took ${formatTime(performance.now() - startedAt)}. README.md says how to start your own.`,
    );
  } else if (interrupt.happened) {
    console.log("\ninterrupted; nothing is left running, mounted or in the temporary folder");
    return INTERRUPTED;
  }
  return status;
}

/** Set-up's report, build, image, and the story in namespaces. */
async function runAll(narrator: Narrator, lab: AbsPath, interrupt: Interrupt): Promise<number> {
  narrator.begin("Set-up: what this demo needs on the host");
  const host = checkHost();
  const did = process.env.LABCTL_SETUP_DID?.trim();
  const ms = Number(process.env.LABCTL_SETUP_MS ?? "0");
  if (host.ok)
    narrator.end(
      did ? `installed ${did.replace("packages npm", "packages, npm")}` : "nothing was missing",
      ms,
    );
  else {
    narrator.say("this host can't boot machines, so only the build is shown; what is missing:");
    report(host.problems);
  }

  narrator.begin("Build every example machine's /usr/local");
  const built = await narrator.run("labctl build", [process.execPath, PROGRAM, "build"], {
    cwd: lab,
    env: process.env,
  });
  if (built.status !== 0 || interrupt.happened) return Math.max(1, built.status);
  narrator.end("plain files, the same on every host; no network, no root");
  if (!host.ok) {
    showTree(narrator, lab);
    narrator.say("`npx labctl build` does the same in this clone, and keeps the trees under var/tree.");
    narrator.say("Exit status 1: the steps with a machine were not shown.");
    return 1;
  }

  const image = await prepareImage(narrator, interrupt);
  if (interrupt.happened || image === undefined) return 1;
  const handover: Handover = { lab, image, firstStep: narrator.nextStep };
  const runner = [process.execPath, "--import", "tsx", fileURLToPath(import.meta.url)];
  const ended = await runInNamespaces(runner, {
    env: { [STORY_ENV]: JSON.stringify(handover) },
    cwd: PACKAGE_ROOT,
  });
  if (!ended.ok) return report(ended.problems);
  narrator.nextStep = handover.firstStep + STORY_STEPS;
  return ended.value;
}

/** Steps that `tellStory` tells. */
const STORY_STEPS = 8;

/** The cached image; a step of its own only where it has to be built. */
async function prepareImage(narrator: Narrator, interrupt: Interrupt): Promise<Image | undefined> {
  let building = false;
  const image = await ensureImage({
    packages: IMAGE_PACKAGES,
    onProgress: (line) => {
      if (!building)
        narrator.begin("Build the machine's Debian image, once; later runs take it from the cache");
      building = true;
      if (IMAGE_PHASE.test(line)) narrator.aside(line);
    },
  });
  if (!image.ok) {
    if (!interrupt.happened) report(image.problems);
    return undefined;
  }
  const { file, sizeBytes } = image.value;
  if (building) narrator.end(`${file}, ${Math.round(sizeBytes / 1e6)} MB`);
  return image.value;
}

async function runStory({ lab, image, firstStep }: Handover): Promise<number> {
  const narrator = new Narrator(firstStep);
  const told = await tellStory({ narrator, image, lab, program: PROGRAM });
  return told.ok ? 0 : report(told.problems);
}

/** One machine's tree and the number of files of each. */
function showTree(narrator: Narrator, lab: AbsPath): void {
  for (const machine of readdirSync(join(lab, "var/tree"), { withFileTypes: true })) {
    if (!machine.isDirectory()) continue;
    const root = join(lab, "var/tree", machine.name, "usr/local");
    const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((e) => !e.isDirectory());
    narrator.say(`var/tree/${machine.name}/usr/local: ${files.length} files`);
    if (machine.name !== "demo") continue;
    const paths = files.map((e) => join(e.parentPath, e.name).slice(root.length + 1));
    for (const path of paths.sort()) narrator.aside(`  ${path}`);
  }
}

interface Interrupt {
  readonly happened: boolean;
  end(): void;
}

/**
 * Ctrl-C and its like end the programs that run for us, and thereby the step that waits for them; the rest is ordinary
 * cleaning up. A terminal has told them already, `kill` has not.
 */
function watchSignals(): Interrupt {
  const state = { happened: false, end: () => {} };
  const onSignal = () => {
    state.happened = true;
    for (const pid of readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ")) {
      const command = pid === "" ? "" : readFileSync(`/proc/${pid}/cmdline`, "utf8");
      // Namespaces get their signal from `runInNamespaces`, which waits for their end.
      if (command !== "" && !command.includes("labctl-init") && !command.includes("--service="))
        process.kill(Number(pid), "SIGTERM");
    }
  };
  const signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, onSignal);
  state.end = () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
  return state;
}

function report(problems: readonly Diagnostic[]): number {
  for (const one of problems) console.log(formatDiagnostic(one));
  return 1;
}

process.exit(await main());
