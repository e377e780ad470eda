/** What bytes from outside mean: heads of answers, lists of checksums, archives' members, disks, programs, OCI's documents. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { pickKernel } from "../../src/images/boot-files.ts";
import { digestIn } from "../../src/images/checksums.ts";
import {
  architectureOf,
  architectureOfDisk,
  compressionOf,
  contentOf,
  HEAD_BYTES,
  partitionsOf,
} from "../../src/images/content.ts";
import { chooseManifest, commandOf, parseDocument } from "../../src/images/oci-document.ts";
import { readHeads } from "../../src/images/response-head.ts";
import { surveyLine } from "../../src/images/unpack.ts";

const HEX = "ab".repeat(32);

test("a list of checksums with the name in another place, form or case leads to no other file", () => {
  const list = `${HEX}  a/x.img\n${HEX.slice(2)}  x.img\n${HEX} x.img\nx.img ${HEX}\n${HEX.toUpperCase()} *y.img\n${HEX}${HEX}  ./z.img\r\n`;
  assert.equal(digestIn(list, "x.img"), undefined);
  assert.deepEqual(digestIn(list, "y.img"), { algorithm: "sha256", hex: HEX });
  assert.deepEqual(digestIn(list, "z.img"), { algorithm: "sha512", hex: HEX + HEX });
});

test("of several answers the last one's head counts, and half a head is waited for", () => {
  const redirect = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 5\r\n\r\n";
  const final =
    'HTTP/2 206 \r\netag: W/"weak"\r\nlast-modified: Sat, 01 Jan 2022 00:00:00 GMT\r\ncontent-range: bytes 7-9/10\r\ncontent-length: 3\r\n\r\n';
  assert.equal(readHeads(Buffer.from(redirect + final.slice(0, -1))), undefined);
  const read = readHeads(Buffer.from(`HTTP/1.1 100 Continue\r\n\r\n${redirect}${final}abc`));
  assert.deepEqual(read?.head, {
    status: 206,
    tag: "Sat, 01 Jan 2022 00:00:00 GMT",
    length: 3,
    from: 7,
    whole: 10,
  });
  assert.equal(String(read?.rest), "abc");
  assert.deepEqual(readHeads(Buffer.from("HTTP/1.1 304 Not Modified\r\n\r\n"))?.head, {
    status: 304,
    tag: "",
  });
  const packed = readHeads(
    Buffer.from('HTTP/1.1 200 OK\r\nETag: "s"\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n'),
  );
  assert.deepEqual(packed?.head, { status: 200, tag: '"s"' });
});

test("members that lead out, hidden devices and unknown kinds are seen in tar's listing, ordinary ones are not", () => {
  const line = (type: string, name: string, size = "5"): string =>
    `${type}rw-r--r-- 0/0 ${size} 2026-01-01 00:00 ${name}`;
  for (const bad of [
    line("-", "../x"),
    line("-", "a/../../x"),
    line("-", "/etc/x"),
    line("h", "a link to ../x"),
    line("h", "a link to /etc/x"),
    line("b", "usr/disk", "7,0"),
    line("c", "./developer/x", "1,3"),
    line("V", "volume"),
    "rubbish",
  ])
    assert.ok(surveyLine(bad).isUnsafe, bad);
  for (const good of [
    line("-", "./a..b/..c"),
    line("l", "./a -> /etc/x"),
    line("l", "./a -> ../../x"),
    line("h", "a link to b"),
    line("c", "./dev/null", "1,3"),
    line("b", "dev/loop0", "7,0"),
    line("d", "./"),
    line("p", "fifo", "0"),
  ])
    assert.deepEqual([surveyLine(good).isUnsafe, good], [false, good]);
  assert.equal(surveyLine(line("-", "x", "1234")).bytes, 1234);
  assert.equal(surveyLine(line("c", "dev/x", "1,3")).bytes, 0);
});

test("compression, archives and disks are told by their magic, not by their names", () => {
  for (const [program, wanted] of [
    ["gzip", "gzip"],
    ["xz", "xz"],
    ["zstd", "zstd"],
    ["bzip2", "bzip2"],
  ] as const) {
    const packed = spawnSync(program, ["-c"], { input: "x" });
    if (packed.status === 0) assert.equal(compressionOf(packed.stdout), wanted);
  }
  assert.equal(compressionOf(Buffer.from("plain")), "none");
  assert.equal(contentOf(spawnSync("tar", ["-c", "/dev/null"]).stdout), "tar");
  assert.equal(contentOf(Buffer.from("QFI\xfb\0\0\0\x03", "latin1")), "qcow2");
  for (const size of [0, 1, 511, 600, HEAD_BYTES]) assert.equal(contentOf(Buffer.alloc(size, 7)), "unknown");
});

test("partitions and a disk's architecture are read as sfdisk wrote them", (t) => {
  if (spawnSync("sfdisk", ["--version"]).status !== 0) {
    t.skip("sfdisk is not installed");
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "disk-"));
  try {
    const head = (script: string): Buffer => {
      const file = join(folder, "disk");
      writeFileSync(file, "");
      truncateSync(file, 64 << 20);
      assert.equal(spawnSync("sfdisk", ["-q", file], { input: script }).status, 0);
      return readFileSync(file).subarray(0, HEAD_BYTES);
    };
    const gpt = partitionsOf(
      head(
        "label: gpt\nstart=2048, size=8192, type=uefi\nstart=16384, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE\n",
      ),
    );
    assert.deepEqual(
      gpt.map((p) => p.startBytes),
      [2048 * 512, 16384 * 512],
    );
    assert.equal(gpt[0]?.lengthBytes, 8192 * 512);
    assert.equal(architectureOfDisk(gpt), "arm64");
    const mbr = head("label: dos\nstart=2048, size=8192, type=83\n");
    assert.deepEqual(partitionsOf(mbr), [{ startBytes: 2048 * 512, lengthBytes: 8192 * 512, type: "83" }]);
    assert.equal(contentOf(mbr), "raw");
    assert.equal(architectureOfDisk(partitionsOf(mbr)), undefined);
    assert.deepEqual(partitionsOf(Buffer.alloc(100)), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a program's and a kernel's architecture is told by its head, nothing by a script's", () => {
  const own: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };
  assert.equal(architectureOf(readFileSync(process.execPath).subarray(0, 64)), own[process.arch]);
  const elf = Buffer.from("7f454c460102", "hex");
  assert.equal(architectureOf(Buffer.concat([elf, Buffer.from([...Array(12).fill(0), 0, 21])])), "ppc64");
  assert.equal(architectureOf(Buffer.from("#!/bin/sh\n")), undefined);
  const kernel = Buffer.alloc(1024);
  kernel.write("HdrS", 0x202, "latin1");
  assert.equal(architectureOf(kernel), "amd64");
});

test("the newest kernel is picked by version, with its own initrd", () => {
  const names = [
    "vmlinuz-6.9.0",
    "vmlinuz-6.12.9",
    "vmlinuz-6.12.10",
    "initrd.img-6.12.9",
    "initrd.img-6.9.0",
    "vmlinuz",
  ];
  assert.deepEqual(pickKernel(names), { kernel: "vmlinuz-6.12.10", initrd: undefined });
  assert.deepEqual(pickKernel(names.slice(0, 2).concat(names.slice(3))), {
    kernel: "vmlinuz-6.12.9",
    initrd: "initrd.img-6.12.9",
  });
  assert.equal(pickKernel(["vmlinuz", "config-6.1"]), undefined);
});

test("OCI documents that are damaged, or of digests that can't be checked, are none", () => {
  for (const text of [
    "",
    "[]",
    "null",
    '{"manifests":[{"digest":"md5:1"}]}',
    '{"config":{"digest":"sha256:1"},"layers":[]}',
    `{"config":{"digest":"sha256:${HEX}"},"layers":[{"size":-1}]}`,
  ])
    assert.equal(parseDocument(text), undefined, text);
  const entry = (architecture: string, os = "linux"): object => ({
    digest: `sha256:${HEX}`,
    platform: { architecture, os },
  });
  const index = parseDocument(
    JSON.stringify({ manifests: [entry("amd64", "windows"), entry("arm64"), entry("386")] }),
  );
  assert.ok(index?.kind === "index");
  assert.deepEqual(chooseManifest(index, "amd64"), { found: ["arm64", "i386"] });
  assert.deepEqual(chooseManifest(index, "i386"), { digest: HEX });
  assert.deepEqual(commandOf({}), { argv: [], env: [] });
  assert.deepEqual(commandOf({ config: { User: "0:0", Env: null, WorkingDir: "" } }), { argv: [], env: [] });
  const config = { Cmd: ["a"], Entrypoint: null, Env: ["A=b=c", "B"], User: "7:8", WorkingDir: "/x" };
  assert.deepEqual(commandOf({ config }), { argv: ["a"], env: ["A=b=c", "B"], user: "7", cwd: "/x" });
});
