/**
 * Leases addresses to the networks of this machine while they run:
 *
 *     address.mjs lease NETWORK      gives it a block, or the one it has, and writes IP_RUN/NETWORK.env
 *     address.mjs release NETWORK    takes it back
 *     address.mjs show               prints the ledger
 *
 * One run at a time, by flock(2) on IP_RUN/lock, which ends with the process however that ends. The environment files are
 * what counts; ledger.json lists them. Each is written beside its place and renamed into it, so that a run killed at any
 * instant leaves a network with its lease or without, and the next run puts the rest right.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type Cidr, formatCidr, parseCidr } from "labctl/ipam/cidr.ts";
import { type Lease, type LeaseWish, leaseText, readLease, takeLease } from "labctl/ipam/lease.ts";
import { parseMachineId } from "labctl/ipam/ula.ts";
import { readSeen } from "labctl/ipam/wish.ts";

const RUN = process.env.IP_RUN ?? "/run/local/ip";
const STATE = process.env.IP_STATE ?? "/var/lib/local/ip";
const CONFIG = process.env.IP_CONFIG ?? "/usr/local/etc/network/addresses.json";
const MACHINE_ID = process.env.IP_MACHINE_ID ?? "/etc/machine-id";

/** A run takes some 50 ms; a hundred units that start at once take turns. */
const LOCK_PATIENCE_SECONDS = 60;
const NETWORK = /^[a-z](?:[a-z0-9-]{0,13}[a-z0-9])?$/;
/** A file that a killed run left on its way to its place. */
const DRAFT = /\.draft$/;

/** What the repository says; the template of this file is etc/network/addresses.json.hbs. */
interface Config {
  readonly length: number;
  readonly taken: readonly string[];
  readonly networks: Readonly<Record<string, { readonly subnet: number; readonly ipv4?: string }>>;
}

class Refusal extends Error {
  readonly help: string;
  constructor(message: string, help: string) {
    super(message);
    this.help = help;
  }
}

try {
  main(process.argv[2], process.argv[3]);
} catch (error) {
  const help = error instanceof Refusal ? error.help : "see whether /run and /var/lib can be written, then start the unit again";
  process.stderr.write(`error[ip-lease] ${(error as Error).message}\n  help: ${help}\n`);
  process.exitCode = 1;
}

function main(verb: string | undefined, network: string | undefined): void {
  const known = verb === "show" || (verb !== undefined && ["lease", "release"].includes(verb) && network !== undefined);
  if (!known) throw new Refusal("wrong usage", "address.mjs lease NETWORK | release NETWORK | show");
  if (network !== undefined && !NETWORK.test(network))
    throw new Refusal(
      `\`${network}\` can't be a network: it is an interface's name, too`,
      "at most 15 lower-case letters, digits and `-`, first a letter, last no `-`",
    );
  mkdirSync(RUN, { recursive: true });
  const lock = takeLock();
  try {
    const leases = repair();
    if (verb === "lease" && network !== undefined) lease(network, leases);
    if (verb === "release" && network !== undefined) {
      rmSync(envFile(network), { force: true });
      list(leases.filter((l) => l.network !== network));
    }
    if (verb === "show") process.stdout.write(ledgerText(leases));
  } finally {
    closeSync(lock);
  }
}

function lease(network: string, leases: readonly Lease[]): void {
  const id = parseMachineId(readFileSync(MACHINE_ID, "utf8"));
  if (!id) throw new Refusal(`${MACHINE_ID} holds no machine-id`, "run `systemd-machine-id-setup`");
  const config = readConfig();
  const numbers = readNumbers();
  const answer = takeLease(wishOf(network, config), {
    leases,
    taken: [...prefixes(config.taken), ...inUse(network)],
    numbers,
  });
  if ("fault" in answer)
    throw new Refusal(`network \`${network}\` gets no addresses: ${answer.fault}`, answer.help);
  const mine = answer.lease;
  // First what must outlive the lease: a number that was given out once is nobody else's.
  if (numbers.get(network) !== mine.subnet) {
    numbers.set(network, mine.subnet);
    mkdirSync(STATE, { recursive: true });
    write(join(STATE, "subnets.json"), `${JSON.stringify(Object.fromEntries([...numbers].sort()), null, 1)}\n`);
  }
  write(envFile(network), leaseText(mine, id));
  list([...leases.filter((l) => l.network !== network), mine]);
}

