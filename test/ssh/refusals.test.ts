/** The text of every refusal to connect, the same with both back-ends, against a real sshd. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import type { SshTarget } from "../../src/push/transport.ts";
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

function value<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(textOf(result));
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "(no problem)" : result.problems.map(formatDiagnostic).join("\n");
}

for (const client of ["builtin", "openssh"] as const) {
  test(`${client}: a port where nothing listens is reported with the address that was tried`, async (t) => {
    const sshd = await serve(t);
    const port = await freePort();
    const result = await connect({ ...targetOf(sshd), port }, sshd.connectOptions({ client }));
    const label = `${sshd.user}@127.0.0.1:${port}`;
    assert.equal(
      textOf(result),
      `error[ssh-refused] ${label} refused the connection
  tried 127.0.0.1:${port}: no program listens there
  nothing was sent to the machine
  help: check that sshd runs on the machine, and that host and port are right`,
    );
  });

  test(`${client}: a host that accepts but never answers times out with the step it hung in`, async (t) => {
    const sshd = await serve(t);
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    t.after(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const result = await connect(
      { ...targetOf(sshd), port },
      sshd.connectOptions({ client, timeoutMs: 300 }),
    );
    assert.equal(
      textOf(result),
      `error[ssh-timeout] ${sshd.user}@127.0.0.1:${port} did not answer within 0.3 s
  tried 127.0.0.1:${port}; it was still waiting for the SSH greeting and key exchange
  nothing was sent to the machine
  help: check that the machine is up and that no firewall drops the connection`,
    );
  });

  test(`${client}: a server that speaks something else is no SSH server`, async (t) => {
    const sshd = await serve(t);
    const other = createServer((socket) => {
      socket.on("error", () => {});
      socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    t.after(() => other.close());
    const { port } = other.address() as AddressInfo;
    const result = await connect(
      { ...targetOf(sshd), port },
      sshd.connectOptions({ client, timeoutMs: 2_000 }),
    );
    assert.match(textOf(result), /^error\[ssh-handshake\] .* answered, but no SSH session came about$/m);
  });

  test(`${client}: a name without an address is reported as such`, async (t) => {
    const sshd = await serve(t);
    const result = await connect(
      { host: "nowhere.invalid", identityFiles: [] },
      sshd.connectOptions({ client }),
    );
    assert.equal(
      textOf(result),
      `error[ssh-unresolvable] ${sshd.user}@nowhere.invalid:22: the name \`nowhere.invalid\` has no address
  asked this host's resolver
  nothing was sent to the machine
  help: correct \`host\` in machine.ini, or add the name to DNS, /etc/hosts or ~/.ssh/config`,
    );
  });

  test(`${client}: a host that ssh would read as an option never reaches it`, async (t) => {
    const sshd = await serve(t);
    for (const host of ["-oProxyCommand=touch /tmp/x", "a\nb", ""]) {
      const result = await connect({ host, identityFiles: [] }, sshd.connectOptions({ client }));
      assert.match(textOf(result), /^error\[ssh-host-name\]/);
    }
  });

  test(`${client}: a missing ssh program names the package to install`, async (t) => {
    const sshd = await serve(t);
    const result = await connect(targetOf(sshd), sshd.connectOptions({ client, env: { PATH: sshd.folder } }));
    assert.equal(
      textOf(result),
      `error[ssh-tool-missing] the program \`ssh\` is not installed here
  it settles ssh_config and known_hosts, so that they mean what they mean to OpenSSH
  help: install the package openssh-client`,
    );
  });

  test(`${client}: a key that the machine does not know is refused with all that was tried`, async (t) => {
    const sshd = await serve(t);
    const wrong = join(sshd.folder, "wrong");
    makeKey(wrong);
    const fingerprint = spawnSync("ssh-keygen", ["-lf", wrong], { encoding: "utf8" }).stdout.split(" ")[1];
    const result = await connect(
      { host: sshd.host, port: sshd.port, identityFiles: [wrong, join(sshd.folder, "absent")] },
      sshd.connectOptions({ client }),
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

  test(`${client}: a server that ends the attempt early still gets the list of keys tried`, async (t) => {
    const sshd = await serve(t, { config: ["MaxAuthTries 1"] });
    const wrong = join(sshd.folder, "wrong");
    makeKey(wrong);
    const result = await connect(
      { host: sshd.host, port: sshd.port, identityFiles: [wrong, sshd.identityFile] },
      sshd.connectOptions({ client }),
    );
    assert.match(textOf(result), /^error\[ssh-auth\]/);
    assert.match(textOf(result), /the machine said: Too many authentication failures/);
  });

  test(`${client}: an alias in an included file, Match host and ProxyJump through a second server lead to the machine`, async (t) => {
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
    const options = inner.connectOptions({ client, configFile: config });
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
      const result = await connect(
        { host: "inner", port, identityFiles: [] },
        { ...options, acceptNew: true },
      );
      assert.match(textOf(result), /^error\[ssh-refused\]/);
      assert.match(
        textOf(result),
        new RegExp(`through ${jump.user}@edge:${jump.port}: no program listens there`),
      );
    });
  });

  test(`${client}: a mistake in the ssh configuration is shown in ssh's words`, async (t) => {
    const sshd = await serve(t);
    const config = join(sshd.folder, "broken");
    writeFileSync(config, "Host *\n  NoSuchOption yes\n");
    const result = await connect(
      { host: "a", identityFiles: [] },
      sshd.connectOptions({ client, configFile: config }),
    );
    assert.match(textOf(result), /^error\[ssh-config\]/);
    assert.match(textOf(result), /ssh says: .*broken: line 2: Bad configuration option: nosuchoption/);
  });
}
