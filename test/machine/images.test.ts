/**
 * Images on a real machine, which all tests share: fetching, proving, what is no archive of a tree, and what goes when
 * nobody names it any more. Each part's tests stand in a file of their own; only this one boots.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { EXTRA_PACKAGES, enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { testFetching } from "./image-fetching.ts";
import { define, digest, STORE, serveImages, started, variant } from "./image-fixture.ts";
import { testKinds } from "./image-kinds.ts";
import { testProving } from "./image-proving.ts";
import { bootMachine, inside, labFor } from "./push-fixture.ts";
import { assertSandboxed } from "./sandbox.ts";

await enterNamespaces(import.meta.url);
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

testFetching(theMachine);
testProving(theMachine);
testKinds(theMachine);

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

test("what the layer runs is sandboxed", async (t) => {
  await assertSandboxed(t, await theMachine(), ["image@x", "image-build@x", "image-gc"]);
});
