/**
 * Files that templates and programs pull in by name: partials, imports, and the names beside an import that could
 * take its place. Each is read once a run, so that the text used and the hash recorded are of the same bytes.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Blake3 } from "../hash.ts";
import type { AbsPath, FileHash } from "../paths.ts";
import type { Project } from "../project/project.ts";
import { linksOnTheWay } from "./link-chain.ts";
import { ABSENT, isRacy, lookAt, signatureOf, type Watched, type WatchedPath } from "./signature.ts";
import type { SourceHashes } from "./source-hashes.ts";
import type { TemplateText } from "./template/compiled.ts";

/** Begins the name of a part that the helper `file` reads; can't begin a layer's name. */
export const SHARED_FILE = "file:";

/** A part's name is `layer/name` for a partial, `file:path` for a file of the repository, an absolute path for an import or a link that leads to one, one that ends in `.*` for the names of that stem. */
export interface Parts {
  /** Undefined if there is no such partial or file of the repository. */
  partial(name: string): TemplateText | undefined;
  /** Undefined if the part is gone, or its layer is not in use. */
  hash(name: string): FileHash | undefined;
  /** Forgets an import's hash, so that the next question reads it again. */
  forget(name: string): void;
  /** What was looked at, for the next run to look at again; ABSENT where nothing was. */
  readonly watched: Watched;
}

interface Part {
  readonly hash: FileHash | undefined;
  readonly text?: TemplateText;
}

/** `readAtMs` is when the run began: what changed since is too recent to be trusted later. */
export function partReader(project: Project, hashes: SourceHashes, b3: Blake3, readAtMs: number): Parts {
  const machines = project.machines.flatMap((m) => [m, ...m.guests.flatMap((g) => g.machine ?? [])]);
  const folders = new Map(
    machines.flatMap((m) => m.layers.map((l) => [l.name as string, l.folder as string])),
  );
  const watched = new Map<AbsPath, WatchedPath>();
  const known = new Map<string, Part>();
  const look = (path: string) => {
    const stats = lookAt(path);
    const seen = stats
      ? { signature: signatureOf(stats), racy: isRacy(stats, readAtMs) }
      : { signature: ABSENT, racy: false };
    watched.set(path as AbsPath, {
      ...seen,
      ...(watched.get(path as AbsPath)?.byLink ? { byLink: true } : {}),
    });
    return { stats, ...seen };
  };
  /** The file that is read in the end, where it is not the one that was named. */
  const lookBehind = (real: AbsPath) => {
    const seen = look(real);
    watched.set(real, { signature: seen.signature, racy: seen.racy, byLink: true });
    return seen;
  };
  /** Looks at every link on the way. */
  const realPath = (file: string): AbsPath => {
    const links = linksOnTheWay(file);
    for (const link of links) look(link);
    return (links.length === 0 ? file : realpathSync(file)) as AbsPath;
  };
  const readPartial = (name: string): Part => {
    const [layer = "", ...rest] = name.split("/");
    const folder = folders.get(layer);
    if (folder === undefined || rest.length === 0 || rest.some((p) => p === "" || p === "." || p === ".."))
      return { hash: undefined };
    const file = join(folder, "_partials", `${rest.join("/")}.hbs`);
    if (!look(file).stats) return { hash: undefined };
    const real = realPath(file);
    if (real !== file) lookBehind(real);
    const data = readFileSync(real);
    return {
      hash: b3.hash(data),
      text: { text: data.toString("utf8"), file: `layers/${layer}/_partials/${rest.join("/")}.hbs` },
    };
  };
  const readShared = (path: string): Part => {
    const parts = path.split("/");
    if (path.startsWith("/") || parts.some((p) => p === "" || p === "." || p === ".."))
      return { hash: undefined };
    const file = join(project.root, path);
    if (!look(file).stats) return { hash: undefined };
    const real = realPath(file);
    // `var/` is what builds write: a build that read it would not repeat.
    const inside = real.startsWith(`${project.root}/`) && !real.startsWith(`${project.root}/var/`);
    if (!inside || !(real === file ? look(real) : lookBehind(real)).stats?.isFile())
      return { hash: undefined };
    const data = readFileSync(real);
    return { hash: b3.hash(data), text: { text: data.toString("utf8"), file: path } };
  };
  const readImport = (file: string): Part => {
    const { stats, signature, racy } = look(file);
    if (stats?.isSymbolicLink()) return { hash: b3.hash(`link ${readlinkSync(file)}`) };
    return { hash: stats?.isFile() ? hashes.of({ file, signature, racy }) : undefined };
  };
  const readRivals = (name: string): Part => {
    const folder = dirname(name);
    if (!look(folder).stats) return { hash: undefined };
    const stem = basename(name, ".*");
    const alike = readdirSync(folder).filter((n) => n === stem || n.startsWith(`${stem}.`));
    return { hash: b3.hash(alike.sort().join("\0")) };
  };
  const part = (name: string): Part => {
    let found = known.get(name);
    if (!found) {
      found = name.startsWith(SHARED_FILE)
        ? readShared(name.slice(SHARED_FILE.length))
        : !name.startsWith("/")
          ? readPartial(name)
          : name.endsWith(".*")
            ? readRivals(name)
            : readImport(name);
      known.set(name, found);
    }
    return found;
  };
  return {
    watched,
    partial: (name) => part(name).text,
    hash: (name) => part(name).hash,
    forget: (name) => {
      known.delete(name);
      hashes.forget(name);
    },
  };
}
