/**
 * Copies of trees and disks on real file systems (btrfs, xfs with and without reflinks, ext4): shared blocks, whole or not
 * at all, removed with all that is in them.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after } from "node:test";
import type { Result } from "../../src/diagnostics.ts";
import { limitTree } from "../../src/guests/disk-limit.ts";
import { forkDisk, forkTree, makeTree, removeFork, sealTree } from "../../src/guests/fork.ts";
import { hostEffects } from "../../src/guests/fork-effects.ts";
import { temporaryFolder } from "../temporary-repository.ts";
import { enterNamespaces, unwrap } from "./bed-fixture.ts";

await enterNamespaces(import.meta.url);

const KILLS = Number(process.env.LABCTL_KILLS ?? 10);
const scratch = temporaryFolder("fork", true);
const sh = (script: string): string => {
  const done = spawnSync("bash", ["-euc", script], { encoding: "utf8" });
  assert.equal(done.status, 0, `${script}\n${done.stderr}`);
  return done.stdout;
};

const FILE_SYSTEMS: Readonly<Record<string, readonly [mkfs: string, way: string, disk: string]>> = {
  btrfs: ["mkfs.btrfs -q", "snapshot", "reflink"],
  xfs: ["mkfs.xfs -q", "reflink", "reflink"],
  "xfs-plain": ["mkfs.xfs -q -m reflink=0", "copy", "overlay"],
  ext4: ["mkfs.ext4 -q -m 0", "copy", "overlay"],
};

/** Those that can be asked to hold a tree to a size, and how they are made so. */
const QUOTAS: Readonly<Record<string, readonly [mkfs: string, options: string, enable: string]>> = {
  "btrfs-full": ["mkfs.btrfs -q", "loop", "btrfs quota enable ."],
  // BTRFS_IOC_QUOTA_CTL with BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA, for btrfs-progs before 6.7.
  "btrfs-simple": [
    "mkfs.btrfs -q",
    "loop",
    `python3 -c 'import fcntl,os,struct; fcntl.ioctl(os.open(".",os.O_RDONLY),0xC0109428,struct.pack("QQ",4,0))'`,
  ],
  "xfs-quota": ["mkfs.xfs -q", "loop,prjquota", "true"],
};

function mounted(name: string): string {
  const at = join(scratch, name);
  const [mkfs = ""] = FILE_SYSTEMS[name] ?? QUOTAS[name] ?? [];
  const [, options = "loop", enable = "true"] = QUOTAS[name] ?? [];
  if (spawnSync("mountpoint", ["-q", at]).status !== 0)
    sh(
      `mkdir ${at}; truncate -s 512M ${at}.img; ${mkfs} ${at}.img; mount -o ${options} ${at}.img ${at}; rm -rf ${at}/lost+found; cd ${at}; ${enable}`,
    );
  return at;
}

after(() => {
  for (const name of [...Object.keys(FILE_SYSTEMS), ...Object.keys(QUOTAS)])
    spawnSync("umount", ["-R", join(scratch, name)]);
  rmSync(scratch, { recursive: true, force: true });
});

/** A tree of a few megabytes with what copies like to lose. */
async function aTree(path: string): Promise<void> {
  unwrap(await makeTree(hostEffects, path));
  sh(`cd ${path}; mkdir -p usr/bin var/lib; head -c 4000000 /dev/urandom >usr/data; cp /bin/true usr/bin/ping
      chmod 4755 usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping
      ln usr/data usr/hard; ln -s /nowhere/x link; chown -h 7:8 link; mkfifo fifo; for i in $(seq 300); do echo $i >var/lib/$i; done`);
  unwrap(await sealTree(hostEffects, path));
}

const listing = (path: string): string =>
  sh(`cd ${path}; find . -printf '%p %y %m %U:%G %l %T@ ' -type f -printf '%n ' -exec sha256sum {} \\; -o -printf '\\n' | sort
      getcap -r .`).replace(/^\. d .*$/m, "");

const usedBytes = (at: string): number => {
  sh(`sync -f ${at}`);
  const { bsize, blocks, bfree } = statfsSync(at);
  return bsize * (blocks - bfree);
};

