/**
 * Where the layers that ship with labctl are. npm leaves symbolic links out of packages, and units are enabled by
 * links: a labctl that npm installed from a package keeps a whole copy of its layers in the cache. Must not know what is
 * in a layer.
 */
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { failure, problem, type Result, success } from "../diagnostics.ts";
import { type AbsPath, cacheFolder } from "../paths.ts";

/** Filled in when the program is bundled; undefined in the source. */
declare const LABCTL_LAYERS: {
  /** Path below `layers/` to link target. */
  readonly links: Readonly<Record<string, string>>;
  /** Hash of all layers' contents: another release's copy is another folder. */
  readonly id: string;
};

/**
 * The folder of the built-in layers. Effects: at the first start after an installation without links, copies the
 * layers to `$XDG_CACHE_HOME/labctl/layers-ID/layers`; later starts find it there.
 */
export function findBuiltInLayers(): Result<AbsPath> {
  const shipped = findShipped();
  if (typeof LABCTL_LAYERS !== "object") return success(shipped);
  const links = Object.entries(LABCTL_LAYERS.links);
  // npm leaves out all of them. One that is missing alone was removed by somebody who works on the layers.
  if (links.length === 0 || links.some(([path]) => isThere(join(shipped, path)))) return success(shipped);
  const cache = cacheFolder(process.env, homedir());
  const home = join(cache, `layers-${LABCTL_LAYERS.id}`);
  const whole = join(home, "layers") as AbsPath;
  if (existsSync(whole)) return success(whole);
  try {
    copyWhole(shipped, links, cache, home);
    return success(whole);
  } catch (error) {
    return failure(
      problem("layers-incomplete", `the built-in layers can't be copied to ${home}`, {
        notes: [(error as Error).message, `npm left ${links.length} symbolic links out of ${shipped}`],
        help: "make the folder writable, or name another one in XDG_CACHE_HOME",
      }),
    );
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Complete under its name or not there: several starts at once, or a killed one, do no harm. */
function copyWhole(
  shipped: AbsPath,
  links: readonly (readonly [string, string])[],
  cache: string,
  home: string,
): void {
  mkdirSync(cache, { recursive: true });
  const draft = mkdtempSync(join(cache, "draft-"));
  try {
    cpSync(shipped, join(draft, "layers"), {
      recursive: true,
      verbatimSymlinks: true,
      preserveTimestamps: true,
    });
    for (const [path, target] of links) {
      const link = join(draft, "layers", path);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(target, link);
    }
    renameSync(draft, home);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    // Another start was quicker.
    if (!existsSync(join(home, "layers"))) throw error;
  }
}

/** `layers/` of the installed package: beside `dist/` when bundled, two folders up in the source. */
function findShipped(): AbsPath {
  const here = typeof __dirname === "string" ? __dirname : import.meta.dirname;
  for (const candidate of [
    join(here, "..", "layers"),
    join(here, "..", "..", "layers"),
    join(dirname(here), "layers"),
  ]) {
    if (existsSync(join(candidate, "base", "layer.ini"))) return realpathSync(candidate) as AbsPath;
  }
  return join(here, "..", "layers") as AbsPath;
}
