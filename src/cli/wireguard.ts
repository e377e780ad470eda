/**
 * `labctl wireguard add|remove <client> <machine>`, `list`: who on the road may connect to which machine. Offline. Clients stand
 * in the fact `WIREGUARD_CLIENTS` of facts/MACHINE.json by their public keys; a private key is printed once and kept nowhere.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { readMachineFacts } from "../build/machine-facts.ts";
import { type Diagnostic, failure, problem, type Result, success } from "../diagnostics.ts";
import type { FactValue } from "../facts/fact.ts";
import type { MachineFacts } from "../facts/read-facts.ts";
import { formatAddress } from "../ipam/cidr.ts";
import { guestId, parseMachineId, ulaAddress } from "../ipam/ula.ts";
import type { AbsPath, FactName } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import type { CommandRun, ParsedArguments } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { refuseUsage } from "./help.ts";
import { printErr, printJson, printOut, refuse } from "./print.ts";
import { readSelection } from "./selection.ts";
import { type ClientLink, clientText, makeKeyPair } from "./wireguard-client.ts";

const LAYER = "wireguard";
const CLIENTS = "WIREGUARD_CLIENTS" as FactName;

/** A machine with the layer, and what its facts say. */
interface Hub {
  readonly root: AbsPath;
  readonly machine: Machine;
  readonly facts: MachineFacts;
  /** Public keys by client. */
  readonly clients: Readonly<Record<string, FactValue>>;
}

export const run: CommandRun = async (args) => {
  const [verb, client = "", machine] = args.positionals;
  if (verb === "list")
    return args.positionals.length > 1 ? refuseUsage("`wireguard list` takes no names", LAYER) : list(args);
  if (verb !== "add" && verb !== "remove")
    return refuseUsage(`\`wireguard\` knows add, remove and list, not \`${verb}\``, LAYER);
  if (machine === undefined) return refuseUsage(`\`wireguard ${verb}\` wants a client and a machine`, LAYER);
  if (args.flag("json")) return refuseUsage(`\`wireguard ${verb}\` takes no --json`, LAYER);
  if (!/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/.test(client))
    return refuseUsage(
      `\`${client}\` can't be a client: at most 32 lower-case letters, digits and \`-\``,
      LAYER,
    );
  const hubs = readHubs(args, [machine]);
  if (!hubs.ok) return refuse(hubs.problems);
  const [hub] = hubs.value;
  if (!hub || hubs.value.length > 1) return refuseUsage("a client connects to one machine", LAYER);
  return verb === "add" ? add(args, hub, client) : remove(args, hub, client);
};

function add(args: ParsedArguments, hub: Hub, client: string): number {
  const name = hub.machine.name;
  if (Object.hasOwn(hub.clients, client))
    return refuse([
      problem("client-exists", `machine \`${name}\` has a client \`${client}\` already`, {
        notes: ["its private key is on its device only, and can't be shown again"],
        help: `\`labctl wireguard remove ${client} ${name}\`, then add it with a new key`,
      }),
    ]);
  const way = wayTo(hub, client);
  if (!way.ok) return refuse(way.problems);
  if (args.flag("dry-run")) {
    printErr(`would add client ${client} with the address ${way.value.address} to ${fileOf(name)}`);
    return EXIT.changes;
  }
  const { privateKey, publicKey } = makeKeyPair();
  const kept = keep(hub, { ...hub.clients, [client]: publicKey });
  if (kept) return refuse([kept]);
  const text = clientText({ ...way.value, privateKey });
  printOut(text.trimEnd());
  if (args.flag("qr") || process.stdout.isTTY === true) showCode(text);
  printErr(`${fileOf(name)}: client ${client} added; its private key is above and nowhere else`);
  printErr(`\`labctl push ${name}\` lets it in`);
  return EXIT.done;
}

function remove(args: ParsedArguments, hub: Hub, client: string): number {
  const name = hub.machine.name;
  if (!Object.hasOwn(hub.clients, client))
    return refuse([
      problem("client-unknown", `machine \`${name}\` has no client \`${client}\``, {
        help: `it has: ${Object.keys(hub.clients).sort().join(", ") || "none"}`,
      }),
    ]);
  if (args.flag("dry-run")) {
    printErr(`would remove client ${client} from ${fileOf(name)}`);
    return EXIT.changes;
  }
  const { [client]: _, ...others } = hub.clients;
  const kept = keep(hub, others);
  if (kept) return refuse([kept]);
  printErr(`${fileOf(name)}: client ${client} removed; \`labctl push ${name}\` locks it out`);
  return EXIT.done;
}

function list(args: ParsedArguments): number {
  const hubs = readHubs(args, []);
  if (!hubs.ok) return refuse(hubs.problems);
  const rows = hubs.value.flatMap((hub) =>
    Object.entries(hub.clients).map(([client, key]) => ({
      machine: hub.machine.name,
      client,
      key,
      address: addressOf(hub, client),
    })),
  );
  if (args.flag("json")) printJson({ clients: rows });
  else for (const r of rows) printOut(`${r.machine}  ${r.client}  ${r.address ?? "not probed"}  ${r.key}`);
  return EXIT.done;
}

