/** The helpers that reach beyond their arguments: `file`, the `cidr` family, and a machine's instances. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { scenario } from "../scenario.ts";

const repository = (template: string) => ({
  "machines/m/machine.ini": "[machine]\nlayers = one\ninstances = scrub@data.service, scrub@media.service\n",
  "layers/base/layer.ini": "[layer]\n",
  "layers/one/layer.ini": "[layer]\n[facts]\nNET = 10.1.0.0/16\nNAME = motd\n",
  "layers/one/lib/systemd/system/scrub@.service": "[Service]\nExecStart=/bin/true\n",
  "layers/one/etc/out.hbs": template,
  "shared/motd.txt": "be kind\n",
  "shared/other.txt": "other\n",
});

function render(template: string): string {
  const s = scenario(repository(template));
  try {
    const built = s.run(["build"]);
    return built.code === 0
      ? readFileSync(join(s.root, "var/tree/m/usr/local/etc/out"), "utf8")
      : built.stderr;
  } finally {
    s.end();
  }
}

for (const [template, text] of [
  ['{{file "shared/motd.txt"}}', "be kind\n"],
  ['{{indent (file (concat "shared/" NAME ".txt")) 2}}', "  be kind\n"],
  ["{{cidr-host NET 1}} {{cidr-host NET -1}}", "10.1.0.1 10.1.255.255"],
  ['{{cidr-subnet NET 24 7}} {{cidr-network "10.1.2.3/24"}}', "10.1.7.0/24 10.1.2.0/24"],
  ['{{cidr-netmask NET}} {{cidr-length NET}} {{cidr-address "10.1.2.3/24"}}', "255.255.0.0 16 10.1.2.3"],
  [
    '{{#if (cidr-contains NET "10.1.9.9")}}in{{/if}}{{#if (cidr-contains NET "10.2.0.0/24")}}out{{/if}}',
    "in",
  ],
  ["{{#each machine.instances}}{{this}};{{/each}}", "scrub@data.service;scrub@media.service;"],
] as const) {
  test(`${template} gives ${JSON.stringify(text)}`, () => assert.equal(render(template), text));
}

for (const [template, message] of [
  ['{{file "shared/none.txt"}}', "there is no file `shared/none.txt` in the repository"],
  ['{{file "../outside"}}', "there is no file `../outside` in the repository"],
  ['{{file "/etc/passwd"}}', "there is no file `/etc/passwd` in the repository"],
  [
    '{{file "var/cache/build-state.json"}}',
    "there is no file `var/cache/build-state.json` in the repository",
  ],
  [
    '{{systemd-escape-path "/srv/../etc"}}',
    "`systemd-escape-path` takes no path with `..` in it: `/srv/../etc`",
  ],
  ["{{cidr-host NET 70000}}", "10.1.0.0/16 has no address number 70000"],
  ['{{cidr-network "010.0.0.0/8"}}', "`cidr-network` wants a prefix such as 10.0.0.0/24, not `010.0.0.0/8`"],
] as const) {
  test(`${template} is refused: ${message}`, () => {
    assert.match(
      render(template),
      new RegExp(
        `^error\\[template-failed\\] layers/one/etc/out\\.hbs:1:1: ${message.replace(/[.*+?^$()[\]]/g, "\\$&")}, for machine \`m\``,
      ),
    );
  });
}

test("a file that a template includes is an input: an edit of it renders again, an edit of another does not", () => {
  const s = scenario(repository('{{file "shared/motd.txt"}}'));
  try {
    assert.equal(s.run(["build"]).code, 0);
    s.write({ "shared/other.txt": "changed\n" });
    assert.match(s.run(["build", "--explain"]).stderr, /m: nothing to do/);
    s.write({ "shared/motd.txt": "be kinder\n" });
    assert.match(
      s.run(["build", "--explain"]).stderr,
      /m: render etc\/out: part changed: file:shared\/motd\.txt/,
    );
    assert.equal(readFileSync(join(s.root, "var/tree/m/usr/local/etc/out"), "utf8"), "be kinder\n");
  } finally {
    s.end();
  }
});
