/** What `labctl guest console` and `screenshot` take, before any machine is asked. */
import assert from "node:assert/strict";
import test from "node:test";
import { answer, oneMachine } from "../scenario.ts";

test("verbs of virtual machines want a machine and a guest; only a screenshot takes a file", () => {
  for (const [words, said] of [
    [["console", "m"], "`guest console` wants a machine and a guest"],
    [["screenshot", "m"], "`guest screenshot` wants a machine and a guest"],
    [["console", "m", "web", "x.png"], "`guest console` takes a machine and one guest"],
    [["stop", "m", "web", "web2"], "`guest stop` takes a machine and one guest"],
    [["screenshot", "m", "web", "--stats"], "`guest screenshot` takes no --stats"],
    [["screenshoot", "m", "web"], "not `screenshoot`"],
  ] as const) {
    const refused = answer(oneMachine("base"), ["guest", ...words]);
    assert.equal(refused.code, 64, words.join(" "));
    assert.ok(refused.stderr.includes(said), `${words.join(" ")}: ${refused.stderr}`);
  }
});
