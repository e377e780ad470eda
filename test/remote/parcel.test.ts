/** A small change set as one stream: what of it reaches the stage, and that nothing of a bad one does anything. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, existsSync, lstatSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import type { ManifestEntry } from "../../src/build/manifest.ts";
import { blake3 } from "../../src/hash.ts";
import type { AbsPath } from "../../src/paths.ts";
import { isSmall, type Parcel, packParcel } from "../../src/push/stage/parcel.ts";
import { diffTrees, type FileChange } from "../../src/push/tree-diff.ts";
import { file, link, manifestOf } from "../push/manifest-of.ts";
import { temporaryFolder, writeFiles } from "../temporary-repository.ts";
import { type Answer, type Machine, newMachine, op } from "./machine.ts";

/** Debian's group of who may write to /usr/local: machines that were installed long ago have it set there. */
const STAFF = 50;
const MANIFEST = '{"generation":1}\n';

/** A tree in a folder and its manifest's changes: a value starting with `->` is a link. */
async function builtTree(t: TestContext, files: Readonly<Record<string, string>>) {
  const folder = temporaryFolder("parcel") as AbsPath;
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const made = Object.entries(files).map(([path, text]) => [
    path,
    text.startsWith("->") ? { link: text.slice(2) } : text,
  ]);
  writeFiles(folder, Object.fromEntries(made));
  const b3 = await blake3();
  const entries: ManifestEntry[] = Object.entries(files).map(([path, text]) =>
    text.startsWith("->")
      ? link(path, text.slice(2))
      : { ...file(path, "0", { mode: 0o644 }), hash: b3.hash(text), sizeBytes: Buffer.byteLength(text) },
  );
  const changes = diffTrees(undefined, manifestOf(entries));
  const pack = () => packParcel("m", folder, changes, MANIFEST, b3);
  return { folder, changes, pack };
}

async function parcelOf(t: TestContext, files: Readonly<Record<string, string>>): Promise<Parcel> {
  const packed = (await builtTree(t, files)).pack();
  assert.ok(packed.ok);
  return packed.value;
}

function commit(
  machine: Machine,
  parcel: Parcel,
  ops: readonly string[],
  env: Readonly<Record<string, string>> = {},
  sent: string = parcel.bytes.toString(),
): Answer {
  const list = ["expect\t0", `generation\t1\t${"1".padStart(64, "0")}`, ...ops, "end", ""].join("\n");
  const args = ["s1", "tester@here", String(parcel.bytes.length), parcel.sha256];
  return machine.run("commit", args, sent + list, env);
}

const LONG = `${"long-folder-name/".repeat(9)}file`;
const FILES = {
  "etc/a": "one\n",
  "etc/empty": "",
  [LONG]: "far down\n",
  "etc/ü 'x'\\041": "odd\n",
  "-n": "dash\n",
  "etc/link": "->../../nowhere",
  "etc/long": `->/${"t".repeat(150)}`,
};
const PUTS = Object.keys(FILES).map((path) => op("put", path));

test("a parcel of which any part is missing, or another byte, changes nothing and says so", async (t) => {
  const parcel = await parcelOf(t, FILES);
  const machine = newMachine(t);
  const whole = parcel.bytes.toString();
  for (const [sent, problem] of [
    [whole.slice(0, 700), /^parcel-damaged \d+ of \d+ bytes$/],
    [`${whole.slice(0, 600)}X${whole.slice(601)}`, /^parcel-damaged /],
    ["", /^parcel-damaged /],
  ] as const) {
    const answer = commit(machine, parcel, PUTS, {}, sent);
    assert.equal(answer.done, "failed-unchanged", answer.stdout);
    assert.match(answer.problems.join("\n"), problem);
    assert.deepEqual(machine.snapshot(), {});
  }
  assert.equal(commit(machine, parcel, PUTS).done, "ok", "control");
});

