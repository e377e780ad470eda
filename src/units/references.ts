/**
 * What a unit depends on below /usr/local, read from the unit's merged settings alone. Sources: systemd.service(5),
 * systemd.exec(5); `[X-Labctl]` is labctl's own section. Must not know what changed, nor what to do about it.
 */
import type { Place } from "../diagnostics.ts";
import { type RelPath, TREE_ROOT, type UnitName } from "../paths.ts";
import { splitFields, splitWords } from "./quoted-words.ts";
import { expandSpecifiers } from "./specifiers.ts";
import { isUnitName, splitUnitName, unitType } from "./unit-name.ts";
import { type Settings, type SettingValue, treePath, type Unit, valuesOf } from "./unit-set.ts";

export type ReferenceKind =
  /** A program, or a script run by an interpreter, that a start of the unit executes. */
  | "exec"
  /** A program of ExecReload=, ExecStop= and the like: read anew each time, so a running unit never has it stale. */
  | "exec-later"
  | "environment-file"
  /** The source of a bind mount: it pins the inode. */
  | "bind"
  | "credential"
  /** RootDirectory=, RootImage=, extension and mount images. */
  | "root"
  /** Named in an argument of ExecStart= or ExecReload=: configuration, as far as labctl can tell. */
  | "config"
  | "reload-on"
  | "restart-on";

export interface Reference {
  readonly how: ReferenceKind;
  /** Relative to /usr/local, without a slash at its end; for `prefix` it may end in the middle of a name. */
  readonly path: string;
  /**
   * exact: this path, or anything below it. prefix: every path that begins so (an unknown specifier follows).
   * glob: `*` and `?` stand within one component, and what matches may be a folder.
   */
  readonly match: "exact" | "prefix" | "glob";
  readonly key: string;
  readonly place: Place;
}

export interface StrayTrigger {
  readonly key: string;
  readonly text: string;
  readonly place: Place;
}

export interface References {
  /** In order of the settings. */
  readonly references: readonly Reference[];
  /** Words of ReloadOn= and RestartOn= that are no absolute paths below /usr/local; they have no effect. */
  readonly stray: readonly StrayTrigger[];
}

const EXEC_NOW = ["ExecStartPre", "ExecStart", "ExecStartPost"];
const EXEC_LATER = [
  "ExecCondition",
  "ExecReload",
  "ExecReloadPost",
  "ExecStop",
  "ExecStopPre",
  "ExecStopPost",
];
const EXEC_SECTIONS = ["Service", "Socket", "Mount", "Swap"];
/** Programs that run the file their first argument names: that file is code, not configuration. */
const INTERPRETER = /^(node|nodejs|deno|bun|bash|sh|dash|python[0-9.]*|perl|ruby|lua|php|env)$/;
const SCRIPT = /\.(mjs|cjs|js|sh|bash|py|pl|rb|lua)$/;

/** Every path below /usr/local that the unit depends on, with how. Pure. */
export function readReferences(unit: Unit): References {
  const out: Reference[] = [];
  const stray: StrayTrigger[] = [];
  const add = (how: ReferenceKind, key: string, text: string, place: Place): void => {
    const reference = makeReference(unit.name, how, key, text, place);
    if (reference) out.push(reference);
  };
  for (const { section, key, values } of unit.settings.values()) {
    for (const setting of values) {
      const { value, place } = setting;
      if (EXEC_SECTIONS.includes(section) && (EXEC_NOW.includes(key) || EXEC_LATER.includes(key))) {
        for (const found of execPaths(key, value)) add(found.how, key, found.path, place);
      } else if (key === "EnvironmentFile") add("environment-file", key, value.replace(/^-/, ""), place);
      else if (key === "BindPaths" || key === "BindReadOnlyPaths") {
        for (const fields of splitFields(value)) add("bind", key, bindSource(fields[0] ?? ""), place);
      } else if (/^(LoadCredential|LoadCredentialEncrypted|ImportCredential)$/.test(key)) {
        for (const path of credentialPaths(key, value)) add("credential", key, path, place);
      } else if (/^(RootDirectory|RootImage)$/.test(key)) add("root", key, value, place);
      else if (/^(ExtensionDirectories|ExtensionImages|MountImages)$/.test(key)) {
        for (const fields of splitFields(value)) add("root", key, bindSource(fields[0] ?? ""), place);
      } else if (section === "X-Labctl" && (key === "ReloadOn" || key === "RestartOn")) {
        for (const word of splitWords(value)) {
          if (!word.startsWith(`${TREE_ROOT}/`)) stray.push({ key, text: word, place });
          else add(key === "ReloadOn" ? "reload-on" : "restart-on", key, word, place);
        }
      }
    }
  }
  return { references: out, stray };
}

/**
 * How a changed path meets a reference. `at`: it is the very path. `below`: the reference is a folder above it.
 * `above`: the changed path is a folder, or a link, on the way to what is referred to. Pure.
 */
export function matchReference(reference: Reference, changed: string): "at" | "below" | "above" | undefined {
  const { path, match } = reference;
  if (match === "prefix") return changed.startsWith(path) ? "at" : undefined;
  if (match === "glob") {
    const wanted = path.split("/");
    const parts = changed.split("/");
    if (parts.length < wanted.length) return undefined;
    if (!wanted.every((pattern, i) => globMatches(pattern, parts[i] ?? ""))) return undefined;
    return parts.length === wanted.length ? "at" : "below";
  }
  if (changed === path) return "at";
  if (changed.startsWith(`${path}/`)) return "below";
  return path.startsWith(`${changed}/`) ? "above" : undefined;
}

