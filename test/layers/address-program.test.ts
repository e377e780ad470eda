/**
 * The program that leases addresses on a machine, bundled as a build bundles it, run against folders of its own: refusals,
 * twenty at once, killed at random. It reads this host's links and routes, and changes nothing outside of its folders.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { bundler } from "../../src/build/bundle.ts";
import type { Cidr } from "../../src/ipam/cidr.ts";
import { overlaps } from "../../src/ipam/free-space.ts";
import { readLease } from "../../src/ipam/lease.ts";
import type { AbsPath } from "../../src/paths.ts";
import { PACKAGE_ROOT } from "../scenario.ts";
import { seededRandom } from "../seeded-random.ts";
import { temporaryFolder } from "../temporary-repository.ts";

const SEED = 71;
const KILLS = Number(process.env.LABCTL_KILLS ?? 20);
const LAYERS = join(PACKAGE_ROOT, "layers") as AbsPath;
const SOURCE = join(LAYERS, "network/libexec/network/address.ts") as AbsPath;

function bundleFor(root: AbsPath): string {
  const bundled = bundler(root, LAYERS).bundle({ file: SOURCE, display: "address.ts" });
  assert.ok(bundled.ok, bundled.ok ? "" : JSON.stringify(bundled.problems));
  return Buffer.from(bundled.value.data).toString("utf8");
}

interface Bench {
  readonly run: string;
  /** Runs the program to its end. */
  call(
    args: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): { code: number | null; out: string; err: string };
  /** Starts it; resolves to how it ended. */
  start(
    args: readonly string[],
    killAfterMs?: number,
  ): Promise<{ code: number | null; signal: string | null; err: string }>;
  env(network: string): ReadonlyMap<string, string>;
  leases(): readonly { readonly network: string; readonly ipv4: Cidr }[];
  configure(config: object): void;
}

function bench(t: TestContext): Bench {
  const folder = temporaryFolder("address", true);
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "address.mjs");
  writeFileSync(program, bundleFor(folder));
  writeFileSync(join(folder, "machine-id"), "0123456789abcdef0123456789abcdef\n");
  const run = join(folder, "run");
  const base = {
    PATH: process.env.PATH ?? "",
    IP_RUN: run,
    IP_STATE: join(folder, "state"),
    IP_CONFIG: join(folder, "config.json"),
    IP_MACHINE_ID: join(folder, "machine-id"),
  };
  const configure = (config: object): void =>
    writeFileSync(
      join(folder, "config.json"),
      JSON.stringify({ length: 24, taken: [], networks: {}, ...config }),
    );
  configure({});
  const files = (): string[] => readdirSync(run).filter((name) => name.endsWith(".env"));
  return {
    run,
    configure,
    call: (args, env = {}) => {
      const done = spawnSync(process.execPath, [program, ...args], {
        env: { ...base, ...env },
        encoding: "utf8",
      });
      return { code: done.status, out: done.stdout, err: done.stderr.replaceAll(folder, "<folder>") };
    },
    start: (args, killAfterMs) =>
      new Promise((resolve) => {
        const child = spawn(process.execPath, [program, ...args], {
          env: base,
          stdio: ["ignore", "ignore", "pipe"],
        });
        let err = "";
        child.stderr.on("data", (data) => {
          err += String(data);
        });
        if (killAfterMs !== undefined) setTimeout(() => child.kill("SIGKILL"), killAfterMs);
        child.on("close", (code, signal) => resolve({ code, signal, err }));
      }),
    env: (network) =>
      new Map(
        readFileSync(join(run, `${network}.env`), "utf8")
          .trim()
          .split("\n")
          .map((line) => line.split("=") as [string, string]),
      ),
    leases: () =>
      files().map((name) => {
        const lease = readLease(readFileSync(join(run, name), "utf8"));
        assert.ok(lease?.ipv4, name);
        return { network: lease.network, ipv4: lease.ipv4 };
      }),
  };
}

function assertApart(prefixes: readonly Cidr[]): void {
  for (const [i, a] of prefixes.entries())
    for (const b of prefixes.slice(0, i))
      assert.ok(
        !overlaps(a, b),
        JSON.stringify([a, b], (_, v) => String(v)),
      );
}

