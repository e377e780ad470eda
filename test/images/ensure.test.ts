/**
 * Images from their definition to NAME.env in folders of the test's own: disks, for which no root is needed. What needs a
 * machine stands in test/machine/images.test.ts.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { ensureImage, type Machine, ownArchitecture } from "../../src/images/ensure.ts";
import { backingFile, removeUnused } from "../../src/images/unused.ts";

interface Bench {
  readonly folder: string;
  readonly machine: Machine;
  /** Defines an image of these bytes; its digest. */
  define(name: string, bytes: Buffer, more?: string): string;
  /** Its NAME.env, or what was refused. */
  ensure(name: string): Promise<string>;
}

function bench(t: TestContext): Bench {
  const folder = mkdtempSync(join(tmpdir(), "images-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const machine = {
    definitions: [join(folder, "etc")],
    state: join(folder, "state"),
    arch: ownArchitecture(),
  };
  mkdirSync(join(folder, "etc"));
  return {
    folder,
    machine,
    define: (name, bytes, more = "") => {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      writeFileSync(join(folder, name), bytes);
      const text = `[image]\nsource = file://${join(folder, name)}\nsha256 = ${sha256}\n${more}`;
      writeFileSync(join(folder, `etc/${name}.ini`), text);
      return sha256;
    },
    ensure: async (name) => {
      const done = await ensureImage(machine, name, { line: () => {}, status: () => {} });
      if (!done.ok) return done.problems.map(formatDiagnostic).join("\n");
      return readFileSync(join(machine.state, `${name}.env`), "utf8");
    },
  };
}

/** A disk of a megabyte with a boot sector's signature. */
function disk(): Buffer {
  const bytes = Buffer.alloc(1 << 20);
  randomBytes(1000).copy(bytes, 4096);
  bytes.writeUInt16BE(0x55aa, 510);
  return bytes;
}

test("a byte that flips in the store is refused when the store is used again, and the next start fetches anew", async (t) => {
  const { machine, define, ensure } = bench(t);
  const sha256 = define("disk", gzipSync(disk()));
  assert.match(await ensure("disk"), /^IMAGE_KIND=disk$/m);
  const stored = join(machine.state, "store", sha256);
  const bytes = readFileSync(stored);
  bytes[500] = (bytes[500] ?? 0) ^ 1;
  const flipped = createHash("sha256").update(bytes).digest("hex");
  rmSync(stored);
  writeFileSync(stored, bytes);
  // While the disk is there, nothing of the store is used.
  assert.match(await ensure("disk"), /^IMAGE_KIND=disk$/m);
  rmSync(join(machine.state, "disks", `${sha256}.raw`));
  const said = await ensure("disk");
  assert.ok(said.startsWith(`error[image-digest] ${stored} is not what was meant\n`), said);
  assert.ok(
    said.includes(`expected sha256: ${sha256}`) && said.includes(`found sha256:    ${flipped}`),
    said,
  );
  assert.match(await ensure("disk"), /^IMAGE_KIND=disk$/m);
  assert.deepEqual(
    readFileSync(join(machine.state, "disks", `${sha256}.raw`)).subarray(510, 512),
    Buffer.from("55aa", "hex"),
  );
});

test("a source that is not there, an empty one and one that is cut off are refused, each in its own words", async (t) => {
  const { folder, machine, define, ensure } = bench(t);
  define("gone", disk());
  rmSync(join(folder, "gone"));
  assert.match(
    await ensure("gone"),
    /^error\[image-source-absent\] file:\S+\/gone can't be read: there is no such file/,
  );
  define("empty", Buffer.alloc(0));
  assert.match(
    await ensure("empty"),
    /^error\[image-content\] image `empty` is neither a tar archive nor a disk image/,
  );
  define("torn", gzipSync(Buffer.concat([disk(), randomBytes(100_000)])).subarray(0, 50_000));
  assert.match(
    await ensure("torn"),
    /^error\[image-step-failed\] could not decompress the disk[\s\S]*unexpected end of file/,
  );
  assert.deepEqual(readdirSync(join(machine.state, "disks")), []);
  assert.match(await ensure("../../etc/passwd"), /^error\[image-name\]/);
  assert.match(await ensure("nobody"), /^error\[image-undefined\][\s\S]*help: /);
});

test("twenty starts at once make one image", async (t) => {
  const { machine, define, ensure } = bench(t);
  const bytes = gzipSync(disk());
  const names = Array.from({ length: 20 }, (_, i) => `disk${i}`);
  for (const name of names) define(name, bytes);
  const all = await Promise.all(names.map(ensure));
  assert.equal(new Set(all.map((text) => /^IMAGE_PATH=(.*)$/m.exec(text)?.[1])).size, 1);
  assert.equal(readdirSync(join(machine.state, "store")).length, 1);
  assert.deepEqual(readdirSync(join(machine.state, "partial")), []);
});

test("what was unused for less than the days of grace stays, and so does what an unreadable definition might name", async (t) => {
  const { folder, machine, define, ensure } = bench(t);
  const guests = { declared: join(folder, "guests"), state: join(folder, "guest-state") };
  const sha256 = define("disk", gzipSync(disk()));
  await ensure("disk");
  const collect = (days: number, dryRun = false) => removeUnused(machine, guests, days, dryRun);
  assert.deepEqual(await collect(0), { unused: [], problems: [], unreadable: [] });
  rmSync(join(folder, "etc/disk.ini"));
  assert.deepEqual((await collect(1)).unused, []);
  mkdirSync(guests.declared);
  writeFileSync(join(guests.declared, "web.json"), "{");
  assert.equal((await collect(0)).unreadable.length, 1);
  assert.ok(existsSync(join(machine.state, "store", sha256)));
  rmSync(join(guests.declared, "web.json"));
  assert.ok((await collect(0, true)).unused.length >= 4);
  assert.ok(existsSync(join(machine.state, "store", sha256)));
  await collect(0);
  for (const part of ["store", "disks", "extras"])
    assert.deepEqual(readdirSync(join(machine.state, part)), []);
  assert.ok(!existsSync(join(machine.state, "disk.env")));
});

test("the file below a qcow2 file is read from its header, none from other files", (t) => {
  const { folder } = bench(t);
  const file = join(folder, "x.qcow2");
  writeFileSync(file, "short");
  assert.equal(backingFile(file), undefined);
  const head = Buffer.alloc(200);
  head.write("QFI\xfb", 0, "latin1");
  writeFileSync(file, head);
  assert.equal(backingFile(file), undefined);
  head.writeBigUInt64BE(104n, 8);
  head.writeUInt32BE(9, 16);
  head.write("/a/b c.ra", 104);
  writeFileSync(file, head);
  assert.equal(backingFile(file), "/a/b c.ra");
});
