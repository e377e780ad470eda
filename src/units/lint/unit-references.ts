/**
 * Rules for what units name: files below /usr/local that must be in the tree, programs that must be executable, other
 * units that something must define. What lies outside the tree is the machine's affair.
 */
import type { Diagnostic, Place } from "../../diagnostics.ts";
import { STATE_FOLDER, TREE_ROOT, type UnitName } from "../../paths.ts";
import { nearest } from "../../suggestion.ts";
import { splitFields, splitWords } from "../quoted-words.ts";
import { matchReference, type Reference, readReferences, triggeredUnits } from "../references.ts";
import { expandSpecifiers } from "../specifiers.ts";
import { isTemplate, isUnitName, templateOf, unitType } from "../unit-name.ts";
import { resolveLinks, treePath, type Unit, type UnitSet } from "../unit-set.ts";
import { sectionKeys } from "./key-table.ts";
import type { UnitNames } from "./known-names.ts";
import type { LintTree } from "./lint-tree.ts";
import { describeUnitFault } from "./problems.ts";

const EXEC = /^Exec(Condition|Start|StartPre|StartPost|Reload|ReloadPost|Stop|StopPre|StopPost)$/;

/** Findings in the order of the set's names; a file that several units share is reported once for each line. */
export function lintReferences(set: UnitSet, tree: LintTree, names: UnitNames): Diagnostic[] {
  const out = new Map<string, Diagnostic>();
  const add = (found: readonly Diagnostic[]): void => {
    for (const d of found) out.set(`${d.place?.file}:${d.place?.line}:${d.code}:${d.message}`, d);
  };
  const nearPath = (path: string): string | undefined => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const files = [...tree.paths].filter((p) => tree.stat(p)?.type !== "dir");
    const same = files.find((p) => p.endsWith(`/${name}`));
    const near = same ?? nearest(path, files);
    return near === undefined ? undefined : `${TREE_ROOT}/${near}`;
  };
  for (const name of set.names) {
    if (set.canonical(name) !== name) continue;
    const unit = set.unit(name);
    const optional = optionalPaths(unit);
    for (const reference of readReferences(unit).references) {
      const soft = reference.how === "credential" && isStored(reference);
      if (soft || optional.has(reference.path) || present(tree, reference)) continue;
      const trigger = reference.how === "reload-on" || reference.how === "restart-on";
      const path = `${TREE_ROOT}/${reference.path}${reference.match === "prefix" ? "…" : ""}`;
      add([
        describeUnitFault(
          {
            kind: trigger ? "missing-trigger" : "missing-file",
            key: reference.key,
            path,
            near: nearPath(reference.path),
          },
          reference.place,
        ),
      ]);
    }
    add(lintPrograms(unit, tree));
    add(lintUnitNames(unit, names));
  }
  return [...out.values()];
}

/** Paths that the unit itself says may be absent. */
function optionalPaths(unit: Unit): Set<string> {
  const out = new Set<string>();
  const note = (text: string): void => {
    const path = treePath(expandSpecifiers(text, unit.name).text);
    if (path !== undefined) out.add(path);
  };
  for (const { key, values } of unit.settings.values()) {
    for (const { value } of values) {
      if (key === "EnvironmentFile" && value.startsWith("-")) note(value.slice(1));
      else if (/^Bind(ReadOnly)?Paths$|^Extension(Images|Directories)$|^MountImages$/.test(key)) {
        for (const [source = ""] of splitFields(value)) if (source.startsWith("-")) note(source.slice(1));
      } else if (EXEC.test(key)) {
        const [program = ""] = splitWords(value, "decode");
        const prefix = /^[@\-:+!|]*/.exec(program)?.[0] ?? "";
        if (prefix.includes("-")) note(program.slice(prefix.length));
      }
    }
  }
  return out;
}

/** Looked up in a credential store by its name, so that it may come from the machine's own. */
function isStored(reference: Reference): boolean {
  return /^lib\/credstore(\.encrypted)?\//.test(reference.path);
}

