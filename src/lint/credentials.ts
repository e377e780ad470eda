/** Credentials that a tree delivers, against the units that load them. Pure but for reads through the trees. */
import type { SecretEntry } from "../build/manifest.ts";
import { type Diagnostic, warning } from "../diagnostics.ts";
import { nearest } from "../suggestion.ts";
import { credentialReaders } from "../units/credential-readers.ts";
import { readReferences } from "../units/references.ts";
import { readUnitSet, type UnitSet } from "../units/unit-set.ts";
import type { Found } from "./check.ts";
import type { MachineTree } from "./machine-tree.ts";

/** A secret that nobody reads is a risk without a use; one that is handed on in its encrypted form is of no use. */
export function lintCredentials(tree: MachineTree): Found[] {
  const entries = tree.manifest.entries.filter((e): e is SecretEntry => e.type === "secret");
  if (entries.length === 0) return [];
  const set = readUnitSet(tree, "system");
  return entries.flatMap((entry) => {
    const readers = credentialReaders(set, entry.path);
    const found: Diagnostic[] =
      readers.length === 0
        ? [unread(entry, set)]
        : readers
            .filter((r) => r.key === "LoadCredential")
            .map((r) =>
              warning(
                "credential-encrypted",
                `${r.unit} loads credential \`${nameOf(entry)}\` as it lies there: encrypted`,
                {
                  place: r.place,
                  help: "write LoadCredentialEncrypted= instead",
                },
              ),
            );
    return found.map((diagnostic) => ({ tree, diagnostic }));
  });
}

function unread(entry: SecretEntry, set: UnitSet): Diagnostic {
  const credential = nameOf(entry);
  const asked = set.names.flatMap((name) =>
    readReferences(set.unit(name)).references.flatMap((r) => (r.how === "credential" ? [nameOf(r)] : [])),
  );
  const near = nearest(credential, asked);
  const by = entry.origin.layer === "machine" ? "the machine itself" : `layer \`${entry.origin.layer}\``;
  return warning("credential-unread", `no unit loads credential \`${credential}\``, {
    place: { file: entry.path },
    notes: [`${by} asks for it in [secrets]; it is secret \`${entry.secret}\``],
    help:
      near === undefined
        ? `add \`LoadCredentialEncrypted=${credential}\` to the unit that needs it, or drop it from [secrets]`
        : `a unit loads \`${near}\`: correct one of the two names`,
  });
}

function nameOf({ path }: { readonly path: string }): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
