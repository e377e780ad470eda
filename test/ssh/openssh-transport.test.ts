/** What only the system's ssh can do, and that its processes never outlive labctl. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import type { AbsPath, RelPath } from "../../src/paths.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import { sendFiles } from "../../src/push/stage/rsync.ts";
import type { ConnectOptions, Transport } from "../../src/push/transport.ts";
import {
  makeKey,
  publicKeyOf,
  type Sshd,
  type SshdOptions,
  startSshd,
  writeSshConfig,
} from "./sshd-fixture.ts";

const LIMIT = { maxStdoutBytes: 1024 * 1024 };

async function serve(t: TestContext, options?: SshdOptions): Promise<Sshd> {
  const sshd = await startSshd(options);
  t.after(() => sshd.stop());
  return sshd;
}

async function attempt(
  t: TestContext,
  sshd: Sshd,
  identityFiles: readonly string[],
  more: Partial<ConnectOptions> = {},
): Promise<Result<Transport>> {
  const target = { host: sshd.host, port: sshd.port, identityFiles };
  const result = await connect(target, sshd.connectOptions({ client: "openssh", ...more }));
  if (result.ok) t.after(() => result.value.close());
  return result;
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "in" : result.problems.map(formatDiagnostic).join("\n");
}

function value<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(textOf(result));
}

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "labctl-keys-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Command lines of processes that hold a word. */
function processesWith(word: string): string[] {
  const lines = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes(word));
}

async function eventually(holds: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 100 && !holds(); tries++) await sleep(30);
  return holds();
}

test("a certificate logs in; without it the same key does not, and the built-in client says what to use", async (t) => {
  const folder = makeFolder(t);
  const [authority, key] = [join(folder, "authority"), join(folder, "certified")];
  for (const one of [authority, key]) makeKey(one);
  const sshd = await serve(t, { config: [`TrustedUserCAKeys ${authority}.pub`] });
  assert.match(textOf(await attempt(t, sshd, [key])), /^error\[ssh-auth\]/, "the control: not by the key");
  execFileSync("ssh-keygen", ["-q", "-s", authority, "-I", "me", "-n", sshd.user, `${key}.pub`]);
  const transport = value(await attempt(t, sshd, [key]));
  assert.equal(value(await transport.exec("echo in", LIMIT)).stdout.toString(), "in\n");
  const builtIn = textOf(await attempt(t, sshd, [`${key}-cert.pub`], { client: "builtin" }));
  assert.match(builtIn, /^ {2}skipped .*the built-in client takes no certificates, --ssh=openssh does$/m);
});

test("a ProxyCommand leads to the machine; one that fails is told in its words", async (t) => {
  const sshd = await serve(t);
  const configFile = join(sshd.folder, "proxy");
  const node = `${process.execPath} -e`;
  const relay = `const s=require("net").connect(${sshd.port},"127.0.0.1");process.stdin.pipe(s).pipe(process.stdout)`;
  const known = ["Host a", `  HostKeyAlias [127.0.0.1]:${sshd.port}`];
  writeSshConfig(configFile, sshd.knownHosts, [...known, `  ProxyCommand ${node} '${relay}'`]);
  const target = { host: "a", identityFiles: [sshd.identityFile], client: "openssh" } as const;
  const transport = value(await connect(target, sshd.connectOptions({ configFile })));
  t.after(() => transport.close());
  assert.equal(value(await transport.exec("echo in", LIMIT)).stdout.toString(), "in\n");
  writeSshConfig(configFile, sshd.knownHosts, [...known, "  ProxyCommand echo no way there >&2; exit 1"]);
  const text = textOf(await connect(target, sshd.connectOptions({ configFile })));
  assert.match(text, /^error\[ssh-handshake\]/);
});

test("a host certificate of a known authority is trusted, of another it is not", async (t) => {
  const folder = makeFolder(t);
  const [right, wrong, hostKey] = [join(folder, "right"), join(folder, "wrong"), join(folder, "host")];
  for (const key of [right, wrong, hostKey]) makeKey(key);
  execFileSync("ssh-keygen", ["-q", "-s", right, "-I", "host", "-h", "-n", "127.0.0.1", `${hostKey}.pub`]);
  const sshd = await serve(t, { config: [`HostKey ${hostKey}`, `HostCertificate ${hostKey}-cert.pub`] });
  const trust = (authority: string): void =>
    writeFileSync(sshd.knownHosts, `@cert-authority * ${publicKeyOf(authority)}\n`);
  trust(right);
  assert.equal(textOf(await attempt(t, sshd, [sshd.identityFile])), "in");
  trust(wrong);
  assert.match(textOf(await attempt(t, sshd, [sshd.identityFile])), /^error\[host-key-unknown\]/);
});

