/** Reads one `machine.ini`. Must not read a layer's files, nor decide the order of layers. */
import { join } from "node:path";
import type { Diagnostic, Place } from "../diagnostics.ts";
import { problem } from "../diagnostics.ts";
import { type AbsPath, isName } from "../paths.ts";
import {
  checkVocabulary,
  type IniFile,
  type IniSection,
  type IniSetting,
  settingsOf,
  splitList,
} from "./ini-file.ts";
import { describe } from "./problems.ts";
import type { Machine } from "./project.ts";
import { readAttributes } from "./read-attributes.ts";
import { guestInstances, guestVocabulary, readGuests, readQuotas } from "./read-guests.ts";
import type { LayerReader, ReadIni } from "./read-layers.ts";
import type { ProjectDisk } from "./read-project.ts";
import { readSecretWishes } from "./read-secrets.ts";

/** Begins the heading of a network's section. */
const NETWORK = "network ";
const NETWORK_KEYS: readonly string[] = ["ipv4", "mode", "uplink", "vlan", "mtu"];
/** `facts/NAME.json` of a machine with such a name would be a file that is for something else. */
const TAKEN_NAMES: ReadonlySet<string> = new Set(["all", "ipam", "probed"]);

const HOST = /^[A-Za-z0-9_.:%[\]-]+$/;

/** Undefined after reporting why the folder is no machine. */
export function readMachine(
  name: string,
  root: AbsPath,
  read: ReadIni,
  layers: LayerReader,
  disk: ProjectDisk,
  problems: Diagnostic[],
): Machine | undefined {
  const file = `machines/${name}/machine.ini`;
  const folder = join(root, "machines", name) as AbsPath;
  const place: Place = { file };
  if (!isName(name)) {
    problems.push(describe({ kind: "bad-name", what: "machine", name, place: { file: `machines/${name}` } }));
    return undefined;
  }
  if (TAKEN_NAMES.has(name)) {
    problems.push(describe({ kind: "taken-name", name, place: { file: `machines/${name}` } }));
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
      machine: ["host", "layers", "tags", "instances", "generations"],
      ssh: ["user", "port", "identity", "client"],
      attributes: "any",
      ...Object.fromEntries(networkSections(ini).map((s) => [s.name, NETWORK_KEYS])),
      ...guestVocabulary(ini),
      secrets: "any",
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
  const generations = setting("machine", "generations");
  const keep = /^\d{1,4}$/.test(generations?.value ?? "") ? Number(generations?.value) : 0;
  // One alone could not be gone back from.
  if (generations && !(keep >= 2 && keep <= 1000)) {
    problems.push(
      describe({
        kind: "bad-value",
        key: "generations",
        value: generations.value,
        expected: "a number of generations to keep, from 2 to 1000",
        place: generations.place,
      }),
    );
  }
  const wanted = setting("machine", "layers");
  const instances = setting("machine", "instances");
  for (const lists of [instances, ...guestInstances(ini)]) checkInstances(lists, problems);
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
    ...(generations ? { keepGenerations: keep } : {}),
    attributes: readAttributes(ini, problems),
    networks: networkSections(ini).map(({ name, place: at, settings }) => ({
      name: name.slice(NETWORK.length).trim(),
      place: at,
      settings: new Map(settings.map((s) => [s.key, { value: s.value, place: s.place }])),
    })),
    guests: readGuests(ini, name, folder, layers, disk, problems),
    quotas: readQuotas(ini),
    credentials: readSecretWishes(ini, "machine", problems),
    place,
  };
}

/** Problems of a list of template unit instances; undefined: there is none. */
function checkInstances(setting: IniSetting | undefined, problems: Diagnostic[]): void {
  if (!setting) return;
  for (const unit of splitList(setting.value)) {
    if (/^[A-Za-z0-9:_.\\-]+@[A-Za-z0-9:_.\\-]+\.[a-z]+$/.test(unit)) continue;
    problems.push(
      describe({
        kind: "bad-value",
        key: "instances",
        value: unit,
        expected: "an instance such as `scrub@data.service`",
        place: setting.place,
      }),
    );
  }
}

/** `[network lan]` and its like; whether the name can be one shows where addresses are given out. */
function networkSections(ini: IniFile): readonly IniSection[] {
  return ini.sections.filter((s) => s.name.startsWith(NETWORK));
}
