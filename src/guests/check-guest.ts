/**
 * Judges the values of a guest's definition, wherever it was written: JSON on a machine, or a section of machine.ini.
 * Pure; must not know either form, only what each calls a value and where it stands.
 */
import type { Diagnostic, Place, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import type { FactValue } from "../facts/fact.ts";
import { hasControlCharacter } from "../paths.ts";
import {
  cpuPercent,
  GUEST_DEFAULTS,
  GUEST_KINDS,
  GUEST_NAME,
  type Guest,
  type GuestMount,
  type GuestResources,
  type GuestVm,
  IMAGE_NAME,
  MOUNT_KINDS,
  NETWORK_NAME,
  sizeBytes,
  VM_ACCELERATORS,
  VM_APPEND,
  VM_DEVICE,
  VM_FIRMWARES,
  VM_MACHINES,
} from "./guest.ts";
import { describe } from "./problems.ts";

/** Paths of values: `name`, `resources.cpu`, `mounts[0].source`. */
export interface GuestPlaces {
  place(path: string): Place;
  /** What whoever wrote it calls it. */
  label(path: string): string;
  /** How whoever wrote it would set it. */
  example(path: string, value: string): string;
}

const KEYS: Readonly<Record<"guest" | "resources" | "mount" | "vm", readonly string[]>> = {
  guest: [
    ...["name", "kind", "image", "network", "autostart", "pinned", "ephemeral", "readySeconds"],
    ...["stopSeconds", "resources", "mounts", "sshKeys", "tree", "vm"],
  ],
  resources: ["cpu", "memory", "tasks", "io", "disk"],
  mount: ["kind", "source", "target", "readOnly"],
  vm: ["machine", "cpus", "firmware", "iso", "display", "accelerator", "devices", "append"],
};

/** Less does not boot: a guest that is killed at once looks like a fault elsewhere. */
const SMALLEST_MEMORY_BYTES = 16 * 1024 ** 2;
const SMALLEST_DISK_BYTES = 16 * 1024 ** 2;
/** More would be a number that systemd does not read. */
const LARGEST_BYTES = 1024 ** 5;
const LONGEST_SECONDS = 3600;
const MOST_TASKS = 4_194_304;
const MOST_CPUS = 256;
/** What the guest's own system mounts, or what makes it run at all. */
const OWN_FOLDERS = ["/proc", "/sys", "/dev", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/run"];
const NFS_SOURCE = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):(\/.*)$/;
const ISCSI_SOURCE =
  /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:\d{1,5})?\/(iqn|eui|naa)\.[A-Za-z0-9.:-]+(\/\d{1,5})?$/;
const SSH_KEY =
  /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]{40,}={0,2}( [^\p{Cc}]*)?$/u;

/** Of a key that is refused so much is shown: it may be the private one by mistake. */
const SHOWN_OF_KEY = 30;

type Refuse = (path: string, found: FactValue | undefined, expected: string) => undefined;

