/**
 * Names on three real machines: each answers for its own guests and asks the others for theirs, and a fourth plays what is
 * outside, with a real DNS server that can be cut off and that lies. Guests are namespaces with a DHCP client.
 */
import assert from "node:assert/strict";
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
  readonly world: Machine;
}

let prepared: Promise<Fleet> | undefined;

/** a and b have a network each and the layer firewall, c has neither; the world's server knows two names, and lies in others. */
function theFleet(): Promise<Fleet> {
  prepared ??= theBed().then(async (bed) => {
    const [world, ...booted] = await Promise.all(["world", ...NAMES].map(() => bootMachine(bed)));
    assert.ok(world);
    const machines = Object.fromEntries(NAMES.map((name, i) => [name, booted[i]])) as Record<Name, Machine>;
    await outside(world);
    const lab = labFor(bed, "nowhere");
    for (const name of ["attic", "demo", "gateway", "storage"]) lab.remove(`machines/${name}`);
    for (const name of NAMES) {
      const network = name === "c" ? "" : `[network lab]\nipv4 = /${name === "a" ? 26 : 24}\n`;
      lab.write({
        [`machines/${name}/machine.ini`]: `[machine]\nhost = ${machines[name].name}\nlayers = ${name === "c" ? "dns" : "firewall, dns"}\n${name === "c" ? "" : "instances = bridge@lab.service\n"}${network}`,
      });
    }
    lab.write({
      "facts/all.json": JSON.stringify({ DNS_UPSTREAM: [world.address] }),
      "facts/b.json": JSON.stringify({ DNS_NAMES: { printer: ["10.97.9.9", "fd97::99"] } }),
    });
    await lab.expect(0, ["facts", "probe", ...NAMES]);
    await lab.expect(0, ["ip", "plan", "--write"]);
    await lab.expect(0, ["push", ...NAMES]);
    await inside(machines.a, guest("lab", "one"));
    await inside(machines.b, guest("lab", "web"));
    return { lab, machines, world };
  });
  return prepared;
}

/** What is outside: a name of its own, and four that lead to private addresses. It lists what it was asked. */
function outside(world: Machine): Promise<string> {
  const records = [
    "www.example.org,93.184.215.7,2606:2800::7",
    "evil.example.org,192.168.1.1",
    "evil6.example.org,fd00::1",
    "loop.example.org,127.0.0.1",
    "own.corp.example,10.99.0.1",
  ];
  return inside(
    world,
    `systemd-run -q --unit=outside dnsmasq --keep-in-foreground --bind-interfaces --interface=host0 --except-interface=lo --user=root --no-resolv --no-hosts --log-queries --log-facility=/run/asked ${records.map((r) => `--host-record=${r}`).join(" ")}
     for i in $(seq 50); do [ -s /run/asked ] && break; sleep 0.1; done`,
  );
}

/** A namespace with a cable to a network, a DHCP client, and SLAAC. */
function guest(network: string, name: string): string {
  return `set -e; ip netns add ${name}; ip link add v-${name} type veth peer name eth0 netns ${name}; ip link set v-${name} master ${network} up
    ip -n ${name} link set lo up; ip -n ${name} link set eth0 up
    printf '#!/bin/sh\\n[ "$1" = bound ] || exit 0\\nip address add $ip/$mask dev $interface; ip route add default via $router\\n' >/run/dhcp-${name}; chmod +x /run/dhcp-${name}
    ip netns exec ${name} busybox udhcpc -i eth0 -n -q -t 40 -T 1 -x hostname:${name} -s /run/dhcp-${name} >/dev/null 2>&1`;
}

interface Asking {
  /** Default: the machine's resolved, as programs do. */
  readonly server?: string;
  /** Asks from a guest. */
  readonly from?: string;
}

/** Answers of real queries, sorted and joined by blanks, or the error's code. `name` or `name/TYPE`. */
async function ask(machine: Machine, questions: readonly string[], asking: Asking = {}): Promise<string[]> {
  const program = `const { Resolver } = require("dns").promises; const r = new Resolver({ timeout: 1500, tries: 1 });
    r.setServers(["${asking.server ?? "127.0.0.53"}"]);
    Promise.all(${JSON.stringify(questions)}.map((q) => { const [name, type = "A"] = q.split("/");
      return (type === "PTR" ? r.reverse(name) : r.resolve(name, type)).then((l) => l.flat().sort().join(" "), (e) => e.code); }))
      .then((l) => console.log(JSON.stringify(l)))`;
  const run = asking.from ? `ip netns exec ${asking.from} ` : "";
  return JSON.parse(await inside(machine, `${run}node -e '${program}'`)) as string[];
}

