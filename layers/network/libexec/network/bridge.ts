/**
 * Brings one network of this machine up, and takes it down again without a trace:
 *
 *     bridge.mjs up NETWORK      writes its files, and returns when the link has its addresses; again: mends what differs
 *     bridge.mjs down NETWORK    takes rules, files and link away; what is gone already is no fault
 *
 * Its addresses come from the lease of ip@NETWORK.service, its shape from etc/network/networks.json. networkd makes the
 * link, nft the rules, and bridge-dhcp@NETWORK.service, which reads a file written here, answers the guests.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const CONFIG = "/usr/local/etc/network/networks.json";
const LEASES = "/run/local/ip";
const NETWORKD = "/run/systemd/network";
const RUN = "/run/local/bridge";
/** First line of the files written to NETWORKD: another program's may have the same name, and stays. */
const OURS = "# Of bridge@.service.\n";
/** What the layer firewall includes at each load: which links are networks of the machine. */
const FIREWALL_RUN = "/run/local/firewall";
const DHCP_RUN = "/run/local/bridge-dhcp";
/** There while the layer dns runs: it answers for the networks whose files it finds in RUN. */
const NAMES_RUN = "/run/local/dns";
/** Files of other layers for the guests' DHCP and DNS: etc/network/NETWORK.d/*.conf, in dnsmasq's format. */
const DROP_INS = "/usr/local/etc/network";

/** Folders NETWORK.hosts and NETWORK.dhcp, one file a guest: its names, and the addresses that DHCP gives to its MAC. */
const HOST_FOLDERS = ["hosts", "dhcp"] as const;

/** networkd makes a link in some 30 ms. */
const LINK_PATIENCE_MS = 10_000;
const LATE_LINK_MS = 1_000;
const LINK_LOOK_MS = 20;
const RELOAD_PAUSE_MS = 50;

interface Shape {
  readonly mode: "nat" | "routed" | "bridge" | "macvlan" | "host";
  readonly uplink?: string;
  readonly vlan?: number;
  readonly mtu?: number;
}

interface Config {
  readonly domain: string;
  readonly machine: string;
  readonly networks: Readonly<Record<string, Shape>>;
}

/** The lease's environment file by name. */
type Lease = ReadonlyMap<string, string>;

class Refusal extends Error {}

try {
  const [, , verb, network = ""] = process.argv;
  // systemd hands over the instance's name as it was typed.
  if (!/^[a-z](?:[a-z0-9-]{0,13}[a-z0-9])?$/.test(network))
    throw new Refusal(`\`${network}\` can't be a network: it becomes an interface, whose name has at most 15 lower-case letters, digits and \`-\``);
  if (verb === "up") up(network);
  else if (verb === "down") down(network);
  else throw new Refusal("wrong usage: bridge.mjs up NETWORK | down NETWORK");
} catch (error) {
  process.stderr.write(`error[network] ${(error as Error).message}\n`);
  process.exitCode = 1;
}

function up(network: string): void {
  const config = JSON.parse(readFileSync(CONFIG, "utf8")) as Config;
  const shape = Object.hasOwn(config.networks, network) ? config.networks[network] : undefined;
  const { mode, uplink, vlan, mtu }: Shape = shape ?? { mode: "nat" };
  const lease = readLease(network);
  const files = new Map<string, string>();
  const hasLink = mode !== "host" && mode !== "macvlan";
  const isOurs = mode === "nat" || mode === "routed";
  // Else its file would take the place of the one that the link has, and its addresses with it.
  if (hasLink && existsSync(`/sys/class/net/${network}`) && !isOurBridge(network))
    throw new Refusal(`network \`${network}\` can't have the name of a link that this machine has, and that is not this network's`);
  if (uplink !== undefined && !existsSync(`/sys/class/net/${uplink}`))
    throw new Refusal(`network \`${network}\` leads to link \`${uplink}\`, which this machine does not have`);
  const port = uplink !== undefined && vlan !== undefined ? `${uplink}.${vlan}` : uplink;
  dropVlans(network, port);
  if (uplink !== undefined && vlan !== undefined) makeVlan(network, uplink, vlan);
  if (hasLink) {
    files.set(join(NETWORKD, `50-${network}.netdev`), `${OURS}[NetDev]\nName=${network}\nKind=bridge\n\n[Bridge]\nSTP=no\n`);
    const text = linkText(network, isOurs ? lease : undefined, config.domain, mtu);
    files.set(join(NETWORKD, `50-${network}.network`), `${OURS}${text}`);
  }
  // Before the file that the uplink has otherwise: the first one that matches counts (systemd.network(5)).
  if (mode === "bridge" && port !== undefined)
    files.set(uplinkFile(network), `${OURS}[Match]\nName=${port}\n\n[Network]\nBridge=${network}\nLinkLocalAddressing=no\n`);
  if (isOurs) files.set(dnsmasqFile(network), dnsmasqText(network, lease, config, mtu));
  if (isOurs) files.set(firewallFile(network), firewallText(network));
  files.set(envFile(network), envText(mode, port, mtu));

  // dnsmasq watches folders that are there when it starts.
  if (isOurs) for (const kind of HOST_FOLDERS) mkdirSync(join(RUN, `${network}.${kind}`), { recursive: true });
  const changed = [...files].filter(([file, text]) => put(file, text)).map(([file]) => file);
  if (changed.some((file) => file.startsWith(NETWORKD))) reloadNetworkd();
  if (hasLink) awaitLink(network, isOurs ? lease : undefined);
  if (hasLink) run("ip", ["link", "set", network, "alias", bridgeAlias(network)]);
  loadRules(isOurs ? rulesText(network, lease, mode) : noRules(network));
  // A reload of the firewall reads the file; what is loaded already has to hear of it.
  if (isOurs && hasFirewall()) run("nft", ["-f", firewallFile(network)]);
  // dnsmasq reads its file at its start only. Not waited for: it is ordered after this very unit.
  if (!changed.includes(dnsmasqFile(network))) return;
  run("systemctl", ["--no-block", "try-restart", `bridge-dhcp@${network}.service`]);
  tellNames();
}

