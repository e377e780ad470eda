/**
 * Debian packages on a real machine, from a repository in a folder of its own: installed in one transaction before
 * anything else, recorded, listed when no longer needed, removed only if labctl installed them and only when asked.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, liveContents } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** Makes packages and an apt repository of them; `broken` can't be installed. */
const REPOSITORY = `
set -e
mkdir -p /srv/apt; cd /srv/apt
make() { # NAME DEPENDS PROVIDES
  mkdir -p $1/DEBIAN $1/usr/share/$1
  echo "content of $1" >$1/usr/share/$1/file
  { echo "Package: $1"; echo "Version: 1.0"; echo "Architecture: all"; echo "Maintainer: t <t@t>"; echo "Description: test"
    [ -z "$2" ] || echo "Depends: $2"
    [ -z "$3" ] || echo "Provides: $3"; } >$1/DEBIAN/control
  [ "$1" != lab-broken ] || { printf '#!/bin/sh\\necho the script says no; exit 1\\n' >$1/DEBIAN/postinst; chmod 755 $1/DEBIAN/postinst; }
  dpkg-deb --build --root-owner-group $1 $1.deb >/dev/null
}
make lab-tool lab-library
make lab-library
make lab-other
make lab-early
make lab-needs-tool lab-tool
make lab-real "" "lab-odd (= 2), lab-virtual"
make lab-broken
for f in *.deb; do
  dpkg-deb -f $f; echo "Filename: ./$f"; echo "Size: $(stat -c %s $f)"; echo "SHA256: $(sha256sum $f | cut -d ' ' -f 1)"; echo
done >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/apt ./' >/etc/apt/sources.list
rm -rf /var/lib/apt/lists/*
`;

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    await inside(machine, REPOSITORY);
    const lab = labFor(bed, machine.name);
    lab.edit("machines/demo/machine.ini", "layers = ", "layers = tools, ");
    layer(lab, []);
    await lab.expect(0, ["push", "demo", "-q", "--no-confirm"]);
    return { machine, lab };
  });
  return prepared;
}

function layer(lab: Lab, packages: readonly string[], text = "same\n"): void {
  const wants = packages.length > 0 ? `packages = ${packages.join(", ")}\n` : "";
  lab.write({
    "layers/tools/layer.ini": `[layer]\ndescription = tools\n${wants}`,
    "layers/tools/etc/tools.conf": text,
  });
}

async function installed(): Promise<string> {
  const { machine } = await theMachine();
  const list = "dpkg --get-selections 'lab-*' 2>/dev/null | sed -n 's/\\s*install$//p'";
  return (await inside(machine, `${list} | tr '\\n' ' '`)).trim();
}

test("a package that can't be had is refused with apt's words, and no file changes", async () => {
  const { lab, machine } = await theMachine();
  layer(lab, ["lab-nowhere"], "changed\n");
  const before = await liveContents(machine);
  const pushed = await lab.expect(1, ["push", "demo", "-q"]);
  assert.match(
    pushed.stderr,
    /^error\[packages-failed\] machine `demo` could not install lab-nowhere\n(?: {2}.*\n)* {2}E: Unable to locate package lab-nowhere\n {2}no file and no unit on the machine changed\n/,
  );
  assert.deepEqual(await liveContents(machine), before);
  assert.equal(await inside(machine, "ls /usr/local/.labctl/stage"), "");
});

test("one that fails half-way is refused, and what came with it is recorded", async () => {
  const { lab, machine } = await theMachine();
  layer(lab, ["lab-broken", "lab-other"], "changed\n");
  const pushed = await lab.expect(1, ["push", "demo", "-q"]);
  assert.match(pushed.stderr, /error\[packages-failed\][\s\S]*no file and no unit on the machine changed/);
  assert.match(await inside(machine, "cat /usr/local/.labctl/apt.log"), /the script says no/);
  assert.equal(await inside(machine, "cat /usr/local/.labctl/packages"), "asked lab-other\n");
  await inside(machine, "dpkg --purge lab-broken lab-other >/dev/null");
});

test("missing ones come in one transaction before the commit, also where apt knows no list yet; then nothing is left to do", async () => {
  const { lab, machine } = await theMachine();
  await inside(
    machine,
    "apt-get update -q >/dev/null; apt-get install -y -q lab-early >/dev/null; rm -rf /var/lib/apt/lists/*; : >/var/log/apt/history.log",
  );
  layer(lab, ["lab-tool", "lab-other", "lab-early"], "tools\n");
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json", "-q"])).stdout);
  assert.deepEqual(plan.packages, [
    { name: "lab-other", action: "install", reason: "layer tools asks for it" },
    { name: "lab-tool", action: "install", reason: "layer tools asks for it" },
  ]);
  const pushed = await lab.expect(0, ["push", "demo"]);
  assert.match(pushed.stderr, /installed lab-other, lab-tool \(<ms>\)\n[\s\S]*committed/);
  assert.equal(await installed(), "lab-early lab-library lab-other lab-tool");
  assert.equal(await inside(machine, "grep -c ^Start-Date /var/log/apt/history.log"), "1\n");
  assert.equal(
    await inside(machine, "cat /usr/local/.labctl/packages"),
    "asked lab-other\nasked lab-tool\ndependency lab-library\n",
  );
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});

