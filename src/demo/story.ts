/**
 * The part of the demo that has a machine: boot, push, edit, plan, push, rollback. Runs inside private namespaces, where
 * all that it starts and mounts ends with it. Checks every claim that it prints.
 */
import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { type Diagnostic, failure, type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { openBed } from "../twin/bed.ts";
import type { Image } from "../twin/image.ts";
import type { Machine } from "../twin/machine.ts";
import { runSteps } from "../twin/run-program.ts";
import {
  compareInvocations,
  fetchPage,
  type Invocations,
  readExposure,
  readInvocations,
} from "./inspect-machine.ts";
import { applyEdit, EDITS } from "./lab-copy.ts";
import { formatTime, type Narrator } from "./narrator.ts";
import { describeProblem } from "./problems.ts";

const FIRST_TITLE = "Built, pushed and served by labctl";
const SECOND_TITLE = `${FIRST_TITLE}, second edition`;

/** Exit codes of `labctl plan` and of the rest. */
const DONE = 0;
const CHANGES = 2;

export interface StoryOptions {
  readonly narrator: Narrator;
  readonly image: Image;
  /** The throwaway copy of the repository. */
  readonly lab: AbsPath;
  /** The bundled `labctl.cjs`. */
  readonly program: AbsPath;
}

/** Ends a story early; carried as an exception because a story has no other branches. */
class StoryEnd extends Error {
  readonly problems: readonly Diagnostic[];

  constructor(problems: readonly Diagnostic[]) {
    super(problems[0]?.message ?? "the story ended");
    this.problems = problems;
  }
}

/** Tells the story from the boot on. Failure: the first thing that was not as it should be. */
export async function tellStory(options: StoryOptions): Promise<Result<undefined>> {
  try {
    await tell(options);
    return success(undefined);
  } catch (error) {
    if (error instanceof StoryEnd) return failure(...error.problems);
    throw error;
  }
}

async function tell({ narrator, image, lab, program }: StoryOptions): Promise<void> {
  const labctl = async (args: readonly string[], expected: number): Promise<string> => {
    const command = `labctl ${args.join(" ")}`;
    const env = { ...process.env, SSH_AUTH_SOCK: undefined };
    const ended = await narrator.run(command, [process.execPath, program, ...args], { cwd: lab, env });
    if (ended.status === expected) return ended.output;
    throw storyEnd(describeProblem({ kind: "command-failed", command, status: ended.status, expected }));
  };

  narrator.begin("Boot a disposable Debian machine: systemd as PID 1, OpenSSH, its own kernel namespaces");
  const bed = unwrap(await openBed({ image }));
  const machine = unwrap(await bed.boot({ name: "demo" }));
  unwrap(await configureSsh(bed.sshConfigFile));
  narrator.end(`it is up and answers ssh at ${machine.address}`);

  const stock = await readExposure(machine, "nginx.service");
  narrator.begin("First push: nothing of labctl's is there yet");
  await labctl(["push", "demo"], DONE);
  narrator.end("one SSH connection: look, send, commit, start, check, confirm");

  narrator.begin("A page from the sandboxed nginx");
  await showPage(narrator, machine, FIRST_TITLE, "text/html");
  const exposure = await readExposure(machine, "nginx.service");
  narrator.end(
    `systemd-analyze security nginx.service: ${exposure ?? "unknown"}; before the push: ${stock ?? "unknown"}`,
  );

  narrator.begin("Edit two files of the layer `web`");
  for (const edit of EDITS) {
    narrator.say(edit.path);
    for (const line of applyEdit(lab, edit)) narrator.change(line);
  }
  narrator.end("nothing has happened on the machine");

  narrator.begin("What would a push do, and why?");
  await labctl(["plan", "demo"], CHANGES);
  narrator.end("nothing has happened on the machine; exit status 2 says that changes wait");

  narrator.begin("Second push: the difference, and what it needs");
  const before = await readInvocations(machine);
  await labctl(["push", "demo"], DONE);
  await showPage(narrator, machine, SECOND_TITLE, "text/html; charset=utf-8");
  const untouched = expectRestarts(before, await readInvocations(machine), ["nginx.service"]);
  narrator.end(`InvocationIDs compared: nginx.service started anew, ${untouched} others untouched`);

  narrator.begin("Third push: nothing differs");
  const settled = await readInvocations(machine);
  await labctl(["push", "demo"], DONE);
  expectRestarts(settled, await readInvocations(machine), []);
  narrator.end("no file written, no unit touched");

  narrator.begin("Back to the first generation");
  await labctl(["rollback", "demo"], DONE);
  await showPage(narrator, machine, FIRST_TITLE, "text/html");
  expectRestarts(settled, await readInvocations(machine), ["nginx.service"]);
  narrator.end("the old page, by the same exact steps");
  await bed.close();
}

/**
 * Makes `ssh demo` find the machine as it would on anyone's desk. In these namespaces only: the bed's configuration
 * lies over the system's, and an empty folder over the user's own keys and settings.
 */
async function configureSsh(sshConfigFile: AbsPath): Promise<Result<undefined>> {
  const own = join(userInfo().homedir, ".ssh");
  const hide = ["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", own];
  return runSteps([
    ["make `demo` known to ssh", ["mount", "--bind", sshConfigFile, "/etc/ssh/ssh_config"]],
    ...(existsSync(own) ? [["hide the user's own ssh settings", hide] as const] : []),
  ]);
}

async function showPage(
  narrator: Narrator,
  machine: Machine,
  title: string,
  contentType: string,
): Promise<void> {
  const startedAt = performance.now();
  const page = await fetchPage(machine.address);
  const ms = formatTime(performance.now() - startedAt);
  narrator.say(
    `http://${machine.address}/ → ${page.status} ${page.contentType}, ${narrator.paint("bold", page.title)} (${ms})`,
  );
  if (page.status === 200 && page.title === title && page.contentType === contentType) return;
  const found = `${page.status} ${page.contentType}, ${page.title}`;
  throw storyEnd(describeProblem({ kind: "page-wrong", found, expected: `200 ${contentType}, ${title}` }));
}

/** The number of services left alone; ends the story unless exactly `expected` were started anew. */
function expectRestarts(before: Invocations, after: Invocations, expected: readonly string[]): number {
  const { restarted, untouched } = compareInvocations(before, after);
  if (restarted.join() === expected.join()) return untouched;
  throw storyEnd(describeProblem({ kind: "restarts-wrong", found: restarted, expected }));
}

function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw storyEnd(...result.problems);
}

function storyEnd(...problems: readonly Diagnostic[]): StoryEnd {
  return new StoryEnd(problems);
}
