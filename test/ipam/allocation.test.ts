/**
 * IPv4 from a partition of the private space: refusals, then 1,000 random histories in which Python's `ipaddress` says
 * what is free. The ledger is handed in; nothing is read.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { type Cidr, formatCidr, parseCidr } from "../../src/ipam/cidr.ts";
import { freeBlocks, overlaps, smallestFit } from "../../src/ipam/free-space.ts";
import { type Ledger, ledgerText, readLedger } from "../../src/ipam/ledger.ts";
import { type AddressInput, type AddressPlan, planAddresses } from "../../src/ipam/plan.ts";
import type { Reserved, Wish } from "../../src/ipam/wish.ts";
import { type SeededRandom, seededRandom } from "../seeded-random.ts";

const SEED = 4242;
const CASES = Number(process.env.LABCTL_ALLOCATIONS ?? 1000);
const EMPTY: AddressInput = { wishes: [], ledger: [], reserved: [], seen: [] };

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  assert.ok(cidr, text);
  return cidr;
}

function wish(machine: string, network: string, size: string): Wish {
  const place = { file: `machines/${machine}/machine.ini`, line: 7, column: 1 };
  const fixed = parseCidr(size);
  return {
    machine,
    network,
    place,
    shape: { mode: "nat" },
    ipv4: fixed ? { fixed } : { length: Number(size.slice(1)) },
  };
}

function reserved(name: string, prefix: string): Reserved {
  return { name, prefix: cidrOf(prefix), place: { file: "lab.ini", line: 3, column: 1 } };
}

function planned(input: Partial<AddressInput>): AddressPlan {
  const result = planAddresses({ ...EMPTY, ...input });
  assert.ok("plan" in result, "problems" in result ? result.problems.map(formatDiagnostic).join("\n") : "");
  return result.plan;
}

function refused(input: Partial<AddressInput>): string {
  const result = planAddresses({ ...EMPTY, ...input });
  assert.ok("problems" in result, "a plan was made");
  return result.problems.map(formatDiagnostic).join("\n");
}

const prefixes = (ledger: Ledger): string[] => ledger.map((a) => (a.ipv4 ? formatCidr(a.ipv4) : "none"));

test("where nothing is large enough, the message says what is left", () => {
  const text = refused({
    wishes: [wish("gw", "lan", "/12")],
    reserved: [reserved("ten", "10.0.0.0/8"), reserved("office", "172.16.0.0/13")],
  });
  assert.equal(
    text,
    [
      "error[ip-exhausted] machines/gw/machine.ini:7:1: no free /12 is left for network `lan` of machine `gw`",
      "  left: 172.24.0.0/13, 192.168.0.0/16",
      "  nothing was changed",
      "  help: take a smaller network, or shrink a reservation in lab.ini, `[reserved]`",
    ].join("\n"),
  );
});

test("a fixed network in a reservation is refused, and one on another's addresses, with both places", () => {
  const { ledger } = planned({ wishes: [wish("gw", "lan", "10.0.0.0/24")] });
  const text = refused({
    ledger,
    wishes: [
      wish("gw", "lan", "10.0.0.0/24"),
      wish("den", "lan", "10.0.0.128/25"),
      wish("den", "x", "10.1.2.0/24"),
    ],
    reserved: [reserved("vpn", "10.1.0.0/16")],
  });
  assert.equal(
    text,
    [
      "error[ip-overlap] machines/den/machine.ini:7:1: network `lan` of machine `den` (10.0.0.128/25) and network `lan` of machine `gw` (10.0.0.0/24) overlap",
      "  facts/ipam.json: network `lan` of machine `gw`",
      "  help: delete the allocation's line, then run `labctl ip plan --write`: it gets other addresses",
      "error[ip-overlap] machines/den/machine.ini:7:1: network `x` of machine `den` (10.1.2.0/24) and reservation `vpn` (10.1.0.0/16) overlap",
      "  lab.ini:3: reservation `vpn`",
      "  help: change one of the two",
    ].join("\n"),
  );
});

test("the smallest free block that is large enough is taken, and the larger ones stay whole", () => {
  const input = { reserved: [reserved("a", "10.0.0.0/26"), reserved("b", "10.0.0.128/25")] };
  // 10.0.0.64/26 is what lies between.
  assert.deepEqual(prefixes(planned({ ...input, wishes: [wish("m", "n", "/27")] }).ledger), ["10.0.0.64/27"]);
  assert.deepEqual(prefixes(planned({ ...input, wishes: [wish("m", "n", "/26")] }).ledger), ["10.0.0.64/26"]);
  assert.deepEqual(prefixes(planned({ ...input, wishes: [wish("m", "n", "/25")] }).ledger), ["10.0.1.0/25"]);
});

test("with nothing taken, the smallest of the three private blocks serves first", () => {
  assert.deepEqual(prefixes(planned({ wishes: [wish("m", "n", "/24")] }).ledger), ["192.168.0.0/24"]);
  assert.deepEqual(prefixes(planned({ wishes: [wish("m", "n", "/14")] }).ledger), ["172.16.0.0/14"]);
  assert.deepEqual(prefixes(planned({ wishes: [wish("m", "n", "/8")] }).ledger), ["10.0.0.0/8"]);
});

test("what a plan releases is not given out in the same plan, and is in the next", () => {
  const first = planned({ wishes: [wish("m", "old", "/24")] });
  const second = planned({ ledger: first.ledger, wishes: [wish("m", "new", "/24")] });
  assert.deepEqual(
    second.changes.map((c) => [c.kind, c.network]),
    [
      ["new", "new"],
      ["release", "old"],
    ],
  );
  assert.deepEqual(prefixes(second.ledger), ["192.168.1.0/24"]);
  const third = planned({
    ledger: second.ledger,
    wishes: [wish("m", "new", "/24"), wish("m", "newer", "/24")],
  });
  assert.deepEqual(prefixes(third.ledger), ["192.168.1.0/24", "192.168.0.0/24"]);
});

test("another size is a move: new addresses, the old ones taken until it is written, the subnet kept", () => {
  const first = planned({ wishes: [wish("m", "n", "/24"), wish("m", "o", "/24")] });
  const second = planned({ ledger: first.ledger, wishes: [wish("m", "n", "/23"), wish("m", "o", "/24")] });
  assert.deepEqual(
    second.changes.map((c) => c.kind),
    ["move", "keep"],
  );
  assert.deepEqual(prefixes(second.ledger), ["192.168.2.0/23", "192.168.1.0/24"]);
  assert.deepEqual(
    second.ledger.map((a) => a.subnet),
    first.ledger.map((a) => a.subnet),
  );
});

test("a network without IPv4 gets a subnet only", () => {
  const plain: Wish = {
    machine: "m",
    network: "n",
    shape: { mode: "nat" },
    place: { file: "machines/m/machine.ini" },
  };
  assert.deepEqual(planned({ wishes: [plain] }).ledger, [{ machine: "m", network: "n", subnet: 256 }]);
});

test("a ledger is read back as it was written, and its text does not depend on the order", () => {
  const { ledger } = planned({
    wishes: [wish("b", "x", "/24"), wish("a", "y", "/24"), wish("a", "x", "/30")],
  });
  const text = ledgerText(ledger);
  assert.equal(
    text,
    [
      '{ "version": 1, "allocations": [',
      '  { "machine": "a", "network": "x", "ipv4": "192.168.2.0/30", "subnet": 257 },',
      '  { "machine": "a", "network": "y", "ipv4": "192.168.0.0/24", "subnet": 256 },',
      '  { "machine": "b", "network": "x", "ipv4": "192.168.1.0/24", "subnet": 256 }',
      "]}",
      "",
    ].join("\n"),
  );
  assert.equal(ledgerText([...ledger].reverse()), text);
  const read = readLedger(text);
  assert.ok(read.ok);
  assert.equal(ledgerText(read.value), text);
  const empty = readLedger(ledgerText([]));
  assert.ok(empty.ok && empty.value.length === 0);
});

for (const [what, text] of [
  ["half a file", '{ "version": 1, "allocations": [\n  { "machine": "a", "netw'],
  ["another version", '{ "version": 2, "allocations": [\n]}\n'],
  ["another layout", '{"version":1,"allocations":[]}\n'],
  ["host bits", line('"ipv4": "10.0.0.1/24", "subnet": 256')],
  ["IPv6", line('"ipv4": "fd00::/64", "subnet": 256')],
  ["a subnet that is none", line('"subnet": 65536')],
  ["a field that is not known", line('"subnet": 1, "colour": "red"')],
  ["null", "null\n"],
] as const) {
  test(`a ledger with ${what} is refused`, () => {
    const read = readLedger(text);
    assert.ok(!read.ok);
    assert.deepEqual(
      read.problems.map((p) => [p.code, p.place?.file]),
      [["ip-ledger-broken", "facts/ipam.json"]],
    );
  });
}

function line(fields: string): string {
  return `{ "version": 1, "allocations": [\n  { "machine": "a", "network": "b", ${fields} }\n]}\n`;
}

/** Prints for each line of prefixes what Python finds free of the private space, smallest first. */
const ORACLE = `
import ipaddress, sys
SPACE = [ipaddress.ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
for line in sys.stdin:
    taken = list(ipaddress.collapse_addresses(ipaddress.ip_network(n) for n in line.split()))
    free = []
    for space in SPACE:
        parts = [space]
        for t in taken:
            rest = []
            for p in parts:
                if not p.overlaps(t): rest.append(p)
                elif t.subnet_of(p) and t != p: rest.extend(p.address_exclude(t))
            parts = rest
        free.extend(ipaddress.collapse_addresses(parts))
    free.sort(key=lambda n: (-n.prefixlen, n))
    print(" ".join(map(str, free)))
`;

