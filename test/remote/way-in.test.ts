/** How the remote program writes a network down, by the real ip(8) in a network namespace of its own. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { fileURLToPath } from "node:url";

const REMOTE = fileURLToPath(new URL("../../src/push/remote", import.meta.url));

function networkLines(setUp: readonly string[]): string[] {
  const program = [
    ...["prelude", "way-in"].map((part) => `. '${REMOTE}/${part}.sh'`),
    ...setUp.map((line) => `ip ${line} || exit 1`),
    "network_lines",
  ].join("\n");
  const ran = spawnSync("unshare", ["--net", "bash", "--norc", "-c", program], { encoding: "utf8" });
  assert.equal(ran.status, 0, ran.stderr);
  assert.equal(ran.stderr, "");
  return ran.stdout.split("\n");
}

test("links, addresses and routes are told apart, whatever colons stand in them", (t) => {
  if (process.getuid?.() !== 0) return t.skip("wants root");
  const lines = networkLines([
    "link add one type veth peer name two",
    "link set two up",
    "link set one up",
    "address add 10.1.2.3/24 dev one",
    "address add 2001:db8::5/64 dev one nodad",
    "route add default via 10.1.2.1",
    "-6 route add 2001:db8:1:: dev one",
    "-6 route add 2001:db8:2::/64 via 2001:db8:1:: dev one onlink",
    "-6 route add default via 2001:db8::1 dev one",
  ]);
  for (const line of [
    "link one",
    "addr one 10.1.2.3/24 scope global",
    "addr one 2001:db8::5/64 scope global nodad",
    "route -4 default via 10.1.2.1 dev one",
    "route -6 2001:db8:1:: dev one metric 1024 pref medium",
    "route -6 2001:db8:2::/64 via 2001:db8:1:: dev one metric 1024 onlink pref medium",
    "route -6 default via 2001:db8::1 dev one metric 1024 pref medium",
  ])
    assert.ok(lines.includes(line), `${line}\n\n${lines.join("\n")}`);
  assert.deepEqual(
    lines.filter(
      (line) => !/^(link (lo|one|two)|addr (lo|one|two) [0-9a-f]\S* scope .*|route -[46] .*|)$/.test(line),
    ),
    [],
  );
  assert.ok(!lines.includes("link lo"), "it is down");
});
