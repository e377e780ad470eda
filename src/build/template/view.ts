/** What templates see of a machine, and what messages say of it. Pure. */
import type { FactSearch, FactValue } from "../../facts/fact.ts";
import type { MachineFacts } from "../../facts/read-facts.ts";
import { LEDGER_FILE } from "../../ipam/ledger.ts";
import type { FactName, MachineName } from "../../paths.ts";
import type { Machine } from "../../project/project.ts";

/** What rendering needs of a machine. */
export interface TemplateView {
  readonly machine: MachineName;
  /** Facts and `machine` by name. */
  readonly facts: Readonly<Record<string, FactValue>>;
  readonly searched: FactSearch;
  /** Where a fact's value comes from. */
  originOf(path: string): string;
}

/** The root object that templates see. Pure. */
export function templateFacts(machine: Machine, facts: MachineFacts): Readonly<Record<string, FactValue>> {
  const out: Record<string, FactValue> = {};
  for (const fact of facts.facts.values()) out[fact.name] = fact.value;
  out.machine = {
    // A guest's name is that of its host, `/`, and its own.
    name: machine.name.slice(machine.name.indexOf("/") + 1),
    host: machine.host,
    tags: [...machine.tags],
    layers: machine.layers.map((l) => l.name),
    instances: machine.instances.map((i) => i.unit),
    networks: facts.networks ?? {},
    taken: facts.taken ?? [],
    fleet: facts.fleet ?? [],
  };
  return out;
}

/** A machine with its facts as templates see both. Pure. */
export function templateView(machine: Machine, facts: MachineFacts): TemplateView {
  return {
    machine: machine.name,
    facts: templateFacts(machine, facts),
    searched: facts.searched,
    originOf: (path) => originOf(facts, path),
  };
}

function originOf(facts: MachineFacts, path: string): string {
  const fact = facts.facts.get(path.split(".")[0] as FactName);
  if (/^machine\.(networks|taken|fleet)\b/.test(path)) return LEDGER_FILE;
  if (!fact) return path.startsWith("machine.") ? "machine.ini" : "unset";
  const place = fact.origin.place;
  return place ? `${place.file}${place.line === undefined ? "" : `:${place.line}`}` : "--fact";
}
