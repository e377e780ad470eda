/** `labctl adopt --into`: takes a file that someone made on a machine into the machine's folder or one of its layers. */
import { existsSync, lstatSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { attributesFor } from "../../build/attributes.ts";
import type { ManifestEntry } from "../../build/manifest.ts";
import { isShippedAsIs } from "../../build/read-tree.ts";
import { blake3 } from "../../hash.ts";
import { foldersAbove, pathFault } from "../../paths.ts";
import { attributeDifferences, attributeLine, isText, MOST_BYTES } from "../../push/adopt/adoption.ts";
import { fetchFile, statPath } from "../../push/adopt/fetch-path.ts";
import { describeAdopt } from "../../push/adopt/problems.ts";
import { secretPaths } from "../../push/diff/file-diff.ts";
import { typeWord } from "../../push/live/file-drift.ts";
import { type Adoption, concludeAdoption } from "./conclude.ts";
import { type AdoptJob, onMachine, refuseWith } from "./job.ts";

/** Returns the exit code. `entry`: what is built at the path. */
export async function adoptNew(
  job: AdoptJob,
  into: string,
  entry: ManifestEntry | undefined,
): Promise<number> {
  const { built, path, project } = job;
  const { machine } = built;
  const at = { machine: machine.name, path };
  if (entry)
    return refuseWith(job, describeAdopt({ kind: "built-already", ...at, source: entry.origin.source }));
  const fault = pathFault(path);
  if (fault || !isShippedAsIs(path)) {
    const why = fault
      ? `its path is refused (${fault})`
      : "a file of that name has another meaning there, or none";
    return refuseWith(job, describeAdopt({ kind: "bad-name", ...at, why }));
  }
  if (secretPaths()(path)) return refuseWith(job, describeAdopt({ kind: "secret", ...at }));
  const layers = machine.layers.filter((l) => !l.builtIn);
  const layer = into === "machine" ? undefined : layers.find((l) => l.name === into);
  if (into !== "machine" && !layer)
    return refuseWith(
      job,
      describeAdopt({ kind: "no-layer", ...at, layer: into, layers: layers.map((l) => l.name) }),
    );
  const folder = layer?.folder ?? machine.folder;
  const top = layer ? `layers/${layer.name}` : `machines/${machine.name}`;
  const blocked = obstacle(project.root, folder, path);
  if (blocked !== undefined)
    return refuseWith(job, describeAdopt({ kind: "in-the-way", ...at, source: `${top}/${blocked}` }));
  const users = layer ? project.machines.filter((m) => m.layers.some((l) => l.name === layer.name)) : [];

  return onMachine(job, async (transport) => {
    const stat = await statPath(transport, machine.name, path);
    if (!stat.ok) return refuseWith(job, ...stat.problems);
    const live = stat.value;
    if (!live) return refuseWith(job, describeAdopt({ kind: "not-there", ...at }));
    if (live.type !== "f")
      return refuseWith(job, describeAdopt({ kind: "not-a-file", ...at, found: typeWord(live.type) }));
    if (live.sizeBytes > MOST_BYTES) {
      const { sizeBytes } = live;
      return refuseWith(job, describeAdopt({ kind: "too-big", ...at, sizeBytes, mostBytes: MOST_BYTES }));
    }
    const executable = (live.mode & 0o100) !== 0;
    const rules = [...(layer?.attributes ?? []), ...machine.attributes];
    const usual = { mode: executable ? 0o755 : 0o644, owner: "root", group: "root" };
    const differences = attributeDifferences({ ...usual, ...attributesFor(path, rules) }, live);
    if (differences.length > 0) {
      const file = `${top}/${layer ? "layer.ini" : "machine.ini"}`;
      const line = attributeLine(path, live);
      return refuseWith(job, describeAdopt({ kind: "attributes-lost", ...at, differences, line, file }));
    }
    const bytes = await fetchFile(transport, machine.name, path);
    if (!bytes.ok) return refuseWith(job, ...bytes.problems);
    if (!bytes.value) return refuseWith(job, describeAdopt({ kind: "not-there", ...at }));
    if (!isText(bytes.value)) return refuseWith(job, describeAdopt({ kind: "binary", ...at }));
    const adoption: Adoption = {
      entry: undefined,
      file: join(folder, path),
      source: `${top}/${path}`,
      before: undefined,
      after: bytes.value,
      executable,
      note: undefined,
      alsoFor: users.map((m) => m.name as string).filter((name) => name !== machine.name),
      next: `\`labctl push --take-over ${machine.name}\` makes it labctl's`,
    };
    return concludeAdoption(job, adoption, await blake3());
  });
}

/** What keeps a file from being made: itself, a file or link where a folder is needed, a folder that leads elsewhere. */
function obstacle(root: string, folder: string, path: string): string | undefined {
  for (const above of foldersAbove(path)) {
    const stats = lstatSync(join(folder, above), { throwIfNoEntry: false });
    if (stats && !stats.isDirectory()) return above;
    // The same folder may be taken in by a link, or be a template's.
    if (!stats && existsSync(join(dirname(join(folder, above)), `!${above.split("/").at(-1)}`))) return above;
  }
  if (!realpathSync(folder).startsWith(`${realpathSync(root)}/`)) return "";
  return lstatSync(join(folder, path), { throwIfNoEntry: false }) ? path : undefined;
}
