/** Turns a command's arguments into a build request: finds the repository, reads `--fact`. */
import { homedir } from "node:os";
import type { BuildRequest } from "../build/build-result.ts";
import type { Result } from "../diagnostics.ts";
import { failure, problem, success } from "../diagnostics.ts";
import { type AbsPath, cacheFolder, TREE_ROOT } from "../paths.ts";
import { findRoot } from "../project/find-root.ts";
import { findBuiltInLayers } from "./built-in-layers.ts";
import type { ParsedArguments } from "./commands.ts";

declare const LABCTL_BUILD: string;

/** `machines` are patterns; empty means all. */
export function buildRequest(args: ParsedArguments, machines: readonly string[]): Result<BuildRequest> {
  const root = findRoot(args.value("directory") ?? ".");
  if (!root.ok) return root;
  const facts = new Map<string, string>();
  for (const text of args.list("fact")) {
    const at = text.indexOf("=");
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(text.slice(0, Math.max(at, 0)))) {
      return failure(
        problem("usage", `--fact wants NAME=VALUE, not \`${text}\``, {
          help: "names have letters, digits and `_`",
        }),
      );
    }
    facts.set(text.slice(0, at), text.slice(at + 1));
  }
  const builtInLayers = findBuiltInLayers();
  if (!builtInLayers.ok) return builtInLayers;
  return success({
    root: root.value,
    builtInLayers: builtInLayers.value,
    machines,
    facts,
    tool: typeof LABCTL_BUILD === "string" ? LABCTL_BUILD : "source",
    templateCache: `${cacheFolder(process.env, homedir())}/templates` as AbsPath,
    fromNothing: args.flag("rebuild"),
  });
}

/** A path on a machine as people type it, `/usr/local/` before it or not; undefined: it lies elsewhere. Pure. */
export function treePathArgument(asked: string): string | undefined {
  // People copy paths from a shell on the machine.
  const path = asked.replace(new RegExp(`^${TREE_ROOT}/`), "").replace(/\/+$/, "");
  return path === "" || path.startsWith("/") || path.split("/").includes("..") ? undefined : path;
}
