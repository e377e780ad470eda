/** Secrets on real machines: delivered to exactly their readers, and to be found nowhere else. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { encrypt, newIdentity } from "../../src/secrets/encryption.ts";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import {
  type Answer,
  bootMachine,
  inside,
  type Lab,
  labFor,
  liveContents,
  unitDifference,
  unitStates,
} from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const STORE = "/usr/local/lib/credstore.encrypted";
const UNITS = "layers/vault/lib/systemd/system";
/** Nobody opens a secret with it; messages name it. */
const LOCKED = { LABCTL_AGE_IDENTITY: "/nonexistent/identity.txt" };

interface Bed {
  readonly lab: Lab;
  readonly machine: Machine;
  /** Encrypts a value into the repository, as `secret add` and `rotate` do. */
  put(name: string, value: string | Uint8Array): Promise<void>;
}

/** Prints the hash of its credential, and stays. */
function reader(credential: string): string {
  const file = `"$CREDENTIALS_DIRECTORY/${credential}"`;
  return `[Unit]
Description=prints the hash of credential ${credential}
[Service]
Type=notify
NotifyAccess=all
DynamicUser=yes
RuntimeDirectory=%p
LoadCredentialEncrypted=${credential}
ExecStart=/bin/sh -c 'sha256sum <${file} | cut -c 1-64 >/run/%p/hash; systemd-notify --ready; exec sleep infinity'
`;
}

let prepared: Promise<Bed> | undefined;

function prepare(): Promise<Bed> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    const { identity, recipient } = await newIdentity();
    lab.write({
      ".config/labctl/identity.txt": { text: `${identity}\n`, mode: 0o600 },
      "secrets/recipients": `${recipient}\n`,
      "layers/vault/layer.ini":
        "[layer]\ndescription = reads secrets\n[secrets]\ntoken = vault-token\nother = vault-other\n",
      [`${UNITS}/vault-a.service`]: reader("token"),
      [`${UNITS}/vault-b.service`]: reader("other"),
      [`${UNITS}/vault-c.service`]: "[Service]\nExecStart=/bin/sleep infinity\n",
      ...Object.fromEntries(
        ["a", "b", "c"].map((x) => [
          `${UNITS}/multi-user.target.wants/vault-${x}.service`,
          { link: `../vault-${x}.service` },
        ]),
      ),
    });
    lab.edit("machines/demo/machine.ini", "layers = web", "layers = web, vault");
    const put = async (name: string, value: string | Uint8Array): Promise<void> => {
      writeFileSync(join(lab.root, `secrets/${name}.age`), await encrypt(Buffer.from(value), [recipient]));
    };
    return { lab, machine, put };
  });
  return prepared;
}

/** A value that occurs nowhere by chance. */
function needle(): string {
  return `needle-${randomBytes(24).toString("hex")}`;
}

/** The forms in which a value could be lying about: itself, and its whole groups of base64, which it travels in. */
function formsOf(value: string): string[] {
  const whole = value.slice(0, value.length - (value.length % 3));
  return [value, Buffer.from(whole).toString("base64")];
}

function hashOf(value: string | Uint8Array): string {
  return `${createHash("sha256").update(value).digest("hex")}\n`;
}

function seenHash(machine: Machine, unit: string): Promise<string> {
  return inside(machine, `cat /run/${unit}/hash`);
}

/** Command lines and environments of all processes, the machine's among them, as they are now. */
function processTexts(): string {
  let out = "";
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    for (const file of ["cmdline", "environ"]) {
      try {
        out += `${readFileSync(`/proc/${pid}/${file}`, "latin1")}\n`;
      } catch {
        // It ended meanwhile.
      }
    }
  }
  return out;
}

