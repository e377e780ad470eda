/**
 * The rules that every layer and example machine keeps, read from the repository's own files.
 * Looks at sources only: needs no build, no root, no network. shellcheck is used where it is installed.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import test from "node:test";

const root = realpathSync(join(import.meta.dirname, "../.."));
const folders = (parent: string): string[] =>
  readdirSync(join(root, parent), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(parent, entry.name))
    .sort();
const layers = folders("layers");
const machines = folders("machines");

/** Files and links below a folder, relative to the root, links not followed; sorted. */
function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? filesBelow(path) : [path];
    })
    .sort();
}

const sources = [...layers, ...machines, ...(existsSync(join(root, "shared")) ? ["shared"] : [])].flatMap(
  filesBelow,
);
const isLink = (path: string): boolean => lstatSync(join(root, path)).isSymbolicLink();
const text = (path: string): string => readFileSync(join(root, path), "utf8");
const regular = sources.filter((path) => !isLink(path));
const isExecutable = (path: string): boolean => (statSync(join(root, path)).mode & 0o111) === 0o111;

/** What a unit file lacks; empty if it is as it should be. A service that can't be sandboxed says `# No sandbox: REASON`. */
function unitFaults(unit: string): string[] {
  const faults: string[] = [];
  if (!/^Description=\S/m.test(unit)) faults.push("no Description=");
  if (!/^Documentation=(man|https?|file|info):\S/m.test(unit)) faults.push("no Documentation= with a URI");
  if (/^\[Service\]$/m.test(unit) && !/^# No sandbox: \S/m.test(unit)) {
    for (const key of ["ProtectSystem=strict", "NoNewPrivileges=yes", "SystemCallArchitectures=native"])
      if (!unit.split("\n").includes(key)) faults.push(`no ${key}`);
  }
  return faults;
}

/** Template tags stand where shell words may stand: a block's tags go, any other becomes a word. */
function asShell(script: string): string {
  return script
    .replace(/\{\{!--.*?--\}\}|\{\{[#/][^}]*\}\}|\{\{else\}\}/gs, "")
    .replace(/\{\{[^}]*\}\}/g, "1");
}

function run(
  command: string,
  args: readonly string[],
  input: string,
): { code: number | null; output: string } {
  const done = spawnSync(command, args, { input, encoding: "utf8" });
  return { code: done.status, output: `${done.stdout ?? ""}${done.stderr ?? ""}` };
}

test("a unit without documentation or sandbox is found out, so the test of units below can fail", () => {
  assert.deepEqual(unitFaults("[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n"), [
    "no Documentation= with a URI",
    "no ProtectSystem=strict",
    "no NoNewPrivileges=yes",
    "no SystemCallArchitectures=native",
  ]);
});

test("a script with a syntax error is found out, so the test of scripts below can fail", () => {
  assert.notEqual(run("bash", ["-n"], asShell("if {{WEB_PORT}}; then\n")).code, 0);
});

for (const layer of layers) {
  test(`${layer} says what it is in layer.ini, and how to live with it in README.md`, () => {
    assert.match(text(join(layer, "layer.ini")), /^\[layer\]\s*\n(?:[^[]*\n)?description = \S/m);
    const readme = text(join(layer, "README.md"));
    for (const word of ["State", "Ports", "## Facts", "## Removal"])
      assert.ok(readme.includes(word), `${layer}/README.md has no "${word}"`);
  });

  test(`${layer} explains each of its facts in its README.md`, () => {
    const ini = text(join(layer, "layer.ini"));
    const section = /^\[facts\]\n([^[]*)/m.exec(ini)?.[1] ?? "";
    const readme = text(join(layer, "README.md"));
    for (const [, name] of section.matchAll(/^([A-Za-z_][A-Za-z0-9_]*)\s*=/gm))
      assert.ok(readme.includes(`| \`${name}\` |`), `${layer}/README.md does not explain ${name}`);
  });
}

for (const machine of machines) {
  test(`${machine} has a machine.ini that names a host`, () => {
    assert.match(text(join(machine, "machine.ini")), /^host = \S/m);
  });
}

test("every check and every failure hook is executable", () => {
  const programs = sources.filter((path) => /\/lib\/labctl\/(check|failure)\.d\//.test(path));
  assert.ok(programs.length >= 2);
  assert.deepEqual(
    programs.filter((path) => !isExecutable(path)),
    [],
  );
});

test("every file that begins with #! is executable, and no other is", () => {
  const wrong = regular.filter((path) => text(path).startsWith("#!") !== isExecutable(path));
  assert.deepEqual(wrong, []);
});

test("every unit is described, documented and sandboxed", () => {
  const units = regular.filter((path) =>
    /\/lib\/systemd\/system\/[^/]+\.(service|socket|timer|path|mount|target|slice)(\.hbs)?$/.test(path),
  );
  assert.ok(units.length >= 1);
  const faults = units.flatMap((path) => unitFaults(text(path)).map((fault) => `${path}: ${fault}`));
  assert.deepEqual(faults, []);
});

test("every drop-in of a unit is named NN-purpose.conf", () => {
  const wrong = sources.filter(
    (path) =>
      /\/lib\/systemd\/system\/[^/]+\.d\//.test(path) && !/\/\d\d-[a-z0-9-]+\.conf(\.hbs)?$/.test(path),
  );
  assert.deepEqual(wrong, []);
});

test("a link that is replaced by a copy leads to something inside the repository", () => {
  const marked = sources.filter((path) => isLink(path) && (path.split("/").at(-1) ?? "").startsWith("!"));
  assert.ok(marked.length >= 1);
  for (const path of marked) {
    const target = relative(root, realpathSync(join(root, path)));
    assert.ok(!target.startsWith(".."), `${path} leads out of the repository`);
  }
});

test("nothing that a layer ships points at /etc or /root to write there", () => {
  const lines = regular
    .filter((path) => /\/lib\/tmpfiles\.d\//.test(path))
    .flatMap((path) =>
      text(path)
        .split("\n")
        .map((line) => `${path}: ${line}`),
    );
  assert.deepEqual(
    lines.filter((line) => /: [a-zA-Z][+!=~^-]*\s+\/(etc|root|usr)\b/.test(line)),
    [],
  );
});

const scripts = regular.filter((path) => /^#!.*\b(ba)?sh\b/.test(text(path)));

test("every shell script is accepted by bash -n", () => {
  assert.ok(scripts.length >= 4);
  const refused = scripts.flatMap((path) => {
    const { code, output } = run("bash", ["-n"], asShell(text(path)));
    return code === 0 ? [] : [`${path}: ${output}`];
  });
  assert.deepEqual(refused, []);
});

const hasShellcheck = spawnSync("shellcheck", ["--version"]).status === 0;
test("every shell script is accepted by shellcheck", {
  skip: !hasShellcheck && "shellcheck is not installed",
}, () => {
  const refused = scripts.flatMap((path) => {
    const { code, output } = run("shellcheck", ["--shell=bash", "-"], asShell(text(path)));
    return code === 0 ? [] : [`${path}: ${output}`];
  });
  assert.deepEqual(refused, []);
});
