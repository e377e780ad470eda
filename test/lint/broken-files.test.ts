/**
 * Every broken file has its one finding, at the source's line, and its good twin none. All cases are machines of one
 * repository, verified in one run; that run also says how long 40 and more machines take.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { after } from "node:test";
import type { Finding } from "../../src/lint/verify.ts";
import { type CaseFile, type LintCase, SYSTEM } from "./case.ts";
import { NAME_CASES } from "./name-cases.ts";
import { PROGRAM_CASES, TEMPLATE_CASES } from "./program-cases.ts";
import { REFERENCE_CASES, SYNTAX_CASES } from "./unit-cases.ts";

const CASES: readonly LintCase[] = [
  ...SYNTAX_CASES,
  ...REFERENCE_CASES,
  ...NAME_CASES,
  ...PROGRAM_CASES,
  ...TEMPLATE_CASES,
];

const root = mkdtempSync(join(tmpdir(), "labctl-lint-"));
after(() => rmSync(root, { recursive: true, force: true }));

function write(path: string, file: CaseFile): void {
  const at = join(root, path);
  mkdirSync(dirname(at), { recursive: true });
  if (typeof file === "object" && "link" in file) {
    symlinkSync(file.link, at);
    return;
  }
  writeFileSync(at, typeof file === "string" ? file : file.text);
  chmodSync(at, typeof file === "object" && file.executable ? 0o755 : 0o644);
}

function writeCase(name: string, c: LintCase, files: LintCase["bad"]): void {
  const modes = Object.entries(files).flatMap(([path, file]) =>
    typeof file === "object" && "mode" in file && file.mode ? [`${path} = mode ${file.mode}`] : [],
  );
  const ini = ["[layer]", "description = x", ...(c.packages ? [`packages = ${c.packages}`] : [])];
  if (c.facts) ini.push("[facts]", ...c.facts);
  if (modes.length > 0) ini.push("[attributes]", ...modes);
  write(`layers/${name}/layer.ini`, `${ini.join("\n")}\n`);
  write(`machines/${name}/machine.ini`, `[machine]\nhost = ${name}\nlayers = ${name}\n`);
  for (const [path, file] of Object.entries(files)) write(`layers/${name}/${path}`, file);
}

interface Report {
  readonly status: number | null;
  readonly findings: readonly Finding[];
  readonly skipped: readonly { readonly check: string; readonly reason: string }[];
}

const LABCTL = ["--import", import.meta.resolve("tsx"), join(import.meta.dirname, "../../bin/labctl.ts")];

function verify(...args: string[]): Report {
  const run = spawnSync(process.execPath, [...LABCTL, "verify", "--json", ...args], {
    encoding: "utf8",
  });
  assert.ok(run.stdout.startsWith("{"), run.stderr);
  return { status: run.status, ...(JSON.parse(run.stdout) as Omit<Report, "status">) };
}

write("lab.ini", "[lab]\nname = lint\n");
CASES.forEach((c, i) => {
  writeCase(`bad${i}`, c, c.bad);
  writeCase(`good${i}`, c, c.good);
});
const report = verify("-C", root);
const of = (machine: string): string[] =>
  report.findings
    .filter((f) => f.machines.includes(machine))
    .map((f) => `${f.code} ${f.place?.file}${f.place?.line === undefined ? "" : `:${f.place.line}`}`);

test("every program that the cases need is installed, so that nothing was skipped", () => {
  assert.deepEqual(report.skipped, []);
  assert.equal(report.status, 1);
});

test("there are at least 60 broken files", () => assert.ok(CASES.length >= 60, String(CASES.length)));

CASES.forEach((c, i) => {
  test(`found: ${c.name}`, () => {
    const [code, file, line] = c.expect;
    assert.deepEqual(of(`bad${i}`), [
      `${code} layers/bad${i}/${file}${line === undefined ? "" : `:${line}`}`,
    ]);
    const found = report.findings.find((f) => f.machines.includes(`bad${i}`));
    assert.equal(found?.layer, `bad${i}`);
    assert.ok(found?.help, "a finding says what to do next");
    if (c.help !== undefined) assert.ok(found.help.includes(c.help), found.help);
  });
  test(`not found in the good twin: ${c.name}`, () => assert.deepEqual(of(`good${i}`), []));
});

test("a finding is printed as `severity[code] place: message` with its help, and the exit status says so", () => {
  const bad = spawnSync(process.execPath, [...LABCTL, "verify", "-C", root, "-q", "bad0"], {
    encoding: "utf8",
  });
  assert.equal(bad.stdout, "");
  assert.equal(
    bad.stderr,
    `error[unit-unknown-key] layers/bad0/${SYSTEM}/probe.service:5: unknown key \`Restrt\` in [Service]; systemd ignores the line\n` +
      "  help: did you mean `Restart`?\n",
  );
  assert.equal(bad.status, 1);
  const good = spawnSync(process.execPath, [...LABCTL, "verify", "-C", root, "-q", "good0"], {
    encoding: "utf8",
  });
  assert.deepEqual([good.status, good.stdout, good.stderr], [0, "", ""]);
});

test("the machines of this repository have no findings", () => {
  const own = verify("-C", join(import.meta.dirname, "../.."));
  assert.deepEqual(own.findings, []);
  assert.deepEqual(own.skipped, []);
  assert.equal(own.status, 0);
});
