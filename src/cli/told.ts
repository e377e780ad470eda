/**
 * What this run of labctl has told: the errors, and whether there was a document. With `--json` there is one document
 * whatever happens, and it has the errors. Must not know how anything is printed.
 */
import type { Diagnostic } from "../diagnostics.ts";

export interface Told {
  /** JSON documents on standard output. */
  documents: number;
  /** In the order in which they were told, none twice. */
  readonly errors: Diagnostic[];
}

/** Each chunk of the bundle has a copy of this module; there is one record for all of them. */
const KEY = Symbol.for("labctl.told");

/** The one record of this process, to be added to. */
export function told(): Told {
  const shared = globalThis as { [KEY]?: Told };
  shared[KEY] ??= { documents: 0, errors: [] };
  return shared[KEY];
}

/** Remembers the errors among them. */
export function tell(list: readonly Diagnostic[]): void {
  const { errors } = told();
  for (const each of list) if (each.severity === "error" && !errors.includes(each)) errors.push(each);
}
