/**
 * A bed: the resources that disposable machines share (pool, bridge, addresses, ssh configuration), and their boot.
 * Works inside `runInNamespaces` only; whatever is not closed goes away with the namespaces. Must not know what is
 * done with the machines.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { failure, type Result, success } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import { makeRunCgroup } from "./cgroup.ts";
import { copyDevices } from "./devices.ts";
import { type PoolKind, readHostFacts } from "./host-support.ts";
import type { Image } from "./image.ts";
import type { ImageSuite } from "./image-recipe.ts";
import { Machine } from "./machine.ts";
import { runName } from "./namespace.ts";
import { cloneRoot, closePool, makePool, type Pool } from "./pool.ts";
import { describeProblem } from "./problems.ts";
import { runSteps } from "./run-program.ts";
import { formatKnownHosts, formatSshConfig, hostKeyInto, makeKeyPair } from "./ssh-files.ts";

/** The host's end of the bridge, default gateway of all machines. */
export const BED_ADDRESS = "10.97.0.1";
const BED_PREFIX = "10.97.0.";
const BED_ULA_PREFIX = "fd97::";
const BRIDGE = "lab0";
const FIRST_HOST = 11;
const BOOT_TIMEOUT_MS = 60_000;

export interface BedOptions {
  readonly image: Image;
  /** Existing folder for the pool's disk image, which never shows there. Undefined: the host's temporary folder. */
  readonly diskFolder?: AbsPath;
  /** Undefined: btrfs where the host has it, else overlay. */
  readonly poolKind?: PoolKind;
  /** True: the unpacked image is kept beside the packed one, for later beds. Undefined: no. */
  readonly keepsPool?: boolean;
}

export interface BootOptions {
  /** Host name, and name in `ssh_config`; unique in the bed. */
  readonly name: string;
  /** In 10.97.0.0/24; the IPv6 address ends alike. Undefined: the next free one from 10.97.0.11. */
  readonly address?: string;
  /** Public keys that may log in as root, besides the bed's own. Undefined: none. */
  readonly authorizedKeys?: readonly string[];
  /** Added to systemd-nspawn's command line. Undefined: none. */
  readonly nspawnArguments?: readonly string[];
  /** Devices of this host that the machine gets nodes of, where the host has them. Undefined: none. */
  readonly devices?: readonly AbsPath[];
  /** For READY and a first ssh banner. Undefined: 60 s. */
  readonly timeoutMs?: number;
  /** The machine-id, 32 hex digits. Undefined: a random one. */
  readonly machineId?: string;
  /** False: ready without an ssh banner. Undefined: with one. */
  readonly waitsForSsh?: boolean;
  /** Works on the root file system before its first boot; a failure ends the boot. Undefined: it is as in the image. */
  readonly prepare?: (rootFolder: AbsPath) => Promise<Result<undefined>>;
}

/**
 * Opens a bed in about a second: pool, bridge, key pair. Failure: outside private namespaces, or a step of the
 * setup failed; nothing is left.
 */
export async function openBed(options: BedOptions): Promise<Result<Bed>> {
  const run = runName();
  if (run === undefined) return failure(describeProblem({ kind: "bed-outside-namespaces" }));
  // `/run` is private here and in memory: secrets and sockets in it end with the namespaces.
  const cgroup = makeRunCgroup(run);
  const folder = mkdtempSync("/run/labctl-bed-") as AbsPath;
  const kind = options.poolKind ?? (readHostFacts().filesystems.includes("btrfs") ? "btrfs" : "overlay");
  const [pool, bridge, keys] = await Promise.all([
    makePool({
      kind,
      imageFile: options.image.file,
      diskFolder: options.diskFolder ?? (tmpdir() as AbsPath),
      mountPoint: join(folder, "pool") as AbsPath,
      ...(options.keepsPool ? { cacheFile: poolCacheFile(options.image) } : {}),
    }),
    makeBridge(),
    makeKeyPair(folder),
  ]);
  if (!pool.ok) return pool;
  if (bridge.ok && keys.ok) return success(new Bed(folder, pool.value, cgroup, options.image.suite));
  await closePool(pool.value);
  return failure(...(bridge.ok ? [] : bridge.problems), ...(keys.ok ? [] : keys.problems));
}

