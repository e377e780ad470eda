/**
 * Says what a path of a tree is to systemd. Under /usr/local systemd searches `lib/systemd/system`, and for user
 * units `share/systemd/user` and `lib/systemd/user` in this order (`systemd-analyze unit-paths`; lookup_paths_init()
 * in systemd's path-lookup.c). `etc/systemd/system` under /usr/local is NOT searched. Must not read files.
 */
import type { RelPath, UnitName } from "../paths.ts";
import { type DropInScope, dropInScope, isUnitName } from "./unit-name.ts";

export type ManagerScope = "system" | "user";
/** The three kinds of folder whose links pull a unit in; `upholds` since systemd 249. */
export type LinkKind = "wants" | "requires" | "upholds";

export type UnitPath =
  | { readonly kind: "unit"; readonly scope: ManagerScope; readonly unit: UnitName }
  | {
      readonly kind: "drop-in";
      readonly scope: ManagerScope;
      readonly applies: DropInScope;
      readonly file: string;
    }
  | {
      readonly kind: "link";
      readonly scope: ManagerScope;
      readonly how: LinkKind;
      /** The unit that pulls in. */
      readonly by: UnitName;
      /** The unit that is pulled in. */
      readonly unit: UnitName;
    };

/** Folders that systemd searches under /usr/local, first one wins, each with its manager. */
export const SEARCH_PATH: readonly { readonly folder: string; readonly scope: ManagerScope }[] = [
  { folder: "lib/systemd/system", scope: "system" },
  { folder: "share/systemd/user", scope: "user" },
  { folder: "lib/systemd/user", scope: "user" },
];

/** Undefined: systemd's unit loader does not look at this path. Pure. */
export function classifyPath(path: RelPath): UnitPath | undefined {
  const root = SEARCH_PATH.find((entry) => path.startsWith(`${entry.folder}/`));
  if (!root) return undefined;
  const { scope } = root;
  const [first = "", second, ...deeper] = path.slice(root.folder.length + 1).split("/");
  if (deeper.length > 0) return undefined;
  if (second === undefined) return isUnitName(first) ? { kind: "unit", scope, unit: first } : undefined;
  const applies = dropInScope(first);
  if (applies) {
    const hidden = second.startsWith(".");
    return second.endsWith(".conf") && !hidden
      ? { kind: "drop-in", scope, applies, file: second }
      : undefined;
  }
  const folder = /^(.+)\.(wants|requires|upholds)$/.exec(first);
  const by = folder?.[1] ?? "";
  if (!folder || !isUnitName(by) || !isUnitName(second)) return undefined;
  return { kind: "link", scope, how: folder[2] as LinkKind, by, unit: second };
}
