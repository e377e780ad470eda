/** Rendering: strict, unescaped, every read recorded. No disk: templates and partials are given as texts. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { compiledAtOnce } from "../../src/build/template/compile.ts";
import { type Rendering, renderer } from "../../src/build/template/render.ts";
import { tokenNow } from "../../src/build/template/scope.ts";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import type { FactValue } from "../../src/facts/fact.ts";

type Facts = Readonly<Record<string, FactValue>>;
const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
const machine = { name: "m", host: "m.lan", tags: ["t"], layers: ["a"] };

function rendering(
  text: string,
  facts: Facts = {},
  partials: Readonly<Record<string, string>> = {},
): Rendering {
  const find = (name: string) => {
    const found = partials[name];
    return found === undefined ? undefined : { text: found, file: `${name}.hbs` };
  };
  const done = renderer(find, hash, compiledAtOnce()).render({
    template: { text, file: "x.hbs" },
    layer: "a",
    machine: "m",
    facts: { ...facts, machine },
    searched: ["nowhere"],
  });
  assert.ok(done);
  return done;
}

function rendered(text: string, facts: Facts = {}, partials: Readonly<Record<string, string>> = {}): string {
  const result = rendering(text, facts, partials);
  if (!result.ok) assert.fail(formatDiagnostic(result.problem));
  return result.text;
}

function refused(text: string, facts: Facts = {}, partials: Readonly<Record<string, string>> = {}): string {
  const result = rendering(text, facts, partials);
  assert.ok(!result.ok, `rendered ${result.ok ? result.text : ""}`);
  return formatDiagnostic(result.problem).split("\n")[0] ?? "";
}

/** Fact paths read; a shape is written `object` or `list`, absence `absent`, a whole value `value`. */
function reads(text: string, facts: Facts = {}, partials: Readonly<Record<string, string>> = {}): object {
  const result = rendering(text, facts, partials);
  if (!result.ok) assert.fail(formatDiagnostic(result.problem));
  return Object.fromEntries([...result.reads].map(([k, t]) => [k, t.startsWith("=") ? "value" : t]));
}

for (const name of [
  "constructor",
  "__proto__",
  "toString",
  "hasOwnProperty",
  "net.constructor",
  "net.__proto__",
])
  test(`the prototype's \`${name}\` is as unset as any other name`, () => {
    assert.match(
      refused(`{{${name}}}`, { net: { a: 1 } }),
      /^error\[fact-missing\] x\.hbs:1:3: fact `[\w.]+` is unset/,
    );
    assert.match(refused(`{{#if ${name}}}x{{/if}}`, { net: {} }), /^error\[fact-missing\]/);
  });

test("objects, lists and null are never written as text", () => {
  assert.equal(
    refused("{{net}}", { net: { a: 1 } }),
    "error[template-failed] x.hbs:1:1: `net` is an object, which can't be written as text, for machine `m`",
  );
  assert.match(refused("{{L}}", { L: [1] }), /`L` is a list/);
  assert.match(refused("{{N}}", { N: null }), /`N` is null/);
  assert.match(refused("{{#each L}}{{this}}{{/each}}", { L: [{ a: 1 }] }), /is an object/);
  assert.equal(rendered("{{S}}{{N}}{{B}}", { S: "", N: 0, B: false }), "0false");
});

test("nothing is escaped", () => {
  const text = `<a href="x">&'\`=</a>`;
  assert.equal(rendered("{{X}}|{{{X}}}|{{trim X}}", { X: text }), `${text}|${text}|${text}`);
});

