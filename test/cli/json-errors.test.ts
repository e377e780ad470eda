/**
 * `--json` when something is wrong: whatever the command, one document on standard output, whose `problems` are what
 * standard error tells people. Every command that has the option stands in the tables.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { COMMANDS } from "../../src/cli/commands.ts";
import { oneMachine, type Scenario, scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const CAN: readonly string[] = COMMANDS.filter((c) => c.options.some((o) => o.name === "json")).map(
  (c) => c.name,
);

/** A machine that nobody can reach: its port is closed. */
const AWAY: Files = oneMachine("base", "host = 127.0.0.1\n[ssh]\nport = 1\n");
const BROKEN: Files = { ...oneMachine("base"), "machines/m/machine.ini": "[machine]\nlayers = nothere\n" };

interface Row {
  readonly words: readonly string[];
  readonly files: Files;
  /** Of the first problem. */
  readonly code: string;
  readonly exit?: number;
  /** Where the document has the problems of one machine besides. */
  readonly also?: "machines";
}

/** Each command's own way of failing. */
const ROWS: readonly Row[] = [
  { words: ["init", "sub"], files: AWAY, code: "exists" },
  { words: ["doctor", "-C", "/nowhere"], files: AWAY, code: "no-root" },
  { words: ["build"], files: BROKEN, code: "unknown-layer" },
  { words: ["build", "--watch"], files: AWAY, code: "usage", exit: 64 },
  { words: ["plan", "m"], files: BROKEN, code: "unknown-layer" },
  { words: ["plan", "m"], files: AWAY, code: "ssh-refused" },
  { words: ["push", "m"], files: BROKEN, code: "unknown-layer" },
  { words: ["push", "m"], files: AWAY, code: "ssh-refused", also: "machines" },
  { words: ["rollback", "m"], files: AWAY, code: "ssh-refused" },
  { words: ["generations", "m"], files: AWAY, code: "ssh-refused" },
  { words: ["exec", "m", "--", "true"], files: AWAY, code: "ssh-refused", also: "machines" },
  { words: ["exec", "nobody", "--", "true"], files: AWAY, code: "unknown-machine" },
  { words: ["guest", "list", "m"], files: AWAY, code: "ssh-refused" },
  { words: ["guest", "start", "m", "web"], files: AWAY, code: "ssh-refused" },
  { words: ["guest", "stop", "m", "web"], files: AWAY, code: "ssh-refused" },
  { words: ["guest", "logs", "m", "web"], files: AWAY, code: "ssh-refused" },
  { words: ["guest", "screenshot", "m", "web"], files: AWAY, code: "ssh-refused" },
  { words: ["guest", "rm", "m", "averylongname"], files: AWAY, code: "guest-name" },
  { words: ["guest", "shell", "m", "web"], files: AWAY, code: "usage", exit: 64 },
  { words: ["guest", "console", "m", "web"], files: AWAY, code: "usage", exit: 64 },
  { words: ["verify"], files: BROKEN, code: "unknown-layer" },
  { words: ["verify", "--live", "m"], files: AWAY, code: "ssh-refused", also: "machines" },
  { words: ["adopt", "m", "etc/x", "--yes"], files: AWAY, code: "adopt-not-built" },
  { words: ["twin", "m"], files: BROKEN, code: "unknown-layer" },
  { words: ["twin", "m", "--", "true"], files: AWAY, code: "usage", exit: 64 },
  { words: ["why", "m", "etc/x"], files: BROKEN, code: "unknown-layer" },
  { words: ["impact", "X=1"], files: BROKEN, code: "unknown-layer" },
  { words: ["graph", "m"], files: BROKEN, code: "unknown-layer" },
  { words: ["graph", "--network"], files: BROKEN, code: "unknown-layer" },
  { words: ["facts", "show", "m"], files: BROKEN, code: "unknown-layer" },
  { words: ["facts", "probe", "m"], files: AWAY, code: "ssh-refused" },
  { words: ["ip", "plan"], files: BROKEN, code: "unknown-layer" },
  { words: ["ip", "show"], files: BROKEN, code: "unknown-layer" },
  { words: ["ip", "check"], files: BROKEN, code: "unknown-layer" },
  { words: ["wireguard", "list"], files: BROKEN, code: "unknown-layer" },
  { words: ["secret", "list"], files: BROKEN, code: "unknown-layer" },
  { words: ["secret", "add", "x"], files: AWAY, code: "usage", exit: 64 },
];

interface Told {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly notes: readonly string[];
}

/** The one document, after its problems were compared with what people are told. */
function documentOf(s: Scenario, words: readonly string[], exit: number): { problems: readonly Told[] } {
  const end = words.indexOf("--");
  const at = end < 0 ? words.length : end;
  const { code, stdout, stderr } = s.run([...words.slice(0, at), "--json", ...words.slice(at)]);
  assert.equal(code, exit, stderr);
  assert.equal(stdout.split("\n").length, 1, `not one document: ${stdout}`);
  const document = JSON.parse(stdout);
  assert.ok(Array.isArray(document.problems) && document.problems.length > 0, stdout);
  for (const { severity, code, message, notes } of document.problems) {
    assert.equal(severity, "error");
    assert.ok(Array.isArray(notes));
    assert.match(stderr, new RegExp(`^error\\[${code}\\] `, "m"));
    assert.ok(stderr.includes(message), `${message} is not in ${stderr}`);
  }
  return document;
}

test("every command that has --json stands in the table", () => {
  const tried = new Set(ROWS.map((row) => row.words[0]));
  assert.deepEqual(
    CAN.filter((name) => !tried.has(name)),
    [],
  );
});

test("wrong usage of any command that has --json gives one document with it", () => {
  const s = scenario(AWAY);
  try {
    for (const name of CAN) {
      const [first] = documentOf(s, [name, "--nonsense"], 64).problems;
      assert.equal(first?.code, "usage", name);
      assert.match(first?.message ?? "", /--nonsense/);
    }
  } finally {
    s.end();
  }
});

test("without --json nothing is on standard output", () => {
  const s = scenario(AWAY);
  try {
    for (const words of [
      ["generations", "m"],
      ["plan", "m"],
      ["guest", "list", "m"],
    ])
      assert.equal(s.run(words).stdout, "");
  } finally {
    s.end();
  }
});

for (const { words, files, code, exit = 1, also } of ROWS)
  test(`labctl ${words.join(" ")}: ${code}`, () => {
    const s = scenario(files);
    try {
      const document = documentOf(s, words, exit) as ReturnType<typeof documentOf> & {
        readonly machines?: readonly { readonly problems: readonly Told[] }[];
      };
      assert.equal(document.problems[0]?.code, code);
      if (also) assert.equal(document.machines?.[0]?.problems[0]?.code, code);
    } finally {
      s.end();
    }
  });

test("a plan of several machines has those that could not be planned, each with its problems", () => {
  const s = scenario({
    ...AWAY,
    "machines/n/machine.ini": "[machine]\nlayers = base\nhost = 127.0.0.1\n[ssh]\nport = 1\n",
  });
  try {
    const { code, stdout } = s.run(["plan", "m", "n", "--json"]);
    assert.equal(code, 1);
    const plans: { machine: string; problems: Told[] }[] = JSON.parse(stdout);
    assert.deepEqual(
      plans.map((p) => [p.machine, p.problems[0]?.code]),
      [
        ["m", "ssh-refused"],
        ["n", "ssh-refused"],
      ],
    );
  } finally {
    s.end();
  }
});