/**
 * Names of the units that a socket, timer or path unit starts: `Service=`, `Unit=`, `Sockets=` aside, or the unit
 * of the same name; for `Accept=yes` the template of the same name. Empty for other types. Pure.
 */
export function triggeredUnits(unit: Unit): UnitName[] {
  const type = unitType(unit.name);
  const section = { socket: "Socket", timer: "Timer", path: "Path" }[type as string];
  if (section === undefined) return [];
  const named = valuesOf(unit.settings, section, type === "socket" ? "Service" : "Unit").at(-1);
  const name = named && expandSpecifiers(named.value, unit.name).text;
  if (name && isUnitName(name)) return [name];
  const stem = unit.name.slice(0, -(type.length + 1));
  const accept = valuesOf(unit.settings, "Socket", "Accept").at(-1)?.value ?? "no";
  if (type === "socket" && /^(1|yes|y|true|t|on)$/i.test(accept)) {
    return [`${splitUnitName(unit.name).prefix}@.service` as UnitName];
  }
  return [`${stem}.service` as UnitName];
}

/** Last value of a key of `[X-Labctl]`; undefined if it is not set. Pure. */
export function labctlSetting(settings: Settings, key: string): SettingValue | undefined {
  return valuesOf(settings, "X-Labctl", key).at(-1);
}

function makeReference(
  unit: UnitName,
  how: ReferenceKind,
  key: string,
  text: string,
  place: Place,
): Reference | undefined {
  const { text: expanded, partial } = expandSpecifiers(text, unit);
  if (!expanded.startsWith(`${TREE_ROOT}/`)) return undefined;
  if (partial) {
    const rest = expanded.slice(TREE_ROOT.length + 1).replace(/\/{2,}/g, "/");
    return rest === "" ? undefined : { how, path: rest, match: "prefix", key, place };
  }
  const path: RelPath | undefined = treePath(expanded);
  if (path === undefined) return undefined;
  const globs =
    how === "reload-on" || how === "restart-on" || how === "environment-file" || key === "ImportCredential";
  return { how, path, match: globs && /[*?]/.test(path) ? "glob" : "exact", key, place };
}

/** The program and the paths among its arguments; several commands may stand in one line, apart by ` ; `. */
function execPaths(key: string, value: string): { how: ReferenceKind; path: string }[] {
  const out: { how: ReferenceKind; path: string }[] = [];
  const now = EXEC_NOW.includes(key);
  let atProgram = true;
  let awaitsScript = false;
  for (const raw of splitWords(value, "decode")) {
    if (raw === ";") {
      atProgram = true;
      continue;
    }
    const word = atProgram ? raw.replace(/^[@\-:+!|]+/, "") : raw;
    const code = atProgram || (awaitsScript && !word.startsWith("-")) || SCRIPT.test(word);
    for (const path of pathsIn(word)) {
      const how = code ? (now ? "exec" : "exec-later") : "config";
      // Arguments of ExecStop= and the like are read when they run, and are nobody's running configuration.
      if (how === "config" && key !== "ExecStart" && key !== "ExecReload") continue;
      out.push({ how, path });
    }
    if (atProgram) awaitsScript = INTERPRETER.test(word.slice(word.lastIndexOf("/") + 1));
    else if (!word.startsWith("-")) awaitsScript = false;
    atProgram = false;
  }
  return out;
}

/** Absolute paths below /usr/local in one word: `--config=/usr/local/x`, `-c/usr/local/x`, `a:/usr/local/x`. */
function pathsIn(word: string): string[] {
  const out: string[] = [];
  for (const match of word.matchAll(/\/usr\/local\/[^\s:;,'"=]+/g)) {
    const before = word.slice(0, match.index);
    // `/opt/usr/local/x` is another path; `-c/usr/local/x` is an option with its value.
    if (before !== "" && !/[=:,;'"\s]$/.test(before) && !/^-[A-Za-z]$/.test(before)) continue;
    out.push(match[0]);
  }
  return out;
}

/** `-` makes a missing source no error; `+` means below RootDirectory=, so outside the tree unless that is in it. */
function bindSource(field: string): string {
  return field.replace(/^[-+]+/, "");
}

/** Relative names are looked up in the credential stores, of which /usr/local/lib has one: systemd.exec(5). */
function credentialPaths(key: string, value: string): string[] {
  const stores = key === "LoadCredential" ? ["credstore"] : ["credstore", "credstore.encrypted"];
  const inStores = (name: string): string[] => stores.map((store) => `${TREE_ROOT}/lib/${store}/${name}`);
  if (key === "ImportCredential") return inStores(splitFields(value)[0]?.[0] ?? "");
  const [id = "", path = id] = splitFields(value)[0] ?? [];
  if (path.startsWith("/")) return [path];
  return path === "" ? [] : inStores(path);
}

function globMatches(pattern: string, text: string): boolean {
  const source = pattern
    .split("")
    .map((char) =>
      char === "*" ? "[^/]*" : char === "?" ? "[^/]" : char.replace(/[\\^$.|+()[\]{}]/g, "\\$&"),
    )
    .join("");
  return new RegExp(`^${source}$`).test(text);
}