/** Machines with the layer among those that `patterns` name; all of them have to have it if they are named. */
function readHubs(args: ParsedArguments, patterns: readonly string[]): Result<readonly Hub[]> {
  const selection = readSelection(args, patterns);
  if (!selection.ok) return selection;
  const { request, project, machines: selected, disk } = selection.value;
  const { root, facts } = request;
  const machines = selected.filter((m) => m.layers.some((l) => l.name === LAYER));
  const without = selected.find((m) => !machines.includes(m));
  if (without && patterns.length > 0)
    return failure(
      problem("layer-missing", `machine \`${without.name}\` does not have the layer \`${LAYER}\``, {
        help: `add it to \`layers\` in machines/${without.name}/machine.ini`,
      }),
    );
  const read = readMachineFacts(project, machines, facts, disk);
  if (!read.ok) return read;
  const hubs: Hub[] = [];
  for (const machine of machines) {
    const own = read.value.get(machine.name);
    const fact = own?.facts.get(CLIENTS);
    const clients = fact?.value ?? {};
    if (!own || typeof clients !== "object" || Array.isArray(clients))
      return failure(
        problem("clients-form", `fact \`${CLIENTS}\` of machine \`${machine.name}\` is no object`, {
          ...(fact?.origin.place ? { place: fact.origin.place } : {}),
          help: 'write `{"phone": "PUBLIC KEY"}`',
        }),
      );
    hubs.push({ root, machine, facts: own, clients: clients as Readonly<Record<string, FactValue>> });
  }
  return success(hubs);
}

function factOf(hub: Hub, name: string): FactValue | undefined {
  return hub.facts.facts.get(name as FactName)?.value;
}

/** Undefined: the machine was never probed. */
function addressOf(hub: Hub, client: string): string | undefined {
  const id = parseMachineId(String(factOf(hub, "HOST_MACHINE_ID") ?? ""));
  return id ? formatAddress(ulaAddress(id, 0, guestId(id, client))) : undefined;
}

/** All of the client's file but its key. */
function wayTo(hub: Hub, client: string): Result<Omit<ClientLink, "privateKey">> {
  const { name: machine, host } = hub.machine;
  const address = addressOf(hub, client);
  const machineKey = factOf(hub, "HOST_WIREGUARD_KEY");
  if (!address || typeof machineKey !== "string")
    return failure(
      problem("key-unknown", `the public key of machine \`${machine}\` is not known`, {
        notes: ["the machine makes it when the layer runs there for the first time"],
        help: `\`labctl push ${machine}\`, then \`labctl facts probe ${machine}\``,
      }),
    );
  const endpoints = factOf(hub, "WIREGUARD_ENDPOINTS");
  const declared = (endpoints as Readonly<Record<string, FactValue>> | undefined)?.[machine];
  if (declared === "none")
    return failure(
      problem("no-endpoint", `nobody can connect to machine \`${machine}\``, {
        notes: ["WIREGUARD_ENDPOINTS says `none` for it"],
        help: "choose a machine that can be reached, or say how this one can",
      }),
    );
  const literal = host.includes(":") ? `[${host}]` : host;
  const endpoint = String(declared ?? `${literal}:${factOf(hub, "WIREGUARD_PORT")}`);
  const fleet = (hub.facts.fleet ?? []) as readonly {
    readonly layers: readonly string[];
    readonly wireguardKey?: string;
    readonly ipv6?: string;
  }[];
  const reaches = fleet.flatMap((m) =>
    m.layers.includes(LAYER) && m.wireguardKey && m.ipv6 ? [m.ipv6] : [],
  );
  return success({ client, machine, address, machineKey, endpoint, reaches });
}

function fileOf(machine: string): string {
  return `facts/${machine}.json`;
}

/** Writes the fact, whole or not at all; a problem where it stands in another file. */
function keep(hub: Hub, clients: Readonly<Record<string, FactValue>>): Diagnostic | undefined {
  const file = fileOf(hub.machine.name);
  const origin = hub.facts.facts.get(CLIENTS)?.origin;
  if (origin && origin.level !== "default" && origin.place?.file !== file)
    return problem(
      "clients-elsewhere",
      `fact \`${CLIENTS}\` of machine \`${hub.machine.name}\` is not set in ${file}`,
      {
        ...(origin.place ? { place: origin.place } : {}),
        notes: ["nothing was changed"],
        help: `move it to ${file}, which labctl can edit`,
      },
    );
  const path = join(hub.root, file);
  let before: Record<string, unknown> = {};
  try {
    before = JSON.parse(readFileSync(path, "utf8").replace(/^\uFEFF/, "")) as Record<string, unknown>;
  } catch (error) {
    // A file that is there was read as facts just now.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify({ ...before, [CLIENTS]: clients }, null, 2)}\n`);
  renameSync(`${path}.${process.pid}`, path);
  return undefined;
}

/** For a phone's camera. By standard input: the text holds a private key. */
function showCode(text: string): void {
  const done = spawnSync("qrencode", ["--type=ANSIUTF8", "--output=-"], { input: text, encoding: "utf8" });
  if (done.status === 0) printErr(done.stdout.trimEnd());
  else printErr("no QR code: qrencode is not installed; `apt install qrencode`");
}
