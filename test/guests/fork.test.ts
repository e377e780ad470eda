/** Forking where this host can't: zfs, whose commands are recorded, and what the kernel says of mounts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import type { Result } from "../../src/diagnostics.ts";
import { forkTree, makeTree, removeFork, sealTree } from "../../src/guests/fork.ts";
import { type ForkEffects, hostEffects, parseMountPoints } from "../../src/guests/fork-effects.ts";

/** A zfs with one dataset at /var/lib/local, and what is made in it; commands are kept, in order. */
function zfs(): { effects: ForkEffects; said: string[]; datasets: Map<string, string> } {
  const said: string[] = [];
  const datasets = new Map([["/var/lib/local", "tank/local"]]);
  const holder = (path: string): string | undefined =>
    [...datasets.keys()]
      .filter((at) => path === at || path.startsWith(`${at}/`))
      .sort((a, b) => b.length - a.length)[0];
  const effects: ForkEffects = {
    run: async (argv) => {
      const [, verb, ...rest] = argv;
      if (verb === "list" && rest.includes("snapshot")) return { status: 1, stdout: "", stderr: "none" };
      if (verb === "list") {
        const at = holder(rest.at(-1) ?? "");
        return at === undefined
          ? { status: 1, stdout: "", stderr: "not a ZFS filesystem" }
          : { status: 0, stdout: `${datasets.get(at)}\t${at}\n`, stderr: "" };
      }
      said.push(argv.join(" "));
      const at = rest.find((word) => word.startsWith("mountpoint="))?.slice("mountpoint=".length);
      if (at !== undefined) datasets.set(at, rest.at(-1) ?? "");
      if (verb === "destroy")
        for (const [path, name] of datasets) if (name === rest.at(-1)) datasets.delete(path);
      return { status: 0, stdout: "", stderr: "" };
    },
    fileSystem: () => "zfs",
    canReflink: () => false,
    mountOf: () => ({ mountPoint: "/var/lib/local", fileSystem: "zfs", source: "tank/local", options: "rw" }),
    quotaMode: () => undefined,
    inodeOf: () => 1,
    kindOf: (path) => (datasets.has(path) ? "folder" : undefined),
    subvolumesBelow: () => [],
    mountsBelow: (path) => [...datasets.keys()].filter((at) => at === path),
    makeFolder: () => assert.fail("a dataset makes its own mount point"),
    rename: () => assert.fail("a mount point can't be renamed"),
  };
  return { effects, said, datasets };
}

const done = (result: Result<unknown>): void => assert.ok(result.ok, JSON.stringify(result));

test("on zfs a tree is a dataset right below its folder's, sealed by a snapshot, cloned, and destroyed", async () => {
  const { effects, said, datasets } = zfs();
  const [source, target] = ["/var/lib/local/images/trees/ab", "/var/lib/local/guests/web/root"];
  done(await makeTree(effects, source));
  done(await sealTree(effects, source));
  const forked = await forkTree(effects, source, target);
  assert.ok(forked.ok && forked.value.way === "zfs" && forked.warnings.length === 0);
  done(await removeFork(effects, target));
  assert.deepEqual(said, [
    "zfs create -o mountpoint=/var/lib/local/images/trees/ab tank/local/var:lib:local:images:trees:ab",
    "zfs snapshot tank/local/var:lib:local:images:trees:ab@sealed",
    "zfs set readonly=on tank/local/var:lib:local:images:trees:ab",
    "zfs clone -o mountpoint=/var/lib/local/guests/web/root -o readonly=off tank/local/var:lib:local:images:trees:ab@sealed tank/local/var:lib:local:guests:web:root",
    "zfs destroy -r tank/local/var:lib:local:guests:web:root",
  ]);
  assert.deepEqual([...datasets.keys()], ["/var/lib/local", source]);
});

test("mount points are read from the kernel's table with blanks and line ends in their names", () => {
  const text =
    "25 1 0:23 / / rw shared:1 - ext4 /dev/vda rw\n36 25 0:30 /x /srv/a\\040b\\012c rw,noatime - btrfs /dev/loop0 rw\n";
  assert.deepEqual(parseMountPoints(text), ["/", "/srv/a b\nc"]);
});

test("folders deeper than any path leads are no reason not to look a tree through", () => {
  const folder = mkdtempSync(join(tmpdir(), "labctl-deep-"));
  try {
    const dig =
      'n=$(printf "%0200d" 0); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do mkdir $n && cd -P $n || exit 1; done';
    assert.equal(spawnSync("bash", ["-c", dig], { cwd: folder }).status, 0);
    assert.deepEqual(hostEffects.subvolumesBelow(folder), []);
  } finally {
    spawnSync("rm", ["-rf", "--", folder]);
    rmSync(folder, { recursive: true, force: true });
  }
});