/** Looks at all processes as often as it can while `work` runs; what was seen of any of `forms`, and how often it looked. */
async function watched<T>(
  forms: readonly string[],
  work: Promise<T>,
): Promise<{ value: T; hits: string[]; looks: number }> {
  const hits: string[] = [];
  let looks = 0;
  const timer = setInterval(() => {
    const text = processTexts();
    looks += 1;
    hits.push(...forms.filter((form) => text.includes(form)));
  }, 15);
  try {
    const value = await work;
    return { value, hits, looks };
  } finally {
    clearInterval(timer);
  }
}

/** Files on the machine that hold one of the forms, and `journal`. A unit's own credentials are no leak. */
async function onMachine(
  machine: Machine,
  forms: readonly string[],
  own: readonly string[] = [],
): Promise<string[]> {
  const patterns = forms.map((form) => `-e '${form}'`).join(" ");
  const text = await inside(
    machine,
    `grep -rlaF -D skip ${patterns} /usr/local /etc /run /var /tmp /root /home /dev/shm 2>/dev/null || true
     sync; journalctl --sync; journalctl -o export --no-pager | grep -aqF ${patterns} && echo journal || true`,
  );
  return text
    .split("\n")
    .filter(
      (line) => line !== "" && !own.some((unit) => line.startsWith(`/run/credentials/${unit}.service/`)),
    );
}

/** Files of the repository that hold one of the forms: sources, trees, cache, manifests. */
function inRepository(lab: Lab, forms: readonly string[]): string {
  return spawnSync("grep", ["-rlaF", ...forms.flatMap((form) => ["-e", form]), lab.root], {
    encoding: "utf8",
  }).stdout;
}

/** What a shell on this host prints. */
function shell(script: string): string {
  return spawnSync("bash", ["-c", script], { encoding: "utf8" }).stdout;
}

function heldBy(answers: readonly Answer[], forms: readonly string[]): boolean {
  return answers.some((a) => forms.some((form) => `${a.stdout}${a.stderr}`.includes(form)));
}

test("a layer's secret that does not exist is refused before the machine is asked, all of them at once", async () => {
  const { lab } = await prepare();
  const refused = await lab.expect(1, ["push", "demo", "-q"]);
  assert.equal(refused.stderr.match(/error\[secret-missing\]/g)?.length, 2);
  assert.match(
    refused.stderr,
    /layers\/vault\/layer\.ini:4:1: there is no secret `vault-token`, wanted by layer `vault`/,
  );
});

test("a first push without an identity says which is missing, and leaves the machine as it was", async () => {
  const { lab, machine, put } = await prepare();
  await put("vault-token", "first");
  await put("vault-other", "other");
  const before = await liveContents(machine);
  await lab.expect(2, ["plan", "demo"], { env: LOCKED });
  const refused = await lab.expect(1, ["push", "demo", "-q"], { env: LOCKED });
  assert.equal(
    refused.stderr,
    `error[identity-missing] machine \`demo\` lacks the current \`vault-other\`, \`vault-token\`, and there is no identity
  looked for /nonexistent/identity.txt (LABCTL_AGE_IDENTITY)
  nothing on the machine changed
  help: set LABCTL_AGE_IDENTITY to your age identity file; \`labctl secret init\` makes a first one
`,
  );
  assert.deepEqual(await liveContents(machine), before);
  assert.equal(await inside(machine, "ls /usr/local/.labctl/stage 2>/dev/null | wc -l"), "0\n");
});

