/**
 * A small repository and random edits of it, of every kind that people and tools make: sources, facts, layers, outputs,
 * branches. Each edit may break the repository; the test that uses it undoes it then.
 */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { SeededRandom } from "../seeded-random.ts";
import { type Files, photograph } from "../temporary-repository.ts";

/** A guest of m1, whose tree is made of other layers than m1's. */
const GUEST = "[guest g]\nimage = i\nlayers = c, b\n";

export const START: Files = {
  "lab.ini": "[lab]\nname = fuzz\n",
  "machines/m1/machine.ini": `[machine]\nlayers = a, b\n${GUEST}`,
  "machines/m1/etc/images/i.ini": "[image]\n",
  "machines/m1/lib/systemd/system/container@.service": "[Service]\n",
  "machines/m1/_guests/g/own/file.hbs": "the guest's own {{A}}\n",
  "facts/m1/g.env": "A=of-the-guest\n",
  "machines/m2/machine.ini": "[machine]\nlayers = b, c\ntags = t1, t2\n",
  "machines/m2/own/file": "m2's own\n",
  "machines/m2/lib/deep/plain": "the machine's file wins\n",
  "machines/m3/machine.ini": "[machine]\nlayers = a, c\n",
  "layers/a/layer.ini": "[layer]\nneeds = d\n[attributes]\nlib/secret = mode 0600, group adm\n",
  "layers/a/lib/plain": "plain a\n",
  "layers/a/lib/secret": "secret\n",
  "layers/a/lib/script": { text: "#!/bin/sh\n", mode: 0o755 },
  "layers/a/etc/a.conf.hbs": "A={{A}} B={{B}}\n",
  "layers/a/etc/list.hbs": "{{#each LIST}}{{@index}}:{{this}} {{/each}}\n",
  "layers/b/lib/deep/plain": "same content\n",
  "layers/b/lib/deep/twin": "same content\n",
  "layers/b/etc/b.conf.hbs": '{{> shape value=A}}{{#if (isSet C)}}C={{C}}{{/if}}{{default D "none"}}\n',
  "layers/b/_partials/shape.hbs": "<{{value}} {{machine.name}} {{> inner}}>\n",
  "layers/b/_partials/inner.hbs": "{{net.bridge}}",
  "layers/b/_partials/linked.hbs": { link: "../../../shared/linked.txt" },
  "layers/b/etc/linked.hbs": '{{> linked}}{{file "shared/pointer"}}',
  "layers/b/empty": { folder: true },
  "layers/c/layer.ini": "[overrides]\netc/over = d\n",
  "layers/c/etc/over": "c wins over d\n",
  "layers/c/etc/tags.hbs": '{{join machine.tags ","}} {{json net}}\n',
  "layers/c/link": { link: "etc/over" },
  "layers/c/etc/!copied": { link: "../../../shared/current/thing" },
  "layers/c/!folder": { link: "../../shared/folder" },
  "layers/c/etc/!both.hbs": { link: "../../../shared/both.txt" },
  "layers/d/etc/over": "d\n",
  "shared/current": { link: "v1" },
  "shared/v1/thing": "thing 1\n",
  "shared/v2/thing": "thing 2\n",
  "shared/folder/x": "x\n",
  "shared/folder/sub/y.hbs": "y {{A}}\n",
  "shared/both.txt": "both {{B}}\n",
  "shared/linked.txt": "linked {{B}}\n",
  "shared/pointer": { link: "v1/thing" },
  "facts/all.env": "B=bee\nLIST=1\n",
  "facts/all.json": '{"net": {"bridge": "br0", "mtu": 1500}}\n',
  "facts/m1.env": "LIST=one\n",
};

/** The layers that ship with labctl, for this test. */
export const BUILT_IN: Files = {
  "base/layer.ini": "[layer]\n[facts]\nA = from-base\n",
  "base/etc/base.conf.hbs": "{{machine.name}} {{> word}}\n",
  "base/etc/base.plain": "plain\n",
  "base/_partials/word.hbs": "one",
};

