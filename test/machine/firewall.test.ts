/**
 * The firewall on a real machine: who reaches what, between the outside (these tests' own namespace), the machine, and
 * guests of two of its networks; that a reload neither cuts nor opens; and that rules which shut the pusher out stay away.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { CUTTING, CUTTING_SIX, KEEPING, KEEPING_SIX, PUSHER, PUSHER_SIX } from "./access-rulesets.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const FACTS = {
  FIREWALL_TCP: [8080],
  FIREWALL_UDP: [5000],
  FIREWALL_CONFINED: ["dmz"],
  FIREWALL_FLOWS: [
    { from: "outside", to: "dmz", ports: ["tcp/80"] },
    { from: "lan", to: "dmz", ports: ["tcp/80", "udp/53"] },
  ],
};

/** Echoes on TCP ports; counts UDP packets into a file, and echoes them. */
const LISTENER = `const [tcp, udp, file] = process.argv.slice(1);
for (const p of tcp.split(",")) require("net").createServer((s) => { s.on("error", () => {}); s.pipe(s); }).listen(+p, "::");
let n = 0;
for (const p of udp.split(",").filter(Boolean)) { const s = require("dgram").createSocket("udp6"); s.on("message", (m, r) => {
  if (p === "9001") require("fs").writeFileSync(file, String(++n)); s.send(m, r.port, r.address); }); s.bind(+p); }`;

interface Place {
  readonly four: string;
  readonly six: string;
}
interface Prepared {
  readonly lab: Lab;
  readonly machine: Machine;
  readonly guests: Readonly<Record<"lan" | "dmz", Place & { readonly gateway: Place }>>;
}
let prepared: Promise<Prepared> | undefined;

function theMachine(): Promise<Prepared> {
  prepared ??= prepare();
  return prepared;
}

async function prepare(): Promise<Prepared> {
  const machine = await bootMachine(await theBed());
  const lab = labFor(await theBed(), machine.name);
  lab.edit("machines/demo/machine.ini", "layers = web", "layers = web, network, firewall");
  lab.write({ "facts/demo.json": JSON.stringify(FACTS) });
  await lab.expect(0, ["facts", "probe", "demo"]);
  await lab.expect(0, ["push", "demo"]);
  const listen = (name: string, tcp: string, udp: string, prefix = ""): string =>
    `systemd-run -q --unit=listen-${name} ${prefix} node -e '${LISTENER}' ${tcp} "${udp}" /run/${name}.count`;
  await inside(
    machine,
    `systemctl start bridge@lan bridge@dmz; ${listen("machine", "8080,9000", "5000,9001,9002")}`,
  );
  const guests = { lan: await guest("lan"), dmz: await guest("dmz") };
  return { lab, machine, guests };

  async function guest(name: string): Promise<Place & { gateway: Place }> {
    const lease = Object.fromEntries(
      (await inside(machine, `cat /run/local/ip/${name}.env`))
        .trim()
        .split("\n")
        .map((line) => line.split("=")),
    );
    const [four, six] = [lease.IP4_LAST, `${lease.IP6_PREFIX.split("/")[0]}99`];
    await inside(
      machine,
      `set -e; ip netns add ${name}; ip link add v-${name} type veth peer name eth0 netns ${name}
       # A second address would be the source of UDP answers.
       ip netns exec ${name} sysctl -qw net.ipv6.conf.eth0.accept_ra=0
       ip link set v-${name} master ${name} up; ip -n ${name} link set lo up; ip -n ${name} link set eth0 up
       ip -n ${name} address add ${four}/24 dev eth0; ip -n ${name} address add ${six}/64 dev eth0 nodad
       ip -n ${name} route add default via ${lease.IP4_ADDRESS}; ip -n ${name} route add default via ${lease.IP6_ADDRESS}
       ${listen(name, "80,9000", "53,9002", `ip netns exec ${name}`)}
       for i in $(seq 200); do ip netns exec ${name} bash -c "exec 3<>/dev/tcp/127.0.0.1/9000" 2>/dev/null && break; sleep 0.1; done`,
    );
    const routes = [
      ["-4", lease.IP4_PREFIX, machine.address],
      ["-6", lease.IP6_PREFIX, machine.ulaAddress],
    ] as const;
    for (const [family, prefix, via] of routes)
      assert.equal(spawnSync("ip", [family, "route", "replace", prefix, "via", via]).status, 0);
    return { four, six, gateway: { four: lease.IP4_ADDRESS, six: lease.IP6_ADDRESS } };
  }
}

