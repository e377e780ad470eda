/**
 * Gathers what a repository says about addresses, for all its machines: what they want, what is reserved, what they were
 * seen to use, what is allocated. Reads through the disk it is given; decides nothing.
 */
import { join } from "node:path";
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { type FactDisk, type MachineFacts, readFacts } from "../facts/read-facts.ts";
import { LEDGER_FILE } from "../ipam/ledger.ts";
import { type MachineId, parseMachineId } from "../ipam/ula.ts";
import {
  type Link,
  type Reserved,
  readLinks,
  readReserved,
  readSeen,
  readWishes,
  type Seen,
  type Wish,
} from "../ipam/wish.ts";
import type { AbsPath, FactName } from "../paths.ts";
import type { Machine, Project } from "../project/project.ts";
import { describe } from "./problems.ts";

/** What one machine has to do with addresses. */
export interface MachineAddresses {
  readonly name: string;
  /** Undefined: never probed. */
  readonly id?: MachineId;
  readonly links: readonly Link[];
  readonly wishes: readonly Wish[];
  readonly seen: readonly Seen[];
}

export interface AddressBook {
  /** Sorted by name. */
  readonly machines: readonly MachineAddresses[];
  readonly reserved: readonly Reserved[];
  /** `facts/ipam.json` as it stands; undefined: there is none. */
  readonly ledgerText: string | undefined;
}

/** All problems of all machines, or the book. */
export function readAddressBook(
  project: Project,
  args: ReadonlyMap<string, string>,
  disk: FactDisk,
): Result<AddressBook> {
  const problems: Diagnostic[] = [];
  const facts = readFacts(project.root, project.machines, args, disk);
  if (!facts.ok) return facts;
  const machines = project.machines.map((m) => addressesOf(m, facts.value.get(m.name), problems));
  const reserved = readReserved(project.reserved, problems);
  const ledgerText = readText(project.root, LEDGER_FILE, disk, problems);
  return problems.length > 0 ? failure(...problems) : success({ machines, reserved, ledgerText });
}

/** Adds to `problems`; pure otherwise. */
export function addressesOf(
  machine: Machine,
  facts: MachineFacts | undefined,
  problems: Diagnostic[],
): MachineAddresses {
  const value = (name: string) => facts?.facts.get(name as FactName)?.value;
  const idText = value("HOST_MACHINE_ID");
  const id = typeof idText === "string" ? parseMachineId(idText) : undefined;
  const links = readLinks(value("HOST_LINKS"));
  return {
    name: machine.name,
    ...(id ? { id } : {}),
    links,
    wishes: readWishes(machine.name, machine.networks, links, problems),
    seen: readSeen(machine.name, links, value("HOST_ROUTES")),
  };
}

/** A file of the repository; undefined if there is none, or after adding to `problems` why it can't be read. */
export function readText(
  root: AbsPath,
  file: string,
  disk: FactDisk,
  problems: Diagnostic[],
): string | undefined {
  const path = join(root, file) as AbsPath;
  disk.filesRead.push(path);
  try {
    return disk.readText(path);
  } catch (error) {
    problems.push(describe({ kind: "unreadable", place: { file }, why: (error as Error).message }));
    return undefined;
  }
}