const codes = (result: Result<unknown>): readonly string[] =>
  (result.ok ? result.warnings : result.problems).map((p) => p.code);

test("a copy of what is not there, or onto what is there, is refused and changes nothing", async () => {
  const at = mounted("btrfs");
  assert.deepEqual(codes(await forkTree(hostEffects, `${at}/none`, `${at}/x`)), ["fork-source-missing"]);
  assert.deepEqual(codes(await forkDisk(hostEffects, { file: `${at}/none`, format: "raw" }, `${at}/x`)), [
    "fork-source-missing",
  ]);
  mkdirSync(`${at}/a`);
  mkdirSync(`${at}/b`);
  assert.deepEqual(codes(await forkTree(hostEffects, `${at}/a`, `${at}/b`)), ["fork-target-taken"]);
  assert.deepEqual(readdirSync(at).sort(), ["a", "b"]);
  unwrap(await removeFork(hostEffects, `${at}/a`));
  unwrap(await removeFork(hostEffects, `${at}/b`));
  unwrap(await removeFork(hostEffects, `${at}/never-was`));
  assert.deepEqual(readdirSync(at), []);
});

for (const [name, [, way, diskWay]] of Object.entries(FILE_SYSTEMS)) {
  test(`on ${name} a tree is forked by ${way}, equal to its source and apart from it, and goes without a trace`, async (t) => {
    const at = mounted(name);
    await aTree(`${at}/source`);
    const before = listing(`${at}/source`);
    const used = usedBytes(at);
    const started = performance.now();
    const forked = await forkTree(hostEffects, `${at}/source`, `${at}/guest`);
    t.diagnostic(`${way}: ${Math.round(performance.now() - started)} ms`);
    assert.equal(unwrap(forked).way, way);
    assert.deepEqual(codes(forked), way === "copy" ? ["fork-plain-copy"] : []);
    assert.equal(listing(`${at}/guest`), before);
    const grown = usedBytes(at) - used;
    if (way === "copy") assert.ok(grown > 3.5e6, `${grown} bytes`);
    else assert.ok(grown < 3e6, `${grown} bytes`);
    writeFileSync(`${at}/guest/usr/data`, "changed");
    writeFileSync(`${at}/guest/new`, "new");
    assert.equal(listing(`${at}/source`), before);
    unwrap(await removeFork(hostEffects, `${at}/guest`));
    unwrap(await removeFork(hostEffects, `${at}/source`));
    assert.deepEqual(readdirSync(at), []);
  });

  test(`on ${name} a disk is forked by ${diskWay}, apart from its source`, async () => {
    const at = mounted(name);
    const file = `${at}/image.raw`;
    sh(`truncate -s 64M ${file}; head -c 8000000 /dev/urandom | dd of=${file} conv=notrunc status=none`);
    const before = sh(`sha256sum <${file}`);
    const used = usedBytes(at);
    const fork = unwrap(await forkDisk(hostEffects, { file, format: "raw" }, `${at}/disk`));
    assert.equal(fork.way, diskWay);
    assert.equal(fork.file, `${at}/disk.${diskWay === "overlay" ? "qcow2" : "raw"}`);
    assert.ok(usedBytes(at) - used < 6e6);
    sh(`qemu-io -f ${fork.format} -c 'write -P 7 0 65536' ${fork.file}`);
    assert.equal(sh(`sha256sum <${file}`), before);
    assert.deepEqual(codes(await forkDisk(hostEffects, { file, format: "raw" }, `${at}/disk`)), [
      "fork-target-taken",
    ]);
    unwrap(await removeFork(hostEffects, fork.file));
    rmSync(file);
    assert.deepEqual(readdirSync(at), []);
  });
}

test("between two file systems a tree is copied, which is said", async () => {
  const [from, to] = [mounted("btrfs"), mounted("xfs")];
  await aTree(`${from}/source`);
  const forked = await forkTree(hostEffects, `${from}/source`, `${to}/guest`);
  assert.equal(unwrap(forked).way, "copy");
  assert.deepEqual(codes(forked), ["fork-plain-copy"]);
  assert.equal(listing(`${to}/guest`), listing(`${from}/source`));
  unwrap(await removeFork(hostEffects, `${to}/guest`));
  unwrap(await removeFork(hostEffects, `${from}/source`));
});

