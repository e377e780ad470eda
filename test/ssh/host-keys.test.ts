/** Which host keys are trusted, against a real sshd; the text of each refusal. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import { rememberingTool, runTool } from "../../src/push/ssh/tool.ts";
import type { ConnectOptions, Transport } from "../../src/push/transport.ts";
import {
  makeKey,
  publicKeyOf,
  type Sshd,
  type SshdOptions,
  startSshd,
  writeSshConfig,
} from "./sshd-fixture.ts";

async function serve(t: TestContext, options?: SshdOptions): Promise<Sshd> {
  const sshd = await startSshd(options);
  t.after(() => sshd.stop());
  return sshd;
}

/** Connects, closes, and returns what happened. */
async function attempt(
  sshd: Sshd,
  more: Partial<ConnectOptions> = {},
  host: string = sshd.host,
): Promise<Result<Transport>> {
  const target = { host, port: sshd.port, identityFiles: [sshd.identityFile] };
  const result = await connect(target, sshd.connectOptions(more));
  if (result.ok) await result.value.close();
  return result;
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "(no problem)" : result.problems.map(formatDiagnostic).join("\n");
}

function fingerprintOf(keyFile: string): string {
  return execFileSync("ssh-keygen", ["-lf", keyFile], { encoding: "utf8" }).split(" ")[1] ?? "";
}

/** Puts another key in the place of the server's. */
function expectAnotherKey(sshd: Sshd): string {
  const other = join(sshd.folder, "other");
  makeKey(other);
  writeFileSync(sshd.knownHosts, `# comment\n[127.0.0.1]:${sshd.port} ${publicKeyOf(other)}\n`);
  return fingerprintOf(other);
}

test("a changed host key is refused whatever was allowed, with both fingerprints and the way out", async (t) => {
  const sshd = await serve(t);
  const known = expectAnotherKey(sshd);
  const presented = fingerprintOf(join(sshd.folder, "host_ed25519"));
  const before = readFileSync(sshd.knownHosts, "utf8");
  const result = await attempt(sshd, { acceptNew: true, confirm: () => Promise.resolve(true) });
  assert.equal(
    textOf(result),
    `error[host-key-changed] ${sshd.knownHosts}:2: ${sshd.user}@127.0.0.1:${sshd.port} presents another host key than the one known for \`[127.0.0.1]:${sshd.port}\`
  known:     ED25519 ${known} (${sshd.knownHosts}:2)
  presented: ED25519 ${presented}
  either the machine was installed anew, or someone stands between you and it
  nothing was sent to the machine
  help: compare with \`ssh-keygen -lf\` on the machine's own console; if the new key is right, forget the old one: ssh-keygen -f ${sshd.knownHosts} -R '[127.0.0.1]:${sshd.port}'`,
  );
  assert.equal(readFileSync(sshd.knownHosts, "utf8"), before);
  assert.doesNotMatch(sshd.log(), /Accepted/, "no key of ours was offered");
});

test("a host known by another type of key only has changed as well", async (t) => {
  const sshd = await serve(t);
  const other = join(sshd.folder, "other");
  makeKey(other, "ecdsa");
  writeFileSync(sshd.knownHosts, `[127.0.0.1]:${sshd.port} ${publicKeyOf(other)}\n`);
  assert.match(textOf(await attempt(sshd, { acceptNew: true })), /^error\[host-key-changed\]/);
});

test("of a server's several keys the known one is asked for", async (t) => {
  const sshd = await serve(t, { hostKeyTypes: ["ed25519", "rsa"] });
  writeFileSync(sshd.knownHosts, `[127.0.0.1]:${sshd.port} ${publicKeyOf(join(sshd.folder, "host_rsa"))}\n`);
  assert.equal(textOf(await attempt(sshd)), "(no problem)");
});

test("a revoked key is refused even where it is also known", async (t) => {
  const sshd = await serve(t);
  appendFileSync(sshd.knownHosts, `@revoked * ${sshd.hostKey}\n`);
  const text = textOf(await attempt(sshd, { acceptNew: true }));
  assert.ok(text.startsWith(`error[host-key-revoked] ${sshd.knownHosts}:2: `), text);
});

