/**
 * Gives one guest what it is reached and known by, before it runs, and takes it back:
 *
 *     net.mjs up NAME      addresses, names, keys and arguments, in /run/local/guests and its network's host files
 *     net.mjs down NAME    takes them away; what is gone already is no fault
 *
 * An IPv4 address is taken by making a link `claims/NETWORK/ADDRESS` that points to the guest's name: the kernel lets one
 * of several do that, and a run that is killed leaves the guest with its address or without.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Diagnostic, formatDiagnostic, problem } from "labctl/diagnostics.ts";
import {
  dhcpHostText,
  type GuestAddresses,
  guestEnvText,
  guestIdentity,
  guestIpv6,
  hostsText,
  isInBlock,
  type LeaseEnv,
  leaseBlock,
  leasedAddresses,
  smallestFree,
} from "labctl/guests/addresses.ts";
import { containerArguments, linkText, resolverText, TARGET_TEXT, tmpfilesText } from "labctl/guests/container.ts";
import { GUEST_NAME, type Guest } from "labctl/guests/guest.ts";
import { commandsText, mountCommands, unmountCommands } from "labctl/guests/mounts.ts";
import { findGuest, GUEST_RUN, GUEST_STATE, readEnv } from "labctl/guests/places.ts";
import { parseMachineId } from "labctl/ipam/ula.ts";
import type { NetworkMode } from "labctl/ipam/wish.ts";

const NETWORKS = "/usr/local/etc/network/networks.json";
const LEASES = "/run/local/ip";
/** Of each network: NETWORK.hosts/ and NETWORK.dhcp/, which its dnsmasq watches. */
const NETWORK_RUN = "/run/local/bridge";
const DHCP_RUN = "/run/local/bridge-dhcp";
const CLAIMS = join(GUEST_RUN, "claims");

interface Networks {
  readonly domain: string;
  readonly networks: Readonly<Record<string, { readonly mode?: NetworkMode; readonly uplink?: string }>>;
}

class Refusal extends Error {
  readonly problems: readonly Diagnostic[];
  constructor(...problems: readonly Diagnostic[]) {
    super(problems[0]?.message);
    this.problems = problems;
  }
}

try {
  const [, , verb, name = ""] = process.argv;
  if (verb === "up") up(name);
  else if (verb === "down") down(name);
  else throw new Refusal(problem("usage", "wrong usage", { help: "net.mjs up NAME | down NAME" }));
} catch (error) {
  const problems = error instanceof Refusal ? error.problems : [problem("guest-net", (error as Error).message)];
  for (const each of problems) process.stderr.write(`${formatDiagnostic(each)}\n`);
  process.exitCode = 1;
}

