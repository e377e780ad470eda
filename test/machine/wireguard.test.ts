/**
 * WireGuard between three real machines, a client on a fourth, and who loses access when: keys made on the machines, a mesh and
 * two networks joined, all with real packets. The tests' kernel may lack WireGuard: then wireguard-go carries them.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed, unwrap } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const NAMES = ["a", "b", "c"] as const;
type Name = (typeof NAMES)[number];

interface Fleet {
  readonly lab: Lab;
  readonly machines: Readonly<Record<Name, Machine>>;
  readonly addresses: Readonly<Record<Name, string>>;
  /** From the end of the push that told all three of each other until all six ways carried packets. */
  readonly upAfterMs: number;
}

let prepared: Promise<Fleet> | undefined;

function theFleet(): Promise<Fleet> {
  prepared ??= theBed().then(async (bed) => {
    const booted = await Promise.all(NAMES.map(() => bootMachine(bed)));
    const machines = Object.fromEntries(NAMES.map((name, i) => [name, booted[i]])) as Record<Name, Machine>;
    const lab = labFor(bed, "nowhere");
    for (const name of ["attic", "demo", "gateway", "storage"]) lab.remove(`machines/${name}`);
    const endpoints: Record<string, string> = {};
    for (const name of NAMES) {
      const shown = await inside(machines[name], "ip -4 -o address show dev host0");
      endpoints[name] = `${/inet ([\d.]+)/.exec(shown)?.[1]}:51820`;
      const network = `[network l${name}]\nipv4 = /24\nmode = routed\n`;
      lab.write({
        [`machines/${name}/machine.ini`]: `[machine]\nhost = ${machines[name].name}\nlayers = ${name === "c" ? "wireguard" : "network, firewall, dns, wireguard"}\n${name === "c" ? "" : `instances = bridge@l${name}.service\n${network}`}`,
      });
    }
    lab.write({ "facts/all.json": JSON.stringify({ WIREGUARD_ENDPOINTS: endpoints }) });
    await lab.expect(0, ["facts", "probe", ...NAMES]);
    await lab.expect(0, ["ip", "plan", "--write"]);
    await lab.expect(0, ["push", ...NAMES]);
    await lab.expect(0, ["facts", "probe", ...NAMES]);
    await lab.expect(0, ["push", ...NAMES]);
    const pushedAt = performance.now();
    const ids = JSON.parse((await lab.expect(0, ["ip", "show", "--json"])).stdout) as {
      machines: { machine: Name; links: { what: string; ipv6: { address: string } }[] }[];
    };
    const addresses = Object.fromEntries(
      ids.machines.map((m) => [m.machine, m.links.find((l) => l.what === "machine")?.ipv6.address ?? ""]),
    ) as Record<Name, string>;
    await Promise.all(
      NAMES.map((from) =>
        inside(
          machines[from],
          NAMES.filter((to) => to !== from)
            .map(
              (to) =>
                `for i in $(seq 100); do ping -c1 -W1 ${addresses[to]} >/dev/null && continue 2; sleep 0.05; done; exit 1`,
            )
            .map((loop) => `for once in 1; do ${loop}; done`)
            .join("\n"),
        ),
      ),
    );
    return { lab, machines, addresses, upAfterMs: performance.now() - pushedAt };
  });
  return prepared;
}

const reaches = (from: Machine, address: string): Promise<string> =>
  inside(from, `ping -c1 -W2 ${address} >/dev/null && echo yes || echo no`);

test("three machines reach each other through the link within five seconds of the push", async (t) => {
  const { lab, machines, addresses, upAfterMs } = await theFleet();
  t.diagnostic(`up ${Math.round(upAfterMs)} ms after the push`);
  assert.ok(upAfterMs < 5000, `${upAfterMs} ms`);
  assert.match(await inside(machines.a, `ip -6 route get ${addresses.b}`), / dev wg0 .*src fd/);
  assert.equal(await inside(machines.a, "wg show wg0 endpoints | wc -l"), "2\n");
  // What it added to links and routes is no address conflict, and a second push does nothing.
  await lab.expect(0, ["facts", "probe", ...NAMES]);
  await lab.expect(0, ["ip", "check"]);
  await lab.expect(0, ["plan", "a"]);
  // The control: without the link there is no other way.
  await inside(machines.c, "systemctl stop wireguard; ! ip link show wg0 2>/dev/null");
  assert.equal(await reaches(machines.a, addresses.c), "no\n");
  await inside(machines.c, "systemctl start wireguard; /usr/local/lib/labctl/check.d/wireguard");
  assert.equal(await reaches(machines.c, addresses.a), "yes\n");
});