function down(network: string): void {
  loadRules(noRules(network));
  const isKnown = existsSync(firewallFile(network));
  rmSync(firewallFile(network), { force: true });
  if (isKnown && hasFirewall()) loadRules(`${firewallText(network)}${leaveFirewall(network)}`);
  const files = [...["netdev", "network"].map((kind) => join(NETWORKD, `50-${network}.${kind}`)), uplinkFile(network)]
    .filter(isOurFile);
  const reload = files.length > 0;
  const wasOurs = isOurBridge(network);
  const hadNames = existsSync(dnsmasqFile(network));
  for (const file of [...files, dnsmasqFile(network)]) rmSync(file, { force: true });
  if (hadNames) tellNames();
  // Guests that still have an entry there take it away themselves.
  for (const kind of HOST_FOLDERS) removeIfEmpty(join(RUN, `${network}.${kind}`));
  dropVlans(network);
  // Else networkd would make the link again; it gives the uplink back what it has otherwise.
  if (reload) reloadNetworkd();
  const isThere = (): boolean => existsSync(`/sys/class/net/${network}/bridge`);
  // A start that was cut short has asked networkd for the link, which then comes after all.
  const deadline = Date.now() + LATE_LINK_MS;
  while (reload && !isThere() && Date.now() < deadline) pause(LINK_LOOK_MS);
  if (isThere() && (reload || wasOurs)) run("ip", ["link", "delete", network]);
  rmSync(envFile(network), { force: true });
}

/**
 * Not by networkd, whose VLAN= stands in the file of the uplink and would have that configured anew. The alias says whose it
 * is, whatever became of the run that made it.
 */
function makeVlan(network: string, uplink: string, vlan: number): void {
  const name = `${uplink}.${vlan}`;
  if (!existsSync(`/sys/class/net/${name}`)) {
    const made = spawnSync("ip", ["link", "add", "link", uplink, "name", name, "type", "vlan", "id", String(vlan)], { encoding: "utf8" });
    if (made.status !== 0)
      throw new Refusal(`network \`${network}\` is VLAN ${vlan} on link \`${uplink}\`, which the kernel does not make: ${(made.stderr || String(made.error ?? "")).trim()}; does \`modprobe 8021q\` help?`);
    run("ip", ["link", "set", name, "alias", vlanAlias(network)]);
  }
  run("ip", ["link", "set", name, "up"]);
}

/** Takes away the links that were made for VLANs of this network, but for one. */
function dropVlans(network: string, but?: string): void {
  for (const name of readdirSync("/sys/class/net"))
    if (name !== but && aliasOf(name) === vlanAlias(network)) run("ip", ["link", "delete", name]);
}

/**
 * By its alias, or, before it has that, by the file from which networkd makes it; or by the file that is written with that
 * one and goes last: a `down` that was killed may have left a link to which nothing else points.
 */
function isOurBridge(network: string): boolean {
  return (
    existsSync(`/sys/class/net/${network}/bridge`) &&
    (aliasOf(network) === bridgeAlias(network) ||
      isOurFile(join(NETWORKD, `50-${network}.netdev`)) ||
      existsSync(envFile(network)))
  );
}

function envFile(network: string): string {
  return join(RUN, `${network}.env`);
}

function bridgeAlias(network: string): string {
  return `Network ${network}`;
}

function aliasOf(link: string): string {
  try {
    return readFileSync(`/sys/class/net/${link}/ifalias`, "utf8").trim();
  } catch {
    return "";
  }
}

