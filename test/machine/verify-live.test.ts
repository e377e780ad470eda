/** Drift on a real machine: each kind is planted, named exactly, put right by a push where a push does that, and gone. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();

/** A unit with every way of reading a file, wanted by a target. */
const OWN_FILES = {
  "machines/demo/lib/systemd/system/reader.service": `[Unit]
Description=reads files in every way
[Service]
ExecStart=/usr/bin/sleep infinity
ExecReload=/bin/true
EnvironmentFile=/usr/local/etc/reader.env
BindReadOnlyPaths=/usr/local/etc/reader.conf:/srv/reader.conf
[X-Labctl]
ReloadOn=/usr/local/etc/reader.d
`,
  "machines/demo/lib/systemd/system/multi-user.target.wants/reader.service": { link: "../reader.service" },
  "machines/demo/etc/reader.env": "A=1\n",
  "machines/demo/etc/reader.conf": "one\n",
  "machines/demo/etc/reader.d/a": "two\n",
  "machines/demo/etc/reader.d/link": { link: "a" },
  "machines/demo/opt/blob": "x".repeat(100_000),
};

let prepared: Promise<{ lab: Lab; machine: Machine }> | undefined;

/** One machine for the tests below; each leaves it as pushed. */
function theMachine(): Promise<{ lab: Lab; machine: Machine }> {
  prepared ??= theBed().then(async (bed) => {
    const machine = await bootMachine(bed);
    const lab = labFor(bed, machine.name);
    await inside(machine, "touch /srv/reader.conf");
    lab.write(OWN_FILES);
    await lab.expect(0, ["push", "demo", "--no-confirm"]);
    return { lab, machine };
  });
  return prepared;
}

interface Found {
  readonly code: string;
  readonly path: string | null;
  readonly unit: string | null;
  readonly layer: string | null;
  readonly source: string | null;
  readonly expected: string;
  readonly found: string;
  readonly next: string;
}

async function findings(lab: Lab, code: number): Promise<Found[]> {
  const answer = await lab.expect(code, ["verify", "--live", "demo", "--json", "-q"]);
  return JSON.parse(answer.stdout).machines[0].findings;
}

const subjects = (list: readonly Found[]): string[] => list.map((f) => `${f.code} ${f.path ?? f.unit}`);

interface Case {
  readonly name: string;
  readonly plant: string;
  readonly finds: readonly string[];
  /** Where a push leaves it: what an administrator does. */
  readonly mend?: string;
}

const IN_TREE = "cd /usr/local;";