test("a fork goes with the subvolumes and sealed snapshots that its guest made, but not while something is mounted in it", async () => {
  const at = mounted("btrfs");
  await aTree(`${at}/source`);
  unwrap(await forkTree(hostEffects, `${at}/source`, `${at}/guest`));
  sh(`cd ${at}/guest; for v in var/machines var/machines/one var/machines/one/deep; do btrfs -q subvolume create $v; echo x >$v/file; done
      btrfs -q subvolume snapshot -r var/machines/one var/machines/two; mkdir kept; echo precious >${scratch}/precious
      mkdir ${at}/outside; echo precious >${at}/outside/file; mount --bind ${at}/outside kept`);
  const refused = await removeFork(hostEffects, `${at}/guest`);
  assert.deepEqual(codes(refused), ["fork-mounted"]);
  assert.equal(readFileSync(`${at}/outside/file`, "utf8"), "precious\n");
  sh(`umount ${at}/guest/kept`);
  unwrap(await removeFork(hostEffects, `${at}/guest`));
  unwrap(await removeFork(hostEffects, `${at}/source`));
  assert.deepEqual(readdirSync(at), ["outside"]);
  assert.equal(sh(`btrfs subvolume list ${at}`), "");
  rmSync(`${at}/outside`, { recursive: true });
});

test("without the right to delete subvolumes they go all the same, file by file", async () => {
  const at = mounted("btrfs");
  await aTree(`${at}/source`);
  const weak = {
    ...hostEffects,
    run: (argv: readonly string[]) =>
      hostEffects.run(["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", ...argv]),
  };
  unwrap(await forkTree(weak, `${at}/source`, `${at}/guest`));
  unwrap(await removeFork(weak, `${at}/guest`));
  unwrap(await removeFork(weak, `${at}/source`));
  assert.equal(sh(`btrfs subvolume list ${at}`), "");
});

test("a full disk fails the copy with what was said, and leaves nothing of it", async () => {
  const at = mounted("ext4");
  await aTree(`${at}/source`);
  sh(`fallocate -l $(( $(stat -f -c '%a*%S' ${at}) - 2000000 )) ${at}/filler`);
  const forked = await forkTree(hostEffects, `${at}/source`, `${at}/guest`);
  assert.deepEqual(codes(forked), ["fork-step-failed"]);
  assert.match(JSON.stringify(forked), /No space left on device/);
  assert.deepEqual(readdirSync(at), ["filler", "source"]);
  rmSync(`${at}/filler`);
  unwrap(await removeFork(hostEffects, `${at}/source`));
});

for (const name of ["btrfs", "ext4"]) {
  test(`killed at any instant on ${name}, a fork is whole or absent, a removal is redone, and nothing stays`, async () => {
    const at = mounted(name);
    await aTree(`${at}/source`);
    const whole = listing(`${at}/source`);
    const module = (file: string): string =>
      JSON.stringify(join(import.meta.dirname, "../../src/guests", file));
    const program = `import { forkTree, removeFork } from ${module("fork.ts")}; import { hostEffects } from ${module("fork-effects.ts")};
      console.log("go"); await removeFork(hostEffects, "${at}/guest"); await forkTree(hostEffects, "${at}/source", "${at}/guest");`;
    let cut = 0;
    for (let i = 0; i < KILLS; i++) {
      const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
        detached: true,
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = new Promise((resolve) => child.once("close", resolve));
      await new Promise((resolve) => child.stdout.once("data", resolve));
      await new Promise((resolve) => setTimeout(resolve, (i * 61) % 120));
      // Its copying goes with it, as with a unit's.
      if (child.exitCode === null && child.pid) process.kill(-child.pid, "SIGKILL");
      await ended;
      cut += child.signalCode === "SIGKILL" ? 1 : 0;
      const kind = hostEffects.kindOf(`${at}/guest`);
      if (kind !== undefined) assert.equal(listing(`${at}/guest`), whole);
    }
    assert.ok(cut > 0, "no run was cut short");
    unwrap(await removeFork(hostEffects, `${at}/guest`));
    unwrap(await removeFork(hostEffects, `${at}/source`));
    assert.deepEqual(readdirSync(at), []);
  });
}

