/** `labctl secret` as people use it, in whole texts: keys, values, editing, readers. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { newIdentity } from "../../src/secrets/encryption.ts";
import { type Answer, PROGRAM, type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const REPOSITORY: Files = {
  "machines/gw/machine.ini": "[machine]\nlayers = web\n",
  "machines/nas/machine.ini": "[machine]\nlayers = web\n[secrets]\nkey = nas-key\n",
  "layers/base/layer.ini": "[layer]\n",
  "layers/web/layer.ini": "[layer]\n[secrets]\nkey = web-key\n",
  "layers/web/lib/systemd/system/web.service":
    "[Service]\nExecStart=/bin/true\nLoadCredentialEncrypted=key:/usr/local/lib/credstore.encrypted/key\n",
  "layers/web/lib/systemd/system/pool@.service": "[Service]\nExecStart=/bin/true\nImportCredential=ke*\n",
  "layers/web/lib/systemd/system/none.service":
    "[Service]\nExecStart=/bin/true\nLoadCredentialEncrypted=keys\n",
};

interface Store extends Scenario {
  secret(...args: readonly string[]): Answer;
  /** With this on standard input. */
  pipe(input: string, ...args: readonly string[]): Answer;
}

/** A repository whose person at work has an identity, made by `secret init` unless `bare`. */
function store(bare = false): Store {
  const s = scenario(REPOSITORY);
  const env = { HOME: join(s.root, "home"), USER: "ann", TMPDIR: "/nonexistent" };
  const made = {
    ...s,
    secret: (...args: readonly string[]) => s.run(["secret", ...args], env),
    pipe: (input: string, ...args: readonly string[]) => s.run(["secret", ...args], env, input),
  };
  if (!bare) assert.equal(made.secret("init").code, 0);
  return made;
}

/** Versions, keys and host names differ from run to run. */
function plain(text: string): string {
  return text
    .replace(/age1[a-z0-9]{50,}/g, "<key>")
    .replace(/\b[0-9a-f]{12}\b/g, "<version>")
    .replace(/ann@\S+/g, "ann@<host>");
}

test("wrong usage says what there is", () => {
  const s = store(true);
  try {
    for (const [args, message] of [
      [["lits"], "`secret` knows init, list, rekey, add, edit, rotate, show, readers, not `lits`"],
      [["add"], "`secret add` wants the name of a secret"],
      [["list", "x"], "`secret list` takes nothing after it"],
      [["show", "x", "--json"], "`secret show` takes no --json"],
      [["edit", "x", "--generate"], "`secret edit` takes no --generate"],
    ] as const) {
      const refused = s.secret(...args);
      assert.equal(refused.code, 64);
      assert.ok(refused.stderr.startsWith(`error[usage] ${message}\n`), refused.stderr);
    }
  } finally {
    s.end();
  }
});

test("without recipients nothing is encrypted; init makes an identity for its owner alone, once", () => {
  const s = store(true);
  try {
    assert.equal(
      s.pipe("v", "add", "web-key").stderr,
      `error[no-recipients] nobody could read a secret: secrets/recipients names no key
  nothing was written
  help: \`labctl secret init\` makes an identity for you and writes its public key there`,
    );
    assert.equal(s.secret("init", "--dry-run").code, 2);
    assert.equal(existsSync(join(s.root, "home/.config")), false);
    assert.equal(
      plain(s.secret("init").stderr),
      `made <repo>/home/.config/labctl/identity.txt; keep a copy elsewhere: without it, nobody reads what only it can open
added <key> to secrets/recipients`,
    );
    const file = join(s.root, "home/.config/labctl/identity.txt");
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(join(file, "..")).mode & 0o777, 0o700);
    const before = readFileSync(file, "utf8");
    assert.equal(s.secret("init").code, 0);
    assert.equal(readFileSync(file, "utf8"), before);
    assert.equal(
      plain(readFileSync(join(s.root, "secrets/recipients"), "utf8")),
      "# Who can open the secrets: age public keys\n# ann@<host>\n<key>\n",
    );
  } finally {
    s.end();
  }
});