/** The guest's addresses, once it has both. */
async function addressesOf(machine: Machine, name: string): Promise<{ four: string; six: string }> {
  const shown = await inside(
    machine,
    `for i in $(seq 100); do ip -n ${name} -o -6 address show dev eth0 scope global -tentative | grep -q inet6 && break; sleep 0.1; done; ip -n ${name} -o address show dev eth0 scope global`,
  );
  const four = /inet (\S+)\//.exec(shown)?.[1] ?? "";
  const six = /inet6 (\S+)\//.exec(shown)?.[1] ?? "";
  assert.ok(four && six, shown);
  return { four, six };
}

const check = (machine: Machine): Promise<string> => inside(machine, "/usr/local/lib/labctl/check.d/dns");

test("from any machine, guests and machines of all have their names; a resolver that is down costs its own guests only", async () => {
  const { machines } = await theFleet();
  const web = await addressesOf(machines.b, "web");
  const one = await addressesOf(machines.a, "one");
  const questions = ["web.lab.b.lan", "one.lab.a.lan", "b.lan", "a.lan", "b.lab.b.lan", "nobody.lab.b.lan"];
  const gateway = (await inside(machines.b, "sed -n 's/^IP4_ADDRESS=//p' /run/local/ip/lab.env")).trim();
  const wanted = [web.four, one.four, machines.b.address, machines.a.address, gateway, "ENOTFOUND"];
  for (const name of NAMES) assert.deepEqual(await ask(machines[name], questions), wanted, name);
  assert.deepEqual(await ask(machines.a, questions, { from: "one", server: gateway }), wanted);
  // The guest's name follows from SLAAC, too: DHCP's name, and the address that its MAC leads to.
  for (let i = 0; i < 40; i++) {
    const [six] = await ask(machines.c, ["web.lab.b.lan/AAAA"]);
    if (six === web.six) break;
    assert.ok(i < 39, `${six} instead of ${web.six}`);
  }
  await inside(machines.b, "systemctl stop dns");
  const [down, itself, other] = await ask(machines.a, ["web.lab.b.lan", "b.lan", "one.lab.a.lan"]);
  assert.match(String(down), /^E(TIMEOUT|SERVFAIL|REFUSED|CONNREFUSED)$/);
  assert.deepEqual([itself, other], [machines.b.address, one.four]);
  await inside(machines.b, "systemctl start dns");
  // The resolver that asks it may be at its next try of a question from before.
  for (let i = 0; i < 4; i++) {
    const [again] = await ask(machines.a, ["web.lab.b.lan"]);
    if (again === web.four) break;
    assert.ok(i < 3, `${again} instead of ${web.four}`);
  }
});

test("a new guest has its name on another machine within a second, though that was asked for it before", async (t) => {
  const { machines } = await theFleet();
  const took: number[] = [];
  // The host may be busy with something else: the best of three.
  while (took.length < 3 && !took.some((ms) => ms < 1000)) {
    const name = `new${took.length}`;
    assert.deepEqual(await ask(machines.a, [`${name}.lab.b.lan`]), ["ENOTFOUND"]);
    const seen = inside(
      machines.a,
      `node -e 'const r = new (require("dns").promises.Resolver)({ timeout: 500, tries: 1 }); r.setServers(["127.0.0.53"]);
         const go = () => r.resolve4("${name}.lab.b.lan").then(() => process.exit(console.log(Date.now())), () => setTimeout(go, 20)); go(); setTimeout(() => process.exit(1), 20000)'`,
    );
    const started = Number((await inside(machines.b, `date +%s%3N; ${guest("lab", name)}`)).split("\n")[0]);
    took.push(Number(await seen) - started);
  }
  t.diagnostic(
    `${took.join(", ")} ms from the start of the guest's namespace to its name on another machine`,
  );
  assert.ok(Math.min(...took) < 1000, `${took} ms`);
});

