/**
 * The guests that a machine.ini declares: the words of `[guest NAME]` as definitions. Pure; must not know which images
 * there are, nor what a machine has for all its guests.
 */
import type { Diagnostic } from "../diagnostics.ts";
import type { FactValue } from "../facts/fact.ts";
import { NETWORK_MODES, type NetworkMode } from "../ipam/wish.ts";
import { TREE_ROOT } from "../paths.ts";
import type { GuestSection, Machine } from "../project/project.ts";
import { checkGuest, type GuestPlaces } from "./check-guest.ts";
import { GUEST_NAME, type Guest, MOUNT_KINDS } from "./guest.ts";
import { describe } from "./problems.ts";

/** Folder of the tree that has the trees of guests, a folder each. */
export const GUEST_TREES = "lib/labctl/guests";

export interface DeclaredGuest {
  readonly guest: Guest;
  readonly section: GuestSection;
  /** Of its network; undefined: it has none. */
  readonly mode: NetworkMode | undefined;
}

/** What `size =` stands for; settings of their own win. */
const SIZES: Readonly<Record<string, Readonly<Record<string, FactValue>>>> = {
  small: { cpu: "100%", memory: "512M", tasks: 1024, disk: "8G" },
  medium: { cpu: "200%", memory: "2G", tasks: 4096, disk: "20G" },
  large: { cpu: "400%", memory: "8G", tasks: 16_384, disk: "80G" },
};

/** Setting of machine.ini → path of the value in a definition. */
const PATHS: Readonly<Record<string, string>> = {
  kind: "kind",
  image: "image",
  network: "network",
  autostart: "autostart",
  pinned: "pinned",
  ephemeral: "ephemeral",
  ready: "readySeconds",
  stop: "stopSeconds",
  cpu: "resources.cpu",
  memory: "resources.memory",
  tasks: "resources.tasks",
  io: "resources.io",
  disk: "resources.disk",
  mounts: "mounts",
  keys: "sshKeys",
  machine: "vm.machine",
  cpus: "vm.cpus",
  firmware: "vm.firmware",
  iso: "vm.iso",
  display: "vm.display",
  accelerator: "vm.accelerator",
  devices: "vm.devices",
  append: "vm.append",
};

/** Those guests that can be; what is wrong with the others is added to `problems`. Pure otherwise. */
export function declaredGuests(machine: Machine, problems: Diagnostic[]): DeclaredGuest[] {
  return machine.guests.flatMap((section) => {
    const guest = declaredGuest(section, problems);
    const known = machine.networks.find((n) => n.name === guest?.network);
    if (guest?.network !== undefined && !known) {
      problems.push(
        describe({
          kind: "no-network",
          guest: guest.name,
          network: guest.network,
          known: machine.networks.map((n) => n.name),
          place: section.settings.get("network")?.place ?? section.place,
        }),
      );
      return [];
    }
    // A mode that is none is refused where networks are read.
    const mode = known && NETWORK_MODES.find((m) => m === (known.settings.get("mode")?.value ?? "nat"));
    return guest ? [{ guest, section, mode }] : [];
  });
}

function declaredGuest(section: GuestSection, problems: Diagnostic[]): Guest | undefined {
  const { name, settings } = section;
  const keys = new Map(Object.entries(PATHS).map(([key, path]) => [path, key]));
  const keyOf = (path: string): string => {
    const whole = path.replace(/\[\d+\].*$/, "");
    return keys.get(whole) ?? whole;
  };
  const places: GuestPlaces = {
    place: (path) => settings.get(keyOf(path))?.place ?? section.place,
    label: keyOf,
    example: (path, value) => `${keyOf(path)} = ${value}`,
  };
  const raw: Record<string, FactValue> = { name, kind: "container" };
  const nested: Record<string, Record<string, FactValue>> = { resources: {}, vm: {} };
  const size = settings.get("size");
  if (size && !Object.hasOwn(SIZES, size.value)) {
    const expected = `one of ${Object.keys(SIZES).join(", ")}`;
    problems.push(describe({ kind: "value", what: "size", found: size.value, expected, place: size.place }));
  }
  nested.resources = { ...(Object.hasOwn(SIZES, size?.value ?? "") ? SIZES[size?.value ?? ""] : {}) };
  for (const [key, { value }] of settings) {
    const path = Object.hasOwn(PATHS, key) ? (PATHS[key] ?? "") : "";
    const [outer = "", inner] = path.split(".");
    if (path === "") continue;
    if (inner !== undefined) nested[outer] = { ...nested[outer], [inner]: readValue(key, value) };
    else raw[outer] = readValue(key, value);
  }
  raw.resources = nested.resources ?? {};
  if (Object.keys(nested.vm ?? {}).length > 0) raw.vm = nested.vm ?? {};
  // One that can't be a name would be a path of its own choosing.
  if (section.machine && GUEST_NAME.test(name)) raw.tree = `${TREE_ROOT}/${GUEST_TREES}/${name}`;
  const checked = checkGuest(raw, places);
  if (checked.ok) return checked.value;
  problems.push(...checked.problems);
  return undefined;
}

/** What has not the form that a setting wants stays text, for its check to refuse. */
function readValue(key: string, text: string): FactValue {
  switch (key) {
    case "autostart":
    case "pinned":
    case "ephemeral":
    case "display":
      return /^(yes|true)$/.test(text) ? true : /^(no|false)$/.test(text) ? false : text;
    case "ready":
    case "stop":
      return /^\d{1,6}s?$/.test(text) ? Number.parseInt(text, 10) : text;
    case "tasks":
    case "io":
    case "cpus":
      return /^\d{1,9}$/.test(text) ? Number(text) : text;
    case "mounts":
      return listOf(text).map(mountOf);
    case "keys":
    case "devices":
      return listOf(text);
    default:
      return text;
  }
}

function listOf(text: string): string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

/** `[bind|nfs|iscsi] SOURCE TARGET [ro]`; anything else stays text. */
function mountOf(text: string): FactValue {
  const words = text.split(/\s+/);
  const kind = MOUNT_KINDS.find((k) => k === words[0]);
  if (kind) words.shift();
  const readOnly = words.length === 3 && words[2] === "ro";
  if (readOnly) words.pop();
  const [source = "", target = "", ...rest] = words;
  return rest.length > 0 || target === "" ? text : { kind: kind ?? "bind", source, target, readOnly };
}
