/**
 * Images on a real machine: fetched from a real server, good or bad, proved, unpacked once, and what is refused.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { seededRandom } from "../seeded-random.ts";
import { EXTRA_PACKAGES, enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  answers,
  begin,
  define,
  digest,
  keyring,
  killed,
  put,
  refused,
  STORE,
  serveImages,
  started,
  stored,
  variant,
} from "./image-fixture.ts";
import { bootMachine, inside, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const KILLS = Number(process.env.LABCTL_KILLS ?? 4);
const theBed = sharedBed(EXTRA_PACKAGES["images.test.ts"]);

let prepared: Promise<Machine> | undefined;

/** A machine with the layer pushed, a server on it, and a tree to fetch. */
function theMachine(): Promise<Machine> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = images");
    await lab.expect(0, ["push", "demo"]);
    await serveImages(machine);
    return machine;
  });
  return prepared;
}

test("an image without a definition, or with a wrong one, is refused with what to write instead", async () => {
  const machine = await theMachine();
  await define(machine, "debian", "[image]\nsuorce = http://127.0.0.1:8000/good/tree.tar.zst\n");
  assert.match(
    await refused(machine, "debain"),
    /error\[image-undefined\] no file defines image `debain`\n {2}looked for: \/usr\/local\/etc\/images\/debain\.ini\n {2}looked for: \S+\n {2}help: did you mean `debian`\?/,
  );
  assert.match(
    await refused(machine, "debian"),
    /error\[ini-unknown\] \/usr\/local\/etc\/images\/debian\.ini:2:1: unknown setting `suorce` in \[image\]\n {2}help: did you mean `source`\?/,
  );
  await define(machine, "debian", "[image]\nsource = http://127.0.0.1:8000/good/tree.tar.zst\n");
  assert.match(await refused(machine, "debian"), /error\[image-proof-missing\]/);
  assert.deepEqual(await answers(machine), []);
});

test("one flipped byte is refused with both digests, and nothing of it is kept", async () => {
  const machine = await theMachine();
  const right = await digest(machine, "/srv/images/tree.tar.zst");
  await inside(
    machine,
    "cd /srv/images; cp tree.tar.zst flipped; printf '\\xff' | dd of=flipped bs=1 seek=1000000 conv=notrunc status=none; cmp -s tree.tar.zst flipped && exit 1; true",
  );
  const wrong = await digest(machine, "/srv/images/flipped");
  await define(machine, "flip", `[image]\nsource = http://127.0.0.1:8000/good/flipped\nsha256 = ${right}\n`);
  const said = await refused(machine, "flip");
  assert.match(said, /error\[image-digest\] http:\/\/127\.0\.0\.1:8000\/good\/flipped is not what was meant/);
  assert.ok(said.includes(`expected sha256: ${right}`) && said.includes(`found sha256:    ${wrong}`), said);
  assert.doesNotMatch(await stored(machine), /store\/|partial\/|trees\/|env/);
});

test("a tree is fetched by http through a redirect, unpacked to a read-only subvolume with all that belongs to its files, and fetched once", async () => {
  const machine = await theMachine();
  await answers(machine);
  const sha256 = await digest(machine, "/srv/images/tree.tar.zst");
  const ini = `[image]\nsource = http://127.0.0.1:8000/moved/tree.tar.zst\nsha256 = ${sha256}\n`;
  await define(machine, "debian", ini);
  const env = await started(machine, "debian");
  assert.deepEqual(env, {
    IMAGE_NAME: "debian",
    IMAGE_KIND: "tree",
    IMAGE_PATH: `${STORE}/trees/${sha256}`,
    IMAGE_SHA256: sha256,
    IMAGE_ARCH: process.arch === "arm64" ? "arm64" : "amd64",
    IMAGE_FORMAT: "",
    IMAGE_KERNEL: "",
    IMAGE_INITRD: "",
    IMAGE_COMMAND: "",
  });
  const looks =
    "find . -path './dev/*' -prune -o -printf '%p %y %m %U:%G %l %s\\n' | grep -v '^\\. \\|d .* ' | sort; getcap -r .";
  assert.equal(
    await inside(machine, `cd ${env.IMAGE_PATH}; ${looks}`),
    await inside(machine, `cd /srv/tree; ${looks}`),
  );
  await inside(
    machine,
    `btrfs property get -ts ${env.IMAGE_PATH} ro | grep -q ro=true; touch ${env.IMAGE_PATH}/x 2>/dev/null && exit 1; ls -A ${env.IMAGE_PATH}/dev | grep . && exit 1; true`,
  );
  // Compressed in the store, as it came.
  assert.equal(await digest(machine, `${STORE}/store/${sha256}`), sha256);
  assert.deepEqual(await answers(machine), [
    "moved tree.tar.zst all 302 0",
    `good tree.tar.zst all 200 ${(await inside(machine, "stat -c %s /srv/images/tree.tar.zst")).trim()}`,
  ]);
  const inode = await inside(machine, `stat -c '%i %Z' ${env.IMAGE_PATH}/etc/file`);
  await started(machine, "debian");
  await define(machine, "other", ini.replace("moved", "gone"));
  assert.equal((await started(machine, "other")).IMAGE_PATH, env.IMAGE_PATH);
  assert.equal(await inside(machine, `stat -c '%i %Z' ${env.IMAGE_PATH}/etc/file`), inode);
  assert.deepEqual(await answers(machine), []);
});

