/** How a user's command travels: its words through a real shell, its output cut into lines. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import fc from "fast-check";
import { commandLine, LineCutter } from "../../src/push/remote-command.ts";
import { interactiveArguments } from "../../src/push/ssh/interactive.ts";

test("any words reach the program as they are, whatever a shell would make of them", () => {
  const word = fc.string({ unit: fc.constantFrom(..." 'a\"$`\\*~;&|<>()#!\n\t=é-{}") });
  fc.assert(
    fc.property(fc.array(word, { maxLength: 5 }), (words) => {
      const line = commandLine(["printf", "%s\\0", ...words]);
      const { stdout } = spawnSync("sh", ["-c", line], { encoding: "utf8" });
      // printf without arguments prints its format once.
      assert.equal(stdout, words.length === 0 ? "\0" : words.map((w) => `${w}\0`).join(""));
    }),
    { seed: 11, numRuns: 150 },
  );
});

test("lines are the same however their bytes arrive, and none is lost or joined", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60, max: 14 }),
      fc.array(fc.nat(60), { maxLength: 8 }),
      (bytes, cuts) => {
        const whole = Buffer.from(bytes);
        const lines: string[] = [];
        const cutter = new LineCutter((line) => lines.push(line.toString("latin1")));
        let from = 0;
        for (const at of [...cuts.sort((a, b) => a - b), whole.length]) {
          if (at < from || at > whole.length) continue;
          cutter.push(whole.subarray(from, at));
          from = at;
        }
        cutter.end();
        const wanted = whole.toString("latin1").split("\n");
        if (wanted.at(-1) === "") wanted.pop();
        assert.deepEqual(lines, wanted);
      },
    ),
    { seed: 12, numRuns: 300 },
  );
});

test("a line without end is handed on in pieces", () => {
  const sizes: number[] = [];
  const cutter = new LineCutter((line) => sizes.push(line.length));
  for (let i = 0; i < 40; i++) cutter.push(Buffer.alloc(1 << 16, 0x61));
  cutter.end();
  assert.deepEqual(sizes, [1 << 20, 1 << 20, 1 << 19]);
});

test("ssh is called with what machine.ini says, and a host can be no option", () => {
  const bare = { configFile: undefined, acceptNew: false, timeoutMs: undefined, tty: false };
  assert.deepEqual(interactiveArguments({ host: "den", identityFiles: [] }, [], bare), ["--", "den"]);
  assert.deepEqual(
    interactiveArguments(
      { host: "den.lan", user: "ada", port: 2222, identityFiles: ["~/.ssh/den"] },
      ["ls", "-l | wc"],
      { configFile: "/c", acceptNew: true, timeoutMs: 1500, tty: true },
    ).join(" "),
    "-F /c -o StrictHostKeyChecking=accept-new -o ConnectTimeout=2 -p 2222 -l ada -i ~/.ssh/den -t -- den.lan ls -l | wc",
  );
});
