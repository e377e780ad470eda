/**
 * Rules for names, folders and modes: what systemd, sysctl, tmpfiles, udev, sshd or sudo would not read because of how it
 * is called or where it lies. Sources: systemd.unit(5), sysctl.d(5) and its kin (CONF_PATHS of systemd's constants.h,
 * which under /usr/local has `lib/` only), udev(7), sudoers(5). Must not read contents. Pure.
 */
import type { Diagnostic } from "../../diagnostics.ts";
import { nearest } from "../../suggestion.ts";
import { dropInScope, isUnitName, UNIT_TYPES } from "../unit-name.ts";
import { treePath } from "../unit-set.ts";
import type { LintTree, PathFacts } from "./lint-tree.ts";
import { describeUnitFault } from "./problems.ts";

/** Folders whose files count only with this suffix. */
const SUFFIXES: readonly (readonly [folder: string, suffix: string])[] = [
  ["lib/sysctl.d", ".conf"],
  ["lib/tmpfiles.d", ".conf"],
  ["lib/sysusers.d", ".conf"],
  ["lib/modules-load.d", ".conf"],
  ["lib/modprobe.d", ".conf"],
  ["lib/binfmt.d", ".conf"],
  ["lib/environment.d", ".conf"],
  ["share/user-tmpfiles.d", ".conf"],
  ["lib/systemd/system-preset", ".preset"],
  ["lib/systemd/user-preset", ".preset"],
  ["lib/udev/rules.d", ".rules"],
  ["lib/udev/hwdb.d", ".hwdb"],
  ["etc/ssh/sshd_config.d", ".conf"],
  ["etc/ssh/ssh_config.d", ".conf"],
];

/** Folders of which only the namesake elsewhere is read. */
const MISPLACED: readonly (readonly [folder: string, use: string])[] = [
  ["etc/systemd/system", "lib/systemd/system"],
  ["etc/systemd/user", "share/systemd/user"],
  ["etc/systemd/network", "lib/systemd/network"],
  ["share/systemd/system", "lib/systemd/system"],
  ["etc/sysctl.d", "lib/sysctl.d"],
  ["etc/tmpfiles.d", "lib/tmpfiles.d"],
  ["etc/sysusers.d", "lib/sysusers.d"],
  ["etc/modules-load.d", "lib/modules-load.d"],
  ["etc/modprobe.d", "lib/modprobe.d"],
  ["etc/binfmt.d", "lib/binfmt.d"],
  ["etc/udev/rules.d", "lib/udev/rules.d"],
];

/** Folders whose files are run. */
const RUN: readonly (readonly [folder: string, what: string])[] = [
  ["lib/labctl/check.d", "the check"],
  ["lib/systemd/system-generators", "the generator"],
  ["lib/systemd/user-generators", "the generator"],
  ["lib/systemd/system-environment-generators", "the generator"],
  ["lib/systemd/user-environment-generators", "the generator"],
];

/** Daemons of systemd that read `NAME.conf.d` folders below `lib/systemd`. */
const DAEMONS =
  `coredump homed journal-remote journal-upload journald logind networkd oomd pstore resolved sleep
  system timesyncd user iocost`.split(/\s+/);

const UNIT_FOLDERS = ["lib/systemd/system", "share/systemd/user", "lib/systemd/user"];

/** All findings about names and modes, in the order of the tree's paths. */
export function lintNames(tree: LintTree): Diagnostic[] {
  const out: Diagnostic[] = [];
  for (const path of tree.paths) {
    const facts = tree.stat(path);
    if (!facts || facts.type === "dir") continue;
    // Editors and Git leave such files; nothing reads them, and nobody expects it.
    const hidden = path.slice(path.lastIndexOf("/") + 1).startsWith(".");
    if (!hidden) out.push(...lintPath(path, facts));
    if (facts.type === "link") out.push(...lintLink(tree, path));
  }
  return out;
}