test("a passphrase is asked for by our own prompt, and travels in no argument and no environment", async (t) => {
  const sshd = await serve(t);
  execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "open sesame", "-f", sshd.identityFile]);
  const asked: string[] = [];
  let seen = "";
  const watching = setInterval(() => {
    seen += execFileSync("ps", ["axeww", "-o", "args"], { encoding: "utf8", maxBuffer: 1 << 26 });
  }, 20);
  t.after(() => clearInterval(watching));
  const askSecret = async (prompt: string): Promise<string> => {
    asked.push(prompt);
    await sleep(200);
    return "open sesame";
  };
  assert.equal(textOf(await attempt(t, sshd, [sshd.identityFile], { askSecret })), "in");
  clearInterval(watching);
  assert.deepEqual(asked, [`passphrase for ${sshd.identityFile}: `]);
  assert.doesNotMatch(seen, /open sesame/);
  assert.match(seen, /LABCTL_ASKPASS_SOCKET/, "the control: the asking was seen");
});

test("files travel by rsync, and a second time nothing does", async (t) => {
  const sshd = await serve(t);
  const transport = value(await attempt(t, sshd, [sshd.identityFile]));
  const [source, stage] = [join(sshd.folder, "source"), join(sshd.folder, "stage")];
  for (const folder of [source, stage]) mkdirSync(folder);
  const files = Array.from({ length: 40 }, (_, i) => `f/${i}`);
  mkdirSync(join(source, "f"));
  for (const [i, file] of files.entries()) writeFileSync(join(source, file), String(i).repeat(20_000));
  const job = {
    sourceRoot: source as AbsPath,
    files: files as RelPath[],
    destination: stage,
    sudo: false,
    checksum: true,
  };
  assert.equal(value(await sendFiles(transport, job)).changed.length, 40);
  assert.equal(readFileSync(join(stage, "f/39"), "utf8"), "39".repeat(20_000));
  assert.equal(value(await sendFiles(transport, job)).changed.length, 0);
});

test("closing leaves no process and no folder", async (t) => {
  const sshd = await serve(t);
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith("labctl-ssh-"));
  const transport = value(await attempt(t, sshd, [sshd.identityFile]));
  const folder = readdirSync(tmpdir()).find(
    (name) => name.startsWith("labctl-ssh-") && !before.includes(name),
  );
  assert.ok(folder !== undefined && processesWith(folder).length > 0, "the control: there is one");
  await transport.close();
  assert.deepEqual(processesWith(folder), []);
  assert.ok(!readdirSync(tmpdir()).includes(folder));
});

test("when labctl is killed, the connection, its commands' carriers and its folder go too", async (t) => {
  const sshd = await serve(t);
  const here = (path: string): string => new URL(path, import.meta.url).pathname;
  const program = `
    import { connect } from ${JSON.stringify(here("../../src/push/ssh/connect.ts"))};
    const options = { acceptNew: false, timeoutMs: 10000, configFile: ${JSON.stringify(sshd.configFile)}, env: process.env, client: "openssh" };
    const target = { host: "127.0.0.1", port: ${sshd.port}, identityFiles: [${JSON.stringify(sshd.identityFile)}] };
    const result = await connect(target, options);
    result.value.exec("echo started; cat", { maxStdoutBytes: 100, onStdout: () => console.log("connected"), stdin: process.stdin });
  `;
  const file = join(sshd.folder, "victim.mts");
  writeFileSync(file, program);
  const tmp = join(sshd.folder, "t");
  mkdirSync(tmp);
  const victim = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), file], {
    env: { ...process.env, TMPDIR: tmp, SSH_AUTH_SOCK: "" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.after(() => victim.kill("SIGKILL"));
  await new Promise<void>((resolve) => victim.stdout.once("data", () => resolve()));
  const mine = `${tmp}/labctl-ssh-`;
  assert.ok(processesWith(mine).length >= 3, "the control: shell, master and client run");
  victim.kill("SIGKILL");
  assert.ok(await eventually(() => processesWith(mine).length === 0), processesWith(mine).join("\n"));
  assert.ok(await eventually(() => !readdirSync(tmp).some((name) => name.startsWith("labctl-ssh-"))));
});

test("a temporary folder too deep for a socket is not used", async (t) => {
  const sshd = await serve(t);
  const deep = join(sshd.folder, "d".repeat(100));
  mkdirSync(deep);
  const before = process.env.TMPDIR;
  process.env.TMPDIR = deep;
  t.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  assert.equal(textOf(await attempt(t, sshd, [sshd.identityFile])), "in");
});
