/**
 * IPv6 addresses from machine-ids: the worked examples of docs/addressing.md by the real b3sum, what is no id, and 10,000
 * ids that do not meet.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { formatAddress, formatCidr } from "../../src/ipam/cidr.ts";
import {
  CONTEXTS,
  compareLinkNames,
  guestId,
  hostPart,
  type MachineId,
  parseMachineId,
  physicalSubnets,
  ulaAddress,
  ulaPrefix,
  ulaSubnet,
} from "../../src/ipam/ula.ts";
import { seededRandom } from "../seeded-random.ts";

const SEED = 19;
const PAGE = readFileSync(join(import.meta.dirname, "../../docs/addressing.md"), "utf8");

function idOf(text: string): MachineId {
  const id = parseMachineId(text);
  assert.ok(id, text);
  return id;
}

for (const text of [
  "",
  "0".repeat(32),
  "0123456789ABCDEF0123456789ABCDEF",
  "01234567-89ab-cdef-0123-456789abcdef",
  "0123456789abcdef0123456789abcde",
  "0123456789abcdef0123456789abcdef0",
  "uninitialized",
]) {
  test(`\`${text}\` is no machine-id`, () => assert.equal(parseMachineId(text), undefined));
}

test("the newline at the end of /etc/machine-id is no part of the id", () => {
  assert.equal(parseMachineId(`${"1".repeat(32)}\n`), "1".repeat(32));
});

test("a subnet that 16 bits can't hold is refused", () => {
  for (const n of [-1, 65_536, 1.5, Number.NaN])
    assert.throws(() => ulaSubnet(idOf("1".repeat(32)), n), RangeError);
});

/** `$ COMMAND`, what it prints, and the value that is made of it. */
const examples = [...PAGE.matchAll(/^ {4}\$ (printf .*)\n {4}([0-9a-f]+)\n {4}→ (.*)$/gm)].map(
  ([, command = "", printed = "", value = ""]) => ({ command, printed, value }),
);

test("docs/addressing.md has ten worked examples, and names every context", () => {
  assert.equal(examples.length, 10);
  for (const context of Object.values(CONTEXTS)) assert.ok(PAGE.includes(`\`${context}\``), context);
});

for (const { command, printed, value } of examples) {
  test(`b3sum and labctl agree on ${value}`, () => {
    const done = spawnSync("sh", ["-c", command], { encoding: "utf8" });
    assert.equal(done.stderr, "");
    assert.equal(done.stdout.trim(), printed);
    const [, id = "", name] = /printf %s ([0-9a-f]{32})(?:\/(\S+))? /.exec(command) ?? [];
    const context = /--derive-key '([^']*)'/.exec(command)?.[1];
    const host = idOf(id);
    if (context === CONTEXTS.prefix) assert.equal(value, formatCidr(ulaPrefix(host)));
    else if (context === CONTEXTS.guest) assert.equal(value, guestId(host, name ?? ""));
    else {
      assert.equal(context, CONTEXTS.host);
      assert.equal(printed, hostPart(host).toString(16).padStart(16, "0"));
      const parts = ["0", "4", "8", "12"].map((at) => Number.parseInt(printed.slice(+at, +at + 4), 16));
      assert.equal(value, parts.map((p) => p.toString(16)).join(":"));
    }
  });
}

test("a guest's address is its host's subnet and the host part of its own id", () => {
  const host = idOf("0123456789abcdef0123456789abcdef");
  const guest = guestId(host, "web");
  assert.equal(guest, "b9b6eb41b88960c0a89f93022f2ef5eb");
  assert.equal(formatAddress(ulaAddress(host, 256, guest)), "fdbf:f37c:3666:100:5de:a9c5:9305:2e50");
  assert.equal(formatAddress(ulaAddress(host, 256)), "fdbf:f37c:3666:100:41b4:95e3:40fc:e40a");
  assert.notEqual(guestId(host, "web"), guestId(host, "web2"));
});

test("nothing that is made of an id has the id in it", () => {
  const random = seededRandom(SEED);
  for (let i = 0; i < 100; i++) {
    const id = randomId(random);
    const shown = `${formatCidr(ulaPrefix(id))} ${hostPart(id).toString(16)} ${guestId(id, "x")}`;
    for (let at = 0; at + 8 <= id.length; at++) assert.ok(!shown.includes(id.slice(at, at + 8)));
  }
});

test(`10,000 machine-ids have 10,000 prefixes and 10,000 host parts (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  const ids = Array.from({ length: 10_000 }, () => randomId(random));
  assert.equal(new Set(ids).size, 10_000);
  const prefixes = ids.map((id) => ulaPrefix(id).address.value);
  assert.equal(new Set(prefixes).size, 10_000);
  assert.equal(new Set(ids.map(hostPart)).size, 10_000);
  assert.ok(prefixes.every((value) => value >> 120n === 0xfdn));
  // Each of the 40 bits is set about half the time: none is stuck.
  for (let bit = 80n; bit < 120n; bit++) {
    const set = prefixes.filter((value) => (value >> bit) & 1n).length;
    assert.ok(set > 4_700 && set < 5_300, `bit ${bit} is set in ${set}`);
  }
});

test("physical links are counted in the order of their names, virtual ones not at all", () => {
  const links = ["enp10s0", "wlan0", "enp3s0", "enp3s0f1", "eno1"].map((name) => ({
    name,
    kind: "physical",
  }));
  const all = [{ name: "br0", kind: "virtual" }, ...links, { name: "lo", kind: "virtual" }];
  const expected = ["eno1", "enp3s0", "enp3s0f1", "enp10s0", "wlan0"].map((name, i) => [name, i + 1]);
  assert.deepEqual([...physicalSubnets(all)], expected);
  assert.deepEqual([...physicalSubnets([...all].reverse())], expected);
  assert.ok(compareLinkNames("eth01", "eth1") < 0, "equal numbers, other bytes");
});

function randomId(random: ReturnType<typeof seededRandom>): MachineId {
  return idOf(Array.from({ length: 32 }, () => random.below(16).toString(16)).join(""));
}