function wishOf(network: string, config: Config): LeaseWish {
  const declared = Object.hasOwn(config.networks, network) ? config.networks[network] : undefined;
  if (declared) {
    const fixed = declared.ipv4 === undefined ? undefined : parseCidr(declared.ipv4);
    return { network, subnet: declared.subnet, ...(fixed ? { ipv4: { fixed } } : {}) };
  }
  const text = process.env.IP4_LENGTH ?? String(config.length);
  if (text === "none") return { network };
  const length = Number(text);
  if (!Number.isInteger(length) || length < 8 || length > 30)
    throw new Refusal(`IP4_LENGTH=${text} is no size of a network`, "a number from 8 to 30, or `none`");
  return { network, ipv4: { length } };
}

/** Leases as the environment files say; what a killed run left half done is taken away. */
function repair(): Lease[] {
  const leases: Lease[] = [];
  for (const name of readdirSync(RUN).sort()) {
    const file = join(RUN, name);
    if (DRAFT.test(name)) rmSync(file, { force: true });
    if (!name.endsWith(".env")) continue;
    const read = readLease(readFileSync(file, "utf8"));
    if (read && `${read.network}.env` === name) leases.push(read);
    else rmSync(file, { force: true });
  }
  return leases;
}

/** Prefixes on links and in routes, but for those of the network's own link. */
function inUse(network: string): Cidr[] {
  const ask = (args: readonly string[]): string[] => {
    const done = spawnSync("ip", ["-4", "-o", ...args], { encoding: "utf8" });
    if (done.status !== 0)
      throw new Refusal(`\`ip ${args.join(" ")}\` failed: ${(done.stderr ?? String(done.error)).trim()}`, "see whether iproute2 is installed");
    return done.stdout.split("\n");
  };
  const links = ask(["address", "show"]).flatMap((line) => {
    const [, name = "", , address] = line.split(/\s+/);
    return address ? [{ name, kind: "", addresses: [address] }] : [];
  });
  return readSeen("", links, ask(["route", "show"]))
    .filter((seen) => seen.link !== network)
    .map((seen) => seen.prefix);
}

function readConfig(): Config {
  try {
    return JSON.parse(readFileSync(CONFIG, "utf8")) as Config;
  } catch (error) {
    throw new Refusal(`${CONFIG} can't be read: ${(error as Error).message}`, "push the layer `network` again");
  }
}

/** Damaged, it is begun anew: then running networks keep their numbers, and others may get new ones. */
function readNumbers(): Map<string, number> {
  try {
    const read = JSON.parse(readFileSync(join(STATE, "subnets.json"), "utf8")) as Record<string, unknown>;
    return new Map(Object.entries(read).filter((e): e is [string, number] => Number.isInteger(e[1])));
  } catch {
    return new Map();
  }
}

function prefixes(texts: readonly string[]): Cidr[] {
  return texts.flatMap((text) => parseCidr(text) ?? []);
}

function envFile(network: string): string {
  return join(RUN, `${network}.env`);
}

function list(leases: readonly Lease[]): void {
  write(join(RUN, "ledger.json"), ledgerText(leases));
}

function ledgerText(leases: readonly Lease[]): string {
  const rows = [...leases]
    .sort((a, b) => (a.network < b.network ? -1 : 1))
    .map(({ network, ipv4, subnet }) => ({ network, ...(ipv4 ? { ipv4: formatCidr(ipv4) } : {}), subnet }));
  return `[${rows.map((row) => `\n  ${JSON.stringify(row)}`).join(",")}\n]\n`;
}

/** Whole or not at all, and on the disk before it has its name. */
function write(file: string, text: string): void {
  const fd = openSync(`${file}.draft`, "w", 0o644);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.draft`, file);
}

/** Node.js has no flock(2): flock(1) locks the open file that both hold, and this process keeps it open. */
function takeLock(): number {
  const fd = openSync(join(RUN, "lock"), "a", 0o644);
  const done = spawnSync("flock", ["--exclusive", "--timeout", String(LOCK_PATIENCE_SECONDS), "3"], {
    stdio: ["ignore", "ignore", "inherit", fd],
  });
  if (done.status === 0) return fd;
  closeSync(fd);
  throw new Refusal(
    `the lock ${join(RUN, "lock")} was not free within ${LOCK_PATIENCE_SECONDS} seconds`,
    `\`fuser ${join(RUN, "lock")}\` shows who holds it`,
  );
}
