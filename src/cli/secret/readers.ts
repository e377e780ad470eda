/** `labctl secret readers <secret>`: who can read it: keys in the repository, units on machines. From built trees, offline. */
import { readBuiltTexts, treeView } from "../../build/tree-view.ts";
import { formatPlace, printable } from "../../diagnostics.ts";
import type { AbsPath } from "../../paths.ts";
import { TREE_ROOT } from "../../paths.ts";
import { describe } from "../../secrets/problems.ts";
import { listSecrets, readRecipients } from "../../secrets/secret-store.ts";
import { credentialReaders } from "../../units/credential-readers.ts";
import { readUnitSet } from "../../units/unit-set.ts";
import type { ParsedArguments } from "../commands.ts";
import { EXIT } from "../exit.ts";
import { buildMachines, findMachines } from "../machines.ts";
import { printJson, printOut, refuse } from "../print.ts";

/** Builds all machines first, so that the answer is what a push would deliver. */
export async function showReaders(args: ParsedArguments, root: AbsPath, name: string): Promise<number> {
  const known = listSecrets(root);
  if (!known.includes(name)) return refuse([describe({ kind: "secret-missing", secret: name, known })]);
  const recipients = await readRecipients(root);
  if (!recipients.ok) return refuse(recipients.problems);
  const named = await findMachines(args, []);
  const built = named.ok ? await buildMachines(args, named.value) : named;
  if (!built.ok) return refuse(built.problems);
  const machines = built.value.flatMap(({ machine, wanted: { manifest, folder } }) => {
    const credentials = manifest.entries.filter((e) => e.type === "secret" && e.secret === name);
    if (credentials.length === 0) return [];
    const set = readUnitSet(treeView(manifest, readBuiltTexts(manifest, folder)));
    return credentials.map(({ path, origin }) => ({
      machine: machine.name,
      credential: path.slice(path.lastIndexOf("/") + 1),
      path: `${TREE_ROOT}/${path}`,
      layer: origin.layer,
      units: credentialReaders(set, path),
    }));
  });
  if (args.flag("json")) {
    printJson({ secret: name, keys: recipients.value.map(({ key, who }) => ({ key, who })), machines });
    return EXIT.done;
  }
  for (const { key, who } of recipients.value)
    printOut(`key   ${key}${who === "" ? "" : `  ${printable(who)}`}`);
  for (const m of machines) {
    const by = m.layer === "machine" ? "its own" : `layer ${m.layer}`;
    printOut(`root  of ${m.machine}: credential ${m.credential} (${by})`);
    for (const u of m.units) printOut(`unit  ${u.unit} of ${m.machine} (${printable(formatPlace(u.place))})`);
  }
  if (machines.length === 0) printOut("no machine wants it");
  return EXIT.done;
}