const HELPERS: readonly (readonly [string, Facts, string])[] = [
  ['{{default X "d"}} {{default Y "d"}}', { Y: "y" }, "d y"],
  ['{{default E "d"}}|', { E: "" }, "|"],
  ["{{#if (isSet X)}}yes{{else}}no{{/if}}{{#if (isSet Y)}}yes{{/if}}", { Y: "" }, "noyes"],
  ['{{required Y "say Y"}}', { Y: "y" }, "y"],
  ['{{join L}} {{join L "; "}}', { L: ["a", 1, true] }, "a,1,true a; 1; true"],
  [
    '{{#each (split S)}}[{{this}}]{{/each}}{{#each (split S ", ")}}<{{this}}>{{/each}}',
    { S: "a, b" },
    "[a][b]<a><b>",
  ],
  ["{{json O}}", { O: { b: 1, a: [null, "x"] } }, '{"a":[null,"x"],"b":1}'],
  ["{{json O indent=2}}", { O: { a: 1 } }, '{\n  "a": 1\n}'],
  ["{{ini O}}", { O: { A: 1, B: ["x", "y"] } }, "A=1\nB=x\nB=y"],
  ["{{lower X}}{{upper X}}{{trim Y}}", { X: "aB", Y: " c " }, "abABc"],
  ['{{replace X "." "-"}}', { X: "a.b.c" }, "a-b-c"],
  ["{{indent X 2}}", { X: "a\n\nb" }, "  a\n\n  b"],
  ["{{shell-quote X}}", { X: "it's $HOME" }, "'it'\\''s $HOME'"],
  ["{{env-quote X}}", { X: 'a"b$c`d\\e' }, '"a\\"b\\$c\\`d\\\\e"'],
  ["{{exec-quote X}}", { X: '50% $x "q"\n' }, '"50%% $$x \\"q\\"\\n"'],
  ["{{systemd-escape X}}", { X: "/dev/a-b ü" }, "-dev-a\\x2db\\x20\\xc3\\xbc"],
  ["{{systemd-escape X}}", { X: ".hidden" }, "\\x2ehidden"],
  ['{{systemd-escape-path "/srv//data-1/"}} {{systemd-escape-path "/"}}', {}, "srv-data\\x2d1 -"],
  ["{{b3 X 8}}", { X: "x" }, hash("x").slice(0, 8)],
  ["{{eq A 1}}{{ne A 1}}{{eq A B}}", { A: "1", B: "2" }, "truefalsefalse"],
  ["{{and A B}}{{or F A}}{{not F}}", { A: "x", B: "y", F: false }, "truextrue"],
  ["{{add A 1}} {{add A B}}", { A: "41", B: -1 }, "42 40"],
  ['{{concat A "-" 1}}', { A: "a" }, "a-1"],
  ['{{includes L "1"}}{{includes S "b"}}{{includes L "9"}}', { L: [1, 2], S: "abc" }, "truetruefalse"],
  ["{{lookup O K}}", { O: { a: "found" }, K: "a" }, "found"],
];
for (const [text, facts, expected] of HELPERS)
  test(`${text} gives ${JSON.stringify(expected)}`, () => {
    assert.equal(rendered(text, facts), expected);
  });

test("a helper's wrong argument says which helper, where and what it got", () => {
  assert.equal(
    refused("a\n {{join X}}", { X: "x" }),
    "error[template-failed] x.hbs:2:2: `join` wants a list, not a string, for machine `m`",
  );
  assert.match(refused("{{add X 1}}", { X: "one" }), /`add` wants a number/);
  assert.match(refused('{{required X "say X"}}', {}), /say X, for machine/);
  assert.match(refused("{{indent X}}", { X: "x" }), /`indent` wants the number of blanks/);
  assert.match(
    refused("{{> p}}", { X: "x" }, { "a/p": "\n\n{{ini X}}" }),
    /^error\[template-failed\] a\/p\.hbs:3:1/,
  );
});

test("names work at every depth: this, .., @root, @index, @key, block parameters", () => {
  const net = { list: [{ n: "a" }, { n: "b" }], map: { k: "v" } };
  assert.equal(
    rendered("{{#each net.list}}{{@index}}{{n}}{{this.n}}{{../TOP}}{{@root.TOP}} {{/each}}", {
      net,
      TOP: "t",
    }),
    "0aatt 1bbtt ",
  );
  assert.equal(rendered("{{#each net.map}}{{@key}}={{this}}{{/each}}", { net }), "k=v");
  assert.equal(rendered("{{#each net.list as |item i|}}{{i}}{{item.n}}{{/each}}", { net }), "0a1b");
  assert.equal(rendered("{{#with net.map}}{{k}}{{/with}}", { net }), "v");
  assert.equal(rendered("{{net.list.[1].n}} {{net.list.length}}", { net }), "b 2");
  assert.equal(rendered("{{#each E}}x{{else}}none{{/each}}", { E: [] }), "none");
  assert.match(
    refused("{{#each net.list}}{{gone}}{{/each}}", { net }),
    /x\.hbs:1:21: fact `net\.list\.0\.gone` is unset/,
  );
  assert.match(
    refused("{{#each net.list as |item|}}{{item.gone}}{{/each}}", { net }),
    /`net\.list\.0\.gone`/,
  );
});

test("a partial sees the facts, its arguments first, and a context of its own if given one", () => {
  const partials = { "a/p": "{{x}}{{A}}{{machine.name}}", "a/q": "{{k}}", "b/p": "b{{> q}}", "b/q": "bq" };
  assert.equal(rendered('{{> p x="1"}}', { A: "a" }, partials), "1am");
  assert.equal(rendered("{{> p x=A}}", { A: "a" }, partials), "aam");
  assert.equal(rendered("{{> q net}}", { net: { k: "v" } }, partials), "v");
  assert.match(refused("{{> p}}", { A: "a" }, partials), /a\/p\.hbs:1:3: fact `x` is unset/);
});

test("a partial in another layer resolves its own partials there", () => {
  const partials = { "b/p": "b{{> b/q}}", "b/q": "bq" };
  assert.equal(rendered("{{> b/p}}", {}, partials), "bbq");
});