/** Programs that are bundled, for some of the sequences. */
export const PROGRAMS: Files = {
  "layers/d/libexec/tool.ts": 'import { word } from "./word.ts";\nconsole.log(word);\n',
  "layers/d/libexec/word.ts": 'export const word = "one";\n',
};

/** Makes one edit; returns what it was, for messages. `outside` is a folder that must never change. */
export function randomEdit(root: string, outside: string, random: SeededRandom): string {
  const edit = random.pick(EDITS);
  try {
    return `${edit.name}: ${edit.run(root, random, outside)}`;
  } catch (error) {
    // Earlier edits may have taken away what this one wants to edit; half an edit is an edit, too.
    return `${edit.name}: ${(error as Error).message}`;
  }
}

/** Where the built-in layers of a repository of this test are. */
export function builtInOf(root: string): string {
  return join(root, "../built-in");
}

interface Edit {
  readonly name: string;
  run(root: string, random: SeededRandom, outside: string): string;
}

const SOURCE_ROOTS = ["layers", "machines", "shared", "facts"];

function sources(root: string, wanted: (path: string) => boolean = () => true): string[] {
  return SOURCE_ROOTS.flatMap((top) =>
    [...photograph(join(root, top))]
      .filter(([, what]) => what.startsWith("file"))
      .map(([p]) => `${top}/${p}`),
  ).filter(wanted);
}

function folders(root: string): string[] {
  return ["a", "b", "c", "d"].flatMap((layer) => {
    const top = `layers/${layer}`;
    if (!existsSync(join(root, top))) return [];
    const below = [...photograph(join(root, top))].filter(([, what]) => what.startsWith("dir"));
    return [top, ...below.map(([p]) => `${top}/${p}`)];
  });
}

function outputs(root: string, kind: string): string[] {
  const trees = join(root, "var/tree");
  if (!existsSync(trees)) return [];
  return [...photograph(trees)]
    .filter(([path, what]) => what.startsWith(kind) && path.includes("/usr/local/"))
    .map(([path]) => path);
}

const plain = (path: string): boolean => !/\.(hbs|ts|ini|env|json)$/.test(path);
const WORDS = ["alpha", "beta", "gamma", "same content"];
const SNIPPETS = [
  "{{A}}",
  "{{B}}",
  "{{default C 1}}",
  "{{#if net.bridge}}yes{{/if}}",
  "{{> b/inner}}",
  "{{join machine.layers}}",
];
const NAMES = [
  "new",
  "README.md",
  "with blank",
  "-dash",
  "ünï",
  "back\\x2dslash",
  "__proto__",
  "constructor",
  "zz.conf",
];

/** Replaces as an editor does, by rename, or writes in place. */
function rewrite(file: string, text: string, random: SeededRandom): void {
  if (random.chance(0.5)) writeFileSync(file, text);
  else {
    const mode = lstatSync(file).mode & 0o777;
    writeFileSync(`${file}~`, text, { mode });
    chmodSync(`${file}~`, mode);
    renameSync(`${file}~`, file);
  }
}

function git(root: string, ...args: string[]): void {
  execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", ...args], {
    cwd: root,
    stdio: "ignore",
  });
}

