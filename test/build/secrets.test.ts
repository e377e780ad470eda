/** Secrets in a build: who wants what, what is refused, and that the tree knows a version and nothing else. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parseAgeFile } from "../../src/secrets/age-file.ts";
import { decrypt, encrypt, newIdentity, rewrap } from "../../src/secrets/encryption.ts";
import { oneMachine, refuses, type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const own = await newIdentity();
const value = (text: string): Promise<string> => encrypt(Buffer.from(text), [own.recipient]);
const WEB: Files = { "layers/web/layer.ini": "[layer]\n[secrets]\nkey = web-key\n" };

interface Entry {
  readonly path: string;
  readonly type: string;
  readonly mode: string;
  readonly secret?: string;
  readonly version?: string;
}

function entriesOf(s: Scenario): readonly Entry[] {
  return JSON.parse(readFileSync(join(s.root, "var/tree/m/manifest.json"), "utf8")).entries;
}

function versionIn(s: Scenario): string | undefined {
  return entriesOf(s).find((e) => e.type === "secret")?.version;
}

test("every secret that is missing, damaged, undecided or disputed is refused at once", async () => {
  refuses(
    {
      ...oneMachine("a, b"),
      "layers/a/layer.ini": "[layer]\n[secrets]\ngone = gone\nbroken = broken\nopen = required\nboth = one\n",
      "layers/b/layer.ini": "[layer]\n[secrets]\nboth = two\n",
      "secrets/broken.age": "-----BEGIN AGE ENCRYPTED FILE-----\nabc\n",
      "secrets/one.age": await value("1"),
      "secrets/two.age": await value("2"),
    },
    `error[secret-missing] layers/a/layer.ini:3:1: there is no secret \`gone\`, wanted by layer \`a\`
  looked for secrets/gone.age
  help: make it: \`labctl secret add gone\`
error[credential-open] layers/a/layer.ini:5:1: machine \`m\` does not say which secret is its credential \`open\`
  layer \`a\` requires it
  help: add \`open = NAME\` to [secrets] in machines/m/machine.ini
error[credential-conflict] layers/b/layer.ini:3:1: credential \`both\` of machine \`m\` shall be two different secrets
  layer \`a\` says \`one\` (layers/a/layer.ini:6)
  layer \`b\` says \`two\` (layers/b/layer.ini:3)
  help: decide in machines/m/machine.ini: [secrets] both = …
error[secret-damaged] secrets/broken.age: the encrypted file is damaged: it is cut short: its last line is missing
  help: bring it back from Git, or make the secret anew`,
  );
});

test("names that would lead elsewhere, and a file that leads out of the repository, are refused", async () => {
  refuses(
    {
      ...oneMachine("web"),
      "layers/web/layer.ini": "[layer]\n[secrets]\n../key = web-key\nkey = ../../etc/shadow\n",
    },
    `error[bad-name] layers/web/layer.ini:3:1: \`../key\` can't be the name of a credential
  a name has letters, digits, \`.\`, \`_\` and \`-\`, begins with a letter or digit, and has at most 64 characters
  help: write \`CREDENTIAL = SECRET\`, both names, or \`CREDENTIAL = required\`
error[bad-name] layers/web/layer.ini:4:1: \`../../etc/shadow\` can't be the name of a secret
  a name has letters, digits, \`.\`, \`_\` and \`-\`, begins with a letter or digit, and has at most 64 characters
  help: write \`CREDENTIAL = SECRET\`, both names, or \`CREDENTIAL = required\``,
  );
  refuses(
    { ...oneMachine("web"), ...WEB, "secrets/web-key.age": { link: "/etc/passwd" } },
    `error[secret-outside] secrets/web-key.age: the link leads out of the repository
  help: replace it by the file`,
  );
});

test("a layer's own file in a credential's place is refused", async () => {
  refuses(
    {
      ...oneMachine("web"),
      ...WEB,
      "layers/web/lib/credstore.encrypted/key": "by hand\n",
      "secrets/web-key.age": await value("x"),
    },
    `error[credential-taken] layers/web/layer.ini:3:1: lib/credstore.encrypted/key is both a file of a layer and credential \`key\`
  the file: layers/web/lib/credstore.encrypted/key
  help: remove one of the two`,
  );
});

test("the machine decides over its layers, and over `required`", async () => {
  const s = scenario({
    ...oneMachine("a, b", "[secrets]\nboth = three\nopen = one\n"),
    "layers/a/layer.ini": "[layer]\n[secrets]\nboth = one\nopen = required\n",
    "layers/b/layer.ini": "[layer]\n[secrets]\nboth = two\n",
    "secrets/one.age": await value("1"),
    "secrets/three.age": await value("3"),
  });
  try {
    assert.deepEqual(s.run(["build", "-q"]), { code: 0, stdout: "", stderr: "" });
    assert.deepEqual(
      entriesOf(s)
        .filter((e) => e.type === "secret")
        .map((e) => [e.path, e.mode, e.secret]),
      [
        ["lib/credstore.encrypted/both", "0600", "three"],
        ["lib/credstore.encrypted/open", "0600", "one"],
      ],
    );
  } finally {
    s.end();
  }
});

test("the tree has no file for a secret; rotating makes another generation, a rekey does not, nor does a second build do anything", async () => {
  const encrypted = await value("first");
  const s = scenario({ ...oneMachine("web"), ...WEB, "secrets/web-key.age": encrypted });
  try {
    const build = (): { generation: string; written: number } =>
      JSON.parse(s.run(["build", "--json"]).stdout).machines[0];
    const first = build();
    assert.equal(existsSync(join(s.root, "var/tree/m/usr/local/lib/credstore.encrypted")), false);
    assert.deepEqual(
      entriesOf(s).map((e) => `${e.type} ${e.path}`),
      ["dir lib", "dir lib/credstore.encrypted", "secret lib/credstore.encrypted/key"],
    );
    const version = versionIn(s);
    assert.match(version ?? "", /^[0-9a-f]{64}$/);
    assert.equal(build().generation, first.generation);

    const file = parseAgeFile(encrypted);
    const next = await newIdentity();
    assert.ok(typeof file !== "string");
    const rekeyed = await rewrap(file, [own.identity], [next.recipient]);
    assert.ok(rekeyed.kind === "open");
    s.write({ "secrets/web-key.age": rekeyed.text });
    assert.equal(build().generation, first.generation);
    assert.equal((await decrypt(file, [own.identity])).kind, "open");

    s.write({ "secrets/web-key.age": await value("first") });
    assert.notEqual(build().generation, first.generation);
    assert.notEqual(versionIn(s), version);
    s.write({ "layers/web/etc/x": "x\n" });
    const quick = build();
    s.write({ "layers/web/etc/x": "y\n" });
    assert.notEqual(build().generation, quick.generation);
    const incremental = entriesOf(s);
    assert.equal(s.run(["build", "--rebuild", "-q"]).code, 0);
    assert.deepEqual(entriesOf(s), incremental, "a build from nothing says the same");

    s.write({ "layers/web/layer.ini": "[layer]\n" });
    build();
    assert.equal(versionIn(s), undefined);
  } finally {
    s.end();
  }
});

test("verify names credentials that nobody loads, and ones loaded in their encrypted form", async () => {
  const s = scenario({
    ...oneMachine("web"),
    "layers/web/layer.ini": "[layer]\n[secrets]\nkey = web-key\ntoken = web-key\nraw = web-key\n",
    "secrets/web-key.age": await value("x"),
    "layers/web/lib/systemd/system/web.service":
      "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\nLoadCredentialEncrypted=kee\nImportCredential=tok*\nLoadCredential=raw:/usr/local/lib/credstore.encrypted/raw\n",
  });
  try {
    const found = JSON.parse(s.run(["verify", "--json"]).stdout).findings;
    assert.deepEqual(
      found.map((f: { code: string; message: string; help: string }) => [f.code, f.message, f.help]),
      [
        [
          "credential-encrypted",
          "web.service loads credential `raw` as it lies there: encrypted",
          "write LoadCredentialEncrypted= instead",
        ],
        [
          "credential-unread",
          "no unit loads credential `key`",
          "a unit loads `kee`: correct one of the two names",
        ],
      ],
    );
  } finally {
    s.end();
  }
});
