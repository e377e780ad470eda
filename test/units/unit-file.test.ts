import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { formatDiagnostic } from "../../src/diagnostics.ts";
import { unitFileDiagnostic } from "../../src/units/problems.ts";
import { formatUnitFile, parseUnitFile } from "../../src/units/unit-file.ts";

const SEED = 20_261;

function pairs(text: string): string[] {
  return parseUnitFile(text).assignments.map((a) => `${a.line} ${a.section}.${a.key}=${a.value}`);
}
function faults(text: string): string[] {
  return parseUnitFile(text).problems.map((p) => `${p.line} ${p.fault}`);
}

const BAD: readonly [name: string, text: string, faults: string[], pairs: string[]][] = [
  [
    "text before a section is a problem and is ignored",
    "A=1\n[S]\nB=2\n",
    ["1 outside-section"],
    ["3 S.B=2"],
  ],
  [
    "a line without `=` is a problem, the next line counts",
    "[S]\nnonsense\nB=2",
    ["2 missing-equals"],
    ["3 S.B=2"],
  ],
  ["a line without a key is a problem", "[S]\n =x\n", ["2 missing-key"], []],
  [
    "an open header ends the file, as it does for systemd",
    "[S]\nA=1\n[Unit\nB=2\n",
    ["3 bad-header"],
    ["2 S.A=1"],
  ],
  [
    "a backslash in the last line is a problem, its text counts",
    "[S]\nA=1 \\",
    ["2 open-continuation"],
    ["2 S.A=1"],
  ],
];
for (const [name, text, wantFaults, wantPairs] of BAD) {
  test(name, () => {
    assert.deepEqual(faults(text), wantFaults);
    assert.deepEqual(pairs(text), wantPairs);
  });
}

const GOOD: readonly [name: string, text: string, pairs: string[]][] = [
  ["an empty text has nothing", "", []],
  ["repeated keys stay, in order", "[S]\nA=1\nA=2\n", ["2 S.A=1", "3 S.A=2"]],
  ["white space around the equals sign goes, inside a value it stays", "[S]\n A =  1  2 \n", ["2 S.A=1  2"]],
  ["`#` and `;` begin comments, also when indented", "[S]\n# A=1\n  ; B=2\nC=3", ["4 S.C=3"]],
  ["`#` inside a value is no comment", "[S]\nA=1 # x\nB=a;b", ["2 S.A=1 # x", "3 S.B=a;b"]],
  ["a continuation keeps the first line's number", "[S]\nA=1 \\\n  2\nB=3", ["2 S.A=1    2", "4 S.B=3"]],
  ["comments inside a continuation are skipped", "[S]\nA=v\\\n# no\n; nor this\n  w\n", ["2 S.A=v   w"]],
  ["a comment that ends in a backslash does not continue", "[S]\n# x \\\nA=1\n", ["3 S.A=1"]],
  ["two backslashes at the end do not continue", "[S]\nA=1\\\\\nB=2\n", ["2 S.A=1\\\\", "3 S.B=2"]],
  ["an empty line ends a continuation", "[S]\nA=1\\\n\nB=2\n", ["2 S.A=1", "4 S.B=2"]],
  ["CRLF line ends count as one", "[S]\r\nA=1\r\nB=2\r\n", ["2 S.A=1", "3 S.B=2"]],
  ["a byte order mark is skipped", "\ufeff[S]\nA=1\n", ["2 S.A=1"]],
  ["an empty value is kept, since it resets", "[S]\nA=\n", ["2 S.A="]],
  ["a value may hold further equals signs", "[S]\nA=b=c\n", ["2 S.A=b=c"]],
  ["a section may come twice", "[S]\nA=1\n[T]\nB=2\n[S]\nC=3\n", ["2 S.A=1", "4 T.B=2", "6 S.C=3"]],
];
for (const [name, text, want] of GOOD) {
  test(name, () => {
    assert.deepEqual(pairs(text), want);
    assert.deepEqual(faults(text), []);
  });
}

test("a section that comes twice is listed once, in order of first headers", () => {
  assert.deepEqual(parseUnitFile("[S]\n[T]\n[S]\n").sections, ["S", "T"]);
});

test("a problem prints with its place and what to do", () => {
  const found = parseUnitFile("[Service\n").problems[0];
  assert.ok(found);
  assert.equal(
    formatDiagnostic(unitFileDiagnostic(found, "lib/systemd/system/x.service")),
    [
      "error[unit-bad-header] lib/systemd/system/x.service:1: section header has no closing `]`; systemd refuses the whole file",
      "  found: [Service",
      "  help: close the header with `]`",
    ].join("\n"),
  );
});

test("any text parses without throwing, and formatting what was parsed is stable", () => {
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "[Unit]",
      "[Service]",
      "A=1",
      "B = x \\",
      "# c",
      "; d \\",
      "C=",
      "\\",
      "=",
      "[",
      "\r",
      "\ufeff",
    ),
  );
  const text = fc.array(line, { maxLength: 20 }).map((lines) => lines.join("\n"));
  fc.assert(
    fc.property(fc.oneof(text, fc.string({ unit: "binary" })), (input) => {
      const once = formatUnitFile(parseUnitFile(input));
      const again = parseUnitFile(once);
      assert.equal(formatUnitFile(again), once);
      assert.deepEqual(
        [...parseUnitFile(input).assignments].map((a) => [a.section, a.key, a.value]).sort(),
        [...again.assignments].map((a) => [a.section, a.key, a.value]).sort(),
      );
    }),
    { seed: SEED, numRuns: 2000 },
  );
});
