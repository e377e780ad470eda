/** `labctl graph --network`: which links share a wire, what is known of networks and the mesh, and pictures that hold any name. */
import assert from "node:assert/strict";
import test from "node:test";
import type { NetworkGraph } from "../../src/graph/network-graph.ts";
import { answer, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const KEY = "o2xQ5vlpp3ZPLo0p1rI3FVfVbnDFHBzQu0ofWOUhz0E=";

interface Probed {
  readonly links?: Readonly<Record<string, readonly string[]>>;
  readonly virtual?: Readonly<Record<string, readonly string[]>>;
  readonly routes?: readonly string[];
  readonly key?: boolean;
}

function machine(name: string, ini: string, probed?: Probed): Files {
  const link = (kind: string) => (entry: [string, readonly string[]], i: number) => ({
    name: entry[0],
    index: i + 1,
    kind,
    mac: "",
    mtu: 1500,
    addresses: entry[1],
  });
  const facts = {
    HOST_MACHINE_ID: Buffer.from(name.padEnd(16, ".")).subarray(-16).toString("hex"),
    HOST_LINKS: [
      ...Object.entries(probed?.links ?? {}).map(link("physical")),
      ...Object.entries(probed?.virtual ?? {}).map(link("virtual")),
    ],
    HOST_ROUTES: probed?.routes ?? [],
    ...(probed?.key ? { HOST_WIREGUARD_KEY: KEY } : {}),
  };
  return {
    [`machines/${name}/machine.ini`]: ini,
    ...(probed
      ? {
          [`facts/probed/${name}.json`]: JSON.stringify({ probedAt: "2026-11-20T10:00:00Z", facts }),
        }
      : {}),
  };
}

const PLAIN = "[machine]\nlayers = base\n";

function graphOf(files: Files, ...args: string[]): NetworkGraph {
  const got = answer(files, ["graph", "--network", "--json", ...args]);
  assert.equal(got.code, 0, got.stderr);
  return JSON.parse(got.stdout) as NetworkGraph;
}

function wires(graph: NetworkGraph): string[] {
  return graph.segments.map(
    (s) =>
      `${s.id}: ${s.members.map((m) => `${m.machine}/${m.link}`).join(" ")}${s.gateway ? ` via ${s.gatewayMachine ?? ""}(${s.gateway})` : ""}`,
  );
}

test("a repository that can't be read, an unknown machine and two forms at once are refused", () => {
  const broken = answer({ ...machine("a", PLAIN), "facts/ipam.json": "{" }, ["graph", "--network"]);
  assert.equal(broken.code, 1);
  assert.match(broken.stderr, /^error\[ip-ledger-broken\] facts\/ipam\.json/);
  assert.equal(broken.stdout, "");
  assert.equal(answer(machine("a", PLAIN), ["graph", "--network", "b"]).code, 1);
  const both = answer(machine("a", PLAIN), ["graph", "--network", "--dot", "--json"]);
  assert.equal(both.code, 64);
  assert.match(both.stderr, /--dot and --json/);
  const none = answer(machine("a", PLAIN), ["graph"]);
  assert.equal(none.code, 64);
  assert.match(none.stderr, /`graph` wants a machine, or --network/);
});

test("machines with one prefix share a wire, whose router is named where it is one of them", () => {
  const graph = graphOf({
    ...machine("gw", PLAIN, {
      links: { wan: ["203.0.113.7/28"], lan: ["10.0.0.1/24", "fd00::1/64", "fe80::1/64"] },
      routes: ["default via 203.0.113.1 dev wan"],
    }),
    ...machine("a", PLAIN, {
      links: { eno1: ["10.0.0.5/24"], eno2: [] },
      routes: ["default via 10.0.0.1 dev eno1"],
    }),
    ...machine("b", PLAIN, { links: { eno1: ["fd00::7/64"] } }),
  });
  assert.deepEqual(wires(graph), [
    "10.0.0.0/24: a/eno1 b/eno1 gw/lan via gw(10.0.0.1)",
    "203.0.113.0/28: gw/wan via (203.0.113.1)",
  ]);
  const links = graph.machines.find((m) => m.name === "gw")?.links;
  assert.deepEqual(links?.find((l) => l.name === "lan")?.addresses, ["10.0.0.1/24", "fd00::1/64"]);
});

test("one private prefix at two sites is two wires: other routers, or one address twice", () => {
  const at = (address: string, router?: string): Probed => ({
    links: { eno1: [`${address}/24`] },
    routes: router === undefined ? [] : [`default via ${router} dev eno1`],
  });
  const graph = graphOf({
    ...machine("a", PLAIN, at("192.168.1.5", "192.168.1.1")),
    ...machine("b", PLAIN, at("192.168.1.6", "192.168.1.254")),
    ...machine("c", PLAIN, at("192.168.1.5", "192.168.1.1")),
    ...machine("d", PLAIN, at("192.168.1.9", "192.168.1.1")),
  });
  assert.deepEqual(wires(graph), [
    "192.168.1.0/24: a/eno1 d/eno1 via (192.168.1.1)",
    "192.168.1.0/24 (2): b/eno1 via (192.168.1.254)",
    "192.168.1.0/24 (3): c/eno1 via (192.168.1.1)",
  ]);
});

test("a bridge of the machine's own is no wire, until another machine hangs on it", () => {
  const docker = { virtual: { docker0: ["172.17.0.1/16"] } };
  assert.deepEqual(wires(graphOf({ ...machine("a", PLAIN, docker), ...machine("b", PLAIN, docker) })), []);
  const network = {
    ...machine("host", "[machine]\nlayers = network\n[network lan]\nipv4 = 10.7.0.0/24\n", { links: {} }),
    "facts/ipam.json":
      '{ "version": 1, "allocations": [\n  { "machine": "host", "network": "lan", "ipv4": "10.7.0.0/24", "subnet": 256 }\n]}\n',
  };
  assert.deepEqual(wires(graphOf(network)), []);
  const inside = machine("inside", PLAIN, {
    links: { eth0: ["10.7.0.20/24"] },
    routes: ["default via 10.7.0.1 dev eth0"],
  });
  assert.deepEqual(wires(graphOf({ ...network, ...inside })), [
    "10.7.0.0/24: host/lan inside/eth0 via host(10.7.0.1)",
  ]);
});

test("networks say what is allocated and what guests are called; the mesh who is called, and who calls", () => {
  const graph = graphOf({
    ...machine(
      "a",
      "[machine]\nhost = a.example.org\nlayers = network, wireguard\n[network lan]\nipv4 = /24\n[network new]\n[guest web]\nimage = debian\nnetwork = lan\n",
      {
        links: { eno1: ["10.0.0.5/24"] },
        key: true,
      },
    ),
    ...machine("b", "[machine]\nlayers = wireguard\n", { links: { eno1: ["10.0.0.6/24"] } }),
    ...machine("c", "[machine]\nlayers = wireguard\n"),
    "facts/all.json": JSON.stringify({
      NETWORK_DOMAIN: "home.arpa",
      WIREGUARD_ENDPOINTS: { b: "none" },
      WIREGUARD_ROUTES: { a: ["192.168.5.0/24"] },
    }),
    "facts/a.json": JSON.stringify({ WIREGUARD_CLIENTS: { phone: KEY } }),
    "facts/ipam.json":
      '{ "version": 1, "allocations": [\n  { "machine": "a", "network": "lan", "ipv4": "10.1.0.0/24", "subnet": 256 }\n]}\n',
  });
  const [a, b, c] = graph.machines;
  const [lan, fresh] = a?.networks ?? [];
  assert.deepEqual(
    [lan?.ipv4, lan?.address4, lan?.isAllocated, lan?.names],
    ["10.1.0.0/24", "10.1.0.1", true, "*.lan.a.home.arpa"],
  );
  assert.match(lan?.ipv6 ?? "", /^fd.*:100::\/64$/);
  assert.deepEqual(
    lan?.guests.map((g) => [g.name, g.kind, g.ipv6?.startsWith(lan.ipv6?.slice(0, -5) ?? "?")]),
    [["web", "container", true]],
  );
  assert.deepEqual([fresh?.isAllocated, fresh?.ipv6], [false, undefined]);
  assert.deepEqual(
    [a?.mesh?.endpoint, a?.mesh?.hasKey, a?.mesh?.routes],
    ["a.example.org:51820", true, ["192.168.5.0/24"]],
  );
  assert.equal(a?.mesh?.clients[0]?.name, "phone");
  assert.deepEqual([b?.mesh?.endpoint, b?.mesh?.hasKey], [undefined, false]);
  assert.deepEqual([c?.isProbed, c?.mesh?.address], [false, undefined]);
});

test("the picture holds names of 63 letters, odd links and control characters, in SVG and in DOT", () => {
  const long = `m${"x".repeat(61)}z`;
  const s = scenario({
    ...machine(long, PLAIN, { links: { 'a<b>&"\\': ["2001:db8::5/64"], "e\u001b[0m": ["10.0.0.5/24"] } }),
    ...machine("other", "[machine]\nlayers = base\ntags = <i>, b&c\n", {
      links: { eth0: ["2001:db8::7/64"] },
    }),
    ...machine("unseen", PLAIN),
  });
  try {
    const svg = s.run(["graph", "--network"]).stdout;
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[\s\S]*<\/svg>$/);
    assert.match(svg, /a&lt;b&gt;&amp;&quot;/);
    assert.match(svg, /e\\x1b\[0m/);
    assert.doesNotMatch(svg, /<i>|<b>|NaN|undefined|Infinity/);
    assert.equal(svg.includes("\u001b"), false);
    assert.match(svg, /never probed: labctl facts probe unseen/);
    assert.match(svg, /prefers-color-scheme:dark/);
    const width = Number(/width="([\d.]+)"/.exec(svg)?.[1]);
    for (const [, x = "", size = "12", text = ""] of svg.matchAll(
      /<text x="([\d.]+)" y="[\d.]+"(?: font-size="([\d.]+)")?[^>]*>([^<]*)<\/text>/g,
    ))
      assert.ok(
        Number(x) + text.replace(/&\w+;/g, "_").length * Number(size) * 0.6 <= width,
        `${text} is cut off`,
      );
    const dot = s.run(["graph", "--network", "--dot"]).stdout;
    assert.match(dot, /a<b>&\\"\\\\/);
    // A raw newline inside a string is legal DOT, yet a name that had one could look like a statement.
    for (const line of dot.split("\n").slice(0, -1)) assert.match(line, /[;{}]$/);
  } finally {
    s.end();
  }
});

test("thirty machines are drawn one below another", () => {
  const fleet = Object.assign(
    {},
    ...Array.from({ length: 30 }, (_, i) =>
      machine(`m${i}`, PLAIN, {
        links: { eth0: [`10.${i % 3}.0.${i + 2}/24`] },
        routes: [`default via 10.${i % 3}.0.1 dev eth0`],
      }),
    ),
  ) as Files;
  const svg = answer(fleet, ["graph", "--network"]).stdout;
  assert.match(svg, /30 machines, 3 wires/);
  const tops = [...svg.matchAll(/<rect x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)" rx="7"/g)];
  assert.equal(tops.length, 30);
  for (const [i, [, y = "", height = ""]] of tops.entries()) {
    const next = tops[i + 1];
    if (next) assert.ok(Number(y) + Number(height) < Number(next[1]), "two cards overlap");
  }
});