/** Kernels are built without (CONFIG_XFS_QUOTA); those of Debian are not. */
function hasXfsQuota(): boolean {
  const at = join(scratch, "trial");
  sh(`mkdir -p ${at}; truncate -s 512M ${at}.img; mkfs.xfs -qf ${at}.img`);
  const done = spawnSync("mount", ["-o", "loop,prjquota", `${at}.img`, at]);
  if (done.status === 0) sh(`umount ${at}`);
  return done.status === 0;
}

/** Writes so many bytes into a file; answers how many it could. */
const written = (file: string, megabytes: number): number => {
  spawnSync("dd", ["if=/dev/urandom", `of=${file}`, "bs=1M", `count=${megabytes}`, "conv=fsync"], {
    encoding: "utf8",
  });
  return Number(sh(`stat -c %s ${file} 2>/dev/null || echo 0`));
};

for (const name of Object.keys(QUOTAS))
  test(`on ${name} a tree holds as much as it may and no more, until that is raised or taken back`, async (t) => {
    if (name === "xfs-quota" && !hasXfsQuota())
      return t.diagnostic("not tried: this kernel has no quotas of xfs");
    const at = mounted(name);
    await aTree(`${at}/source`);
    const root = `${at}/guest`;
    unwrap(await forkTree(hostEffects, `${at}/source`, root));
    const size = 30 * 1024 ** 2;
    for (let again = 0; again < 2; again++)
      assert.deepEqual(codes(await limitTree(hostEffects, root, size)), []);
    const most = written(`${root}/usr/much`, 60);
    assert.ok(most > 20e6 && most <= size, `${most} bytes`);
    // The control, and that it is this tree alone.
    assert.equal(written(`${at}/beside`, 60), 60 * 1024 ** 2);
    if (name === "btrfs-simple") {
      sh(`rm ${root}/usr/much; sync -f ${at}; btrfs -q subvolume create ${root}/own`);
      const inOwn = written(`${root}/own/much`, 60);
      assert.ok(inOwn > 20e6 && inOwn <= size, `${inOwn} bytes in a subvolume of its own`);
      sh(`rm ${root}/own/much; sync -f ${at}`);
    }
    sh(`rm -f ${root}/usr/much ${at}/beside; sync -f ${at}`);
    unwrap(await limitTree(hostEffects, root, 2 * size));
    assert.ok(written(`${root}/usr/much`, 45) === 45 * 1024 ** 2, "it was not raised");
    unwrap(await limitTree(hostEffects, root, undefined));
    assert.ok(written(`${root}/more`, 90) === 90 * 1024 ** 2, "it was not taken back");
    unwrap(await removeFork(hostEffects, root));
    unwrap(await removeFork(hostEffects, `${at}/source`));
    if (name.startsWith("btrfs")) {
      // The kernel frees the last blocks in its own time; the next removal has what was kept until then.
      sh(`btrfs filesystem sync ${at}; btrfs subvolume sync ${at} >/dev/null; btrfs filesystem sync ${at}`);
      mkdirSync(`${at}/next`);
      unwrap(await removeFork(hostEffects, `${at}/next`));
      assert.doesNotMatch(sh(`btrfs qgroup show ${at}`), /^1006\//m);
    }
  });

test("where nothing can hold a tree to a size, that is said with the next step, and nothing else happens", async () => {
  for (const name of ["ext4", "xfs", "xfs-plain"]) {
    const at = mounted(name);
    mkdirSync(`${at}/guest`);
    const limited = await limitTree(hostEffects, `${at}/guest`, 1e6);
    assert.ok(limited.ok);
    const [said] = limited.warnings;
    assert.equal(said?.code, "disk-unlimited");
    assert.match(said?.message ?? "", /^nothing holds \/.*\/guest to the size that its guest's `disk` says$/);
    assert.match(said?.help ?? "", /put \/var\/lib\/local on btrfs/);
    assert.deepEqual(codes(await limitTree(hostEffects, `${at}/guest`, undefined)), []);
    unwrap(await removeFork(hostEffects, `${at}/guest`));
  }
});