const EDITS: readonly Edit[] = [
  {
    name: "edit",
    run: (root, random) => {
      const path = random.pick(sources(root, plain));
      rewrite(join(root, path), `${random.pick(WORDS)}\n`, random);
      return path;
    },
  },
  {
    name: "edit a template",
    run: (root, random) => {
      const path = random.pick(sources(root, (p) => p.endsWith(".hbs")));
      rewrite(join(root, path), `${random.pick(WORDS)} ${random.pick(SNIPPETS)}\n`, random);
      return path;
    },
  },
  {
    name: "edit a built-in layer",
    run: (root, random) => {
      const path = random.pick(["etc/base.conf.hbs", "etc/base.plain", "_partials/word.hbs"]);
      const text = path === "etc/base.conf.hbs" ? `{{> word}} ${random.below(9)}\n` : `${random.below(9)}\n`;
      rewrite(join(builtInOf(root), "base", path), text, random);
      return path;
    },
  },
  {
    name: "edit what is read by another name",
    run: (root, random) => {
      const path = random.pick([
        "shared/linked.txt",
        "shared/v1/thing",
        "shared/both.txt",
        "shared/folder/x",
      ]);
      rewrite(join(root, path), `${random.below(9)}\n`, random);
      return path;
    },
  },
  {
    name: "edit a program's import",
    run: (root, random) => {
      const path = "layers/d/libexec/word.ts";
      const line = `export const word = "${random.pick(WORDS)}";${random.chance(0.3) ? " // remark" : ""}\n`;
      writeFileSync(join(root, path), line);
      return path;
    },
  },
  {
    name: "add",
    run: (root, random) => {
      const path = `${random.pick(folders(root))}/${random.pick(NAMES)}${random.pick(["", "", ".hbs"])}`;
      if (existsSync(join(root, path))) return "nothing";
      writeFileSync(join(root, path), path.endsWith(".hbs") ? random.pick(SNIPPETS) : random.pick(WORDS));
      return path;
    },
  },
  {
    name: "add a folder",
    run: (root, random) => {
      const path = `${random.pick(folders(root))}/${random.pick(NAMES)}.d`;
      mkdirSync(join(root, path), { recursive: true });
      return path;
    },
  },
  {
    name: "delete",
    run: (root, random) => {
      const path = random.pick(sources(root));
      rmSync(join(root, path));
      return path;
    },
  },
  {
    name: "delete a folder",
    run: (root, random) => {
      const path = random.pick(folders(root));
      rmSync(join(root, path), { recursive: true });
      return path;
    },
  },
  {
    name: "rename",
    run: (root, random) => {
      const path = random.pick(sources(root, (p) => p.startsWith("layers/")));
      const to = join(dirname(path), `${random.pick(NAMES)}${path.endsWith(".hbs") ? ".hbs" : ""}`);
      renameSync(join(root, path), join(root, to));
      return `${path} to ${to}`;
    },
  },
  {
    name: "template to plain file and back",
    run: (root, random) => {
      const path = random.pick(sources(root, (p) => p.startsWith("layers/") && !p.includes("_partials")));
      const to = path.endsWith(".hbs") ? path.slice(0, -4) : `${path}.hbs`;
      renameSync(join(root, path), join(root, to));
      return `${path} to ${to}`;
    },
  },
  {
    name: "move between layers",
    run: (root, random) => {
      const path = random.pick(sources(root, (p) => p.startsWith("layers/") && plain(p)));
      const to = path.replace(/^layers\/./, `layers/${random.pick(["a", "b", "c", "d"])}`);
      mkdirSync(dirname(join(root, to)), { recursive: true });
      renameSync(join(root, path), join(root, to));
      return `${path} to ${to}`;
    },
  },
  {
    name: "chmod",
    run: (root, random) => {
      const path = random.pick(sources(root));
      chmodSync(join(root, path), random.pick([0o644, 0o755, 0o600, 0o700]));
      return path;
    },
  },
  {
    name: "retarget a link",
    run: (root, random) => {
      const [path = "", targets = []] = random.pick([
        ["shared/current", ["v1", "v2"]],
        ["shared/pointer", ["v1/thing", "v2/thing"]],
        ["layers/c/link", ["etc/over", "/etc/hostname", "etc"]],
        ["layers/c/!folder", ["../../shared/folder", "../../shared/v1"]],
      ] as const);
      rmSync(join(root, path), { force: true });
      mkdirSync(dirname(join(root, path)), { recursive: true });
      symlinkSync(random.pick(targets), join(root, path));
      return path;
    },
  },
  {
    name: "change a fact",
    run: (root, random) => {
      const stem = random.pick(["all", "m1", "m2", "m3"]);
      const lines = ["A", "B", "C", "D", "LIST"]
        .filter((name) => (stem === "all" && ["B", "LIST"].includes(name)) || random.chance(0.3))
        .map((name) => `${name}=${random.pick(["1", "two", "bee"])}\n`);
      writeFileSync(join(root, `facts/${stem}.env`), lines.join(""));
      return stem;
    },
  },
  {
    name: "change a guest's facts",
    run: (root, random) => {
      const lines = ["A", "C", "D"]
        .filter(() => random.chance(0.4))
        .map((name) => `${name}=${random.pick(["1", "two"])}\n`);
      mkdirSync(join(root, "facts/m1"), { recursive: true });
      writeFileSync(join(root, "facts/m1/g.env"), lines.join(""));
      return lines.join(" ");
    },
  },
  {
    name: "change a guest",
    run: (root, random) => {
      const file = join(root, "machines/m1/machine.ini");
      const text = readFileSync(file, "utf8").replace(/\[guest [\s\S]*/, "");
      const isThere = random.chance(0.8);
      const layers = ["b", "c", "d"].filter(() => random.chance(0.6)).join(", ");
      const more = ["autostart = yes", "memory = 64M", "stop = 5"].filter(() => random.chance(0.4));
      const own = join(root, "machines/m1/_guests");
      if (isThere && random.chance(0.7)) {
        mkdirSync(join(own, "g/etc"), { recursive: true });
        writeFileSync(join(own, `g/etc/${random.pick(["x", "y.hbs"])}`), random.pick(SNIPPETS));
      } else rmSync(own, { recursive: true, force: true });
      const section = `[guest g]\nimage = i\nlayers = ${layers}\n${more.join("\n")}\n`;
      writeFileSync(file, isThere ? text + section : text);
      return isThere ? section : "gone";
    },
  },
  {
    name: "change a JSON fact",
    run: (root, random) => {
      const net = random.pick([
        { bridge: "br0", mtu: 1500 },
        { mtu: 1500, bridge: "br0" },
        { bridge: "br1", mtu: 1500 },
        { bridge: "br0", mtu: 9000, more: [1] },
      ]);
      writeFileSync(join(root, "facts/all.json"), JSON.stringify({ net }));
      return JSON.stringify(net);
    },
  },
  {
    name: "change a machine's layers",
    run: (root, random) => {
      const machine = random.pick(["m1", "m2", "m3"]);
      const layers = ["a", "b", "c", "d"].filter(() => random.chance(0.6));
      if (random.chance(0.5)) layers.reverse();
      const tags = random.pick(["t1", "t1, t2", ""]);
      const file = join(root, `machines/${machine}/machine.ini`);
      const guest = machine === "m1" ? GUEST : "";
      writeFileSync(file, `[machine]\nlayers = ${layers.join(", ")}\ntags = ${tags}\n${guest}`);
      return `${machine}: ${layers.join(" ")}`;
    },
  },
  {
    name: "change attributes",
    run: (root, random) => {
      const rule = random.pick(["", "lib/secret = mode 0600", "lib/* = mode 0700", "etc/** = owner daemon"]);
      writeFileSync(join(root, "layers/a/layer.ini"), `[layer]\n[attributes]\n${rule}\n`);
      return rule;
    },
  },
  {
    name: "drop or add a machine",
    run: (root) => {
      const folder = join(root, "machines/m4");
      if (existsSync(folder)) rmSync(folder, { recursive: true });
      else {
        mkdirSync(folder);
        writeFileSync(join(folder, "machine.ini"), "[machine]\nlayers = d\n");
      }
      return "m4";
    },
  },
  {
    name: "touch",
    run: (root, random) => {
      const path = random.pick([...sources(root), ...outputs(root, "file").map((p) => `var/tree/${p}`)]);
      const seconds = Date.now() / 1000 - random.below(5);
      utimesSync(join(root, path), seconds, seconds);
      return path;
    },
  },
  {
    name: "edit an output",
    run: (root, random) => {
      const path = random.pick(outputs(root, "file"));
      const file = join(root, "var/tree", path);
      if (random.chance(0.5)) appendFileSync(file, "!");
      else {
        const text = readFileSync(file, "latin1");
        writeFileSync(
          file,
          text.replace(/./s, (c) => (c === "#" ? "+" : "#")),
          "latin1",
        );
      }
      return path;
    },
  },
  {
    name: "chmod an output",
    run: (root, random) => {
      const path = random.pick([...outputs(root, "file"), ...outputs(root, "dir")]);
      chmodSync(join(root, "var/tree", path), 0o711);
      return path;
    },
  },
  {
    name: "delete an output",
    run: (root, random) => {
      const path = random.pick([...outputs(root, "file"), ...outputs(root, "dir"), ...outputs(root, "link")]);
      rmSync(join(root, "var/tree", path), { recursive: true });
      return path;
    },
  },
  {
    name: "plant a stranger",
    run: (root, random, outside) => {
      const machine = random.pick(readdirSync(join(root, "var/tree")).filter((n) => !n.startsWith(".")));
      const places = outputs(root, "dir").filter((p) => p.startsWith(`${machine}/`));
      const folder = random.pick([`${machine}/usr/local`, ...places]);
      const file = join(root, "var/tree", folder, `stranger${random.below(3)}`);
      if (existsSync(file)) return "nothing";
      const kind = random.pick(["file", "folder", "link"]);
      if (kind === "file") writeFileSync(file, "stranger");
      else if (kind === "link") symlinkSync(outside, file);
      else {
        mkdirSync(join(file, "deeper"), { recursive: true });
        writeFileSync(join(file, "deeper/file"), "stranger");
      }
      return `${folder} (${kind})`;
    },
  },
  {
    name: "replace an output by something else",
    run: (root, random, outside) => {
      const path = random.pick([...outputs(root, "dir"), ...outputs(root, "dir"), ...outputs(root, "file")]);
      const file = join(root, "var/tree", path);
      rmSync(file, { recursive: true });
      const kind = random.pick(["link", "file", "folder"]);
      if (kind === "link") symlinkSync(outside, file);
      else if (kind === "file") writeFileSync(file, "in the way");
      else mkdirSync(join(file, "in/the/way"), { recursive: true });
      return `${path} by a ${kind}`;
    },
  },
  {
    name: "move a tree away and link it",
    run: (root, random) => {
      const machine = random.pick(["m1", "m2"]);
      const folder = join(root, "var/tree", machine, random.pick(["usr", "usr/local"]));
      if (!existsSync(folder) || lstatSync(folder).isSymbolicLink()) return "nothing";
      const aside = join(root, "moved");
      rmSync(aside, { recursive: true, force: true });
      renameSync(folder, aside);
      symlinkSync(aside, folder);
      return folder;
    },
  },
  {
    name: "damage a manifest",
    run: (root, random) => {
      const file = join(root, "var/tree", random.pick(["m1", "m2", "m3"]), "manifest.json");
      const kind = random.pick(["delete", "edit", "folder"]);
      rmSync(file, { force: true, recursive: true });
      if (kind === "edit") writeFileSync(file, "{}");
      if (kind === "folder") mkdirSync(file);
      return kind;
    },
  },
  {
    name: "lose or break the state",
    run: (root, random) => {
      const file = join(root, "var/cache", random.pick(readdirSync(join(root, "var/cache"))));
      const text = readFileSync(file, "latin1");
      const kind = random.pick(["delete", "cut", "flip"]);
      if (kind === "delete") rmSync(file);
      else if (kind === "cut") writeFileSync(file, text.slice(0, random.below(text.length)), "latin1");
      else {
        const at = random.below(text.length);
        const other = String.fromCharCode(text.charCodeAt(at) ^ 1);
        writeFileSync(file, text.slice(0, at) + other + text.slice(at + 1), "latin1");
      }
      return kind;
    },
  },
  {
    name: "switch branch",
    run: (root, random) => {
      if (!existsSync(join(root, ".git"))) {
        git(root, "init", "-q", "-b", "one");
        writeFileSync(join(root, ".git/info/exclude"), "var/\nmoved\n");
      }
      git(root, "add", "-A");
      git(root, "commit", "-q", "--allow-empty", "-m", "all");
      const target = random.pick(["one", "two"]);
      try {
        git(root, "checkout", "-q", target);
      } catch {
        git(root, "checkout", "-q", "-b", target);
      }
      return target;
    },
  },
];