test("what was fetched before a kill is not fetched again; without ranges, or of another version, all of it is", async () => {
  const machine = await theMachine();
  const sha256 = await variant(machine, "resumed");
  await define(
    machine,
    "resumed",
    `[image]\nsource = http://127.0.0.1:8000/slow/resumed\nsha256 = ${sha256}\n`,
  );
  await answers(machine);
  await begin(machine, "resumed");
  const status = await inside(
    machine,
    "sleep 1.5; systemctl show -P StatusText image@resumed; systemctl status image@resumed || true",
  );
  assert.match(status, /^resumed: fetched \d+ \w+ of \d+ MB \(\d+ %\), .*\/s$/m);
  await killed(machine, "resumed");
  const have = Number(await inside(machine, `stat -c %s ${STORE}/partial/${sha256}`));
  await inside(machine, "sed -i s/slow/good/ /usr/local/etc/images/resumed.ini");
  await started(machine, "resumed");
  const whole = Number(await inside(machine, "stat -c %s /srv/images/resumed"));
  assert.deepEqual(await answers(machine), [
    `slow resumed all 200 ${whole}`,
    `good resumed bytes=${have}- 206 ${whole - have}`,
  ]);

  // Lost connections, with something each time, are taken up as long as it takes.
  const cut = await variant(machine, "cut");
  await define(machine, "cut", `[image]\nsource = http://127.0.0.1:8000/cut/cut\nsha256 = ${cut}\n`);
  await started(machine, "cut");
  const ranges = (await answers(machine)).map((line) => line.split(" ")[2]);
  assert.deepEqual(ranges.slice(0, 3), ["all", "bytes=900000-", "bytes=1800000-"]);

  // A server that knows no ranges, and one that has another file by now.
  for (const [name, manner] of [
    ["plain", "plain"],
    ["changed", "good"],
  ] as const) {
    const first = await variant(machine, name);
    await define(machine, name, `[image]\nsource = http://127.0.0.1:8000/slow/${name}\nsha256 = ${first}\n`);
    await begin(machine, name);
    await killed(machine, name);
    if (name === "changed") {
      await variant(machine, "changed-again");
      await inside(machine, "cd /srv/images; cp changed kept; cp changed-again changed");
    }
    await inside(machine, `sed -i s/slow/${manner}/ /usr/local/etc/images/${name}.ini`);
    await answers(machine);
    if (name === "changed") {
      assert.match(await refused(machine, name), /error\[image-digest\]/);
      await inside(machine, "cp /srv/images/kept /srv/images/changed");
    }
    await started(machine, name);
    assert.match(
      (await answers(machine)).at(-1) ?? "",
      new RegExp(`^${manner} ${name} (all|bytes=\\d+-) 200 `),
    );
  }
});

