/**
 * The second push of a file is planned from what the machine said at the first. Whatever changed on the machine in
 * between is noticed before anything is touched, and the push goes on with a look.
 */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { type Answer, bootMachine, inside, type Lab, labFor, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

const ASKED = "the machine is not as it was last seen; it is asked";
const SITE = "machines/demo/opt/nginx/conf/sites.d/50-test.nginx";
const site = (text: string): string =>
  `server { listen 8081; location / { default_type text/plain; return 200 "${text}"; } }\n`;

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;
let edits = 0;

function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    // A blank line, and what looks like a property, in the words of a command.
    const unit = (text: string): string =>
      `[Service]\nExecStart=/bin/sh -c "exec sleep infinity\\n\\nId=other.service"\n${text}`;
    lab.write({
      [SITE]: site("0"),
      "machines/demo/lib/systemd/system/hello.service": unit("EnvironmentFile=/usr/local/etc/hello.env\n"),
      "machines/demo/lib/systemd/system/multi-user.target.wants/hello.service": { link: "../hello.service" },
      "machines/demo/etc/hello.env": "A=0\n",
    });
    await lab.expect(0, ["push", "demo"]);
    // The first push that only changes the file asks.
    await edited(lab, machine);
    await edited(lab, machine);
    return { machine, lab };
  });
  return prepared;
}

/** Edits the site, pushes it, and sees the new answer. */
async function edited(lab: Lab, machine: Machine): Promise<Answer> {
  const text = String(++edits);
  lab.write({ [SITE]: site(text) });
  const answer = await lab.expect(0, ["push", "demo"]);
  assert.equal(await page(machine, "/", 8081), text);
  assert.match(answer.stderr, /reload nginx.service/);
  return answer;
}

const generation = async (machine: Machine): Promise<number> =>
  Number((await inside(machine, "cut -d' ' -f1 /usr/local/.labctl/generation")).trim());

test("a file that another hand changed, and a package's doing, are noticed, and then asked for", async () => {
  const { lab, machine } = await theMachine();
  const disturbances = [
    "echo other >>/usr/local/opt/nginx/www/about.html",
    "touch /var/lib/dpkg/status",
    "rm /usr/local/opt/nginx/www/about.html",
    "rm /usr/local/.labctl/fingerprint",
  ];
  for (const disturb of disturbances) {
    assert.doesNotMatch((await edited(lab, machine)).stderr, new RegExp(ASKED), `control for ${disturb}`);
    const before = await generation(machine);
    await inside(machine, disturb);
    assert.match((await edited(lab, machine)).stderr, new RegExp(ASKED), disturb);
    assert.equal(await generation(machine), before + 1);
    assert.match(await inside(machine, "cat /usr/local/opt/nginx/www/about.html"), /<h1|<html|<p/);
    assert.match((await lab.expect(0, ["push", "demo"])).stderr, /nothing to do/);
    await edited(lab, machine);
  }
});

test("another pusher's generation, and one that was rolled back, are planned from as they are", async () => {
  const { lab, machine } = await theMachine();
  const other = labFor(lab.bed, machine.name);
  await edited(lab, machine);
  await other.expect(0, ["push", "demo"]);
  assert.equal(
    await inside(machine, "ls /usr/local/opt/nginx/conf/sites.d | grep test || true"),
    "",
    "control",
  );
  const answer = await edited(lab, machine);
  assert.match(answer.stderr, new RegExp(ASKED));
  assert.match(answer.stderr, /start hello.service/);
  await edited(lab, machine);
  await edited(lab, machine);
  await lab.expect(0, ["rollback", "demo"]);
  assert.equal(await page(machine, "/", 8081), String(edits - 1));
  await edited(lab, machine);
});

test("a service that restarts for its file is planned from memory, too, and stays what it was", async () => {
  const { lab, machine } = await theMachine();
  for (const value of ["1", "2", "3"]) {
    lab.write({ "machines/demo/etc/hello.env": `A=${value}\n` });
    const answer = await lab.expect(0, ["push", "demo"]);
    assert.match(answer.stderr, /restart hello.service/);
    assert.doesNotMatch(answer.stderr, new RegExp(ASKED));
    const pid = (await inside(machine, "systemctl show -P MainPID hello")).trim();
    assert.match(
      await inside(machine, `tr '\\0' '\\n' </proc/${pid}/environ`),
      new RegExp(`^A=${value}$`, "m"),
    );
  }
});

test("a unit of the system that stops with a restarted one counts as it runs now, whatever is in its name", async () => {
  const { lab, machine } = await theMachine();
  const restarted = async (value: string): Promise<Answer> => {
    lab.write({ "machines/demo/etc/hello.env": `A=${value}\n` });
    const answer = await lab.expect(0, ["push", "demo"]);
    assert.match(answer.stderr, /restart hello\.service/);
    return answer;
  };
  await inside(
    machine,
    `cat >'/run/systemd/system/by-hand\\x2d1.service' <<'END'
[Unit]
PartOf=hello.service
[Service]
ExecStart=/bin/sleep infinity
END
systemctl daemon-reload`,
  );
  await restarted("resting, and new");
  assert.doesNotMatch((await restarted("resting")).stderr, new RegExp(ASKED));
  await inside(machine, "systemctl start 'by-hand\\x2d1.service'");
  const answer = await restarted("started");
  assert.match(answer.stderr, new RegExp(ASKED));
  assert.match(answer.stderr, /restart by-hand/);
  assert.doesNotMatch((await restarted("running")).stderr, new RegExp(ASKED));
  await inside(machine, "systemctl stop 'by-hand\\x2d1.service'");
  assert.match((await restarted("stopped")).stderr, new RegExp(ASKED));
});

test("a machine that can't be written to any more is told as without a memory", async () => {
  const { lab, machine } = await theMachine();
  await edited(lab, machine);
  await inside(machine, "mount --bind /usr/local /usr/local && mount -o remount,ro,bind /usr/local");
  try {
    lab.write({ [SITE]: site("never") });
    const answer = await lab.expect(1, ["push", "demo"]);
    assert.match(answer.stderr, /^error\[not-writable\] .*: read-only file system$/m);
  } finally {
    await inside(machine, "umount /usr/local");
  }
  await edited(lab, machine);
});

test("a push that fails, and a memory that is damaged, leave nothing to plan from", async () => {
  const { lab, machine } = await theMachine();
  await edited(lab, machine);
  lab.write({ [SITE]: "server { this is no configuration }\n" });
  await lab.expect(1, ["push", "demo"]);
  const known = join(lab.root, "var/cache/known");
  assert.ok(!readdirSync(known).includes("look-demo"));
  await edited(lab, machine);
  assert.ok(readdirSync(known).includes("look-demo"), "control");
  for (const damage of ["", "{", '{"generation":{}}', "null", '{"units":3}']) {
    writeFileSync(join(known, "look-demo"), damage);
    await edited(lab, machine);
  }
  // It says that nginx is there under another state, and of a generation that is another's: believed by nobody.
  const look = JSON.parse(lab.read("var/cache/known/look-demo"));
  look.units["nginx.service"] = look.units["nginx.service"].replace(
    "ActiveState=active",
    "ActiveState=failed",
  );
  writeFileSync(join(known, "look-demo"), JSON.stringify(look));
  assert.match((await edited(lab, machine)).stderr, new RegExp(ASKED));
});
