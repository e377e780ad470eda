/**
 * Reads `lab.ini`, every `machine.ini` and the `layer.ini` of every layer in use into one Project value.
 * Owns the order of layers. Reads through the Disk it is given; must not read a layer's files.
 */
import { join } from "node:path";
import type { Diagnostic, Place, Result } from "../diagnostics.ts";
import { failure, problem } from "../diagnostics.ts";
import type { AbsPath, FactName, LayerName } from "../paths.ts";
import { isName } from "../paths.ts";
import { checkVocabulary, type IniFile, parseIni, settingsOf, splitList } from "./ini-file.ts";
import { describe } from "./problems.ts";
import type { AttributeRule, FactDeclaration, FactType, Layer, Machine, Project } from "./project.ts";

/** The reads that this module needs; a test hands in its own. */
export interface ProjectDisk {
  /** Undefined: there is no such file. Throws only for a file that exists and can't be read. */
  readText(path: string): string | undefined;
  /** Names of the folders in a folder, sorted; empty if it does not exist. */
  folders(path: string): string[];
  /** Keeps track of files looked at, present or not. */
  readonly filesRead: AbsPath[];
}

const FACT_TYPES: readonly FactType[] = ["string", "int", "bool", "port", "ip", "cidr", "list", "json"];
const FACT_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;
const HOST = /^[A-Za-z0-9_.:%[\]-]+$/;

/** The folder a machine implies before all others, where the repository or the package has it. */
const BASE = "base";

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
  if (lab) problems.push(...checkVocabulary(lab, { lab: ["name"] }));
  const layers = new LayerReader(root, builtInLayers, disk, read, problems);
  const machines: Machine[] = [];
  for (const name of disk.folders(join(root, "machines"))) {
    const machine = readMachine(name, root, read, layers, problems);
    if (machine) machines.push(machine);
  }
  if (machines.length === 0 && problems.length === 0) problems.push(describe({ kind: "no-machines", root }));
  if (problems.length > 0) return failure(...problems);
  const name = lab ? settingsOf(lab, "lab").find((s) => s.key === "name")?.value : undefined;
  return {
    ok: true,
    value: { root, name: name ?? root.split("/").at(-1) ?? "lab", machines, filesRead: disk.filesRead },
    warnings: [],
  };
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

type ReadIni = (file: string, folder: string) => IniFile | undefined;

/** Reads each layer once and orders them for a machine. */
class LayerReader {
  private readonly cache = new Map<string, Layer | undefined>();
  private readonly root: AbsPath;
  private readonly builtIn: AbsPath;
  private readonly disk: ProjectDisk;
  private readonly read: ReadIni;
  private readonly problems: Diagnostic[];

  constructor(root: AbsPath, builtIn: AbsPath, disk: ProjectDisk, read: ReadIni, problems: Diagnostic[]) {
    this.root = root;
    this.builtIn = builtIn;
    this.disk = disk;
    this.read = read;
    this.problems = problems;
  }

  /** `needs` before whoever needs them, otherwise in the order written; `base` is implied where it exists. */
  order(wanted: readonly { name: string; place: Place }[], machineFile: string): Layer[] {
    const out: Layer[] = [];
    const done = new Set<string>();
    const path: { layer: string; place: Place }[] = [];
    const visit = (name: string, place: Place, wantedBy: string): void => {
      if (done.has(name)) return;
      const onPath = path.findIndex((p) => p.layer === name);
      if (onPath >= 0) {
        const last = path.at(-1);
        const cycle = path
          .slice(onPath)
          .map((p, i, all) => ({ layer: p.layer, place: all[i + 1]?.place ?? place }));
        if (last && !this.reportedCycle(cycle.map((c) => c.layer)))
          this.problems.push(describe({ kind: "layer-cycle", cycle }));
        return;
      }
      const layer = this.get(name);
      if (!layer) {
        this.problems.push(describe({ kind: "unknown-layer", name, wantedBy, known: this.known(), place }));
        done.add(name);
        return;
      }
      path.push({ layer: name, place });
      const ini = { file: `layers/${name}/layer.ini`, line: 1 };
      for (const need of layer.needs)
        visit(need, this.needPlace.get(`${name}\0${need}`) ?? ini, `layer \`${name}\``);
      path.pop();
      if (done.has(name)) return;
      done.add(name);
      out.push(layer);
    };
    if (this.known().includes(BASE)) visit(BASE, { file: machineFile }, "every machine");
    for (const { name, place } of wanted) visit(name, place, machineFile.split("/").slice(0, 2).join("/"));
    return out;
  }