test("what can't be a network, a size or a request is refused, and nothing is left", (t) => {
  const { call, run } = bench(t);
  for (const name of ["averylongnetwork", "../x", "x/y", "X", "-x", ""])
    assert.match(
      call(["lease", name]).err,
      /^error\[ip-lease\] `.*` can't be a network: it is an interface's name/,
    );
  assert.match(
    call(["lend", "x"]).err,
    /^error\[ip-lease\] wrong usage\n {2}help: address.mjs lease NETWORK/,
  );
  assert.match(call(["lease", "x"], { IP4_LENGTH: "31" }).err, /IP4_LENGTH=31 is no size of a network/);
  assert.match(call(["lease", "x"], { IP_MACHINE_ID: "/dev/null" }).err, /\/dev\/null holds no machine-id/);
  assert.deepEqual(
    readdirSync(run).filter((name) => name.endsWith(".env")),
    [],
  );
});

test("where nothing is free, the message says what is left", (t) => {
  const { call, configure } = bench(t);
  configure({ taken: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17"] });
  assert.equal(
    call(["lease", "x"], { IP4_LENGTH: "16" }).err.replace(/left: .*/, "left: …"),
    "error[ip-lease] network `x` gets no addresses: no free /16 is left; left: …\n" +
      "  help: ask for a smaller one with Environment=IP4_LENGTH= in a drop-in, or stop another network\n",
  );
});

test("a lease is an environment file that stays as it is until it is released", (t) => {
  const { call, env, run, configure } = bench(t);
  configure({ taken: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17"] });
  assert.deepEqual(call(["lease", "lab"]), { code: 0, out: "", err: "" });
  const first = env("lab");
  assert.equal(first.get("IP6_PREFIX"), "fdbf:f37c:3666:8000::/64");
  assert.equal(first.get("IP6_ADDRESS"), "fdbf:f37c:3666:8000:41b4:95e3:40fc:e40a");
  assert.match(first.get("IP4_ADDRESS") ?? "", /^192\.168\.\d+\.1$/);
  assert.equal(first.get("IP4_NETMASK"), "255.255.255.0");
  assert.match(first.get("IP4_LAST") ?? "", /\.254$/);
  assert.equal(call(["lease", "lab"]).code, 0);
  assert.deepEqual(env("lab"), first);
  assert.equal(call(["show"]).out, readFileSync(join(run, "ledger.json"), "utf8"));
  assert.equal(call(["lease", "two"]).code, 0);
  assert.notEqual(env("two").get("IP4_PREFIX"), first.get("IP4_PREFIX"));
  assert.equal(call(["release", "lab"]).code, 0);
  assert.deepEqual(JSON.parse(call(["show"]).out), [
    { network: "two", ipv4: env("two").get("IP4_PREFIX"), subnet: 0x8001 },
  ]);
  // The number of a network that comes back is its old one; releasing what is not leased is no fault.
  assert.equal(call(["release", "lab"]).code, 0);
  assert.equal(call(["lease", "three"]).code, 0);
  assert.equal(call(["lease", "lab"]).code, 0);
  assert.equal(env("three").get("IP6_SUBNET"), String(0x8002));
  assert.equal(env("lab").get("IP6_SUBNET"), String(0x8000));
});

test("a declared network has what the repository gave it; one that runs there already is named", (t) => {
  const { call, env, configure } = bench(t);
  const taken = ["10.0.0.0/8", "172.16.0.0/12"];
  configure({ taken });
  assert.equal(call(["lease", "rival"]).code, 0);
  const prefix = env("rival").get("IP4_PREFIX") ?? "";
  configure({
    taken: [...taken, prefix],
    networks: { lan: { subnet: 256, ipv4: prefix }, six: { subnet: 257 } },
  });
  assert.equal(
    call(["lease", "lan"]).err,
    `error[ip-lease] network \`lan\` gets no addresses: its ${prefix} overlaps ${prefix} of network \`rival\`, which runs\n` +
      "  help: stop what uses network `rival`, and start it again after this one\n",
  );
  assert.equal(call(["release", "rival"]).code, 0);
  assert.equal(call(["lease", "lan"]).code, 0);
  assert.equal(env("lan").get("IP4_PREFIX"), prefix);
  assert.equal(env("lan").get("IP6_PREFIX"), "fdbf:f37c:3666:100::/64");
  assert.equal(call(["lease", "six"]).code, 0);
  assert.equal(env("six").get("IP4_PREFIX"), undefined);
  assert.equal(call(["lease", "rival"]).code, 0);
  assert.notEqual(env("rival").get("IP4_PREFIX"), prefix);
});

test("twenty that start at once get twenty networks that do not overlap", async (t) => {
  const { start, leases, run } = bench(t);
  const names = Array.from({ length: 20 }, (_, i) => `net${i}`);
  const ended = await Promise.all(names.map((name) => start(["lease", name])));
  assert.deepEqual(
    ended.map((e) => [e.code, e.err]),
    names.map(() => [0, ""]),
  );
  assert.equal(leases().length, 20);
  assertApart(leases().map((l) => l.ipv4));
  const ledger = JSON.parse(readFileSync(join(run, "ledger.json"), "utf8")) as { subnet: number }[];
  assert.equal(new Set(ledger.map((l) => l.subnet)).size, 20);
});

test(`killed ${KILLS} times at random moments, it never gives one block twice, and the next run repairs (seed ${SEED})`, async (t) => {
  const { start, call, leases, run } = bench(t);
  const random = seededRandom(SEED);
  let killed = 0;
  for (let round = 0; killed < KILLS; round++) {
    const jobs = Array.from({ length: 4 }, () => {
      const verb = random.chance(0.7) ? "lease" : "release";
      // A run alone takes 60 to 100 ms; four at once wait for each other.
      return start([verb, `net${random.below(12)}`], random.chance(0.7) ? 40 + random.below(300) : undefined);
    });
    for (const ended of await Promise.all(jobs)) {
      if (ended.signal === "SIGKILL") killed++;
      else assert.equal(ended.err, "");
    }
    assertApart(leases().map((l) => l.ipv4));
    assert.ok(round < KILLS * 4, "hardly any run was killed in time");
  }
  // What a run leaves that was killed in the middle of a write, and a ledger that was damaged.
  writeFileSync(join(run, "net99.env.draft"), "IP_NET");
  writeFileSync(join(run, "broken.env"), "IP_NETWORK=broken\n");
  writeFileSync(join(run, "ledger.json"), "[");
  assert.equal(call(["lease", "last"]).code, 0);
  assert.deepEqual(
    readdirSync(run).filter((name) => !/^(net\d+|last)\.env$/.test(name)),
    ["ledger.json", "lock"],
  );
  const listed = JSON.parse(readFileSync(join(run, "ledger.json"), "utf8")) as { network: string }[];
  assert.deepEqual(
    listed.map((l) => l.network).sort(),
    leases()
      .map((l) => l.network)
      .sort(),
  );
  for (const { network } of leases()) assert.equal(call(["release", network]).code, 0);
  assert.equal(call(["show"]).out, "[\n]\n");
});

test("the bundle is the same bytes wherever the repository and labctl lie, and needs nothing beside itself", (t) => {
  const near = temporaryFolder("near", true);
  const far = join(temporaryFolder("far"), "a/b/c") as AbsPath;
  t.after(() => rmSync(near, { recursive: true, force: true }));
  mkdirSync(far, { recursive: true });
  t.after(() => rmSync(join(far, "../../.."), { recursive: true, force: true }));
  const text = bundleFor(near);
  assert.equal(bundleFor(far), text);
  assert.ok(!text.includes(PACKAGE_ROOT) && !text.includes("../"));
  assert.deepEqual(
    [...text.matchAll(/^import .* from "(.*)";$/gm)]
      .map(([, name = ""]) => name)
      .filter((name) => !/^node:|^(node:)?[a-z_]+$/.test(name)),
    [],
  );
});
