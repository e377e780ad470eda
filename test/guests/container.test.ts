/** Arguments and files of a container, its addresses, and the mounts that its machine makes for it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  dhcpHostText,
  type GuestAddresses,
  guestEnvText,
  guestIdentity,
  guestIpv6,
  hostsText,
  isInBlock,
  leasedAddresses,
  smallestFree,
} from "../../src/guests/addresses.ts";
import {
  containerArguments,
  linkText,
  macvlanName,
  resolverText,
  rootArguments,
  tmpfilesText,
} from "../../src/guests/container.ts";
import type { Guest } from "../../src/guests/guest.ts";
import { commandsText, mountCommands, unmountCommands } from "../../src/guests/mounts.ts";
import { parseGuest } from "../../src/guests/parse-guest.ts";
import { parseShow, phasesOf } from "../../src/guests/phases.ts";
import type { Cidr } from "../../src/ipam/cidr.ts";
import { parseCidr } from "../../src/ipam/cidr.ts";
import { guestId, guestMac, type MachineId } from "../../src/ipam/ula.ts";

const HOST = "0123456789abcdef0123456789abcdef" as MachineId;

function guest(part: object): Guest {
  const read = parseGuest(JSON.stringify({ name: "web", kind: "container", image: "debian", ...part }));
  assert.ok(read.ok, JSON.stringify(read));
  return read.value;
}

const web: GuestAddresses = {
  ...guestIdentity(HOST, "web"),
  network: "lab",
  mode: "nat",
  fullName: "web.lab.gw.lan",
  ipv4: { address: "10.0.0.2", length: 24, gateway: "10.0.0.1" },
  ipv6: { address: "fd00::2", gateway: "fd00::1" },
};

const files = {
  root: "/var/lib/local/guests/web/root",
  link: "/run/x/link",
  target: "/run/x/target",
  tmpfiles: "/run/x/tmpfiles",
  mount: (index: number) => `/run/x/mount-${index}`,
};

const block = (text: string): Cidr => {
  const cidr = parseCidr(text);
  assert.ok(cidr);
  return cidr;
};

test("a block gives its smallest free address, neither its own two nor its machine's, until none is left", () => {
  const taken = new Set<string>();
  const given: string[] = [];
  for (
    let next = smallestFree(block("10.0.0.0/29"), taken);
    next;
    next = smallestFree(block("10.0.0.0/29"), taken)
  ) {
    given.push(next);
    taken.add(next);
  }
  assert.deepEqual(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
  assert.equal(smallestFree(block("10.0.0.0/30"), new Set()), "10.0.0.2");
  for (const [address, inside] of [
    ["10.0.0.1", false],
    ["10.0.0.2", true],
    ["10.0.0.6", true],
    ["10.0.0.7", false],
    ["10.0.1.2", false],
    ["fd00::2", false],
    ["x", false],
  ] as const)
    assert.equal(isInBlock(block("10.0.0.0/29"), address), inside, address);
  assert.deepEqual(leasedAddresses("1 aa:bb 10.0.0.9 x *\nduid 00:01\n1 12 fd00::9 y 00\n"), ["10.0.0.9"]);
});

test("a guest's MAC is administered locally, of one machine only, and follows from its id", () => {
  for (let i = 0; i < 200; i++) {
    const mac = guestMac(guestId(HOST, `g${i}`));
    assert.match(mac, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  }
  assert.equal(guestMac(guestId(HOST, "web")), guestIdentity(HOST, "web").mac);
  assert.notEqual(guestMac(guestId(HOST, "web")), guestMac(guestId(HOST, "web2")));
  const lease = new Map([
    ["IP6_SUBNET", "256"],
    ["IP6_ADDRESS", "fd00::1"],
  ]);
  assert.equal(
    guestIpv6(HOST, guestId(HOST, "web"), lease)?.address,
    "fdbf:f37c:3666:100:5de:a9c5:9305:2e50",
  );
  assert.equal(guestIpv6(HOST, guestId(HOST, "web"), new Map()), undefined);
});

test("dnsmasq and units are told the same of a guest", () => {
  assert.equal(hostsText(web), "10.0.0.2 web.lab.gw.lan web\nfd00::2 web.lab.gw.lan web\n");
  assert.equal(dhcpHostText(web), `${web.mac},10.0.0.2,[fd00::2],web\n`);
  assert.match(guestEnvText(web), /^GUEST_NAME=web\nGUEST_ID=[0-9a-f]{32}\n[\s\S]*GUEST_IP4=10\.0\.0\.2\n/);
  const outside: GuestAddresses = { ...guestIdentity(HOST, "web"), network: "flat", mode: "bridge" };
  assert.equal(hostsText(outside) + dhcpHostText(outside), "");
});

test("a container hangs on its network as the network's mode says", () => {
  const args = (part: object, a: GuestAddresses): string =>
    containerArguments(guest(part), a, files)
      .filter((arg) => /network/.test(arg))
      .join(" ");
  assert.equal(
    args({ network: "lab" }, web),
    "--network-bridge=lab --bind-ro=/run/x/link:/run/systemd/network/10-guest.network",
  );
  assert.match(
    args({ network: "up" }, { ...web, mode: "macvlan", uplink: "eno1" }),
    /^--network-macvlan=eno1 /,
  );
  assert.equal(args({ network: "own" }, { ...web, mode: "host" }), "");
  assert.equal(args({}, web), "--private-network");
  assert.equal(macvlanName("averylonguplink"), "mv-averylongupl");
  assert.match(linkText({ ...web, mode: "macvlan", uplink: "eno1" }), /^\[Match\]\nName=mv-eno1\n/);
});

test("paths reach nspawn as they are, and users are the guest's own", () => {
  const args = containerArguments(
    guest({
      tree: "/usr/local/lib/labctl/guests/web",
      mounts: [
        { kind: "bind", source: "/srv/a:b\\c", target: "/srv/x y", readOnly: true },
        { kind: "nfs", source: "nas:/vol", target: "/srv/nas" },
      ],
    }),
    web,
    files,
  );
  assert.ok(args.includes("--bind-ro=/srv/a\\:b\\\\c:/srv/x y:idmap"), args.join("\n"));
  assert.ok(args.includes("--bind=/run/x/mount-1:/srv/nas:idmap"));
  assert.ok(args.includes("--bind-ro=/usr/local/lib/labctl/guests/web:/usr/local:idmap"));
  assert.ok(args.includes("--private-users=pick"));
  assert.ok(args.includes(`--uuid=${web.id}`));
});

test("a guest's link has its addresses at once, or asks where they come from outside", () => {
  assert.equal(
    linkText(web),
    `[Match]
Name=host0

[Network]
DHCP=no
IPv6AcceptRA=no
LinkLocalAddressing=ipv6
Gateway=10.0.0.1
Gateway=fd00::1
DNS=10.0.0.1
Domains=lab.gw.lan

[Address]
Address=10.0.0.2/24

[Address]
Address=fd00::2/64
DuplicateAddressDetection=none
`,
  );
  assert.match(linkText({ ...guestIdentity(HOST, "web"), network: "flat", mode: "bridge" }), /^DHCP=yes$/m);
  assert.equal(resolverText(web), "nameserver 10.0.0.1\nsearch lab.gw.lan\n");
});

test("keys travel as lines of tmpfiles.d that are written anew at each boot", () => {
  const key = `ssh-ed25519 ${"A".repeat(68)} me@home`;
  const text = tmpfilesText(guest({ sshKeys: [key] }), { privateKey: "PRIVATE\n", publicKey: "PUBLIC\n" });
  const written = new Map(
    text
      .split("\n")
      .filter((line) => line.startsWith("f+~ "))
      .map((line) => [line.split(" ")[1] ?? "", Buffer.from(line.split(" ")[6] ?? "", "base64").toString()]),
  );
  assert.equal(written.get("/etc/ssh/ssh_host_ed25519_key"), "PRIVATE\n");
  assert.match(text, /^f\+~ \/etc\/ssh\/ssh_host_ed25519_key 0600 root root - /m);
  assert.ok([...written.values()].includes(`${key}\n`));
  assert.equal(tmpfilesText(guest({}), undefined), "");
});

test("an image that is no system has its command run, with nobody to say READY", () => {
  assert.deepEqual(rootArguments(undefined), ["--boot"]);
  const args = rootArguments({ argv: ["/bin/x", "--boot"], env: ["A=b c"], user: "www", cwd: "/srv" });
  assert.deepEqual(args.slice(-3), ["--", "/bin/x", "--boot"]);
  assert.deepEqual(args.slice(0, 5), [
    "--as-pid2",
    "--notify-ready=no",
    "--user=www",
    "--chdir=/srv",
    "--setenv=A=b c",
  ]);
});

test("file systems of other machines are mounted before the start, and sessions ended after it", () => {
  const far = guest({
    mounts: [
      { kind: "bind", source: "/srv/a", target: "/srv/a" },
      { kind: "nfs", source: "nas.lan:/vol/x y", target: "/srv/x", readOnly: true },
      { kind: "iscsi", source: "nas.lan/iqn.2026-11.lan.nas:one/3", target: "/srv/disk" },
    ],
  });
  const commands = mountCommands(far, files.mount);
  assert.deepEqual(commands[0], {
    needs: "nfs",
    argv: [
      "mount",
      "-t",
      "nfs",
      "-o",
      "ro,nosuid,nodev,softreval,timeo=100",
      "nas.lan:/vol/x y",
      "/run/x/mount-1",
    ],
  });
  assert.deepEqual(
    commands.slice(1).map((c) => c.argv.join(" ")),
    [
      "iscsiadm -m node -o new -T iqn.2026-11.lan.nas:one -p nas.lan:3260",
      "iscsiadm -m node -T iqn.2026-11.lan.nas:one -p nas.lan:3260 --login",
      "udevadm settle --exit-if-exists=/dev/disk/by-path/ip-nas.lan:3260-iscsi-iqn.2026-11.lan.nas:one-lun-3",
      "mount -o nosuid,nodev /dev/disk/by-path/ip-nas.lan:3260-iscsi-iqn.2026-11.lan.nas:one-lun-3 /run/x/mount-2",
    ],
  );
  assert.equal(unmountCommands(far).length, 2);
  assert.equal(commandsText(commands).split("\n")[0], commands[0] && ["nfs", ...commands[0].argv].join("\t"));
});

test("phases are those that the request brought about, in the order of their beginnings", () => {
  const unit = (id: string, from: number, to: number): string =>
    `Id=${id}\nInactiveExitTimestampMonotonic=${from}\nActiveEnterTimestampMonotonic=${to}\n`;
  const shown = parseShow(
    [
      unit("image@debian.service", 100, 200),
      unit("guest-root@web.service", 1_010_000, 1_050_000),
      unit("guest-net@web.service", 1_005_000, 1_060_000),
      unit("container@web.service", 1_060_000, 1_500_000),
    ].join("\n"),
  );
  assert.deepEqual(phasesOf(shown, 1_000_000, { bornUs: 1_100_000, readyUs: 1_490_000 }), [
    { name: "addresses", startMs: 5, durationMs: 55 },
    { name: "fork", startMs: 10, durationMs: 40 },
    { name: "nspawn", startMs: 60, durationMs: 40 },
    { name: "boot", startMs: 100, durationMs: 390 },
    { name: "answer", startMs: 490, durationMs: 10 },
  ]);
});
