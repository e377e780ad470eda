/**
 * Makes images present on this machine:
 *
 *     image.mjs ensure NAME      fetches, proves and unpacks image NAME, and writes IMAGES_STATE/NAME.env
 *
 * Killed at any instant, the next run goes on. What an image is stands in etc/images/NAME.ini; where all of it lies, in
 * labctl's src/images/store.ts.
 */
import { formatDiagnostic } from "labctl/diagnostics.ts";
import { ensureImage, type Machine, ownArchitecture } from "labctl/images/ensure.ts";
import { teller } from "labctl/images/host.ts";

const STATE = process.env.IMAGES_STATE ?? "/var/lib/local/images";

const machine: Machine = {
  definitions: [process.env.IMAGES_DEFINITIONS ?? "/usr/local/etc/images", STATE],
  state: STATE,
  arch: ownArchitecture(),
};
const tell = teller();
const [, , verb, name = ""] = process.argv;

if (verb === "ensure") {
  const done = await ensureImage(machine, name, tell);
  for (const one of done.ok ? done.warnings : done.problems) process.stderr.write(`${formatDiagnostic(one)}\n`);
  if (!done.ok) process.exitCode = 1;
} else {
  process.stderr.write("error[usage] image.mjs ensure NAME\n");
  process.exitCode = 64;
}