test("a length or hash that is none, and a session that leaves its folder, are refused", async (t) => {
  const parcel = await parcelOf(t, { a: "1" });
  const machine = newMachine(t);
  for (const args of [
    ["s1", "me", "-1", parcel.sha256],
    ["s1", "me", "1x", parcel.sha256],
    ["s1", "me", "10", "$(touch /tmp/x)"],
    ["../s1", "me", "10", parcel.sha256],
  ]) {
    const answer = machine.run("commit", args, parcel.bytes.toString());
    assert.equal(answer.done, "failed-unchanged", args.join(" "));
    assert.match(answer.problems.join(), /^(bad-operation|no-stage) /);
  }
  assert.deepEqual(machine.snapshot(), {});
});

test("an archive that its hash vouches for and tar refuses changes nothing", async (t) => {
  const machine = newMachine(t);
  const bytes = Buffer.alloc(1024, "no archive");
  const parcel = { files: 1, bytes, sha256: createHash("sha256").update(bytes).digest("hex") };
  const answer = commit(machine, parcel, [op("put", "a")]);
  assert.equal(answer.done, "failed-unchanged");
  assert.match(answer.problems.join(), /^parcel-failed .*tar/);
});

test("a program killed while it receives or unpacks leaves the tree and no lock", async (t) => {
  const parcel = await parcelOf(t, FILES);
  const machine = newMachine(t);
  for (const point of ["parcel-received", "parcel-unpacked"]) {
    const killed = commit(machine, parcel, PUTS, { LABCTL_TEST_KILL_AT: point });
    assert.equal(killed.signal, "SIGKILL", point);
    assert.deepEqual(machine.snapshot(), {});
    assert.match(machine.run("probe").stdout, /^generation\t0/m);
  }
  assert.equal(commit(machine, parcel, PUTS).done, "ok");
});

test("files, modes and links arrive whatever their names; owners and times are the receiver's", async (t) => {
  const parcel = await parcelOf(t, FILES);
  const machine = newMachine(t);
  const killed = commit(machine, parcel, PUTS, { LABCTL_TEST_KILL_AT: "parcel-unpacked" });
  assert.equal(killed.signal, "SIGKILL");
  const stage = join(machine.root, ".labctl/stage/s1");
  assert.equal(commit(machine, parcel, PUTS).done, "ok");
  const live = machine.snapshot();
  for (const [path, text] of Object.entries(FILES))
    assert.equal(live[path], text.startsWith("->") ? `l ${text.slice(2)}` : `f 644 ${text}`, path);
  assert.equal(machine.state("manifest.json"), MANIFEST);
  assert.equal(existsSync(stage), false);
});

test("where folders give their group to what comes into them, as Debian's /usr/local can, files are their owner's", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("wants root");
  const parcel = await parcelOf(t, FILES);
  const machine = newMachine(t);
  chownSync(machine.root, 0, STAFF);
  chmodSync(machine.root, 0o2775);
  assert.equal(commit(machine, parcel, PUTS).done, "ok");
  for (const path of Object.keys(FILES)) assert.equal(lstatSync(join(machine.root, path)).gid, 0, path);
  writeFileSync(join(machine.root, "control"), "");
  assert.equal(lstatSync(join(machine.root, "control")).gid, STAFF);
});

test("a tree that changed after its build is not sent", async (t) => {
  const { folder, pack } = await builtTree(t, { a: "1", b: "->x" });
  assert.ok(pack().ok, "control");
  writeFileSync(join(folder, "a"), "2");
  const packed = pack();
  assert.deepEqual(packed.ok ? [] : packed.problems.map((p) => `${p.code} ${p.message}`), [
    "tree-changed `a` changed since it was built",
  ]);
});

test("what is many or big goes by rsync", () => {
  const change = (sizeBytes: number): FileChange => {
    const [one] = diffTrees(undefined, manifestOf([{ ...file("a", "1"), sizeBytes }]));
    return one as FileChange;
  };
  assert.equal(isSmall([change(1000)], 1000), true);
  assert.equal(isSmall([change(300 * 1024)], 1000), false);
  assert.equal(isSmall([change(200 * 1024), change(100 * 1024)], 1000), false);
  assert.equal(isSmall(Array(201).fill(change(1)), 1000), false);
  assert.equal(isSmall([change(1)], 300 * 1024), false);
});
