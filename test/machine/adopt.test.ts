/** An edit on a real machine comes back into its source, or is refused with the place to edit; a push then changes nothing. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveTree,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const STYLE = "layers/site/opt/site/style.css";
const FILES = {
  "layers/site/layer.ini": "[layer]\ndescription = a site\n",
  "layers/site/README.md": "a site\n",
  [STYLE]: "body {\n  color: black;\n}\n",
  "layers/site/opt/site/tool.ts": "console.log(1);\n",
  "layers/site/opt/site/link": { link: "style.css" },
  "layers/site/opt/site/text.txt.hbs": "first\nof {{machine.name}}\nlast\n",
  "layers/site/opt/site/!shared.conf": { link: "../../../../shared/base.conf" },
  "shared/base.conf": "x = 1\n",
  "layers/site/lib/systemd/system/site.service":
    "[Service]\nExecStart=/usr/bin/sleep infinity\nEnvironmentFile=/usr/local/opt/site/env\n",
  "layers/site/lib/systemd/system/multi-user.target.wants/site.service": { link: "../site.service" },
  "layers/site/opt/site/env": "A=1\n",
  "layers/site/opt/site/run": { text: "#!/bin/sh\nexit 0\n", mode: 0o755 },
};

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.write(FILES);
    for (const name of ["demo", "gateway"])
      lab.edit(`machines/${name}/machine.ini`, "layers = ", "layers = site, ");
    await lab.expect(0, ["push", "demo", "--no-confirm"]);
    return { lab, machine };
  });
  return prepared;
}

function git(lab: Lab, ...args: string[]): void {
  const names = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
  const done = spawnSync("git", [...names, ...args], { cwd: lab.root, encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
}

/** The code of the one refusal. */
async function refusal(lab: Lab, path: string, ...more: string[]): Promise<string> {
  const answer = await lab.expect(1, ["adopt", "demo", path, "--yes", ...more]);
  assert.match(answer.stderr, /nothing was changed/);
  return answer.stderr;
}

test("what can't be folded back is refused with what to edit instead, and nothing changes", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    `cd /usr/local/opt/site; sed -i 's/of demo/of mine/' text.txt; echo more >>text.txt; echo x >>tool.mjs; echo 'x = 2' >shared.conf
     chmod 0600 env; printf 'a\\0b' >run; ln -sfn nowhere link; echo x >>../nginx/conf/main.nginx`,
  );
  assert.match(
    await refusal(lab, "opt/site/text.txt"),
    /^error\[adopt-template\].*\n {2}line 2 comes from layers\/site\/opt\/site\/text\.txt\.hbs:2\n {2}line 3 comes from layers\/site\/opt\/site\/text\.txt\.hbs:3\n {2}it reads machine\.name\n/,
  );
  assert.match(
    await refusal(lab, "opt/site/tool.mjs"),
    /^error\[adopt-program\].*\n.*\n {2}help: edit layers\/site\/opt\/site\/tool\.ts/,
  );
  assert.match(
    await refusal(lab, "opt/site/shared.conf"),
    /^error\[adopt-behind-link\] shared\/base\.conf .*\n {2}demo: \/usr\/local\/opt\/site\/shared\.conf\n {2}gateway: \/usr\/local\/opt\/site\/shared\.conf\n/,
  );
  assert.match(
    await refusal(lab, "opt/site/env"),
    /^error\[adopt-attributes-only\].*mode 0600 instead of 0644\n.*layers\/site\/layer\.ini.*\n {4}opt\/site\/env = mode 0600, owner root, group root\n/,
  );
  assert.match(await refusal(lab, "opt/site/run"), /^error\[adopt-binary\]/);
  assert.match(await refusal(lab, "opt/site/link"), /^error\[adopt-no-file\]/);
  assert.match(await refusal(lab, "opt/site"), /^error\[adopt-no-file\]/);
  assert.match(
    await refusal(lab, "opt/site/stile.css"),
    /^error\[adopt-not-built\].*\n {2}did you mean opt\/site\/style\.css\?/,
  );
  await inside(machine, "rm /usr/local/opt/site/style.css");
  assert.match(await refusal(lab, STYLE.slice("layers/site/".length)), /^error\[adopt-not-there\]/);
  await inside(machine, "mkdir /usr/local/opt/site/style.css");
  assert.match(await refusal(lab, "/usr/local/opt/site/style.css"), /^error\[adopt-not-a-file\].*a folder/);
  await inside(machine, "cd /usr/local/opt/site; rmdir style.css; truncate -s 20G style.css");
  assert.match(await refusal(lab, "opt/site/style.css"), /^error\[adopt-too-big\]/);
  for (const bad of ["/etc/passwd", "../etc", "opt/../../etc/passwd", "/usr/local/"])
    await lab.expect(64, ["adopt", "demo", bad, "--yes"]);
  assert.match((await lab.expect(64, ["adopt", "demo", "opt/site/style.css"])).stderr, /--yes/);
  for (const [path, content] of Object.entries(FILES))
    if (typeof content === "string")
      assert.equal(lab.read(path), path.endsWith("README.md") ? "a site\n" : content);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  await lab.expect(0, ["verify", "--live", "demo"]);
});

