/**
 * Images on a real machine: fetched from a real server, good or bad, proved, unpacked once, and what is refused.
 */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { EXTRA_PACKAGES, enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { answers, define, digest, refused, serveImages, started } from "./image-fixture.ts";
import { bootMachine, inside, labFor } from "./push-fixture.ts";

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

const STORE = "/var/lib/local/images";
/** Everything in the store but what trees hold. */
const stored = (machine: Machine): Promise<string> =>
  inside(
    machine,
    `cd ${STORE}; find . -path './trees/*/*' -prune -o -path './locks/*' -o -type f -print -o -path './trees/*' -print | sort`,
  );

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
