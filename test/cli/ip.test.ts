/** `labctl ip`: refusals, then plans, the ledger and merges of it; the real program, Git where there are branches. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const ID = "0123456789abcdef0123456789abcdef";
const OTHER_ID = "4c1f5e0c7b8d4a0e9a3b2f6d1e8c7a55";
const BASE: Files = { "layers/base/layer.ini": "[layer]\n" };

function machine(name: string, networks: string): Files {
  return { [`machines/${name}/machine.ini`]: `[machine]\nhost = ${name}.lan\n${networks}` };
}

function probed(name: string, facts: object): Files {
  const text = JSON.stringify({ probedAt: "2026-11-21T00:00:00Z", facts }, null, 2);
  return { [`facts/probed/${name}.json`]: text };
}

function lab(t: TestContext, ...files: readonly Files[]): Scenario {
  const s = scenario(Object.assign({}, BASE, ...files));
  t.after(() => s.end());
  return s;
}

const ledgerOf = (s: Scenario): string => readFileSync(join(s.root, "facts/ipam.json"), "utf8");

test("bad networks and reservations are refused all at once, each where it stands", (t) => {
  const s = lab(
    t,
    machine(
      "m",
      "[network lan]\nipv4 = /31\n[network averylongnetwork]\n[network Dmz]\n[network all]\n[network x]\nipv4 = 10.0.0.1/24\n[network y]\nipv4 = big\n",
    ),
    { "lab.ini": "[reserved]\nten = 10.0.0.0/8\nvpn = 10.8.0.0/16\nv6 = fd00::/8\n" },
  );
  const refused = s.run(["ip", "plan"]);
  assert.equal(refused.code, 1);
  assert.equal(refused.stdout, "");
  assert.equal(
    refused.stderr,
    [
      "error[ip-bad-size] machines/m/machine.ini:4:1: a network can't have the size `/31`",
      "  a network goes from /8 to /30: a /31 has no room for the bridge and a guest beside the network's own two addresses",
      "  help: write `ipv4 = /24` for 254 addresses, or `ipv4 = 10.0.0.0/24` for these very ones",
      "error[ip-link-name] machines/m/machine.ini:5:1: `averylongnetwork` can't be the name of a network on machine `m`",
      "  it becomes the name of an interface, which has at most 15 bytes; this one has 16",
      "  help: rename it",
      "error[ip-link-name] machines/m/machine.ini:6:1: `Dmz` can't be the name of a network on machine `m`",
      "  it becomes the name of an interface and of a domain: lower-case letters, digits and `-`, first a letter, last no `-`",
      "  help: rename it",
      "error[ip-link-name] machines/m/machine.ini:7:1: `all` can't be the name of a network on machine `m`",
      "  the kernel uses it for something else",
      "  help: rename it",
      "error[ip-host-bits] machines/m/machine.ini:9:1: ipv4 = `10.0.0.1/24` is an address in a network, not a network",
      "  help: did you mean `10.0.0.0/24`?",
      "error[ip-bad-prefix] machines/m/machine.ini:11:1: ipv4 = `big` is no IPv4 prefix",
      "  help: write it like 10.0.0.0/24",
      "error[ip-overlap] lab.ini:3:1: reservation `vpn` (10.8.0.0/16) and reservation `ten` (10.0.0.0/8) overlap",
      "  lab.ini:2: reservation `ten`",
      "  help: change one of the two",
      "error[ip-bad-prefix] lab.ini:4:1: v6 = `fd00::/8` is no IPv4 prefix",
      "  help: write it like 10.0.0.0/24",
    ].join("\n"),
  );
});

test("a network can't have the name of a physical link, or a machine that of a file of facts", (t) => {
  const links = { HOST_LINKS: [{ name: "eth0", kind: "physical", addresses: [] }] };
  const s = lab(t, machine("m", "[network eth0]\n[network wg0]\n"), probed("m", links));
  assert.match(
    s.run(["ip", "plan"]).stderr,
    /\[ip-link-name\].*`eth0`.*\n {2}a physical link of that machine has it\n.*\n.*\[ip-link-name\].*`wg0`.*\n {2}the layer wireguard makes a link of that name/,
  );
  const other = lab(t, machine("ipam", ""));
  assert.equal(
    other.run(["build"]).stderr,
    [
      "error[bad-name] machines/ipam: `ipam` can't be the name of a machine",
      "  facts/ipam.* and facts/ipam/ are for something else",
      "  help: rename it",
    ].join("\n"),
  );
});

test("two machines with one id are refused at build and by the check, and the id is not shown", (t) => {
  const s = lab(t, machine("a", ""), machine("b", ""), machine("c", ""), {
    ...probed("a", { HOST_MACHINE_ID: ID }),
    ...probed("b", { HOST_MACHINE_ID: ID }),
    ...probed("c", { HOST_MACHINE_ID: OTHER_ID }),
  });
  const text = [
    "error[ip-same-id] facts/probed/b.json: machines `a` and `b` have one and the same machine-id",
    "  they would have the same IPv6 addresses; copies of one image share its id",
    "  two machine.ini files that lead to one host show this, too",
    "  help: on `b`: `rm /etc/machine-id && systemd-machine-id-setup && reboot`, then `labctl facts probe b`",
  ].join("\n");
  // The machine that is built is not among the two.
  for (const args of [["build", "c"], ["build"], ["ip", "check"], ["ip", "plan"]])
    assert.deepEqual(s.run(args), { code: 1, stdout: "", stderr: text }, args.join(" "));
  s.write(probed("b", { HOST_MACHINE_ID: "b5d0f2a98e1c4d37a6f09b8c7d6e5f40" }));
  assert.equal(s.run(["build", "c"]).code, 0);
});

test("two machines whose different ids lead to one prefix are refused at build, by name", (t) => {
  // Found by trying a million ids.
  const [one, other] = ["be2ed2040d947e823d9328e5e4cf14f2", "5f16483ccec2610811d2738d34a80079"];
  const s = lab(t, machine("a", ""), machine("b", ""), {
    ...probed("a", { HOST_MACHINE_ID: one }),
    ...probed("b", { HOST_MACHINE_ID: other }),
  });
  const text = [
    "error[ip-same-prefix] facts/probed/b.json: machines `a` and `b` have different ids that lead to one IPv6 prefix, fd36:685c:ca1a::/48",
    "  among 10,000 machines this happens to one fleet in 22,000: docs/addressing.md",
    "  help: give `b` a new id: `rm /etc/machine-id && systemd-machine-id-setup && reboot`, then `labctl facts probe b`",
  ].join("\n");
  for (const args of [["build"], ["ip", "check"]])
    assert.deepEqual(s.run(args), { code: 1, stdout: "", stderr: text }, args.join(" "));
  s.write(probed("b", { HOST_MACHINE_ID: OTHER_ID }));
  assert.equal(s.run(["build"]).code, 0);
});

test("a network without addresses is not built, and says how it gets some", (t) => {
  const s = lab(t, machine("m", "[network lan]\nipv4 = /24\n"));
  assert.deepEqual(s.run(["build"]), {
    code: 1,
    stdout: "",
    stderr: [
      "error[ip-unallocated] machines/m/machine.ini:4:1: network `lan` of machine `m` has no addresses yet",
      "  looked in: facts/ipam.json",
      "  help: run `labctl ip plan` to see them, `labctl ip plan --write` to keep them, and commit the file",
    ].join("\n"),
  });
});

test("a plan says what would change and exits 2, writes on request, and then has nothing to change", (t) => {
  const s = lab(
    t,
    machine("den", "[network guests]\n"),
    machine("gw", "[network lan]\nipv4 = /24\n[network dmz]\nipv4 = 10.20.0.0/28\n"),
    probed("gw", {
      HOST_MACHINE_ID: ID,
      HOST_LINKS: [{ name: "eth0", kind: "physical", addresses: ["192.168.0.7/24", "fe80::1/64"] }],
      HOST_ROUTES: [
        "default via 192.168.0.1 dev eth0",
        "0.0.0.0/1 dev tun0",
        "192.168.1.0/24 via 192.168.0.9 dev eth0",
      ],
    }),
  );
  const planned = s.run(["ip", "plan"]);
  assert.deepEqual(planned, {
    code: 2,
    stdout: [
      "+ den  guests  no IPv4       subnet 256, not probed",
      "+ gw   dmz     10.20.0.0/28  fdbf:f37c:3666:100::/64",
      // The rest of a block that is broken already, and not a whole one.
      "+ gw   lan     10.20.1.0/24  fdbf:f37c:3666:101::/64",
    ].join("\n"),
    stderr: "3 changes; `labctl ip plan --write` keeps them in facts/ipam.json",
  });
  assert.equal(s.run(["ip", "plan", "--write", "--dry-run"]).code, 2);
  assert.equal(existsSync(join(s.root, "facts/ipam.json")), false);
  const written = s.run(["ip", "plan", "--write"]);
  assert.deepEqual([written.code, written.stderr], [0, "wrote 3 changes to facts/ipam.json; commit it"]);
  const again = s.run(["ip", "plan"]);
  assert.deepEqual([again.code, again.stderr], [0, "nothing to change"]);
  assert.deepEqual(s.run(["ip", "check"]), {
    code: 0,
    stdout: "",
    stderr: "3 allocations, 1 of 2 machines probed: nothing wrong",
  });
  assert.equal(
    s.run(["ip", "show", "gw"]).stdout,
    [
      "gw  (itself)                  fdbf:f37c:3666:0:41b4:95e3:40fc:e40a/64",
      "gw  eth0      192.168.0.7/24  fdbf:f37c:3666:1:41b4:95e3:40fc:e40a/64",
      "gw  dmz       10.20.0.1/28    fdbf:f37c:3666:100:41b4:95e3:40fc:e40a/64",
      "gw  lan       10.20.1.1/24    fdbf:f37c:3666:101:41b4:95e3:40fc:e40a/64",
    ].join("\n"),
  );
  const shown = JSON.stringify(JSON.parse(s.run(["ip", "show", "--json"]).stdout));
  assert.ok(shown.includes('"prefix":"fdbf:f37c:3666::/48"') && !shown.includes(ID));
});

test("templates see networks, and a change of ledger, id or reservation renders their readers alone", (t) => {
  const s = lab(t, machine("m", "layers = a\n[network lan]\nipv4 = /24\n"), machine("n", ""), {
    ...probed("m", { HOST_MACHINE_ID: ID }),
    "layers/a/layer.ini": "[layer]\n",
    "layers/a/etc/lan.hbs":
      "{{machine.networks.lan.ipv4}} {{machine.networks.lan.address4}} {{machine.networks.lan.address6}}\n",
    "layers/a/etc/taken.hbs": "{{join machine.taken}}\n",
    "layers/a/etc/prefix.hbs":
      '{{ula-prefix HOST_MACHINE_ID}} {{ula-subnet HOST_MACHINE_ID 256}} {{ula-address HOST_MACHINE_ID 256 "web"}} {{guest-id HOST_MACHINE_ID "web"}}\n',
    "layers/a/etc/fleet.hbs":
      "{{#each machine.fleet}}{{name}} {{default ipv6 'unprobed'}} {{#each networks}}{{name}}={{ipv4}}{{/each}}; {{/each}}",
    "layers/a/etc/ways.hbs": "{{#each machine.fleet}}{{name}} {{join addresses}}; {{/each}}",
    "layers/a/etc/plain.hbs": "{{machine.name}}\n",
  });
  const at = (file: string): string =>
    readFileSync(join(s.root, "var/tree/m/usr/local/etc", file), "utf8").trim();
  const steps = (): string[] => {
    const done = s.run(["build", "--explain"]);
    assert.equal(done.code, 0, done.stderr);
    return [...`${done.stdout}\n${done.stderr}`.matchAll(/etc\/(\w+)/g)].map(([, name = ""]) => name).sort();
  };
  assert.equal(s.run(["ip", "plan", "--write"]).code, 0);
  steps();
  assert.equal(at("lan"), "192.168.0.0/24 192.168.0.1 fdbf:f37c:3666:100:41b4:95e3:40fc:e40a");
  assert.equal(
    at("prefix"),
    "fdbf:f37c:3666::/48 fdbf:f37c:3666:100::/64 fdbf:f37c:3666:100:5de:a9c5:9305:2e50 b9b6eb41b88960c0a89f93022f2ef5eb",
  );
  assert.equal(at("taken"), "192.168.0.0/24");
  assert.deepEqual(steps(), []);

  s.write(probed("m", { HOST_MACHINE_ID: OTHER_ID }));
  assert.deepEqual(new Set(steps()), new Set(["fleet", "lan", "prefix", "ways"]));
  assert.ok(at("lan").endsWith(" fd48:1629:ad67:100:a846:9f5b:48a2:cde5"));

  // Another machine's id is part of what a fleet is, and nothing else.
  s.write(
    probed("n", {
      HOST_MACHINE_ID: ID,
      HOST_LINKS: [
        { name: "eno1", kind: "physical", addresses: ["10.1.0.2/24", "fe80::1/64", "2001:db8::2/64"] },
        { name: "br0", kind: "virtual", addresses: ["10.2.0.2/24"] },
        { name: "lan", kind: "virtual", addresses: ["10.3.0.1/24"] },
      ],
      HOST_ROUTES: ["default via 10.2.0.1 dev br0", "10.3.0.0/24 dev lan"],
    }),
  );
  assert.deepEqual(new Set(steps()), new Set(["fleet", "ways"]));
  // Its own network is no way to it.
  assert.equal(at("ways"), "m ; n 10.1.0.2,10.2.0.2,2001:db8::2;");
  assert.equal(at("fleet"), "m fd48:1629:ad67::/48 lan=192.168.0.0/24; n fdbf:f37c:3666::/48 ;");

  s.write({ "facts/ipam.json": ledgerOf(s).replace("192.168.0.0", "192.168.5.0") });
  assert.deepEqual(new Set(steps()), new Set(["fleet", "lan", "taken", "ways"]));
  assert.equal(at("lan").split(" ")[1], "192.168.5.1");

  s.write({ "lab.ini": "[reserved]\nvpn = 10.8.0.0/16\n" });
  assert.deepEqual(new Set(steps()), new Set(["taken"]));
  assert.equal(at("taken"), "10.8.0.0/16,192.168.5.0/24");
});

/** A repository under Git whose `main` has allocated a /24 for each of three machines. */
function branched(t: TestContext) {
  const lan = "[network lan]\nipv4 = /24\n";
  const s = lab(t, machine("m1", lan), machine("m2", lan), machine("m3", lan), { ".gitignore": "var/\n" });
  const git = (...args: string[]): string => {
    const who = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    const done = spawnSync("git", [...who, ...args], { cwd: s.root, encoding: "utf8" });
    return `${done.stdout}${done.stderr}`;
  };
  const allocate = (...names: string[]): void => {
    for (const name of names) s.write(machine(name, lan));
    assert.equal(s.run(["ip", "plan", "--write"]).code, 0);
    git("add", "-A");
    git("commit", "-qm", "allocate");
  };
  git("init", "-qb", "main");
  allocate();
  git("branch", "theirs");
  return { s, git, allocate };
}

