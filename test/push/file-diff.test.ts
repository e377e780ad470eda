/** What may be shown of a file and what may not, and that nothing in it steers a terminal: tables, no disk. */
import assert from "node:assert/strict";
import test from "node:test";
import { diffLines } from "../../src/cli/show-diff.ts";
import type { RelPath } from "../../src/paths.ts";
import {
  compareSides,
  diffJson,
  MOST_TEXT_BYTES,
  type Side,
  type Standing,
  secretPaths,
  sideOf,
} from "../../src/push/diff/file-diff.ts";
import { dir, file, manifestOf } from "./manifest-of.ts";

const plain = (_style: string, text: string): string => text;
const root = { mode: 0o644, owner: "root", group: "root" };

function standing(content: string | Buffer | Side, attributes = root, secret = false): Standing {
  const side =
    typeof content === "string" || Buffer.isBuffer(content) ? sideOf(Buffer.from(content), secret) : content;
  return { side, attributes };
}

const absent: Standing = { side: { kind: "absent" } };

function lines(before: Standing, after: Standing): string[] {
  const diff = compareSides("etc/x" as RelPath, before, after);
  return diff ? diffLines([diff], plain) : [];
}

test("secret by name, by its mode, by a folder that is closed; in either tree", () => {
  const isSecret = secretPaths(
    manifestOf([
      file("etc/was", "1", { mode: 0o640 }),
      dir("closed", { mode: 0o750 }),
      file("closed/x", "1"),
    ]),
    manifestOf([file("etc/was", "1"), file("etc/is", "1", { mode: 0o600 }), file("etc/open", "1")]),
    undefined,
  );
  const rows: [string, boolean][] = [
    ["etc/open", false],
    ["etc/was", true],
    ["etc/is", true],
    ["closed/x", true],
    ["closed/y/z", true],
    ["lib/x/token.cred", true],
    ["lib/credstore/token", true],
    ["lib/credstore.encrypted/token", true],
    ["etc/credentials.conf", false],
  ];
  for (const [path, expected] of rows) assert.equal(isSecret(path), expected, path);
});

test("secrets, binary and big files: hashes, and no byte of them in what is printed", () => {
  const big = "x".repeat(MOST_TEXT_BYTES + 1);
  const hash = (of: string): string => (sideOf(Buffer.from(of), true) as { hash: string }).hash.slice(0, 19);
  const rows: [Standing, Standing, string[]][] = [
    [
      standing("hunter1", root, true),
      standing("hunter2", root, true),
      [`-secret, ${hash("hunter1")}`, `+secret, ${hash("hunter2")}`],
    ],
    [
      absent,
      standing("hunter2", { ...root, mode: 0o600 }, true),
      ["    mode 0600", `+secret, ${hash("hunter2")}`],
    ],
    [
      standing("a\0b"),
      standing("c\0d"),
      [`-binary, 3 bytes, ${hash("a\0b")}`, `+binary, 3 bytes, ${hash("c\0d")}`],
    ],
    [standing(Buffer.from([0xff, 0xfe])), absent, [/^-binary, 2 bytes, sha256:[0-9a-f]{12}$/.source]],
    [
      standing(big),
      standing("small"),
      [`-big, ${big.length} bytes, ${hash(big)}`, `+big, 5 bytes, ${hash("small")}`],
    ],
    // What the machine keeps from others is not shown, whatever the tree says.
    [
      standing("mine", { ...root, mode: 0o600 }, true),
      standing("ours"),
      ["    mode 0600 → 0644", `-secret, ${hash("mine")}`, `+secret, ${hash("ours")}`],
    ],
  ];
  for (const [before, after, expected] of rows) {
    const got = lines(before, after).slice(2);
    for (const [i, want] of expected.entries())
      assert.ok(got[i] === want || new RegExp(want).test(got[i] ?? ""), `${got[i]} is not ${want}`);
    assert.equal(got.length, expected.length);
  }
  const secret = compareSides(
    "x" as RelPath,
    standing("hunter1", root, true),
    standing("hunter2", root, true),
  );
  assert.ok(secret);
  assert.doesNotMatch(JSON.stringify(diffJson(secret)), /hunter|sizeBytes/);
});

test("links, folders, modes and owners are lines; nothing at all where nothing differs", () => {
  const link = (target: string): Standing => standing({ kind: "link", target }, { ...root, mode: 0o777 });
  const rows: [Standing, Standing, string[]][] = [
    [standing("a\n"), standing("a\n"), []],
    [link("a"), link("a"), []],
    [link("a"), link("b"), ["-link to a", "+link to b"]],
    [absent, link("b"), ["+link to b"]],
    [link("a"), standing("text\n"), ["-link to a", "+text, 5 characters"]],
    [standing({ kind: "dir" }), standing("text\n"), ["-folder", "+text, 5 characters"]],
    [standing("a\n"), standing("a\n", { ...root, mode: 0o755 }), ["    mode 0644 → 0755"]],
    [standing("a\n"), standing("a\n", { ...root, group: "adm" }), ["    owner root:root → root:adm"]],
    [absent, standing(""), ["    empty file"]],
    [
      absent,
      standing("a", { ...root, mode: 0o755 }),
      ["    mode 0755", "@@ -0,0 +1 @@", "+a", "\\ no newline at the end of the file"],
    ],
  ];
  for (const [before, after, expected] of rows) assert.deepEqual(lines(before, after).slice(2), expected);
});

test("nothing in a file, a link or an owner's name steers a terminal", () => {
  const hostile = "\u001b]0;owned\u0007\u001b[2J\r\u009b31m\u202eevil\ttab\n";
  const printed = [
    ...lines(standing("a\n"), standing(hostile)),
    ...lines(standing(hostile), absent),
    ...lines(standing({ kind: "link", target: hostile }), absent),
    ...lines(standing("a", { ...root, owner: hostile }), standing("a")),
  ].join("\n");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(printed, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
  assert.match(printed, /^\+\\x1b\]0;owned\\x07\\x1b\[2J\\x0d\\x9b31m\\u\{202e\}evil\ttab$/m);
});

test("a line as long as a file is cut", () => {
  const [, , , , line = ""] = lines(standing("a\n"), standing(`${"x".repeat(5000)}\n`));
  assert.match(line, /^\+x{1000} … \(4000 more characters\)$/);
});
