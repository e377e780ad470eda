/** Wrong arguments: exit code 64: the whole answer of the real program. */
import test from "node:test";
import { oneMachine, refuses } from "../scenario.ts";

test("an unknown command", () => {
  refuses(
    { ...oneMachine("base") },
    ["error[usage] unknown command `biuld`", "  help: did you mean `build`?"].join("\n"),
    ["biuld"],
    64,
  );
});

test("an unknown option", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] unknown option `--explian`",
      "  help: usage: labctl build [machine…]; `labctl build --help` lists the options",
    ].join("\n"),
    ["build", "--explian"],
    64,
  );
});

test("a fact without a value", () => {
  refuses(
    { ...oneMachine("base") },
    ["error[usage] --fact wants NAME=VALUE, not `X`", "  help: names have letters, digits and `_`"].join(
      "\n",
    ),
    ["build", "--fact", "X"],
    64,
  );
});

test("an option without its value", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] option `--fact <value>` argument missing",
      "  help: usage: labctl build [machine…]; `labctl build --help` lists the options",
    ].join("\n"),
    ["build", "--fact"],
    64,
  );
});

test("facts with an unknown verb", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] `facts` knows show, origin and probe, not `list`",
      "  help: usage: labctl facts show <machine> | origin <fact> [machine…] | probe <machine…>; `labctl facts --help` lists the options",
    ].join("\n"),
    ["facts", "list"],
    64,
  );
});

test("facts show without a machine", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] `facts show` wants a machine",
      "  help: usage: labctl facts show <machine> | origin <fact> [machine…] | probe <machine…>; `labctl facts --help` lists the options",
    ].join("\n"),
    ["facts", "show"],
    64,
  );
});