const CASES: readonly Case[] = [
  {
    name: "other contents: of another size, of the same with the time put back, a new file for one that a unit binds",
    plant: `${IN_TREE} echo hacked >opt/nginx/www/index.html; sed -i s/one/eno/ etc/reader.conf
      touch -r etc/reader.d/a /tmp/t; printf 'TWO\\n' >etc/reader.d/a; touch -r /tmp/t etc/reader.d/a`,
    finds: ["content etc/reader.conf", "content etc/reader.d/a", "content opt/nginx/www/index.html"],
  },
  {
    name: "other attributes: modes of a file and a folder, an owner, all of one file together with its content",
    plant: `${IN_TREE} chmod 0600 opt/nginx/www/about.html; chmod 0700 etc/reader.d; chown www-data: opt/nginx/www/style.css
      echo >opt/blob; chmod 0640 opt/blob; chgrp www-data opt/blob`,
    finds: [
      "mode etc/reader.d",
      "content opt/blob",
      "mode opt/blob",
      "owner opt/blob",
      "mode opt/nginx/www/about.html",
      "owner opt/nginx/www/style.css",
    ],
  },
  {
    name: "a link that leads elsewhere, a link in place of a file",
    plant: `${IN_TREE} ln -sfn /etc/passwd etc/reader.d/link; mv opt/blob /tmp/blob; ln -s /tmp/blob opt/blob`,
    finds: ["target etc/reader.d/link", "type opt/blob"],
  },
  {
    name: "a file in place of a link, a file that is gone, a folder that is gone and named once",
    plant: `${IN_TREE} rm etc/reader.d/link; echo x >etc/reader.d/link; rm -r opt/nginx/conf
      rm lib/systemd/system/nginx.service.d/10-sandbox.conf`,
    finds: [
      "type etc/reader.d/link",
      "missing lib/systemd/system/nginx.service.d/10-sandbox.conf",
      "missing opt/nginx/conf",
    ],
  },
  {
    name: "entries that are not labctl's in its folders, whatever they are called; none in other folders",
    plant: `${IN_TREE} echo mine >opt/nginx/www/$'a\\nb\\tc\\e[31m'; mkdir -p opt/nginx/mine/deep; touch opt/nginx/mine/deep/x; touch bin/mine etc/mine`,
    finds: ["extra opt/nginx/mine", "extra opt/nginx/www/a\nb\tc\u001b[31m"],
    mend: `${IN_TREE} rm -r opt/nginx/mine opt/nginx/www/a[!b]*; rm bin/mine etc/mine`,
  },
  {
    name: "a unit file that was written and that systemd has not read",
    plant: `${IN_TREE} sleep 0.01; cp -p lib/systemd/system/reader.service /tmp/u; cp /tmp/u lib/systemd/system/reader.service`,
    finds: ["daemon-reload reader.service"],
  },
  {
    name: "a unit that was started from another unit file than the tree's",
    plant: `${IN_TREE} f=lib/systemd/system/reader.service; cp $f /tmp/u; sed -i '/Exec/aEnvironment=B=2' $f
      systemctl daemon-reload; systemctl restart reader; sleep 0.01; cp /tmp/u $f; systemctl daemon-reload`,
    finds: ["older-configuration reader.service"],
  },
  {
    name: "a unit that was started with another environment file than the tree's",
    plant: `${IN_TREE} echo A=2 >etc/reader.env; systemctl restart reader; sleep 0.01; echo A=1 >etc/reader.env`,
    finds: ["older-configuration reader.service"],
  },
  {
    name: "a unit that has not re-read a folder since a file in it was written",
    plant: `${IN_TREE} echo 2 >etc/reader.d/a; systemctl reload reader; sleep 0.01; echo two >etc/reader.d/a`,
    finds: ["older-configuration reader.service"],
  },
  {
    name: "a stale bind: the running unit sees another file than the tree has, with the same content",
    plant: `${IN_TREE} cp -p etc/reader.conf etc/r; mv etc/r etc/reader.conf`,
    finds: ["stale-bind reader.service"],
  },
  {
    name: "a unit that failed",
    plant: "systemctl kill -s KILL reader.service; sleep 0.3",
    finds: ["failed reader.service"],
    mend: "systemctl reset-failed reader; systemctl start reader",
  },
  {
    name: "a failed unit that is not the tree's",
    plant: "systemd-run --quiet --unit=other /bin/false; sleep 0.3",
    finds: ["failed other.service"],
    mend: "systemctl reset-failed other",
  },
  {
    name: "a unit that the tree wants and that someone stopped; a push leaves it so",
    plant: "systemctl stop reader.service",
    finds: ["not-running reader.service"],
    mend: "systemctl start reader",
  },
  {
    name: "a unit that someone masked",
    plant: "systemctl mask nginx.service",
    finds: ["masked nginx.service"],
    mend: "systemctl unmask nginx.service",
  },
  {
    name: "a unit file that another one overrules",
    plant: "cp /usr/local/lib/systemd/system/reader.service /etc/systemd/system; systemctl daemon-reload",
    finds: ["shadowed reader.service"],
    mend: "rm /etc/systemd/system/reader.service; systemctl daemon-reload",
  },
];

test("what was just pushed has no drift", async () => {
  const { lab } = await theMachine();
  assert.deepEqual(await findings(lab, 0), []);
});

for (const { name, plant, finds, mend } of CASES) {
  test(`found: ${name}`, async (t) => {
    const { lab, machine } = await theMachine();
    t.after(async () => {
      // A test that fails leaves nothing to the next one.
      if (mend !== undefined) await machine.runInside(["bash", "-c", mend]);
      await lab.run(["push", "demo", "--no-confirm"]);
    });
    await inside(machine, plant);
    const found = await findings(lab, 2);
    assert.deepEqual(subjects(found), finds, JSON.stringify(found));
    for (const f of found) assert.ok(f.next.length > 10 && f.expected !== f.found);
    if (mend !== undefined) {
      // A push neither changes it nor takes it away.
      await lab.expect(0, ["push", "demo", "--no-confirm"]);
      assert.deepEqual(subjects(await findings(lab, 2)), finds);
      await inside(machine, mend);
    } else {
      for (const f of found) assert.match(f.next, /labctl push demo/);
      await lab.expect(0, ["push", "demo", "--no-confirm"]);
    }
    const left = await findings(lab, 0);
    assert.deepEqual(left, []);
  });
}