test("two branches that allocate at once and conflict: the check says which lines collide, and what to do", (t) => {
  const { s, git, allocate } = branched(t);
  allocate("n1");
  git("checkout", "-q", "theirs");
  allocate("n2");
  git("checkout", "-q", "main");
  assert.match(git("merge", "--no-edit", "theirs"), /CONFLICT.*facts\/ipam\.json/);
  for (const args of [["build"], ["ip", "plan"], ["ip", "show"]]) {
    assert.deepEqual(s.run(args), {
      code: 1,
      stdout: "",
      stderr: [
        "error[ip-ledger-conflict] facts/ipam.json:5: an unfinished merge: two branches allocated addresses",
        "  nothing was changed",
        "  help: `labctl ip check` says which allocations of the two collide, and what to do",
      ].join("\n"),
    });
  }
  const explained = s.run(["ip", "check"]);
  assert.equal(explained.code, 1);
  assert.equal(
    explained.stderr,
    [
      "error[ip-ledger-conflict] facts/ipam.json:5: an unfinished merge: two branches allocated addresses",
      "  ours:   n1/lan 192.168.3.0/24, subnet 256",
      "  theirs: n2/lan 192.168.3.0/24, subnet 256",
      "  facts/ipam.json:8: network `lan` of machine `n2` (192.168.3.0/24) and network `lan` of machine `n1` (192.168.3.0/24) overlap",
      "  help: make the file this, which keeps ours where the two collide:",
      '    { "version": 1, "allocations": [',
      '      { "machine": "m1", "network": "lan", "ipv4": "192.168.0.0/24", "subnet": 256 },',
      '      { "machine": "m2", "network": "lan", "ipv4": "192.168.1.0/24", "subnet": 256 },',
      '      { "machine": "m3", "network": "lan", "ipv4": "192.168.2.0/24", "subnet": 256 },',
      '      { "machine": "n1", "network": "lan", "ipv4": "192.168.3.0/24", "subnet": 256 }',
      "    ]}",
      "  help: then `labctl ip plan --write` gives n2/lan other addresses; if theirs is pushed already and ours is not, keep theirs instead",
    ].join("\n"),
  );
  // The way out that it names is one.
  const lines = explained.stderr.split("\n").filter((line) => line.startsWith("    "));
  s.write({ "facts/ipam.json": `${lines.map((line) => line.slice(4)).join("\n")}\n` });
  const planned = s.run(["ip", "plan", "--write"]);
  assert.match(planned.stdout, /^\+ n2 {2}lan {2}192\.168\.4\.0\/24/m);
  assert.equal(s.run(["ip", "check"]).code, 0);
  assert.equal(s.run(["build"]).code, 0);
});

