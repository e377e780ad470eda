/**
 * Which symbolic links decide what a path finally names: a later run must look at each of them again.
 * Reads the disk; must not know what the path is for.
 */
import { readlinkSync } from "node:fs";
import { dirname } from "node:path";
import { lookAt } from "./signature.ts";

/** Linux gives up after 40 links (path_resolution(7)). */
const MOST_LINKS = 40;

/** Absolute paths of all links met while the absolute `path` is resolved, its last part included, in that order. */
export function linksOnTheWay(path: string): string[] {
  const met: string[] = [];
  let ahead = path.split("/");
  let at = "/";
  while (ahead.length > 0 && met.length < MOST_LINKS) {
    const [name = "", ...rest] = ahead;
    ahead = rest;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    const next = at === "/" ? `/${name}` : `${at}/${name}`;
    if (!lookAt(next)?.isSymbolicLink()) {
      at = next;
      continue;
    }
    met.push(next);
    const target = readlinkSync(next);
    ahead = [...target.split("/"), ...ahead];
    if (target.startsWith("/")) at = "/";
  }
  return met;
}
