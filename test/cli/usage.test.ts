/** Wrong arguments: exit code 64; file operations that the system refuses: exit code 1. The real program's whole answer. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { oneMachine, PROGRAM, refuses, scenario } from "../scenario.ts";

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

test("an option before the command", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] `--json` stands before the command; only -C DIR may",
      "  help: known: init, doctor, build, plan, push, rollback, generations, exec, ssh, guest, watch, verify, adopt, twin, why, impact, graph, facts, ip, wireguard, secret, completion",
    ].join("\n"),
    ["--json", "build"],
    64,
  );
});

test("an option's value that looks like an option: one line says so", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] option `--timeout` argument is ambiguous",
      "  help: usage: labctl push <machine…>; `labctl push --help` lists the options",
    ].join("\n"),
    ["push", "m", "--timeout", "-1"],
    64,
  );
});

test("options of commands that reach machines, with values that they don't take", () => {
  const args = { plan: "<machine…>", push: "<machine…>", rollback: "<machine> [n]", watch: "<machine…>" };
  const rows: [keyof typeof args, string, string][] = [
    ["plan", "--timeout=0", "--timeout wants a whole number from 1 to 3600, not `0`"],
    ["plan", "--timeout=soon", "--timeout wants a whole number from 1 to 3600, not `soon`"],
    ["push", "--timeout=1e3", "--timeout wants a whole number from 1 to 3600, not `1e3`"],
    ["rollback", "--timeout=\u001b[2J", "--timeout wants a whole number from 1 to 3600, not `\\x1b[2J`"],
    ["watch", "--timeout=3601", "--timeout wants a whole number from 1 to 3600, not `3601`"],
    ["push", "--ssh=putty", "--ssh wants `builtin` or `openssh`, not `putty`"],
    ["plan", "--jobs=0", "--jobs wants a whole number from 1 to 1000, not `0`"],
    ["push", "--jobs=0", "--jobs wants a whole number from 1 to 1000, not `0`"],
    ["push", "--jobs=", "--jobs wants a whole number from 1 to 1000, not ``"],
    ["push", "--confirm-seconds=0", "--confirm-seconds wants a whole number from 1 to 3600, not `0`"],
    ["watch", "--confirm-seconds=x", "--confirm-seconds wants a whole number from 1 to 3600, not `x`"],
  ];
  for (const [command, option, said] of rows) {
    const help = `  help: usage: labctl ${command} ${args[command]}; \`labctl ${command} --help\` lists the options`;
    refuses({ ...oneMachine("base") }, `error[usage] ${said}\n${help}`, [command, "m", option], 64);
  }
});

test("--watch with an option that contradicts it", () => {
  refuses(
    { ...oneMachine("base") },
    [
      "error[usage] --watch and --dry-run contradict each other",
      "  help: usage: labctl build [machine…]; `labctl build --help` lists the options",
    ].join("\n"),
    ["build", "--watch", "--dry-run"],
    64,
  );
});

test("a path outside of /usr/local is none that `why` knows", () => {
  for (const path of ["/etc/passwd", "../etc/passwd", "/usr/local"]) {
    refuses(
      { ...oneMachine("base") },
      [
        `error[usage] \`why\` wants a path under /usr/local, not \`${path}\``,
        "  help: usage: labctl why <machine> <path>; `labctl why --help` lists the options",
      ].join("\n"),
      ["why", "m", path],
      64,
    );
  }
});

test("what the system refuses is not called a fault in labctl", (t) => {
  const s = scenario(oneMachine("base"));
  t.after(() => s.end());
  const shell = (script: string): string => {
    const done = spawnSync("sh", ["-c", script, "sh", process.execPath, PROGRAM], {
      cwd: s.root,
      encoding: "utf8",
    });
    assert.equal(done.status, 1, done.stderr);
    return done.stderr;
  };
  assert.equal(
    shell('"$1" "$2" graph m >/dev/full'),
    "error[system] can't write: ENOSPC\n  help: make room, then run this again\n",
  );
  assert.equal(
    shell('mkdir gone && cd gone && rmdir ../gone && "$1" "$2" build'),
    "error[system] the working folder no longer exists\n  help: go into a folder that exists\n",
  );
});

test("wrong values of what rules several machines, each with what is right", () => {
  const usage =
    "  help: usage: labctl push <machine…> [options]; `labctl push --help` lists the options".replace(
      " [options]",
      "",
    );
  const cases: readonly (readonly [readonly string[], string])[] = [
    [["--wave", "0"], "--wave wants sizes such as `5`, `1,5,rest` or `1,25%`, not `0`"],
    [["--wave", "rest,1"], "--wave wants sizes such as `5`, `1,5,rest` or `1,25%`, not `rest,1`"],
    [["--jobs", "0"], "--jobs wants a whole number from 1 to 1000, not `0`"],
    [["--max-failures", "-1"], "--max-failures wants a whole number from 1 to 100000, not `-1`"],
    [["--wave-pause", "5"], "--wave-pause is of no use without --wave"],
  ];
  for (const [args, message] of cases) {
    const [name = "", value = ""] = args;
    refuses(
      { ...oneMachine("base") },
      [`error[usage] ${message}`, usage].join("\n"),
      ["push", "m", `${name}=${value}`],
      64,
    );
  }
});

test("the overview fits on 80 columns, and so does the help of each command but for its first line", () => {
  const s = scenario({ ...oneMachine("base") });
  try {
    const overview = s.run(["--help"]);
    assert.match(overview.stdout, /^ {2}guest … {2,}run containers/m);
    const names = [...overview.stdout.matchAll(/^ {2}([a-z]+) .* {2}/gm)].map(([, name = ""]) => name);
    assert.ok(names.includes("push"), overview.stdout);
    for (const text of [overview.stdout, ...names.map((name) => s.run([name, "--help"]).stdout)])
      for (const line of text.split("\n").slice(1)) assert.ok([...line].length <= 80, line);
  } finally {
    s.end();
  }
});
