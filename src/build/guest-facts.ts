/**
 * Facts of a machine's guests. A guest is a machine of its own, with the same five levels: its files are
 * `facts/MACHINE/GUEST.*`, and what a probe would say of it follows from its host. Its host's own facts are not its.
 * Also refuses guests that are too many or too large for their machine. Reads through the disk it is given.
 */
import type { Diagnostic, Place } from "../diagnostics.ts";
import type { FactOrigin } from "../facts/fact.ts";
import { type FactDisk, type MachineFacts, readFacts } from "../facts/read-facts.ts";
import { declaredGuests } from "../guests/declared.ts";
import { checkQuotas } from "../guests/quota.ts";
import { guestId, parseMachineId } from "../ipam/ula.ts";
import type { AbsPath, FactName } from "../paths.ts";
import type { Machine } from "../project/project.ts";

/** By guest, for those that have a tree; `host` are the machine's own. Adds to `problems`. */
export function readGuestFacts(
  root: AbsPath,
  machine: Machine,
  host: MachineFacts,
  args: ReadonlyMap<string, string>,
  disk: FactDisk,
  problems: Diagnostic[],
): ReadonlyMap<string, MachineFacts> {
  const factOf = (name: string) => host.facts.get(name as FactName)?.value;
  const memoryBytes = factOf("HOST_MEMORY_BYTES");
  const refused: Diagnostic[] = [];
  const guests = declaredGuests(machine, refused);
  // What is wrong with a guest itself is said where its tree is laid.
  if (refused.length === 0)
    checkQuotas(machine, guests, typeof memoryBytes === "number" ? memoryBytes : undefined, problems);
  const machines = guests.flatMap(({ section }) => section.machine ?? []);
  if (machines.length === 0) return new Map();
  const id = factOf("HOST_MACHINE_ID");
  const hostId = typeof id === "string" ? parseMachineId(id) : undefined;
  const derived = (guest: Machine): ReadonlyMap<string, FactOrigin> => {
    const probed = { file: `facts/probed/${machine.name}.json` };
    const known = new Map<string, FactOrigin>();
    const add = (name: string, value: FactOrigin["value"] | undefined, place: Place): void => {
      if (value !== undefined) known.set(name, { level: "probed", place, value });
    };
    add("HOST_NAME", guest.host, guest.place);
    add("HOST_ARCHITECTURE", factOf("HOST_ARCHITECTURE"), probed);
    add("HOST_MACHINE_ID", hostId && guestId(hostId, guest.host), probed);
    return known;
  };
  const facts = readFacts(root, machines, args, disk, derived);
  if (!facts.ok) {
    problems.push(...facts.problems);
    return new Map();
  }
  const { taken, fleet } = host;
  return new Map(
    [...facts.value].map(([name, own]) => [
      name.slice(machine.name.length + 1),
      { ...own, ...(taken === undefined ? {} : { taken }), ...(fleet === undefined ? {} : { fleet }) },
    ]),
  );
}