test("an edit is shown, not written by a dry run, adopted with its other machines named; a push then changes nothing", async () => {
  const { lab, machine } = await theMachine();
  assert.match(
    (await lab.expect(0, ["adopt", "demo", "opt/site/style.css", "--yes"])).stderr,
    /nothing to adopt/,
  );
  await inside(
    machine,
    "cd /usr/local/opt/site; sed -i s/black/red/ style.css; echo A=2 >env; systemctl restart site",
  );
  const shown = await lab.expect(2, ["adopt", "demo", "opt/site/style.css", "-n"]);
  assert.match(
    shown.stderr,
    /^--- layers\/site\/opt\/site\/style\.css\n\+\+\+ demo:\/usr\/local\/opt\/site\/style\.css\n@@/,
  );
  assert.match(
    shown.stderr,
    /\n- {2}color: black;\n\+ {2}color: red;\n[\s\S]*note: gateway gets it with the next push, too\n/,
  );
  assert.equal(lab.read(STYLE), "body {\n  color: black;\n}\n");
  const json = JSON.parse(
    (await lab.expect(0, ["adopt", "demo", "opt/site/style.css", "--yes", "--json"])).stdout,
  );
  assert.deepEqual([json.adopted, json.source, json.layer, json.alsoFor], [true, STYLE, "site", ["gateway"]]);
  assert.equal(lab.read(STYLE), "body {\n  color: red;\n}\n");
  assert.match(
    (await lab.expect(0, ["adopt", "demo", "/usr/local/opt/site/env", "-y"])).stderr,
    /adopted into layers\/site\/opt\/site\/env/,
  );
  assert.ok(!existsSync(join(lab.root, "layers/site/opt/site/.#env")));
  const before = [await unitStates(machine), await liveTree(machine)] as const;
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout);
  assert.deepEqual([plan.files, plan.units, plan.triggers], [[], [], []]);
  assert.deepEqual(plan.taken, ["opt/site/env", "opt/site/style.css"]);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(unitDifference(before[0], await unitStates(machine)), []);
  // chmod and chown to what they are move the ctime alone.
  const withoutTimes = (tree: readonly string[]): string[] =>
    tree.filter((line) => !line.startsWith("./.labctl")).map((line) => line.replace(/ \d+\.\d+ /, " "));
  assert.deepEqual(withoutTimes(await liveTree(machine)), withoutTimes(before[1]));
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  await lab.expect(0, ["verify", "--live", "demo"]);
});