test("what no layer asks for any longer is listed and stays", async () => {
  const { lab } = await theMachine();
  layer(lab, ["lab-other"], "fewer\n");
  const plan = await lab.expect(2, ["plan", "demo", "-q"]);
  assert.match(
    plan.stdout,
    /^ {2}leave package lab-tool: layer tools no longer asks for it; --prune-packages removes it$/m,
  );
  assert.doesNotMatch(plan.stdout, /lab-early/);
  await lab.expect(0, ["push", "demo", "-q"]);
  assert.equal(await installed(), "lab-early lab-library lab-other lab-tool");
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
  // Nothing else to do, and still said.
  assert.match(
    (await lab.expect(0, ["plan", "demo", "-q"])).stdout,
    /nothing to do.*\n {2}leave package lab-tool: /,
  );
});

test("what somebody else's package needs by now is not removed, and that is said after all else is done", async () => {
  const { lab, machine } = await theMachine();
  await inside(machine, "apt-get install -y -q lab-needs-tool >/dev/null");
  layer(lab, ["lab-other"], "needed\n");
  const pushed = await lab.expect(1, ["push", "demo", "-q", "--prune-packages"]);
  assert.equal(
    pushed.stderr,
    `error[package-needed] machine \`demo\` did not remove lab-tool: what labctl did not install needs it: lab-needs-tool
  all else of the push is done; no package was removed
  help: push without --prune-packages, or have a layer ask for what shall stay
`,
  );
  assert.equal(await inside(machine, "cat /usr/local/etc/tools.conf"), "needed\n");
  assert.equal(await installed(), "lab-early lab-library lab-needs-tool lab-other lab-tool");
  await inside(machine, "dpkg --purge lab-needs-tool >/dev/null");
});

test("--prune-packages removes what labctl installed, with what came with it; never what was there before", async () => {
  const { lab, machine } = await theMachine();
  layer(lab, [], "none\n");
  const args = ["plan", "demo", "-q", "--prune-packages", "--json"];
  const plan = JSON.parse((await lab.expect(2, args)).stdout);
  assert.deepEqual(plan.packages, [
    { name: "lab-other", reason: "layer tools no longer asks for it", action: "remove" },
    { name: "lab-tool", reason: "labctl installed it, and no layer asks for it", action: "remove" },
  ]);
  const pushed = await lab.expect(0, ["push", "demo", "--prune-packages"]);
  assert.match(pushed.stderr, /confirmed[\s\S]*removed lab-library, lab-other, lab-tool \(<ms>\)/);
  assert.equal(await installed(), "lab-early");
  assert.equal(await inside(machine, "cat /usr/local/.labctl/packages"), "");
  assert.match((await lab.expect(0, ["push", "demo", "--prune-packages"])).stderr, /nothing to do/);
});

test("a push that only removes packages makes no generation", async () => {
  const { lab, machine } = await theMachine();
  layer(lab, ["lab-other"], "more\n");
  await lab.expect(0, ["push", "demo", "-q"]);
  layer(lab, [], "more\n");
  await lab.expect(0, ["push", "demo", "-q"]);
  const generation = await inside(machine, "cat /usr/local/.labctl/generation");
  await lab.expect(2, ["plan", "demo", "-q", "--prune-packages"]);
  await lab.expect(0, ["push", "demo", "-q", "--prune-packages"]);
  assert.equal(await installed(), "lab-early");
  assert.equal(await inside(machine, "cat /usr/local/.labctl/generation"), generation);
});

test("a virtual package is there where any package provides it, and who does is not called unneeded", async () => {
  const { lab, machine } = await theMachine();
  layer(lab, ["lab-real"], "virtual\n");
  await lab.expect(0, ["push", "demo", "-q"]);
  layer(lab, ["lab-virtual", "lab-odd"], "virtual\n");
  // The manifest names them, so there is a generation; then nothing.
  const pushed = await lab.expect(0, ["push", "demo", "--prune-packages"]);
  assert.doesNotMatch(pushed.stderr, /package|installed|removed/);
  assert.match((await lab.expect(0, ["push", "demo", "--prune-packages"])).stderr, /nothing to do/);
  assert.equal(await installed(), "lab-early lab-real");
  // The control: removed, its configuration files stay, and it provides nothing any more.
  await inside(machine, "dpkg --remove lab-real >/dev/null");
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json", "-q"])).stdout);
  assert.deepEqual(
    plan.packages.flatMap((p: { name: string; action: string }) => (p.action === "install" ? [p.name] : [])),
    ["lab-odd", "lab-virtual"],
  );
  await lab.expect(0, ["push", "demo", "-q"]);
  assert.equal(await installed(), "lab-early lab-real");
  assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
});