function up(name: string): void {
  const found = findGuest(name);
  if (!found.ok) throw new Refusal(...found.problems);
  const { guest } = found.value;
  const host = parseMachineId(readFileSync("/etc/machine-id", "utf8"));
  if (!host) throw new Refusal(problem("guest-net", "/etc/machine-id holds no machine-id"));
  const identity = guestIdentity(host, name);
  const addresses: GuestAddresses = { ...identity, ...(guest.network === undefined ? {} : attach(guest, guest.network)) };
  // What it had in another network, or under another definition.
  release(name, addresses);

  const folder = join(GUEST_RUN, name);
  mkdirSync(folder, { recursive: true });
  const inFolder = (file: string): string => join(folder, file);
  const files = {
    root: join(GUEST_STATE, name, "root"),
    link: inFolder("host0.network"),
    target: inFolder("multi-user.conf"),
    tmpfiles: inFolder("tmpfiles"),
    mount: (index: number) => inFolder(`mount-${index}`),
  };
  write(files.link, linkText(addresses));
  write(files.target, TARGET_TEXT);
  write(files.tmpfiles, tmpfilesText(guest, hostKey(name)), 0o600);
  const resolver = resolverText(addresses);
  if (resolver !== undefined) write(inFolder("resolv.conf"), resolver);
  if (guest.kind === "container")
    write(inFolder("net.arguments"), containerArguments(guest, addresses, files).map((arg) => `${arg}\0`).join(""));
  write(inFolder("mounts"), commandsText(mountCommands(guest, files.mount)));
  write(inFolder("unmounts"), commandsText(unmountCommands(guest)));
  for (const [kind, text] of hostFiles(addresses)) {
    const file = hostFile(addresses.network ?? "", kind, name);
    mkdirSync(dirname(file), { recursive: true });
    write(file, text);
  }
  write(envFile(name), guestEnvText(addresses));

  function attach(guest: Guest, network: string): Partial<GuestAddresses> {
    const { domain, networks } = readNetworks();
    const { mode = "nat", uplink } = (Object.hasOwn(networks, network) ? networks[network] : undefined) ?? {};
    const link = { network, mode, ...(uplink === undefined ? {} : { uplink }) };
    if (mode !== "nat" && mode !== "routed") return link;
    const lease = readEnv(join(LEASES, `${network}.env`));
    if (!lease)
      throw new Refusal(
        problem("guest-net", `network \`${network}\` has no lease, though ip@${network}.service is up`, {
          help: `\`systemctl restart ip@${network}.service\``,
        }),
      );
    const ipv6 = host && guestIpv6(host, identity.id, lease);
    const ipv4 = claim(guest.name, network, lease);
    return {
      ...link,
      fullName: `${guest.name}.${network}.${domain}`,
      ...(ipv4 ? { ipv4 } : {}),
      ...(ipv6 ? { ipv6 } : {}),
    };
  }
}

/** Takes an address of the network's block, or keeps the one that the guest has in it. */
function claim(name: string, network: string, lease: LeaseEnv): GuestAddresses["ipv4"] {
  const block = leaseBlock(lease);
  const gateway = lease.get("IP4_ADDRESS");
  if (!block || gateway === undefined) return undefined;
  const folder = join(CLAIMS, network);
  mkdirSync(folder, { recursive: true });
  for (let swept = false; ; ) {
    const holders = claims(network);
    const own = [...holders].find(([address, holder]) => holder === name && isInBlock(block, address))?.[0];
    if (own !== undefined) return { address: own, length: block.length, gateway };
    const dynamic = leasedAddresses(textOf(join(DHCP_RUN, network, "leases")));
    const address = smallestFree(block, new Set([gateway, ...holders.keys(), ...dynamic]));
    if (address !== undefined) {
      if (tryLink(name, join(folder, address))) return { address, length: block.length, gateway };
      // Another guest was quicker.
      continue;
    }
    // A guest that was killed together with what clears up after it has left its claim.
    if (!swept && sweep(network, holders)) {
      swept = true;
      continue;
    }
    const size = 2 ** (32 - block.length) - 2;
    throw new Refusal(
      problem("guest-addresses", `network \`${network}\` has no free IPv4 address for guest \`${name}\``, {
        notes: [
          `its ${lease.get("IP4_PREFIX")} has ${size} addresses: one is the machine's, ${holders.size} are of guests, ${dynamic.length} were given by DHCP`,
        ],
        help: "stop another guest, or give the network a larger block in machine.ini",
      }),
    );
  }
}

