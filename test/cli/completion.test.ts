/** `labctl completion`: what is offered where, and that the shells take it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { candidates } from "../../src/cli/completion.ts";
import { answer, oneMachine, PROGRAM, scenario } from "../scenario.ts";

const NAMES = { machines: ["den", "desk", "gw"], secrets: ["token"] };
const words = (...line: string[]): string[] => candidates(line, NAMES).map(([word]) => word);

test("nothing is offered for an unknown command, an option's value, another program's words", () => {
  assert.deepEqual(words("nonsense", ""), []);
  assert.deepEqual(words("push", "--message", ""), []);
  assert.deepEqual(words("exec", "gw", "--", "d"), []);
  assert.deepEqual(words("why", "gw", "d"), []);
});

test("commands, options, verbs, machines and secrets are offered where they can stand", () => {
  assert.deepEqual(words("pu"), ["push"]);
  assert.deepEqual(words("-C", "/lab", "pu"), ["push"]);
  assert.deepEqual(words("push", "de"), ["den", "desk"]);
  assert.deepEqual(words("push", "den", "de"), ["desk"]);
  assert.deepEqual(words("push", "--message", "why", "--fact", "A=1", "g"), ["gw"]);
  assert.deepEqual(words("push", "--max"), ["--max-failures"]);
  assert.deepEqual(words("rollback", "gw", ""), []);
  assert.deepEqual(words("facts", ""), ["show", "origin", "probe"]);
  assert.deepEqual(words("facts", "show", "g"), ["gw"]);
  assert.deepEqual(words("facts", "probe", "gw", "de"), ["den", "desk"]);
  assert.deepEqual(words("secret", "ro"), ["rotate"]);
  assert.deepEqual(words("secret", "rotate", ""), ["token"]);
  assert.deepEqual(words("impact", "A=1", "g"), ["gw"]);
});

test("a shell that there is not", () => {
  const done = answer({ ...oneMachine("base") }, ["completion", "tcsh"]);
  assert.equal(done.code, 64);
  assert.match(done.stderr, /knows bash, zsh and fish, not `tcsh`/);
});

test("bash completes with what it is told to source", () => {
  const s = scenario({
    ...oneMachine("base"),
    // A folder that is no machine for any command must not become one of the shell's.
    "machines/$(reboot)/machine.ini": "",
    "bin/labctl": `#!/bin/sh\nexec "${process.execPath}" "${PROGRAM}" "$@"\n`,
  });
  try {
    chmodSync(join(s.root, "bin/labctl"), 0o755);
    const script = `source <(labctl completion bash)
      COMP_WORDS=(labctl plan "") COMP_CWORD=2; _labctl 2>/dev/null; printf '%s\\n' "\${COMPREPLY[@]}"
      COMP_WORDS=(labctl bui) COMP_CWORD=1; _labctl 2>/dev/null; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const done = spawnSync("bash", ["--norc", "-c", script], {
      cwd: s.root,
      env: { PATH: `${join(s.root, "bin")}:${process.env.PATH}` },
      encoding: "utf8",
    });
    assert.equal(done.stdout, "m\nbuild\n", done.stderr);
  } finally {
    s.end();
  }
});