  private readonly needPlace = new Map<string, Place>();
  private readonly cyclesSeen = new Set<string>();
  private knownNames: string[] | undefined;

  private reportedCycle(cycle: readonly string[]): boolean {
    const key = [...cycle].sort().join("\0");
    if (this.cyclesSeen.has(key)) return true;
    this.cyclesSeen.add(key);
    return false;
  }

  private known(): string[] {
    this.knownNames ??= [
      ...new Set([...this.disk.folders(join(this.root, "layers")), ...this.disk.folders(this.builtIn)]),
    ].sort();
    return this.knownNames;
  }

  private get(name: string): Layer | undefined {
    if (this.cache.has(name)) return this.cache.get(name);
    const layer = isName(name) ? this.readLayer(name) : undefined;
    this.cache.set(name, layer);
    return layer;
  }

  private readLayer(name: LayerName): Layer | undefined {
    const own = this.disk.folders(join(this.root, "layers")).includes(name);
    if (!own && !this.disk.folders(this.builtIn).includes(name)) return undefined;
    const folder = join(own ? join(this.root, "layers") : this.builtIn, name) as AbsPath;
    const file = `layers/${name}/layer.ini`;
    const ini = this.read(file, folder) ?? { file, sections: [] };
    this.problems.push(
      ...checkVocabulary(ini, {
        layer: ["description", "needs", "packages"],
        facts: "any",
        types: "any",
        attributes: "any",
        overrides: "any",
      }),
    );
    const setting = (key: string) => settingsOf(ini, "layer").find((s) => s.key === key);
    const needs = splitList(setting("needs")?.value ?? "") as LayerName[];
    for (const need of needs) {
      const place = setting("needs")?.place;
      if (place) this.needPlace.set(`${name}\0${need}`, place);
    }
    const packages = splitList(setting("packages")?.value ?? "");
    for (const p of packages) {
      if (PACKAGE_NAME.test(p)) continue;
      const place = setting("packages")?.place ?? { file };
      this.problems.push(
        describe({
          kind: "bad-value",
          key: "packages",
          value: p,
          expected: "the name of a Debian package",
          place,
        }),
      );
    }
    const overrides = new Map(
      settingsOf(ini, "overrides").map((s) => [s.key, { layers: splitList(s.value), place: s.place }]),
    );
    return {
      name,
      folder,
      builtIn: !own,
      description: setting("description")?.value ?? "",
      needs,
      packages,
      facts: readFactDeclarations(ini, name, this.problems),
      attributes: readAttributes(ini, this.problems),
      overrides,
    };
  }
}

function readFactDeclarations(ini: IniFile, layer: LayerName, problems: Diagnostic[]): FactDeclaration[] {
  const types = new Map<string, FactType>();
  for (const s of settingsOf(ini, "types")) {
    if ((FACT_TYPES as readonly string[]).includes(s.value)) types.set(s.key, s.value as FactType);
    else {
      problems.push(
        describe({
          kind: "bad-value",
          key: s.key,
          value: s.value,
          expected: `one of ${FACT_TYPES.join(", ")}`,
          place: s.place,
        }),
      );
    }
  }
  const out: FactDeclaration[] = [];
  for (const s of settingsOf(ini, "facts")) {
    if (!FACT_NAME.test(s.key)) {
      problems.push(
        problem("bad-name", `\`${s.key}\` can't be the name of a fact`, {
          place: s.place,
          help: "use letters, digits and `_`, not beginning with a digit",
        }),
      );
      continue;
    }
    const type = types.get(s.key);
    types.delete(s.key);
    out.push({
      name: s.key as FactName,
      ...(s.value === "required" ? {} : { defaultValue: s.value }),
      ...(type ? { type } : {}),
      layer,
      place: s.place,
    });
  }
  for (const s of settingsOf(ini, "types")) {
    if (!types.has(s.key)) continue;
    problems.push(
      problem("missing-setting", `[types] names \`${s.key}\`, which [facts] does not declare`, {
        place: s.place,
        help: `add \`${s.key} = required\` or a default to [facts]`,
      }),
    );
  }
  return out;
}

