/**
 * Device nodes of a machine's own, of the same devices as its host's: udev in the machine gives them owners and modes, which on
 * nodes that are bound from the host would be the host's from then on. Must not know which devices a machine wants.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { runSteps } from "./run-program.ts";

/**
 * systemd-nspawn's arguments for those of `paths` (absolute, below /dev) that this host has. Mounts a small file system at
 * `folder`, which must not exist; it goes with the private namespaces.
 */
export async function copyDevices(folder: AbsPath, paths: readonly AbsPath[]): Promise<Result<string[]>> {
  const present = paths.filter((path) => existsSync(path));
  if (present.length === 0) return success([]);
  const copies = present.map((path) => [path, join(folder, path.replaceAll("/", "-").slice(1))] as const);
  const made = await runSteps([
    ["make a folder for devices", ["mkdir", folder]],
    // The private /run has no devices.
    [
      "mount a file system for devices",
      ["mount", "-t", "tmpfs", "-o", "mode=755,nosuid,size=64k", "tmpfs", folder],
    ],
    ...copies.map(
      ([path, copy]) => [`copy ${path}`, ["cp", "--archive", "--dereference", "--", path, copy]] as const,
    ),
  ]);
  return made.ok ? success(copies.map(([path, copy]) => `--bind=${copy}:${path}`)) : made;
}
