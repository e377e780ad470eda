/** Files sent by the real rsync over a real connection: what arrives, how little travels, and how it fails. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDiagnostic, type Result } from "../../src/diagnostics.ts";
import type { AbsPath, RelPath } from "../../src/paths.ts";
import { connect } from "../../src/push/ssh/connect.ts";
import { parseOutput, type SendFiles, type SentFiles, sendFiles } from "../../src/push/stage/rsync.ts";
import type { Transport } from "../../src/push/transport.ts";
import { type Sshd, startSshd } from "./sshd-fixture.ts";

interface Bench {
  readonly sshd: Sshd;
  readonly transport: Transport;
  readonly source: string;
  readonly stage: string;
  readonly live: string;
  write(path: string, content: string | Buffer, mode?: number): void;
  send(files: readonly string[], more?: Partial<SendFiles>): Promise<Result<SentFiles>>;
}

async function prepare(t: TestContext): Promise<Bench> {
  const sshd = await startSshd();
  t.after(() => sshd.stop());
  const target = { host: sshd.host, port: sshd.port, identityFiles: [sshd.identityFile] };
  const transport = value(await connect(target, sshd.connectOptions()));
  t.after(() => transport.close());
  const [source, stage, live] = ["source", "sta ge", "live"].map((name) => join(sshd.folder, name)) as [
    string,
    string,
    string,
  ];
  for (const folder of [source, stage, live]) mkdirSync(folder);
  return {
    sshd,
    transport,
    source,
    stage,
    live,
    write(path, content, mode = 0o644) {
      mkdirSync(dirname(join(source, path)), { recursive: true });
      writeFileSync(join(source, path), content);
      chmodSync(join(source, path), mode);
    },
    send: (files, more) =>
      sendFiles(transport, {
        sourceRoot: source as AbsPath,
        files: files as RelPath[],
        destination: stage,
        sudo: false,
        ...more,
      }),
  };
}

function value<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(textOf(result));
}

function textOf(result: Result<unknown>): string {
  return result.ok ? "(no problem)" : result.problems.map(formatDiagnostic).join("\n");
}

/** rsync processes of this machine that serve one of the bench's folders. */
function rsyncsOf(bench: Bench): string[] {
  return execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.startsWith("rsync") && line.includes(bench.sshd.folder));
}

test("a machine without rsync is told how to get it", async (t) => {
  const bench = await prepare(t);
  bench.write("a", "a");
  const rsyncPath = `env PATH=${bench.live} rsync`;
  for (const path of ["no-such-rsync", rsyncPath]) {
    const result = await bench.send(["a"], { rsyncPath: path });
    assert.equal(
      textOf(result),
      `error[rsync-missing] the program \`rsync\` is not installed on ${bench.transport.label}
  it receives the files there
  nothing live was changed
  help: run \`apt-get install rsync\` on the machine`,
    );
  }
});

test("a missing local rsync is told apart", async (t) => {
  const bench = await prepare(t);
  bench.write("a", "a");
  const path = process.env.PATH;
  process.env.PATH = bench.live;
  t.after(() => {
    process.env.PATH = path;
  });
  const result = await bench.send(["a"]);
  process.env.PATH = path;
  assert.equal(
    textOf(result),
    `error[rsync-missing] the program \`rsync\` is not installed here
  it sends the files, on this side and on the machine's
  help: install the package rsync`,
  );
});

test("a full disk names the machine and the folder, and says that nothing live changed", async (t) => {
  const bench = await prepare(t);
  bench.write("big", randomBytes(3_000_000));
  // A small file system that only this one process sees.
  const script = join(bench.sshd.folder, "small-rsync");
  writeFileSync(
    script,
    `#!/bin/sh\nexec unshare -rm sh -c 'mount -t tmpfs -o size=1m none "$0" && exec rsync "$@"' "${bench.stage}" "$@"\n`,
  );
  chmodSync(script, 0o755);
  const result = await bench.send(["big"], { rsyncPath: script });
  assert.equal(
    textOf(result),
    `error[disk-full] no space is left on ${bench.transport.label} under ${bench.stage}
  nothing live was changed; what was staged so far is overwritten next time
  help: free space on the file system of ${bench.stage} (\`df -h '${bench.stage}'\`), then run the same command again`,
  );
  assert.deepEqual(rsyncsOf(bench), []);
});