/** False: there is one of that name. */
function tryLink(target: string, file: string): boolean {
  try {
    symlinkSync(target, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Guests by the addresses that they claim in a network. */
function claims(network: string): Map<string, string> {
  const folder = join(CLAIMS, network);
  if (!existsSync(folder)) return new Map();
  return new Map(
    readdirSync(folder).flatMap((address) => {
      try {
        return [[address, readlinkSync(join(folder, address))] as const];
      } catch {
        // Given back since.
        return [];
      }
    }),
  );
}

/** Takes away claims of guests that don't run; true if there were any. */
function sweep(network: string, holders: ReadonlyMap<string, string>): boolean {
  const lost = [...holders].filter(([, holder]) => {
    const done = spawnSync("systemctl", ["is-active", `guest-net@${holder}.service`], { encoding: "utf8" });
    return ["inactive", "failed"].includes((done.stdout ?? "").trim());
  });
  for (const [address] of lost) rmSync(join(CLAIMS, network, address), { force: true });
  return lost.length > 0;
}

function down(name: string): void {
  if (!GUEST_NAME.test(name)) return;
  release(name, undefined);
  rmSync(envFile(name), { force: true });
  rmSync(join(GUEST_RUN, name), { recursive: true, force: true });
}

/** Gives back what the guest holds in any network but for what `kept` has. */
function release(name: string, kept: GuestAddresses | undefined): void {
  for (const network of entries(CLAIMS)) {
    for (const [address, holder] of claims(network))
      if (holder === name && !(kept?.network === network && kept.ipv4?.address === address))
        rmSync(join(CLAIMS, network, address), { force: true });
    removeIfEmpty(join(CLAIMS, network));
  }
  const suffix = /^(.*)\.(hosts|dhcp)$/;
  for (const entry of entries(NETWORK_RUN)) {
    const [, network = "", kind = ""] = suffix.exec(entry) ?? [];
    if (kind === "" || network === kept?.network) continue;
    const file = join(NETWORK_RUN, entry, name);
    if (!existsSync(file)) continue;
    rmSync(file, { force: true });
    // dnsmasq sees new files by itself, but forgets what stood in one that is gone only when it is told to.
    if (kind === "dhcp") signalDnsmasq(network);
  }
}

function signalDnsmasq(network: string): void {
  const pid = Number(textOf(join(DHCP_RUN, network, "pid")));
  if (!Number.isInteger(pid) || pid <= 1) return;
  try {
    process.kill(pid, "SIGHUP");
  } catch {
    // It ended with its network.
  }
}

function hostFiles(a: GuestAddresses): [kind: string, text: string][] {
  return [
    ["hosts", hostsText(a)] as [string, string],
    ["dhcp", dhcpHostText(a)] as [string, string],
  ].filter(([, text]) => text !== "");
}

function hostFile(network: string, kind: string, name: string): string {
  return join(NETWORK_RUN, `${network}.${kind}`, name);
}

/** Its own for as long as the guest is there, so that who knows it is not warned. */
function hostKey(name: string): { privateKey: string; publicKey: string } | undefined {
  const file = join(GUEST_STATE, name, "ssh_host_ed25519_key");
  if (!existsSync(`${file}.pub`)) {
    mkdirSync(dirname(file), { recursive: true });
    rmSync(file, { force: true });
    const args = ["-q", "-t", "ed25519", "-N", "", "-C", `root@${name}`, "-f", file];
    // A guest without sshd needs none.
    if (spawnSync("ssh-keygen", args).status !== 0) return undefined;
  }
  return { privateKey: readFileSync(file, "utf8"), publicKey: readFileSync(`${file}.pub`, "utf8") };
}

function readNetworks(): Networks {
  try {
    return JSON.parse(readFileSync(NETWORKS, "utf8")) as Networks;
  } catch (error) {
    throw new Refusal(
      problem("guest-net", `${NETWORKS} can't be read: ${(error as Error).message}`, {
        help: "push the layer `network` again",
      }),
    );
  }
}

function entries(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Others have addresses in it.
  }
}

function textOf(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

function envFile(name: string): string {
  return join(GUEST_RUN, `${name}.env`);
}

/** Whole or not at all; dnsmasq passes over names that begin with a dot. */
function write(file: string, text: string, mode = 0o644): void {
  const draft = join(dirname(file), `.${basename(file)}.draft`);
  writeFileSync(draft, text, { mode });
  chmodSync(draft, mode);
  renameSync(draft, file);
}
