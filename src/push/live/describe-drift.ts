/** Words each drift for people and for programs: what, where, from which layer and source, and what to do next. Pure. */
import type { ManifestEntry } from "../../build/manifest.ts";
import { type Diagnostic, printable } from "../../diagnostics.ts";
import { TREE_ROOT } from "../../paths.ts";
import type { Drift, ExtraDrift, FileDrift, MachineDrift, UnitDrift } from "./drift.ts";
import { typeWord } from "./file-drift.ts";

/** One drift as `--json` has it. */
export interface LiveFinding {
  readonly machine: string;
  readonly code: Drift["kind"];
  /** Relative to /usr/local; null where it is no path's. */
  readonly path: string | null;
  readonly unit: string | null;
  /** Others of which the same is true. */
  readonly more: readonly string[];
  readonly expected: string;
  readonly found: string;
  /** `machine` for the machine's own files; null where the tree has nothing for it. */
  readonly layer: string | null;
  /** Repository-relative. */
  readonly source: string | null;
  readonly next: string;
}

/** Pure. */
export function describeDrift(machine: string, drift: Drift): LiveFinding {
  const say = (
    subject: { readonly path?: string; readonly unit?: string; readonly more?: readonly string[] },
    expected: string,
    found: string,
    entry: ManifestEntry | undefined,
    next: string,
  ): LiveFinding => ({
    machine,
    code: drift.kind,
    path: subject.path ?? null,
    unit: subject.unit ?? null,
    more: subject.more ?? [],
    expected,
    found,
    layer: entry?.origin.layer ?? null,
    source: entry?.origin.source ?? null,
    next,
  });
  if ("below" in drift) {
    const { entry } = drift;
    const below = drift.below > 0 ? `, nor of ${drift.below} paths below` : "";
    return say({ path: entry.path }, drift.expected, drift.found + below, entry, nextForFile(machine, drift));
  }
  if ("folder" in drift) {
    const found = typeWord(drift.type);
    return say({ path: drift.path }, "nothing", found, drift.folder, nextForExtra(machine, drift));
  }
  if ("unit" in drift) {
    const subject = { unit: drift.unit, more: drift.more };
    return say(subject, drift.expected, drift.found, drift.entry, nextForUnit(machine, drift));
  }
  return say({}, "a whole generation", drift.found, undefined, nextForMachine(machine, drift));
}

/** The printed form. Pure. */
export function findingDiagnostic(f: LiveFinding): Diagnostic {
  const subject =
    f.path !== null ? `${TREE_ROOT}/${f.path}` : f.unit !== null ? unitNames(f) : "what was pushed";
  const origin =
    f.layer === null
      ? []
      : [
          f.layer === "machine"
            ? `from ${f.source}, the machine's own`
            : `from ${f.source}, layer ${f.layer}`,
        ];
  return {
    severity: "warning",
    code: f.code,
    // Names in an administrator's files may hold anything.
    message: printable(`${f.machine}: ${subject} ${SAYS[f.code]}`),
    notes: [`expected ${f.expected}, found ${f.found}`, ...origin],
    help: f.next,
  };
}

const SAYS: Readonly<Record<Drift["kind"], string>> = {
  content: "has other content than was pushed",
  mode: "has another mode than was pushed",
  owner: "has another owner than was pushed",
  target: "leads elsewhere than was pushed",
  type: "is something else than was pushed",
  missing: "is gone",
  extra: "is not labctl's, in a folder that labctl made",
  failed: "failed",
  masked: "is masked on the machine",
  shadowed: "is overruled by another unit file on the machine",
  "not-running": "is not running though the tree wants it",
  "stale-bind": "does not see the tree's file",
  "daemon-reload": "waits for a daemon-reload",
  "older-configuration": "runs with an older configuration than the tree",
  interrupted: "was broken off half-way",
  pending: "is not all in effect",
  "records-lost": "can't be compared: labctl's records on the machine are damaged",
  "many-differ": "differs in more paths than are listed",
};

function unitNames(f: LiveFinding): string {
  const shown = [f.unit, ...f.more.slice(0, 4)].join(", ");
  return f.more.length > 4 ? `${shown} and ${f.more.length - 4} more` : shown;
}

function nextForFile(machine: string, { entry, kind }: FileDrift): string {
  const back = `\`labctl push ${machine}\` puts it back`;
  const copied = !entry.origin.template && !entry.origin.source.endsWith(".ts");
  if (kind === "content" && entry.type === "file" && copied)
    return `${back}; \`labctl adopt ${machine} ${entry.path}\` keeps the edit`;
  if (kind === "mode" || kind === "owner")
    return `${back}; [attributes] in layer.ini or machine.ini would keep it`;
  return back;
}

function nextForExtra(machine: string, { path, type }: ExtraDrift): string {
  const remove = "remove it there if nobody needs it; a push leaves it alone";
  return type === "f"
    ? `${remove}; \`labctl adopt --into=machine ${machine} ${path}\` makes it labctl's`
    : remove;
}

function nextForUnit(machine: string, drift: UnitDrift): string {
  const { unit } = drift;
  switch (drift.kind) {
    case "failed":
      return `see \`journalctl -u ${unit}\` there`;
    case "masked":
      return `\`systemctl unmask ${unit}\` there, or mask it in the tree by a link to /dev/null`;
    case "shadowed":
      return `remove ${drift.found} there if the tree's file shall count`;
    case "not-running":
      return `a push leaves it stopped; \`systemctl start ${unit}\` there, or drop the link that wants it`;
    case "daemon-reload":
      return drift.pushRepairs ? `\`labctl push ${machine}\` does it` : "`systemctl daemon-reload` there";
    case "stale-bind":
    case "older-configuration":
      return drift.pushRepairs
        ? `\`labctl push ${machine}\` puts it right`
        : `\`systemctl restart ${unit}\` there`;
  }
}

function nextForMachine(machine: string, { kind }: MachineDrift): string {
  if (kind === "records-lost") return `\`labctl push --take-over ${machine}\` writes them anew`;
  if (kind === "interrupted") return `\`labctl plan ${machine}\` or a push settles it`;
  return `\`labctl push ${machine}\` puts it right`;
}
