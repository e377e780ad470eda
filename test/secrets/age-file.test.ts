/** Age files from the outside and the inside: damage, versions, and other recipients for the same content. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { generateHybridIdentity, identityToRecipient } from "age-encryption";
import { blake3 } from "../../src/hash.ts";
import { type AgeFile, armor, parseAgeFile, versionOf } from "../../src/secrets/age-file.ts";
import { decrypt, encrypt, newIdentity, rewrap } from "../../src/secrets/encryption.ts";

function parsed(text: string): AgeFile {
  const file = parseAgeFile(text);
  if (typeof file === "string") throw new Error(file);
  return file;
}

const SIZES = [0, 1, 31, 32, 33, 48, 65_535, 65_536, 65_537, 200_000];

test("a damaged file is refused with what is wrong with it, before any key is asked for", async () => {
  const { recipient } = await newIdentity();
  const text = await encrypt(Buffer.from("x".repeat(100)), [recipient]);
  const lines = text.trimEnd().split("\n");
  const binary = (data: string): string => armor(Buffer.from(data), new Uint8Array());
  const damage: readonly (readonly [string, RegExp])[] = [
    ["", /does not begin/],
    ["plain text\n", /does not begin/],
    [`<<<<<<< HEAD\n${text}=======\n${text}>>>>>>> other\n`, /a merge that was not settled/],
    [lines.slice(0, -1).join("\n"), /cut short/],
    [lines.toSpliced(2, 1, "short").join("\n"), /base64 is damaged/],
    [lines.toSpliced(2, 1, `${"!".repeat(64)}`).join("\n"), /base64 is damaged/],
    [binary("age-encryption.org/v2\n"), /version 1/],
    [binary("age-encryption.org/v1\n-> X25519 a\nb\n"), /no end/],
    [binary(`age-encryption.org/v1\n--- abc\n${"x".repeat(40)}`), /names no recipient/],
    [binary("age-encryption.org/v1\n-> X25519 a\nb\n--- abc\nshort"), /content is missing/],
  ];
  for (const [broken, why] of damage) assert.match(String(parseAgeFile(broken)), why, broken.slice(0, 60));
  assert.equal(typeof parseAgeFile(text.replaceAll("\n", "\r\n")), "object", "line ends of another system");
});

test("content comes back byte for byte at every size around the chunks", async () => {
  const { identity, recipient } = await newIdentity();
  for (const size of SIZES) {
    const data = randomBytes(size);
    const opened = await decrypt(parsed(await encrypt(data, [recipient])), [identity]);
    assert.ok(opened.kind === "open" && Buffer.compare(opened.data, data) === 0, `${size} bytes`);
  }
});

test("every byte counts: one flipped bit anywhere is damage, and never other content", async () => {
  const { identity, recipient } = await newIdentity();
  const file = parsed(await encrypt(Buffer.from("a value"), [recipient]));
  const whole = Buffer.concat([file.header, file.payload]);
  for (let at = 0; at < whole.length; at++) {
    const broken = Buffer.from(whole);
    broken[at] = (broken[at] ?? 0) ^ 1;
    const again = parseAgeFile(armor(broken, new Uint8Array()));
    if (typeof again === "string") continue;
    assert.notEqual((await decrypt(again, [identity])).kind, "open", `byte ${at}`);
  }
});

test("another identity opens nothing; control: the right one among several does", async () => {
  const own = await newIdentity();
  const other = await newIdentity();
  const file = parsed(await encrypt(Buffer.from("v"), [own.recipient]));
  assert.deepEqual(await decrypt(file, [other.identity]), { kind: "no-key" });
  assert.equal((await decrypt(file, [other.identity, own.identity])).kind, "open");
});

test("other recipients leave the version as it is, encrypting anew does not", async () => {
  const b3 = await blake3();
  const old = await newIdentity();
  const next = await newIdentity();
  const hybrid = await generateHybridIdentity();
  const hybridRecipient = await identityToRecipient(hybrid);
  for (const size of SIZES) {
    const data = randomBytes(size);
    const text = await encrypt(data, [old.recipient]);
    const file = parsed(text);
    assert.notEqual(versionOf(parsed(await encrypt(data, [old.recipient])), b3), versionOf(file, b3));
    const made = await rewrap(file, [old.identity], [next.recipient, hybridRecipient]);
    assert.ok(made.kind === "open");
    assert.notEqual(made.text, text);
    const again = parsed(made.text);
    assert.deepEqual(again.recipientKinds, ["X25519", "mlkem768x25519"]);
    assert.equal(versionOf(again, b3), versionOf(file, b3));
    for (const identity of [next.identity, hybrid]) {
      const opened = await decrypt(again, [identity]);
      assert.ok(opened.kind === "open" && Buffer.compare(opened.data, data) === 0);
    }
    assert.deepEqual(await decrypt(again, [old.identity]), { kind: "no-key" }, "who was removed");
    assert.deepEqual(await rewrap(again, [old.identity], [old.recipient]), { kind: "no-key" });
  }
});
