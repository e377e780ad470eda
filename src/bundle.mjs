/**
 * Bundles the CLI into `dist/`: a small entry and one chunk a command, each loaded only when it runs. `npm ci` runs it
 * (package.json, `prepare`), so that `npx labctl` works in a clone without a build step. Plain JavaScript: it runs
 * before anything can compile TypeScript.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** The remote program's parts, by name: the bundle must not look for files beside it. */
const remoteFolder = join(root, "src/push/remote");
const remoteParts = Object.fromEntries(
  readdirSync(remoteFolder)
    .filter((name) => name.endsWith(".sh"))
    .map((name) => [name.slice(0, -3), readFileSync(join(remoteFolder, name), "utf8")]),
);

/**
 * The layers' symbolic links, since npm leaves them out of a package (src/cli/built-in-layers.ts puts them back), and a
 * hash of all that is in the layers.
 */
function describeLayers() {
  const layers = join(root, "layers");
  const links = {};
  const hash = createHash("sha256");
  for (const path of readdirSync(layers, { recursive: true }).sort()) {
    const stat = lstatSync(join(layers, path));
    if (stat.isSymbolicLink()) links[path] = readlinkSync(join(layers, path));
    if (stat.isFile())
      hash.update(`${path}\0${stat.mode & 0o100}\0`).update(readFileSync(join(layers, path)));
  }
  hash.update(JSON.stringify(links));
  return { links, id: hash.digest("hex").slice(0, 12) };
}

/** A module that is imported dynamically becomes a chunk of its own; chunks are found by importing, starting here. */
const entries = new Map([[join(root, "bin/labctl.ts"), "labctl.cjs"]]);
const outputs = [];

const splitAtDynamicImports = {
  name: "split-at-dynamic-imports",
  setup(b) {
    b.onResolve({ filter: /^\.{1,2}\// }, (args) => {
      if (args.kind !== "dynamic-import") return undefined;
      const file = resolve(args.resolveDir, args.path);
      const name = `${relative(join(root, "src"), file).replaceAll("/", "-").replace(/\.ts$/, "")}.cjs`;
      if (!entries.has(file)) {
        entries.set(file, name);
        queue.push(file);
      }
      return { path: `./${name}`, external: true };
    });
  },
};

const queue = [...entries.keys()];
for (let file = queue.shift(); file; file = queue.shift()) {
  const result = await build({
    entryPoints: [file],
    bundle: true,
    write: false,
    platform: "node",
    format: "cjs",
    target: "node20",
    // ES modules where a package has them: what is not used of them is left out (hash-wasm has two dozen hashes).
    mainFields: ["module", "main"],
    minify: true,
    charset: "utf8",
    legalComments: "none",
    // import() of a chunk costs 5 ms more than require() of it.
    supported: { "dynamic-import": false },
    // esbuild brings a native program; ssh2's native parts are optional.
    external: ["esbuild", "cpu-features", "*.node"],
    define: {
      LABCTL_VERSION: JSON.stringify(version),
      LABCTL_BUILD: "__LABCTL_BUILD__",
      LABCTL_LAYERS: JSON.stringify(describeLayers()),
      LABCTL_REMOTE_PARTS: JSON.stringify(remoteParts),
      "import.meta.dirname": "undefined",
      "import.meta.url": "undefined",
    },
    plugins: [splitAtDynamicImports],
    logLevel: "warning",
  });
  outputs.push({ name: entries.get(file), text: result.outputFiles[0].text });
}

// Another build of labctl must not trust this one's state files.
const stamp = createHash("sha256");
for (const { text } of outputs) stamp.update(text);
const id = `${version}+${stamp.digest("hex").slice(0, 12)}`;

// Whole or not there at all: whoever interrupts this, or starts labctl meanwhile, never meets half a program.
const draft = `${dist}.${process.pid}`;
rmSync(draft, { recursive: true, force: true });
mkdirSync(draft);
for (const { name, text } of outputs) {
  // NODE_EXTRA_CA_CERTS costs every start of Node 20 some 50 ms, and labctl makes no TLS connection.
  const head = name === "labctl.cjs" ? "#!/usr/bin/env -S -u NODE_EXTRA_CA_CERTS node\n" : "";
  writeFileSync(
    join(draft, name),
    head + text.replace(/^#!.*\n/, "").replaceAll("__LABCTL_BUILD__", JSON.stringify(id)),
  );
}
writeFileSync(join(draft, "package.json"), '{ "type": "commonjs" }\n');
chmodSync(join(draft, "labctl.cjs"), 0o755);
const former = `${draft}.former`;
try {
  // Removing takes long enough for somebody to meet nothing; two renames do not.
  if (existsSync(dist)) renameSync(dist, former);
  renameSync(draft, dist);
} catch (error) {
  rmSync(draft, { recursive: true, force: true });
  // Another bundling of the same sources, at the same moment, was quicker, or is between its two renames.
  for (let i = 0; i < 20 && !existsSync(join(dist, "labctl.cjs")); i++)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  if (!existsSync(join(dist, "labctl.cjs"))) throw error;
}

rmSync(former, { recursive: true, force: true });

// npm links the commands of dependencies, not of the package itself; `npx labctl` in a clone looks here.
const bin = join(root, "node_modules/.bin");
if (existsSync(bin)) {
  rmSync(join(bin, "labctl"), { force: true });
  symlinkSync(join("..", "..", basename(dist), "labctl.cjs"), join(bin, "labctl"));
}
