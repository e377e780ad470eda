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
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { formatDiagnostic, problem } from "labctl/diagnostics.ts";
import { type GuestAddresses, isInBlock, leasedAddresses, smallestFree } from "labctl/guests/addresses.ts";
import { GUEST_NAME, type Guest } from "labctl/guests/guest.ts";
import { guestEnvFile, guestFolder, guestNetFiles, networkFolders } from "labctl/guests/net-files.ts";
import { hostKey, keepNetKit, type Pool, readAttachment } from "labctl/guests/net-kit.ts";
import { CLAIMS, findGuest, NETWORK_RUN } from "labctl/guests/places.ts";
import { problemsOfEnd, Refusal, settled } from "labctl/guests/refusal.ts";

const DHCP_RUN = "/run/local/bridge-dhcp";

try {
  const [, , verb, name = ""] = process.argv;
  if (verb === "up") up(name);
  else if (verb === "down") down(name);
  else throw new Refusal(problem("usage", "wrong usage", { help: "net.mjs up NAME | down NAME" }));
} catch (error) {
  const problems = problemsOfEnd(error, "guest-net");
  for (const each of problems) process.stderr.write(`${formatDiagnostic(each)}\n`);
  process.exitCode = 1;
}

function up(name: string): void {
  const { guest } = settled(findGuest(name));
  const { known, pool } = settled(readAttachment(guest));
  // First to come and last to go: without it, nothing of the guest is here.
  mkdirSync(guestFolder(name), { recursive: true });
  const ipv4 = pool && claim(name, pool);
  const addresses: GuestAddresses = { ...known, ...(ipv4 ? { ipv4 } : {}) };
  // What it had in another network, or under another definition.
  release(name, addresses);
  if (known.fullName !== undefined)
    for (const folder of networkFolders(known.network ?? "")) mkdirSync(folder, { recursive: true });
  for (const { file, mode, text } of guestNetFiles(guest, addresses, hostKey(name))) write(file, text, Number.parseInt(mode, 8));
  keep(guest);
}

/** For the next start, which is as good without. */
function keep(guest: Guest): void {
  try {
    keepNetKit(guest);
  } catch (error) {
    process.stderr.write(`warning[guest-kit] the next start of guest \`${guest.name}\` takes longer: ${(error as Error).message}\n`);
  }
}

/** Takes an address of the network's block, or keeps the one that the guest has in it. */
function claim(name: string, { network, block, gateway, prefix }: Pool): NonNullable<GuestAddresses["ipv4"]> {
  const folder = join(CLAIMS, network);
  for (let swept = false; ; ) {
    // The last one that another guest gave back took the folder with it.
    mkdirSync(folder, { recursive: true });
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
          `its ${prefix} has ${size} addresses: one is the machine's, ${holders.size} are of guests, ${dynamic.length} were given by DHCP`,
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
    // Or its folder has gone meanwhile.
    if (["EEXIST", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
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
  rmSync(guestEnvFile(name), { force: true });
  rmSync(guestFolder(name), { recursive: true, force: true });
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

/** Whole or not at all; dnsmasq passes over names that begin with a dot. */
function write(file: string, text: string, mode = 0o644): void {
  const draft = join(dirname(file), `.${basename(file)}.draft`);
  writeFileSync(draft, text, { mode });
  chmodSync(draft, mode);
  renameSync(draft, file);
}
