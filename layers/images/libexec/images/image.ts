/**
 * Makes images present on this machine, and removes those that nothing uses:
 *
 *     image.mjs ensure NAME       fetches, proves and unpacks image NAME, and writes IMAGES_STATE/NAME.env
 *     image.mjs refresh NAME      the same, but asks anew what a signed or built definition leads to
 *     image.mjs build NAME        builds it; what image-build@NAME.service runs
 *     image.mjs gc [--dry-run]    removes what no definition and no guest uses, or lists it
 *
 * Killed at any instant, the next run goes on. What an image is stands in etc/images/NAME.ini; where all of it lies, in
 * labctl's src/images/store.ts.
 */
import { type Diagnostic, formatDiagnostic } from "labctl/diagnostics.ts";
import { buildImage } from "labctl/images/build-request.ts";
import { ensureImage, forgetImage, type Machine, ownArchitecture, readDefinition } from "labctl/images/ensure.ts";
import { teller } from "labctl/images/host.ts";
import { size } from "labctl/images/problems.ts";
import { removeUnused } from "labctl/images/unused.ts";

const STATE = process.env.IMAGES_STATE ?? "/var/lib/local/images";
const GUESTS = { declared: "/usr/local/etc/guests", state: "/var/lib/local/guests" };
const KEEP_DAYS = Number(process.env.IMAGES_KEEP_DAYS ?? 14);

const machine: Machine = {
  definitions: [process.env.IMAGES_DEFINITIONS ?? "/usr/local/etc/images", STATE],
  state: STATE,
  arch: ownArchitecture(),
};
const tell = teller();
const [, , verb = "", ...words] = process.argv;
const [name = ""] = words;

switch (verb) {
  case "refresh":
    say(forgetImage(machine, name));
    if (process.exitCode === undefined) say(await ensureImage(machine, name, tell));
    break;
  case "ensure":
    say(await ensureImage(machine, name, tell));
    break;
  case "build": {
    const definition = readDefinition(machine, name);
    say(definition.ok ? await buildImage(STATE, definition.value, definition.value.arch ?? machine.arch, tell) : definition);
    break;
  }
  case "gc":
    // What was misspelt was meant to remove less, not more.
    if (words.some((word) => word !== "--dry-run")) refuseUsage();
    else await removeOrList(words.length > 0);
    break;
  default:
    refuseUsage();
}

function refuseUsage(): void {
  process.stderr.write("error[usage] image.mjs ensure NAME | refresh NAME | build NAME | gc [--dry-run]\n");
  process.exitCode = 64;
}

async function removeOrList(dryRun: boolean): Promise<void> {
  const { unused, problems, unreadable } = await removeUnused(machine, GUESTS, KEEP_DAYS, dryRun);
  for (const { path, bytes, why } of unused)
    process.stdout.write(`${dryRun ? "would remove" : "removed"} ${path} (${size(bytes)}): ${why}\n`);
  const sum = unused.reduce((bytes, one) => bytes + one.bytes, 0);
  if (unreadable.length > 0) {
    complain(unreadable);
    process.stderr.write("nothing was removed: what these use is not known\n");
  } else process.stdout.write(`${unused.length} unused, ${size(sum)}${dryRun ? "; nothing was removed" : ""}\n`);
  complain(problems);
}

function say(done: { readonly ok: true; readonly warnings: readonly Diagnostic[] } | { readonly ok: false; readonly problems: readonly Diagnostic[] }): void {
  if (done.ok) for (const one of done.warnings) process.stderr.write(`${formatDiagnostic(one)}\n`);
  else complain(done.problems);
}

function complain(problems: readonly Diagnostic[]): void {
  for (const one of problems) process.stderr.write(`${formatDiagnostic(one)}\n`);
  if (problems.length > 0) process.exitCode = 1;
}
