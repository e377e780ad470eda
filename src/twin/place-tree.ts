/**
 * Puts a built tree into a machine's root file system before its first boot: by the remote program's own commit, in a chroot
 * there, so that labctl's records are those that a push leaves. What a push then has units do, the boot does. Must not know
 * how the root was made.
 */
import { readFileSync } from "node:fs";
import type { Manifest } from "../build/manifest.ts";
import { type Diagnostic, type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { PushPlan } from "../push/plan.ts";
import { carryOut } from "../push/push.ts";
import { openLacked, type SecretSource } from "../push/secrets.ts";
import { newSessionName } from "../push/session.ts";
import { type BuiltTree, stageBuilt } from "../push/stage/staging.ts";
import { diffTrees } from "../push/tree-diff.ts";
import { triggersFor } from "../push/triggers/index.ts";
import { FIRST_SYSTEMD } from "../secrets/problems.ts";
import { plainWords } from "./machine.ts";
import { twinSecretsWarning } from "./problems.ts";
import { processTransport } from "./process-transport.ts";
import { runSteps } from "./run-program.ts";

export interface PlaceOptions {
  readonly machine: string;
  readonly wanted: BuiltTree;
  /** 32 hex digits; credentials are encrypted for a machine of this id. */
  readonly machineId: string;
  readonly secrets: SecretSource;
  /** Whoever makes the twin, `user@host`. */
  readonly who: string;
  readonly keep: number;
  readonly meta: Readonly<Record<string, string>>;
  /** Undefined: the repository has no identity. */
  readonly repository: string | undefined;
}

/** What is not there although the tree has it. */
export interface Placed {
  /** Names of secrets that could not be opened here. */
  readonly secretsMissing: readonly string[];
}

/** Failure: the tree is not in place, and the root is not to be booted. */
export async function placeTree(root: AbsPath, options: PlaceOptions): Promise<Result<Placed>> {
  // Bash's `<(…)` wants /dev/fd, which is /proc/self/fd; both go again before the boot, which brings its own.
  const mounts = [
    ["-t", "proc", "proc", `${root}/proc`],
    ["--bind", "/dev", `${root}/dev`],
  ];
  const mounted = await runSteps([
    ...mounts.map((words) => ["mount what programs in the root need", ["mount", ...words]] as const),
    [
      "write the machine-id",
      ["chroot", root, "sh", "-c", 'printf "%s\\n" "$1" >/etc/machine-id', "sh", options.machineId],
    ],
  ]);
  try {
    return mounted.ok ? await commitTree(root, options) : mounted;
  } finally {
    await runSteps([["unmount what programs in the root needed", ["umount", `${root}/dev`, `${root}/proc`]]]);
  }
}

async function commitTree(root: AbsPath, options: PlaceOptions): Promise<Result<Placed>> {
  const { machine, wanted, keep, meta, who, repository, secrets } = options;
  const startedAt = performance.now();
  const transport = processTransport(`the twin of ${machine}`, ["chroot", root, ...plainWords()]);
  const whole = firstPlan(wanted);
  // Images have what credentials need.
  const opened = await openLacked(machine, whole, FIRST_SYSTEMD, secrets);
  // Anything else is a fault of the repository, which a push would refuse as well.
  if (!opened.ok && !isOnlyLocked(opened.problems)) return opened;
  const secretsMissing = opened.ok ? [] : secretNames(wanted.manifest);
  const plan = opened.ok ? whole : { ...whole, files: whole.files.filter((f) => f.after?.type !== "secret") };
  const manifestText = readFileSync(wanted.manifestFile, "utf8");
  const stage = stageBuilt(transport, machine, wanted, manifestText, opened.ok ? opened.value : []);
  const settings = {
    confirmSeconds: 0,
    keep,
    meta,
    who,
    repository,
    takeOver: false,
    // Asked for a confirmation only.
    reconnect: () => Promise.resolve(success(transport)),
  };
  const survey = { plan, session: newSessionName() };
  const done = await carryOut(transport, machine, survey, stage, settings, () => {}, startedAt);
  if (!done.ok) return done;
  return success(
    { secretsMissing },
    opened.ok ? [] : [twinSecretsWarning(machine, secretsMissing, opened.problems)],
  );
}

/**
 * What a push to a machine without any tree does to files; units, checks and triggers are the boot's. Users are an exception,
 * since files may belong to them. Pure.
 */
function firstPlan({ manifest, id }: BuiltTree): PushPlan {
  const files = diffTrees(undefined, manifest);
  return {
    machine: manifest.machine,
    from: undefined,
    to: id,
    files,
    taken: [],
    units: [],
    daemonReload: false,
    triggers: triggersFor(files).filter((t) => t.name === "sysusers"),
    packages: [],
    unneeded: [],
    prunePackages: false,
    checks: [],
    drifted: [],
    pending: false,
    notes: [],
  };
}

function secretNames(manifest: Manifest): string[] {
  return [...new Set(manifest.entries.flatMap((e) => (e.type === "secret" ? [e.secret] : [])))].sort();
}

/** Problems that mean: the secrets can't be opened here, which a twin can do without. Pure. */
function isOnlyLocked(problems: readonly Diagnostic[]): boolean {
  return problems.every((p) => LOCKED.has(p.code));
}

const LOCKED: ReadonlySet<string> = new Set([
  "identity-missing",
  "identity-open",
  "identity-locked",
  "not-a-recipient",
]);
