/**
 * Rules for what a tree's files make of a unit together: a service that can't start, a timer that waits for nothing, a
 * drop-in for a unit that nobody has.
 */
import type { Diagnostic } from "../../diagnostics.ts";
import type { UnitName } from "../../paths.ts";
import { unitType } from "../unit-name.ts";
import { classifyPath } from "../unit-path.ts";
import { type Unit, type UnitSet, valuesOf } from "../unit-set.ts";
import type { UnitNames } from "./known-names.ts";
import { describeUnitFault } from "./problems.ts";

/** What a unit of these types waits for; without one of them systemd refuses it. */
const TRIGGERS: Readonly<Record<string, readonly [section: string, pattern: RegExp, keys: string]>> = {
  timer: ["Timer", /^On[A-Za-z]+$/, "OnCalendar= or OnBootSec="],
  socket: ["Socket", /^Listen/, "ListenStream="],
  path: ["Path", /^(PathExists|PathExistsGlob|PathChanged|PathModified|DirectoryNotEmpty)$/, "PathChanged="],
};

/** Findings in the order of the set's names; places are in the tree. */
export function lintDefinitions(set: UnitSet, names: UnitNames): Diagnostic[] {
  return set.names.flatMap((name) => {
    const unit = set.unit(name);
    return unit.fragment?.kind === "file"
      ? lintOwn(unit, unit.fragment.path)
      : unit.fragment === undefined
        ? [...lintDropIns(set, unit, names), ...lintPulled(unit, names)]
        : [];
  });
}

function lintOwn(unit: Unit, path: string): Diagnostic[] {
  const place = { file: path };
  const type = unitType(unit.name);
  if (type === "service") return lintService(unit, path);
  const [section, pattern, keys] = TRIGGERS[type] ?? [];
  if (section === undefined || pattern === undefined || keys === undefined) return [];
  for (const setting of unit.settings.values())
    if (setting.section === section && pattern.test(setting.key)) return [];
  return [describeUnitFault({ kind: "no-trigger", unit: unit.name, section, keys }, place)];
}

/** service_verify() of systemd's service.c. */
function lintService(unit: Unit, path: string): Diagnostic[] {
  const starts = valuesOf(unit.settings, "Service", "ExecStart");
  const type = valuesOf(unit.settings, "Service", "Type").at(-1)?.value ?? "simple";
  const oneshot = type === "oneshot";
  if (starts.length > 1 && !oneshot)
    return [
      describeUnitFault({ kind: "many-exec", unit: unit.name, type }, starts.at(-1)?.place ?? { file: path }),
    ];
  const enough =
    starts.length > 0 ||
    valuesOf(unit.settings, "Service", "ExecStop").length > 0 ||
    valuesOf(unit.settings, "Unit", "SuccessAction").length > 0;
  return enough ? [] : [describeUnitFault({ kind: "no-exec", unit: unit.name }, { file: path })];
}

function lintDropIns(set: UnitSet, unit: Unit, names: UnitNames): Diagnostic[] {
  if (set.canonical(unit.name) !== unit.name || names.mayExist(unit.name)) return [];
  return unit.dropIns
    .filter((path) => appliesOnlyTo(path, unit.name))
    .map((path) =>
      describeUnitFault(
        { kind: "dropin-no-unit", unit: unit.name, near: names.near(unit.name) },
        { file: path },
      ),
    );
}

/** False for drop-ins of a type or a prefix: they wait for whatever comes. */
function appliesOnlyTo(path: string, name: UnitName): boolean {
  const found = classifyPath(path as never);
  if (found?.kind !== "drop-in") return false;
  return (found.applies.kind === "unit" || found.applies.kind === "template") && found.applies.unit === name;
}

/** `multi-user.target.wants/x.service` where nothing is x.service. */
function lintPulled(unit: Unit, names: UnitNames): Diagnostic[] {
  if (names.mayExist(unit.name)) return [];
  return unit.wantedBy.map(({ path, by, how }) =>
    describeUnitFault(
      { kind: "missing-unit", key: `${by}.${how}`, unit: unit.name, near: names.near(unit.name) },
      { file: path },
    ),
  );
}
