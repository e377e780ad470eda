/**
 * Inputs that reach a tree by a way round: links, shared files, files below other names. After an edit of each, the quick
 * answers must give what a build from nothing gives. Every test's control: the edit does change the tree.
 */
import assert from "node:assert/strict";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "../../src/build/build.ts";
import type { BuildRequest } from "../../src/build/build-result.ts";
import { lookFresh } from "../../src/build/fresh.ts";
import type { AbsPath } from "../../src/paths.ts";
import {
  copySources,
  difference,
  type Files,
  photograph,
  temporaryFolder,
  writeFiles,
} from "../temporary-repository.ts";

/** Longer than every margin within which a time stamp is not trusted. */
const SETTLED_MS = 60;

interface Case {
  readonly files: Files;
  readonly edit: (root: string) => void;
  /** Folder of the built-in layers, relative to the repository. */
  readonly builtIn?: string;
  /** The repository's own folder name. */
  readonly name?: string;
}

async function buildAsCli(request: BuildRequest): Promise<void> {
  const look = lookFresh(request);
  if (look.kind === "fresh") return;
  const built = await build(request, look.kind === "differs" ? look.differences : undefined);
  assert.ok(built.ok, JSON.stringify(built));
}

/** Builds, edits, builds again as the command line does, and compares with a build from nothing. */
async function afterEdit({ files, edit, builtIn, name = "repository" }: Case): Promise<void> {
  const scratch = temporaryFolder("hidden");
  try {
    const root = join(scratch, name) as AbsPath;
    writeFiles(root, { "lab.ini": "[lab]\nname = t\n", ...files });
    const request: BuildRequest = {
      root,
      builtInLayers: join(root, builtIn ?? "none") as AbsPath,
      machines: [],
      facts: new Map(),
      tool: "test",
      fromNothing: false,
    };
    await sleep(SETTLED_MS);
    await buildAsCli(request);
    await sleep(SETTLED_MS);
    // Twice: what was too young to be trusted is settled then, and the look at the edit is the cheap one.
    await buildAsCli(request);
    assert.equal(lookFresh(request).kind, "fresh");
    const before = photograph(join(root, "var/tree"));
    edit(root);
    await sleep(SETTLED_MS);
    await buildAsCli(request);
    const after = photograph(join(root, "var/tree"));
    const copy = join(scratch, "copy", name) as AbsPath;
    copySources(root, copy);
    const fromNothing = await build({
      ...request,
      root: copy,
      builtInLayers: join(copy, builtIn ?? "none") as AbsPath,
    });
    assert.ok(fromNothing.ok, JSON.stringify(fromNothing));
    const expected = photograph(join(copy, "var/tree"));
    assert.notDeepEqual(difference(before, expected), [], "control: the edit changes the tree");
    assert.deepEqual(difference(after, expected), []);
    await buildAsCli(request);
    assert.deepEqual(difference(photograph(join(root, "var/tree")), expected), [], "built again");
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

const put =
  (path: string, text: string) =>
  (root: string): void =>
    writeFileSync(join(root, path), text);

const MACHINE: Files = { "machines/m/machine.ini": "[machine]\nlayers = a\n" };

test("a partial that is a link is read anew when the file behind the link changes", () =>
  afterEdit({
    files: {
      ...MACHINE,
      "layers/a/etc/x.hbs": "{{> p}}",
      "layers/a/_partials/p.hbs": { link: "../../../shared/p.txt" },
      "shared/p.txt": "one",
    },
    edit: put("shared/p.txt", "two"),
  }));

test("a file read by the helper `file` through a link is read anew when the file behind the link changes", () =>
  afterEdit({
    files: {
      ...MACHINE,
      "layers/a/etc/x.hbs": '{{file "shared/link"}}',
      "shared/link": { link: "real" },
      "shared/real": "one",
    },
    edit: put("shared/real", "two"),
  }));

test("a file that one machine copies and another reads through a link is followed for both", () =>
  afterEdit({
    files: {
      ...MACHINE,
      "machines/n/machine.ini": "[machine]\nlayers = b\n",
      "layers/a/etc/x.hbs": '{{file "shared/link"}}',
      "layers/b/etc/!y": { link: "../../../shared/real" },
      "shared/link": { link: "real" },
      "shared/real": "one",
    },
    edit: put("shared/real", "two"),
  }));

test("a file is followed whatever its name holds of the form in which states are kept", () =>
  afterEdit({
    files: {
      "machines/m/machine.ini": "[machine]\nlayers = a\n",
      'layers/a/ends":{': "old\n",
      'layers/a/x":{"y': "old\n",
      "layers/a/back\\": "old\n",
      'layers/a/back\\":{': "old\n",
      'layers/a/},\\"': "old\n",
      "layers/a/constructor": "old\n",
    },
    edit: (root) => {
      for (const name of ['ends":{', 'x":{"y', "back\\", 'back\\":{', '},\\"', "constructor"])
        writeFileSync(join(root, "layers/a", name), "new\n");
    },
  }));

test("a README.md added below a layer's root is shipped", () =>
  afterEdit({
    files: { ...MACHINE, "layers/a/share/doc/x": "x" },
    edit: put("layers/a/share/doc/README.md", "read me"),
  }));

test("a built-in layer inside the repository, as in node_modules, is watched like the repository's own", () =>
  afterEdit({
    files: {
      "machines/m/machine.ini": "[machine]\nlayers = a\n",
      "node_modules/labctl/layers/a/etc/plain": "one",
    },
    builtIn: "node_modules/labctl/layers",
    edit: put("node_modules/labctl/layers/a/etc/plain", "two"),
  }));

test("a partial of a built-in layer inside the repository is watched", () =>
  afterEdit({
    files: {
      "machines/m/machine.ini": "[machine]\nlayers = a\n",
      "node_modules/labctl/layers/a/etc/x.hbs": "{{> p}}",
      "node_modules/labctl/layers/a/_partials/p.hbs": "one",
    },
    builtIn: "node_modules/labctl/layers",
    edit: put("node_modules/labctl/layers/a/_partials/p.hbs", "two"),
  }));

test("a repository whose own folder is called `layers` follows its `!` links", () =>
  afterEdit({
    files: { ...MACHINE, "layers/a/etc/!x": { link: "../../../shared/x" }, "shared/x": "one" },
    name: "layers",
    edit: put("shared/x", "two"),
  }));

test("a program whose import leads through a link is bundled anew when the link leads elsewhere", () =>
  afterEdit({
    files: {
      ...MACHINE,
      "layers/a/libexec/tool.ts": 'import { w } from "../../../shared/current/w.ts";\nconsole.log(w);\n',
      "shared/current": { link: "v1" },
      "shared/v1/w.ts": 'export const w = "one";\n',
      "shared/v2/w.ts": 'export const w = "two";\n',
    },
    edit: (root) => {
      rmSync(join(root, "shared/current"));
      symlinkSync("v2", join(root, "shared/current"));
    },
  }));

test("a template that another layer now takes over by the same `!` link gets that layer's partials", () =>
  afterEdit({
    files: {
      "machines/m/machine.ini": "[machine]\nlayers = a\n",
      "machines/n/machine.ini": "[machine]\nlayers = a, b\n",
      "layers/a/etc/!x.hbs": { link: "../../../shared/x.txt" },
      "layers/b/layer.ini": "[overrides]\netc/x = a\n",
      "layers/b/etc/!x.hbs": { link: "../../../shared/x.txt" },
      "layers/a/_partials/p.hbs": "a's",
      "layers/b/_partials/p.hbs": "b's",
      "shared/x.txt": "{{> p}}",
    },
    edit: put("machines/m/machine.ini", "[machine]\nlayers = b\n"),
  }));

test("facts that are a link to another file are read anew when that file changes", () =>
  afterEdit({
    files: {
      ...MACHINE,
      "layers/a/etc/x.hbs": "{{A}}",
      "facts/m.env": { link: "../shared/m.env" },
      "shared/m.env": "A=1\n",
    },
    edit: put("shared/m.env", "A=2\n"),
  }));

test("a program that imports a file outside the repository is refused; one inside is taken", async () => {
  const scratch = temporaryFolder("outside");
  try {
    const root = join(scratch, "repository") as AbsPath;
    const program = (from: string): Files => ({
      "layers/a/libexec/tool.ts": `import { w } from "${from}";\nconsole.log(w);\n`,
    });
    const word = 'export const w = "one";\n';
    writeFiles(scratch, { "word.ts": word });
    writeFiles(root, {
      ...MACHINE,
      ...program("../../../../word.ts"),
      "lab.ini": "[lab]\n",
      "shared/word.ts": word,
    });
    const request: BuildRequest = {
      root,
      builtInLayers: join(scratch, "none") as AbsPath,
      machines: [],
      facts: new Map(),
      tool: "test",
      fromNothing: false,
    };
    const refused = await build(request);
    assert.ok(!refused.ok);
    assert.equal(refused.problems[0]?.code, "program-broken");
    assert.deepEqual(refused.problems[0]?.notes, [join(scratch, "word.ts")]);
    writeFiles(root, program("../../../shared/word.ts"));
    assert.ok((await build(request)).ok);
  } finally {
    rmSync(scratch, { recursive: true });
  }
});
