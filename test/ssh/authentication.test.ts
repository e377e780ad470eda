/** Which keys log in: agent, encrypted files, and what is passed over with a note. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { listAgentKeys, parseIdentities } from "../../src/push/ssh/agent.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import type { ConnectOptions } from "../../src/push/transport.ts";
import { makeKey, type Sshd, startSshd, writeSshConfig } from "./sshd-fixture.ts";

async function serve(t: TestContext): Promise<Sshd> {
  const sshd = await startSshd();
  t.after(() => sshd.stop());
  return sshd;
}

async function attempt(
  sshd: Sshd,
  identityFiles: readonly string[],
  more: Partial<ConnectOptions> = {},
): Promise<string> {
  const result = await connect(
    { host: sshd.host, port: sshd.port, identityFiles },
    sshd.connectOptions(more),
  );
  if (result.ok) await result.value.close();
  return textOf(result);
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "in" : result.problems.map(formatDiagnostic).join("\n");
}

/** An agent of its own in the foreground; ended with the test. */
async function startAgent(t: TestContext, sshd: Sshd, keys: readonly string[]): Promise<string> {
  const socket = join(sshd.folder, "agent");
  const child = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  t.after(() => child.kill());
  for (let tries = 0; (await listAgentKeys(socket)) instanceof Error && tries < 100; tries++) await sleep(20);
  for (const key of keys)
    execFileSync("ssh-add", ["-q", key], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
  return socket;
}

test("an encrypted key without a terminal is named with the reason", async (t) => {
  const sshd = await serve(t);
  execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "open sesame", "-f", sshd.identityFile]);
  const text = await attempt(sshd, [sshd.identityFile]);
  assert.match(text, /^error\[ssh-auth\]/);
  assert.match(
    text,
    /identity: the key is encrypted and there is no terminal to ask for its passphrase on; load it with ssh-add$/m,
  );
});

test("an encrypted key asks for its passphrase, again after a wrong one, and only if the machine wants it", async (t) => {
  const sshd = await serve(t);
  execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "open sesame", "-f", sshd.identityFile]);
  const unwanted = join(sshd.folder, "unwanted");
  makeKey(unwanted, "ed25519", "other");
  const asked: string[] = [];
  const askSecret = (prompt: string): Promise<string> => {
    asked.push(prompt);
    return Promise.resolve(asked.length === 1 ? "wrong" : "open sesame");
  };
  assert.equal(await attempt(sshd, [unwanted, sshd.identityFile], { askSecret }), "in");
  const prompt = `passphrase for ${sshd.identityFile}: `;
  assert.deepEqual(asked, [prompt, prompt]);
});

test("time spent on a question does not count against the deadline", async (t) => {
  const sshd = await serve(t);
  writeFileSync(sshd.knownHosts, "");
  const confirm = () => sleep(1_500, true);
  assert.equal(await attempt(sshd, [sshd.identityFile], { confirm, timeoutMs: 1_200 }), "in");
});

test("an agent's key logs in, and IdentityAgent none keeps it out", async (t) => {
  const sshd = await serve(t);
  const SSH_AUTH_SOCK = await startAgent(t, sshd, [sshd.identityFile]);
  const env = { ...process.env, SSH_AUTH_SOCK };
  assert.equal(await attempt(sshd, [], { env }), "in");
  const configFile = join(sshd.folder, "none");
  writeSshConfig(configFile, sshd.knownHosts, ["IdentityAgent none"]);
  assert.match(await attempt(sshd, [], { env, configFile }), /tried no key: there was none to try/);
  writeSshConfig(configFile, sshd.knownHosts, [`IdentityAgent ${SSH_AUTH_SOCK}`]);
  assert.equal(await attempt(sshd, [], { configFile }), "in");
});

test("IdentitiesOnly offers of an agent only the keys that are named", async (t) => {
  const sshd = await serve(t);
  const stranger = join(sshd.folder, "stranger");
  makeKey(stranger);
  const SSH_AUTH_SOCK = await startAgent(t, sshd, [stranger, sshd.identityFile]);
  const env = { ...process.env, SSH_AUTH_SOCK };
  const configFile = join(sshd.folder, "only");
  writeSshConfig(configFile, sshd.knownHosts, ["IdentitiesOnly yes", `IdentityFile ${stranger}.pub`]);
  const text = await attempt(sshd, [], { env, configFile });
  assert.equal(text.match(/ {2}tried /g)?.length, 1);
  assert.match(text, /from the agent \(labctl test\)$/m);
  writeSshConfig(configFile, sshd.knownHosts, [
    "IdentitiesOnly yes",
    `IdentityFile ${sshd.identityFile}.pub`,
  ]);
  assert.equal(await attempt(sshd, [], { env, configFile }), "in");
});

test("certificates and security keys are passed over with a note", async (t) => {
  const sshd = await serve(t);
  const authority = join(sshd.folder, "ca");
  makeKey(authority);
  execFileSync("ssh-keygen", ["-q", "-s", authority, "-I", "me", "-n", "root", `${sshd.identityFile}.pub`]);
  const certificate = `${sshd.identityFile}-cert.pub`;
  const security = join(sshd.folder, "security");
  const type = "sk-ssh-ed25519@openssh.com";
  const blob = Buffer.concat([Buffer.from([0, 0, 0, type.length]), Buffer.from(type), Buffer.alloc(40)]);
  writeFileSync(security, `${type} ${blob.toString("base64")} token\n`);
  const text = await attempt(sshd, [certificate, security]);
  assert.match(
    text,
    /skipped ssh-ed25519-cert-v01@openssh.com SHA256:.* the built-in client takes no certificates, --ssh=openssh does$/m,
  );
  assert.match(
    text,
    /skipped sk-ssh-ed25519@openssh.com SHA256:.* the built-in client takes no security keys \(FIDO\), --ssh=openssh does$/m,
  );
  assert.ok(readFileSync(certificate).length > 0);
});

test("an agent's nonsense is no list of keys", () => {
  for (const body of [[], [5], [12, 0, 0, 0], [12, 0, 0, 0, 1], [12, 255, 255, 255, 255, 0, 0, 0, 1, 0]])
    assert.equal(parseIdentities(Buffer.from(body)), undefined);
  assert.deepEqual(parseIdentities(Buffer.from([12, 0, 0, 0, 0])), []);
});