test("a network that no file declares has its names while it runs, on all machines, and none afterwards", async () => {
  const { machines } = await theFleet();
  await inside(machines.a, `systemctl start bridge@scratch; ${guest("scratch", "brief")}`);
  const { four } = await addressesOf(machines.a, "brief");
  assert.deepEqual(await ask(machines.b, ["brief.scratch.a.lan"]), [four]);
  await check(machines.a);
  await inside(machines.a, "ip netns del brief; systemctl stop bridge@scratch; sleep 0.5");
  assert.deepEqual(await ask(machines.b, ["brief.scratch.a.lan"]), ["ENOTFOUND"]);
  assert.doesNotMatch(
    await inside(machines.a, "cat /run/local/dns/servers; nft list table inet dns"),
    /scratch/,
  );
});

test("static names, and addresses of all kinds, lead to each other; those that nobody has are not asked for outside", async () => {
  const { machines, world } = await theFleet();
  const web = await addressesOf(machines.b, "web");
  for (const name of ["a", "c"] as const) {
    const answers = await ask(machines[name], [
      "printer.b.lan",
      "printer.b.lan/AAAA",
      `${web.four}/PTR`,
      `${web.six}/PTR`,
      `${machines.b.address}/PTR`,
      "10.97.9.9/PTR",
      "10.1.2.3/PTR",
      "fd12::3/PTR",
      "nobody.lan",
    ]);
    assert.deepEqual(
      answers.map((answer) => answer.toLowerCase()),
      [
        "10.97.9.9",
        "fd97::99",
        "web.lab.b.lan",
        "web.lab.b.lan",
        "b.lan",
        // That machine's own matter: its address lies in no network of it.
        "enotfound",
        "enotfound",
        "enotfound",
        "enotfound",
      ],
      name,
    );
  }
  assert.deepEqual(await ask(machines.b, ["10.97.9.9/PTR"]), ["printer.b.lan"]);
  // The control: what is outside is asked for there.
  assert.deepEqual(await ask(machines.a, ["www.example.org", "www.example.org/AAAA"]), [
    "93.184.215.7",
    "2606:2800::7",
  ]);
  const asked = await inside(world, "cat /run/asked");
  assert.match(asked, /query\[A\] www\.example\.org/);
  assert.doesNotMatch(asked, /\.lan |arpa/);
});

test("guests' questions are led to the machine's resolver, whomever they ask, unless their network is excepted", async () => {
  const { lab, machines } = await theFleet();
  const stranger = (server: string): Promise<string[]> =>
    ask(machines.a, ["www.example.org", "web.lab.b.lan"], { from: "one", server });
  const web = await addressesOf(machines.b, "web");
  assert.deepEqual(await stranger("203.0.113.53"), ["93.184.215.7", web.four]);
  assert.deepEqual(await stranger("[2001:db8::53]"), ["93.184.215.7", web.four]);
  // TCP, too: a stranger's address answers.
  await inside(machines.a, "ip netns exec one timeout 3 bash -c 'exec 3<>/dev/tcp/203.0.113.53/53'");
  assert.match(
    await inside(machines.a, "nft list chain inet dns led"),
    /iifname @networks .* counter packets [1-9]/,
  );
  lab.write({ "facts/a.json": JSON.stringify({ DNS_REDIRECT_EXCEPT: ["lab"] }) });
  await lab.expect(0, ["push", "a"]);
  assert.deepEqual(await stranger("203.0.113.53"), ["ETIMEOUT", "ETIMEOUT"]);
  // Their network's own DNS answers them all the same.
  const gateway = (await inside(machines.a, "sed -n 's/^IP4_ADDRESS=//p' /run/local/ip/lab.env")).trim();
  assert.deepEqual(await stranger(gateway), ["93.184.215.7", web.four]);
  lab.remove("facts/a.json");
  await lab.expect(0, ["push", "a"]);
  assert.deepEqual(await stranger("203.0.113.53"), ["93.184.215.7", web.four]);
});

test("with what is outside cut off, local names answer as before", async () => {
  const { machines, world } = await theFleet();
  const web = await addressesOf(machines.b, "web");
  await inside(
    world,
    "nft add table inet cut; nft 'add chain inet cut in { type filter hook input priority 0; }'; nft add rule inet cut in udp dport 53 drop; nft add rule inet cut in tcp dport 53 drop",
  );
  try {
    // Each question has a second and a half: what waited for the outside would have no answer.
    const answers = await ask(machines.a, [
      "web.lab.b.lan",
      `${web.four}/PTR`,
      "b.lan",
      "printer.b.lan",
      "one.lab.a.lan/A",
    ]);
    assert.deepEqual(answers.slice(0, 4), [web.four, "web.lab.b.lan", machines.b.address, "10.97.9.9"]);
    // The control.
    assert.match(String(await ask(machines.a, ["cut.example.org"])), /E(TIMEOUT|SERVFAIL)/);
  } finally {
    await inside(world, "nft delete table inet cut");
  }
  assert.deepEqual(await ask(machines.a, ["www.example.org"]), ["93.184.215.7"]);
});

