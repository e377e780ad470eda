/**
 * Reads and merges the facts of a machine with their provenance. Five levels and no more, lowest first: layer default,
 * probed, facts/all, facts/<machine>, `--fact`. Reads through the disk it is given; must not know templates.
 */
import { join } from "node:path";
import type { Diagnostic, Place, Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import type { AbsPath, FactName, MachineName } from "../paths.ts";
import type { FactDeclaration, Machine } from "../project/project.ts";
import { convertFact } from "./convert-fact.ts";
import { parseEnv } from "./env-file.ts";
import type { Fact, FactLevel, FactOrigin, FactSearch, FactSet, FactValue } from "./fact.ts";
import { parseFactJson } from "./json-file.ts";

export interface FactDisk {
  /** Undefined: there is no such file. */
  readText(path: string): string | undefined;
  readonly filesRead: AbsPath[];
}

/** A `NAME` that a fact may not have, because templates know it as something else. */
const RESERVED = "machine";

type Level = ReadonlyMap<string, FactOrigin>;

export interface MachineFacts {
  readonly facts: FactSet;
  /** One phrase for each level and file, for `looked in:`. */
  readonly searched: FactSearch;
  /** `machine.networks` of templates; undefined: addresses were not read. */
  readonly networks?: FactValue;
  /** `machine.taken` of templates: IPv4 prefixes that are spoken for in all of the repository, sorted. */
  readonly taken?: FactValue;
  /** `machine.fleet` of templates: every machine of the repository with its addresses, sorted by name. */
  readonly fleet?: FactValue;
  /** Facts of its guests that have a tree, by the guest's name; undefined: they were not read. */
  readonly guests?: ReadonlyMap<string, MachineFacts>;
}

/**
 * Facts of every machine given. Problems of all machines are collected: syntax errors, a name set twice on one level,
 * values of the wrong type, required facts that nothing sets. `derived`: facts that are known without a probe, on that level.
 */
export function readFacts(
  root: AbsPath,
  machines: readonly Machine[],
  args: ReadonlyMap<string, string>,
  disk: FactDisk,
  derived?: (machine: Machine) => ReadonlyMap<string, FactOrigin>,
): Result<ReadonlyMap<MachineName, MachineFacts>> {
  const problems: Diagnostic[] = [];
  const all = readLevel(root, "all", "all", disk, problems);
  const argLevel: Level = new Map(
    [...args].map(([name, value]) => [name, { level: "argument" as const, value }]),
  );
  const out = new Map<MachineName, MachineFacts>();
  const reported = new Set<string>();
  for (const machine of machines) {
    const declared = declarations(machine, problems, reported);
    const probed = readProbed(root, machine.name, disk, problems);
    const own = readLevel(root, machine.name, "machine", disk, problems);
    const defaults: Level = new Map(
      [...declared.values()].flatMap((d) =>
        d.defaultValue === undefined
          ? []
          : [[d.name as string, { level: "default" as const, place: d.place, value: d.defaultValue }]],
      ),
    );
    const seen: Level = new Map([...(derived?.(machine) ?? []), ...probed.level]);
    const levels: Level[] = [argLevel, own.level, all.level, seen, defaults];
    const facts = new Map<FactName, Fact>();
    for (const name of new Set(levels.flatMap((l) => [...l.keys()]))) {
      const origins = levels.flatMap((l) => l.get(name) ?? []);
      const [winner, ...overridden] = origins;
      if (!winner) continue;
      const declaration = declared.get(name);
      const converted = convertFact(name, winner, declaration, machine.name);
      if (!converted.ok) problems.push(...converted.problems);
      else
        facts.set(name as FactName, {
          name: name as FactName,
          value: converted.value,
          origin: winner,
          overridden,
        });
    }
    const searched = [
      `facts/${machine.name}.env${own.found.env ? "" : " (absent)"}`,
      `facts/${machine.name}.json${own.found.json ? "" : " (absent)"}`,
      `facts/all.env${all.found.env ? "" : " (absent)"}`,
      `facts/all.json${all.found.json ? "" : " (absent)"}`,
      `probed (${probed.date === undefined ? "never" : probed.date})`,
      "layer defaults",
    ];
    for (const d of declared.values()) {
      if (levels.some((l) => l.has(d.name))) continue;
      problems.push(
        problem(
          "fact-missing",
          `fact \`${d.name}\` is required by layer \`${d.layer}\` and unset for machine \`${machine.name}\``,
          {
            place: d.place,
            notes: [`looked in: ${searched.join(", ")}`],
            help: `set it in facts/${machine.name}.env, or drop layer \`${d.layer}\` from machines/${machine.name}/machine.ini`,
          },
        ),
      );
    }
    out.set(machine.name, { facts, searched });
  }
  return problems.length > 0 ? failure(...unique(problems)) : success(out);
}

function declarations(
  machine: Machine,
  problems: Diagnostic[],
  reported: Set<string>,
): Map<string, FactDeclaration> {
  const out = new Map<string, FactDeclaration>();
  for (const layer of machine.layers) {
    for (const d of layer.facts) {
      const before = out.get(d.name);
      if (
        before &&
        before.defaultValue !== d.defaultValue &&
        before.defaultValue !== undefined &&
        d.defaultValue !== undefined
      ) {
        const key = `${before.place.file}\0${d.place.file}\0${d.name}`;
        if (!reported.has(key)) {
          reported.add(key);
          problems.push(
            problem(
              "fact-conflict",
              `layers \`${before.layer}\` and \`${d.layer}\` give fact \`${d.name}\` different defaults`,
              {
                place: d.place,
                notes: [
                  `${before.place.file}:${before.place.line}: \`${before.defaultValue}\``,
                  `${d.place.file}:${d.place.line}: \`${d.defaultValue}\``,
                ],
                help: "declare it once, in the layer that the other needs",
              },
            ),
          );
        }
      }
      if (!before || before.defaultValue === undefined)
        out.set(d.name, before?.type && !d.type ? { ...d, type: before.type } : d);
    }
  }
  return out;
}

function readLevel(root: AbsPath, stem: string, level: FactLevel, disk: FactDisk, problems: Diagnostic[]) {
  const out = new Map<string, FactOrigin>();
  const add = (name: string, value: FactValue, place: Place): void => {
    if (name === RESERVED || name === "__proto__" || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      problems.push(
        problem("bad-name", `\`${name}\` can't be the name of a fact`, {
          place,
          ...(name === RESERVED ? { notes: ["templates know `machine` as the machine itself"] } : {}),
          help: "use letters, digits and `_`, not beginning with a digit",
        }),
      );
      return;
    }
    const before = out.get(name);
    if (before?.place) {
      problems.push(
        problem("fact-twice", `fact \`${name}\` is set twice on one level`, {
          place,
          notes: [
            `first at ${before.place.file}${before.place.line === undefined ? "" : `:${before.place.line}`}`,
          ],
          help: "keep one of the two",
        }),
      );
      return;
    }
    out.set(name, { level, place, value });
  };
  const env = read(root, `facts/${stem}.env`, disk, problems);
  if (env !== undefined) {
    const parsed = parseEnv(env, `facts/${stem}.env`);
    problems.push(...parsed.problems);
    for (const s of parsed.settings) add(s.name, s.value, s.place);
  }
  const json = read(root, `facts/${stem}.json`, disk, problems);
  if (json !== undefined) {
    const parsed = parseFactJson(json, `facts/${stem}.json`);
    problems.push(...parsed.problems);
    for (const s of parsed.settings) add(s.name, s.value, s.place);
  }
  return { level: out as Level, found: { env: env !== undefined, json: json !== undefined } };
}

/** `facts/probed/<machine>.json` is `{"probedAt": ISO date, "facts": {…}}`, as `labctl facts probe` writes it. */
function readProbed(root: AbsPath, machine: MachineName, disk: FactDisk, problems: Diagnostic[]) {
  const file = `facts/probed/${machine}.json`;
  const text = read(root, file, disk, problems);
  if (text === undefined) return { level: new Map() as Level, date: undefined };
  const parsed = parseFactJson(text, file);
  problems.push(...parsed.problems);
  const facts = parsed.settings.find((s) => s.name === "facts")?.value;
  const date = parsed.settings.find((s) => s.name === "probedAt")?.value;
  if (
    parsed.problems.length === 0 &&
    (facts === null || typeof facts !== "object" || Array.isArray(facts) || typeof date !== "string")
  ) {
    problems.push(
      problem("fact-syntax", "probed facts are not of the form that a probe writes", {
        place: { file },
        notes: ['expected: {"probedAt": "2026-01-31T12:00:00Z", "facts": {…}}'],
        help: "remove the file and probe the machine again",
      }),
    );
    return { level: new Map() as Level, date: undefined };
  }
  const entries = Object.entries((facts ?? {}) as Record<string, FactValue>);
  const level = new Map(
    entries.map(([name, value]) => [name, { level: "probed" as const, place: { file }, value }]),
  );
  return { level: level as Level, date: typeof date === "string" ? date.slice(0, 10) : undefined };
}

function read(root: AbsPath, file: string, disk: FactDisk, problems: Diagnostic[]): string | undefined {
  const path = join(root, file) as AbsPath;
  disk.filesRead.push(path);
  try {
    return disk.readText(path);
  } catch (error) {
    problems.push(
      problem("unreadable", `can't read it: ${(error as Error).message}`, {
        place: { file },
        help: "make it readable for the user who builds",
      }),
    );
    return undefined;
  }
}

function unique(problems: readonly Diagnostic[]): Diagnostic[] {
  const seen = new Set<string>();
  return problems.filter((p) => {
    const key = JSON.stringify(p);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
