/** What `lab.ini`, `machine.ini` and `layer.ini` are refused for: the whole answer of the real program. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { oneMachine, refuses, scenario } from "../scenario.ts";

const SHIPPED_LAYERS = readdirSync(join(import.meta.dirname, "../../layers")).sort();

test("an unknown layer is refused with the nearest name", () => {
  refuses(
    { ...oneMachine("wep"), "layers/web/x": "x" },
    [
      "error[unknown-layer] machines/m/machine.ini:2:1: there is no layer `wep`, wanted by machines/m",
      "  looked in: layers/wep/ and the built-in layers",
      "  help: did you mean `web`?",
    ].join("\n"),
  );
});

test("an unknown layer that another layer needs is refused at that layer's file", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/layer.ini": "[layer]\nneeds = bb\n", "layers/bbb/x": "x" },
    [
      "error[unknown-layer] layers/a/layer.ini:2:1: there is no layer `bb`, wanted by layer `a`",
      "  looked in: layers/bb/ and the built-in layers",
      "  help: did you mean `bbb`?",
    ].join("\n"),
  );
});

test("a layer cycle is shown with every file that is part of it", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/layer.ini": "[layer]\nneeds = b\n",
      "layers/b/layer.ini": "[layer]\nneeds = c\n",
      "layers/c/layer.ini": "[layer]\n\nneeds = a\n",
    },
    [
      "error[layer-cycle] layers/a/layer.ini:2:1: layers need each other in a circle: a → b → c → a",
      "  a needs b (layers/a/layer.ini:2)",
      "  b needs c (layers/b/layer.ini:2)",
      "  c needs a (layers/c/layer.ini:3)",
      "  help: drop one `needs`, or move what both share into a layer of its own",
    ].join("\n"),
  );
});

test("a layer that needs itself is a cycle", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/layer.ini": "[layer]\nneeds = a\n" },
    [
      "error[layer-cycle] layers/a/layer.ini:2:1: layers need each other in a circle: a → a",
      "  a needs a (layers/a/layer.ini:2)",
      "  help: drop one `needs`, or move what both share into a layer of its own",
    ].join("\n"),
  );
});

test("misspelt sections and keys are all reported, each with the nearest name", () => {
  refuses(
    {
      ...oneMachine("a", "hosst = x\n[shh]\nuser = root\n[ssh]\nprot = 22\n"),
      "layers/a/layer.ini": "[layer]\nneed = b\n[overide]\nx = y\n",
      "lab.ini": "[lab]\nnam = x\n",
    },
    [
      "error[ini-unknown] lab.ini:2:1: unknown setting `nam` in [lab]",
      "  help: did you mean `name`?",
      "error[ini-unknown] layers/a/layer.ini:2:1: unknown setting `need` in [layer]",
      "  help: did you mean `needs`?",
      "error[ini-unknown] layers/a/layer.ini:3:1: unknown section [overide]",
      "  help: did you mean `overrides`?",
      "error[ini-unknown] machines/m/machine.ini:3:1: unknown setting `hosst` in [machine]",
      "  help: did you mean `host`?",
      "error[ini-unknown] machines/m/machine.ini:4:1: unknown section [shh]",
      "  help: did you mean `ssh`?",
      "error[ini-unknown] machines/m/machine.ini:7:1: unknown setting `prot` in [ssh]",
      "  help: did you mean `port`?",
    ].join("\n"),
  );
});

test("values of the wrong form are refused: host, port, user, client, instance, package, mode, fact name and type", () => {
  refuses(
    {
      ...oneMachine(
        "a",
        "host = -x\ninstances = foo\ngenerations = 1\n[ssh]\nuser = a b\nport = 70000\nclient = putty\n",
      ),
      "layers/a/layer.ini":
        "[layer]\npackages = Nginx!\n[facts]\n1X = 1\n[types]\nY = int\nZ = number\n[attributes]\nx = mode 9\n",
    },
    [
      "error[bad-value] layers/a/layer.ini:2:1: `packages = Nginx!` is not the name of a Debian package",
      "  help: correct the value",
      "error[bad-name] layers/a/layer.ini:4:1: `1X` can't be the name of a fact",
      "  help: use letters, digits and `_`, not beginning with a digit",
      "error[missing-setting] layers/a/layer.ini:6:1: [types] names `Y`, which [facts] does not declare",
      "  help: add `Y = required` or a default to [facts]",
      "error[bad-value] layers/a/layer.ini:7:1: `Z = number` is not one of string, int, bool, port, ip, cidr, list, json",
      "  help: correct the value",
      "error[bad-value] layers/a/layer.ini:9:1: `mode 9` is no attribute",
      "  help: write `mode 0640, owner NAME, group NAME`, or one or two of them",
      "error[bad-value] machines/m/machine.ini:3:1: `host = -x` is not a host name or address",
      "  help: correct the value",
      "error[bad-value] machines/m/machine.ini:4:1: `instances = foo` is not an instance such as `scrub@data.service`",
      "  help: correct the value",
      "error[bad-value] machines/m/machine.ini:5:1: `generations = 1` is not a number of generations to keep, from 2 to 1000",
      "  help: correct the value",
      "error[bad-value] machines/m/machine.ini:7:1: `user = a b` is not a user name",
      "  help: correct the value",
      "error[bad-value] machines/m/machine.ini:8:1: `port = 70000` is not a port from 1 to 65535",
      "  help: correct the value",
      "error[bad-value] machines/m/machine.ini:9:1: `client = putty` is not `builtin` or `openssh`",
      "  help: correct the value",
    ].join("\n"),
  );
});

test("a setting outside of sections, one set twice, and a line that is none", () => {
  refuses(
    { ...oneMachine("a"), "lab.ini": "x = 1\n[lab]\nname = a\nname = b\nnonsense\n[unclosed\n" },
    [
      "error[ini-syntax] lab.ini:1:1: setting `x` stands before any section",
      "  help: put a `[section]` line above it",
      "error[ini-duplicate] lab.ini:4:1: `name` is set twice in [lab]",
      "  first at line 3: `a`",
      "  help: keep one of the two",
      "error[ini-syntax] lab.ini:5:1: `nonsense` is neither a setting nor a section",
      "  help: write settings as `key = value`, comments with `;` or `#` at the start of a line",
      "error[ini-syntax] lab.ini:6:1: `[unclosed` is no section heading",
      "  help: write it as `[name]` on a line of its own",
      "error[unknown-layer] machines/m/machine.ini:2:1: there is no layer `a`, wanted by machines/m",
      "  looked in: layers/a/ and the built-in layers",
      `  help: known: ${SHIPPED_LAYERS.join(", ")}`,
    ].join("\n"),
  );
});

test("a machine folder without machine.ini", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x", "machines/n/etc/x": "x" },
    [
      "error[missing-file] machines/n/machine.ini: machines/n/ has no machine.ini",
      "  help: make one with `[machine]` and `host = …`, or remove the folder",
    ].join("\n"),
  );
});

test("a machine whose name is none", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x", "machines/a b/machine.ini": "[machine]\n" },
    [
      "error[bad-name] machines/a b: `a b` can't be the name of a machine",
      "  a name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and has at most 64 characters",
      "  help: rename it",
    ].join("\n"),
  );
});

test("a repository without machines", () => {
  refuses(
    { "layers/a/x": "x" },
    [
      "error[no-machines] machines/: the repository has no machine",
      "  looked for machines/<name>/machine.ini in <repo>",
      "  help: make machines/<name>/machine.ini with `[machine]`, `host = …` and `layers = …`",
    ].join("\n"),
  );
});

test("an unknown machine is refused with the nearest name", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x" },
    ["error[unknown-machine] no machine matches `mm`", "  help: did you mean `m`?"].join("\n"),
    ["build", "mm"],
  );
});

test("an unknown tag says where tags stand", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x" },
    [
      "error[unknown-machine] no machine matches `tag:prod`",
      "  help: tags stand in machines/*/machine.ini, `tags = …`",
    ].join("\n"),
    ["build", "tag:prod"],
  );
});

test("outside of a repository the start and the way out are named", () => {
  const s = scenario({ "etc/file": "x" }, true);
  try {
    assert.deepEqual(s.run(["build", "-C", "etc"]), {
      code: 1,
      stdout: "",
      stderr: [
        "error[no-root] no lab.ini in <repo>/etc or any folder above it",
        "  help: go into a repository that has one, or name it with -C DIR; an empty lab.ini is enough to make one",
      ].join("\n"),
    });
  } finally {
    s.end();
  }
});
