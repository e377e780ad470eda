/** Commands and channels with both back-ends against a real sshd: limits, loss, and many at once. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Readable } from "node:stream";
import test, { type TestContext } from "node:test";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import type { SshClient, SshTarget, Transport } from "../../src/push/transport.ts";
import { type Sshd, type SshdOptions, startSshd } from "./sshd-fixture.ts";

const LIMIT = { maxStdoutBytes: 1024 * 1024 };

async function serve(t: TestContext, options?: SshdOptions): Promise<Sshd> {
  const sshd = await startSshd(options);
  t.after(() => sshd.stop());
  return sshd;
}

function targetOf(sshd: Sshd): SshTarget {
  return { host: sshd.host, port: sshd.port, identityFiles: [sshd.identityFile] };
}

async function open(t: TestContext, sshd: Sshd, client: SshClient): Promise<Transport> {
  const transport = value(await connect(targetOf(sshd), sshd.connectOptions({ client })));
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

for (const client of ["builtin", "openssh"] as const) {
  test(`${client}: a command's output, error output and exit status come back`, async (t) => {
    const transport = await open(t, await serve(t), client);
    const result = value(await transport.exec("echo out; echo err >&2; exit 7", LIMIT));
    assert.deepEqual(
      { ...result, stdout: result.stdout.toString() },
      { status: 7, stdout: "out\n", stderr: "err\n" },
    );
  });

  test(`${client}: a command's own status 255 is its status, not a failure of ssh`, async (t) => {
    const transport = await open(t, await serve(t), client);
    const result = value(await transport.exec("exit 255", LIMIT));
    assert.equal(result.status, 255);
  });

  test(`${client}: a command that a signal ends has no status`, async (t) => {
    const transport = await open(t, await serve(t), client);
    const result = value(await transport.exec("kill -TERM $$", LIMIT));
    assert.equal(result.status, null);
    // ssh does not pass on which one it was.
    assert.equal(result.signal, client === "builtin" ? "SIGTERM" : undefined);
  });

  test(`${client}: standard input travels as text, bytes and stream, and ends`, async (t) => {
    const transport = await open(t, await serve(t), client);
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

  test(`${client}: output without end is cut off at the limit; the connection goes on`, async (t) => {
    const sshd = await serve(t);
    const transport = await open(t, sshd, client);
    const result = await transport.exec("yes", { maxStdoutBytes: 100_000 });
    assert.match(
      textOf(result),
      /^error\[ssh-output-overrun\] a command on .* printed more than 100000 bytes$/m,
    );
    assert.equal(value(await transport.exec("echo on", LIMIT)).stdout.toString(), "on\n");
  });

  test(`${client}: output of exactly the limit passes`, async (t) => {
    const transport = await open(t, await serve(t), client);
    const result = value(await transport.exec("head -c 300000 /dev/zero", { maxStdoutBytes: 300_000 }));
    assert.equal(result.stdout.length, 300_000);
  });

  test(`${client}: only the end of a long error output is kept`, async (t) => {
    const transport = await open(t, await serve(t), client);
    const result = value(await transport.exec("seq 1 100000 >&2", LIMIT));
    assert.equal(result.stderr.length, 64 * 1024);
    assert.ok(result.stderr.endsWith("\n99999\n100000\n"));
  });

  test(`${client}: a command that hangs is given up after its own time`, async (t) => {
    const transport = await open(t, await serve(t), client);
    const result = await transport.exec("sleep 20", { ...LIMIT, timeoutMs: 200 });
    assert.match(textOf(result), /^error\[ssh-exec-timeout\] .* did not end within 0\.2 s$/m);
    assert.equal(value(await transport.exec("echo on", LIMIT)).stdout.toString(), "on\n");
  });

  test(`${client}: twenty commands at once all succeed, never more than eight of them at a time`, async (t) => {
    const sshd = await serve(t);
    const transport = await open(t, sshd, client);
    const mark = join(sshd.folder, "running");
    const command = `mkdir -p ${mark} && touch ${mark}/$$ && ls ${mark} | wc -l && sleep 0.1 && rm ${mark}/$$`;
    const results = await Promise.all(Array.from({ length: 20 }, () => transport.exec(command, LIMIT)));
    const seen = results.map((result) => Number(value(result).stdout.toString()));
    assert.equal(seen.length, 20);
    assert.ok(Math.max(...seen) <= 8, `at most 8 at once, saw ${Math.max(...seen)}`);
    assert.ok(Math.max(...seen) > 2, "the control: they do run side by side");
  });

  test(`${client}: a server that allows fewer sessions slows commands down but fails none`, async (t) => {
    const transport = await open(t, await serve(t, { config: ["MaxSessions 2"] }), client);
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => transport.exec(`echo ${i}`, LIMIT)),
    );
    assert.deepEqual(
      results.map((result) => value(result).stdout.toString()),
      Array.from({ length: 10 }, (_, i) => `${i}\n`),
    );
  });

  test(`${client}: an open channel carries bytes both ways until it is closed`, async (t) => {
    const transport = await open(t, await serve(t), client);
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

  test(`${client}: a connection that breaks fails running and waiting commands, and later ones at once`, async (t) => {
    const sshd = await serve(t);
    const transport = await open(t, sshd, client);
    const running = Array.from({ length: 10 }, () => transport.exec("sleep 60", LIMIT));
    setTimeout(() => sshd.dropConnections(), 300);
    assert.equal(transport.isLost(), false);
    for (const result of await Promise.all(running)) assert.match(textOf(result), /^error\[ssh-lost\]/);
    assert.equal(transport.isLost(), true);
    assert.equal(
      textOf(await transport.exec("true", LIMIT)).split("\n")[0],
      `error[ssh-lost] the connection to ${transport.label} was lost`,
    );
  });

  test(`${client}: closing twice is harmless, and a closed connection runs nothing`, async (t) => {
    const transport = await open(t, await serve(t), client);
    await transport.close();
    await transport.close();
    assert.match(textOf(await transport.exec("true", LIMIT)), /labctl had already closed it/);
  });
}