test("an answer from outside that leads to a private address is none, for machines and guests; a zone may be let off", async () => {
  const { lab, machines, world } = await theFleet();
  const lies = ["evil.example.org", "evil6.example.org/AAAA", "loop.example.org", "own.corp.example"];
  assert.deepEqual(await ask(machines.c, lies, { server: world.address }), [
    "192.168.1.1",
    "fd00::1",
    "127.0.0.1",
    "10.99.0.1",
  ]);
  for (const asking of [{}, { from: "one", server: "203.0.113.53" }])
    for (const answer of await ask(machines.a, lies, asking))
      assert.match(answer, /^E(NODATA|REFUSED|NOTFOUND|SERVFAIL)$/);
  lab.write({ "facts/c.json": JSON.stringify({ DNS_ZONES: { "corp.example": [world.address] } }) });
  await lab.expect(0, ["push", "c"]);
  const [evil, , , own] = await ask(machines.c, lies);
  assert.match(String(evil), /^E/);
  assert.equal(own, "10.99.0.1");
  lab.remove("facts/c.json");
  await lab.expect(0, ["push", "c"]);
});

test("strangers get no answer, with the firewall and without it; DNS_CLIENTS do, on port 53", async () => {
  const { lab, machines, world } = await theFleet();
  const tries = async (machine: Machine): Promise<string[]> =>
    (
      await Promise.all(
        [`${machine.address}:1053`, machine.address].map((server) => ask(world, ["b.lan"], { server })),
      )
    ).flat();
  for (const answer of (await Promise.all([tries(machines.a), tries(machines.c)])).flat())
    assert.match(answer, /^E(TIMEOUT|CONNREFUSED)$/);
  lab.write({ "facts/a.json": JSON.stringify({ DNS_CLIENTS: [`${world.address}/32`] }) });
  await lab.expect(0, ["push", "a"]);
  assert.deepEqual(await tries(machines.a), [machines.b.address, machines.b.address]);
  lab.remove("facts/a.json");
  await lab.expect(0, ["push", "a"]);
});

const byMdns = (from: Machine, whom: Machine): Promise<string> =>
  inside(from, `timeout 3 resolvectl query -4 ${whom.name}.local 2>&1 || true`);

/** Its name is announced some time after resolved was told to. */
async function assertFoundByMdns(from: Machine, whom: Machine): Promise<void> {
  let answer = "";
  for (let i = 0; i < 5 && !answer.includes(whom.address); i++) answer = await byMdns(from, whom);
  assert.ok(answer.includes(whom.address), answer);
}

test("mDNS is spoken on the links that want it, and on no other", async () => {
  const { lab, machines } = await theFleet();
  lab.write({
    "facts/all.json": JSON.stringify({ ...JSON.parse(lab.read("facts/all.json")), DNS_MDNS: ["host0"] }),
  });
  await lab.expect(0, ["push", "a", "b"]);
  await assertFoundByMdns(machines.a, machines.b);
  // Not "no answer at all": where resolved takes an echo for another's claim it counts its own name up, p3 to p4.
  assert.ok(!(await byMdns(machines.a, machines.c)).includes(machines.c.address));
  assert.match(await inside(machines.a, "resolvectl mdns lab"), /: no/);
});

test("after a boot a machine has its names, mDNS too, and the others have them; mDNS that is no longer wanted is gone", async () => {
  const { lab, machines } = await theFleet();
  const questions = ["b.lab.b.lan", "printer.b.lan", "b.lan"];
  const before = await ask(machines.a, questions);
  unwrap(await machines.b.restart());
  await inside(
    machines.b,
    "for i in $(seq 200); do systemctl is-active -q bridge-dhcp@lab dns dns-rules dns-mdns && break; sleep 0.1; done; /usr/local/lib/labctl/check.d/dns",
  );
  assert.deepEqual(await ask(machines.a, questions), before);
  assert.deepEqual(await ask(machines.b, ["www.example.org", "one.lab.a.lan"]), [
    "93.184.215.7",
    (await addressesOf(machines.a, "one")).four,
  ]);
  await assertFoundByMdns(machines.a, machines.b);
  const { DNS_UPSTREAM } = JSON.parse(lab.read("facts/all.json"));
  lab.write({ "facts/all.json": JSON.stringify({ DNS_UPSTREAM }) });
  await lab.expect(0, ["push", "a", "b"]);
  assert.doesNotMatch(await byMdns(machines.a, machines.b), /10\.97/);
  assert.equal(await inside(machines.a, "find /run/systemd/network -name '60-mdns.conf'"), "");
});

