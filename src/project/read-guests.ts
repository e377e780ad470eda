/**
 * Reads `[guest NAME]` and `[guests]` of a machine.ini. Knows which settings there are and which layers a guest has; what
 * a setting's value means shows where guests are made of it (src/guests).
 */
import { join } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import type { AbsPath, MachineName } from "../paths.ts";
import { suggestion } from "../suggestion.ts";
import { type IniFile, type IniSection, type IniSetting, settingsOf, splitList } from "./ini-file.ts";
import type { GuestSection, Machine } from "./project.ts";
import type { LayerReader } from "./read-layers.ts";
import type { ProjectDisk } from "./read-project.ts";

/** Begins the heading of a guest's section. */
const GUEST = "guest ";

/** Folder in a machine's folder that has a folder of own files for each guest; not shipped as part of the machine. */
export const GUEST_FILES = "_guests";

/** Settings of `[guest NAME]`. */
export const GUEST_KEYS: readonly string[] = [
  ...["kind", "image", "network", "layers", "instances", "autostart", "pinned", "ephemeral", "ready", "stop"],
  ...["size", "cpu", "memory", "tasks", "io", "disk", "mounts", "keys"],
  ...["machine", "cpus", "firmware", "iso", "display", "accelerator", "devices", "append"],
];
/** Settings of `[guests]`. */
export const QUOTA_KEYS: readonly string[] = ["cpu", "memory", "disk", "count"];

/** The vocabulary of these sections. Pure. */
export function guestVocabulary(ini: IniFile): Readonly<Record<string, readonly string[]>> {
  return {
    guests: QUOTA_KEYS,
    ...Object.fromEntries(guestSections(ini).map((s) => [s.name, GUEST_KEYS])),
  };
}

/** Guests in the order written; `folder` is the machine's. Adds to `problems`; reads names of folders. */
export function readGuests(
  ini: IniFile,
  machine: MachineName,
  folder: AbsPath,
  layers: LayerReader,
  disk: ProjectDisk,
  problems: Diagnostic[],
): GuestSection[] {
  const withFiles = disk.folders(join(folder, GUEST_FILES));
  const guests = guestSections(ini).map((section): GuestSection => {
    const name = section.name.slice(GUEST.length).trim();
    const settings = new Map(section.settings.map((s) => [s.key, { value: s.value, place: s.place }]));
    const base = { name, settings, place: section.place };
    if (!settings.has("layers") && !withFiles.includes(name)) return base;
    return { ...base, machine: guestMachine(machine, folder, base, layers) };
  });
  for (const [i, { name, place }] of guests.entries()) {
    const first = guests.findIndex((g) => g.name === name);
    // `[guest  web]` is another heading than `[guest web]`.
    if (first === i || sectionTwice(ini, name)) continue;
    problems.push(
      problem("ini-duplicate", `guest \`${name}\` is declared twice`, {
        place,
        notes: [`first at line ${guests[first]?.place.line}`],
        help: "join the two",
      }),
    );
  }
  for (const name of withFiles) {
    if (guests.some((g) => g.name === name)) continue;
    problems.push(
      problem("guest-undeclared", `there is no guest \`${name}\` that these files could be of`, {
        place: { file: `machines/${machine}/${GUEST_FILES}/${name}` },
        notes: [`looked for: [guest ${name}] in machines/${machine}/machine.ini`],
        help: suggestion(
          name,
          guests.map((g) => g.name),
        ),
      }),
    );
  }
  return guests;
}

function guestMachine(
  host: MachineName,
  folder: AbsPath,
  { name, settings, place }: GuestSection,
  layers: LayerReader,
): Machine {
  const wanted = settings.get("layers");
  const instances = settings.get("instances");
  return {
    name: `${host}/${name}` as MachineName,
    folder: join(folder, GUEST_FILES, name) as AbsPath,
    host: name,
    layers: layers.order(
      splitList(wanted?.value ?? "").map((layer) => ({ name: layer, place: wanted?.place ?? place })),
      place.file,
    ),
    tags: [],
    instances: splitList(instances?.value ?? "").map((unit) => ({ unit, place: instances?.place ?? place })),
    ssh: { identityFiles: [] },
    attributes: [],
    networks: [],
    guests: [],
    quotas: new Map(),
    credentials: [],
    place,
  };
}

/** The `instances =` of all guests. Pure. */
export function guestInstances(ini: IniFile): readonly IniSetting[] {
  return guestSections(ini).flatMap((s) => s.settings.filter((setting) => setting.key === "instances"));
}

/** True if the reader of the file has refused the section already. */
function sectionTwice(ini: IniFile, name: string): boolean {
  return ini.sections.filter((s) => s.name === GUEST + name).length > 1;
}

/** `[guests]`, as written. Pure. */
export function readQuotas(ini: IniFile): Machine["quotas"] {
  return new Map(settingsOf(ini, "guests").map((s) => [s.key, { value: s.value, place: s.place }]));
}

/** `[guest web]` and its like; whether the name can be one shows where guests are made. */
function guestSections(ini: IniFile): readonly IniSection[] {
  return ini.sections.filter((s) => s.name.startsWith(GUEST));
}
