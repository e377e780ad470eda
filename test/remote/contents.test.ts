/** `contents`: what a diff is made from, and what it must never carry. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { newMachine, op, setMode } from "./machine.ts";

const sum = (text: string): string => createHash("sha256").update(text).digest("hex");

/** `stat` records without their owner. */
function shown(stdout: string): string[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/^(stat\t.*\t\d+)\t\S+\t\S+\t(\d+)$/, "$1\t$2"));
}

test("texts, links, folders; hashes for what is closed, binary, big, or shall not be shown", (t) => {
  const m = newMachine(t);
  m.write({ "a.txt": "hello\n", shut: "secret", "b in.txt": "asked\n", d: "/", l: "->../x y" });
  writeFileSync(join(m.root, "zero"), "a\0b");
  writeFileSync(join(m.root, "big"), "x".repeat(21));
  setMode(m, "shut", 0o640);
  const ask = ["a.txt", "shut", "zero", "big", "d", "l", "gone"].map((p) => `show\t0\t${p}\n`);
  const answer = m.run("contents", ["20", "1000"], `${ask.join("")}sum\t0\tb in.txt\n`);
  assert.deepEqual(shown(answer.stdout), [
    "stat\t0\ta.txt\tfile\t644\t6",
    "file\t0\ta.txt\t6",
    "hello",
    "",
    "stat\t0\tshut\tfile\t640\t6",
    "stat\t0\tzero\tfile\t644\t3",
    "stat\t0\tbig\tfile\t644\t21",
    "stat\t0\td\tdir\t755\t0".replace(/0$/, shown(answer.stdout)[7]?.split("\t").at(-1) ?? ""),
    "stat\t0\tl\tlink\t777\t6",
    "link\t0\tl\t../x y",
    "stat\t0\tb in.txt\tfile\t644\t6",
    `sum\t0\tshut\t${sum("secret")}`,
    `sum\t0\tzero\t${sum("a\0b")}`,
    `sum\t0\tbig\t${sum("x".repeat(21))}`,
    `sum\t0\tb in.txt\t${sum("asked\n")}`,
    "done\tok",
  ]);
});

test("more text than asked for is hashed", (t) => {
  const m = newMachine(t);
  m.write({ a: "12345", b: "12345", c: "12345" });
  const answer = m.run("contents", ["9", "10"], "show\t0\ta\nshow\t0\tb\nshow\t0\tc\n");
  assert.deepEqual(
    shown(answer.stdout).filter((l) => /^(file|sum)/.test(l)),
    ["file\t0\ta\t5", "file\t0\tb\t5", `sum\t0\tc\t${sum("12345")}`],
  );
});

test("what a generation replaced", (t) => {
  const m = newMachine(t);
  m.commit(1, { a: "one\n" }, [op("put", "a")]);
  m.commit(2, { a: "two\n" }, [op("put", "a")]);
  const answer = m.run("contents", ["99", "999"], "show\t0\ta\nshow\t2\ta\nshow\t7\ta\n");
  assert.deepEqual(
    shown(answer.stdout).filter((l) => /^[a-z]+$/.test(l)),
    ["two", "one"],
  );
});

test("a path that leaves the tree, goes through a link, or is no request", (t) => {
  const m = newMachine(t);
  mkdirSync(join(m.root, "../outside"));
  writeFileSync(join(m.root, "../outside/x"), "no\n");
  symlinkSync("../outside", join(m.root, "way"));
  assert.deepEqual(shown(m.run("contents", ["99", "999"], "show\t0\tway/x\n").stdout), ["done\tok"]);
  for (const line of ["show\t0\t../outside/x", "show\t0\t/etc/passwd", "show\tx\ta", "tell\t0\ta", "a"]) {
    const answer = m.run("contents", ["99", "999"], `${line}\n`);
    assert.equal(answer.done, "failed-unchanged", line);
    assert.deepEqual(
      answer.problems.map((p) => p.split(" ")[0]),
      ["bad-operation"],
    );
  }
});
