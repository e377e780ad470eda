/**
 * labctl as npm installs it: in a clone, as a link to one, and from a package. Uses npm for real, without a network, in
 * folders of its own.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { PACKAGE_ROOT } from "../scenario.ts";
import { temporaryFolder, writeFiles } from "../temporary-repository.ts";

const REPOSITORY = {
  "lab.ini": "[lab]\nname = elsewhere\n",
};

let folder = "";
let clone = "";

before(() => {
  folder = temporaryFolder("install", true);
  clone = join(folder, "clone");
  for (const name of ["bin", "layers", "src"])
    cpSync(join(PACKAGE_ROOT, name), join(clone, name), { recursive: true, verbatimSymlinks: true });
  // The bundle holds its dependencies; npm 9 would ask the registry for them even where it only makes a link. The only
  // script that installing runs is the bundling, which is done here.
  const described = JSON.parse(readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8")) as object;
  const alone = { ...described, dependencies: {}, devDependencies: {}, scripts: {} };
  writeFiles(clone, { "package.json": JSON.stringify(alone) });
  for (const name of readdirSync(join(PACKAGE_ROOT, "node_modules")).filter((n) => !n.startsWith(".")))
    symlinkSync(join(PACKAGE_ROOT, "node_modules", name), join(makeFolder(clone, "node_modules"), name));
  run(process.execPath, ["src/bundle.mjs"], clone);
  rmSync(join(clone, "node_modules"), { recursive: true, force: true });
});
after(() => rmSync(folder, { recursive: true, force: true }));

function makeFolder(...parts: string[]): string {
  const path = join(...parts);
  mkdirSync(path, { recursive: true });
  return path;
}

function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): string {
  const done = spawnSync(program, args, {
    cwd,
    encoding: "utf8",
    env: {
      PATH: process.env.PATH,
      HOME: makeFolder(folder, "home"),
      npm_config_offline: "true",
      npm_config_update_notifier: "false",
      ...env,
    },
  });
  assert.equal(done.status, 0, `${program} ${args.join(" ")}\n${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** Builds a repository in another folder with `program`; answers the folder of the built tree. */
function buildElsewhere(
  name: string,
  program: string,
  env: Record<string, string> = {},
  layers = "web",
): string {
  const root = makeFolder(folder, name);
  const machine = `[machine]\nhost = one.lan\nlayers = ${layers}\n`;
  writeFiles(root, { ...REPOSITORY, "machines/one/machine.ini": machine });
  run(program, ["build"], root, env);
  return join(root, "var/tree/one/usr/local");
}

function assertEnablesNginx(tree: string): void {
  const link = join(tree, "lib/systemd/system/multi-user.target.wants/nginx.service");
  assert.equal(readlinkSync(link), "/lib/systemd/system/nginx.service");
  assert.equal(lstatSync(join(tree, "libexec/web/nginx")).mode & 0o777, 0o755);
}

test("`npx labctl` runs in a clone without a build step of its own", () => {
  const { version } = JSON.parse(readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8")) as {
    version: string;
  };
  assert.equal(run("npx", ["labctl", "--version"], clone), `labctl ${version}\n`);
});

test("`npm install -g .` puts labctl on the path; it builds any repository from its built-in layers", () => {
  const prefix = makeFolder(folder, "linked");
  run("npm", ["install", "-g", "--prefix", prefix, "--ignore-scripts", "."], clone);
  assertEnablesNginx(buildElsewhere("by-link", join(prefix, "bin/labctl")));
});

test("labctl from a package builds the same tree as from a clone, links included", () => {
  // Unpacked by hand and not by `npm install`, which would ask the registry for dependencies that the bundle holds.
  const cache = join(folder, "cache");
  run("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], clone);
  const target = makeFolder(folder, "unpacked");
  run("sh", ["-c", "tar -xzf ../labctl-*.tgz -C . --strip-components=1"], target);
  symlinkSync(join(PACKAGE_ROOT, "node_modules"), join(target, "node_modules"));
  // The reason for the copy in the cache; if npm ever keeps links, src/cli/built-in-layers.ts can go.
  assert.equal(existsSync(join(target, "layers/web/lib/systemd/system/multi-user.target.wants")), false);

  const program = join(target, "dist/labctl.cjs");
  // `network` has programs that import labctl's own modules, which lie nowhere near the copy of the layers.
  const env = { XDG_CACHE_HOME: cache };
  const packaged = buildElsewhere("by-package", program, env, "web, network");
  assertEnablesNginx(packaged);
  assert.ok(existsSync(join(packaged, "libexec/network/address.mjs")));
  symlinkSync(join(PACKAGE_ROOT, "node_modules"), join(clone, "node_modules"));
  const cloned = buildElsewhere("by-clone", join(clone, "dist/labctl.cjs"), {}, "web, network");
  const manifest = (tree: string) => readFileSync(join(tree, "../../manifest.json"), "utf8");
  assert.equal(manifest(packaged), manifest(cloned));
});

test("a package whose layers can't be completed says so and what to do", () => {
  const target = join(folder, "unpacked");
  const root = makeFolder(folder, "by-package");
  writeFiles(root, { blocked: "" });
  const done = spawnSync(join(target, "dist/labctl.cjs"), ["build"], {
    cwd: root,
    encoding: "utf8",
    env: { PATH: process.env.PATH, XDG_CACHE_HOME: join(root, "blocked") },
  });
  assert.equal(done.status, 1);
  assert.match(
    done.stderr,
    /^error\[layers-incomplete\] the built-in layers can't be copied to .*\/blocked\/labctl\/layers-[0-9a-f]{12}\n/,
  );
  assert.match(done.stderr, /\n {2}npm left \d+ symbolic links out of .*\/unpacked\/layers\n/);
  assert.match(done.stderr, /\n {2}help: make the folder writable, or name another one in XDG_CACHE_HOME\n$/);
});