test("a private key is on its own machine only, for root only; the public one came back", async () => {
  const { lab, machines } = await theFleet();
  const key = (await inside(machines.a, "cat /var/lib/local/wireguard/private.key")).trim();
  assert.match(key, /^[A-Za-z0-9+/]{43}=$/);
  assert.equal(
    await inside(machines.a, "stat -c '%a %U' /var/lib/local/wireguard/private.key"),
    "600 root\n",
  );
  const files = (folder: string): string[] =>
    readdirSync(folder).flatMap((name) => {
      const path = join(folder, name);
      return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? files(path) : [path];
    });
  const holding = (text: string): string[] =>
    files(lab.root).filter(
      (f) => statSync(f, { throwIfNoEntry: false })?.isFile() && readFileSync(f).includes(text),
    );
  assert.deepEqual(holding(key), []);
  assert.equal(
    await inside(
      machines.a,
      `grep -rlF '${key}' /usr/local /etc /run/systemd /var/log /var/lib 2>/dev/null || true`,
    ),
    "/var/lib/local/wireguard/private.key\n",
  );
  const known = (await inside(machines.a, "wg pubkey </var/lib/local/wireguard/private.key")).trim();
  assert.ok(holding(known).some((f) => f.endsWith("facts/probed/a.json")));
});

test("guests of two machines' networks reach each other under their own addresses, IPv4 and IPv6", async () => {
  const { machines } = await theFleet();
  const guest = async (name: "a" | "b"): Promise<{ four: string; six: string }> => {
    const env = await inside(machines[name], `cat /run/local/ip/l${name}.env`);
    const value = (key: string): string => new RegExp(`^${key}=(.*)$`, "m").exec(env)?.[1] ?? "";
    const four = value("IP4_LAST");
    const six = `${value("IP6_PREFIX").replace(/\/64$/, "")}77`;
    await inside(
      machines[name],
      `set -e; ip netns add guest; ip link add v0 type veth peer name eth0 netns guest; ip link set v0 master l${name} up
       ip -n guest link set lo up; ip -n guest link set eth0 up
       ip -n guest address add ${four}/24 dev eth0; ip -n guest address add ${six}/64 dev eth0 nodad
       ip -n guest route add default via ${value("IP4_ADDRESS")}; ip -n guest route replace default via ${value("IP6_ADDRESS")}`,
    );
    return { four, six };
  };
  const a = await guest("a");
  const b = await guest("b");
  const from = (address: string): Promise<string> =>
    inside(
      machines.a,
      `for i in 1 2 3 4 5; do ip netns exec guest ping -c1 -W1 ${address} >/dev/null && echo yes && exit; done; echo no`,
    );
  assert.equal(await from(b.four), "yes\n");
  assert.equal(await from(b.six), "yes\n");
  assert.match(await inside(machines.b, `ip route get ${a.four}`), / dev wg0 /);
  // Both machines have the layer firewall, and it is its drop-in that lets this pass.
  const file = "/usr/local/etc/nftables.d/50-wireguard.nft";
  await inside(machines.b, `mv ${file} /root/; systemctl reload nftables`);
  assert.deepEqual([await from(b.four), await from(b.six)], ["no\n", "no\n"]);
  await inside(machines.b, `mv /root/50-wireguard.nft ${file}; systemctl reload nftables`);
  assert.deepEqual([await from(b.four), await from(b.six)], ["yes\n", "yes\n"]);
  await Promise.all([machines.a, machines.b].map((m) => inside(m, "ip netns del guest")));
});

test("machines with the layer dns ask each other through the link, firewalls or not", async () => {
  const { machines, addresses } = await theFleet();
  const query = (type: string, name: string): Promise<string> =>
    inside(machines.a, `timeout 10 resolvectl query --legend=no --type=${type} ${name} 2>&1 || echo none`);
  const gateway = /^IP6_ADDRESS=(.*)$/m.exec(await inside(machines.b, "cat /run/local/ip/lb.env"))?.[1] ?? "";
  assert.ok(gateway);
  assert.ok((await query("AAAA", "b.lb.b.lan")).includes(gateway));
  assert.ok((await query("AAAA", "b.lan")).includes(addresses.b));
  assert.match(
    await inside(machines.a, "cat /run/local/dns/servers"),
    new RegExp(`/b\\.lan/${addresses.b}#1053`),
  );
  // The control: there is no other way.
  await inside(machines.b, "systemctl stop wireguard");
  assert.match(await query("AAAA", "b.lb.b.lan"), /none/);
  await inside(machines.b, "systemctl start wireguard");
  assert.equal(await reaches(machines.b, addresses.a), "yes\n");
});

