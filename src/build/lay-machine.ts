/**
 * Lays a whole machine: its layers, its own files, and what follows from the guests that it declares. The tree of a guest
 * that has layers is laid by the same rules as a machine's, and lies inside its host's tree, where the guest sees it as
 * its `/usr/local`. Reads names and metadata through the reader it is given; must not know contents or facts.
 */
import type { Diagnostic } from "../diagnostics.ts";
import type { MachineFacts } from "../facts/read-facts.ts";
import { type DeclaredGuest, declaredGuests, GUEST_TREES } from "../guests/declared.ts";
import {
  AUTOSTART_FOLDER,
  DECLARED_FOLDER,
  DROP_IN,
  guestDropIn,
  guestNetDropIn,
  guestNetUnit,
  guestRootDropIn,
  guestRootUnit,
  guestUnit,
} from "../guests/drop-in.ts";
import { guestStartText, guestText } from "../guests/parse-guest.ts";
import { compareBytes, type RelPath, TREE_ROOT } from "../paths.ts";
import type { Machine } from "../project/project.ts";
import { GUEST_FILES } from "../project/read-guests.ts";
import { checkGuestTree, checkHost } from "./guest-checks.ts";
import { type Candidate, type Overlay, overlay, type PlannedOutput } from "./overlay.ts";
import { describe } from "./problems.ts";
import type { TreeReader } from "./read-tree.ts";
import { lookAt } from "./signature.ts";
import type { SourceTree } from "./source.ts";
import { type TemplateView, templateView } from "./template/view.ts";

const UNITS = "lib/systemd/system";

/** Outputs of the machine and of its guests' trees, sorted by path bytes. */
export function layMachine(machine: Machine, reader: Pick<TreeReader, "read">): Overlay {
  const problems: Diagnostic[] = [];
  const guests = declaredGuests(machine, problems);
  const more = guests.flatMap(guestCandidates);
  const laid = overlay(machine, sourceTrees(machine, reader), more);
  problems.push(...laid.problems);
  for (const { path, content, source } of laid.outputs)
    if (path.startsWith(`${GUEST_TREES}/`) && content.kind !== "dir")
      problems.push(describe({ kind: "guest-tree-taken", path, place: { file: source } }));
  checkHost(machine, guests, laid.outputs, problems);
  const outputs = [...laid.outputs];
  for (const { guest, section } of guests) {
    if (!section.machine) continue;
    const own = overlay(section.machine, sourceTrees(section.machine, reader));
    problems.push(...own.problems);
    checkGuestTree(guest, section.machine, own.outputs, problems);
    outputs.push(
      ...own.outputs.map((o) => ({ ...o, path: `${guestTree(guest.name)}/${o.path}` as RelPath })),
    );
  }
  return { outputs: outputs.length === laid.outputs.length ? laid.outputs : sorted(outputs), problems };
}

/** Folder of the machine's tree that is the guest's `/usr/local`. Pure. */
export function guestTree(name: string): RelPath {
  return `${GUEST_TREES}/${name}` as RelPath;
}

/** The guest in whose tree a path lies, and the path there; undefined for the machine's own. Pure. */
export function guestOfPath(path: string): { readonly guest: string; readonly path: RelPath } | undefined {
  if (!path.startsWith(`${GUEST_TREES}/`)) return undefined;
  const rest = path.slice(GUEST_TREES.length + 1);
  const end = rest.indexOf("/");
  return end < 0 ? undefined : { guest: rest.slice(0, end), path: rest.slice(end + 1) as RelPath };
}

/** Whose tree a path lies in, and where: of the machine, or guest, itself, or of one of its guests. Pure. */
export function ownerOf(
  machine: Machine,
  facts: MachineFacts,
  path: RelPath,
): { readonly machine: Machine; readonly facts: MachineFacts; readonly path: RelPath } {
  const found = guestOfPath(path);
  const guest = machine.guests.find((g) => g.name === found?.guest)?.machine;
  const own = found && facts.guests?.get(found.guest);
  return found && guest && own ? { machine: guest, facts: own, path: found.path } : { machine, facts, path };
}

/** What the template of each path sees: the machine's facts, or its guest's. Pure. */
export function templateViews(machine: Machine, facts: MachineFacts): (path: RelPath) => TemplateView {
  const known = new Map<Machine, TemplateView>();
  return (path) => {
    const owner = ownerOf(machine, facts, path);
    const view = known.get(owner.machine) ?? templateView(owner.machine, owner.facts);
    known.set(owner.machine, view);
    return view;
  };
}

/** The trees of a machine's, or guest's, layers, and its own. */
export function sourceTrees(machine: Machine, reader: Pick<TreeReader, "read">): SourceTree[] {
  const trees = machine.layers.map((l) => reader.read(l.folder, `layers/${l.name}`, l.name));
  const display = `machines/${machine.name.replace("/", `/${GUEST_FILES}/`)}`;
  const isGuest = machine.name.includes("/");
  if (!isGuest || lookAt(machine.folder)) trees.push(reader.read(machine.folder, display, "machine"));
  return trees;
}

/** What a guest's section makes in its host's tree. */
function guestCandidates({ guest, section, mode }: DeclaredGuest): Candidate[] {
  const source = section.place.file;
  const definition = `etc/guests/${guest.name}.json`;
  const start = `etc/guests/start/${guest.name}.json`;
  const unit = guestUnit(guest);
  const text = (path: string, content: string): Candidate => ({
    path,
    content: { kind: "text", text: content },
    layer: "machine",
    source,
  });
  const tree = section.machine ? [`${TREE_ROOT}/${guestTree(guest.name)}`] : [];
  const out = [
    text(definition, guestText(guest)),
    text(start, guestStartText(guest)),
    text(`${UNITS}/${unit}.d/${DROP_IN}`, guestDropIn(guest, mode, tree)),
    text(`${UNITS}/${guestRootUnit(guest)}.d/${DROP_IN}`, guestRootDropIn(guest)),
    text(
      `${UNITS}/${guestNetUnit(guest)}.d/${DROP_IN}`,
      guestNetDropIn(guest, mode, [`${TREE_ROOT}/${start}`]),
    ),
  ];
  for (const folder of [DECLARED_FOLDER, ...(guest.autostart ? [AUTOSTART_FOLDER] : [])])
    out.push({
      path: `${UNITS}/${folder}/${unit}`,
      content: { kind: "link", target: `../${guest.kind}@.service` },
      layer: "machine",
      source,
    });
  if (section.machine)
    out.push({ path: guestTree(guest.name), content: { kind: "dir" }, layer: "machine", source });
  return out;
}

function sorted(outputs: readonly PlannedOutput[]): PlannedOutput[] {
  return [...outputs].sort((a, b) => compareBytes(a.path, b.path));
}