test("a service gets its secret byte for byte, and no one else can read it", async () => {
  const { lab, machine, put } = await prepare();
  const binary = Buffer.from([0, 1, 2, 10, 13, 255, 254, 0, 10]);
  await put("vault-other", binary);
  await lab.expect(0, ["push", "demo"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("first"));
  assert.equal(await seenHash(machine, "vault-b"), hashOf(binary));
  assert.equal(
    await inside(machine, `stat -c '%a %U %n' ${STORE} ${STORE}/*`),
    `700 root ${STORE}\n600 root ${STORE}/other\n600 root ${STORE}/token\n`,
  );
  for (const file of [`${STORE}/token`, "/run/credentials/vault-a.service/token", "/usr/local/.labctl/stage"])
    assert.equal(
      (await machine.runInside(["runuser", "-u", "nobody", "--", "cat", file])).status,
      1,
      `nobody can read ${file}`,
    );
  // Of the two, the unit's user sees its own alone.
  const as = "systemd-run --quiet --pipe --wait -p DynamicUser=yes -p LoadCredentialEncrypted=token";
  assert.equal(await inside(machine, `${as} /bin/sh -c 'ls "$CREDENTIALS_DIRECTORY"'`), "token\n");
  const again = await lab.expect(0, ["push", "demo"], { env: LOCKED });
  assert.match(again.stderr, /nothing to do/);
});

test("a planted secret is found nowhere but with its reader, while and after it is pushed", async () => {
  const { lab, machine, put } = await prepare();
  const value = needle();
  const forms = formsOf(value);
  await put("vault-token", value);
  const answers: Answer[] = [];
  const diff = (await lab.run(["plan", "--help"])).stdout.includes("--diff") ? ["--diff"] : [];
  const all = watched(
    forms,
    (async () => {
      answers.push(await lab.expect(0, ["build", "demo", "--explain", "--json"]));
      answers.push(await lab.expect(2, ["plan", "demo", ...diff]));
      answers.push(await lab.expect(2, ["plan", "demo", "--json"]));
      answers.push(await lab.expect(0, ["push", "demo", "--json"]));
      answers.push(await lab.expect(0, ["why", "demo", `${STORE}/token`]));
    })(),
  );
  const { hits, looks } = await all;
  assert.equal(await seenHash(machine, "vault-a"), hashOf(value), "it did arrive");
  assert.ok(looks > 20, `looked ${looks} times`);
  assert.deepEqual(hits, [], "command lines and environments");
  assert.equal(heldBy(answers, forms), false, "what labctl printed");
  assert.equal(inRepository(lab, forms), "", "repository, trees, cache, manifests");
  assert.deepEqual(await onMachine(machine, forms, ["vault-a"]), [], "the machine's files and journal");

  // The blocks below the machine's file system, where a file stays after it was deleted: minutes of reading.
  const wholeDisk = process.env.LABCTL_WHOLE_DISK !== undefined;
  const device = shell(`findmnt -n -o SOURCE -T ${machine.rootFolder}`).replace(/\[.*/, "").trim();
  const onDisk = (): boolean =>
    shell(
      `sync; grep -aqF ${forms.map((form) => `-e ${form}`).join(" ")} ${device} && echo yes || echo no`,
    ) === "yes\n";
  if (wholeDisk) assert.equal(onDisk(), false, `a block of ${device}`);

  // Controls: each of these looks finds what is there to be found.
  await inside(
    machine,
    `echo ${value} >/usr/local/planted; echo ${value} | systemd-cat; echo ${value} >/run/planted`,
  );
  const found = await onMachine(machine, forms);
  assert.deepEqual(found.filter((file) => !file.startsWith("/var/log/journal/")).sort(), [
    "/run/credentials/vault-a.service/token",
    "/run/planted",
    "/usr/local/planted",
    "journal",
  ]);
  await inside(machine, "rm /usr/local/planted /run/planted");
  if (wholeDisk) assert.equal(onDisk(), true, "a deleted file is found on the disk");
  lab.write({ "planted.txt": forms[1] ?? "" });
  assert.match(inRepository(lab, forms), /planted\.txt/);
  lab.remove("planted.txt");
  const child = spawn("sleep", ["0.5"], { env: { ...process.env, PLANTED: value } });
  const control = await watched(forms, new Promise((resolve) => child.once("close", resolve)));
  assert.ok(control.hits.length > 0, "an environment is seen");
  assert.ok(
    heldBy([await lab.expect(0, ["secret", "show", "vault-token"])], forms),
    "`show` alone prints it",
  );
});

test("a rotation restarts exactly the readers; a rekey restarts nobody and needs no push", async () => {
  const { lab, machine, put } = await prepare();
  await put("vault-token", "second");
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"], { env: LOCKED })).stdout);
  assert.deepEqual(
    plan.files.map((f: { path: string; change: string; cause: string }) => [
      f.path,
      f.change,
      f.cause.replace(/[0-9a-f]{12}/g, "<v>"),
    ]),
    [["lib/credstore.encrypted/token", "changed", "secret vault-token was rotated, version <v> to <v>"]],
  );
  assert.deepEqual(
    plan.units.map((u: { unit: string; action: string }) => `${u.action} ${u.unit}`),
    ["restart vault-a.service"],
  );
  const shown = await lab.expect(2, ["plan", "demo", "--diff"], { env: LOCKED });
  assert.match(shown.stdout, /secret, version:[0-9a-f]{12}[\s\S]*secret, version:[0-9a-f]{12}/);
  const before = await unitStates(machine);
  await lab.expect(0, ["push", "demo"]);
  assert.deepEqual(unitDifference(before, await unitStates(machine)), ["restart vault-a.service"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("second"));

  const encrypted = lab.read("secrets/vault-token.age");
  await lab.expect(0, ["secret", "rekey"]);
  assert.notEqual(lab.read("secrets/vault-token.age"), encrypted);
  assert.match((await lab.expect(0, ["plan", "demo"], { env: LOCKED })).stdout, /nothing to do/);
  assert.equal((await lab.expect(0, ["secret", "show", "vault-token"])).stdout, "second");
});

test("with the store locked, a push of everything else works; of a rotated secret it changes nothing", async () => {
  const { lab, machine, put } = await prepare();
  lab.write({ "machines/demo/etc/plain.txt": "plain\n" });
  await lab.expect(0, ["push", "demo", "--no-confirm"], { env: LOCKED });
  assert.equal(await inside(machine, "cat /usr/local/etc/plain.txt"), "plain\n");

  await put("vault-token", "third");
  lab.write({ "machines/demo/etc/plain.txt": "plainer\n" });
  const before = [await unitStates(machine), await liveContents(machine)] as const;
  const generation = await inside(machine, "cat /usr/local/.labctl/generation");
  await lab.expect(2, ["plan", "demo"], { env: LOCKED });
  assert.match(
    (await lab.expect(1, ["push", "demo", "-q"], { env: LOCKED })).stderr,
    /^error\[identity-missing\] .*`vault-token`/,
  );
  const { identity } = await newIdentity();
  lab.write({ "stranger.txt": { text: `${identity}\n`, mode: 0o600 } });
  const stranger = { LABCTL_AGE_IDENTITY: join(lab.root, "stranger.txt") };
  assert.match(
    (await lab.expect(1, ["push", "demo", "-q"], { env: stranger })).stderr,
    /^error\[not-a-recipient\] <repo>\/stranger.txt opens none of: vault-token\n {2}its public key: age1[a-z0-9]+\n {2}nothing on the machine changed\n/,
  );
  assert.deepEqual(unitDifference(before[0], await unitStates(machine)), []);
  assert.deepEqual(await liveContents(machine), before[1]);
  assert.equal(await inside(machine, "cat /usr/local/.labctl/generation"), generation);
  assert.equal(await inside(machine, "ls /usr/local/.labctl/stage | wc -l"), "0\n");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("third"));
});

test("a rollback brings the old secret back without an identity, and restarts its readers", async () => {
  const { lab, machine, put } = await prepare();
  await put("vault-token", "fourth");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("fourth"));
  const before = await unitStates(machine);
  await lab.expect(0, ["rollback", "demo", "--no-confirm"], { env: LOCKED });
  assert.equal(await seenHash(machine, "vault-a"), hashOf("third"));
  assert.deepEqual(unitDifference(before, await unitStates(machine)), ["restart vault-a.service"]);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("fourth"));
});