/** Tries all targets at once from somewhere; answers the names of those that a connection was made to. */
async function reached(
  run: (script: string) => Promise<string>,
  targets: Readonly<Record<string, readonly [address: string, port: number]>>,
): Promise<string[]> {
  const script = Object.entries(targets)
    .map(
      ([name, [address, port]]) =>
        `(timeout 4 bash -c 'exec 3<>/dev/tcp/${address}/${port}' 2>/dev/null && echo '${name}') &`,
    )
    .join("\n");
  return (await run(`${script}\nwait`)).split("\n").filter(Boolean).sort();
}

/** The same by UDP: a question that is echoed. */
async function echoed(
  run: (script: string) => Promise<string>,
  targets: Readonly<Record<string, readonly [address: string, port: number]>>,
): Promise<string[]> {
  const program = `const { createSocket } = require("dgram"); for (const [name, [address, port]] of Object.entries(JSON.parse(process.argv[1]))) {
    const s = createSocket(address.includes(":") ? "udp6" : "udp4"); s.on("error", () => {}); s.on("message", () => { console.log(name); s.close(); clearInterval(again); });
    const ask = () => s.send("x", port, address, () => {}); const again = setInterval(ask, 300); ask(); }
    setTimeout(() => process.exit(), 1500)`;
  return (await run(`node -e '${program}' '${JSON.stringify(targets)}'`)).split("\n").filter(Boolean).sort();
}

const here = (script: string): Promise<string> =>
  new Promise((resolve) => {
    let text = "";
    const child = spawn("bash", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    child.on("close", () => resolve(text));
  });

test("who reaches what is what was declared, over IPv4 and IPv6", async () => {
  const { machine, guests } = await theMachine();
  const outside = createServer((socket) => socket.end()).listen(7000, "::");
  try {
    const at = (name: "lan" | "dmz"): ((script: string) => Promise<string>) => {
      return (script) => inside(machine, `ip netns exec ${name} bash <<'END'\n${script}\nEND`);
    };
    for (const family of ["four", "six"] as const) {
      const own = family === "four" ? machine.address : machine.ulaAddress;
      const targets = (machineAt: string): Record<string, readonly [string, number]> => ({
        ...Object.fromEntries(
          [22, 80, 8080, 9000].map((port) => [`machine:${port}`, [machineAt, port] as const]),
        ),
        "machine:53": [guests.lan.gateway[family], 53],
        "lan:80": [guests.lan[family], 80],
        "lan:9000": [guests.lan[family], 9000],
        "dmz:80": [guests.dmz[family], 80],
        "dmz:9000": [guests.dmz[family], 9000],
        "outside:7000": [family === "four" ? PUSHER : "fd97::1", 7000],
      });
      const open = ["machine:22", "machine:80", "machine:8080"];
      assert.deepEqual(
        {
          outside: await reached(here, targets(own)),
          machine: await reached((script) => inside(machine, script), targets(own)),
          lan: await reached(at("lan"), targets(guests.lan.gateway[family])),
          dmz: await reached(at("dmz"), targets(guests.dmz.gateway[family])),
        },
        {
          outside: ["dmz:80", "outside:7000", ...open].sort(),
          machine: Object.keys(targets(own)).sort(),
          lan: ["dmz:80", "lan:80", "lan:9000", "machine:53", "outside:7000", ...open].sort(),
          dmz: ["dmz:80", "dmz:9000", "machine:53", ...open].sort(),
        },
        family,
      );
    }
  } finally {
    outside.close();
  }
  // Counted, and logged under a limit.
  assert.match(
    await inside(machine, "nft list chain inet labctl refused"),
    /limit rate 5\/second burst 10 packets log prefix "firewall: "[\s\S]*counter packets [1-9]/,
  );
});

test("the same by UDP", async () => {
  const { machine, guests } = await theMachine();
  const outside = createSocket("udp6").bind(7001, "::");
  outside.on("message", (message, { address, port }) => outside.send(message, port, address));
  try {
    const at = (name: "lan" | "dmz"): ((script: string) => Promise<string>) => {
      return (script) => inside(machine, `ip netns exec ${name} bash <<'END'\n${script}\nEND`);
    };
    for (const family of ["four", "six"] as const) {
      const own = family === "four" ? machine.address : machine.ulaAddress;
      const targets = (machineAt: string): Record<string, readonly [string, number]> => ({
        "machine:5000": [machineAt, 5000],
        "machine:9002": [machineAt, 9002],
        "lan:53": [guests.lan[family], 53],
        "lan:9002": [guests.lan[family], 9002],
        "dmz:53": [guests.dmz[family], 53],
        "dmz:9002": [guests.dmz[family], 9002],
        "outside:7001": [family === "four" ? PUSHER : "fd97::1", 7001],
      });
      const [out, itself, lan, dmz] = await Promise.all([
        echoed(here, targets(own)),
        echoed((script) => inside(machine, script), targets(own)),
        echoed(at("lan"), targets(guests.lan.gateway[family])),
        echoed(at("dmz"), targets(guests.dmz.gateway[family])),
      ]);
      assert.deepEqual(
        { out, itself, lan, dmz },
        {
          out: ["machine:5000", "outside:7001"],
          itself: Object.keys(targets(own)).sort(),
          lan: ["dmz:53", "lan:53", "lan:9002", "machine:5000", "outside:7001"],
          dmz: ["dmz:53", "dmz:9002", "machine:5000"],
        },
        family,
      );
    }
  } finally {
    outside.close();
  }
});

test("fifty reloads cut no connection and let no packet in; without the table packets come in", async () => {
  const { machine } = await theMachine();
  const count = (): Promise<string> => inside(machine, "cat /run/machine.count 2>/dev/null; true");
  let done = false;
  let echoes = 0;
  let sent = 0;
  const socket = connect(8080, machine.address);
  const ended = new Promise<string>((resolve) =>
    socket.on("close", () => resolve("closed")).on("error", () => {}),
  );
  socket.on("data", () => {
    echoes += 1;
    if (!done) setImmediate(() => socket.write("x"));
  });
  socket.write("x");
  const udp = createSocket("udp4");
  const flood = (): void => {
    if (done) return;
    for (let i = 0; i < 20; i++) udp.send("x", 9001, machine.address);
    sent += 20;
    setImmediate(flood);
  };
  flood();
  const fresh = (async () => {
    let made = 0;
    while (!done) {
      await new Promise<void>((resolve, reject) => {
        const one = connect(8080, machine.address, () => one.destroy());
        one.on("close", () => resolve()).on("error", reject);
      });
      made += 1;
    }
    return made;
  })();
  // Whatever fails: packets without end would keep this process from ending.
  try {
    await inside(
      machine,
      "for i in $(seq 50); do systemctl reload nftables || exit 1; done; systemctl restart nftables",
    );
    const during = echoes;
    assert.equal(
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 500, "open"))]),
      "open",
    );
    assert.ok(echoes > during, "the connection still answers");
    assert.equal(await count(), "", `${sent} packets to a closed port`);
    await inside(
      machine,
      "nft delete table inet labctl; for i in $(seq 100); do [ -s /run/machine.count ] && break; sleep 0.1; done; systemctl reload nftables",
    );
    assert.match(await count(), /^[1-9]/);
  } finally {
    done = true;
    socket.destroy();
    await fresh.catch(() => {});
    udp.close();
  }
  const made = await fresh;
  assert.ok(made > 50, `${made} connections`);
  console.log(
    `${echoes} echoes on one connection, ${made} new connections, ${sent} packets to a closed port`,
  );
});