test("images that are asked for at once, by several names, are fetched and unpacked once", async () => {
  const machine = await theMachine();
  const sha256 = await variant(machine, "shared");
  for (const name of ["one", "two", "three"])
    await define(machine, name, `[image]\nsource = http://127.0.0.1:8000/slow/shared\nsha256 = ${sha256}\n`);
  await answers(machine);
  await inside(machine, "systemctl start image@one image@two image@three");
  assert.equal((await answers(machine)).length, 1);
  const said = await inside(machine, "journalctl -o cat -u image@one -u image@two -u image@three");
  assert.equal(said.match(/: unpacked in/g)?.length, 1);
  assert.match(said, /another start prepares the same image; waiting/);
  assert.equal(await inside(machine, `sort -u ${STORE}/{one,two,three}.env | grep -c IMAGE_PATH`), "1\n");
});

test("killed at any instant, the next start finishes, with a whole tree and nothing left over", async () => {
  const machine = await theMachine();
  const sha256 = await variant(machine, "cutshort");
  await define(
    machine,
    "cutshort",
    `[image]\nsource = http://127.0.0.1:8000/good/cutshort\nsha256 = ${sha256}\n`,
  );
  const list = (folder: string): Promise<string> =>
    inside(machine, `cd ${folder}; find . -path './dev/*' -prune -o -type f -exec sha256sum {} + | sort`);
  const whole = await list("/srv/tree");
  const random = seededRandom(6);
  let unfinished = 0;
  for (let i = 0; i < KILLS; i++) {
    const ms = random.below(900);
    await inside(
      machine,
      `btrfs property set -ts ${STORE}/trees/${sha256} ro false 2>/dev/null; btrfs -q subvolume delete ${STORE}/trees/${sha256} 2>/dev/null; systemctl stop image@cutshort; rm -rf ${STORE}/cutshort.env ${STORE}/store/${sha256} ${STORE}/extras/${sha256}
       systemctl start --no-block image@cutshort; sleep ${ms / 1000}; systemctl kill -s KILL image@cutshort 2>/dev/null
       for i in $(seq 100); do case $(systemctl is-active image@cutshort) in activating | deactivating) sleep 0.05 ;; *) break ;; esac; done; systemctl reset-failed image@cutshort 2>/dev/null; true`,
    );
    if ((await inside(machine, `ls ${STORE} | grep -c cutshort.env || true`)).trim() === "0") unfinished += 1;
    const env = await started(machine, "cutshort");
    assert.equal(await list(env.IMAGE_PATH ?? ""), whole, `killed after ${ms} ms`);
    assert.equal(
      await inside(machine, `ls ${STORE}/partial; ls ${STORE}/trees | grep -E 'draft|gone' || true`),
      "",
    );
  }
  assert.ok(unfinished > 0, "no start was cut short");
});

test("a signature is checked, of the image or of a list of checksums, and one of somebody else refused", async () => {
  const machine = await theMachine();
  await variant(machine, "signed");
  await inside(
    machine,
    "cd /srv/images; sha256sum signed >SHA256SUMS; sha512sum -b signed >SHA512SUMS; sha256sum tree.tar.zst >OTHERSUMS",
  );
  const { gpg, forget } = keyring();
  try {
    for (const who of ["publisher", "stranger"])
      gpg(["--quick-generate-key", `${who}@example.org`, "ed25519", "sign", "never"]);
    await put(
      machine,
      "/usr/local/etc/images/keys/publisher.pgp",
      gpg(["--export", "publisher@example.org"]),
    );
    await put(
      machine,
      "/usr/local/etc/images/keys/stranger.asc",
      gpg(["--armor", "--export", "stranger@example.org"]),
    );
    const sign = async (file: string): Promise<void> => {
      const bytes = Buffer.from(await inside(machine, `base64 -w0 /srv/images/${file}`), "base64");
      await put(
        machine,
        `/srv/images/${file}.gpg`,
        gpg(["--local-user", "publisher@example.org", "--detach-sign"], bytes),
      );
    };
    for (const file of ["signed", "SHA256SUMS", "SHA512SUMS", "OTHERSUMS"]) await sign(file);
    const at = "http://127.0.0.1:8000/good";
    const ini = (sums: string, keyring = "publisher.pgp"): string =>
      `[image]\nsource = ${at}/signed\n${sums === "" ? "" : `sums = ${at}/${sums}\n`}signature = ${at}/${sums || "signed"}.gpg\nkeyring = ${keyring}\n`;
    await define(machine, "signed", ini("", "stranger.asc"));
    assert.match(
      await refused(machine, "signed"),
      /error\[image-signature\] the signature of \S+\/signed does not hold\n {2}keys: \S+stranger\.asc/,
    );
    await define(machine, "signed", ini("SHA256SUMS", "stranger.asc"));
    await answers(machine);
    assert.match(
      await refused(machine, "signed"),
      /error\[image-signature\] the signature of \S+\/SHA256SUMS does not hold/,
    );
    assert.ok(
      !(await answers(machine)).some((line) => line.startsWith("good signed ")),
      "fetched without proof",
    );
    await define(machine, "signed", ini("OTHERSUMS"));
    assert.match(
      await refused(machine, "signed"),
      /error\[image-sums\] \S+OTHERSUMS has no checksum of `signed`/,
    );
    for (const [name, sums] of [
      ["by-sums", "SHA256SUMS"],
      ["by-sums512", "SHA512SUMS"],
      ["by-itself", ""],
    ] as const) {
      await define(machine, name, ini(sums));
      await started(machine, name);
      await answers(machine);
      await started(machine, name);
      assert.deepEqual(await answers(machine), [], `${name} asked again`);
    }
  } finally {
    forget();
  }
});