/** A guest with its defaults filled in, or all that is wrong with it. Pure. */
export function checkGuest(value: FactValue, places: GuestPlaces): Result<Guest> {
  const problems: Diagnostic[] = [];
  if (!isObject(value)) return failure(describe({ kind: "no-object", place: places.place("") }));
  const refuse: Refuse = (path, found, expected) => {
    const text = typeof found === "string" ? found : JSON.stringify(found ?? null);
    problems.push(
      describe({
        kind: "value",
        what: places.label(path),
        found: text,
        expected,
        place: places.place(path),
      }),
    );
    return undefined;
  };
  const misplaced = (path: string, why: string): void => {
    problems.push(describe({ kind: "misplaced", what: places.label(path), why, place: places.place(path) }));
  };
  const known = (object: { readonly [key: string]: FactValue }, at: string, keys: readonly string[]) => {
    for (const key of Object.keys(object)) {
      const path = at === "" ? key : `${at}.${key}`;
      if (!keys.includes(key))
        problems.push(
          describe({ kind: "unknown", what: places.label(path), known: keys, place: places.place(path) }),
        );
    }
  };
  const missing = (key: string, example: string): void => {
    if (value[key] !== undefined) return;
    problems.push(
      describe({
        kind: "missing",
        what: places.label(key),
        example: places.example(key, example),
        place: places.place(""),
      }),
    );
  };
  known(value, "", KEYS.guest);
  missing("name", "web");
  missing("kind", "container");
  missing("image", "debian");

  const name = value.name;
  if (name !== undefined && !(typeof name === "string" && GUEST_NAME.test(name)))
    problems.push(
      describe({
        kind: "name",
        name: typeof name === "string" ? name : JSON.stringify(name),
        place: places.place("name"),
      }),
    );
  const kind = oneOf(value.kind, "kind", GUEST_KINDS, refuse) ?? "container";
  const image = text(
    value.image,
    "image",
    IMAGE_NAME,
    "an image's name: lower-case letters, digits, `.`, `_`, `-`, at most 64",
    refuse,
  );
  const network = text(
    value.network,
    "network",
    NETWORK_NAME,
    "a network's name: at most 15 lower-case letters, digits and `-`",
    refuse,
  );
  const autostart = flag(value.autostart, "autostart", refuse);
  const pinned = flag(value.pinned, "pinned", refuse);
  const ephemeral = flag(value.ephemeral, "ephemeral", refuse);
  if (pinned && ephemeral)
    misplaced("ephemeral", "a pinned guest can't be removed, and an ephemeral one is at each stop");
  const seconds = `seconds from 1 to ${LONGEST_SECONDS}`;
  const ready = whole(value.readySeconds, "readySeconds", LONGEST_SECONDS, seconds, refuse);
  const stop = whole(value.stopSeconds, "stopSeconds", LONGEST_SECONDS, seconds, refuse);

  const limits = value.resources ?? {};
  if (isObject(limits)) known(limits, "resources", KEYS.resources);
  else refuse("resources", limits, "an object");
  const resources = isObject(limits) ? checkResources(limits, refuse) : {};

  const mounts: GuestMount[] = [];
  for (const [n, item] of items(value.mounts, "mounts", refuse).entries()) {
    const at = `mounts[${n}]`;
    if (!isObject(item)) {
      refuse(at, item, "`[nfs|iscsi] SOURCE TARGET [ro]`; in JSON an object with `kind`, `source`, `target`");
      continue;
    }
    known(item, at, KEYS.mount);
    const mount = checkMount(item, at, refuse);
    if (!mount) continue;
    if (value.tree !== undefined && covers("/usr/local", mount.target))
      misplaced(`${at}.target`, "the guest's tree lies at /usr/local");
    if (mounts.some((m) => m.target === mount.target))
      misplaced(`${at}.target`, `two mounts at ${mount.target}, of which one would hide the other`);
    mounts.push(mount);
  }

  const sshKeys: string[] = [];
  for (const [n, item] of items(value.sshKeys, "sshKeys", refuse).entries()) {
    if (typeof item === "string" && SSH_KEY.test(item)) sshKeys.push(item);
    else
      refuse(
        `sshKeys[${n}]`,
        beginning(item),
        "a public key as a `.pub` file has it, `ssh-ed25519 AAAA… comment`",
      );
  }
  const tree = path(value.tree, "tree", refuse);

  if (value.vm !== undefined && kind !== "vm") misplaced("vm", "only guests of kind `vm` have it");
  const options = value.vm ?? {};
  if (isObject(options)) known(options, "vm", KEYS.vm);
  else refuse("vm", options, "an object");
  const vm = kind === "vm" && isObject(options) ? checkVm(options, refuse, misplaced) : undefined;

  if (problems.length > 0 || typeof name !== "string" || image === undefined) return failure(...problems);
  return success({
    name,
    kind,
    image,
    ...(network === undefined ? {} : { network }),
    autostart,
    pinned,
    ephemeral,
    readySeconds: ready ?? GUEST_DEFAULTS.readySeconds[kind],
    stopSeconds: stop ?? GUEST_DEFAULTS.stopSeconds,
    resources,
    mounts,
    sshKeys,
    ...(tree === undefined ? {} : { tree }),
    ...(vm ? { vm } : {}),
  });
}

