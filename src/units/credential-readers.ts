/** Which units load a credential, read from their settings alone: the map of who can read a secret. Pure but for reads through the set. */
import type { Place } from "../diagnostics.ts";
import type { UnitName } from "../paths.ts";
import { matchReference, readReferences } from "./references.ts";
import type { UnitSet } from "./unit-set.ts";

export interface CredentialReader {
  readonly unit: UnitName;
  /** `LoadCredentialEncrypted`, `ImportCredential` …; `LoadCredential` hands the unit the encrypted form. */
  readonly key: string;
  readonly place: Place;
}

/** The units that load the file at `path` of the tree as a credential, each once, in the set's order. */
export function credentialReaders(set: UnitSet, path: string): CredentialReader[] {
  const out: CredentialReader[] = [];
  for (const unit of set.names) {
    if (set.canonical(unit) !== unit) continue;
    const reference = readReferences(set.unit(unit)).references.find(
      (r) => r.how === "credential" && matchReference(r, path) !== undefined,
    );
    if (reference) out.push({ unit, key: reference.key, place: reference.place });
  }
  return out;
}