test("too little space is refused before anything is fetched, with the sum, and cleanly where it shows on the way", async () => {
  const machine = await theMachine();
  const sha256 = await variant(machine, "large");
  const ini = (manner: string): string =>
    `[image]\nsource = http://127.0.0.1:8000/${manner}/large\nsha256 = ${sha256}\n`;
  const space = (megabytes: string): Promise<string> =>
    inside(machine, `umount ${STORE} 2>/dev/null; mount -t tmpfs -o size=${megabytes} tmpfs ${STORE}`);
  try {
    await space("2M");
    await define(machine, "large", ini("good"));
    await answers(machine);
    assert.match(
      await refused(machine, "large"),
      /error\[image-space\] \d+ MB needed in \/var\/lib\/local\/images\/partial, [.\d]+ [Mk]B free\n {2}the rest of the file: \d+ MB\n {2}help: .*image-gc/,
    );
    // The size is not known here.
    await define(machine, "large", ini("plain"));
    assert.match(
      await refused(machine, "large"),
      /error\[image-space\].*\n {2}the disk became full on the way/,
    );
    assert.doesNotMatch(await stored(machine), /store\/.|trees\/.|env/);
    assert.equal(await inside(machine, `find ${STORE}/partial -type f -size +0`), "");
    const bytes = Number(await inside(machine, "stat -c %s /srv/images/large"));
    await space(`${Math.ceil(bytes / 1e6) + 2}M`);
    await define(machine, "large", ini("good"));
    assert.match(
      await refused(machine, "large"),
      /error\[image-space\] \d+ MB needed in \S+, [.\d]+ [Mk]B free\n {2}unpacked, \d+ files: \d+ MB/,
    );
    assert.doesNotMatch(await stored(machine), /trees\/.|env/);
    await space("64M");
    // No subvolumes there: a folder, and whole all the same.
    await started(machine, "large");
  } finally {
    await inside(machine, `umount ${STORE}; systemctl stop image@large; systemctl reset-failed`);
  }
});

