/** The files of a new repository: one machine, one layer of its own on top of `web`, one fact. Pure; writes nothing. */

export interface ScaffoldNames {
  /** By which machines tell the repository from others. */
  readonly repository: string;
  readonly machine: string;
  /** Where ssh finds the machine. */
  readonly host: string;
}

/** Path below the new repository, and text. `lab.ini`, which makes a folder a repository, comes last. */
export function scaffoldFiles({
  repository,
  machine,
  host,
}: ScaffoldNames): readonly (readonly [string, string])[] {
  return [
    [
      `machines/${machine}/machine.ini`,
      `; One machine: where it is, and the layers that it is made of. Files beside this one win over those of layers.
[machine]
host = ${host}
layers = notes

[ssh]
user = root
`,
    ],
    [
      "layers/notes/layer.ini",
      `; A layer is a folder rooted at /usr/local; this file and README.md stay here.
[layer]
description = a page of notes, served by the layer web
needs = web

[facts]
NOTES_TITLE = Notes
`,
    ],
    [
      "layers/notes/README.md",
      `# notes

A page at \`/notes/\` of the machine's web server.

| fact | default | meaning |
|---|---|---|
| \`NOTES_TITLE\` | \`Notes\` | the page's title |
`,
    ],
    [
      "layers/notes/opt/nginx/www/notes/index.html.hbs",
      `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{NOTES_TITLE}}</title>
<h1>{{NOTES_TITLE}}</h1>
<p>Served by {{machine.name}}.</p>
</html>
`,
    ],
    [
      "facts/all.env",
      `# Values for templates of every machine; facts/MACHINE.env has those of one, and wins.
NOTES_TITLE="What ${machine} knows"
`,
    ],
    [
      "lab.ini",
      `; The root of this repository. A machine keeps its name, and refuses another repository's push.
[lab]
name = ${repository}
`,
    ],
  ];
}
