/** Definitions of images: what is refused and in which words, and what each form means. */
import assert from "node:assert/strict";
import test from "node:test";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { type ImageDefinition, parseDefinition } from "../../src/images/definition.ts";

const HEX = "ab".repeat(32);
const FILE = "etc/images/x.ini";

function refusal(text: string): string {
  const read = parseDefinition(text, "x", FILE);
  assert.ok(!read.ok, "it was accepted");
  return read.problems.map(formatDiagnostic).join("\n");
}

function definition(text: string): ImageDefinition {
  const read = parseDefinition(text, "x", FILE);
  assert.ok(read.ok, read.ok ? "" : read.problems.map(formatDiagnostic).join("\n"));
  return read.value;
}

test("all that is wrong is said at once, with place and what to write", () => {
  assert.equal(
    refusal("[image]\nsource = ftp://x/y\nsha256 = 12\nkind = box\narhc = amd64\n[biuld]\n"),
    `error[ini-unknown] etc/images/x.ini:5:1: unknown setting \`arhc\` in [image]
  help: did you mean \`arch\`?
error[ini-unknown] etc/images/x.ini:6:1: unknown section [biuld]
  help: did you mean \`build\`?
error[image-value] etc/images/x.ini:4:1: \`kind = box\` can't be
  help: write one of tree, disk
error[image-value] etc/images/x.ini:2:1: \`source = ftp://x/y\` can't be
  help: write http://…, https://…, file:///PATH, oci:/FOLDER[:TAG], oci-archive:/FILE[:TAG] or docker://HOST/REPOSITORY
error[image-value] etc/images/x.ini:3:1: \`sha256 = 12\` can't be
  help: write 64 hexadecimal digits`,
  );
});

test("a source without proof is refused, and half a proof", () => {
  assert.equal(
    refusal("[image]\nsource = https://example.org/x\n"),
    `error[image-proof-missing] etc/images/x.ini: nothing proves that what is fetched is what was meant
  help: set \`sha256\`, or \`signature\` and \`keyring\` (and \`sums\`, if the signature is of a list of checksums)`,
  );
  for (const half of [
    "sums = https://example.org/SHA256SUMS",
    "signature = https://example.org/x.gpg",
    "keyring = debian.pgp",
    "sums = https://example.org/S\nsignature = https://example.org/S.gpg",
    `sha256 = ${HEX}\nkeyring = debian.pgp`,
  ])
    assert.match(
      refusal(`[image]\nsource = https://example.org/x\n${half}\n`),
      /error\[image-(value|proof-missing)\]/,
      half,
    );
  assert.match(refusal("[image]\n"), /error\[image-source-missing\]/);
  assert.match(
    refusal("[image]\nsource = docker://h/r\nsignature = https://x/y\nkeyring = k\n"),
    /known by `sha256`/,
  );
});

test("what could mean something else to a program or a server is refused", () => {
  for (const source of [
    "https://user:password@example.org/x",
    "https://example.org/a b",
    "https://example.org/x#part",
    "file://relative",
    "file:///a\u0000b",
    "docker://Example/x",
    "docker://example.org/x:latest",
    "docker://-x/y z",
    "oci:relative",
    "oci:/a:b:c",
    "--output=/etc/passwd",
  ])
    assert.match(refusal(`[image]\nsource = ${source}\nsha256 = ${HEX}\n`), /error\[image-value\]/, source);
  for (const line of [
    "suite = --x",
    "suite = trixie\npackages = a;b",
    "suite = trixie\nmirror = [trusted=yes] http://x/",
    "suite = trixie\nvariant = fake",
    "suite = trixie\nkeyring = ../x",
    "packages = a",
  ])
    assert.match(refusal(`[build]\n${line}\n`), /error\[image-value\]/, line);
  assert.match(refusal("[build]\n"), /^error\[image-value\] .*\.ini:1:1: .*\n {2}help: write a suite/);
  assert.match(
    refusal(`[image]\nsha256 = ${HEX}\n[build]\nsuite = trixie\n`),
    /\[build\] says where the image comes from/,
  );
});

test("each form of source and proof is read", () => {
  const of = (source: string): unknown =>
    definition(`[image]\nsource = ${source}\nsha256 = ${HEX.toUpperCase()}\n`).source;
  assert.deepEqual(of("https://example.org/a%20b.tar"), {
    kind: "web",
    url: "https://example.org/a%20b.tar",
  });
  assert.deepEqual(of("file:///srv/a b.tar"), { kind: "file", path: "/srv/a b.tar" });
  assert.deepEqual(of("oci:/srv/layout:app"), {
    kind: "layout",
    archive: false,
    path: "/srv/layout",
    reference: "app",
  });
  assert.deepEqual(of("oci-archive:/srv/a.tar"), { kind: "layout", archive: true, path: "/srv/a.tar" });
  assert.deepEqual(of("docker://localhost:5000/lab/app"), {
    kind: "registry",
    repository: "localhost:5000/lab/app",
    tls: true,
  });
  assert.deepEqual(
    definition(
      "[image]\nsource = https://x.org/a\nsums = https://x.org/S\nsignature = https://x.org/S.gpg\nkeyring = k.pgp\narch = arm64\nboot = yes\nkind = disk\n",
    ),
    {
      name: "x",
      source: { kind: "web", url: "https://x.org/a" },
      proof: {
        kind: "sums",
        sums: "https://x.org/S",
        signature: "https://x.org/S.gpg",
        keyring: "/usr/local/etc/images/keys/k.pgp",
      },
      boot: true,
      imageKind: "disk",
      arch: "arm64",
    },
  );
  assert.deepEqual(definition("[build]\nsuite = trixie\npackages = dbus, systemd-sysv\n"), {
    name: "x",
    source: {
      kind: "build",
      suite: "trixie",
      packages: ["dbus", "systemd-sysv"],
      variant: "apt",
      components: ["main"],
    },
    proof: { kind: "archive" },
    boot: false,
  });
});
