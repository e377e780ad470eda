/** `labctl wireguard`, and what the layer makes of a fleet; the real program with the layers that ship. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const KEYS = {
  a: "oAacuKLCkBGc1UezVt67SOcKPLJCFPoAUWJF/4cOYW8=",
  b: "9F3NE2cqn9w0c5aPZveyMiUC8i5edpAxG4ezsPyt+DE=",
} as const;
const IDS = { a: "0123456789abcdef0123456789abcdef", b: "4c1f5e0c7b8d4a0e9a3b2f6d1e8c7a55" } as const;

/** Machines `a` and `b` with the layer, and `plain` without. */
function lab(t: TestContext, more: Files = {}): Scenario {
  const probed = (name: "a" | "b"): string =>
    JSON.stringify({
      probedAt: "2026-11-21T00:00:00Z",
      facts: { HOST_MACHINE_ID: IDS[name], HOST_WIREGUARD_KEY: KEYS[name] },
    });
  const s = scenario({
    "machines/a/machine.ini": "[machine]\nhost = a.lan\nlayers = wireguard\n",
    "machines/b/machine.ini": "[machine]\nhost = fd00::b\nlayers = wireguard\n",
    "machines/plain/machine.ini": "[machine]\nhost = plain.lan\n",
    "facts/probed/a.json": probed("a"),
    "facts/probed/b.json": probed("b"),
    ...more,
  });
  t.after(() => s.end());
  return s;
}

test("a client is refused with the reason, and nothing is written", (t) => {
  const s = lab(t, {
    "facts/all.json": '{"WIREGUARD_ENDPOINTS": {"b": "none"}}',
    "facts/a.env": `WIREGUARD_CLIENTS='{"old": "${KEYS.b}"}'\n`,
    "machines/new/machine.ini": "[machine]\nhost = new.lan\nlayers = wireguard\n",
  });
  for (const [args, code, told] of [
    [["add", "Phone!", "a"], 64, /^error\[usage\] `Phone!` can't be a client: at most 32 lower-case letters/],
    [["add", "phone"], 64, /^error\[usage\] `wireguard add` wants a client and a machine/],
    [["add", "phone", "*"], 1, /^error\[layer-missing\] machine `plain` does not have the layer `wireguard`/],
    [["add", "phone", "tag:x"], 1, /^error\[unknown-machine\]/],
    [["add", "phone", "plain"], 1, /help: add it to `layers` in machines\/plain\/machine\.ini/],
    [
      ["add", "phone", "new"],
      1,
      /^error\[key-unknown\] .*\n.*\n {2}help: `labctl push new`, then `labctl facts probe new`/,
    ],
    [["add", "phone", "b"], 1, /^error\[no-endpoint\] nobody can connect to machine `b`/],
    [["add", "old", "a"], 1, /^error\[client-exists\]/],
    [["add", "phone", "a"], 1, /^error\[clients-elsewhere\] facts\/a\.env:1.*\n {2}nothing was changed\n/],
    [["remove", "phone", "a"], 1, /^error\[client-unknown\] .*\n {2}help: it has: old/],
  ] as const) {
    const refused = s.run(["wireguard", ...args]);
    assert.match(refused.stderr, told);
    assert.equal(refused.code, code, refused.stderr);
    assert.equal(refused.stdout, "");
  }
  assert.equal(existsSync(join(s.root, "facts/a.json")), false);
});

test("a client's file has its private key, the repository only the public one, until it is removed", (t) => {
  const s = lab(t, { "facts/a.json": '{"OTHER": 1}' });
  assert.equal(s.run(["wireguard", "add", "phone", "a", "--dry-run"]).code, 2);
  const added = s.run(["wireguard", "add", "phone", "a", "--qr"]);
  assert.equal(added.code, 0, added.stderr);
  const key = /^PrivateKey = (.{44})$/m.exec(added.stdout)?.[1] ?? "";
  const facts = JSON.parse(readFileSync(join(s.root, "facts/a.json"), "utf8"));
  assert.deepEqual(Object.keys(facts), ["OTHER", "WIREGUARD_CLIENTS"]);
  assert.notEqual(facts.WIREGUARD_CLIENTS.phone, key);
  assert.match(added.stdout, /^Endpoint = a\.lan:51820$/m);
  assert.match(added.stdout, /^AllowedIPs = fdbf:f37c:3666::\/48, fd48:1629:ad67::\/48$/m);
  // A code for a camera, which is nothing but blocks.
  assert.match(added.stderr, /█{20}/);
  assert.equal(s.run(["build", "a"]).code, 0);
  const address = /^Address = (.*)$/m.exec(added.stdout)?.[1];
  const conf = readFileSync(join(s.root, "var/tree/a/usr/local/etc/wireguard/wg0.conf"), "utf8");
  assert.match(conf, new RegExp(`PublicKey = .{44}\nAllowedIPs = ${address}\n`));
  assert.equal(spawnSync("grep", ["-rF", key, s.root]).status, 1, "the private key is in no file");
  assert.equal(
    s.run(["wireguard", "list"]).stdout,
    `a  phone  ${address?.replace("/128", "")}  ${facts.WIREGUARD_CLIENTS.phone}`,
  );
  assert.equal(s.run(["wireguard", "remove", "phone", "a"]).code, 0);
  assert.deepEqual(JSON.parse(readFileSync(join(s.root, "facts/a.json"), "utf8")), {
    OTHER: 1,
    WIREGUARD_CLIENTS: {},
  });
});

test("peers are the machines with the layer whose key is known, with their endpoints, networks and routes", (t) => {
  const s = lab(t, {
    "machines/new/machine.ini": "[machine]\nhost = new.lan\nlayers = wireguard\n",
    "facts/new.json": JSON.stringify({ HOST_MACHINE_ID: "b5d0f2a98e1c4d37a6f09b8c7d6e5f40" }),
    "facts/all.json": '{"WIREGUARD_ROUTES": {"b": ["192.168.7.0/24"]}, "WIREGUARD_ENDPOINTS": {"a": "none"}}',
  });
  assert.equal(s.run(["build"]).code, 0);
  const of = (name: string): string =>
    readFileSync(join(s.root, `var/tree/${name}/usr/local/etc/wireguard/wg0.conf`), "utf8").replace(
      /^#.*\n/gm,
      "",
    );
  const b = `\n[Peer]\nPublicKey = ${KEYS.b}\nAllowedIPs = fd48:1629:ad67::/48\nAllowedIPs = 192.168.7.0/24\nEndpoint = [fd00::b]:51820\nPersistentKeepalive = 25\n`;
  const a = `\n[Peer]\nPublicKey = ${KEYS.a}\nAllowedIPs = fdbf:f37c:3666::/48\n`;
  const head = "[Interface]\nListenPort = 51820\n";
  assert.equal(of("a"), `${head}${b}`);
  assert.equal(of("b"), `${head}${a}`);
  assert.equal(of("new"), `${head}${a}${b}`);
});
