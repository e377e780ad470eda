/** The image cache: keys, damage, builders at the same time and builders that die. A cheap builder stands in. */
import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { failure, problem, success } from "../../src/diagnostics.ts";
import { pickMirror, pickProxyOptions } from "../../src/images/apt-source.ts";
import type { AbsPath } from "../../src/paths.ts";
import { ensureImage, type Image, type ImageBuilder } from "../../src/twin/image.ts";
import { imageKey } from "../../src/twin/image-recipe.ts";

function cache(t: TestContext) {
  const cacheFolder = mkdtempSync(join(tmpdir(), "labctl-cache-")) as AbsPath;
  t.after(() => rmSync(cacheFolder, { recursive: true }));
  let builds = 0;
  const builder: ImageBuilder = async (file, packages) => {
    builds += 1;
    await sleep(50);
    writeFileSync(file, `build ${builds} of ${packages.join(" ")}`);
    return success(undefined);
  };
  const ensure = async (other: ImageBuilder = builder): Promise<Image> => {
    const result = await ensureImage({ packages: ["curl"], cacheFolder, builder: other });
    assert.ok(result.ok);
    return result.value;
  };
  return { cacheFolder, builder, ensure, builds: () => builds };
}

test("an image cut short, altered or without its seal is built again", async (t) => {
  const { ensure, builds } = cache(t);
  const { file } = await ensure();
  assert.equal(builds(), 1);
  truncateSync(file, 5);
  await ensure();
  assert.equal(builds(), 2);
  writeFileSync(file, readFileSync(file, "utf8").replace("build", "BUILD"));
  await ensure();
  assert.equal(builds(), 3);
  rmSync(`${file}.json`);
  assert.equal((await ensure()).built, true);
  assert.equal(builds(), 4);
});

test("a failed build leaves no image, no scratch files and no lock behind", async (t) => {
  const { cacheFolder, ensure } = cache(t);
  const broken: ImageBuilder = async (file) => {
    writeFileSync(file, "half");
    return failure(problem("image-build-failed", "no mirror"));
  };
  const result = await ensureImage({ packages: ["curl"], cacheFolder, builder: broken });
  assert.ok(!result.ok);
  assert.deepEqual(
    readdirSync(join(cacheFolder, "images")).filter((name) => !name.endsWith(".lock")),
    [],
  );
  assert.equal((await ensure()).built, true);
});

test("what a killed builder left is cleared away", async (t) => {
  const { cacheFolder, ensure } = cache(t);
  const { file, key } = await ensure();
  rmSync(file);
  mkdirSync(join(cacheFolder, "images", `${key}.work`, "deep"), { recursive: true });
  await ensure();
  assert.deepEqual(readdirSync(join(cacheFolder, "images")).sort(), [
    `${key}.lock`,
    `${key}.tar.zst`,
    `${key}.tar.zst.json`,
  ]);
});

test("of several callers at once one builds and all get the image", async (t) => {
  const { ensure, builds } = cache(t);
  const images = await Promise.all([ensure(), ensure(), ensure()]);
  assert.equal(builds(), 1);
  assert.deepEqual(images.map((image) => image.built).sort(), [false, false, true]);
  assert.equal(new Set(images.map((image) => image.file)).size, 1);
});

test("a sound image is used again without a build", async (t) => {
  const { ensure, builds } = cache(t);
  await ensure();
  assert.equal((await ensure()).built, false);
  assert.equal(builds(), 1);
});

test("the key depends on which packages are asked for, not on their order", () => {
  assert.equal(imageKey(["curl", "nginx-light"]), imageKey(["nginx-light", "curl", "curl"]));
  assert.notEqual(imageKey(["curl"]), imageKey([]));
});

test("the mirror is the host's Debian archive, not its security archive or another vendor's", () => {
  const uris = [
    "https://pkg.example.org/node",
    "http://m.example.org/debian-security/",
    "http://m.example.org/debian/",
  ];
  assert.equal(pickMirror(uris), "http://m.example.org/debian");
  assert.equal(pickMirror(uris.slice(0, 2)), "http://deb.debian.org/debian");
});

test("only apt's proxy and certificate settings go into the build", () => {
  const dump = [
    'Acquire::http::Proxy "http://proxy.example.org:3128";',
    'Acquire::https::CAInfo "/etc/ssl/example.pem";',
    'Acquire::http::Proxy "";',
    'Acquire::Retries "3";',
    'APT::Install-Recommends "1";',
  ];
  assert.deepEqual(pickProxyOptions(dump), [
    'Acquire::http::Proxy "http://proxy.example.org:3128"',
    'Acquire::https::CAInfo "/etc/ssl/example.pem"',
  ]);
});