test("a line of recipients that is no key is refused with its place, keys of SSH by name", async () => {
  const s = store(true);
  try {
    s.write({ "secrets/recipients": "# us\nssh-ed25519 AAAAC3 ann\nage1nonsense\n" });
    assert.equal(
      s.pipe("v", "add", "x").stderr,
      `error[bad-recipient] secrets/recipients:2: \`ssh-ed25519 AAAAC3 ann\` is no age public key
  keys of SSH are not supported
  help: a key begins with \`age1\`; \`labctl secret init\` or age-keygen makes one`,
    );
    const { recipient } = await newIdentity();
    s.write({ "secrets/recipients": `${recipient} # ann\n` });
    assert.match(s.pipe("v", "add", "x").stderr, /a comment stands on a line of its own, above the key/);
    s.write({ "secrets/recipients": "age1nonsense\n" });
    assert.match(
      s.pipe("v", "add", "x").stderr,
      /^error\[bad-recipient\] secrets\/recipients:1: `age1nonsense`/,
    );
    assert.deepEqual(readdirSync(join(s.root, "secrets")), ["recipients"]);
  } finally {
    s.end();
  }
});

test("add takes standard input byte for byte, and never replaces; rotate replaces, and never adds", () => {
  const s = store();
  try {
    assert.equal(
      plain(s.pipe("va\0lue\n", "add", "web-key").stderr),
      "secrets/web-key.age: 7 bytes, the last a newline, version <version>, for 1 recipient",
    );
    assert.equal(s.run(["secret", "show", "web-key"], { HOME: join(s.root, "home") }).stdout, "va\0lue");
    assert.equal(
      s.pipe("v", "add", "web-key").stderr.split("\n")[0],
      "error[secret-exists] secrets/web-key.age: there is a secret `web-key` already",
    );
    assert.equal(
      s.pipe("v", "rotate", "web-kee").stderr,
      `error[secret-missing] there is no secret \`web-kee\`
  looked for secrets/web-kee.age
  help: did you mean \`web-key\`?`,
    );
    assert.match(s.pipe("", "rotate", "web-key").stderr, /^error\[secret-empty\] no value for `web-key`/);
    assert.match(s.pipe("x".repeat((1 << 20) + 1), "rotate", "web-key").stderr, /^error\[secret-too-large\]/);
    assert.equal(s.secret("show", "web-key").stdout, "va\0lue");
    assert.equal(s.pipe("new", "rotate", "web-key", "--dry-run").code, 2);
    assert.equal(s.pipe("new", "rotate", "web-key").code, 0);
    assert.equal(s.secret("show", "web-key").stdout, "new");
    assert.equal(s.secret("rotate", "web-key", "--generate").code, 0);
    assert.match(s.secret("show", "web-key").stdout, /^[A-Za-z0-9_-]{43}$/);
    for (const name of ["../x", "a/b", ".x", "required", "x".repeat(65)])
      assert.match(s.pipe("v", "add", name).stderr, /^error\[bad-name\]/);
  } finally {
    s.end();
  }
});

test("list shows who gets what without any key; readers names keys, machines and units", () => {
  const s = store();
  try {
    for (const name of ["web-key", "nas-key", "unused"]) s.pipe("v", "add", name);
    const stranger = { HOME: "/nonexistent" };
    assert.equal(
      plain(s.run(["secret", "list"], stranger).stdout),
      "nas-key  <version>  nas as key\nunused   <version>  no machine wants it\nweb-key  <version>  gw as key",
    );
    assert.equal(
      plain(s.run(["secret", "readers", "web-key"], stranger).stdout),
      `key   <key>  ann@<host>
root  of gw: credential key (layer web)
unit  pool@.service of gw (lib/systemd/system/pool@.service:3)
unit  web.service of gw (lib/systemd/system/web.service:3)`,
    );
    const json = JSON.parse(s.run(["secret", "readers", "nas-key", "--json"], stranger).stdout);
    assert.deepEqual(
      json.machines.map((m: { machine: string; path: string; layer: string; units: { unit: string }[] }) => [
        m.machine,
        m.path,
        m.layer,
        m.units.map((u) => u.unit),
      ]),
      [["nas", "/usr/local/lib/credstore.encrypted/key", "machine", ["pool@.service", "web.service"]]],
    );
    assert.equal(plain(s.secret("readers", "unused").stdout), "key   <key>  ann@<host>\nno machine wants it");
    const why = s.run(["why", "gw", "/usr/local/lib/credstore.encrypted/key"], stranger);
    assert.equal(
      plain(why.stdout),
      `gw: /usr/local/lib/credstore.encrypted/key
  layer     web
  source    secrets/web-key.age
  is        a credential, 0600 root:root, encrypted by the machine for itself; secret \`web-key\`, version <version>
  commit    not committed
  a change  would restart web.service: loads the credential lib/credstore.encrypted/key, which was replaced`,
    );
  } finally {
    s.end();
  }
});

