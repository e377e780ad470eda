/**
 * Whether guests find in their image what their layers need: nobody installs packages in a guest. Pure but for reads
 * through the trees.
 */
import { type Diagnostic, warning } from "../diagnostics.ts";
import { parseGuest } from "../guests/parse-guest.ts";
import { parseDefinition } from "../images/definition.ts";
import type { RelPath } from "../paths.ts";
import type { Found } from "./check.ts";
import type { MachineTree } from "./machine-tree.ts";

const GUEST = /^etc\/guests\/[^/]+\.json$/;

/** `trees` holds machines and, as `MACHINE/GUEST`, those of their guests that have a tree. */
export function lintGuestImages(trees: readonly MachineTree[]): Found[] {
  const byName = new Map<string, MachineTree>(trees.map((tree) => [tree.machine.name, tree]));
  return trees.flatMap((tree) => {
    const found = tree.files.flatMap(({ path }) => (GUEST.test(path) ? lintGuest(tree, path, byName) : []));
    return found.map((diagnostic) => ({ tree, diagnostic }));
  });
}

function lintGuest(host: MachineTree, path: RelPath, trees: ReadonlyMap<string, MachineTree>): Diagnostic[] {
  const read = parseGuest(host.read(path) ?? "", path);
  // One that a layer wrote by hand is refused by the machine, too.
  if (!read.ok) return [...read.problems];
  const { name, image } = read.value;
  const tree = trees.get(`${host.machine.name}/${name}`);
  const file = `etc/images/${image}.ini` as RelPath;
  const definition = parseDefinition(host.read(file) ?? "", image, file);
  // What is in an image that comes ready made is not known here.
  if (!tree || !definition.ok || definition.value.source.kind !== "build") return [];
  const { packages } = definition.value.source;
  return tree.manifest.packages
    .filter((p) => !packages.includes(p.name))
    .map((p) =>
      warning(
        "guest-package",
        `image \`${image}\` does not name package \`${p.name}\`, which guest \`${name}\` needs`,
        {
          place: { file },
          notes: [
            `layer \`${p.layer}\` of guest \`${name}\` asks for it, and nobody installs packages in a guest`,
          ],
          help: "add it to `packages` of [build]",
        },
      ),
    );
}