function lintPath(path: string, facts: PathFacts): Diagnostic[] {
  const place = { file: path };
  const below = (folder: string): string | undefined =>
    path.startsWith(`${folder}/`) ? path.slice(folder.length + 1) : undefined;

  for (const [folder, use] of MISPLACED)
    if (below(folder) !== undefined)
      return [describeUnitFault({ kind: "wrong-folder", what: `what lies in \`${folder}\``, use }, place)];
  const daemon = /^etc\/systemd\/([a-z-]+)\.conf\.d\//.exec(path)?.[1];
  if (daemon !== undefined && DAEMONS.includes(daemon)) {
    const use = `lib/systemd/${daemon}.conf.d`;
    return [describeUnitFault({ kind: "wrong-folder", what: `a drop-in for ${daemon}`, use }, place)];
  }
  for (const folder of UNIT_FOLDERS) {
    const rest = below(folder);
    if (rest !== undefined) return lintUnitPath(folder, rest, path, facts);
  }
  for (const [folder, suffix] of SUFFIXES) {
    const name = below(folder);
    if (name === undefined) continue;
    if (name.includes("/")) return [describeUnitFault({ kind: "too-deep", folder }, place)];
    if (!name.endsWith(suffix))
      return [describeUnitFault({ kind: "ignored-name", what: `\`${name}\``, suffix }, place)];
    return lintConfigMode(path, facts);
  }
  for (const [folder, what] of RUN) {
    const name = below(folder);
    if (name === undefined || facts.type !== "file") continue;
    if (name.includes("/")) return [describeUnitFault({ kind: "too-deep", folder }, place)];
    if ((facts.mode & 0o111) === 0)
      return [describeUnitFault({ kind: "not-executable", what: `${what} \`${name}\`` }, place)];
    return worldWritable(path, facts);
  }
  const sudo = /(?:^|\/)sudoers\.d\/(.*[.~].*|.*~)$/.exec(path)?.[1];
  if (sudo !== undefined) return [describeUnitFault({ kind: "sudoers-name", name: sudo }, place)];
  const ruleset = /(?:^|\/)nftables\.d\/([^/]+)$/.exec(path)?.[1];
  if (ruleset !== undefined && !/\.(nft|conf)$/.test(ruleset))
    return [describeUnitFault({ kind: "ignored-name", what: `\`${ruleset}\``, suffix: ".nft" }, place)];
  const inFolder = /^lib\/systemd\/([^/]+)\/(.+)$/.exec(path);
  if (inFolder) return lintDaemonPath(inFolder[1] ?? "", inFolder[2] ?? "", path, facts);
  if (/^lib\/systemd\/[^/]+$/.test(path) && isUnitName(path.slice("lib/systemd/".length)))
    return [describeUnitFault({ kind: "wrong-folder", what: "a unit", use: "lib/systemd/system" }, place)];
  return worldWritable(path, facts);
}

/** `lib/systemd/journald.conf.d/50-x.conf`, `lib/systemd/network/10-lan.network`. */
function lintDaemonPath(folder: string, rest: string, path: string, facts: PathFacts): Diagnostic[] {
  const place = { file: path };
  if (folder === "network") {
    const [name = "", second] = rest.split("/");
    const types = ["network", "netdev", "link"];
    const stem = second === undefined ? name : name.replace(/\.d$/, "");
    if (second !== undefined && !second.endsWith(".conf"))
      return [describeUnitFault({ kind: "ignored-name", what: `\`${second}\``, suffix: ".conf" }, place)];
    if (!types.some((t) => stem.endsWith(`.${t}`))) {
      const suffix = nearest(stem.split(".").at(-1) ?? "", types) ?? "network";
      return [describeUnitFault({ kind: "ignored-name", what: `\`${stem}\``, suffix: `.${suffix}` }, place)];
    }
    return lintConfigMode(path, facts);
  }
  if (!folder.endsWith(".d")) return worldWritable(path, facts);
  const known = DAEMONS.map((name) => `${name}.conf.d`);
  if (!known.includes(folder)) {
    const near = isUnitName(folder.slice(0, -2)) ? `lib/systemd/system/${folder}` : nearest(folder, known);
    return [describeUnitFault({ kind: "bad-dropin-folder", folder, near }, place)];
  }
  if (rest.includes("/"))
    return [describeUnitFault({ kind: "too-deep", folder: `lib/systemd/${folder}` }, place)];
  if (!rest.endsWith(".conf"))
    return [describeUnitFault({ kind: "ignored-name", what: `\`${rest}\``, suffix: ".conf" }, place)];
  return lintConfigMode(path, facts);
}