/** One state of a random history: what was taken, what was asked, what was given. */
interface Step {
  readonly taken: readonly Cidr[];
  readonly length: number;
  readonly given: Cidr | undefined;
}

test(`${CASES} random histories agree with Python's ipaddress (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  const steps = Array.from({ length: CASES }, () => history(random)).flat();
  const python = spawnSync("python3", ["-c", ORACLE], {
    input: steps.map((s) => `${s.taken.map(formatCidr).join(" ")}\n`).join(""),
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  assert.equal(python.status, 0, python.stderr);
  const answers = python.stdout.split("\n").slice(0, -1);
  assert.equal(answers.length, steps.length);
  const seen = { given: 0, exhausted: 0 };
  for (const [i, step] of steps.entries()) {
    const text = answers[i] ?? "";
    assert.equal(freeBlocks(step.taken).map(formatCidr).join(" "), text, `step ${i}`);
    const best = text.split(" ").find((block) => text !== "" && Number(block.split("/")[1]) <= step.length);
    assert.equal(
      step.given && formatCidr(step.given),
      best && `${best.split("/")[0]}/${step.length}`,
      `step ${i}: /${step.length} of ${text}`,
    );
    seen[step.given ? "given" : "exhausted"]++;
  }
  assert.ok(seen.given > CASES && seen.exhausted > CASES / 50, JSON.stringify(seen));
});

/** Wishes come and go; each plan is checked against the last, and what it gave is kept for the oracle. */
function history(random: SeededRandom): Step[] {
  const base = Array.from({ length: random.below(5) }, (_, i) => reserved(`r${i}`, randomPrefix(random)));
  const seen = Array.from({ length: random.below(3) }, () => ({
    machine: "x",
    prefix: cidrOf(randomPrefix(random)),
    what: "route" as const,
  }));
  let ledger: Ledger = [];
  let wishes: Wish[] = [];
  const steps: Step[] = [];
  for (let i = 0; i < 4; i++) {
    const gone = random.chance(0.4) ? random.below(8) : -1;
    const length = 8 + random.below(23);
    const added = wish(`m${i}`, "n", `/${length}`);
    const kept = wishes.filter((_, at) => at !== gone);
    const taken = [
      ...base.map((r) => r.prefix),
      ...seen.map((s) => s.prefix),
      ...ledger.flatMap((a) => a.ipv4 ?? []),
    ];
    const result = planAddresses({ wishes: [...kept, added], ledger, reserved: base, seen });
    const given =
      "plan" in result ? result.plan.ledger.find((a) => a.machine === added.machine)?.ipv4 : undefined;
    steps.push({ taken, length, given });
    assert.deepEqual(given, smallestFit(freeBlocks(taken), length));
    if (!("plan" in result)) continue;
    const { plan } = result;
    // No overlap with anything, nothing moved, freed only what is no longer wished for.
    const all = plan.ledger.flatMap((a) => a.ipv4 ?? []);
    for (const [at, a] of all.entries()) {
      assert.ok(all.slice(0, at).every((b) => !overlaps(a, b)));
      assert.ok([...base, ...seen].every((r) => !overlaps(a, r.prefix)));
    }
    for (const w of kept) {
      const [was, is] = [ledger, plan.ledger].map((l) => l.find((a) => a.machine === w.machine));
      assert.deepEqual(is, was);
    }
    assert.equal(plan.ledger.length, kept.length + 1);
    ledger = plan.ledger;
    wishes = [...kept, added];
    // The same again changes nothing.
    const again = planned({ wishes: [...wishes].reverse(), ledger, reserved: base, seen });
    assert.ok(again.changes.every((c) => c.kind === "keep"));
    assert.equal(ledgerText(again.ledger), ledgerText(ledger));
  }
  return steps;
}

/** Mostly in the private space, sometimes nearly all of it, sometimes elsewhere. */
function randomPrefix(random: SeededRandom): string {
  const length = random.chance(0.3) ? 8 + random.below(5) : 12 + random.below(21);
  const start = random.pick(["10", "10", "172.16", "172.24", "192.168", "192.168", "8", "11"]);
  const bytes = [...start.split("."), ...Array.from({ length: 4 }, () => random.below(256))].slice(0, 4);
  const value = bytes.reduce((sum: number, b) => sum * 256 + Number(b), 0);
  const network = Math.floor(value / 2 ** (32 - length)) * 2 ** (32 - length);
  return `${[24, 16, 8, 0].map((shift) => Math.floor(network / 2 ** shift) % 256).join(".")}/${length}`;
}