test("an archive that reaches out of its tree, or holds devices, is refused whole; one for another architecture as well", async () => {
  const machine = await theMachine();
  await inside(
    machine,
    `cd /srv/tree; echo evil >/srv/evil
     tar -P --transform='s,etc/file,../../../../../../srv/owned,' -cf /srv/images/dots etc/file
     tar -P -cf /srv/images/absolute /srv/evil
     mknod usr/disk b 7 0; tar -cf /srv/images/device usr/disk; rm usr/disk
     mkdir -p /srv/t1 /srv/t2/out; ln -s /srv /srv/t1/out; echo owned >/srv/t2/out/owned
     tar -C /srv/t1 -cf /srv/images/through out; tar -C /srv/t2 -rf /srv/images/through out/owned
     mkdir -p /srv/arm/usr/bin; cp usr/bin/busybox /srv/arm/usr/bin/; printf '\\267\\000' | dd of=/srv/arm/usr/bin/busybox bs=1 seek=18 conv=notrunc status=none
     tar -C /srv/arm -cf /srv/images/arm .; head -c 100000 /dev/urandom >/srv/images/rubbish; head -c 900000 /srv/images/tree.tar.zst >/srv/images/torn`,
  );
  const file = async (name: string, more = ""): Promise<void> =>
    define(
      machine,
      name,
      `[image]\nsource = file:///srv/images/${name}\nsha256 = ${await digest(machine, `/srv/images/${name}`)}\n${more}`,
    );
  for (const [name, said] of [
    ["dots", /error\[image-unsafe\][\s\S]*member: .* \.\.\/\.\.\/\S+srv\/owned/],
    ["absolute", /error\[image-unsafe\][\s\S]*member: .* \/srv\/evil/],
    ["device", /error\[image-unsafe\][\s\S]*member: brw\S+ .* usr\/disk/],
    ["rubbish", /error\[image-content\] image `rubbish` is neither a tar archive nor a disk image/],
    ["torn", /error\[image-step-failed\] could not read the archive\n {2}command: tar [\s\S]*said: /],
    ["arm", /error\[image-arch\] image `arm` is for arm64, wanted is amd64/],
  ] as const) {
    await file(name);
    assert.match(await refused(machine, name), said);
  }
  await file("through");
  // tar makes links last: what goes "through" one lands beside it, or not at all.
  await inside(
    machine,
    "systemctl start image@through; systemctl reset-failed image@through; test ! -e /srv/owned",
  );
  assert.doesNotMatch(await inside(machine, `ls ${STORE}/trees`), /draft|gone/);
  await file("arm", "arch = arm64\n");
  assert.equal((await started(machine, "arm")).IMAGE_ARCH, "arm64");
});

test("a disk is decompressed once beside its store, qcow2 stays as it is, and kernel and initrd are taken out unmounted", async () => {
  const machine = await theMachine();
  await inside(
    machine,
    `mkdir -p /srv/disk/boot; cd /srv/disk; { head -c 514 /dev/zero; printf HdrS; head -c 300000 /dev/urandom; } >boot/vmlinuz-6.12.9; cp boot/vmlinuz-6.12.9 boot/vmlinuz-6.12.10
     echo ten >>boot/vmlinuz-6.12.10; head -c 200000 /dev/urandom >boot/initrd.img-6.12.10; echo nine >boot/initrd.img-6.12.9
     cd /srv/images; mke2fs -q -t ext4 -d /srv/disk fs.img 32M; truncate -s 40M disk.raw; dd if=fs.img of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
     printf '\\0\\0\\0\\0\\203\\0\\0\\0\\0\\010\\0\\0\\0\\0\\1\\0' | dd of=disk.raw bs=1 seek=446 conv=notrunc status=none; printf '\\125\\252' | dd of=disk.raw bs=1 seek=510 conv=notrunc status=none
     qemu-img convert -O qcow2 disk.raw disk.qcow2; xz -k0 disk.raw; gzip -k1 fs.img; qemu-img create -q -f qcow2 -b /etc/shadow -F raw over.qcow2
     tar -C /srv/disk -cf kernels.tar .; cp /bin/true /srv/tree-true; mkdir -p /srv/nokernel/usr/bin; cp /bin/true /srv/nokernel/usr/bin; tar -C /srv/nokernel -cf nokernel.tar .`,
  );
  const of = async (name: string, file: string, more = ""): Promise<void> =>
    define(
      machine,
      name,
      `[image]\nsource = file:///srv/images/${file}\nsha256 = ${await digest(machine, `/srv/images/${file}`)}\n${more}`,
    );
  await of("over", "over.qcow2");
  assert.match(
    await refused(machine, "over"),
    /error\[image-content\] image `over` is a qcow2 image on top of another file \(\/etc\/shadow\)/,
  );
  await of("nokernel", "nokernel.tar", "boot = yes\n");
  assert.match(
    await refused(machine, "nokernel"),
    /error\[image-boot-missing\] image `nokernel` has no kernel to take out: it has no folder \/boot/,
  );
  await of("wrongkind", "disk.qcow2", "kind = tree\n");
  assert.match(
    await refused(machine, "wrongkind"),
    /is a disk, by what it holds, and its definition says tree/,
  );
  const kernel = await digest(machine, "/srv/disk/boot/vmlinuz-6.12.10");
  const initrd = await digest(machine, "/srv/disk/boot/initrd.img-6.12.10");
  for (const [name, file, format] of [
    ["raw-xz", "disk.raw.xz", "raw"],
    ["qcow", "disk.qcow2", "qcow2"],
    ["bare-gz", "fs.img.gz", "raw"],
    ["kernels", "kernels.tar", ""],
  ] as const) {
    await of(name, file, "boot = yes\n");
    const env = await started(machine, name);
    assert.equal(env.IMAGE_KIND, format === "" ? "tree" : "disk");
    assert.equal(env.IMAGE_FORMAT, format);
    assert.equal(await digest(machine, env.IMAGE_KERNEL ?? ""), kernel, name);
    assert.equal(await digest(machine, env.IMAGE_INITRD ?? ""), initrd, name);
    if (name === "raw-xz") {
      assert.equal(
        await digest(machine, env.IMAGE_PATH ?? ""),
        await digest(machine, "/srv/images/disk.raw"),
      );
      assert.ok(Number(await inside(machine, `stat -c %b ${env.IMAGE_PATH}`)) * 512 < 36e6, "no holes");
    }
    if (name === "qcow") assert.equal((await inside(machine, `stat -c %h ${env.IMAGE_PATH}`)).trim(), "2");
  }
  assert.doesNotMatch(await inside(machine, `ls ${STORE}/disks`), /draft/);
});