function vlanAlias(network: string): string {
  return `VLAN of network ${network}`;
}

/** An empty one is what a run left that was killed as it began to write. */
function isOurFile(file: string): boolean {
  const text = existsSync(file) ? readFileSync(file, "utf8") : undefined;
  return text === "" || text?.startsWith(OURS) === true;
}

/** networkd refuses to reload while it reloads, and other networks come and go at the same time. */
function reloadNetworkd(): void {
  const deadline = Date.now() + LINK_PATIENCE_MS;
  for (;;) {
    const done = spawnSync("networkctl", ["reload"], { encoding: "utf8" });
    if (done.status === 0) return;
    if (Date.now() > deadline)
      throw new Refusal(`\`networkctl reload\` failed: ${(done.stderr || String(done.error ?? "")).trim()}`);
    pause(RELOAD_PAUSE_MS);
  }
}

/** What it answers is left aside: one that stops at this moment reads the files at its next start. */
function tellNames(): void {
  if (existsSync(NAMES_RUN)) spawnSync("systemctl", ["--no-block", "reload", "dns.service"]);
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function readLease(network: string): Lease {
  const file = join(LEASES, `${network}.env`);
  const text = readFileSync(file, "utf8");
  return new Map(text.split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]));
}

function value(lease: Lease, name: string): string {
  return lease.get(name) ?? "";
}

/**
 * Addresses stand while no guest is there, and at once: nobody else can have them, so there is nothing to detect. The size
 * stands here and not with the link's kind, which networkd does not read again for a link that is there.
 */
function linkText(network: string, lease: Lease | undefined, domain: string, mtu: number | undefined): string {
  const lines = ["[Match]", `Name=${network}`, "", "[Link]", "RequiredForOnline=no"];
  if (mtu !== undefined) lines.push(`MTUBytes=${mtu}`);
  lines.push("", "[Network]");
  lines.push("ConfigureWithoutCarrier=yes", "DHCP=no", "IPv6AcceptRA=no");
  if (!lease) return [...lines, "LinkLocalAddressing=no", ""].join("\n");
  const addresses = [`${value(lease, "IP6_ADDRESS")}/64`];
  if (lease.has("IP4_PREFIX")) addresses.unshift(`${value(lease, "IP4_ADDRESS")}/${value(lease, "IP4_LENGTH")}`);
  // resolved asks the network's own DNS about its guests, and about nothing else.
  lines.push("LinkLocalAddressing=ipv6", "DNSDefaultRoute=no", `Domains=~${network}.${domain}`);
  lines.push(`DNS=${(addresses[0] ?? "").replace(/\/.*/, "")}`);
  for (const address of addresses) lines.push("", "[Address]", `Address=${address}`, "DuplicateAddressDetection=none");
  return [...lines, ""].join("\n");
}

function dnsmasqText(network: string, lease: Lease, config: Config, mtu: number | undefined): string {
  const domain = `${network}.${config.domain}`;
  const own = ["IP4_ADDRESS", "IP6_ADDRESS"].flatMap((name) => lease.get(name) ?? []);
  const lines = [
    `interface=${network}`,
    "except-interface=lo",
    "bind-interfaces",
    `pid-file=${DHCP_RUN}/${network}/pid`,
    // Leases end with the network; a guest that comes back gets its old address, which follows from its MAC.
    `dhcp-leasefile=${DHCP_RUN}/${network}/leases`,
    "no-hosts",
    "domain-needed",
    "bogus-priv",
    `domain=${domain}`,
    `local=/${domain}/`,
    `host-record=${config.machine}.${domain},${own.join(",")}`,
    // Files that come, change or go count at once; those that go from the second, at the next SIGHUP.
    `hostsdir=${join(RUN, `${network}.hosts`)}`,
    `dhcp-hostsdir=${join(RUN, `${network}.dhcp`)}`,
    "dhcp-authoritative",
    "dhcp-rapid-commit",
    "no-ping",
    "enable-ra",
    // Every address that follows from the link's prefix by SLAAC gets the name that its holder gave to DHCP.
    `dhcp-range=::,constructor:${network},ra-names,slaac,64,1h`,
    `ra-param=${network}${mtu === undefined ? "" : `,mtu:${mtu}`},60,1800`,
  ];
  if (lease.has("IP4_PREFIX"))
    lines.push(`dhcp-range=${value(lease, "IP4_FIRST")},${value(lease, "IP4_LAST")},${value(lease, "IP4_NETMASK")},1h`);
  if (mtu !== undefined) lines.push(`dhcp-option=option:mtu,${mtu}`);
  // resolved knows the other networks' names, too. Without it, what /etc/resolv.conf says.
  if (existsSync("/run/systemd/resolve/stub-resolv.conf")) lines.push("no-resolv", "server=127.0.0.53");
  const dropIns = join(DROP_INS, `${network}.d`);
  if (existsSync(dropIns)) lines.push(`conf-dir=${dropIns},*.conf`);
  return `${lines.join("\n")}\n`;
}

