/**
 * The root file system or disk of one guest, a copy of its image that shares its blocks:
 *
 *     root.mjs up NAME      makes it, unless it is there; an ephemeral guest gets a new one
 *     root.mjs down NAME    takes away that of an ephemeral guest
 *
 * A run that is killed leaves a root that is whole, or none.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Diagnostic, formatDiagnostic, problem, type Result } from "labctl/diagnostics.ts";
import { type ContainerCommand, rootArguments } from "labctl/guests/container.ts";
import { limitTree } from "labctl/guests/disk-limit.ts";
import { forkDisk, forkTree, removeFork } from "labctl/guests/fork.ts";
import { hostEffects } from "labctl/guests/fork-effects.ts";
import { type Guest, sizeBytes } from "labctl/guests/guest.ts";
import { findGuest, GUEST_RUN, GUEST_STATE, IMAGE_STATE, readEnv } from "labctl/guests/places.ts";
import { problemsOfEnd, Refusal, settled } from "labctl/guests/refusal.ts";

/** Node's names for what Debian calls otherwise. */
const DEBIAN_ARCH: Readonly<Record<string, string>> = { x64: "amd64", ia32: "i386", arm: "armhf" };

try {
  const [, , verb, name = ""] = process.argv;
  if (verb === "up") await up(name);
  else if (verb === "down") await down(name);
  else throw new Refusal(problem("usage", "wrong usage", { help: "root.mjs up NAME | down NAME" }));
} catch (error) {
  say(problemsOfEnd(error, "guest-root"));
  process.exitCode = 1;
}

async function up(name: string): Promise<void> {
  const { guest } = settled(findGuest(name));
  const folder = join(GUEST_STATE, name);
  mkdirSync(folder, { recursive: true });
  // A root holds set-user-ID programs, which are not for the machine's users; a disk is read by the user of vm@.
  chmodSync(folder, guest.kind === "vm" ? 0o711 : 0o700);
  const image = readImage(guest);
  if (guest.kind === "vm") await forkVm(guest, folder, image);
  else await forkContainer(guest, folder, image);
}

type Image = ReadonlyMap<string, string>;

function readImage(guest: Guest): Image {
  const file = join(IMAGE_STATE, `${guest.image}.env`);
  const image = readEnv(file);
  const help = `\`systemctl restart image@${guest.image}.service\``;
  if (!image)
    throw new Refusal(problem("guest-image", `image \`${guest.image}\` of guest \`${guest.name}\` is not there`, { help }));
  const wanted = guest.kind === "vm" ? "disk" : "tree";
  const kind = image.get("IMAGE_KIND");
  if (kind !== wanted)
    throw new Refusal(
      problem("guest-image", `image \`${guest.image}\` is a ${kind}, and a guest of kind \`${guest.kind}\` needs a ${wanted}`, {
        help: `name another image for guest \`${guest.name}\``,
      }),
    );
  const own = DEBIAN_ARCH[process.arch] ?? process.arch;
  const arch = image.get("IMAGE_ARCH") ?? "";
  if (guest.kind === "container" && arch !== "" && arch !== "all" && arch !== own)
    throw new Refusal(
      problem("guest-arch", `image \`${guest.image}\` is for ${arch}, and this machine is ${own}`, {
        help: `name an image for ${own}; a \`vm\` can run others by emulation`,
      }),
    );
  return image;
}

async function forkContainer(guest: Guest, folder: string, image: Image): Promise<void> {
  const root = join(folder, "root");
  if (guest.ephemeral) settled(await removeFork(hostEffects, root));
  if (hostEffects.kindOf(root) === undefined)
    say(unwrapWarnings(await forkTree(hostEffects, image.get("IMAGE_PATH") ?? "", root)));
  await limit(guest, folder, root);
  const command = image.get("IMAGE_COMMAND");
  const args = rootArguments(
    command ? (JSON.parse(readFileSync(command, "utf8")) as ContainerCommand) : undefined,
  );
  // Not in the guest's own folder there, which is guest-net@'s, and goes when that does.
  const file = argumentsFile(guest.name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.draft`, args.map((arg) => `${arg}\0`).join(""));
  renameSync(`${file}.draft`, file);
}

/** The size that was asked for last is kept beside the root, so that one that is no longer asked for is taken back. */
async function limit(guest: Guest, folder: string, root: string): Promise<void> {
  const note = join(folder, "disk-limit");
  const warned = join(GUEST_RUN, "roots", `${guest.name}.warnings`);
  rmSync(warned, { force: true });
  const { disk } = guest.resources;
  if (disk === undefined && !existsSync(note)) return;
  const warnings = unwrapWarnings(await limitTree(hostEffects, root, disk === undefined ? undefined : sizeBytes(disk)));
  if (disk === undefined) rmSync(note);
  else writeFileSync(note, `${disk}\n`);
  if (warnings.length === 0) return;
  say(warnings);
  // For who asked for the start.
  mkdirSync(dirname(warned), { recursive: true });
  writeFileSync(warned, JSON.stringify(warnings));
}

async function forkVm(guest: Guest, folder: string, image: Image): Promise<void> {
  const stem = join(folder, "disk");
  const format = image.get("IMAGE_FORMAT") === "qcow2" ? "qcow2" : "raw";
  const both = [`${stem}.raw`, `${stem}.qcow2`];
  if (guest.ephemeral) for (const disk of both) settled(await removeFork(hostEffects, disk));
  if (both.some((disk) => hostEffects.kindOf(disk) !== undefined)) return;
  say(unwrapWarnings(await forkDisk(hostEffects, { file: image.get("IMAGE_PATH") ?? "", format }, stem)));
}

function argumentsFile(name: string): string {
  return join(GUEST_RUN, "roots", name);
}

async function down(name: string): Promise<void> {
  const found = findGuest(name);
  if (!found.ok) return;
  for (const file of [argumentsFile(name), `${argumentsFile(name)}.warnings`]) rmSync(file, { force: true });
  if (!found.value.guest.ephemeral) return;
  for (const part of ["root", "disk.raw", "disk.qcow2"]) settled(await removeFork(hostEffects, join(GUEST_STATE, name, part)));
}

function unwrapWarnings<T>(result: Result<T>): readonly Diagnostic[] {
  if (!result.ok) throw new Refusal(...result.problems);
  return result.warnings;
}

function say(problems: readonly Diagnostic[]): void {
  for (const each of problems) process.stderr.write(`${formatDiagnostic(each)}\n`);
}