test("an OCI image comes from a registry, a layout or an archive, by its digest, with its command, and without its layers a second time", async () => {
  const machine = await theMachine();
  await inside(
    machine,
    `printf 'version: 0.1\\nstorage: {filesystem: {rootdirectory: /srv/registry}}\\nhttp: {addr: "127.0.0.1:5001"}\\n' >/srv/registry.yml; systemd-run --quiet --unit=registry docker-registry serve /srv/registry.yml
     cd /srv; umoci init --layout oci; umoci new --image oci:app
     tar -C /srv/tree --xattrs --xattrs-include=security.capability --exclude=./dev/null -cf layer1.tar .; mkdir -p l2/etc; echo second >l2/etc/file; touch l2/etc/.wh.variant; tar -C l2 -cf layer2.tar .
     umoci raw add-layer --image oci:app layer1.tar; umoci raw add-layer --image oci:app layer2.tar
     umoci config --image oci:app --architecture amd64 --os linux --config.entrypoint /usr/bin/busybox --config.cmd httpd --config.cmd -f --config.env 'PORT=80 81' --config.user 7:8 --config.workingdir /var/lib
     umoci new --image oci:arm; umoci config --image oci:arm --architecture arm64
     skopeo --insecure-policy copy --quiet oci:oci:app oci-archive:/srv/app.tar:app
     for i in $(seq 100); do curl -fs 127.0.0.1:5001/v2/ >/dev/null && break; sleep 0.1; done
     for t in app arm; do skopeo --insecure-policy copy --quiet --dest-tls-verify=false oci:oci:$t docker://127.0.0.1:5001/lab/app:$t; done`,
  );
  const manifest = async (tag: string): Promise<string> =>
    (
      await inside(
        machine,
        `skopeo inspect --raw --tls-verify=false docker://127.0.0.1:5001/lab/app:${tag} | sha256sum`,
      )
    ).slice(0, 64);
  const [app, arm] = [await manifest("app"), await manifest("arm")];
  const registry = (sha256: string): string =>
    `[image]\nsource = docker://127.0.0.1:5001/lab/app\nsha256 = ${sha256}\ntls = no\n`;
  await define(machine, "app", registry("0".repeat(64)));
  assert.match(
    await refused(machine, "app"),
    /error\[image-step-failed\] could not read the manifest[\s\S]*manifest unknown/,
  );
  await define(machine, "app", `[image]\nsource = oci:/srv/oci:app\nsha256 = ${arm}\n`);
  const said = await refused(machine, "app");
  assert.ok(said.includes(`expected sha256: ${arm}`) && said.includes(`found sha256:    ${app}`), said);
  await define(machine, "app", registry(arm));
  assert.match(
    await refused(machine, "app"),
    /error\[image-arch\] image `app` is for arm64, wanted is amd64/,
  );
  await define(machine, "app", registry(app));
  const env = await started(machine, "app");
  assert.deepEqual(JSON.parse(await inside(machine, `cat ${env.IMAGE_COMMAND}`)), {
    argv: ["/usr/bin/busybox", "httpd", "-f"],
    env: ["PORT=80 81"],
    user: "7",
    cwd: "/var/lib",
  });
  assert.equal(
    await inside(
      machine,
      `cd ${env.IMAGE_PATH}; cat etc/file; ls etc; stat -c '%a %u:%g' usr/bin/su tmp; getcap usr/bin/ping`,
    ),
    "second\nfile\n4755 0:0\n1777 0:0\nusr/bin/ping cap_net_raw=ep\n",
  );
  // The registry is gone, and other names mean the same image.
  await inside(machine, "systemctl stop registry");
  await started(machine, "app");
  await define(machine, "layout", `[image]\nsource = oci:/srv/oci:app\nsha256 = ${app}\n`);
  assert.equal((await started(machine, "layout")).IMAGE_PATH, env.IMAGE_PATH);
  await inside(
    machine,
    `btrfs property set -ts ${env.IMAGE_PATH} ro false; btrfs -q subvolume delete ${env.IMAGE_PATH}; rm -r ${STORE}/store/${app}.oci ${STORE}/extras/${app}`,
  );
  await define(machine, "archive", `[image]\nsource = oci-archive:/srv/app.tar:app\nsha256 = ${app}\n`);
  await started(machine, "archive");
  assert.equal(await inside(machine, `cat ${env.IMAGE_PATH}/etc/file; ls ${STORE}/partial`), "second\n");
});

