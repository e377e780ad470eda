/** `--diff` on a real machine: against what is really there, and never a secret. */
import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, liveTree } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const OPT = "machines/demo/opt/notes";

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.write({
      [`${OPT}/a.txt`]: "one\ntwo\nthree\n",
      [`${OPT}/gone.txt`]: "away\n",
      [`${OPT}/mode.txt`]: "same\n",
      [`${OPT}/link`]: { link: "a.txt" },
      [`${OPT}/secret`]: "planted-old\n",
      [`${OPT}/token.cred`]: "planted-cred\n",
      [`${OPT}/blob`]: "a\0b",
    });
    lab.edit("machines/demo/machine.ini", "[ssh]", "[attributes]\nopt/notes/secret = mode 0600\n[ssh]");
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

/** The lines of standard output from the first difference on. */
function differences(stdout: string): string[] {
  const lines = stdout.trimEnd().split("\n");
  return lines.slice(lines.findIndex((l) => l.startsWith("--- ")));
}

test("a first push: everything is new, and --diff shows it", async () => {
  const bed = await theBed();
  const lab = labFor(bed, (await bootMachine(bed)).name);
  const plan = await lab.expect(2, ["plan", "demo", "-q", "--diff"]);
  assert.match(
    plan.stdout,
    /^--- \/dev\/null\n\+\+\+ build:\/usr\/local\/opt\/nginx\/conf\/main.nginx\n@@ -0,0 /m,
  );
});

test("each kind of change, against what someone made of the file by hand", async () => {
  const { lab, machine } = await theMachine();
  lab.write({
    [`${OPT}/a.txt`]: "one\nTWO\nthree\n",
    [`${OPT}/secret`]: "planted-new\n",
    [`${OPT}/token.cred`]: "planted-other\n",
    [`${OPT}/blob`]: "a\0c",
    [`${OPT}/new \u00e9.txt`]: "new",
  });
  lab.remove(`${OPT}/gone.txt`);
  lab.remove(`${OPT}/link`);
  lab.write({ [`${OPT}/link`]: { link: "new" } });
  chmodSync(join(lab.root, `${OPT}/mode.txt`), 0o755);
  // By hand: a line more, with what could steer a terminal.
  await inside(machine, `printf 'by hand \\033[2J\\n' >>/usr/local/opt/notes/a.txt`);
  const before = await liveTree(machine);
  const plan = await lab.expect(2, ["plan", "demo", "-q", "--diff"]);
  const hash = /, sha256:[0-9a-f]{12}/g;
  assert.deepEqual(
    differences(plan.stdout).map((l) => l.replace(hash, "")),
    `--- machine:/usr/local/opt/notes/a.txt
+++ build:/usr/local/opt/notes/a.txt
@@ -1,4 +1,3 @@
 one
-two
+TWO
 three
-by hand \\x1b[2J
--- machine:/usr/local/opt/notes/blob
+++ build:/usr/local/opt/notes/blob
-binary, 3 bytes
+binary, 3 bytes
--- machine:/usr/local/opt/notes/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-away
--- machine:/usr/local/opt/notes/link
+++ build:/usr/local/opt/notes/link
-link to a.txt
+link to new
--- machine:/usr/local/opt/notes/mode.txt
+++ build:/usr/local/opt/notes/mode.txt
    mode 0644 → 0755
--- /dev/null
+++ build:/usr/local/opt/notes/new é.txt
@@ -0,0 +1 @@
+new
\\ no newline at the end of the file
--- machine:/usr/local/opt/notes/secret
+++ build:/usr/local/opt/notes/secret
-secret
+secret
--- machine:/usr/local/opt/notes/token.cred
+++ build:/usr/local/opt/notes/token.cred
-secret
+secret`.split("\n"),
  );
  assert.equal(plan.stdout.match(hash)?.length, 6);
  const json = await lab.expect(2, ["plan", "demo", "-q", "--diff", "--json"]);
  const { diffs } = JSON.parse(json.stdout);
  assert.deepEqual(diffs[0].hunks[0].lines, [
    " one\n",
    "-two\n",
    "+TWO\n",
    " three\n",
    "-by hand \u001b[2J\n",
  ]);
  // Standard output is no terminal here, whatever standard error is.
  for (const text of [plan.stdout, plan.stderr, json.stdout, json.stderr]) {
    assert.doesNotMatch(text, /planted/);
    assert.ok(!text.includes("\u001b"));
  }
  assert.deepEqual(await liveTree(machine), before, "a plan changed something");
});

test("push and rollback show the same before they change anything", async () => {
  const { lab } = await theMachine();
  const pushed = await lab.expect(0, ["push", "demo", "--diff"]);
  assert.match(pushed.stderr, /\n-by hand \\x1b\[2J\n[\s\S]*\n.*committed/);
  assert.doesNotMatch(pushed.stderr, /planted/);
  const back = await lab.expect(2, ["rollback", "demo", "--diff", "--dry-run"]);
  assert.match(back.stderr, /\n-TWO\n\+two\n/);
  assert.match(back.stderr, /\n\+secret, sha256:/);
  assert.doesNotMatch(back.stderr, /planted/);
  // From another host, which has no tree: the machine's own generations have it all.
  lab.remove("var");
  const again = await lab.expect(2, ["rollback", "demo", "--diff", "--dry-run"]);
  assert.equal(
    again.stderr.slice(again.stderr.indexOf("---")),
    back.stderr.slice(back.stderr.indexOf("---")),
  );
});

test("a file that a hand closed is not opened to whoever plans; one that grew is not sent", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    "cd /usr/local/opt/notes; echo planted >>a.txt; chmod 600 a.txt; head -c 300000 /dev/zero | tr '\\0' x >gone.txt",
  );
  await inside(
    machine,
    "rm /usr/local/opt/notes/gone.txt; head -c 300000 /dev/zero | tr '\\0' x >/usr/local/opt/notes/mode.txt",
  );
  const plan = await lab.expect(2, ["plan", "demo", "-q", "--diff"]);
  assert.doesNotMatch(plan.stdout, /planted/);
  assert.match(plan.stdout, /\n {4}mode 0600 → 0644\n-secret, sha256:[0-9a-f]{12}\n\+secret, sha256:/);
  assert.match(plan.stdout, /\n-big, 300000 bytes, sha256:[0-9a-f]{12}\n\+big, 5 bytes, sha256:/);
});