function readAttributes(ini: IniFile, problems: Diagnostic[]): AttributeRule[] {
  return settingsOf(ini, "attributes").map((s) => {
    const rule: { glob: string; mode?: number; owner?: string; group?: string; place: Place } = {
      glob: s.key,
      place: s.place,
    };
    for (const part of s.value.split(",")) {
      const [word = "", value = "", ...extra] = part.trim().split(/\s+/);
      const name = /^[a-z_][a-z0-9_-]{0,31}$/;
      if (word === "mode" && /^0?[0-7]{3,4}$/.test(value) && extra.length === 0)
        rule.mode = Number.parseInt(value, 8);
      else if (word === "owner" && name.test(value) && extra.length === 0) rule.owner = value;
      else if (word === "group" && name.test(value) && extra.length === 0) rule.group = value;
      else {
        problems.push(
          problem("bad-value", `\`${part.trim()}\` is no attribute`, {
            place: s.place,
            help: "write `mode 0640, owner NAME, group NAME`, or one or two of them",
          }),
        );
      }
    }
    return rule;
  });
}

function readMachine(
  name: string,
  root: AbsPath,
  read: ReadIni,
  layers: LayerReader,
  problems: Diagnostic[],
): Machine | undefined {
  const file = `machines/${name}/machine.ini`;
  const folder = join(root, "machines", name) as AbsPath;
  const place: Place = { file };
  if (!isName(name)) {
    problems.push(describe({ kind: "bad-name", what: "machine", name, place: { file: `machines/${name}` } }));
    return undefined;
  }
  const ini = read(file, folder);
  if (!ini) {
    problems.push(
      problem("missing-file", `machines/${name}/ has no machine.ini`, {
        place,
        help: "make one with `[machine]` and `host = …`, or remove the folder",
      }),
    );
    return undefined;
  }
  problems.push(
    ...checkVocabulary(ini, {
      machine: ["host", "layers", "tags", "instances"],
      ssh: ["user", "port", "identity", "client"],
      attributes: "any",
    }),
  );
  const setting = (section: string, key: string) => settingsOf(ini, section).find((s) => s.key === key);
  const host = setting("machine", "host");
  if (host && !(HOST.test(host.value) && !host.value.startsWith("-"))) {
    problems.push(
      describe({
        kind: "bad-value",
        key: "host",
        value: host.value,
        expected: "a host name or address",
        place: host.place,
      }),
    );
  }
  const port = setting("ssh", "port");
  const portNumber = port === undefined ? undefined : Number(port.value);
  if (port && !(Number.isInteger(portNumber) && Number(portNumber) >= 1 && Number(portNumber) <= 65535)) {
    problems.push(
      describe({
        kind: "bad-value",
        key: "port",
        value: port.value,
        expected: "a port from 1 to 65535",
        place: port.place,
      }),
    );
  }
  const user = setting("ssh", "user");
  if (user && !/^[A-Za-z_][A-Za-z0-9._@-]*\$?$/.test(user.value)) {
    problems.push(
      describe({
        kind: "bad-value",
        key: "user",
        value: user.value,
        expected: "a user name",
        place: user.place,
      }),
    );
  }
  const client = setting("ssh", "client");
  const clientName = client?.value === "builtin" || client?.value === "openssh" ? client.value : undefined;
  if (client && clientName === undefined) {
    problems.push(
      describe({
        kind: "bad-value",
        key: "client",
        value: client.value,
        expected: "`builtin` or `openssh`",
        place: client.place,
      }),
    );
  }
  const wanted = setting("machine", "layers");
  const instances = setting("machine", "instances");
  for (const unit of splitList(instances?.value ?? "")) {
    if (/^[A-Za-z0-9:_.\\-]+@[A-Za-z0-9:_.\\-]+\.[a-z]+$/.test(unit)) continue;
    problems.push(
      describe({
        kind: "bad-value",
        key: "instances",
        value: unit,
        expected: "an instance such as `scrub@data.service`",
        place: instances?.place ?? place,
      }),
    );
  }
  return {
    name,
    folder,
    host: host?.value || name,
    layers: layers.order(
      splitList(wanted?.value ?? "").map((layer) => ({ name: layer, place: wanted?.place ?? place })),
      file,
    ),
    tags: splitList(setting("machine", "tags")?.value ?? ""),
    instances: splitList(instances?.value ?? "").map((unit) => ({ unit, place: instances?.place ?? place })),
    ssh: {
      ...(user ? { user: user.value } : {}),
      ...(portNumber === undefined ? {} : { port: portNumber }),
      identityFiles: splitList(setting("ssh", "identity")?.value ?? ""),
      ...(clientName === undefined ? {} : { client: clientName }),
    },
    attributes: readAttributes(ini, problems),
    place,
  };
}