test("rules that nft refuses leave the old ones, at a reload and at a restart; the check says what is missing", async () => {
  const { machine } = await theMachine();
  const before = await inside(machine, "nft list table inet labctl | sed 's/packets.*bytes [0-9]*//'");
  await inside(
    machine,
    `echo 'tcp dprot 1 accept' >/usr/local/etc/nftables.d/99-bad.nft
     systemctl reload nftables && exit 1; systemctl restart nftables && exit 2
     rm /usr/local/etc/nftables.d/99-bad.nft`,
  );
  assert.equal(await inside(machine, "nft list table inet labctl | sed 's/packets.*bytes [0-9]*//'"), before);
  assert.match(
    await inside(machine, "/usr/local/lib/labctl/check.d/firewall; true"),
    /nftables\.service is failed/,
  );
  await inside(machine, "systemctl restart nftables && /usr/local/lib/labctl/check.d/firewall");
  await inside(machine, "nft delete table inet labctl");
  assert.match(
    await inside(machine, "/usr/local/lib/labctl/check.d/firewall; true"),
    /chain input .* refuses nothing/,
  );
  await inside(machine, "systemctl reload nftables && /usr/local/lib/labctl/check.d/firewall");
});

test("a network that stops leaves the sets, and its service is sandboxed", async (t) => {
  const { machine } = await theMachine();
  const set = (): Promise<string> => inside(machine, "nft list set inet labctl internal_ifs");
  await inside(machine, "systemctl start bridge@brief");
  assert.match(await set(), /"brief"/);
  await inside(machine, "systemctl reload nftables");
  assert.match(await set(), /"brief"/);
  await inside(machine, "systemctl stop bridge@brief");
  assert.doesNotMatch(await set(), /"brief"/);
  await inside(machine, "systemctl reload nftables");
  assert.doesNotMatch(await set(), /"brief"/);
  assert.match(await set(), /"lan"/);
  await assertSandboxed(t, machine, ["nftables"]);
});