export class Bed {
  /** Absolute, private to the namespaces; holds everything named below. */
  readonly folder: AbsPath;
  /** For `ssh -F`: one `Host` per machine, strict host keys, the bed's key. */
  readonly sshConfigFile: AbsPath;
  /** The machines' host keys by name and address. */
  readonly knownHostsFile: AbsPath;
  /** Private key that every machine's root accepts; the public one is beside it with `.pub`. */
  readonly identityFile: AbsPath;
  private closed = false;
  private readonly pool: Pool;
  private readonly cgroup: AbsPath;
  private readonly suite: ImageSuite;
  private readonly machinesByName = new Map<string, Machine>();
  private readonly hostNumbers = new Map<number, string>();

  /** Use `openBed`. */
  constructor(folder: AbsPath, pool: Pool, cgroup: AbsPath, suite: ImageSuite) {
    this.suite = suite;
    this.folder = folder;
    this.pool = pool;
    this.cgroup = cgroup;
    this.sshConfigFile = join(folder, "ssh_config") as AbsPath;
    this.knownHostsFile = join(folder, "known_hosts") as AbsPath;
    this.identityFile = join(folder, "id_ed25519") as AbsPath;
    this.writeSshFiles();
  }

  /** All machines that booted, running or not, in boot order. */
  get machines(): readonly Machine[] {
    return [...this.machinesByName.values()];
  }

  /**
   * Boots a new machine from the image; several may boot at once. Resolves when systemd says READY (multi-user
   * reached) and sshd has sent its banner. On failure the machine is off and its name and address are free again.
   */
  async boot(options: BootOptions): Promise<Result<Machine>> {
    const { name } = options;
    const reserved = this.reserve(options);
    if (!reserved.ok) return reserved;
    const host = reserved.value;
    const booted = await this.bootReserved(options, host);
    if (booted.ok) {
      this.machinesByName.set(name, booted.value);
      this.writeSshFiles();
    } else this.hostNumbers.delete(host);
    return booted;
  }