test("an image is built from a signed archive of packages, and built once; an archive that nobody signed is refused", async () => {
  const machine = await theMachine();
  const arch = (await inside(machine, "dpkg --print-architecture")).trim();
  await inside(
    machine,
    `set -e; mkdir -p /srv/deb/DEBIAN /srv/deb/usr/bin /srv/repo/pool /srv/repo/dists/lab/main/binary-${arch}; cd /srv/deb; cp /bin/true usr/bin/hello-lab
     printf 'Package: hello-lab\\nVersion: 1\\nArchitecture: ${arch}\\nMaintainer: Lab <lab@example.org>\\nDescription: one program\\nEssential: yes\\n' >DEBIAN/control
     dpkg-deb --root-owner-group -b . /srv/repo/pool/hello.deb >/dev/null; cd /srv/repo
     { cat /srv/deb/DEBIAN/control; echo "Filename: pool/hello.deb"; echo "Size: $(stat -c %s pool/hello.deb)"; echo "SHA256: $(sha256sum <pool/hello.deb | cut -c1-64)"; } >dists/lab/main/binary-${arch}/Packages
     cd dists/lab; { printf 'Origin: lab\\nSuite: lab\\nCodename: lab\\nArchitectures: ${arch}\\nComponents: main\\nDate: '; date -u -R; echo "SHA256:"; f=main/binary-${arch}/Packages; echo " $(sha256sum <$f | cut -c1-64) $(stat -c %s $f) $f"; } >Release`,
  );
  const build = (keyring: string): string =>
    `[build]\nsuite = lab\nvariant = extract\npackages = hello-lab\nmirror = file:///srv/repo\nkeyring = ${keyring}\n`;
  await define(machine, "made", build("archive.pgp"));
  const { gpg, forget } = keyring();
  try {
    gpg(["--quick-generate-key", "archive@example.org", "rsa2048", "sign", "never"]);
    await put(machine, "/usr/local/etc/images/keys/archive.pgp", gpg(["--export"]));
    assert.match(await refused(machine, "made"), /error\[image-step-failed\] could not build the image/);
    assert.match(await inside(machine, "journalctl -o cat -u image-build@made"), /is not signed/);
    const release = Buffer.from(await inside(machine, "base64 -w0 /srv/repo/dists/lab/Release"), "base64");
    await put(machine, "/srv/repo/dists/lab/InRelease", gpg(["--clearsign"], release));
  } finally {
    forget();
  }
  await inside(machine, "systemctl reset-failed");
  const env = await started(machine, "made");
  await inside(machine, `cmp ${env.IMAGE_PATH}/usr/bin/hello-lab /bin/true`);
  const builds = (): Promise<string> =>
    inside(machine, "journalctl --sync; journalctl -o cat -u image-build@made | grep -c ': built,'");
  assert.equal(await builds(), "1\n");
  await started(machine, "made");
  assert.equal(await builds(), "1\n");
});