test("reads are recorded wherever they happen, by how much of the value mattered", () => {
  const net = { bridge: "br0", mtu: 1, list: [{ n: 1 }] };
  assert.deepEqual(reads("{{A}}", { A: "1", B: "2" }), { A: "value" });
  assert.deepEqual(reads("{{net.bridge}}", { net }), { net: "object", "net.bridge": "value" });
  assert.deepEqual(reads("{{json net}}", { net }), { net: "value" });
  assert.deepEqual(reads("{{#if A}}{{B}}{{/if}}", { A: false, B: 1 }), { A: "value" });
  assert.deepEqual(reads('{{default A "x"}}{{#if (isSet net.gone)}}{{/if}}', { net }), {
    A: "absent",
    net: "object",
    "net.gone": "absent",
  });
  assert.deepEqual(reads("{{> p x=A}}", { A: 1, B: 2 }, { "a/p": "{{x}}{{upper B}}" }), {
    A: "value",
    B: "value",
  });
  assert.deepEqual(reads("{{#each net.list}}{{../A}}{{@root.B}}{{/each}}", { net, A: 1, B: 2 }), {
    net: "object",
    "net.list": "value",
    "net.list.length": "value",
    "net.list.0": "object",
    A: "value",
    B: "value",
  });
  assert.deepEqual(
    reads('{{lookup net "gone"}}'.replace("{{", "{{#if (").replace("}}", ")}}{{/if}}"), { net }),
    {
      net: "value",
    },
  );
});

test("whatever fact is changed, either a recorded token differs or the text stays the same", () => {
  const base: Facts = { A: "1", B: "2", L: ["x", "y"], net: { a: 1, deep: { b: 2 } }, F: false };
  const changes: Facts[] = [
    { ...base, A: "9" },
    { ...base, B: 2 },
    { ...base, L: ["x"] },
    { ...base, L: [] },
    { ...base, L: "x" },
    { ...base, net: { a: 1 } },
    { ...base, net: { a: 2, deep: { b: 2 } } },
    { ...base, net: { a: 1, deep: { b: 3 }, c: 1 } },
    { ...base, F: true },
    { ...base, C: "now set" },
    { A: "1", L: [], net: {}, F: false, B: "2" },
  ];
  const templates = [
    "{{A}}",
    "{{default C A}}",
    "{{#if (isSet C)}}{{B}}{{/if}}",
    "{{#if F}}{{A}}{{else}}{{B}}{{/if}}",
    "{{#each L}}{{@index}}{{this}}{{/each}}",
    "{{#if L}}some{{/if}}",
    "{{#each net}}{{@key}}{{/each}}",
    "{{net.a}}",
    "{{#if net.deep}}deep{{/if}}",
    "{{#with net.deep}}{{b}}{{/with}}",
    "{{json net}}",
    "{{join L}}",
    '{{default (lookup net "c") "none"}}',
    "{{#if (includes L B)}}in{{/if}}",
    "{{L.length}}",
    "{{> p v=net}}",
    "{{> p v=F}}",
  ];
  for (const text of templates) {
    const partials = { "a/p": "{{#if v}}{{A}}{{/if}}" };
    const before = rendering(text, base, partials);
    assert.ok(before.ok, `${text}: ${before.ok ? "" : formatDiagnostic(before.problem)}`);
    for (const facts of changes) {
      const all = { ...facts, machine };
      const seen = [...before.reads].some(
        ([path, token]) => tokenNow(all, path, token, (t) => hash(t).slice(0, 16)) !== token,
      );
      const after = rendering(text, facts, partials);
      const same = after.ok && after.text === before.text;
      assert.ok(seen || same, `${text} with ${JSON.stringify(facts)} went unnoticed`);
    }
  }
});

test("a bare partial name means the layer that writes it, also where two layers have one of that name", () => {
  const partials = { "a/q": "aq", "b/p": "b{{> q}}", "b/q": "bq" };
  assert.equal(rendered("{{> q}} {{> b/p}}", {}, partials), "aq bbq");
  assert.equal(rendered("{{> b/p}} {{> q}}", {}, partials), "bbq aq");
});

test("a template that changed between two machines is compiled anew, so that its hash and its text agree", () => {
  const each = renderer(() => undefined, hash, compiledAtOnce());
  const render = (text: string) => {
    const result = each.render({
      template: { text, file: "x.hbs" },
      layer: "a",
      machine: "m",
      facts: { machine },
      searched: ["nowhere"],
    });
    return result?.ok && result.text;
  };
  assert.equal(render("one"), "one");
  assert.equal(render("two"), "two");
});

test("a key with a dot in it depends on the whole value that holds it, and is no other fact's path", () => {
  const facts = { net: { "a.b": 1, a: { b: 1 } } };
  const result = rendering("{{net.[a.b]}}", facts);
  if (!result.ok) assert.fail(formatDiagnostic(result.problem));
  assert.deepEqual([...result.reads.keys()], ["net"]);
  const token = result.reads.get("net") ?? "absent";
  const short = (text: string): string => hash(text).slice(0, 16);
  assert.equal(tokenNow(facts, "net", token, short), token);
  assert.notEqual(tokenNow({ net: { "a.b": 2, a: { b: 1 } } }, "net", token, short), token);
});
