/** Holding a root to its size: the commands, where this host's kernel can't run them. The rest is test/machine/fork.test.ts. */
import assert from "node:assert/strict";
import test from "node:test";
import { limitTree } from "../../src/guests/disk-limit.ts";
import { type ForkEffects, hostEffects, mountOf } from "../../src/guests/fork-effects.ts";

const ROOT = "/var/lib/local/guests/web/root";

/** A file system as `mount` says; `answers` by the first words of a command, all else succeeds silently. */
function recording(
  options: string,
  answers: Readonly<Record<string, { status: number; stdout: string }>> = {},
): { effects: ForkEffects; said: string[] } {
  const said: string[] = [];
  const effects: ForkEffects = {
    ...hostEffects,
    mountOf: () => ({ mountPoint: "/var/lib/local", fileSystem: "xfs", source: "/dev/vdb", options }),
    inodeOf: () => 4711,
    run: async (argv) => {
      const line = argv.join(" ");
      said.push(line);
      const [, found] = Object.entries(answers).find(([start]) => line.startsWith(start)) ?? [];
      return { status: 0, stdout: "", stderr: "", ...found };
    },
  };
  return { effects, said };
}

test("on xfs without project quotas nothing is done, and that is said", async () => {
  const { effects, said } = recording("rw,attr2,noquota");
  const limited = await limitTree(effects, ROOT, 1e9);
  assert.deepEqual(limited.ok && limited.warnings.map((w) => w.code), ["disk-unlimited"]);
  assert.deepEqual(said, []);
});

test("on xfs a root is a project, marked once, and its limit is set at each start", async () => {
  const first = recording("rw,prjquota", {
    lsattr: { status: 0, stdout: `    0 ---------------------- ${ROOT}\n` },
  });
  assert.deepEqual(await limitTree(first.effects, ROOT, 8 * 1024 ** 3), {
    ok: true,
    value: undefined,
    warnings: [],
  });
  assert.deepEqual(first.said, [
    `lsattr -p -d ${ROOT}`,
    `chattr -R -f -p 4712 +P ${ROOT}`,
    "xfs_quota -x -c limit -p bhard=8589934592 4712 /var/lib/local",
  ]);
  const again = recording("rw,prjquota", {
    lsattr: { status: 0, stdout: ` 4712 -------------------P-- ${ROOT}\n` },
  });
  await limitTree(again.effects, ROOT, 1e9);
  assert.deepEqual(again.said, [
    `lsattr -p -d ${ROOT}`,
    "xfs_quota -x -c limit -p bhard=1000000000 4712 /var/lib/local",
  ]);
  const none = recording("rw,prjquota");
  await limitTree(none.effects, ROOT, undefined);
  assert.deepEqual(none.said, ["xfs_quota -x -c limit -p bhard=0 4712 /var/lib/local"]);
  const broken = recording("rw,prjquota", { xfs_quota: { status: 1, stdout: "" } });
  const failed = await limitTree(broken.effects, ROOT, 1e9);
  assert.deepEqual(!failed.ok && failed.problems.map((p) => p.code), ["fork-step-failed"]);
});

test("a path lies on the last of the deepest mounts above it", () => {
  const text = [
    "21 1 8:1 / / rw - ext4 /dev/sda1 rw",
    "30 21 8:2 / /var/lib/local rw shared:1 - xfs /dev/sdb rw,prjquota",
    "31 21 8:3 / /var/lib/local rw - btrfs /dev/sdc rw,subvol=/a",
    "32 21 8:4 / /var/lib/local\\040x rw - tmpfs tmpfs rw",
  ].join("\n");
  assert.equal(mountOf(text, "/var/lib/local/guests").fileSystem, "btrfs");
  assert.equal(mountOf(text, "/var/lib/localized").fileSystem, "ext4");
  assert.equal(mountOf(text, "/var/lib/local x/y").fileSystem, "tmpfs");
  assert.equal(mountOf(text, "/").source, "/dev/sda1");
});