  /** Powers all machines off hard and frees the pool. The bed is unusable afterwards; safe to call twice. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await Promise.all(this.machines.map((machine) => machine.kill()));
    this.machinesByName.clear();
    // A process of the caller that still stands in the pool keeps it mounted; the namespaces' end unmounts it.
    await closePool(this.pool);
    await runSteps([["remove the bridge", ["ip", "link", "del", BRIDGE]]]);
  }

  private reserve(options: BootOptions): Result<number> {
    const { name, address } = options;
    const badName =
      nameFault(name) ?? ([...this.hostNumbers.values()].includes(name) ? "it is taken" : undefined);
    if (badName) return failure(describeProblem({ kind: "machine-name-unusable", name, why: badName }));
    let host = FIRST_HOST;
    while (this.hostNumbers.has(host)) host += 1;
    if (address !== undefined) host = hostNumber(address);
    const why = this.hostNumbers.has(host)
      ? "it is taken"
      : host >= 2 && host <= 254
        ? undefined
        : "it is outside";
    if (why) {
      const shown = address ?? `${BED_PREFIX}${host}`;
      return failure(describeProblem({ kind: "machine-address-unusable", name, address: shown, why }));
    }
    this.hostNumbers.set(host, name);
    return success(host);
  }

  private async bootReserved(options: BootOptions, host: number): Promise<Result<Machine>> {
    const own = join(this.folder, `machine-${host}-${Date.now().toString(36)}`) as AbsPath;
    mkdirSync(own);
    const root = await cloneRoot(this.pool, `m${host}-${Date.now().toString(36)}`);
    if (!root.ok) return root;
    const hostKey = await hostKeyInto(root.value, own);
    if (!hostKey.ok) return hostKey;
    const prepared = (await options.prepare?.(root.value)) ?? success(undefined);
    if (!prepared.ok) return prepared;
    const bedKey = readFileSync(`${this.identityFile}.pub`, "utf8").trim();
    const keysFile = join(own, "authorized_keys");
    writeFileSync(keysFile, `${[bedKey, ...(options.authorizedKeys ?? [])].join("\n")}\n`);
    const networkFile = join(own, "host0.network");
    writeFileSync(networkFile, networkUnit(host));
    // systemd 252 takes no networks as credentials; before its first boot nothing in the root leads out of it.
    if (this.suite === "bookworm")
      writeFileSync(join(root.value, "etc/systemd/network/50-host0.network"), networkUnit(host), {
        flag: "wx",
      });
    const devices = await copyDevices(join(own, "devices") as AbsPath, options.devices ?? []);
    if (!devices.ok) return devices;
    const machine = new Machine({
      name: options.name,
      address: `${BED_PREFIX}${host}`,
      ulaAddress: `${BED_ULA_PREFIX}${host}`,
      rootFolder: root.value,
      hostKey: hostKey.value,
      folder: own,
      cgroupFolder: this.cgroup,
      // Short: nspawn names the link after it, and a link's name has at most 15 characters.
      linkName: `lab${host}`,
      uuid: options.machineId ?? randomBytes(16).toString("hex"),
      waitsForSsh: options.waitsForSsh ?? true,
      nspawnArguments: [
        `--network-bridge=${BRIDGE}`,
        `--load-credential=ssh.authorized_keys.root:${keysFile}`,
        `--load-credential=network.network.50-host0:${networkFile}`,
        ...devices.value,
        ...(options.nspawnArguments ?? []),
      ],
    });
    const started = await machine.start(options.timeoutMs ?? BOOT_TIMEOUT_MS);
    return started.ok ? success(machine) : started;
  }

  private writeSshFiles(): void {
    writeFileSync(this.knownHostsFile, formatKnownHosts(this.machines));
    const { machines, identityFile, knownHostsFile } = this;
    writeFileSync(this.sshConfigFile, formatSshConfig({ machines, identityFile, knownHostsFile }));
  }
}

/** Where an image's unpacked form is kept: an image that is built anew has another size, or the same contents. Pure. */
export function poolCacheFile(image: Pick<Image, "file" | "key" | "sizeBytes">): AbsPath {
  return join(dirname(image.file), `${image.key}-${image.sizeBytes}.pool`) as AbsPath;
}

/** What a host name may be, hostname(7), without dots. Pure. */
function nameFault(name: string): string | undefined {
  return /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(name) ? undefined : "it is no host name";
}

/** The last number of an address in the bed's network; -1 if it lies elsewhere. Pure. */
function hostNumber(address: string): number {
  const match = /^10\.97\.0\.(\d{1,3})$/.exec(address);
  return match ? Number(match[1]) : -1;
}

/** A machine's network file: both addresses are usable at once, without waiting for duplicates' answers. Pure. */
function networkUnit(host: number): string {
  return [
    "[Match]",
    "Name=host0",
    "[Network]",
    "LinkLocalAddressing=ipv6",
    "IPv6AcceptRA=no",
    `Address=${BED_PREFIX}${host}/24`,
    `Gateway=${BED_ADDRESS}`,
    "[Address]",
    `Address=${BED_ULA_PREFIX}${host}/64`,
    "DuplicateAddressDetection=none",
    "",
  ].join("\n");
}

async function makeBridge(): Promise<Result<undefined>> {
  const made = await runSteps([
    ["create the bridge", ["ip", "link", "add", BRIDGE, "type", "bridge"]],
    ["address the bridge", ["ip", "addr", "add", `${BED_ADDRESS}/24`, "dev", BRIDGE]],
    ["address the bridge", ["ip", "-6", "addr", "add", `${BED_ULA_PREFIX}1/64`, "dev", BRIDGE, "nodad"]],
    ["start the bridge", ["ip", "link", "set", BRIDGE, "up"]],
  ]);
  if (!made.ok) return made;
  // Else a packet sent before the machine is up leaves its address unanswered for a whole second.
  for (const family of ["ipv4", "ipv6"]) {
    writeFileSync(`/proc/sys/net/${family}/neigh/${BRIDGE}/retrans_time_ms`, "20");
  }
  return made;
}
