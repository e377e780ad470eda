/**
 * Keeps what V8 compiled of the bundle's chunks between runs, in the user's cache: half of the time that a command's
 * code takes to load. A cache: whatever is wrong with it, the code is compiled as ever. Must not know what the code does.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import Module from "node:module";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { Script } from "node:vm";

/** Filled in when the program is bundled; another build's code is kept in another folder. */
declare const LABCTL_BUILD: string;

/** Folders of builds that nobody used for so long go away. */
const UNUSED_MS = 30 * 24 * 3600_000;

/** Node.js's own loader; `_compile` runs the text of one CommonJS module (used so by others for ten years; not documented). */
interface Loader {
  prototype: { _compile(this: Loadable, content: string, file: string, ...more: unknown[]): unknown };
  wrap(text: string): string;
}
interface Loadable {
  readonly exports: unknown;
}

/** From here on, chunks beside `entryFile` are taken from the cache. Does nothing in a program that is not bundled. */
export function keepCompiledCode(entryFile: string): void {
  if (typeof LABCTL_BUILD !== "string") return;
  const own = dirname(entryFile);
  const folder = join(cacheRoot(), `${LABCTL_BUILD}-${process.version}-${process.arch}`);
  const loader = Module as unknown as Loader;
  const compile = loader.prototype._compile;
  if (typeof compile !== "function" || !isPrivate(folder)) return;
  loader.prototype._compile = function (content, file, ...more) {
    if (dirname(file) !== own || content.startsWith("#!")) return compile.call(this, content, file, ...more);
    const cacheFile = join(folder, `${basename(file)}.v8`);
    const cachedData = read(cacheFile);
    const script = new Script(loader.wrap(content), {
      filename: file,
      ...(cachedData ? { cachedData } : {}),
    });
    // Only at the end has everything been compiled that such a run needs.
    if (!cachedData || script.cachedDataRejected)
      process.once("exit", () => write(folder, cacheFile, script.createCachedData()));
    const run = script.runInThisContext() as (...args: unknown[]) => unknown;
    return run.call(this.exports, this.exports, Module.createRequire(file), this, file, own);
  };
}

function cacheRoot(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base?.startsWith("/") ? base : join(homedir(), ".cache"), "labctl", "code");
}

/** What V8 reads back it trusts like a program: nobody else may have written it. A folder that is not there will be ours. */
function isPrivate(folder: string): boolean {
  try {
    const stat = statSync(folder);
    return stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

function read(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

function write(folder: string, file: string, data: Buffer): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, data, { mode: 0o600 });
    renameSync(draft, file);
    for (const name of readdirSync(dirname(folder))) {
      const other = join(dirname(folder), name);
      if (Date.now() - statSync(other).mtimeMs > UNUSED_MS) rmSync(other, { recursive: true, force: true });
    }
  } catch {
    // Without it the next start takes as long as this one.
  }
}