test("an adopted edit that its unit has not read restarts that unit with the push, and no other", async () => {
  const { lab, machine } = await theMachine();
  await inside(machine, "echo A=3 >/usr/local/opt/site/env");
  await lab.expect(0, ["adopt", "demo", "opt/site/env", "-y"]);
  const before = await unitStates(machine);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), ["restart site.service"]);
  await lab.expect(0, ["verify", "--live", "demo"]);
});

test("a rollback over an adopted edit says that the old content is gone, and goes back", async () => {
  const { lab, machine } = await theMachine();
  await lab.expect(0, ["rollback", "demo", "--no-confirm"]);
  assert.equal(await inside(machine, "cat /usr/local/opt/site/env"), "A=3\n");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  await lab.expect(0, ["verify", "--live", "demo"]);
});

test("changes that Git has not got, and a source that moved on, are refused", async () => {
  const { lab, machine } = await theMachine();
  await inside(machine, "echo A=4 >/usr/local/opt/site/env");
  git(lab, "init", "-q");
  assert.match(
    await refusal(lab, "opt/site/env"),
    /^error\[adopt-uncommitted\].*\n {2}it was never committed\n/,
  );
  lab.write({ ".gitignore": "var/\n" });
  git(lab, "add", ".");
  git(lab, "commit", "-qm", "all");
  lab.write({ "layers/site/opt/site/env": "A=5\n" });
  assert.match(
    await refusal(lab, "opt/site/env"),
    /^error\[adopt-uncommitted\].*\n {2}@@.*\n {2}-A=3\n {2}\+A=5\n/,
  );
  git(lab, "commit", "-qam", "newer");
  assert.match(await refusal(lab, "opt/site/env"), /^error\[adopt-moved-on\]/);
  git(lab, "revert", "--no-edit", "HEAD");
  await lab.expect(0, ["adopt", "demo", "opt/site/env", "-y"]);
  assert.equal(lab.read("layers/site/opt/site/env"), "A=4\n");
  git(lab, "commit", "-qam", "adopted");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
});

test("a file that someone made is taken in where it keeps its mode; --take-over makes it labctl's", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    "cd /usr/local/opt/site; echo mine >new; cp new secret; chmod 0600 secret; printf '#!/bin/sh\\n' >tool; chmod 755 tool; cp new a.hbs",
  );
  assert.match(await refusal(lab, "opt/site/new"), /^error\[adopt-not-built\]/);
  assert.match(
    await refusal(lab, "opt/site/secret", "--into=site"),
    /^error\[adopt-attributes-lost\].*mode 0600/,
  );
  assert.match(await refusal(lab, "opt/site/a.hbs", "--into=machine"), /^error\[adopt-bad-name\]/);
  assert.match(await refusal(lab, "opt/site/new", "--into=nolayer"), /^error\[adopt-no-layer\]/);
  assert.match(await refusal(lab, "opt/site/env", "--into=machine"), /^error\[adopt-built-already\]/);
  assert.match(await refusal(lab, "opt/site/env/x", "--into=site"), /^error\[adopt-in-the-way\]/);
  assert.match(await refusal(lab, "opt/site/none", "--into=site"), /^error\[adopt-not-there\]/);
  await lab.expect(0, ["adopt", "demo", "opt/site/new", "--into=machine", "-y"]);
  await lab.expect(0, ["adopt", "demo", "opt/site/tool", "--into=site", "-y"]);
  assert.equal(lab.read("machines/demo/opt/site/new"), "mine\n");
  assert.ok(statSync(join(lab.root, "layers/site/opt/site/tool")).mode & 0o100);
  await inside(machine, "cd /usr/local/opt/site; rm secret a.hbs");
  await lab.expect(0, ["push", "demo", "--no-confirm", "--take-over"]);
  await lab.expect(0, ["verify", "--live", "demo"]);
  assert.equal(await inside(machine, "cd /usr/local/opt/site; stat -c %a new tool"), "644\n755\n");
});
