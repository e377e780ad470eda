/**
 * Images on a real machine, proved: digests, signatures, space, and archives that reach out of their tree are refused.
 * Must not know how the machine came to be, nor what other tests left on it.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import {
  answers,
  define,
  digest,
  keyring,
  put,
  refused,
  STORE,
  started,
  stored,
  variant,
} from "./image-fixture.ts";
import { inside } from "./push-fixture.ts";

/** Registers its tests, all on the one machine that `theMachine` answers. */
export function testProving(theMachine: () => Promise<Machine>): void {
  test("one flipped byte is refused with both digests, and nothing of it is kept", async () => {
    const machine = await theMachine();
    const before = await stored(machine);
    const right = await variant(machine, "right");
    await inside(
      machine,
      "cd /srv/images; cp right flipped; printf '\\xff' | dd of=flipped bs=1 seek=1000000 conv=notrunc status=none; cmp -s right flipped && exit 1; true",
    );
    const wrong = await digest(machine, "/srv/images/flipped");
    await define(
      machine,
      "flip",
      `[image]\nsource = http://127.0.0.1:8000/good/flipped\nsha256 = ${right}\n`,
    );
    const said = await refused(machine, "flip");
    assert.match(
      said,
      /error\[image-digest\] http:\/\/127\.0\.0\.1:8000\/good\/flipped is not what was meant/,
    );
    assert.ok(said.includes(`expected sha256: ${right}`) && said.includes(`found sha256:    ${wrong}`), said);
    assert.equal(await stored(machine), before);
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
}