test("a client's file works in wg-quick as it is; taken away, it is locked out by the push, and the others notice nothing", async () => {
  const { lab, machines, addresses } = await theFleet();
  const road = await bootMachine(await theBed());
  const added = await lab.expect(0, ["wireguard", "add", "phone", "a"]);
  assert.match(
    added.stderr,
    /^facts\/a\.json: client phone added; its private key is above and nowhere else$/m,
  );
  const secret = /^PrivateKey = (.*)$/m.exec(added.stdout)?.[1] ?? "";
  assert.ok(!lab.read("facts/a.json").includes(secret));
  await lab.expect(0, ["push", "a"]);
  // The machine's firewall has the port open by the layer's drop-in: nobody there calls the client first.
  const port = "inet labctl external_ports { udp . 51820 }";
  await inside(machines.a, `nft delete element ${port}`);
  await inside(road, `cat >/root/phone.conf <<'E'\n${added.stdout}E\nwg-quick up /root/phone.conf 2>&1`);
  assert.equal(await reaches(road, addresses.a), "no\n");
  await inside(machines.a, `nft add element ${port}`);
  // A handshake that was not answered is tried again after five seconds.
  await inside(road, `for i in $(seq 8); do ping -c1 -W1 ${addresses.a} >/dev/null && break; done`);
  assert.equal(await reaches(road, addresses.a), "yes\n");
  // Through its machine to another one.
  assert.equal(await reaches(road, addresses.b), "yes\n");
  const sessions = (): Promise<string> =>
    inside(
      machines.a,
      "wg show wg0 latest-handshakes | sort | while read -r key at; do echo $key $((at > 0)); done; systemctl show -P InvocationID wireguard",
    );
  const before = await sessions();
  await lab.expect(0, ["wireguard", "remove", "phone", "a"]);
  await lab.expect(0, ["push", "a"]);
  assert.equal(await reaches(road, addresses.a), "no\n");
  const after = await sessions();
  const lost = before.split("\n").filter((line) => !after.split("\n").includes(line));
  assert.equal(lost.length, 1, `${before}\n${after}`);
});

test("wireguard-go that dies comes back with its peers", async (t) => {
  const { machines, addresses } = await theFleet();
  if ((await inside(machines.b, "pgrep -x wireguard-go || true")) === "")
    return t.diagnostic("the kernel has WireGuard, so there is no process to kill");
  await inside(machines.b, "pkill -KILL -x wireguard-go; sleep 0.2");
  await inside(
    machines.b,
    "for i in $(seq 100); do /usr/local/lib/labctl/check.d/wireguard >/dev/null && exit; sleep 0.1; done; exit 1",
  );
  assert.equal(await reaches(machines.b, addresses.a), "yes\n");
});

test("after a boot the link is back, under the same key", async () => {
  const { machines, addresses } = await theFleet();
  const key = await inside(machines.b, "cat /var/lib/local/wireguard/public.key");
  unwrap(await machines.b.restart());
  await inside(
    machines.b,
    "for i in $(seq 300); do systemctl is-active -q wireguard && break; sleep 0.1; done; /usr/local/lib/labctl/check.d/wireguard",
  );
  assert.equal(await inside(machines.b, "wg show wg0 public-key"), key);
  assert.equal(await reaches(machines.b, addresses.a), "yes\n");
});

test("a name that nobody knows costs no other peer anything, and is asked for again", async () => {
  const { lab, machines, addresses } = await theFleet();
  const own = { ...JSON.parse(lab.read("facts/all.json")).WIREGUARD_ENDPOINTS, a: "later.test:51820" };
  lab.write({ "facts/c.json": JSON.stringify({ WIREGUARD_ENDPOINTS: own }) });
  await lab.expect(0, ["push", "c"]);
  assert.equal(await reaches(machines.c, addresses.b), "yes\n");
  assert.match(
    await inside(machines.c, "journalctl -o cat -u wireguard"),
    /nobody knows the address of later\.test; it is asked for again every two minutes/,
  );
  await inside(
    machines.c,
    `systemctl is-active wireguard-names.timer; echo 203.0.113.9 later.test >>/etc/hosts; systemctl start wireguard-names
     wg show wg0 endpoints | grep -F 203.0.113.9:51820; sed -i /later.test/d /etc/hosts`,
  );
  lab.remove("facts/c.json");
  await lab.expect(0, ["push", "c"]);
  assert.equal(await reaches(machines.c, addresses.a), "yes\n");
});

test("a machine that loses the layer is locked out by the push to the others", async () => {
  const { lab, machines, addresses } = await theFleet();
  assert.equal(await reaches(machines.c, addresses.a), "yes\n");
  lab.edit("machines/c/machine.ini", "layers = wireguard", "layers = base");
  await lab.expect(0, ["push", "a", "b"]);
  // It does not know yet, and asks all the same.
  assert.match(await inside(machines.c, "wg show wg0 peers"), /=\n/);
  assert.equal(await reaches(machines.c, addresses.a), "no\n");
  assert.equal(await reaches(machines.a, addresses.b), "yes\n");
  await lab.expect(0, ["push", "c"]);
  assert.equal(await inside(machines.c, "ip -o link show wg0 2>/dev/null || echo gone"), "gone\n");
});

test("a key that is none is refused by the machine, and the push taken back", async () => {
  const { lab, machines, addresses } = await theFleet();
  lab.write({ "facts/a.json": JSON.stringify({ WIREGUARD_CLIENTS: { odd: "no key" } }) });
  const refused = await lab.expect(1, ["push", "a"]);
  assert.match(refused.stderr, /Key is not the correct length or format: `no ?key'/);
  assert.equal(await reaches(machines.a, addresses.b), "yes\n");
});

test("what runs is sandboxed", async (t) => {
  const { machines } = await theFleet();
  await assertSandboxed(t, machines.a, ["wireguard", "wireguard-names"]);
});
