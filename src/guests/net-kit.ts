/**
 * How a guest hangs on its network as far as that is known before it starts, and the kit that follows from it: everything
 * but its IPv4 address. Reads the machine's files; must not take an address, nor write anything but keys and the kit.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { failure, problem, type Result, success } from "../diagnostics.ts";
import type { Cidr } from "../ipam/cidr.ts";
import { type MachineId, parseMachineId } from "../ipam/ula.ts";
import type { NetworkMode } from "../ipam/wish.ts";
import { freeAddresses, type GuestAddresses, guestIdentity, guestIpv6, leaseBlock } from "./addresses.ts";
import type { Guest } from "./guest.ts";
import { ADDRESS_MARK, fileFields, keepKit } from "./kit.ts";
import { guestFolder, guestNetFiles, type HostKey, networkFolders } from "./net-files.ts";
import {
  CLAIMS,
  declaredFile,
  GUEST_STATE,
  handMadeFile,
  NETWORK_LEASES,
  NETWORKS,
  readEnv,
} from "./places.ts";

/** Addresses that a kit tries, smallest first: with more guests than that, the program looks further. */
const CANDIDATES = 254;
const MACHINE_ID = "/etc/machine-id";

export interface Attachment {
  /** All but IPv4. */
  readonly known: GuestAddresses;
  /** Where an address is to be taken; undefined: none is given here. */
  readonly pool?: Pool;
}

export interface Pool {
  readonly network: string;
  readonly block: Cidr;
  readonly gateway: string;
  /** As people read it. */
  readonly prefix: string;
}

interface Networks {
  readonly domain: string;
  readonly networks: Readonly<Record<string, { readonly mode?: NetworkMode; readonly uplink?: string }>>;
}

/** Failure: the network has no lease, or this machine no id. */
export function readAttachment(guest: Guest): Result<Attachment> {
  const host = readMachineId();
  if (!host) return failure(problem("guest-net", `${MACHINE_ID} holds no machine-id`));
  const identity = guestIdentity(host, guest.name);
  const { network } = guest;
  if (network === undefined) return success({ known: identity });
  const read = readNetworks();
  if (!read.ok) return read;
  const { domain, networks } = read.value;
  const { mode = "nat", uplink } = (Object.hasOwn(networks, network) ? networks[network] : undefined) ?? {};
  const link = { ...identity, network, mode, ...(uplink === undefined ? {} : { uplink }) };
  if (mode !== "nat" && mode !== "routed") return success({ known: link });
  const lease = readEnv(leaseFile(network));
  if (!lease)
    return failure(
      problem("guest-net", `network \`${network}\` has no lease, though ip@${network}.service is up`, {
        help: `\`systemctl restart ip@${network}.service\``,
      }),
    );
  const ipv6 = guestIpv6(host, identity.id, lease);
  const block = leaseBlock(lease);
  const gateway = lease.get("IP4_ADDRESS");
  return success({
    known: { ...link, fullName: `${guest.name}.${network}.${domain}`, ...(ipv6 ? { ipv6 } : {}) },
    ...(block && gateway !== undefined
      ? { pool: { network, block, gateway, prefix: lease.get("IP4_PREFIX") ?? "" } }
      : {}),
  });
}

/** Its own for as long as the guest is there, so that who knows it is not warned. Undefined: a guest without sshd needs none. */
export function hostKey(name: string): HostKey | undefined {
  const file = hostKeyFile(name);
  if (!existsSync(`${file}.pub`)) {
    mkdirSync(dirname(file), { recursive: true });
    rmSync(file, { force: true });
    const args = ["-q", "-t", "ed25519", "-N", "", "-C", `root@${name}`, "-f", file];
    if (spawnSync("ssh-keygen", args).status !== 0) return undefined;
  }
  return { privateKey: readFileSync(file, "utf8"), publicKey: readFileSync(`${file}.pub`, "utf8") };
}

/** All that a guest's addresses, names and keys follow from. Pure. */
export function netInputs(guest: Pick<Guest, "name" | "network">): string[] {
  const { name, network } = guest;
  return [
    declaredFile(name),
    handMadeFile(name),
    MACHINE_ID,
    NETWORKS,
    ...(network === undefined ? [] : [leaseFile(network)]),
    `${hostKeyFile(name)}.pub`,
    hostKeyFile(name),
    "/usr/local/libexec/guests/net.mjs",
  ];
}

/**
 * Makes the kit by which the next start writes what the last one wrote. Its fields: the network of which an address is
 * taken, or none; the addresses to try; folders to be there, on a line each; then the files. Nothing is kept where the
 * network is not up.
 */
export function keepNetKit(guest: Guest): void {
  const key = hostKey(guest.name);
  keepKit(guest.name, "net", netInputs(guest), () => {
    const read = readAttachment(guest);
    if (!read.ok) return undefined;
    const { known, pool } = read.value;
    const { length = 32 } = pool?.block ?? {};
    const addresses = {
      ...known,
      ...(pool ? { ipv4: { address: ADDRESS_MARK, length, gateway: pool.gateway } } : {}),
    };
    const files = fileFields(guestNetFiles(guest, addresses, key));
    if (!files) return undefined;
    const names = known.fullName === undefined ? [] : networkFolders(known.network ?? "");
    const folders = [guestFolder(guest.name), ...(pool ? [`${CLAIMS}/${pool.network}`] : []), ...names];
    const candidates = pool ? freeAddresses(pool.block, new Set([pool.gateway]), CANDIDATES) : [];
    return [pool?.network ?? "", candidates.join(" "), folders.join("\n"), ...files];
  });
}

function hostKeyFile(name: string): string {
  return `${GUEST_STATE}/${name}/ssh_host_ed25519_key`;
}

function leaseFile(network: string): string {
  return `${NETWORK_LEASES}/${network}.env`;
}

function readMachineId(): MachineId | undefined {
  return parseMachineId(readFileSync(MACHINE_ID, "utf8"));
}

function readNetworks(): Result<Networks> {
  try {
    return success(JSON.parse(readFileSync(NETWORKS, "utf8")) as Networks);
  } catch (error) {
    return failure(
      problem("guest-net", `${NETWORKS} can't be read: ${(error as Error).message}`, {
        help: "push the layer `network` again",
      }),
    );
  }
}
