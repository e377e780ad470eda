/**
 * Images on a real machine that are no archive of a tree: disks, OCI images, and what is built from packages.
 * Must not know how the machine came to be, nor what other tests left on it.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { define, digest, keyring, put, refused, STORE, started } from "./image-fixture.ts";
import { inside } from "./push-fixture.ts";

/** Registers its tests, all on the one machine that `theMachine` answers. */
export function testKinds(theMachine: () => Promise<Machine>): void {
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
}
