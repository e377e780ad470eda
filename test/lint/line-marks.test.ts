/** Marks say where a line comes from, and never change what is rendered: templates made at random, fixed seed. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { compiledAtOnce } from "../../src/build/template/compile.ts";
import type { TemplateText } from "../../src/build/template/compiled.ts";
import { renderer } from "../../src/build/template/render.ts";

const hash = (text: string): string => `${text.length}`.padStart(64, "0");
const PARTIALS: Readonly<Record<string, TemplateText>> = {
  "l/p": { text: "p1 {{name}}\n{{#if on}}\np3\n{{/if}}\np5\n", file: "p.hbs" },
  "l/q": { text: "q1", file: "q.hbs" },
};

function render(text: string, marking: "plain" | "marking") {
  const rendering = renderer((name) => PARTIALS[name], hash, compiledAtOnce(marking), marking).render({
    template: { text, file: "t.hbs" },
    layer: "l",
    machine: "m",
    facts: { name: "n", on: "yes", off: "", list: ["a", "b"], many: "x\ny\nz", empty: "" },
    searched: [] as never,
  });
  assert.ok(rendering?.ok, rendering?.ok ? "" : rendering?.problem.message);
  return rendering;
}

const PIECES = [
  "plain\n",
  "no end",
  "\n",
  "  blanks  \n",
  "{{name}}",
  "{{name}}\n",
  "{{empty}}\n",
  "{{many}}\n",
  "  {{~name~}}  \n",
  "{{! comment }}\n",
  "{{!-- two\nlines --}}\n",
  "{{> p}}\n",
  "  {{> p}}\n",
  "x {{> q}} y\n",
  "\t{{> p}}",
  "{{#if on}}\nyes\n{{else}}\nno\n{{/if}}\n",
  "{{#if empty}}\nyes\n{{/if}}\n",
  "{{#each list}}\n- {{this}}\n{{/each}}\n",
  "{{#each list}}{{this}},{{/each}}\n",
  "{{#unless off}}\n  {{> q}}\n{{/unless}}\n",
  "\\{{name}}\n",
];

test("a rendering with marks is the same text, with a place for each line", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }), (pieces) => {
      const text = pieces.join("");
      const marked = render(text, "marking");
      assert.equal(marked.text, render(text, "plain").text);
      assert.equal(marked.places?.length, marked.text.split("\n").length);
    }),
    { seed: 20_260_101, numRuns: 2000 },
  );
});

test("each line is the line of the template, or of the partial, that it was written on", () => {
  const text =
    "one\n{{#if on}}\nthree {{name}}\n{{/if}}\n{{many}}\n  {{> p}}\n{{#each list}}\n- {{this}}\n{{/each}}\nlast\n";
  const { text: out, places } = render(text, "marking");
  const shown = out.split("\n").map((line, i) => `${line} <- ${places?.[i]?.file}:${places?.[i]?.line}`);
  assert.deepEqual(shown.slice(0, -1), [
    "one <- t.hbs:1",
    "three n <- t.hbs:3",
    "x <- t.hbs:5",
    "y <- t.hbs:5",
    "z <- t.hbs:5",
    "  p1 n <- p.hbs:1",
    "  p3 <- p.hbs:3",
    "  p5 <- p.hbs:5",
    "- a <- t.hbs:8",
    "- b <- t.hbs:8",
    "last <- t.hbs:10",
  ]);
});
