/** Faulty, missing and contradictory facts: the whole answer of the real program. */
import test from "node:test";
import { oneMachine, refuses } from "../scenario.ts";

test("an unset fact is refused with line and column", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "first\nA={{A}} X={{X}}\n", "facts/all.env": "A=1\n" },
    [
      "error[fact-missing] layers/a/etc/x.conf.hbs:2:13: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env, facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("an unset fact is refused inside #if", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "{{#if X}}x{{/if}}\n" },
    [
      "error[fact-missing] layers/a/etc/x.conf.hbs:1:7: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("an unset fact is refused inside #each", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "{{#each X}}x{{/each}}\n" },
    [
      "error[fact-missing] layers/a/etc/x.conf.hbs:1:9: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("an unset fact is refused inside #unless, #with, a helper and its named argument", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "{{#unless X}}x{{/unless}}\n",
      "layers/a/etc/y.hbs": "{{#with Y}}x{{/with}}",
      "layers/a/etc/z.hbs": "{{join Z}}",
      "layers/a/etc/w.hbs": "{{json 1 indent=W}}",
    },
    [
      "error[fact-missing] layers/a/etc/w.hbs:1:17: fact `W` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
      "error[fact-missing] layers/a/etc/x.conf.hbs:1:11: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
      "error[fact-missing] layers/a/etc/y.hbs:1:9: fact `Y` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
      "error[fact-missing] layers/a/etc/z.hbs:1:8: fact `Z` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("an unset fact is refused in a partial, at the partial's file", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "{{> p}}\n",
      "layers/a/_partials/p.hbs": "one\n  {{X}}\n",
    },
    [
      "error[fact-missing] layers/a/_partials/p.hbs:2:5: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("a name missing inside a fact is refused with its whole path", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "{{net.bridge}} {{net.name}}\n",
      "facts/m.json": '{"net": {"bridge": "br0"}}',
    },
    [
      "error[fact-missing] layers/a/etc/x.conf.hbs:1:18: fact `net.name` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json, facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("an unset fact in the machine's own template names the machine's files", () => {
  refuses(
    { ...oneMachine("base"), "machines/m/etc/x.hbs": "{{X}}", "facts/m.env": "Y=1\n" },
    [
      "error[fact-missing] machines/m/etc/x.hbs:1:3: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env, facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      '  help: set it in facts/m.env, or ask for it openly: {{default X "…"}}, {{#if (isSet X)}}',
    ].join("\n"),
  );
});

test("problems of all machines are reported in one run", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "{{X}}",
      "machines/n/machine.ini": "[machine]\nlayers = a\n",
    },
    [
      "error[fact-missing] layers/a/etc/x.conf.hbs:1:3: fact `X` is unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
      "error[fact-missing] layers/a/etc/x.conf.hbs:1:3: fact `X` is unset for machine `n`",
      "  looked in: facts/n.env (absent), facts/n.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/n.env, or drop layer `a` from machines/n/machine.ini",
    ].join("\n"),
  );
});

test("a required fact that nobody sets is refused at its declaration", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/layer.ini": "[facts]\nPORT = required\n" },
    [
      "error[fact-missing] layers/a/layer.ini:2:1: fact `PORT` is required by layer `a` and unset for machine `m`",
      "  looked in: facts/m.env (absent), facts/m.json (absent), facts/all.env (absent), facts/all.json (absent), probed (never), layer defaults",
      "  help: set it in facts/m.env, or drop layer `a` from machines/m/machine.ini",
    ].join("\n"),
  );
});

test("values of the wrong type are refused where they are set", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/layer.ini":
        "[facts]\nP = required\nI = required\nC = required\nB = yes\n[types]\nP = port\nI = ip\nC = cidr\nB = bool\n",
      "facts/m.env": "P=70000\nI=1.2.3\n",
      "facts/all.json": '{\n  "C": "10.0.0.0/33"\n}',
    },
    [
      "error[fact-type] facts/all.json:2:3: fact `C` of machine `m` is not an address with a prefix length, such as 10.0.0.0/24",
      '  found: "10.0.0.0/33"',
      "  its type is declared in layers/a/layer.ini",
      "  help: correct the value",
      "error[fact-type] facts/m.env:1:1: fact `P` of machine `m` is not a port from 1 to 65535",
      '  found: "70000"',
      "  its type is declared in layers/a/layer.ini",
      "  help: correct the value",
      "error[fact-type] facts/m.env:2:1: fact `I` of machine `m` is not an IPv4 or IPv6 address",
      '  found: "1.2.3"',
      "  its type is declared in layers/a/layer.ini",
      "  help: correct the value",
      "error[fact-type] layers/a/layer.ini:5:1: fact `B` of machine `m` is not true or false",
      '  found: "yes"',
      "  its type is declared in layers/a/layer.ini",
      "  help: correct the value",
    ].join("\n"),
  );
});