test("an unknown key without a terminal is refused and nothing is written", async (t) => {
  const sshd = await serve(t);
  writeFileSync(sshd.knownHosts, "");
  assert.equal(
    textOf(await attempt(sshd)),
    `error[host-key-unknown] the host key of ${sshd.user}@127.0.0.1:${sshd.port} is unknown
  presented: ED25519 ${fingerprintOf(join(sshd.folder, "host_ed25519"))}
  no known_hosts file has a key for \`[127.0.0.1]:${sshd.port}\`, and there is no terminal to ask on
  nothing was sent to the machine
  help: compare the fingerprint with \`ssh-keygen -lf\` on the machine, then run again with --accept-new`,
  );
  assert.equal(readFileSync(sshd.knownHosts, "utf8"), "");
});

test("a person is shown the fingerprint; no refuses, yes is remembered", async (t) => {
  const sshd = await serve(t);
  writeFileSync(sshd.knownHosts, "other.lan ssh-ed25519 AAAA");
  const questions: string[] = [];
  const answer = (yes: boolean) => (question: string) => {
    questions.push(question);
    return Promise.resolve(yes);
  };
  assert.match(textOf(await attempt(sshd, { confirm: answer(false) })), /and the answer was no$/m);
  assert.equal(textOf(await attempt(sshd, { confirm: answer(true) })), "(no problem)");
  assert.equal(textOf(await attempt(sshd)), "(no problem)");
  assert.equal(questions.length, 2);
  assert.match(questions[0] ?? "", /ED25519 SHA256:/);
  assert.equal(
    readFileSync(sshd.knownHosts, "utf8"),
    `other.lan ssh-ed25519 AAAA\n[127.0.0.1]:${sshd.port} ${sshd.hostKey}\n`,
    "a last line without its end is not run into",
  );
});

test("accepting new keys creates the file for its owner alone, and ssh itself accepts what was written", async (t) => {
  const sshd = await serve(t);
  for (const hash of ["no", "yes"]) {
    const known = join(sshd.folder, `.ssh-${hash}`, "known_hosts");
    const configFile = join(sshd.folder, `config-${hash}`);
    writeSshConfig(configFile, known, [`HashKnownHosts ${hash}`]);
    assert.equal(textOf(await attempt(sshd, { configFile, acceptNew: true })), "(no problem)");
    assert.equal(statSync(known).mode & 0o777, 0o600);
    assert.equal(statSync(join(sshd.folder, `.ssh-${hash}`)).mode & 0o777, 0o700);
    assert.equal(readFileSync(known, "utf8").startsWith("|1|"), hash === "yes");
    const args = ["-F", configFile, "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"];
    execFileSync("ssh", [...args, "-i", sshd.identityFile, "-p", String(sshd.port), sshd.host, "true"]);
    assert.equal(textOf(await attempt(sshd, { configFile })), "(no problem)", "known the second time");
  }
});

test("StrictHostKeyChecking decides where nobody said otherwise", async (t) => {
  const sshd = await serve(t);
  const known = join(sshd.folder, "new");
  const configFile = join(sshd.folder, "config");
  writeSshConfig(configFile, known, ["StrictHostKeyChecking yes"]);
  const confirm = () => Promise.resolve(true);
  assert.match(
    textOf(await attempt(sshd, { configFile, confirm })),
    /StrictHostKeyChecking is yes for this host/,
  );
  assert.ok(!existsSync(known));
  writeSshConfig(configFile, known, ["StrictHostKeyChecking accept-new"]);
  assert.equal(textOf(await attempt(sshd, { configFile })), "(no problem)");
  expectAnotherKey(sshd);
  writeSshConfig(configFile, sshd.knownHosts, ["StrictHostKeyChecking no"]);
  assert.match(textOf(await attempt(sshd, { configFile })), /^error\[host-key-changed\]/);
});