test("two branches that allocate at once and merge in silence: build and check name both lines", (t) => {
  const { s, git, allocate } = branched(t);
  allocate("a");
  git("checkout", "-q", "theirs");
  allocate("z");
  git("checkout", "-q", "main");
  assert.doesNotMatch(git("merge", "--no-edit", "theirs"), /CONFLICT/);
  const text = [
    "error[ip-overlap] facts/ipam.json:6: network `lan` of machine `z` (192.168.3.0/24) and network `lan` of machine `a` (192.168.3.0/24) overlap",
    "  facts/ipam.json:2: network `lan` of machine `a`",
    "  two branches that both allocated, and whose lines did not touch, merge like this without a conflict",
    "  help: delete the line of the one that is not pushed yet, then run `labctl ip plan --write`: it gets other addresses",
  ].join("\n");
  for (const args of [["build"], ["ip", "plan"], ["ip", "check"]])
    assert.deepEqual(s.run(args), { code: 1, stdout: "", stderr: text }, args.join(" "));
});

test("the check finds what became of allocations since: gone networks, new reservations, strangers on links", (t) => {
  const s = lab(t, machine("a", "[network lan]\nipv4 = /24\n[network dmz]\nipv4 = /24\n"), machine("b", ""));
  assert.equal(s.run(["ip", "plan", "--write"]).code, 0);
  const links = (name: string, link: string, address: string, route: string): Files =>
    probed(name, {
      HOST_LINKS: [{ name: link, kind: "virtual", addresses: [address] }],
      HOST_ROUTES: [route],
    });
  // Its own link, and another machine's way to it, are as they should be.
  s.write({
    ...links("a", "lan", "192.168.1.1/24", "192.168.1.0/24 dev lan proto kernel scope link src 192.168.1.1"),
    ...links("b", "eth0", "10.0.0.2/24", "192.168.1.0/24 via 10.0.0.1 dev eth0"),
  });
  assert.equal(s.run(["ip", "check"]).code, 0, s.run(["ip", "check"]).stderr);
  s.write({
    ...machine("a", "[network lan]\nipv4 = /24\n"),
    ...links("b", "docker0", "192.168.1.1/20", "default via 10.0.0.1 dev eth0"),
    "lab.ini": "[reserved]\noffice = 192.168.1.128/25\n",
  });
  assert.equal(
    s.run(["ip", "check"]).stderr,
    [
      "error[ip-gone] facts/ipam.json:2: network `dmz` of machine `a` (192.168.0.0/24) is no longer in its machine.ini",
      "  help: `labctl ip plan --write` releases it",
      "error[ip-in-use] facts/ipam.json:2: network `dmz` of machine `a` (192.168.0.0/24) overlaps 192.168.0.0/20, in use on machine `b` by link `docker0`",
      "  help: if that is a network of its own, delete the line and run `labctl ip plan --write`; if not, probe that machine again",
      "error[ip-in-use] facts/ipam.json:3: network `lan` of machine `a` (192.168.1.0/24) overlaps 192.168.0.0/20, in use on machine `b` by link `docker0`",
      "  help: if that is a network of its own, delete the line and run `labctl ip plan --write`; if not, probe that machine again",
      "error[ip-overlap] facts/ipam.json:3: network `lan` of machine `a` (192.168.1.0/24) and reservation `office` (192.168.1.128/25) overlap",
      "  lab.ini:2: reservation `office`",
      "  help: delete the allocation's line, then run `labctl ip plan --write`: it gets other addresses",
    ].join("\n"),
  );
});

