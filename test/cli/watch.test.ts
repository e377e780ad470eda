/** `labctl build --watch` on a real file system: every way in which editors and people change files reaches the tree. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { PROGRAM, scenario } from "../scenario.ts";

/** Far more than an edit takes, for a busy host. */
const PATIENCE_MS = 15_000;

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `${what} did not happen within ${PATIENCE_MS} ms`);
    await sleep(10);
  }
}

test("edits, atomic replacements, new folders, removals and facts all reach the tree while it watches", async () => {
  const s = scenario({
    "machines/a/machine.ini": "[machine]\nlayers = one\n",
    "machines/b/machine.ini": "[machine]\n",
    "machines/b/!borrowed": { link: "../../layers/one/etc/plain" },
    "layers/base/layer.ini": "[layer]\n",
    "layers/one/layer.ini": "[layer]\n[facts]\nX = 1\n",
    "layers/one/etc/plain": "first\n",
    "layers/one/etc/x.conf.hbs": "{{X}}\n",
  });
  assert.equal(s.run(["build"]).code, 0);
  const child = spawn(process.execPath, [PROGRAM, "build", "--watch"], {
    cwd: s.root,
    env: { PATH: process.env.PATH },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const source = (path: string): string => join(s.root, path);
  const tree = (path: string, machine = "a"): string => join(s.root, `var/tree/${machine}/usr/local`, path);
  const reads =
    (path: string, text: string, machine = "a") =>
    () =>
      existsSync(tree(path, machine)) && readFileSync(tree(path, machine), "utf8") === text;
  try {
    await until("the start", () => said.includes("watching"));
    writeFileSync(source("layers/one/etc/plain"), "second\n");
    await until("a plain edit", reads("etc/plain", "second\n"));
    await until("the other machine's copy through a link", reads("borrowed", "second\n", "b"));

    writeFileSync(source("layers/one/etc/plain.swp"), "third\n");
    renameSync(source("layers/one/etc/plain.swp"), source("layers/one/etc/plain"));
    await until("an atomic replacement", reads("etc/plain", "third\n"));
    await until("the temporary name to be gone", () => !existsSync(tree("etc/plain.swp")));

    mkdirSync(source("layers/one/new/deep"), { recursive: true });
    writeFileSync(source("layers/one/new/deep/file"), "new\n");
    await until("a file in a new folder", reads("new/deep/file", "new\n"));
    writeFileSync(source("layers/one/new/deep/file"), "newer\n");
    await until("an edit in a new folder", reads("new/deep/file", "newer\n"));
    rmSync(source("layers/one/new"), { recursive: true });
    await until("a removed folder", () => !existsSync(tree("new")));

    mkdirSync(source("facts"));
    writeFileSync(source("facts/a.env"), "X=2\n");
    await until("a fact", reads("etc/x.conf", "2\n"));

    writeFileSync(source("layers/one/etc/x.conf.hbs"), "{{Y}}\n");
    await until("a problem", () => said.includes("error[fact-missing]"));
    assert.ok(reads("etc/x.conf", "2\n")(), "a broken template leaves the tree as it was");
    writeFileSync(source("layers/one/etc/x.conf.hbs"), "y{{X}}\n");
    await until("the mended template", reads("etc/x.conf", "y2\n"));
  } finally {
    child.kill("SIGTERM");
    s.end();
  }
});