test("hashed names, patterns, HostKeyAlias and a bare name off port 22 are found", async (t) => {
  const sshd = await serve(t);
  execFileSync("ssh-keygen", ["-q", "-H", "-f", sshd.knownHosts], { stdio: "ignore" });
  assert.match(readFileSync(sshd.knownHosts, "utf8"), /^\|1\|/);
  assert.equal(textOf(await attempt(sshd)), "(no problem)");
  for (const name of [`[127.0.0.*]:${sshd.port}`, "127.0.0.1"]) {
    writeFileSync(sshd.knownHosts, `${name} ${sshd.hostKey}\n`);
    assert.equal(textOf(await attempt(sshd)), "(no problem)", name);
  }
  const configFile = join(sshd.folder, "alias");
  writeSshConfig(configFile, sshd.knownHosts, ["Host box", "  HostName 127.0.0.1", "  HostKeyAlias the-box"]);
  writeFileSync(sshd.knownHosts, `the-box ${sshd.hostKey}\n`);
  assert.equal(textOf(await attempt(sshd, { configFile }, "box")), "(no problem)");
  assert.match(
    textOf(await attempt(sshd)),
    /^error\[host-key-unknown\]/,
    "the control: another name is unknown",
  );
});

test("a certificate authority alone makes no key known, and the refusal says so", async (t) => {
  const sshd = await serve(t);
  writeFileSync(sshd.knownHosts, `@cert-authority * ${sshd.hostKey}\n`);
  assert.match(
    textOf(await attempt(sshd)),
    /known_hosts:1 trusts an authority; the built-in client takes no host certificates, --ssh=openssh does/,
  );
});

test("an accepted key that can't be written down is a warning", async (t) => {
  const sshd = await serve(t);
  const configFile = join(sshd.folder, "config");
  writeSshConfig(configFile, join(sshd.identityFile, "known_hosts"));
  const result = await attempt(sshd, { configFile, acceptNew: true });
  assert.ok(result.ok);
  assert.equal(result.warnings[0]?.code, "host-key-not-remembered");
});

test("the system's ssh refuses the same host keys in the same words", async (t) => {
  const sshd = await serve(t);
  const own = `[127.0.0.1]:${sshd.port}`;
  const other = join(sshd.folder, "other");
  makeKey(other);
  const strict = join(sshd.folder, "strict");
  writeSshConfig(strict, sshd.knownHosts, ["StrictHostKeyChecking yes"]);
  const no = () => Promise.resolve(false);
  const cases: readonly (readonly [string, string, Partial<ConnectOptions>])[] = [
    ["host-key-changed", `${own} ${publicKeyOf(other)}`, { acceptNew: true }],
    ["host-key-revoked", `@revoked ${own} ${sshd.hostKey}`, { acceptNew: true }],
    ["host-key-unknown", "", {}],
    ["host-key-unknown", "", { confirm: no }],
    ["host-key-unknown", "", { configFile: strict }],
  ];
  for (const [code, known, more] of cases) {
    writeFileSync(sshd.knownHosts, `${known}\n`);
    const text = textOf(await attempt(sshd, { ...more, client: "openssh" }));
    assert.ok(text.startsWith(`error[${code}]`), text);
    assert.equal(text, textOf(await attempt(sshd, { ...more, client: "builtin" })));
  }
  assert.doesNotMatch(sshd.log(), /Accepted/);
  const yes = () => Promise.resolve(true);
  assert.equal(textOf(await attempt(sshd, { confirm: yes, client: "openssh" })), "(no problem)");
  assert.equal(textOf(await attempt(sshd, { client: "openssh" })), "(no problem)", "it was remembered");
});

test("connections that follow each other look their host up once, until its file changes", async (t) => {
  const sshd = await serve(t);
  const asked: string[] = [];
  const run = rememberingTool((program, args, env) => {
    asked.push(program);
    return runTool(program, args, env);
  });
  assert.ok((await attempt(sshd, { run })).ok);
  assert.ok(asked.splice(0).includes("ssh-keygen"));
  for (let i = 0; i < 2; i++) assert.ok((await attempt(sshd, { run })).ok);
  assert.deepEqual(asked.splice(0), []);
  expectAnotherKey(sshd);
  assert.match(textOf(await attempt(sshd, { run })), /error\[host-key-changed\]/);
});
