/**
 * Compiled templates from the cache render what freshly compiled ones render; a cache that can't be trusted is compiled
 * around. Whether the cache is really used shows by the compiler not being loaded: a kept script is changed and sealed again.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { build } from "../../src/build/build.ts";
import type { BuildRequest } from "../../src/build/build-result.ts";
import { blake3 } from "../../src/hash.ts";
import type { AbsPath } from "../../src/paths.ts";
import { temporaryFolder, writeFiles } from "../temporary-repository.ts";

const TEMPLATES = ["a", "b", "c", "d", "e"];
const tree = (root: string, name: string): string =>
  readFileSync(join(root, "var/tree/m/usr/local/etc", name), "utf8");

async function withBuilt(
  run: (
    request: BuildRequest,
    file: string,
    rebuild: (value: string, request?: BuildRequest) => Promise<void>,
  ) => Promise<void>,
): Promise<void> {
  const scratch = temporaryFolder("template-cache");
  try {
    const root = join(scratch, "repository") as AbsPath;
    const templates = TEMPLATES.map((n) => [
      `layers/l/etc/${n}.hbs`,
      `${n} {{FACT}} {{> p x="${n}"}}\n{{#if FACT}}"loc":{"start":{{/if}}\n`,
    ]);
    writeFiles(root, {
      "lab.ini": "[lab]\nname = t\n",
      "machines/m/machine.ini": "[machine]\nhost = h\nlayers = l\n",
      "layers/l/layer.ini": "[layer]\ndescription = d\n",
      "layers/l/_partials/p.hbs": "partial {{x}} {{FACT}}",
      ...Object.fromEntries(templates),
    });
    const request: BuildRequest = {
      root,
      builtInLayers: join(scratch, "none") as AbsPath,
      machines: [],
      facts: new Map(),
      tool: "test",
      fromNothing: false,
      templateCache: join(scratch, "cache") as AbsPath,
    };
    const rebuild = async (value: string, asked = request): Promise<void> => {
      writeFiles(root, { "facts/all.env": `FACT=${value}\n` });
      const built = await build(asked);
      assert.ok(built.ok, JSON.stringify(built));
    };
    await rebuild("one");
    const [name = ""] = readdirSync(join(scratch, "cache"));
    await run(request, join(scratch, "cache", name), rebuild);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const expected = (name: string, fact: string): string =>
  `${name} ${fact} partial ${name} ${fact}\n"loc":{"start":\n`;

/** Changes every kept script's words, as if the compiler had written them so; unsealed: the file still vouches for the old ones. */
async function tamper(file: string, sealed: boolean): Promise<void> {
  const { hash } = await blake3();
  const [, first = "", ...rest] = readFileSync(file, "utf8").split("\n");
  const index = JSON.parse(first) as { tool: string; templates: Record<string, [number, string]> };
  let bytes = Buffer.from(rest.join("\n"));
  const texts: string[] = [];
  for (const [key, [size, sum]] of Object.entries(index.templates)) {
    const text = bytes.toString("utf8", 0, size).replaceAll('\\"partial \\"', '\\"KEPT \\"');
    bytes = bytes.subarray(size);
    index.templates[key] = [Buffer.byteLength(text), sealed ? hash(text) : sum];
    texts.push(text);
  }
  const head = JSON.stringify(index);
  writeFileSync(file, `${hash(head)}\n${head}\n${texts.join("")}`);
}

test("kept templates render as freshly compiled ones do, and nobody else can read or write them", async () => {
  await withBuilt(async (request, file, rebuild) => {
    assert.equal(statSync(file).mode & 0o777, 0o600);
    await rebuild("two");
    for (const n of TEMPLATES) assert.equal(tree(request.root, n), expected(n, "two"));
  });
});

test("what is kept is what is used: the control for the tests of damage", async () => {
  await withBuilt(async (request, file, rebuild) => {
    await tamper(file, true);
    await rebuild("two");
    assert.match(tree(request.root, "a"), /^a two KEPT a two/);
  });
});

test("a kept file whose checksum fails, that is cut, that is another labctl's, or that is none is not used", async () => {
  await withBuilt(async (request, file, rebuild) => {
    const whole = readFileSync(file);
    const damages: readonly (() => Promise<void> | void)[] = [
      () => tamper(file, false),
      () => writeFileSync(file, whole.subarray(0, whole.length / 2)),
      () => writeFileSync(file, ""),
      () => {
        rmSync(file);
        mkdirSync(file);
      },
    ];
    for (const [i, damage] of damages.entries()) {
      rmSync(file, { recursive: true, force: true });
      writeFileSync(file, whole);
      await damage();
      await rebuild(`v${i}`);
      for (const n of TEMPLATES) assert.equal(tree(request.root, n), expected(n, `v${i}`));
    }
    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, whole);
    await tamper(file, true);
    await rebuild("other", { ...request, tool: "another" });
    assert.equal(tree(request.root, "a"), expected("a", "other"));
  });
});

test("a build from nothing does not use what is kept", async () => {
  await withBuilt(async (request, file, rebuild) => {
    await tamper(file, true);
    await rebuild("two", { ...request, fromNothing: true });
    assert.equal(tree(request.root, "a"), expected("a", "two"));
  });
});

test("a cache folder that can't be written costs nothing but time", async () => {
  await withBuilt(async (request, file, rebuild) => {
    writeFileSync(`${file}-plain`, "");
    await rebuild("two", { ...request, templateCache: `${file}-plain` as AbsPath });
    assert.equal(tree(request.root, "a"), expected("a", "two"));
  });
});
