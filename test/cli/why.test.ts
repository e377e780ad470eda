/** `labctl why` in whole texts: for a template, an override, a unit's drop-in, and paths that are not there. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";
import { scenario } from "../scenario.ts";
import type { Files } from "../temporary-repository.ts";

const REPOSITORY: Files = {
  "machines/gw/machine.ini": "[machine]\nhost = gw.lan\nlayers = web, site\n",
  "facts/all.env": "\nPORT=8080\n",
  "facts/gw.json": '{"net": {"name": "lan"}}\n',
  "layers/web/layer.ini": "[layer]\n[facts]\nPORT = 80\nTITLE = hello\n",
  "layers/web/etc/page.hbs": "{{TITLE}}\n{{machine.name}}\n{{net.name}} {{PORT}} {{PORT}}\n",
  "layers/web/etc/style.css": "plain\n",
  "layers/web/lib/systemd/system/web.service":
    "[Service]\nExecStart=/usr/bin/web\nBindReadOnlyPaths=/usr/local/etc/style.css:/etc/web.css\n",
  "layers/site/layer.ini": "[layer]\nneeds = web\n[overrides]\netc/style.css = web\n",
  "layers/site/etc/style.css": "pretty\n",
  "layers/unused/layer.ini": "[layer]\n",
  "layers/unused/etc/rare.conf.hbs": "x\n",
};

test("a template: layer, source, commit, each fact with its line, value and origin", () => {
  const s = scenario(REPOSITORY);
  try {
    const git = (...args: string[]) =>
      execFileSync("git", ["-c", "user.name=Ann", "-c", "user.email=a@b.c", ...args], {
        cwd: s.root,
        env: {
          ...process.env,
          GIT_AUTHOR_DATE: "2026-01-02T03:04:05Z",
          GIT_COMMITTER_DATE: "2026-01-02T03:04:05Z",
        },
      });
    git("init", "-q");
    git("add", "-A");
    git("commit", "-q", "-m", "The first page");
    const said = s.run(["why", "gw", "/usr/local/etc/page"]);
    assert.equal(said.code, 0, said.stderr);
    assert.equal(
      said.stdout
        .replace(/BLAKE3 [0-9a-f]{16}/, "BLAKE3 <hash>")
        .replace(/commit {4}[0-9a-f]{7,}/, "commit    <id>"),
      [
        "gw: /usr/local/etc/page",
        "  layer     web",
        "  source    layers/web/etc/page.hbs (template)",
        "  is        a file, 23 bytes, 0644 root:root, BLAKE3 <hash>…",
        "  commit    <id> 2026-01-02 Ann: The first page",
        '  reads     PORT = "8080" (facts/all.env:2), line 3',
        '  reads     TITLE = "hello" (layers/web/layer.ini:4), line 1',
        '  reads     machine.name = "gw" (machines/gw/machine.ini), line 2',
        '  reads     net.name = "lan" (facts/gw.json:1), line 3',
        "  a change  would touch no unit",
      ].join("\n"),
    );
  } finally {
    s.end();
  }
});

test("an override says what it replaces, and what its unit would do", () => {
  const s = scenario(REPOSITORY);
  try {
    const said = s.run(["why", "gw", "etc/style.css"]);
    assert.match(said.stdout, /\n {2}overrides layers\/web\/etc\/style\.css\n/);
    assert.match(
      said.stdout,
      /\n {2}a change {2}would restart web\.service: binds etc\/style\.css, which was replaced/,
    );
    assert.match(said.stdout, /\n {2}commit {4}not committed/);
  } finally {
    s.end();
  }
});

test("a path that is not there: which layer could have made it, or what was meant", () => {
  const s = scenario(REPOSITORY);
  try {
    assert.deepEqual(s.run(["why", "gw", "etc/rare.conf"]), {
      code: 1,
      stdout: "",
      stderr:
        "gw: nothing builds /usr/local/etc/rare.conf\n" +
        "  layer unused has it (layers/unused/etc/rare.conf.hbs); gw does not use that layer",
    });
    assert.deepEqual(s.run(["why", "gw", "etc/pagee"]), {
      code: 1,
      stdout: "",
      stderr: "gw: nothing builds /usr/local/etc/pagee\n  no layer has it\n  did you mean etc/page?",
    });
  } finally {
    s.end();
  }
});