test("a resolver that is killed comes back with its rules; what uplinks say is followed where nothing is declared", async () => {
  const { lab, machines, world } = await theFleet();
  await inside(
    machines.c,
    "kill -KILL $(cat /run/local/dns/pid); sleep 0.1; for i in $(seq 50); do systemctl is-active -q dns && nft list table inet dns >/dev/null 2>&1 && break; sleep 0.1; done; nft list table inet dns >/dev/null",
  );
  await check(machines.c);
  lab.write({ "facts/c.json": JSON.stringify({ DNS_UPSTREAM: [] }) });
  await lab.expect(0, ["push", "c"]);
  assert.notDeepEqual(await ask(machines.c, ["www.example.org"]), ["93.184.215.7"]);
  await inside(
    machines.c,
    `resolvectl dns host0 ${world.address}; for i in $(seq 50); do grep -q ${world.address} /run/local/dns/upstream && break; sleep 0.1; done`,
  );
  // It reads the file a moment after that is there.
  for (let i = 0; i < 5 && (await ask(machines.c, ["www.example.org"]))[0] !== "93.184.215.7"; i++);
  assert.deepEqual(await ask(machines.c, ["www.example.org"]), ["93.184.215.7"]);
});

test("what is no address is refused: names by the build, servers by the machine, whose resolver goes on", async () => {
  const { lab, machines } = await theFleet();
  const refused = async (facts: object, code: RegExp): Promise<void> => {
    lab.write({ "facts/a.json": JSON.stringify(facts) });
    assert.match((await lab.expect(1, ["push", "a"])).stderr, code);
  };
  await refused(
    { DNS_NAMES: { nas: ["10.0.0.300"] } },
    /layers\/dns\/etc\/dns\/hosts\.hbs:\d+:\d+: .*10\.0\.0\.300/,
  );
  await refused({ DNS_CLIENTS: ["10.0.0.0/33"] }, /error\[/);
  await refused({ DNS_UPSTREAM: ["nonsense"] }, /error\[/);
  lab.remove("facts/a.json");
  await lab.expect(0, ["push", "a"]);
  // resolved asks a server that was away for a moment again after a while.
  for (let i = 0; i < 8 && (await ask(machines.a, ["b.lan"]))[0] !== machines.b.address; i++);
  assert.deepEqual(await ask(machines.a, ["b.lan"]), [machines.b.address]);
  await check(machines.a);
});

test("what runs is sandboxed, and verify finds nothing", async (t) => {
  const { lab, machines } = await theFleet();
  await assertSandboxed(t, machines.a, ["dns", "dns-rules", "dns-mdns", "dns-upstream"]);
  t.diagnostic(
    await inside(
      machines.a,
      "grep -h Pss: /proc/$(cat /run/local/dns/pid)/smaps_rollup; grep VmRSS /proc/$(cat /run/local/dns/pid)/status",
    ),
  );
  const verified = await lab.run(["verify", "--json"]);
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);
});

test("without the layer the machine asks its uplinks again, and nothing of it is left", async () => {
  const { lab, machines } = await theFleet();
  lab.edit("machines/c/machine.ini", "layers = dns", "layers = network");
  await lab.expect(0, ["push", "c"]);
  assert.deepEqual(await ask(machines.c, ["www.example.org"]), ["93.184.215.7"]);
  assert.match(await inside(machines.c, "getent hosts www.example.org"), /2606:2800::7|93\.184\.215\.7/);
  const left = await inside(
    machines.c,
    "resolvectl status; nft list ruleset; ls /run/local /run/systemd/network; ss -lnu; systemctl list-units --all --plain --no-legend 'dns*'",
  );
  assert.doesNotMatch(left, /:1053|inet dns|mdns\.conf|\bdns(-\w+)?\.(service|path)/);
});
