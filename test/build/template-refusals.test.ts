/** What templates and programs are refused for: the whole answer of the real program. */
import test from "node:test";
import { oneMachine, refuses } from "../scenario.ts";

test("an unclosed block", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "one\n{{#if A}}\ntwo\n", "facts/all.env": "A=1" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:2:1: `{{#if}}` is never closed",
      "  2 | {{#if A}}",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("a block closed by another's name", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "one\n  {{#if A}}x{{/each}}\n", "facts/all.env": "A=1" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:2:6: `{{#if}}` is closed by `{{/each}}`",
      "  2 |   {{#if A}}x{{/each}}",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("an unclosed mustache", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "one\ntwo {{A\nthree\n", "facts/all.env": "A=1" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:2:5: `{{` is never closed",
      "  2 | two {{A",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("a mustache with nothing in it", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "one {{}}\n" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:1:7: `}}` stands where a name or value is expected",
      "  1 | one {{}}",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("an unknown helper", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "one\n {{uper A}}\n", "facts/all.env": "A=1" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:2:2: unknown helper `uper`",
      "  help: did you mean `upper`?",
    ].join("\n"),
  );
});

test("an unknown helper inside another", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "{{join (spilt A)}}\n", "facts/all.env": "A=1" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:1:8: unknown helper `spilt`",
      "  help: did you mean `split`?",
    ].join("\n"),
  );
});

test("an unknown block", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "{{#A}}x{{/A}}\n", "facts/all.env": "A=1" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:1:1: {{#A}} is no block that templates know; use {{#if A}}, {{#each A}} or {{#with A}}",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("a missing partial, asked for by a template and by a partial", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "one\n{{> nope}}\n",
      "layers/a/_partials/p.hbs": "\n {{> gone}}",
      "layers/a/etc/y.hbs": "{{> p}}",
    },
    [
      "error[template-syntax] layers/a/_partials/p.hbs:2:2: there is no partial `gone`",
      "  looked for: layers/a/_partials/gone.hbs",
      "  help: correct the template",
      "error[template-syntax] layers/a/etc/x.conf.hbs:2:1: there is no partial `nope`",
      "  looked for: layers/a/_partials/nope.hbs",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("a partial whose name is computed", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "{{> (lookup . 'x')}}\n" },
    [
      "error[template-syntax] layers/a/etc/x.conf.hbs:1:1: a partial's name can't be computed; which files a template reads must be known beforehand",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("an object written as text", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "x {{net}} {{LIST}}\n",
      "facts/all.json": '{"net": {"a": 1}, "LIST": [1]}',
    },
    [
      "error[template-failed] layers/a/etc/x.conf.hbs:1:3: `net` is an object, which can't be written as text, for machine `m`",
      '  help: write {{json net}}, {{join net ", "}} or {{#each net}}',
    ].join("\n"),
  );
});

test("null written as text", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "x {{N}}\n", "facts/all.json": '{"N": null}' },
    [
      "error[template-failed] layers/a/etc/x.conf.hbs:1:3: `N` is null, which can't be written as text, for machine `m`",
      "  help: give it a value, or ask with {{default …}}",
    ].join("\n"),
  );
});

test("a helper's wrong argument, in a template and in a partial", () => {
  refuses(
    {
      ...oneMachine("a"),
      "layers/a/etc/x.conf.hbs": "a\n  {{join A}}\n",
      "facts/all.env": "A=1",
      "layers/a/etc/y.hbs": "{{> p}}",
      "layers/a/_partials/p.hbs": "\n\n {{indent A}}",
    },
    [
      "error[template-failed] layers/a/_partials/p.hbs:3:2: `indent` wants the number of blanks as its second argument, for machine `m`",
      "  help: correct the argument, or the fact that it comes from",
      "error[template-failed] layers/a/etc/x.conf.hbs:2:3: `join` wants a list, not a string, for machine `m`",
      "  help: correct the argument, or the fact that it comes from",
    ].join("\n"),
  );
});

test("a partial that includes itself", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/etc/x.conf.hbs": "{{> p}}\n", "layers/a/_partials/p.hbs": "{{> p}}" },
    [
      "error[template-failed] layers/a/etc/x.conf.hbs: its partials include each other without end, for machine `m`",
      "  help: correct the template",
    ].join("\n"),
  );
});

test("a program that does not compile", () => {
  refuses(
    { ...oneMachine("a"), "layers/a/bin/p.ts": "const x = ;\nimport './gone.ts';\n" },
    [
      'error[program-broken] layers/a/bin/p.ts:1:11: Unexpected ";"',
      "  help: correct the program; its imports must resolve inside the repository, or begin with `labctl/`",
    ].join("\n"),
  );
});
