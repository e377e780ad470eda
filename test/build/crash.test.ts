/**
 * Builds that are killed, run at once, run out of room or find their cache damaged: the next build is right, or says
 * what it needs. Runs the real bundled program. LABCTL_KILLS: how often it is killed.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneMachine, PROGRAM, scenario } from "../scenario.ts";
import { seededRandom } from "../seeded-random.ts";
import { copySources, difference, type Files, photograph, temporaryFolder } from "../temporary-repository.ts";

const KILLS = Number(process.env.LABCTL_KILLS ?? 20);
const SEED = 20260731;

/** Enough outputs that a kill often comes in the middle of them. */
function manyFiles(version: string): Files {
  const files: Record<string, string> = {};
  for (let i = 0; i < 150; i++) {
    files[`layers/a/etc/d${i % 7}/f${i}`] = `${version} ${i}\n`;
    files[`layers/a/etc/t${i}.hbs`] = `{{machine.name}} ${version}\n`;
  }
  return files;
}

function treeFromNothing(root: string): Map<string, string> {
  const copy = temporaryFolder("copy", true);
  try {
    copySources(root, copy);
    const done = spawnSync(process.execPath, [PROGRAM, "build", "-q", "-C", copy], { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    return photograph(join(copy, "var/tree"));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

test(`killed ${KILLS} times at random moments, the next build equals one from nothing`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const s = scenario({ ...oneMachine("a"), ...manyFiles("0") });
  let killed = 0;
  try {
    const startedAt = Date.now();
    s.run(["build", "-q"]);
    const longestMs = Date.now() - startedAt;
    for (let i = 1; i <= KILLS; i++) {
      s.write(manyFiles(String(i)));
      if (random.chance(0.3))
        rmSync(join(s.root, `layers/a/etc/d${i % 7}`), { recursive: true, force: true });
      const child = spawn(process.execPath, [PROGRAM, "build", "-q"], { cwd: s.root, stdio: "ignore" });
      const ended = new Promise<NodeJS.Signals | null>((resolve) =>
        child.on("exit", (_, signal) => resolve(signal)),
      );
      await sleep(20 + random.below(longestMs));
      child.kill("SIGKILL");
      if ((await ended) === "SIGKILL") killed++;
      const next = s.run(["build", "-q"]);
      assert.deepEqual(next, { code: 0, stdout: "", stderr: "" });
      assert.deepEqual(difference(photograph(join(s.root, "var/tree")), treeFromNothing(s.root)), []);
    }
    t.diagnostic(`${killed} of ${KILLS} were still at work`);
    assert.ok(killed >= KILLS / 3, "the kills must come while builds are at work");
  } finally {
    s.end();
  }
});

test("two builds at once: both end well, and the tree is right", async () => {
  const s = scenario({ ...oneMachine("a"), ...manyFiles("0") });
  try {
    const codes = await Promise.all(
      [1, 2, 3].map(
        () =>
          new Promise((resolve) =>
            spawn(process.execPath, [PROGRAM, "build", "-q"], { cwd: s.root, stdio: "ignore" }).on(
              "exit",
              resolve,
            ),
          ),
      ),
    );
    assert.deepEqual(codes, [0, 0, 0]);
    assert.deepEqual(difference(photograph(join(s.root, "var/tree")), treeFromNothing(s.root)), []);
  } finally {
    s.end();
  }
});

test("a lock that a dead process left is taken over at once", () => {
  const s = scenario({ ...oneMachine("a"), "layers/a/etc/x": "x" });
  try {
    s.run(["build", "-q"]);
    const dead = spawnSync("true").pid;
    const host = readFileSync("/proc/sys/kernel/hostname", "utf8").trim();
    writeFileSync(join(s.root, "var/cache/build-lock"), `${dead} 1 ${host}`);
    s.write({ "layers/a/etc/x": "y" });
    const startedAt = Date.now();
    assert.deepEqual(s.run(["build", "-q"]), { code: 0, stdout: "", stderr: "" });
    assert.ok(Date.now() - startedAt < 5000);
    assert.equal(existsSync(join(s.root, "var/cache/build-lock")), false);
    assert.equal(readFileSync(join(s.root, "var/tree/m/usr/local/etc/x"), "utf8"), "y");
  } finally {
    s.end();
  }
});

/** Ways in which a state file can come to harm. The last one leaves it well-formed. */
const DAMAGES: readonly (readonly [what: string, damage: (text: string) => string])[] = [
  ["cut short", (text) => text.slice(0, text.length / 2)],
  ["of another version", (text) => text.replace('"version":', '"version":9')],
  ["of a foreign program", () => "\u0000\u0001 not ours"],
  ["empty", () => ""],
  ["with one letter changed", (text) => text.replace("etc/d1/f1", "etc/d1/g1")],
];

for (const name of ["build-state.json", "build-state-m.json"]) {
  for (const [what, damage] of DAMAGES) {
    test(`${name} ${what} means a rebuild, and a right one`, () => {
      const s = scenario({ ...oneMachine("a"), ...manyFiles("0") });
      try {
        s.run(["build", "-q"]);
        const file = join(s.root, "var/cache", name);
        const whole = readFileSync(file, "utf8");
        assert.notEqual(damage(whole), whole);
        writeFileSync(file, damage(whole));
        s.write({ "layers/a/etc/d1/f1": "edited" });
        rmSync(join(s.root, "layers/a/etc/d2"), { recursive: true });
        const { code, stderr } = s.run(["build", "-q", "--explain"]);
        assert.equal(code, 0);
        assert.match(stderr, /no usable record of an earlier build/);
        assert.deepEqual(difference(photograph(join(s.root, "var/tree")), treeFromNothing(s.root)), []);
      } finally {
        s.end();
      }
    });
  }
}

/** Runs a build in a mount namespace of its own, with `mount` before it; undefined where that is not allowed. */
function inNamespace(root: string, mount: string): { code: number | null; stderr: string } | undefined {
  const probe = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "none", "/mnt"]);
  if (probe.status !== 0) return undefined;
  const script = `${mount} && exec "$0" "$1" build -q`;
  const done = spawnSync("unshare", ["-m", "sh", "-c", script, process.execPath, PROGRAM], {
    cwd: root,
    encoding: "utf8",
  });
  return { code: done.status, stderr: done.stderr.replaceAll(root, "<repo>").trimEnd() };
}

test("a full disk is an error that says so, and the next build with room is right", (t) => {
  const s = scenario({ ...oneMachine("a"), ...manyFiles("0"), "layers/a/etc/big": "x".repeat(300_000) });
  try {
    mkdirSync(join(s.root, "var"));
    const done = inNamespace(s.root, "mount -t tmpfs -o size=200k none var");
    if (!done) return t.skip("mount namespaces need root");
    assert.equal(done.code, 1);
    assert.match(done.stderr, /^error\[write-failed\] can't write <repo>\/var\/\S+: ENOSPC: /);
    assert.match(done.stderr, /help: make room or correct the permissions, then build again$/);
    assert.deepEqual(s.run(["build", "-q"]), { code: 0, stdout: "", stderr: "" });
    assert.deepEqual(difference(photograph(join(s.root, "var/tree")), treeFromNothing(s.root)), []);
  } finally {
    s.end();
  }
});

test("a read-only var/ is an error for a build with something to do, and none for one without", async (t) => {
  const s = scenario({ ...oneMachine("a"), "layers/a/etc/x": "x" });
  try {
    const seal = "mount --bind var var && mount -o remount,bind,ro var";
    await sleep(100);
    s.run(["build", "-q"]);
    await sleep(100);
    s.run(["build", "-q"]);
    const idle = inNamespace(s.root, seal);
    if (!idle) return t.skip("mount namespaces need root");
    assert.deepEqual(idle, { code: 0, stderr: "" });
    s.write({ "layers/a/etc/x": "y" });
    const done = inNamespace(s.root, seal);
    assert.equal(done?.code, 1);
    assert.match(done?.stderr ?? "", /^error\[write-failed\] can't write <repo>\/var\/\S+: EROFS: /);
  } finally {
    s.end();
  }
});

test("equal repositories give equal generations: other folder, umask, locale, order of facts", () => {
  const generation = (
    facts: string,
    wrap: readonly string[],
    env: Readonly<Record<string, string>>,
  ): string => {
    const s = scenario({
      ...oneMachine("a"),
      "layers/a/etc/ä-é": { text: "x", mode: 0o600 },
      "layers/a/etc/Z": "z",
      "layers/a/etc/a b": "y",
      "layers/a/etc/-dash": "y",
      "layers/a/etc/b\\x2dc": "y",
      "layers/a/empty": { folder: true },
      "layers/a/etc/net.hbs": "{{json net}}{{A}}",
      "layers/a/bin/tool.ts": "console.log(process.argv satisfies string[]);\n",
      "facts/m.json": facts,
    });
    try {
      chmodSync(join(s.root, "layers/a/etc/Z"), 0o666);
      const [program = "", ...args] = [...wrap, process.execPath, PROGRAM, "build", "--json", "-q"];
      const done = spawnSync(program, args, {
        cwd: s.root,
        env: { PATH: process.env.PATH, ...env },
        encoding: "utf8",
      });
      assert.equal(done.status, 0, done.stderr);
      return JSON.parse(done.stdout).machines[0].generation;
    } finally {
      s.end();
    }
  };
  const one = '{"A": 1, "net": {"x": 1, "y": 2}}';
  const first = generation(one, [], { LC_ALL: "C" });
  assert.match(first, /^[0-9a-f]{64}$/);
  assert.equal(
    generation(one, ["sh", "-c", 'umask 077; exec "$0" "$@"'], { LC_ALL: "C.UTF-8", TZ: "Asia/Tokyo" }),
    first,
  );
  assert.equal(
    generation('{"net": {"y": 2, "x": 1}, "A": 1}', ["sh", "-c", 'umask 022; exec "$0" "$@"'], {}),
    first,
  );
  assert.notEqual(generation('{"A": 2, "net": {"x": 1, "y": 2}}', [], {}), first, "the control");
});

test("names of every kind, empty folders and links arrive as they are", () => {
  const names = [
    "with blank",
    "ünï-😀",
    "-dash",
    "b\\x2dc@.service",
    "__proto__",
    "constructor",
    "'quote\"",
    "$x;y",
  ];
  const files = Object.fromEntries(names.map((n) => [`layers/a/etc/${n}`, n]));
  const s = scenario({
    ...oneMachine("a"),
    ...files,
    "layers/a/__proto__": "top",
    "layers/a/empty/deep": { folder: true },
    "layers/a/link": { link: "/nowhere/on this host" },
  });
  try {
    assert.equal(s.run(["build", "-q"]).code, 0);
    const tree = photograph(join(s.root, "var/tree/m/usr/local"));
    for (const n of names)
      assert.equal(tree.get(`etc/${n}`), `file 644 ${Buffer.from(n).toString("latin1")}`);
    assert.equal(tree.get("__proto__"), "file 644 top");
    assert.equal(tree.get("empty/deep"), "dir 755");
    assert.equal(tree.get("link"), "link /nowhere/on this host");
    assert.equal(s.run(["build", "-q", "--explain"]).stderr, "m: nothing to do");
  } finally {
    s.end();
  }
});
