/** Address arithmetic against an oracle, Python's `ipaddress`, and tables of texts that must not be read as addresses. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { isIP } from "node:net";
import test from "node:test";
import {
  containsCidr,
  formatAddress,
  formatCidr,
  hostOf,
  netmaskOf,
  networkOf,
  parseAddress,
  parseCidr,
  subnetOf,
} from "../../src/ipam/cidr.ts";
import { seededRandom } from "../seeded-random.ts";

const SEED = 4711;

for (const text of [
  "010.0.0.1",
  "1.2.3",
  "1.2.3.256",
  "1.2.3.4/24",
  "fe80::1%eth0",
  "::1::",
  "",
  " 1.2.3.4",
  "1:2:3:4:5:6:7:8:9",
  "0x7f.1",
]) {
  test(`\`${text}\` is no address`, () => assert.equal(parseAddress(text), undefined));
}
const TEXTS = 20_000;

test(`${TEXTS} texts, nearly addresses, are taken or not as node:net takes them (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  const pieces = [
    "::",
    ":",
    ".",
    "0",
    "1",
    "255",
    "256",
    "09",
    "fe80",
    "F",
    "12345",
    "1.2.3.4",
    "g",
    " ",
    "%1",
    "/8",
  ];
  let addresses = 0;
  for (let i = 0; i < TEXTS; i++) {
    const separator = random.pick([".", ":", ":"]);
    const words = Array.from({ length: random.pick([3, 4, 4, 7, 8, 8, 9]) }, () => String(random.below(300)));
    if (random.chance(0.4)) words[random.below(words.length)] = random.chance(0.7) ? "" : random.pick(pieces);
    if (random.chance(0.2)) words[words.length - 1] = "1.2.3.4";
    let text = words.join(separator);
    if (random.chance(0.3)) {
      const at = random.below(text.length + 1);
      text = text.slice(0, at) + random.pick(pieces) + text.slice(at + random.below(2));
    }
    const family = text.includes("%") ? 0 : isIP(text);
    assert.equal(parseAddress(text)?.family ?? 0, family, JSON.stringify(text));
    if (family !== 0) addresses += 1;
  }
  assert.ok(addresses > TEXTS / 10 && addresses < TEXTS / 1.5, `${addresses} were addresses`);
});

for (const text of [
  "10.0.0.0/33",
  "10.0.0.0/-1",
  "10.0.0.0/08",
  "10.0.0.0",
  "fd00::/129",
  "10.0.0.0/8/8",
  "/8",
]) {
  test(`\`${text}\` is no prefix`, () => assert.equal(parseCidr(text), undefined));
}

test("IPv6 is printed as RFC 5952 says", () => {
  for (const [text, canonical] of [
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["fd00:0:0:0:0:0:0:0", "fd00::"],
    ["::ffff:10.1.2.3", "::ffff:a01:203"],
  ] as const) {
    const address = parseAddress(text);
    assert.ok(address);
    assert.equal(formatAddress(address), canonical);
  }
});

/** Asks Python for network, netmask, n-th host and containment of each line; one process for all. */
const ORACLE = `
import ipaddress, sys
for line in sys.stdin:
    a, b, n = line.split()
    i = ipaddress.ip_interface(a); net = i.network; other = ipaddress.ip_network(b, strict=False)
    host = str(net[int(n)]) if int(n) < net.num_addresses else "-"
    inside = net.version == other.version and other.subnet_of(net)
    print(str(i), str(net), str(net.netmask), host, inside)
`;

test(`1,000 random prefixes agree with Python's ipaddress (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  const randomCidr = (): string => {
    const six = random.chance(0.5);
    const groups = Array.from({ length: six ? 8 : 4 }, () =>
      random.chance(0.3) ? 0 : random.below(six ? 65536 : 256),
    );
    const length = random.below(six ? 129 : 33);
    return `${six ? groups.map((g) => g.toString(16)).join(":") : groups.join(".")}/${length}`;
  };
  const cases = Array.from({ length: 1000 }, () => {
    const a = randomCidr();
    // Half of the others begin alike, so that containment is met both ways.
    const b = random.chance(0.5)
      ? `${a.split("/")[0]}/${random.below(a.includes(":") ? 129 : 33)}`
      : randomCidr();
    return [a, b, String(random.below(300))] as const;
  });
  const python = spawnSync("python3", ["-c", ORACLE], {
    input: cases.map((c) => `${c.join(" ")}\n`).join(""),
    encoding: "utf8",
  });
  assert.equal(python.status, 0, python.stderr);
  const answers = python.stdout.trim().split("\n");
  assert.equal(answers.length, cases.length);
  for (const [i, [a, b, n]] of cases.entries()) {
    const cidr = parseCidr(a);
    const other = parseCidr(b);
    assert.ok(cidr && other);
    const host = hostOf(cidr, BigInt(n));
    const inside = containsCidr(cidr, other) ? "True" : "False";
    const ours = [
      formatCidr(cidr),
      formatCidr(networkOf(cidr)),
      formatAddress(netmaskOf(cidr)),
      host ? formatAddress(host) : "-",
      inside,
    ];
    assert.equal(ours.join(" "), answers[i], `${a} ${b} ${n}`);
  }
});

test("subnets are counted from the start, and end where the prefix ends", () => {
  const cidr = parseCidr("10.1.0.0/16");
  assert.ok(cidr);
  const text = (length: number, n: bigint): string | undefined => {
    const subnet = subnetOf(cidr, length, n);
    return subnet && formatCidr(subnet);
  };
  assert.equal(text(24, 0n), "10.1.0.0/24");
  assert.equal(text(24, 255n), "10.1.255.0/24");
  assert.equal(text(24, 256n), undefined);
  assert.equal(text(15, 0n), undefined);
  assert.equal(text(33, 0n), undefined);
  const last = hostOf(cidr, -1n);
  assert.equal(last && formatAddress(last), "10.1.255.255");
});
