/** Whose identity it is: where it is looked for, who else could read it, and what is said without saying what is in it. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { Encrypter } from "age-encryption";
import type { Diagnostic } from "../../src/diagnostics.ts";
import { armor } from "../../src/secrets/age-file.ts";
import { newIdentity } from "../../src/secrets/encryption.ts";
import { type AskPassphrase, identityPath, keyring } from "../../src/secrets/identity.ts";
import { type Files, temporaryFolder, writeFiles } from "../temporary-repository.ts";

const NEED = { secrets: ["key"], machine: "gw" };

async function asked(
  files: Files,
  ask?: AskPassphrase,
): Promise<{ problem?: Diagnostic; keys?: readonly string[] }> {
  const folder = temporaryFolder("identity");
  try {
    writeFiles(folder, files);
    const result = await keyring({ LABCTL_AGE_IDENTITY: join(folder, "id") }, ask)(NEED);
    if (result.ok) return { keys: result.value.keys };
    const [problem] = result.problems;
    return problem ? { problem: JSON.parse(JSON.stringify(problem).replaceAll(folder, "<dir>")) } : {};
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("an identity that others could read is refused, and how to mend it is said", async () => {
  const { identity } = await newIdentity();
  for (const mode of [0o640, 0o604, 0o666]) {
    const { problem } = await asked({ id: { text: identity, mode } });
    assert.equal(problem?.code, "identity-open");
    assert.equal(
      problem?.message,
      `the identity file <dir>/id is not yours alone: its mode is 0${mode.toString(8)}, not 0600`,
    );
    assert.equal(problem?.help, "`chmod 0600 <dir>/id`");
  }
  assert.deepEqual((await asked({ id: { text: `# mine\n${identity}\n`, mode: 0o600 } })).keys, [identity]);
});

test("what is no identity is named by its kind, and not one byte of it is shown", async () => {
  const { identity } = await newIdentity();
  const cases: readonly (readonly [string, RegExp])[] = [
    ["", /holds no key/],
    ["# only a comment\n", /holds no key/],
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n", /an SSH key/],
    [`${identity.slice(0, -3)}AAA\n`, /nothing that labctl understands/],
    ["AGE-PLUGIN-YUBIKEY-1QQQ\n", /nothing that labctl understands/],
    ["age-encryption.org/v1\n", /binary form/],
  ];
  for (const [text, why] of cases) {
    const { problem } = await asked({ id: { text, mode: 0o600 } });
    assert.equal(problem?.code, "identity-bad", text);
    assert.match(problem?.message ?? "", why);
    assert.ok(
      text.trim() === "" ||
        !JSON.stringify(problem).includes(text.trim().split("\n").at(-1)?.slice(8) ?? "-"),
    );
  }
  assert.match((await asked({ id: { folder: true } })).problem?.message ?? "", /it is a folder/);
});

test("an identity behind a passphrase: nobody to ask, a wrong one, the right one, asked once for all", async () => {
  const { identity } = await newIdentity();
  const encrypter = new Encrypter();
  encrypter.setScryptWorkFactor(10);
  encrypter.setPassphrase("correct horse");
  const id = { text: armor(await encrypter.encrypt(`${identity}\n`), new Uint8Array()), mode: 0o600 };
  const alone = await asked({ id });
  assert.equal(alone.problem?.code, "identity-locked");
  assert.equal(
    alone.problem?.message,
    "machine `gw` lacks the current `key`, and <dir>/id wants a passphrase",
  );
  assert.match((await asked({ id }, async () => "wrong")).problem?.message ?? "", /does not open <dir>\/id/);
  assert.deepEqual((await asked({ id }, async () => "correct horse")).keys, [identity]);

  const folder = temporaryFolder("identity");
  writeFiles(folder, { id });
  let questions = 0;
  const ring = keyring({ LABCTL_AGE_IDENTITY: join(folder, "id") }, async () => {
    questions += 1;
    return "correct horse";
  });
  const answers = await Promise.all([ring(NEED), ring(NEED), ring(NEED)]);
  assert.ok(answers.every((a) => a.ok));
  assert.equal(questions, 1);
  rmSync(folder, { recursive: true });
});

test("a failure is not kept: whoever mends it need not start anew", async () => {
  const { identity } = await newIdentity();
  const folder = temporaryFolder("identity");
  const ring = keyring({ LABCTL_AGE_IDENTITY: join(folder, "id") }, undefined);
  assert.equal((await ring(NEED)).ok, false);
  writeFiles(folder, { id: { text: identity, mode: 0o600 } });
  assert.equal((await ring(NEED)).ok, true);
  rmSync(folder, { recursive: true });
});

test("the identity's place: named, then the configuration folder, then below the home folder", () => {
  assert.deepEqual(identityPath({ LABCTL_AGE_IDENTITY: "/a", XDG_CONFIG_HOME: "/x", HOME: "/h" }), {
    file: "/a",
    fromEnv: true,
  });
  assert.equal(identityPath({ XDG_CONFIG_HOME: "/x", HOME: "/h" }).file, "/x/labctl/identity.txt");
  assert.equal(identityPath({ LABCTL_AGE_IDENTITY: "", HOME: "/h" }).file, "/h/.config/labctl/identity.txt");
});
