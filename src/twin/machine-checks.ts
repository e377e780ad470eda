/**
 * Whether a machine that has booted does its work: the checks of its tree, failed units, its generation; and which units of
 * the tree could not even try. Changes nothing there. Must not know why the machine was booted.
 */
import type { Manifest } from "../build/manifest.ts";
import { failure, type Result, success } from "../diagnostics.ts";
import { CHECK_FOLDER } from "../push/plan.ts";
import { callRemote, refusalOf } from "../push/session.ts";
import type { Transport } from "../push/transport.ts";
import { isTemplate } from "../units/unit-name.ts";
import { classifyPath } from "../units/unit-path.ts";

export interface CheckEnd {
  /** Below `lib/labctl/check.d/`. */
  readonly name: string;
  /** `ok`, `failed`, `timeout`, or `cut`: ended because another one had failed. */
  readonly verdict: string;
  readonly ms: number;
  /** How it ended, if not well; undefined: it did. */
  readonly how?: string;
  /** What it printed last. */
  readonly output: readonly string[];
}

export interface MachineState {
  readonly generation: string;
  readonly checks: readonly CheckEnd[];
  readonly failedUnits: readonly { readonly unit: string; readonly log: readonly string[] }[];
  /** Units that a condition of theirs kept from starting, as where a disk of the real machine is missing. */
  readonly skippedUnits: readonly string[];
}

/** Starts only after a push that was cut short. */
const RECOVERY = "labctl-recover.service";

/** All checks run at once, 10 s each; what a failed unit said last comes with it. */
const LIMIT_MS = 40_000;
const LOG_LINES = 8;

/** Names of the tree's checks, sorted. Pure. */
export function checkNames(manifest: Manifest): string[] {
  return manifest.entries.flatMap((e) =>
    e.path.startsWith(CHECK_FOLDER) && e.type === "file" && (e.mode & 0o111) !== 0
      ? [e.path.slice(CHECK_FOLDER.length)]
      : [],
  );
}

/** Failure: the machine gave no whole answer. That something is wrong there is a success that says so. */
export async function checkMachine(
  transport: Transport,
  machine: string,
  manifest: Manifest,
): Promise<Result<MachineState>> {
  const data = checkNames(manifest)
    .map((name) => `${CHECK_FOLDER}${name}\n`)
    .join("");
  const [answer, skipped] = await Promise.all([
    callRemote(transport, machine, "check", [], { data, timeoutMs: LIMIT_MS }),
    skippedUnits(transport, manifest),
  ]);
  if (!answer.ok) return answer;
  if (answer.value.done !== "ok") return failure(refusalOf(machine, "check", answer.value));
  const checks: CheckEnd[] = [];
  const failed: string[] = [];
  let generation = "";
  for (const { name, fields } of answer.value.records) {
    const [a = "", b = "", ms = "", how] = fields;
    const last = checks.at(-1);
    if (name === "check") {
      const rest = how === undefined ? {} : { how };
      checks.push({ name: a.slice(CHECK_FOLDER.length), verdict: b, ms: Number(ms), ...rest, output: [] });
    } else if (name === "out" && last)
      checks[checks.length - 1] = { ...last, output: [...last.output, fields.join(" ")] };
    else if (name === "failed") failed.push(a);
    else if (name === "generation") generation = b;
  }
  const failedUnits = await Promise.all(
    failed.map(async (unit) => ({ unit, log: await logOf(transport, unit) })),
  );
  return success({ generation, checks, failedUnits, skippedUnits: skipped });
}

async function logOf(transport: Transport, unit: string): Promise<string[]> {
  const quoted = `'${unit.replaceAll("'", "'\\''")}'`;
  const command = `journalctl --quiet --no-pager --boot --output=cat --lines=${LOG_LINES} --unit=${quoted}`;
  const said = await transport.exec(command, { maxStdoutBytes: 1 << 20, timeoutMs: 10_000 });
  return said.ok ? said.value.stdout.toString().trimEnd().split("\n").filter(Boolean) : [];
}

/** Of the units that the tree defines or adds to, those whose conditions were not met. */
async function skippedUnits(transport: Transport, manifest: Manifest): Promise<string[]> {
  const names = new Set<string>();
  for (const { path, type } of manifest.entries) {
    const place = type === "dir" ? undefined : classifyPath(path);
    const unit =
      place?.kind === "unit" || place?.kind === "link"
        ? place.unit
        : place?.kind === "drop-in" && "unit" in place.applies
          ? place.applies.unit
          : undefined;
    if (unit !== undefined && !isTemplate(unit)) names.add(unit);
  }
  if (names.size === 0) return [];
  const words = [...names].map((n) => `'${n.replaceAll("'", "'\\''")}'`).join(" ");
  const show = `systemctl show --property=Id,ConditionResult,ConditionTimestampMonotonic -- ${words}`;
  const said = await transport.exec(show, { maxStdoutBytes: 4 << 20, timeoutMs: 10_000 });
  if (!said.ok) return [];
  return said.value.stdout
    .toString()
    .split("\n\n")
    .flatMap((block) => {
      const value = (key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(block)?.[1] ?? "";
      // A unit that nobody started has no result: it was never asked.
      const wasAsked = value("ConditionTimestampMonotonic") !== "0";
      const isSkipped = wasAsked && value("ConditionResult") === "no" && value("Id") !== RECOVERY;
      return isSkipped ? [value("Id")] : [];
    })
    .sort();
}
