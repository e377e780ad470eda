/** A peer that dies in silence, and one that is away for a moment only. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { type AddressInfo, connect as connectTcp, createServer } from "node:net";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import type { SshClient } from "../../src/push/transport.ts";
import { startSshd } from "./sshd-fixture.ts";

const CLIENTS: readonly SshClient[] = ["builtin", "openssh"];

function textOf(result: Result<unknown>): string {
  return result.ok ? "in" : result.problems.map(formatDiagnostic).join("\n");
}

/** Stops, without ending, every process that serves a connection. */
function freeze(t: TestContext, pid: number): void {
  const below = (parent: number): number[] =>
    execFileSync("sh", ["-c", `ps -o pid= --ppid ${parent} || true`], { encoding: "utf8" })
      .split("\n")
      .map(Number)
      .filter((one) => one > 0)
      .flatMap((one) => [one, ...below(one)]);
  const frozen = below(pid);
  assert.ok(frozen.length > 0);
  for (const one of frozen) process.kill(one, "SIGSTOP");
  t.after(() => {
    for (const one of frozen) {
      try {
        process.kill(one, "SIGCONT");
      } catch {
        // The server was ended first.
      }
    }
  });
}

test("a peer that falls silent is given up after four thirds of --timeout, with either client", async (t) => {
  await Promise.all(
    CLIENTS.map(async (client) => {
      const sshd = await startSshd();
      t.after(() => sshd.stop());
      const target = { host: sshd.host, port: sshd.port, identityFiles: [sshd.identityFile] };
      const connected = await connect(target, sshd.connectOptions({ client, timeoutMs: 6000 }));
      assert.ok(connected.ok, textOf(connected));
      const transport = connected.value;
      t.after(() => transport.close());
      const running = transport.exec("sleep 60", { maxStdoutBytes: 100 });
      await sleep(300);
      freeze(t, sshd.pid);
      const startedAt = performance.now();
      assert.match(textOf(await running), /^error\[ssh-lost\]/, client);
      const seconds = (performance.now() - startedAt) / 1000;
      assert.ok(seconds > 3 && seconds < 14, `${client}: ${seconds} s`);
    }),
  );
});

for (const client of CLIENTS) {
  test(`${client}: a connection that ends in the handshake twice is tried a third time, and no fourth`, async (t) => {
    const sshd = await startSshd();
    t.after(() => sshd.stop());
    for (const failures of [2, 3]) {
      let count = 0;
      // Stands before the server and drops the first ones, as a full MaxStartups does.
      const gate = createServer((socket) => {
        socket.on("error", () => {});
        if (++count <= failures) return socket.destroy();
        const inner = connectTcp(sshd.port, sshd.host);
        inner.on("error", () => socket.destroy());
        socket.pipe(inner).pipe(socket);
      });
      await new Promise<void>((resolve) => gate.listen(0, "127.0.0.1", resolve));
      t.after(() => gate.close());
      const target = {
        host: sshd.host,
        port: (gate.address() as AddressInfo).port,
        identityFiles: [sshd.identityFile],
      };
      const result = await connect(target, sshd.connectOptions({ client, acceptNew: true }));
      if (result.ok) await result.value.close();
      assert.match(textOf(result), failures === 2 ? /^in$/ : /^error\[ssh-handshake\]/);
      assert.equal(count, 3);
    }
  });

  test(`${client}: a refusal that trying again can't change is told at once`, async (t) => {
    const sshd = await startSshd();
    t.after(() => sshd.stop());
    const target = { host: sshd.host, port: sshd.port, identityFiles: [] };
    const result = await connect(target, sshd.connectOptions({ client }));
    assert.match(textOf(result), /^error\[ssh-auth\]/);
    assert.equal(sshd.log().match(/Connection from/g)?.length, 1);
  });
}