test("an editor works in memory, its file is its owner's, and nothing of it stays", () => {
  const s = store();
  try {
    s.pipe("old\n", "add", "web-key");
    const left = (): string[] => readdirSync("/dev/shm").filter((name) => name.startsWith("labctl-secret-"));
    const env = (editor: string) => ({ HOME: join(s.root, "home"), EDITOR: editor });
    const edited = s.run(
      ["secret", "edit", "web-key"],
      env(`sh -c 'stat -c "%a %n" "$0" "$(dirname "$0")" >seen; echo new >"$0"; : >"$0~"'`),
    );
    assert.equal(edited.code, 0, edited.stderr);
    assert.match(
      readFileSync(join(s.root, "seen"), "utf8"),
      /^600 \/dev\/shm\/labctl-secret-\d+-\w+\/web-key\n700 \/dev\/shm\/labctl-secret-\d+-\w+\n$/,
    );
    assert.equal(s.secret("show", "web-key").stdout, "new");
    const before = readFileSync(join(s.root, "secrets/web-key.age"), "utf8");
    assert.match(s.run(["secret", "edit", "web-key"], env("true")).stderr, /stays as it is/);
    for (const [editor, why] of [
      ["false", /`false` did not end well: exit status 1/],
      ["no-such-editor", /did not end well: exit status 127/],
      ["rm", /the file is gone/],
      ["truncate -s 0", /error\[secret-empty\]/],
    ] as const) {
      const refused = s.run(["secret", "edit", "web-key"], env(editor));
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, why);
    }
    assert.equal(readFileSync(join(s.root, "secrets/web-key.age"), "utf8"), before);
    assert.deepEqual(left(), []);
  } finally {
    s.end();
  }
});

test("a signal during an edit takes the decrypted file away; one that can't be caught is cleaned up after", async () => {
  const s = store();
  try {
    s.pipe("old\n", "add", "web-key");
    const mine = (pid: number | undefined): string[] =>
      readdirSync("/dev/shm").filter((name) => name.startsWith(`labctl-secret-${pid}-`));
    for (const signal of ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL"] as const) {
      const child = spawn(process.execPath, [PROGRAM, "secret", "edit", "web-key"], {
        cwd: s.root,
        env: {
          PATH: process.env.PATH,
          HOME: join(s.root, "home"),
          EDITOR: "sh -c 'touch started; exec sleep 3'",
        },
        stdio: "ignore",
      });
      const ended = new Promise((resolve) => child.once("exit", resolve));
      while (!existsSync(join(s.root, "started"))) await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(mine(child.pid).length, 1, "the control: it is there while the editor runs");
      child.kill(signal);
      await ended;
      assert.equal(mine(child.pid).length, signal === "SIGKILL" ? 1 : 0, signal);
      s.run(["secret", "edit", "web-key"], { HOME: join(s.root, "home"), EDITOR: "true" });
      assert.deepEqual(mine(child.pid), []);
      rmSync(join(s.root, "started"));
    }
  } finally {
    s.end();
  }
});

test("rekey gives everything to the keys listed now, refuses to lock its owner out, and changes no version", () => {
  const s = store();
  try {
    s.pipe("value", "add", "web-key");
    s.pipe("value", "add", "nas-key");
    const list = s.secret("list").stdout;
    const other = { HOME: join(s.root, "other"), USER: "bob" };
    assert.equal(s.run(["secret", "init"], other).code, 0);
    const locked = s.run(["secret", "show", "web-key"], other);
    assert.equal(
      plain(locked.stderr),
      `error[not-a-recipient] <repo>/other/.config/labctl/identity.txt opens none of: web-key
  its public key: <key>
  help: someone who can open them adds that key to secrets/recipients and runs \`labctl secret rekey\`; or name another identity in LABCTL_AGE_IDENTITY`,
    );
    assert.match(s.run(["secret", "rekey"], other).stderr, /opens none of: nas-key, web-key/);
    assert.equal(s.secret("rekey", "--dry-run").code, 2);
    assert.equal(s.run(["secret", "show", "web-key"], other).code, 1);
    assert.equal(s.secret("rekey").code, 0);
    assert.equal(s.run(["secret", "show", "web-key"], other).stdout, "value");
    assert.equal(s.secret("list").stdout, list);

    const recipients = readFileSync(join(s.root, "secrets/recipients"), "utf8");
    s.write({ "secrets/recipients": recipients.replace(/# ann@.*\n.*\n/, "") });
    const out = s.secret("rekey");
    assert.equal(
      out.stderr,
      `error[locks-out] secrets/recipients: you would not be able to open the secrets afterwards
  no public key of <repo>/home/.config/labctl/identity.txt is in it
  nothing was written
  help: \`labctl secret init\` adds yours`,
    );
    assert.equal(s.run(["secret", "rekey"], other).code, 0);
    assert.equal(s.secret("show", "web-key").code, 1);
  } finally {
    s.end();
  }
});
