/** What OpenSSH's programs are asked once, and what again: counted. */
import assert from "node:assert/strict";
import { appendFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type RunTool, rememberingTool } from "../../src/push/ssh/tool.ts";
import { temporaryFolder } from "../temporary-repository.ts";

test("a known_hosts file is asked about a host once, until it changes; other programs are always run", async () => {
  const folder = temporaryFolder("tool");
  try {
    const file = join(folder, "known_hosts");
    writeFileSync(file, "a\n");
    const asked: string[] = [];
    const count: RunTool = async (program, args) => {
      asked.push([program, ...args].join(" ").replace(file, "F"));
      return { kind: "ended", status: 0, stdout: "", stderr: "" };
    };
    const run = rememberingTool(count);
    const find = (name: string) => run("ssh-keygen", ["-F", name, "-f", file], {});
    await Promise.all([find("a"), find("a")]);
    await find("a");
    await find("b");
    assert.deepEqual(asked.splice(0), ["ssh-keygen -F a -f F", "ssh-keygen -F b -f F"]);
    appendFileSync(file, "b\n");
    await find("b");
    assert.deepEqual(asked.splice(0), ["ssh-keygen -F b -f F"]);
    rmSync(file);
    await find("b");
    await find("b");
    assert.equal(asked.splice(0).length, 2, "what can't be told apart is asked each time");
    await run("ssh", ["-G", "a"], {});
    await run("ssh", ["-G", "a"], {});
    await run("ssh-keygen", ["-lf", file], {});
    await run("ssh-keygen", ["-lf", file], {});
    assert.deepEqual(asked, ["ssh -G a", "ssh-keygen -lf F", "ssh-keygen -lf F"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