function lintUnitPath(root: string, rest: string, path: string, facts: PathFacts): Diagnostic[] {
  const place = { file: path };
  const [first = "", second, ...deeper] = rest.split("/");
  if (second === undefined) {
    if (isUnitName(first)) return lintConfigMode(path, facts);
    const dot = first.lastIndexOf(".");
    const suffix = nearest(first.slice(dot + 1), UNIT_TYPES);
    const near = dot > 0 && suffix !== undefined ? `${first.slice(0, dot)}.${suffix}` : undefined;
    return [describeUnitFault({ kind: "bad-name", name: first, near }, place)];
  }
  const folder = `${root}/${first}`;
  const pulls = /^(.+)\.(wants|requires|upholds)$/.exec(first);
  if (pulls && isUnitName(pulls[1] ?? "")) {
    if (deeper.length > 0) return [describeUnitFault({ kind: "too-deep", folder }, place)];
    if (!isUnitName(second))
      return [describeUnitFault({ kind: "bad-name", name: second, near: undefined }, place)];
    return facts.type === "link" ? [] : [describeUnitFault({ kind: "wants-no-link", folder: first }, place)];
  }
  if (!dropInScope(first))
    return [describeUnitFault({ kind: "bad-dropin-folder", folder: first, near: nearFolder(first) }, place)];
  if (deeper.length > 0) return [describeUnitFault({ kind: "too-deep", folder }, place)];
  if (!second.endsWith(".conf"))
    return [describeUnitFault({ kind: "ignored-name", what: `\`${second}\``, suffix: ".conf" }, place)];
  return lintConfigMode(path, facts);
}

/** `nginx.servce.d` → `nginx.service.d`, `nginx.d` → `nginx.service.d`, `x.target.want` → `x.target.wants`. */
function nearFolder(folder: string): string | undefined {
  const [, stem = "", kind = ""] = /^(.*)\.([a-z]+)$/.exec(folder) ?? [];
  const kinds = ["d", "wants", "requires", "upholds"];
  const right = kinds.includes(kind) ? kind : nearest(kind, kinds.slice(1));
  if (right !== undefined && isUnitName(stem)) return `${stem}.${right}`;
  if (isUnitName(`${stem}.service`) && !stem.includes(".")) return `${stem}.service.d`;
  const dot = stem.lastIndexOf(".");
  const type = nearest(stem.slice(dot + 1), UNIT_TYPES);
  return dot > 0 && type !== undefined ? `${stem.slice(0, dot)}.${type}.${right ?? "d"}` : undefined;
}

/** A link within the tree must lead somewhere; where a link out of it leads, only the machine knows. */
function lintLink(tree: LintTree, path: string): Diagnostic[] {
  const target = tree.link(path as never);
  if (target === undefined) return [];
  const stands = treePath(target, path as never);
  if (stands === undefined || leads(tree, stands)) return [];
  const near = nearest(
    stands,
    [...tree.paths].filter((p) => tree.stat(p)?.type !== "dir"),
  );
  return [
    describeUnitFault(
      { kind: "dangling-link", target, near: near === undefined ? undefined : `/usr/local/${near}` },
      { file: path },
    ),
  ];
}

/** True if the tree has the path, or if a link on the way to it leads elsewhere. */
function leads(tree: LintTree, path: string): boolean {
  if (tree.stat(path)) return true;
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1))
    if (tree.stat(path.slice(0, end))?.type === "link") return true;
  return false;
}

function lintConfigMode(path: string, facts: PathFacts): Diagnostic[] {
  if (facts.type === "file" && (facts.mode & 0o111) !== 0)
    return [describeUnitFault({ kind: "executable-config", what: `\`${path}\`` }, { file: path })];
  return worldWritable(path, facts);
}

function worldWritable(path: string, facts: PathFacts): Diagnostic[] {
  if (facts.type !== "file" || (facts.mode & 0o002) === 0) return [];
  return [describeUnitFault({ kind: "world-writable", what: `\`${path}\`` }, { file: path })];
}