test("a network's mode, uplink and size are refused where they make no sense", (t) => {
  const s = lab(
    t,
    machine(
      "m",
      "[network a]\nmode = brigde\n[network b]\nmode = bridge\n[network c]\nuplink = eth0\n[network d]\nmode = host\nipv4 = /24\n[network e]\nmtu = 900\n[network f]\nmode = macvlan\nuplink = ../etc\n[network g]\nvlan = 20\n[network h]\nmode = bridge\nuplink = eth0\nvlan = 4095\n[network i]\nmode = bridge\nuplink = enp0s31f6npf0\nvlan = 20\n",
    ),
  );
  assert.equal(
    s.run(["ip", "check"]).stderr,
    [
      "error[ip-bad-setting] machines/m/machine.ini:4:1: network `a` can't have `mode = brigde`",
      "  expected: one of nat, routed, bridge, macvlan, host",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:5:1: network `b` can't have `uplink = `",
      "  expected: the link that `mode = bridge` leads to",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:8:1: network `c` can't have `uplink = eth0`",
      "  expected: left out: `mode = nat` has none",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:11:1: network `d` can't have `ipv4 = /24`",
      "  expected: left out: with `mode = host` addresses come from outside",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:13:1: network `e` can't have `mtu = 900`",
      "  expected: a number of bytes from 1280 to 65535",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:16:1: network `f` can't have `uplink = ../etc`",
      "  expected: an interface's name, of at most 15 bytes",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:18:1: network `g` can't have `vlan = 20`",
      "  expected: left out: `mode = nat` has no uplink that it could be on",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:22:1: network `h` can't have `vlan = 4095`",
      "  expected: a number from 1 to 4094",
      "  help: correct it",
      "error[ip-bad-setting] machines/m/machine.ini:26:1: network `i` can't have `vlan = 20`",
      "  expected: its link would be `enp0s31f6npf0.20`, and an interface's name has at most 15 bytes",
      "  help: correct it",
    ].join("\n"),
  );
});