function envText(mode: string, uplink: string | undefined, mtu: number | undefined): string {
  const lines = [`NETWORK_MODE=${mode}`];
  if (uplink !== undefined) lines.push(`NETWORK_UPLINK=${uplink}`);
  if (mtu !== undefined) lines.push(`NETWORK_MTU=${mtu}`);
  return `${lines.join("\n")}\n`;
}

/** Declared first, so that its removal can't fail where it is absent: all of this is one transaction. */
function noRules(network: string): string {
  return `table inet network-${network}\ndelete table inet network-${network}\n`;
}

/** Guests go out under the machine's address; among private IPv6 prefixes they keep their own. */
function rulesText(network: string, lease: Lease, mode: Shape["mode"]): string {
  if (mode !== "nat") return noRules(network);
  const four = lease.get("IP4_PREFIX");
  const rules = [
    // What leaves through the layer wireguard keeps its address, which is how its peers know it.
    ...(four ? [`ip saddr ${four} oifname != { "${network}", "wg0" } counter masquerade`] : []),
    `ip6 saddr ${value(lease, "IP6_PREFIX")} ip6 daddr != fc00::/7 oifname != "${network}" counter masquerade`,
  ];
  return [
    noRules(network),
    `table inet network-${network} {`,
    "  chain outward {",
    "    type nat hook postrouting priority srcnat; policy accept;",
    ...rules.map((rule) => `    ${rule}`),
    "  }",
    "}",
    "",
  ].join("\n");
}

/** The sets are the layer firewall's; to declare them again is to add to them. Guests of one network may talk. */
function firewallText(network: string): string {
  return [
    "table inet labctl {",
    `  set internal_ifs {\n    type ifname\n    elements = { "${network}" }\n  }`,
    `  set linked_ifs {\n    type ifname . ifname\n    elements = { "${network}" . "${network}" }\n  }`,
    "}",
    "",
  ].join("\n");
}

function leaveFirewall(network: string): string {
  return [
    `delete element inet labctl internal_ifs { "${network}" }`,
    `delete element inet labctl linked_ifs { "${network}" . "${network}" }`,
    "",
  ].join("\n");
}

function hasFirewall(): boolean {
  return spawnSync("nft", ["list", "set", "inet", "labctl", "internal_ifs"]).status === 0;
}

function firewallFile(network: string): string {
  return join(FIREWALL_RUN, `${network}.nft`);
}

/** Until networkd made the link and gave it its addresses: whoever comes after this may bind to them. */
function awaitLink(network: string, lease: Lease | undefined): void {
  const wanted = ["IP4_ADDRESS", "IP6_ADDRESS"].flatMap((name) => lease?.get(name) ?? []);
  const deadline = Date.now() + LINK_PATIENCE_MS;
  for (;;) {
    const shown = spawnSync("ip", ["-o", "address", "show", "dev", network], { encoding: "utf8" });
    const isUp = existsSync(`/sys/class/net/${network}/bridge`);
    const has = (address: string): boolean => (shown.stdout ?? "").includes(` ${address}/`);
    if (isUp && wanted.every(has) && !shown.stdout.includes("tentative")) return;
    if (Date.now() > deadline)
      throw new Refusal(`link \`${network}\` did not come up within ${LINK_PATIENCE_MS / 1000} s: does systemd-networkd run? see \`networkctl status ${network}\``);
    pause(LINK_LOOK_MS);
  }
}

function uplinkFile(network: string): string {
  return join(NETWORKD, `10-${network}-uplink.network`);
}

function dnsmasqFile(network: string): string {
  return join(RUN, `${network}.dnsmasq`);
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not empty, or never made.
  }
}

/** True if the file had another text, or was not there. */
function put(file: string, text: string): boolean {
  if (existsSync(file) && readFileSync(file, "utf8") === text) return false;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return true;
}

/** As an argument: nft 1.0.9 (Ubuntu 24.04) reads from no socket, and Node.js gives a child nothing else to read from. */
function loadRules(rules: string): void {
  const done = spawnSync("nft", [rules], { encoding: "utf8" });
  if (done.status !== 0) throw new Refusal(`\`nft\` refused the network's rules: ${(done.stderr || String(done.error ?? "")).trim()}`);
}

function run(program: string, args: readonly string[]): void {
  const done = spawnSync(program, args, { encoding: "utf8" });
  if (done.status === 0) return;
  throw new Refusal(`\`${program} ${args.join(" ")}\` failed: ${(done.stderr || String(done.error ?? "")).trim()}`);
}