test("what no definition and no guest names is listed, then removed; what is in use stays", async () => {
  const machine = await theMachine();
  const trees = async (): Promise<readonly string[]> =>
    (await inside(machine, `ls ${STORE}/trees`)).trim().split("\n").sort();
  const unused = await variant(machine, "unused");
  const guests = await variant(machine, "guests");
  const used = await digest(machine, "/srv/images/tree.tar.zst");
  await inside(machine, "cd /srv/images; mke2fs -q -t ext4 below 8M; cp tree.tar.zst used");
  for (const name of ["unused", "guests", "below", "used"]) {
    const sha256 = await digest(machine, `/srv/images/${name}`);
    await define(machine, name, `[image]\nsource = file:///srv/images/${name}\nsha256 = ${sha256}\n`);
    await started(machine, name);
  }
  const overlay = (await inside(machine, `sed -n s/IMAGE_PATH=//p ${STORE}/below.env`)).trim();
  await inside(
    machine,
    `cd /usr/local/etc/images; rm unused.ini guests.ini below.ini; mkdir -p /var/lib/local/guests/web /var/lib/local/guests/vm
     echo '{"name":"web","kind":"container","image":"guests","autostart":false,"pinned":false,"ephemeral":false}' >/var/lib/local/guests/web/guest.json
     qemu-img create -q -f qcow2 -b ${overlay} -F raw /var/lib/local/guests/vm/disk.qcow2`,
  );
  // The definitions that other tests left broken on purpose.
  await inside(
    machine,
    `cd /usr/local/etc/images; for f in *.ini; do [ -e ${STORE}/\${f%.ini}.env ] || rm $f; done`,
  );
  const run = (days: number, ...words: readonly string[]): Promise<string> =>
    inside(
      machine,
      `IMAGES_KEEP_DAYS=${days} node /usr/local/libexec/images/image.mjs gc ${words.join(" ")} 2>&1; true`,
    );
  const before = await trees();
  const listed = await run(0, "--dry-run");
  assert.match(
    listed,
    new RegExp(
      `would remove ${STORE}/trees/${unused} \\([.\\d]+ [kM]B\\): no definition and no guest names it`,
    ),
  );
  assert.match(listed, /\d+ unused, .*; nothing was removed/);
  assert.ok(![used, guests, overlay].some((one) => listed.includes(one)), listed);
  assert.deepEqual(await trees(), before);
  assert.match(await run(14), /^0 unused/m);
  await inside(machine, "echo broken >/usr/local/etc/images/odd.ini");
  assert.match(await run(0), /nothing was removed: what these use is not known/);
  await inside(
    machine,
    "rm /usr/local/etc/images/odd.ini; mkdir -p /run/systemd/system/image-gc.service.d; printf '[Service]\\nEnvironment=IMAGES_KEEP_DAYS=0\\n' >/run/systemd/system/image-gc.service.d/50-now.conf; systemctl daemon-reload; systemctl start image-gc",
  );
  const after = await trees();
  assert.ok(!after.includes(unused) && after.includes(used) && after.includes(guests));
  await inside(
    machine,
    `test -e ${overlay}; test ! -e ${STORE}/unused.env; test -e ${STORE}/guests.env; systemctl is-active image-gc.timer; /usr/local/lib/labctl/check.d/images`,
  );
});

test("what the layer runs is sandboxed: at most 4.0 in systemd-analyze security", async (t) => {
  const machine = await theMachine();
  const found = await inside(
    machine,
    "for u in image@x image-build@x image-gc; do systemd-analyze security --no-pager $u.service | tail -1; done",
  );
  const levels = [...found.matchAll(/level for (\S+): ([0-9.]+)/g)].map(([, unit, level]) => [
    unit,
    Number(level),
  ]);
  assert.equal(levels.length, 3, found);
  t.diagnostic(JSON.stringify(levels));
  for (const [unit, level] of levels) assert.ok(Number(level) <= 4, `${unit}: ${level}`);
});
