/** Reads `layer.ini` files, each once, and orders the layers of a machine. Must not read a layer's other files. */
import { join } from "node:path";
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { type AbsPath, type FactName, isName, type LayerName } from "../paths.ts";
import { checkVocabulary, type IniFile, settingsOf, splitList } from "./ini-file.ts";
import { describe } from "./problems.ts";
import type { FactDeclaration, FactType, Layer } from "./project.ts";
import { readAttributes } from "./read-attributes.ts";
import type { ProjectDisk } from "./read-project.ts";
import { readSecretWishes } from "./read-secrets.ts";

const FACT_TYPES: readonly FactType[] = ["string", "int", "bool", "port", "ip", "cidr", "list", "json"];
const FACT_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;
/** The folder a machine implies before all others, where the repository or the package has it. */
const BASE = "base";

/** Reads an INI file of the repository by its shown name and its folder; undefined if there is none. */
export type ReadIni = (file: string, folder: string) => IniFile | undefined;

/** Reads each layer once and orders them for a machine. */
export class LayerReader {
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
        secrets: "any",
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
      credentials: readSecretWishes(ini, name, this.problems),
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
