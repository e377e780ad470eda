/** Picks machines by exact name, glob or `tag:NAME`. Pure. */
import type { Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { describe } from "./problems.ts";
import type { Machine } from "./project.ts";

/** Machines that any pattern matches, in the order given, each once; a pattern that matches none is a problem. */
export function selectMachines(
  machines: readonly Machine[],
  patterns: readonly string[],
): Result<readonly Machine[]> {
  if (patterns.length === 0) return success(machines);
  const picked = new Set<Machine>();
  const problems = [];
  for (const pattern of patterns) {
    const matched = machines.filter((m) => matches(m, pattern));
    if (matched.length === 0)
      problems.push(describe({ kind: "unknown-machine", pattern, known: machines.map((m) => m.name) }));
    for (const m of matched) picked.add(m);
  }
  return problems.length > 0 ? failure(...problems) : success([...picked]);
}

function matches(machine: Machine, pattern: string): boolean {
  if (pattern.startsWith("tag:")) return machine.tags.includes(pattern.slice(4));
  if (pattern.startsWith("@")) return machine.tags.includes(pattern.slice(1));
  if (!/[*?]/.test(pattern)) return machine.name === pattern;
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`).test(machine.name);
}