function present(tree: LintTree, reference: Reference): boolean {
  // labctl's own folder is filled on the machine.
  if (reference.path.startsWith(`${STATE_FOLDER}/`)) return true;
  if (reference.match !== "exact") {
    for (const path of tree.paths) if (matchReference(reference, path) !== undefined) return true;
    // `/usr/local/etc/%i.env`: the folder may be filled by instances that are yet to come.
    return reference.match === "prefix" && reference.how !== "bind" && !reference.path.includes("/");
  }
  return leadsSomewhere(tree, reference.path);
}

/** True if the path, its links followed, is in the tree, or leaves it. */
function leadsSomewhere(tree: LintTree, path: string): boolean {
  const last = resolveLinks(tree, path as never).at(-1) ?? path;
  if (tree.stat(last)?.type === "link")
    return treePath(tree.link(last as never) ?? "", last as never) === undefined;
  if (tree.stat(last)) return true;
  for (let end = last.lastIndexOf("/"); end > 0; end = last.lastIndexOf("/", end - 1))
    if (tree.stat(last.slice(0, end))?.type === "link") return true;
  return false;
}

/** Programs of the tree in Exec lines: executable, and something that the kernel can start. */
function lintPrograms(unit: Unit, tree: LintTree): Diagnostic[] {
  const out: Diagnostic[] = [];
  for (const { key, values } of unit.settings.values()) {
    if (!EXEC.test(key)) continue;
    for (const { value, place } of values) {
      for (const program of programsOf(value)) {
        const { text, partial } = expandSpecifiers(program, unit.name);
        const path = partial ? undefined : treePath(text);
        if (path === undefined) continue;
        out.push(...lintProgram(tree, resolveLinks(tree, path).at(-1) ?? path, key, unit.name, place));
      }
    }
  }
  return out;
}

function programsOf(value: string): string[] {
  const out: string[] = [];
  let atProgram = true;
  for (const word of splitWords(value, "decode")) {
    if (atProgram) out.push(word.replace(/^[@\-:+!|]+/, ""));
    atProgram = word === ";";
  }
  return out;
}

function lintProgram(tree: LintTree, path: string, key: string, unit: UnitName, at: Place): Diagnostic[] {
  const facts = tree.stat(path);
  if (facts?.type !== "file") return [];
  const place = { file: path };
  const by = `started by: ${unit}, ${key}= in ${at.file}${at.line === undefined ? "" : `:${at.line}`}`;
  if ((facts.mode & 0o111) === 0)
    return [describeUnitFault({ kind: "not-executable", what: `\`${path}\``, by }, place)];
  const head = tree.head(path);
  if (head.startsWith("#!") || head.startsWith("\x7fELF")) return [];
  return [describeUnitFault({ kind: "exec-format", path: `\`${path}\`` }, { file: path, line: 1 })];
}

/** Units named in dependencies, and those that a socket, timer or path unit of the tree starts. */
function lintUnitNames(unit: Unit, names: UnitNames): Diagnostic[] {
  const out: Diagnostic[] = [];
  const template = isTemplate(unit.name);
  for (const { section, key, values } of unit.settings.values()) {
    const kind = sectionKeys(section)?.get(key)?.kind;
    if ((kind !== "units" && kind !== "unit") || key === "Alias" || key === "Also") continue;
    for (const { value, place } of values) {
      for (const word of splitWords(value, "keep")) {
        const { text, partial } = expandSpecifiers(word, unit.name);
        if (partial || !isUnitName(text)) continue;
        // A template's instance takes its own instance name there: systemd.unit(5), "template units".
        if (isTemplate(text) && !template && templateOf(unit.name) === undefined && section !== "Install")
          out.push(describeUnitFault({ kind: "template-unit", key, unit: text }, place));
        else if (!names.mayExist(text))
          out.push(
            describeUnitFault(
              { kind: "missing-unit", key: `${key}=`, unit: text, near: names.near(text) },
              place,
            ),
          );
      }
    }
  }
  const fragment = unit.fragment;
  if (fragment?.kind !== "file" || out.length > 0) return out;
  const named = unitType(unit.name) === "socket" ? "Service" : "Unit";
  for (const started of triggeredUnits(unit)) {
    if (names.mayExist(started)) continue;
    // Named in a key: that was judged above.
    out.push(
      describeUnitFault(
        {
          kind: "missing-unit",
          key: `${named}= (by its own name)`,
          unit: started,
          near: names.near(started),
        },
        { file: fragment.path },
      ),
    );
  }
  return out;
}
