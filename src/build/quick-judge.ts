/**
 * Judges whether what differs from the record is plain enough for a quick build: contents of known inputs, and outputs that
 * only look different. Reads; writes nothing.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { AbsPath, RelPath } from "../paths.ts";
import type { Differences } from "./fresh.ts";
import { NUMBERS_PER_PATH, USERS, USERS_UNKNOWN } from "./fresh-record.ts";
import type { OutputTree } from "./output-tree.ts";
import { isLeftover } from "./read-tree.ts";
import { isRacy, lookAt, type Signature, signatureOf } from "./signature.ts";
import type { MachineLines } from "./state.ts";

/** Files whose contents decide what is built, not only what is in it, or whom it concerns. */
const DECIDES = /(^|\/)(lab|machine|layer)\.ini$|\.ts$|^facts\/(ipam\.json$|probed\/)/;
/** A layer's or machine's own folder, and names that it may hold and that no walk records there. */
const DESCRIBED = /^(layers|machines)\/[^/]+$|^machines\/[^/]+\/_guests\/[^/]+$/;
const UNRECORDED: ReadonlySet<string> = new Set(["README.md", "_partials"]);
const NONE: ReadonlySet<string> = new Set();

export interface ChangedInputs {
  /** Index → what was seen now; `racy`: too young to be trusted. */
  readonly signatures: ReadonlyMap<number, { readonly signature: Signature; readonly racy: boolean }>;
  /** Absolute paths of files whose contents may differ. */
  readonly files: ReadonlySet<string>;
  readonly indices: readonly number[];
  /** Machines whose facts may differ; `all` for everyone's. */
  readonly facts: ReadonlySet<string>;
}

/** Undefined if an input changed in any way but its content. */
export function judgeInputs(root: AbsPath, { record, inputs }: Differences): ChangedInputs | undefined {
  const { paths, numbers } = record;
  const signatures = new Map<number, { signature: Signature; racy: boolean }>();
  const files = new Set<string>();
  const indices: number[] = [];
  const facts = new Set<string>();
  const nowMs = Date.now();
  for (const index of inputs) {
    const path = paths[index] as string;
    const at = index * NUMBERS_PER_PATH;
    const stats = path.startsWith("/") ? undefined : lookAt(join(root, path));
    if (!stats) return undefined;
    signatures.set(index, { signature: signatureOf(stats), racy: isRacy(stats, nowMs) });
    if (stats.mode !== numbers[at + 4]) return undefined;
    if (stats.isDirectory()) {
      if (!sameNames(root, path, record)) return undefined;
      continue;
    }
    if (!stats.isFile() || DECIDES.test(path)) return undefined;
    const fact = /^facts\/(?:probed\/)?([^/]+)(?:\/[^/]+)?\.(?:env|json)$/.exec(path)?.[1];
    const users = numbers[at + USERS];
    // A file that was looked at and that no output is known to be made of: what it is for shows only when all is read.
    if (users === USERS_UNKNOWN || (users === 0 && fact === undefined)) return undefined;
    files.add(join(root, path));
    indices.push(index);
    if (fact !== undefined) facts.add(fact);
  }
  return { signatures, files, indices, facts };
}

/** True if a folder holds the names that the record has in it, and no others. */
function sameNames(root: AbsPath, folder: string, { paths, numbers, head }: Differences["record"]): boolean {
  const prefix = folder === "" ? "" : `${folder}/`;
  const ignored = DESCRIBED.test(folder) ? UNRECORDED : NONE;
  const expected = new Set<string>();
  for (let i = 0; i < head.inputs; i++) {
    const path = paths[i] as string;
    const inside = path.startsWith(prefix) && path.indexOf("/", prefix.length) < 0;
    const name = path.slice(prefix.length);
    // Absent paths are recorded, too.
    if (inside && !ignored.has(name) && numbers[i * NUMBERS_PER_PATH] !== -1) expected.add(name);
  }
  const present = readdirSync(join(root, folder)).filter((name) => !ignored.has(name) && !isLeftover(name));
  return present.length === expected.size && present.every((name) => expected.has(name));
}

/** True if the machine at this place of the record makes something of what changed. Pure. */
export function concerns(changed: ChangedInputs, numbers: Float64Array, name: string, bit: number): boolean {
  if (changed.facts.has("all") || changed.facts.has(name)) return true;
  return changed.indices.some(
    (i) => Math.floor((numbers[i * NUMBERS_PER_PATH + USERS] as number) / 2 ** bit) % 2 === 1,
  );
}

/** Outputs that look different: true if each still holds what was built. Folders must hold no strangers. */
export function settleOutputs(
  root: AbsPath,
  { record, outputs }: Differences,
  stateOf: (name: string) => MachineLines | undefined,
  treeOf: (name: string) => OutputTree,
  hashOf: (file: string) => string,
  manifestOf: (name: string) => string,
): boolean {
  for (const { machine, index } of outputs) {
    const state = stateOf(machine.name);
    if (!state) return false;
    if (index === machine.from) {
      const file = manifestOf(machine.name);
      if (!lookAt(file)?.isFile() || hashOf(file) !== machine.generation) return false;
      continue;
    }
    // Making the tree's object would put missing folders right, which is the full build's business.
    if (index < machine.tree && !lookAt(join(root, record.paths[index] as string))?.isDirectory())
      return false;
    // Of the folders above the tree it matters only that they are folders.
    if (index < machine.tree && index !== machine.from + 1) continue;
    const tree = treeOf(machine.name);
    const path = index < machine.tree ? "" : (record.paths[index] as string);
    const entry = path === "" ? undefined : state.record(path);
    if (path !== "" && (!entry || tree.condition(path as RelPath, entry) !== "clean")) return false;
    if (path === "" || entry?.type === "dir") {
      const folder = path === "" ? tree.root : join(tree.root, path);
      const prefix = path === "" ? "" : `${path}/`;
      if (!lookAt(folder)?.isDirectory()) return false;
      if (readdirSync(folder).some((name) => !state.has(prefix + name))) return false;
    }
  }
  return true;
}