test("a push that is taken back takes the secret back, too", async () => {
  const { lab, machine, put } = await prepare();
  await put("vault-token", "bad");
  const check = "machines/demo/lib/labctl/check.d/refuses";
  lab.write({ [check]: { text: "#!/bin/sh\nexit 1\n", mode: 0o755 } });
  const refused = await lab.expect(1, ["push", "demo", "--no-confirm"]);
  assert.match(refused.stderr, /error\[check-failed\]/);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("fourth"));
  lab.remove(check);
  await put("vault-token", "fifth");
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("fifth"));
});

test("a credential that someone changed or deleted on the machine is delivered anew", async () => {
  const { lab, machine } = await prepare();
  await inside(machine, `echo x >${STORE}/token; rm ${STORE}/other`);
  const live = await lab.expect(2, ["verify", "demo", "--live", "--json"]);
  for (const path of ["other", "token"])
    assert.match(live.stdout, new RegExp(`credstore\\.encrypted/${path}`));
  const plan = JSON.parse((await lab.expect(2, ["plan", "demo", "--json"])).stdout);
  assert.deepEqual(
    plan.files.map((f: { path: string; cause: string }) => `${f.path}: ${f.cause}`),
    ["other", "token"].map((n) => `lib/credstore.encrypted/${n}: changed on the machine by someone else`),
  );
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(await seenHash(machine, "vault-a"), hashOf("fifth"));
});

