/**
 * Checks the built trees of machines: our own reader first, then the programs that are installed. Findings leave here
 * with the place in the sources, sorted, each once however many machines share it. Never connects to anything.
 */
import type { Manifest, ManifestEntry } from "../build/manifest.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { formatPlace, sortDiagnostics } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { lintUnits } from "../units/lint/lint-units.ts";
import type { Check, Found } from "./check.ts";
import { lintCredentials } from "./credentials.ts";
import { type FactOf, lintGuestDevices } from "./guest-devices.ts";
import { lintGuestImages } from "./guest-images.ts";
import { apartFromGuests } from "./guest-trees.ts";
import { type MachineTree, machineTree, type TextCache } from "./machine-tree.ts";
import { nftables } from "./nftables.ts";
import { nginx } from "./nginx.ts";
import { plainFiles } from "./plain-files.ts";
import { runChecks, type SkippedCheck } from "./run-checks.ts";
import { nodeSyntax, shellcheck, shellSyntax } from "./scripts.ts";
import { sshd } from "./sshd.ts";
import { sudoers } from "./sudoers.ts";
import { systemdAnalyze } from "./systemd-analyze.ts";

export interface VerifiedMachine {
  readonly machine: Machine;
  readonly manifest: Manifest;
  /** Where its `/usr/local` lies here. */
  readonly folder: AbsPath;
}

export interface Finding extends Diagnostic {
  readonly layer: string;
  /** Path on the machine, relative to `/usr/local`. */
  readonly path: string;
  /** Machines whose trees have it, sorted; `MACHINE/GUEST` for a guest's. */
  readonly machines: readonly string[];
}

export interface Verification {
  /** In the order of their places. */
  readonly findings: readonly Finding[];
  readonly skipped: readonly SkippedCheck[];
  /** Time that our own reader took, and the programs. */
  readonly ownMs: number;
  readonly programsMs: number;
}

/** Where an entry's line stands in the sources. */
export type PlaceOf = (
  machine: Machine,
  entry: ManifestEntry,
  at: { line?: number; column?: number },
) => { readonly file: string; readonly line?: number; readonly column?: number };

const CHECKS: readonly Check[] = [
  systemdAnalyze,
  nginx,
  nftables,
  sshd,
  shellcheck,
  shellSyntax,
  nodeSyntax,
  sudoers,
];

/** Reads the trees and runs programs on copies of what is in them; changes nothing outside a temporary folder. */
export async function verifyTrees(
  machines: readonly VerifiedMachine[],
  placeOf: (texts: (machine: Machine, entry: ManifestEntry) => string | undefined) => PlaceOf,
  factOf: FactOf,
): Promise<Verification> {
  const startedAt = performance.now();
  const texts: TextCache = new Map();
  const trees = machines
    .flatMap(apartFromGuests)
    .map((m) => machineTree(m.machine, m.manifest, m.folder, texts));
  const judged = new Map<string, readonly Diagnostic[]>();
  const own: Found[] = trees.flatMap((tree) =>
    lintUnits(tree, judged).map((diagnostic) => ({ tree, diagnostic })),
  );
  for (const tree of trees) own.push(...lintCredentials(tree));
  own.push(...lintGuestImages(trees), ...lintGuestDevices(trees, factOf));
  own.push(...(await runChecks([plainFiles], trees)).found);
  const ownMs = performance.now() - startedAt;
  const programs = await runChecks(CHECKS, trees);
  const shared = programs.found.flatMap((f) => withSharers(f, trees));
  const programsMs = performance.now() - startedAt - ownMs;
  const byName = new Map(trees.map((tree) => [tree.machine.name, tree]));
  const toSource = placeOf((machine, entry) => byName.get(machine.name)?.read(entry.path));
  return {
    findings: inSources([...own, ...withoutEchoes(shared, own)], toSource),
    skipped: programs.skipped,
    ownMs,
    programsMs,
  };
}

/** A program looks at equal files once: what it finds holds for every machine that has the file from the same source. */
function withSharers(f: Found, trees: readonly MachineTree[]): Found[] {
  const path = f.diagnostic.place?.file ?? "";
  const own = f.tree.entry(path);
  if (own?.type !== "file") return [f];
  return trees
    .filter((tree) => {
      const entry = tree.entry(path);
      return entry?.type === "file" && entry.hash === own.hash && entry.origin.source === own.origin.source;
    })
    .map((tree) => ({ ...f, tree }));
}

/** What a program says about a line that our own reader, or a better program, has a finding for is the same fault again. */
function withoutEchoes(found: readonly Found[], own: readonly Found[]): Found[] {
  const fileOf = (f: Found): string => `${f.tree.machine.name}:${f.diagnostic.place?.file}`;
  const lineOf = (f: Found): string => `${fileOf(f)}:${f.diagnostic.place?.line ?? 0}`;
  const said = new Set(own.map(lineOf));
  // Without a line it is what follows from the lines: "Refusing.", "has no ExecStart=".
  for (const f of own) said.add(`${fileOf(f)}:0`);
  const unreadable = new Set(found.filter((f) => f.diagnostic.code === "shell-syntax").map(fileOf));
  return found.filter(
    (f) =>
      !(f.diagnostic.code === "systemd-analyze" && said.has(lineOf(f))) &&
      !(/^shellcheck-sc10/.test(f.diagnostic.code) && unreadable.has(fileOf(f))),
  );
}

function inSources(found: readonly Found[], toSource: PlaceOf): Finding[] {
  const out = new Map<string, Finding & { machines: string[] }>();
  for (const { tree, diagnostic } of found) {
    const path = diagnostic.place?.file ?? "";
    const entry = tree.entry(path);
    if (!entry) continue;
    const { line, column } = diagnostic.place ?? {};
    const place = toSource(tree.machine, entry, {
      ...(line === undefined ? {} : { line }),
      ...(column === undefined ? {} : { column }),
    });
    const notes = diagnostic.notes.map((note) => noteInSources(note, tree, toSource));
    const key = [formatPlace(place), path, diagnostic.code, diagnostic.message].join("\0");
    const known = out.get(key);
    if (known) {
      if (!known.machines.includes(tree.machine.name)) known.machines.push(tree.machine.name);
    } else {
      const machines = [tree.machine.name as string];
      out.set(key, { ...diagnostic, place, notes, layer: entry.origin.layer, path, machines });
    }
  }
  return sortDiagnostics([...out.values()]) as Finding[];
}

/** `… in lib/systemd/system/x.service:4` in a note is a place, too. */
function noteInSources(note: string, tree: MachineTree, toSource: PlaceOf): string {
  const match = /^(started by: .* in )(\S+):([0-9]+)$/.exec(note);
  const entry = match && tree.entry(match[2] ?? "");
  if (!match || !entry) return note;
  return match[1] + formatPlace(toSource(tree.machine, entry, { line: Number(match[3]) }));
}
