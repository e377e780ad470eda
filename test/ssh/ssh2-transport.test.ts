/** What is the built-in client's own: kinds of keys, and what it leaves to the system's ssh. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import { makeKey, type Sshd, type SshdOptions, startSshd, writeSshConfig } from "./sshd-fixture.ts";

const LIMIT = { maxStdoutBytes: 1024 * 1024 };

async function serve(t: TestContext, options?: SshdOptions): Promise<Sshd> {
  const sshd = await startSshd(options);
  t.after(() => sshd.stop());
  return sshd;
}

function value<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(textOf(result));
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "(no problem)" : result.problems.map(formatDiagnostic).join("\n");
}

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
  assert.equal(
    textOf(result),
    `error[ssh-proxy-command] a is reached through a ProxyCommand, which the built-in client does not run
  ssh_config says: ProxyCommand nc %h %p
  help: use --ssh=openssh, or \`client = openssh\` under [ssh] in machine.ini; ProxyJump needs neither`,
  );
});
