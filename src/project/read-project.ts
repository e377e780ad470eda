/**
 * Reads `lab.ini`, every `machine.ini` and the `layer.ini` of every layer in use into one Project value.
 * Reads through the Disk it is given; must not read a layer's files.
 */
import { join } from "node:path";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { AbsPath, LayerName } from "../paths.ts";
import { isName } from "../paths.ts";
import { checkVocabulary, type IniFile, parseIni, settingsOf } from "./ini-file.ts";
import { describe } from "./problems.ts";
import type { Machine, Project } from "./project.ts";
import { LayerReader } from "./read-layers.ts";
import { readMachine } from "./read-machine.ts";

/** The reads that this module needs; a test hands in its own. */
export interface ProjectDisk {
  /** Undefined: there is no such file. Throws only for a file that exists and can't be read. */
  readText(path: string): string | undefined;
  /** Names of the folders in a folder, sorted; empty if it does not exist. */
  folders(path: string): string[];
  /** Keeps track of files looked at, present or not. */
  readonly filesRead: AbsPath[];
}

/**
 * Reads the whole project. `builtInLayers` is the folder of the layers that ship with labctl.
 * Collects every problem of every file before it fails.
 */
export function readProject(root: AbsPath, builtInLayers: AbsPath, disk: ProjectDisk): Result<Project> {
  const problems: Diagnostic[] = [];
  const read = (file: string, folder: string): IniFile | undefined => {
    const path = join(folder, file.split("/").at(-1) ?? file) as AbsPath;
    disk.filesRead.push(path);
    try {
      const text = disk.readText(path);
      if (text === undefined) return undefined;
      const { ini, problems: found } = parseIni(text, file);
      problems.push(...found);
      return ini;
    } catch (error) {
      problems.push(describe({ kind: "unreadable", file, why: (error as Error).message }));
      return undefined;
    }
  };

  const lab = read("lab.ini", root);
  if (lab) problems.push(...checkVocabulary(lab, { lab: ["name"], reserved: "any" }));
  const layers = new LayerReader(root, builtInLayers, disk, read, problems);
  const machines: Machine[] = [];
  for (const name of disk.folders(join(root, "machines"))) {
    const machine = readMachine(name, root, read, layers, disk, problems);
    if (machine) machines.push(machine);
  }
  if (machines.length === 0 && problems.length === 0) problems.push(describe({ kind: "no-machines", root }));
  if (problems.length > 0) return failure(...problems);
  const givenName = (lab && settingsOf(lab, "lab").find((s) => s.key === "name")?.value) || undefined;
  const name = givenName ?? root.split("/").at(-1) ?? "lab";
  const reserved = (lab ? settingsOf(lab, "reserved") : []).map((s) => ({
    name: s.key,
    value: s.value,
    place: s.place,
  }));
  return success({ root, name, givenName, machines, reserved, filesRead: disk.filesRead });
}

/** Every layer there is, used or not: the repository's, then the built-in ones that it does not replace; sorted by name. */
export function knownLayers(
  root: AbsPath,
  builtInLayers: AbsPath,
  disk: ProjectDisk,
): readonly { readonly name: LayerName; readonly folder: AbsPath }[] {
  const own = join(root, "layers");
  const found = new Map<string, AbsPath>();
  for (const folder of [own, builtInLayers]) {
    for (const name of disk.folders(folder)) {
      if (isName(name) && !found.has(name)) found.set(name, join(folder, name) as AbsPath);
    }
  }
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, folder]) => ({ name: name as LayerName, folder }));
}