function checkResources(limits: { readonly [key: string]: FactValue }, refuse: Refuse): GuestResources {
  const size = (key: "memory" | "disk", least: number): string | undefined => {
    const found = limits[key];
    if (found === undefined) return undefined;
    const bytes = typeof found === "string" ? sizeBytes(found) : undefined;
    if (bytes !== undefined && bytes >= least && bytes <= LARGEST_BYTES) return found as string;
    return refuse(
      `resources.${key}`,
      found,
      "a size of at least 16M and at most 1024T, such as `512M` or `2G`",
    );
  };
  const cpu = limits.cpu;
  const cpuText = typeof cpu === "string" && cpuPercent(cpu) !== undefined ? cpu : undefined;
  if (cpu !== undefined && cpuText === undefined)
    refuse("resources.cpu", cpu, "a share of one processor such as `50%`, or of two, `200%`");
  const memory = size("memory", SMALLEST_MEMORY_BYTES);
  const disk = size("disk", SMALLEST_DISK_BYTES);
  const tasks = whole(
    limits.tasks,
    "resources.tasks",
    MOST_TASKS,
    `a number from 1 to ${MOST_TASKS}`,
    refuse,
  );
  const io = whole(limits.io, "resources.io", 10_000, "a weight from 1 to 10000; others have 100", refuse);
  return {
    ...(cpuText === undefined ? {} : { cpu: cpuText }),
    ...(memory === undefined ? {} : { memory }),
    ...(tasks === undefined ? {} : { tasks }),
    ...(io === undefined ? {} : { io }),
    ...(disk === undefined ? {} : { disk }),
  };
}