test("a login that needs sudo delivers secrets just so", async () => {
  const { lab, machine, put } = await prepare();
  await inside(
    machine,
    `useradd -m -s /bin/bash pat; install -d -o pat -m 0700 /home/pat/.ssh
     echo '${readFileSync(`${lab.bed.identityFile}.pub`, "utf8").trim()}' >/home/pat/.ssh/authorized_keys
     echo 'pat ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/pat; chmod 0440 /etc/sudoers.d/pat`,
  );
  const value = needle();
  await put("vault-token", value);
  lab.edit("machines/demo/machine.ini", "user = root", "user = pat");
  const { hits } = await watched(
    formsOf(value),
    lab.expect(0, ["push", "demo", "--no-confirm", "--accept-new"]),
  );
  lab.edit("machines/demo/machine.ini", "user = pat", "user = root");
  assert.deepEqual(hits, []);
  assert.equal(await seenHash(machine, "vault-a"), hashOf(value));
  assert.deepEqual(await onMachine(machine, formsOf(value), ["vault-a"]), []);
});

test("a machine without systemd-creds is told so, and nothing changes", async () => {
  const { lab, machine, put } = await prepare();
  await put("vault-token", "sixth");
  const before = await liveContents(machine);
  await inside(machine, "mv /usr/bin/systemd-creds /usr/bin/systemd-creds.away");
  const refused = await lab.expect(1, ["push", "demo", "-q"]);
  await inside(machine, "mv /usr/bin/systemd-creds.away /usr/bin/systemd-creds");
  assert.equal(
    refused.stderr,
    `error[no-systemd-creds] there is no systemd-creds on machine \`demo\`, which encrypts credentials
  nothing on the machine changed
  help: install the package that has it: \`systemd\` on Debian
`,
  );
  assert.deepEqual(await liveContents(machine), before);
});

test("a secret that is no longer wanted goes from the machine", async () => {
  const { lab, machine } = await prepare();
  lab.edit("layers/vault/layer.ini", "other = vault-other\n", "");
  lab.remove(`${UNITS}/vault-b.service`);
  lab.remove(`${UNITS}/multi-user.target.wants/vault-b.service`);
  await lab.expect(0, ["push", "demo", "--no-confirm"]);
  assert.equal(
    await inside(machine, `ls ${STORE}; ls /run/credentials | grep vault`),
    "token\nvault-a.service\n",
  );
});