test("a destination that is no folder fails with rsync's own words", async (t) => {
  const bench = await prepare(t);
  bench.write("a", "a");
  const result = await bench.send(["a"], { destination: `${bench.source}/a` });
  assert.match(textOf(result), /^error\[rsync-failed\] sending files to .* failed$/m);
});

test("a file that vanished here fails, and does not pass for sent", async (t) => {
  const bench = await prepare(t);
  bench.write("a", "a");
  const result = await bench.send(["a", "gone"]);
  assert.match(textOf(result), /^error\[rsync-failed\]/);
  assert.match(textOf(result), /gone" failed: No such file or directory/);
});

test("a connection that breaks in the middle is reported as lost and leaves no rsync behind", async (t) => {
  const bench = await prepare(t);
  bench.write("big", randomBytes(20_000_000));
  const script = join(bench.sshd.folder, "slow-rsync");
  const mark = join(bench.sshd.folder, "half-way");
  writeFileSync(
    script,
    `#!/bin/sh\n(dd bs=16k count=300 2>/dev/null; touch ${mark}; sleep 20) | rsync "$@"\n`,
  );
  chmodSync(script, 0o755);
  const sending = bench.send(["big"], { rsyncPath: script });
  for (let tries = 0; !existsSync(mark) && tries < 200; tries++) await sleep(25);
  assert.ok(existsSync(mark), "the control: some of it had arrived");
  bench.sshd.dropConnections();
  const started = Date.now();
  const result = await sending;
  assert.match(textOf(result), /^error\[ssh-lost\]/);
  assert.ok(Date.now() - started < 5_000);
  assert.deepEqual(rsyncsOf(bench), []);
  assert.ok(!existsSync(join(bench.stage, "big")), "no half file under the final name");
});

test("paths that leave the root never reach rsync", async (t) => {
  const bench = await prepare(t);
  for (const path of ["/etc/passwd", "../x", "a\nb"])
    assert.match(textOf(await bench.send([path])), /^error\[rsync-file-name\]/);
});

test("new files arrive with content, modes, links and folders", async (t) => {
  const bench = await prepare(t);
  bench.write("bin/tool", "#!/bin/sh\n", 0o755);
  bench.write("etc/secret", "s", 0o600);
  symlinkSync("../nowhere/at all", join(bench.source, "etc/link"));
  mkdirSync(join(bench.source, "empty"));
  bench.write("not/listed", "x");
  const sent = value(await bench.send(["bin/tool", "etc/secret", "etc/link", "empty"]));
  assert.deepEqual([...sent.changed].sort(), ["bin/tool", "etc/link", "etc/secret"]);
  assert.equal(readFileSync(join(bench.stage, "bin/tool"), "utf8"), "#!/bin/sh\n");
  assert.equal(statSync(join(bench.stage, "bin/tool")).mode & 0o7777, 0o755);
  assert.equal(statSync(join(bench.stage, "etc/secret")).mode & 0o7777, 0o600);
  assert.equal(readlinkSync(join(bench.stage, "etc/link")), "../nowhere/at all");
  assert.ok(lstatSync(join(bench.stage, "empty")).isDirectory());
  assert.ok(!existsSync(join(bench.stage, "not")), "only what is listed");
  assert.deepEqual(rsyncsOf(bench), []);
});

test("a second send by checksum changes nothing; a changed file of equal size and time is seen", async (t) => {
  const bench = await prepare(t);
  bench.write("a", "one");
  bench.write("b", "two");
  value(await bench.send(["a", "b"]));
  assert.deepEqual(value(await bench.send(["a", "b"], { checksum: true })).changed, []);
  const { atime, mtime } = statSync(join(bench.source, "b"));
  bench.write("b", "TWO");
  utimesSync(join(bench.source, "b"), atime, mtime);
  assert.deepEqual(value(await bench.send(["a", "b"], { checksum: true })).changed, ["b"]);
  assert.equal(readFileSync(join(bench.stage, "b"), "utf8"), "TWO");
});

test("a dry run lists and writes nothing", async (t) => {
  const bench = await prepare(t);
  bench.write("a", "one");
  assert.deepEqual(value(await bench.send(["a"], { dryRun: true })).changed, ["a"]);
  assert.deepEqual(readdirSync(bench.stage), []);
});

test("nothing to send starts nothing", async (t) => {
  const bench = await prepare(t);
  assert.deepEqual(value(await bench.send([], { rsyncPath: "no-such-rsync" })).changed, []);
});

test("names with blanks, quotes, unicode, leading dashes and shell signs arrive as they are", async (t) => {
  const bench = await prepare(t);
  const names = [
    "-rf",
    "--delete",
    "a b/c  d",
    "ünïcödé-日本",
    "'quoted' \"twice\"",
    "$(touch pwned)",
    "`id`;*?[x]",
    "back\\slash",
    "back\\#123",
    "trailing ",
    " leading",
    "#hash",
    ";semicolon",
  ];
  for (const name of names) bench.write(name, name);
  const sent = value(await bench.send(names));
  assert.deepEqual([...sent.changed].sort(), [...names].sort());
  for (const name of names) assert.equal(readFileSync(join(bench.stage, name), "utf8"), name);
  assert.ok(!existsSync(join(bench.sshd.folder, "pwned")));
});

test("a big changed file travels as its difference from the live one, into a file of its own", async (t) => {
  const bench = await prepare(t);
  const content = randomBytes(50_000_000);
  mkdirSync(join(bench.live, "lib"));
  writeFileSync(join(bench.live, "lib/big"), content);
  const before = statSync(join(bench.live, "lib/big"));
  const changed = Buffer.from(content);
  changed.write("changed in the middle", 25_000_000);
  bench.write("lib/big", changed);

  const whole = value(
    await bench.send(["lib/big"], { dryRun: false, destination: `${bench.stage}/control` }),
  );
  assert.ok(whole.bytesSent > 49_000_000, "the control: without a basis all of it travels");

  const sent = value(await bench.send(["lib/big"], { deltaFrom: bench.live }));
  assert.ok(sent.bytesSent < 500_000, `sent ${sent.bytesSent}`);
  assert.ok(sent.matchedBytes > 49_000_000);
  assert.ok(readFileSync(join(bench.stage, "lib/big")).equals(changed));
  const after = statSync(join(bench.live, "lib/big"));
  assert.equal(after.ino, before.ino);
  assert.notEqual(statSync(join(bench.stage, "lib/big")).ino, after.ino);
  assert.ok(readFileSync(join(bench.live, "lib/big")).equals(content), "the live file is only read");
});

test("files and links that the basis has already are staged all the same, as copies", async (t) => {
  const bench = await prepare(t);
  bench.write("same", "same", 0o640);
  writeFileSync(join(bench.live, "same"), "same");
  symlinkSync("x", join(bench.source, "link"));
  symlinkSync("x", join(bench.live, "link"));
  for (const checksum of [false, true]) {
    const destination = join(bench.sshd.folder, `stage-${checksum}`);
    value(await bench.send(["same", "link"], { deltaFrom: bench.live, checksum, destination }));
    assert.equal(readFileSync(join(destination, "same"), "utf8"), "same");
    assert.equal(readlinkSync(join(destination, "link")), "x");
    assert.equal(statSync(join(destination, "same")).mode & 0o7777, 0o640);
    assert.notEqual(statSync(join(destination, "same")).ino, statSync(join(bench.live, "same")).ino);
  }
});

test("eight transfers at once over one connection all arrive", async (t) => {
  const bench = await prepare(t);
  bench.write("a", randomBytes(300_000));
  const sends = Array.from({ length: 8 }, (_, i) =>
    bench.send(["a"], { destination: `${bench.stage}/${i}` }),
  );
  for (const result of await Promise.all(sends)) assert.equal(value(result).literalBytes, 300_000);
});

test("rsync's report is read whatever the names in it look like", () => {
  const text =
    "+ <f+++++++++ a b\n+ cL+++++++++ l\n+ cd+++++++++ dir/\n+ <f..t...... x\\#012y\nLiteral data: 12 bytes\nMatched data: 0 bytes\nTotal bytes sent: 99\nTotal bytes received: 7\n";
  assert.deepEqual(parseOutput(text), {
    bytesSent: 99,
    bytesReceived: 7,
    literalBytes: 12,
    matchedBytes: 0,
    changed: ["a b", "l", "x\ny"],
  });
});