function checkMount(
  item: { readonly [key: string]: FactValue },
  at: string,
  refuse: Refuse,
): GuestMount | undefined {
  const kind = oneOf(item.kind ?? "bind", `${at}.kind`, MOUNT_KINDS, refuse);
  const target = path(item.target ?? "", `${at}.target`, refuse);
  const readOnly = flag(item.readOnly, `${at}.readOnly`, refuse);
  if (
    target !== undefined &&
    (target === "/" || OWN_FOLDERS.includes(target) || /^\/(proc|sys|dev)\//.test(target))
  )
    return refuse(`${at}.target`, target, "a folder that the guest's own system does not live in");
  const source = kind && mountSource(item.source, kind, at, refuse);
  return kind && source !== undefined && target !== undefined
    ? { kind, source, target, readOnly }
    : undefined;
}

function mountSource(
  found: FactValue | undefined,
  kind: GuestMount["kind"],
  at: string,
  refuse: Refuse,
): string | undefined {
  if (kind === "bind") return path(found ?? "", `${at}.source`, refuse);
  const text = typeof found === "string" && !hasControlCharacter(found) ? found : "";
  if (kind === "nfs")
    return isPlainPath(NFS_SOURCE.exec(text)?.[2] ?? "")
      ? text
      : refuse(`${at}.source`, found, "`SERVER:/PATH`");
  return ISCSI_SOURCE.test(text) ? text : refuse(`${at}.source`, found, "`SERVER[:PORT]/IQN[/LUN]`");
}

function checkVm(
  options: { readonly [key: string]: FactValue },
  refuse: Refuse,
  misplaced: (path: string, why: string) => void,
): GuestVm {
  const { vm } = GUEST_DEFAULTS;
  const machine = oneOf(options.machine, "vm.machine", VM_MACHINES, refuse) ?? vm.machine;
  const firmware = oneOf(options.firmware, "vm.firmware", VM_FIRMWARES, refuse) ?? vm.firmware;
  if (machine === "microvm" && firmware === "uefi")
    misplaced("vm.firmware", "a `microvm` boots its kernel without firmware; UEFI needs `q35`");
  const iso = path(options.iso, "vm.iso", refuse);
  const devices: string[] = [];
  for (const [n, item] of items(options.devices, "vm.devices", refuse).entries()) {
    if (typeof item !== "string" || !VM_DEVICE.test(item))
      refuse(`vm.devices[${n}]`, item, "`pci:0000:01:00.0`, `mdev:UUID` or `render:0000:00:02.0`");
    else if (devices.includes(item)) misplaced(`vm.devices[${n}]`, `\`${item}\` is named twice`);
    else devices.push(item);
  }
  const append = text(
    options.append,
    "vm.append",
    VM_APPEND,
    "words for the kernel's command line, without quotes, `$` and `\\`",
    refuse,
  );
  const display = flag(options.display, "vm.display", refuse);
  if (machine === "microvm") {
    const why = "a `microvm` has no PCI bus; say `q35`";
    if (iso !== undefined) misplaced("vm.iso", why);
    if (display) misplaced("vm.display", why);
    if (devices.length > 0) misplaced("vm.devices", why);
  }
  return {
    machine,
    cpus: whole(options.cpus, "vm.cpus", MOST_CPUS, `a number from 1 to ${MOST_CPUS}`, refuse) ?? vm.cpus,
    firmware,
    ...(iso === undefined ? {} : { iso }),
    display,
    accelerator: oneOf(options.accelerator, "vm.accelerator", VM_ACCELERATORS, refuse) ?? vm.accelerator,
    ...(devices.length === 0 ? {} : { devices }),
    ...(append === undefined ? {} : { append }),
  };
}

function oneOf<T extends string>(
  found: FactValue | undefined,
  path: string,
  known: readonly T[],
  refuse: Refuse,
): T | undefined {
  if (found === undefined) return undefined;
  return known.find((k) => k === found) ?? refuse(path, found, `one of ${known.join(", ")}`);
}

function text(
  found: FactValue | undefined,
  path: string,
  form: RegExp,
  expected: string,
  refuse: Refuse,
): string | undefined {
  if (found === undefined) return undefined;
  return typeof found === "string" && form.test(found) ? found : refuse(path, found, expected);
}

function beginning(value: FactValue): FactValue {
  return typeof value === "string" && value.length > SHOWN_OF_KEY
    ? `${value.slice(0, SHOWN_OF_KEY)}…`
    : value;
}

function flag(found: FactValue | undefined, path: string, refuse: Refuse): boolean {
  if (found === undefined) return false;
  return typeof found === "boolean"
    ? found
    : (refuse(path, found, "`yes` or `no`; in JSON true or false") ?? false);
}

function whole(
  found: FactValue | undefined,
  path: string,
  most: number,
  expected: string,
  refuse: Refuse,
): number | undefined {
  if (found === undefined) return undefined;
  const fits = typeof found === "number" && Number.isInteger(found) && found >= 1 && found <= most;
  return fits ? found : refuse(path, found, expected);
}

function items(found: FactValue | undefined, path: string, refuse: Refuse): readonly FactValue[] {
  if (found === undefined) return [];
  return Array.isArray(found) ? found : (refuse(path, found, "a list") ?? []);
}

function path(found: FactValue | undefined, at: string, refuse: Refuse): string | undefined {
  if (found === undefined) return undefined;
  if (typeof found === "string" && isPlainPath(found)) return found;
  return refuse(at, found, "an absolute path without `.`, `..`, doubled or closing slashes");
}

function isPlainPath(text: string): boolean {
  if (text === "/") return true;
  const parts = text.split("/").slice(1);
  return (
    text.startsWith("/") &&
    Buffer.byteLength(text) <= 4000 &&
    !hasControlCharacter(text) &&
    parts.every((part) => part !== "" && part !== "." && part !== "..")
  );
}

function covers(folder: string, target: string): boolean {
  return target === folder || target.startsWith(`${folder}/`) || folder.startsWith(`${target}/`);
}

function isObject(value: FactValue | undefined): value is { readonly [key: string]: FactValue } {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