test("a push whose rules would shut the pusher out, or do not load, is refused before anything changes", async () => {
  const { machine, lab } = await theMachine();
  const generation = (): Promise<string> => inside(machine, "cat /usr/local/.labctl/generation");
  const before = await generation();
  const facts = (from: string): void =>
    lab.write({ "facts/demo.json": JSON.stringify({ ...FACTS, FIREWALL_SSH_FROM: [from] }) });
  facts("203.0.113.0/24");
  const cut = await lab.run(["push", "demo"]);
  assert.equal(cut.code, 1, cut.stderr);
  assert.match(
    cut.stderr,
    /error\[access-cut\] the new rules of the firewall would cut you off: 10\.97\.0\.1 would not reach port 22 on machine `demo`\n.*nothing .*changed/,
  );
  assert.match(
    cut.stderr,
    /help: let 10\.97\.0\.1 in to port 22, or push with --no-confirm if that is meant/,
  );
  facts("10.97.0.0/24");
  lab.write({
    "machines/demo/etc/nftables.d/60-bad.nft":
      "table inet labctl {\n  chain input_local {\n    jump nowhere\n  }\n}\n",
  });
  const bad = await lab.run(["push", "demo"]);
  assert.equal(bad.code, 1, bad.stderr);
  assert.match(
    bad.stderr,
    /error\[rules-refused\] nft refuses the new rules .*\/usr\/local\/etc\/nftables\.d\/60-bad\.nft:3/,
  );
  assert.equal(await generation(), before);
  assert.match(
    await inside(machine, "systemctl list-timers --all; ls /usr/local/.labctl"),
    /^(?![\s\S]*(labctl-revert|\bundo\b))/,
  );
  lab.remove("machines/demo/etc/nftables.d/60-bad.nft");
  await lab.expect(0, ["push", "demo"]);
  assert.match(
    await inside(machine, "nft list chain inet labctl input"),
    /ip saddr 10\.97\.0\.0\/24 tcp dport 22/,
  );
});

/** What the machine's own trial answers for each rule set, at once: a connection that is dropped is waited for. */
async function tried(machine: Machine, sets: readonly string[], connection: string): Promise<string[]> {
  const part = (name: string): string =>
    readFileSync(join(import.meta.dirname, `../../src/push/remote/${name}.sh`), "utf8");
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const trial = (rules: string, i: number): string =>
    `(mkdir -p /run/trial/${i}; cd /run/trial/${i}; printf %s ${quote(rules)} >rules; said=$(try_rules rules .); echo "$? $said" >answer) &`;
  // The table that is loaded would answer for some of them.
  const said = await inside(
    machine,
    `nft delete table inet labctl; mkdir -p /run/trial; ${part("prelude")}\n${part("access")}\nSSH_CONNECTION='${connection}'
     ${sets.map(trial).join("\n")}
     wait; for i in {0..${sets.length - 1}}; do cat /run/trial/$i/answer; done
     systemctl reload nftables`,
  );
  return said
    .trim()
    .split("\n")
    .map((line) => line.trim());
}

test("twenty rule sets that cut the pusher off are told from twenty that do not", async () => {
  const { machine } = await theMachine();
  const startedAt = performance.now();
  const connection = `${PUSHER} 40000 ${machine.address} 22`;
  assert.deepEqual(await tried(machine, [...CUTTING, ...KEEPING], connection), [
    ...CUTTING.map(() => `1 problem\taccess-cut\t${PUSHER} 22`),
    ...KEEPING.map(() => "0"),
  ]);
  const ms = performance.now() - startedAt;
  console.log(`${CUTTING.length} refused, ${KEEPING.length} let through in ${(ms / 1000).toFixed(1)} s`);
});

test("the same for a pusher that came by IPv6", async () => {
  const { machine } = await theMachine();
  const connection = `${PUSHER_SIX} 40000 ${machine.ulaAddress} 22`;
  assert.deepEqual(await tried(machine, [...CUTTING_SIX, ...KEEPING_SIX], connection), [
    ...CUTTING_SIX.map(() => `1 problem\taccess-cut\t${PUSHER_SIX} 22`),
    ...KEEPING_SIX.map(() => "0"),
  ]);
});
