/** The ssh2 back-end against a real sshd: exec, channels, loss, and the text of every refusal to connect. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import test, { type TestContext } from "node:test";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import type { ConnectOptions, SshTarget, Transport } from "../../src/push/transport.ts";
import { freePort, makeKey, type Sshd, type SshdOptions, startSshd, writeSshConfig } from "./sshd-fixture.ts";

const LIMIT = { maxStdoutBytes: 1024 * 1024 };

async function serve(t: TestContext, options?: SshdOptions): Promise<Sshd> {
  const sshd = await startSshd(options);
  t.after(() => sshd.stop());
  return sshd;
}

function targetOf(sshd: Sshd): SshTarget {
  return { host: sshd.host, port: sshd.port, identityFiles: [sshd.identityFile] };
}

async function open(t: TestContext, sshd: Sshd, more?: Partial<ConnectOptions>): Promise<Transport> {
  const transport = value(await connect(targetOf(sshd), sshd.connectOptions(more)));
  t.after(() => transport.close());
  return transport;
}

function value<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(textOf(result));
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "(no problem)" : result.problems.map(formatDiagnostic).join("\n");
}

test("a port where nothing listens is reported with the address that was tried", async (t) => {
  const sshd = await serve(t);
  const port = await freePort();
  const result = await connect({ ...targetOf(sshd), port }, sshd.connectOptions());
  const label = `${sshd.user}@127.0.0.1:${port}`;
  assert.equal(
    textOf(result),
    `error[ssh-refused] ${label} refused the connection
  tried 127.0.0.1:${port}: no program listens there
  nothing was sent to the machine
  help: check that sshd runs on the machine, and that host and port are right`,
  );
});

test("a host that accepts but never answers times out with the step it hung in", async (t) => {
  const sshd = await serve(t);
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.after(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const result = await connect({ ...targetOf(sshd), port }, sshd.connectOptions({ timeoutMs: 300 }));
  assert.equal(
    textOf(result),
    `error[ssh-timeout] ${sshd.user}@127.0.0.1:${port} did not answer within 0.3 s
  tried 127.0.0.1:${port}; it was still waiting for the SSH greeting and key exchange
  nothing was sent to the machine
  help: check that the machine is up and that no firewall drops the connection`,
  );
});

test("a server that speaks something else is no SSH server", async (t) => {
  const sshd = await serve(t);
  const other = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  t.after(() => other.close());
  const { port } = other.address() as AddressInfo;
  const result = await connect({ ...targetOf(sshd), port }, sshd.connectOptions({ timeoutMs: 2_000 }));
  assert.match(textOf(result), /^error\[ssh-handshake\] .* answered, but no SSH session came about$/m);
});

test("a name without an address is reported as such", async (t) => {
  const sshd = await serve(t);
  const result = await connect({ host: "nowhere.invalid", identityFiles: [] }, sshd.connectOptions());
  assert.equal(
    textOf(result),
    `error[ssh-unresolvable] ${sshd.user}@nowhere.invalid:22: the name \`nowhere.invalid\` has no address
  asked this host's resolver
  nothing was sent to the machine
  help: correct \`host\` in machine.ini, or add the name to DNS, /etc/hosts or ~/.ssh/config`,
  );
});

test("a host that ssh would read as an option never reaches it", async (t) => {
  const sshd = await serve(t);
  for (const host of ["-oProxyCommand=touch /tmp/x", "a\nb", ""]) {
    const result = await connect({ host, identityFiles: [] }, sshd.connectOptions());
    assert.match(textOf(result), /^error\[ssh-host-name\]/);
  }
});

test("a missing ssh program names the package to install", async (t) => {
  const sshd = await serve(t);
  const result = await connect(targetOf(sshd), sshd.connectOptions({ env: { PATH: sshd.folder } }));
  assert.equal(
    textOf(result),
    `error[ssh-tool-missing] the program \`ssh\` is not installed here
  it settles ssh_config and known_hosts, so that they mean what they mean to OpenSSH
  help: install the package openssh-client`,
  );
});

test("a command's output, error output and exit status come back", async (t) => {
  const transport = await open(t, await serve(t));
  const result = value(await transport.exec("echo out; echo err >&2; exit 7", LIMIT));
  assert.deepEqual(
    { ...result, stdout: result.stdout.toString() },
    { status: 7, stdout: "out\n", stderr: "err\n" },
  );
});

test("a command that a signal ends has no status but the signal's name", async (t) => {
  const transport = await open(t, await serve(t));
  const result = value(await transport.exec("kill -TERM $$", LIMIT));
  assert.equal(result.status, null);
  assert.equal(result.signal, "SIGTERM");
});

test("standard input travels as text, bytes and stream, and ends", async (t) => {
  const transport = await open(t, await serve(t));
  const bytes = Buffer.from([0, 255, 10, 13, 0]);
  const inputs: [Buffer | string | Readable | undefined, Buffer][] = [
    ["text ü", Buffer.from("text ü")],
    [bytes, bytes],
    [Readable.from([Buffer.from("in "), Buffer.from("pieces")]), Buffer.from("in pieces")],
    [undefined, Buffer.alloc(0)],
  ];
  for (const [stdin, expected] of inputs) {
    const result = value(
      await transport.exec("cat", { ...LIMIT, ...(stdin === undefined ? {} : { stdin }) }),
    );
    assert.deepEqual(result.stdout, expected);
  }
});

test("output without end is cut off at the limit; the connection goes on", async (t) => {
  const sshd = await serve(t);
  const transport = await open(t, sshd);
  const result = await transport.exec("yes", { maxStdoutBytes: 100_000 });
  assert.match(
    textOf(result),
    /^error\[ssh-output-overrun\] a command on .* printed more than 100000 bytes$/m,
  );
  assert.equal(value(await transport.exec("echo on", LIMIT)).stdout.toString(), "on\n");
});

test("output of exactly the limit passes", async (t) => {
  const transport = await open(t, await serve(t));
  const result = value(await transport.exec("head -c 300000 /dev/zero", { maxStdoutBytes: 300_000 }));
  assert.equal(result.stdout.length, 300_000);
});

test("only the end of a long error output is kept", async (t) => {
  const transport = await open(t, await serve(t));
  const result = value(await transport.exec("seq 1 100000 >&2", LIMIT));
  assert.equal(result.stderr.length, 64 * 1024);
  assert.ok(result.stderr.endsWith("\n99999\n100000\n"));
});

test("a command that hangs is given up after its own time", async (t) => {
  const transport = await open(t, await serve(t));
  const result = await transport.exec("sleep 20", { ...LIMIT, timeoutMs: 200 });
  assert.match(textOf(result), /^error\[ssh-exec-timeout\] .* did not end within 0\.2 s$/m);
  assert.equal(value(await transport.exec("echo on", LIMIT)).stdout.toString(), "on\n");
});

test("twenty commands at once all succeed, never more than eight of them at a time", async (t) => {
  const sshd = await serve(t);
  const transport = await open(t, sshd);
  const mark = join(sshd.folder, "running");
  const command = `mkdir -p ${mark} && touch ${mark}/$$ && ls ${mark} | wc -l && sleep 0.1 && rm ${mark}/$$`;
  const results = await Promise.all(Array.from({ length: 20 }, () => transport.exec(command, LIMIT)));
  const seen = results.map((result) => Number(value(result).stdout.toString()));
  assert.equal(seen.length, 20);
  assert.ok(Math.max(...seen) <= 8, `at most 8 at once, saw ${Math.max(...seen)}`);
  assert.ok(Math.max(...seen) > 2, "the control: they do run side by side");
});

test("a server that allows fewer sessions slows commands down but fails none", async (t) => {
  const transport = await open(t, await serve(t, { config: ["MaxSessions 2"] }));
  const results = await Promise.all(Array.from({ length: 10 }, (_, i) => transport.exec(`echo ${i}`, LIMIT)));
  assert.deepEqual(
    results.map((result) => value(result).stdout.toString()),
    Array.from({ length: 10 }, (_, i) => `${i}\n`),
  );
});

test("an open channel carries bytes both ways until it is closed", async (t) => {
  const transport = await open(t, await serve(t));
  const channel = value(await transport.open("cat; exit 3"));
  const received: Buffer[] = [];
  channel.stream.on("data", (chunk: Buffer) => received.push(chunk));
  channel.stderr.resume();
  channel.stream.end("both ways");
  assert.deepEqual(await channel.done, { status: 3 });
  assert.equal(Buffer.concat(received).toString(), "both ways");
  const endless = value(await transport.open("sleep 60"));
  endless.close();
  assert.equal((await endless.done).status, null);
});

test("a connection that breaks fails running and waiting commands, and later ones at once", async (t) => {
  const sshd = await serve(t);
  const transport = await open(t, sshd);
  const running = Array.from({ length: 10 }, () => transport.exec("sleep 60", LIMIT));
  setTimeout(() => sshd.dropConnections(), 300);
  for (const result of await Promise.all(running)) assert.match(textOf(result), /^error\[ssh-lost\]/);
  assert.equal(
    textOf(await transport.exec("true", LIMIT)).split("\n")[0],
    `error[ssh-lost] the connection to ${transport.label} was lost`,
  );
});

test("closing twice is harmless, and a closed connection runs nothing", async (t) => {
  const transport = await open(t, await serve(t));
  await transport.close();
  await transport.close();
  assert.match(textOf(await transport.exec("true", LIMIT)), /labctl had already closed it/);
});

test("a key that the machine does not know is refused with all that was tried", async (t) => {
  const sshd = await serve(t);
  const wrong = join(sshd.folder, "wrong");
  makeKey(wrong);
  const fingerprint = spawnSync("ssh-keygen", ["-lf", wrong], { encoding: "utf8" }).stdout.split(" ")[1];
  const result = await connect(
    { host: sshd.host, port: sshd.port, identityFiles: [wrong, join(sshd.folder, "absent")] },
    sshd.connectOptions(),
  );
  assert.equal(
    textOf(result),
    `error[ssh-auth] ${sshd.user}@127.0.0.1:${sshd.port} accepted none of our keys
  tried ED25519 ${fingerprint} from ${wrong}
  skipped ${join(sshd.folder, "absent")}: no such file
  nothing was sent to the machine
  help: add one of these keys to the user's authorized_keys on the machine, load the right one with ssh-add, or name it as \`identity\` under [ssh] in machine.ini`,
  );
});

test("a server that ends the attempt early still gets the list of keys tried", async (t) => {
  const sshd = await serve(t, { config: ["MaxAuthTries 1"] });
  const wrong = join(sshd.folder, "wrong");
  makeKey(wrong);
  const result = await connect(
    { host: sshd.host, port: sshd.port, identityFiles: [wrong, sshd.identityFile] },
    sshd.connectOptions(),
  );
  assert.match(textOf(result), /^error\[ssh-auth\]/);
  assert.match(textOf(result), /the machine said: Too many authentication failures/);
});

for (const type of ["rsa", "ecdsa"] as const) {
  test(`a key of type ${type} logs in, on a server with only a host key of that type`, async (t) => {
    const sshd = await serve(t, { hostKeyTypes: [type] });
    const key = join(sshd.folder, "own");
    makeKey(key, type);
    writeFileSync(join(sshd.folder, "authorized_keys"), spawnSync("cat", [`${key}.pub`]).stdout);
    const target = { host: sshd.host, port: sshd.port, identityFiles: [key] };
    const transport = value(await connect(target, sshd.connectOptions()));
    t.after(() => transport.close());
    assert.equal(value(await transport.exec("echo in", LIMIT)).stdout.toString(), "in\n");
  });
}

test("an alias in an included file, Match host and ProxyJump through a second server lead to the machine", async (t) => {
  const jump = await serve(t);
  const inner = await serve(t);
  const config = join(inner.folder, "jump_config");
  writeFileSync(
    join(inner.folder, "included"),
    `Host inner\n  HostName 127.0.0.1\n  Port ${inner.port}\n  ProxyJump ${jump.user}@edge:${jump.port}\n`,
  );
  const known = join(inner.folder, "both");
  writeFileSync(
    known,
    `[127.0.0.1]:${inner.port} ${inner.hostKey}\n[127.0.0.1]:${jump.port} ${jump.hostKey}\n`,
  );
  const lines = [
    `Include ${join(inner.folder, "included")}`,
    "Match host edge",
    "  HostName 127.0.0.1",
    "Match originalhost edge",
    `  IdentityFile ${jump.identityFile}`,
    `Match host 127.0.0.1 exec "true"`,
    `  IdentityFile ${inner.identityFile}`,
  ];
  writeSshConfig(config, known, lines);
  const options = inner.connectOptions({ configFile: config });
  const transport = value(await connect({ host: "inner", identityFiles: [] }, options));
  t.after(() => transport.close());
  assert.equal(transport.label, `${inner.user}@inner:${inner.port}`);
  const connection = value(await transport.exec("echo $SSH_CONNECTION", LIMIT)).stdout.toString();
  assert.equal(connection.trim().split(" ")[3], String(inner.port));
  assert.match(jump.log(), /Accepted publickey/, "the jump host was logged in to");

  await t.test("a changed key of the jump host stops everything", async () => {
    writeFileSync(
      known,
      `[127.0.0.1]:${inner.port} ${inner.hostKey}\n[127.0.0.1]:${jump.port} ${inner.hostKey}\n`,
    );
    const result = await connect({ host: "inner", identityFiles: [] }, options);
    assert.match(textOf(result), new RegExp(`^error\\[host-key-changed\\] .*@edge:${jump.port} presents`));
  });
  await t.test("a port that is closed behind the jump host names the jump host", async () => {
    rmSync(known);
    const port = await freePort();
    const result = await connect({ host: "inner", port, identityFiles: [] }, { ...options, acceptNew: true });
    assert.match(textOf(result), /^error\[ssh-refused\]/);
    assert.match(
      textOf(result),
      new RegExp(`through ${jump.user}@edge:${jump.port}: no program listens there`),
    );
  });
});

test("jump hosts that lead to themselves are refused with the route", async (t) => {
  const sshd = await serve(t);
  const config = join(sshd.folder, "loop");
  writeSshConfig(config, sshd.knownHosts, ["Host a", "  ProxyJump b", "Host b", "  ProxyJump a"]);
  const result = await connect({ host: "a", identityFiles: [] }, sshd.connectOptions({ configFile: config }));
  assert.match(textOf(result), /^error\[ssh-jump-loop\] the jump hosts for .*@a:22 never end$/m);
});

test("a ProxyCommand is refused, not passed over", async (t) => {
  const sshd = await serve(t);
  const config = join(sshd.folder, "proxy");
  writeSshConfig(config, sshd.knownHosts, ["Host a", "  ProxyCommand nc %h %p"]);
  const result = await connect({ host: "a", identityFiles: [] }, sshd.connectOptions({ configFile: config }));
  assert.match(textOf(result), /^error\[ssh-proxy-command\].*\n {2}ssh_config says: ProxyCommand nc %h %p$/m);
});

test("a mistake in the ssh configuration is shown in ssh's words", async (t) => {
  const sshd = await serve(t);
  const config = join(sshd.folder, "broken");
  writeFileSync(config, "Host *\n  NoSuchOption yes\n");
  const result = await connect({ host: "a", identityFiles: [] }, sshd.connectOptions({ configFile: config }));
  assert.match(textOf(result), /^error\[ssh-config\]/);
  assert.match(textOf(result), /ssh says: .*broken: line 2: Bad configuration option: nosuchoption/);
});
