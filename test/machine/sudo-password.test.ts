/** A login that is not root and whose sudo wants a password: typed once on a terminal, never to be seen anywhere. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { Machine } from "../../src/twin/machine.ts";
import { enterNamespaces, sharedBed } from "./bed-fixture.ts";
import { bootMachine, inside, type Lab, labFor, page } from "./push-fixture.ts";

await enterNamespaces(import.meta.url);
const theBed = sharedBed();
const PROGRAM = join(import.meta.dirname, "../../bin/labctl.ts");
const PASSWORD = "correct-horse-7";

/** Runs labctl on a terminal of its own, types the password at each prompt, and watches all command lines meanwhile. */
async function onTerminal(
  lab: Lab,
  args: readonly string[],
  passwords: readonly string[],
): Promise<{ code: number | null; output: string; prompts: number; seen: string }> {
  const words = [process.execPath, "--import", import.meta.resolve("tsx"), PROGRAM, ...args];
  const command = words.map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qefc", command, "/dev/null"], {
    cwd: lab.root,
    env: { PATH: process.env.PATH, HOME: lab.root, USER: "tester", TERM: "dumb" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  let prompts = 0;
  let seen = "";
  const watching = setInterval(() => {
    // Processes of a machine are this host's, too: remote command lines are among them.
    seen += execFileSync("ps", ["axeww", "-o", "args"], { encoding: "utf8", maxBuffer: 1 << 26 });
  }, 50);
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    const count = output.match(/sudo password of /g)?.length ?? 0;
    for (; prompts < count; prompts++) {
      const typed = passwords[prompts] ?? "";
      setTimeout(() => child.stdin.write(`${typed}\r`), 300);
    }
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearInterval(watching);
  return { code, output, prompts, seen };
}

async function prepare(): Promise<{ lab: Lab; machine: Machine }> {
  const bed = await theBed();
  const machine = await bootMachine(bed);
  const lab = labFor(bed, machine.name);
  const key = readFileSync(`${bed.identityFile}.pub`, "utf8");
  await inside(
    machine,
    `useradd -m -s /bin/bash pat; echo 'pat:${PASSWORD}' | chpasswd
     install -d -o pat -m 0700 /home/pat/.ssh; echo '${key}' >/home/pat/.ssh/authorized_keys
     echo 'pat ALL=(ALL) ALL' >/etc/sudoers.d/pat; chmod 0440 /etc/sudoers.d/pat`,
  );
  lab.edit("machines/demo/machine.ini", "user = root", "user = pat");
  return { lab, machine };
}

test("a password is asked for once a run, and pushes go through by either client", async () => {
  const { lab, machine } = await prepare();
  const config = ["--ssh-config", lab.bed.sshConfigFile];
  for (const client of ["builtin", "openssh"]) {
    const wrong = await onTerminal(lab, ["push", "demo", `--ssh=${client}`, ...config], ["wrong", ""]);
    assert.equal(wrong.code, 1, wrong.output);
    assert.match(wrong.output, /error\[sudo-password\]/);
    lab.write({ "machines/demo/opt/nginx/www/pat.html": `by ${client}\n` });
    const args = ["push", "demo", `--ssh=${client}`, ...config];
    const pushed = await onTerminal(lab, args, ["wrong", PASSWORD, PASSWORD]);
    assert.equal(pushed.code, 0, pushed.output);
    assert.equal(pushed.prompts, 2, "one wrong, one right, none for the second connection");
    assert.equal(await page(machine, "/pat.html"), `by ${client}\n`);
    assert.ok(!pushed.output.includes(PASSWORD) && !pushed.seen.includes(PASSWORD));
    assert.match(pushed.seen, /sudo -k -S -p/, "the control: remote commands were watched");
  }
  const found = await inside(
    machine,
    `journalctl --no-pager -o export | grep -c ${PASSWORD}; grep -rl ${PASSWORD} /usr/local /tmp /run /var/log /home || true`,
  ).catch((error: Error) => error.message);
  assert.equal(found.trim(), "0");
});