test("a fact set twice on one level is refused, in one file and in two", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/x": "x",
      "facts/m.env": "A=1\nB=2\nA=3\n",
      "facts/m.json": '{"B": 1,\n "C": 1, "C": 2}',
    },
    [
      "error[fact-twice] facts/m.env:3:1: fact `A` is set twice on one level",
      "  first at facts/m.env:1",
      "  help: keep one of the two",
      "error[fact-twice] facts/m.json:1:2: fact `B` is set twice on one level",
      "  first at facts/m.env:2",
      "  help: keep one of the two",
      "error[fact-twice] facts/m.json:2:10: fact `C` is set twice on one level",
      "  first at facts/m.json:2",
      "  help: keep one of the two",
    ].join("\n"),
  );
});

test("faults of .env files have line and column", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/x": "x",
      "facts/all.env": "A=1\n  B C\nexport D='x' y\n",
      "facts/m.env": 'E="never\nclosed\n',
    },
    [
      "error[fact-syntax] facts/all.env:2:3: `B C` is no setting",
      "  help: write `NAME=value`; names have letters, digits and `_`, and comments begin with `#`",
      "error[fact-syntax] facts/all.env:3:14: `y` stands after the closing '",
      "  help: quote the whole value, or begin a comment with `#`",
      'error[fact-syntax] facts/m.env:1:3: the " that opens the value of `E` is never closed',
      '  help: add the closing ", or escape it',
    ].join("\n"),
  );
});

test("faults of .json files have line and column", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/x": "x",
      "facts/all.json": '{\n  "A": 1,\n  "B": [1, 2,]\n}\n',
      "facts/m.json": '{"A": tru, }',
    },
    [
      "error[fact-syntax] facts/all.json:3:14: no valid JSON: expected a value, found `]`",
      "  help: correct the file; JSON has no comments and no comma before a closing bracket",
      "error[fact-syntax] facts/m.json:1:7: no valid JSON: `tru` is no JSON value; text needs double quotes",
      "  help: correct the file; JSON has no comments and no comma before a closing bracket",
    ].join("\n"),
  );
});

test("a .json file that ends too early or holds no object", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x", "facts/all.json": '{"A": 1', "facts/m.json": "[1]" },
    [
      "error[fact-syntax] facts/all.json:1:8: no valid JSON: expected `,` or `}`, found the end of the file",
      "  help: correct the file; JSON has no comments and no comma before a closing bracket",
      "error[fact-syntax] facts/m.json:1:1: a fact file holds one JSON object",
      '  help: write `{"NAME": value, …}`',
    ].join("\n"),
  );
});

test("names that no fact can have", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x", "facts/all.json": '{"a-b": 1, "machine": 2, "__proto__": 3}' },
    [
      "error[bad-name] facts/all.json:1:2: `a-b` can't be the name of a fact",
      "  help: use letters, digits and `_`, not beginning with a digit",
      "error[bad-name] facts/all.json:1:12: `machine` can't be the name of a fact",
      "  templates know `machine` as the machine itself",
      "  help: use letters, digits and `_`, not beginning with a digit",
      "error[bad-name] facts/all.json:1:26: `__proto__` can't be the name of a fact",
      "  help: use letters, digits and `_`, not beginning with a digit",
    ].join("\n"),
  );
});

test("two layers with different defaults for one fact", () => {
  refuses(
    {
      ...oneMachine("a, b"),
      "layers/a/layer.ini": "[facts]\nA = 1\n",
      "layers/b/layer.ini": "[facts]\nA = 2\n",
    },
    [
      "error[fact-conflict] layers/b/layer.ini:2:1: layers `a` and `b` give fact `A` different defaults",
      "  layers/a/layer.ini:2: `1`",
      "  layers/b/layer.ini:2: `2`",
      "  help: declare it once, in the layer that the other needs",
    ].join("\n"),
  );
});

test("probed facts of another form", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/x": "x", "facts/probed/m.json": "{}" },
    [
      "error[fact-syntax] facts/probed/m.json: probed facts are not of the form that a probe writes",
      '  expected: {"probedAt": "2026-01-31T12:00:00Z", "facts": {…}}',
      "  help: remove the file and probe the machine again",
    ].join("\n"),
  );
});