test("a template that wants a network that is not declared, or IPv6 of a machine never probed, says what to do", (t) => {
  const s = lab(t, machine("m", "layers = a\n[network lan]\nipv4 = /24\n"), {
    "layers/a/layer.ini": "[layer]\n",
    "layers/a/x.hbs": "{{machine.networks.dmz.ipv4}}",
    "layers/a/y.hbs": "{{machine.networks.lan.address6}}",
    "layers/a/z.hbs": "{{ula-prefix HOST_MACHINE_ID}}",
  });
  assert.equal(s.run(["ip", "plan", "--write"]).code, 0);
  const helps = s
    .run(["build"])
    .stderr.split("\n")
    .filter((line) => /^error|help:/.test(line));
  assert.deepEqual(helps, [
    "error[fact-missing] layers/a/x.hbs:1:3: fact `machine.networks.dmz` is unset for machine `m`",
    "  help: declare it in machines/m/machine.ini, `[network dmz]`, then run `labctl ip plan --write`",
    "error[fact-missing] layers/a/y.hbs:1:3: fact `machine.networks.lan.address6` is unset for machine `m`",
    "  help: ask the machine: `labctl facts probe m`",
    "error[fact-missing] layers/a/z.hbs:1:14: fact `HOST_MACHINE_ID` is unset for machine `m`",
    "  help: ask the machine: `labctl facts probe m`",
  ]);
});

test("a ledger that can't be read is said to be so, and other line ends do no harm", (t) => {
  const s = lab(t, machine("m", "[network lan]\nipv4 = /24\n"), { "facts/ipam.json": { link: "ipam.json" } });
  for (const args of [["build"], ["ip", "plan"], ["ip", "check"]]) {
    assert.deepEqual(
      s.run(args).stderr.replace(/: ELOOP.*/, ": …"),
      "error[unreadable] facts/ipam.json: can't read it: …\n  help: make it readable for the user who builds",
      args.join(" "),
    );
  }
  s.write({ "facts/ipam.json": "" });
  assert.match(s.run(["ip", "plan"]).stderr, /^error\[ip-ledger-broken\]/);
  s.write({ "facts/ipam.json": '{ "version": 1, "allocations": [\n]}\n' });
  assert.equal(s.run(["ip", "plan", "--write"]).code, 0);
  s.write({ "facts/ipam.json": ledgerOf(s).replaceAll("\n", "\r\n") });
  assert.equal(s.run(["ip", "check"]).code, 0);
});
