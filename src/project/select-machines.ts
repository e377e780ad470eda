/** Picks machines by exact name, glob or `tag:NAME`. Pure. */
import type { Diagnostic, Result } from "../diagnostics.ts";
import { failure, success } from "../diagnostics.ts";
import { describe } from "./problems.ts";
import type { Machine } from "./project.ts";

/**
 * Machines that any pattern matches, in the order given, each once; no pattern means all of them. `!PATTERN` takes away
 * what it matches, wherever it stands. Of these, only what `limits` matches, if there are any. A pattern that matches no
 * machine is a problem, and so is a selection that comes to nothing.
 */
export function selectMachines(
  machines: readonly Machine[],
  patterns: readonly string[],
  limits: readonly string[] = [],
): Result<readonly Machine[]> {
  const problems: Diagnostic[] = [];
  const named = pick(machines, patterns, problems);
  const limited = limits.length === 0 ? named : pick(machines, limits, problems);
  if (problems.length > 0) return failure(...problems);
  const both = [...named].filter((m) => limited.has(m));
  if (both.length === 0 && (patterns.length > 0 || limits.length > 0))
    return failure(describe({ kind: "no-machine-left", patterns, limits }));
  return success(both);
}

function pick(
  machines: readonly Machine[],
  patterns: readonly string[],
  problems: Diagnostic[],
): ReadonlySet<Machine> {
  const wanted = patterns.filter((p) => !p.startsWith("!"));
  const picked = new Set<Machine>(wanted.length === 0 ? machines : []);
  const matching = (pattern: string, text: string): readonly Machine[] => {
    const matched = machines.filter((m) => matches(m, pattern));
    if (matched.length === 0)
      problems.push(
        describe({
          kind: "unknown-machine",
          pattern: text,
          known: machines.map((m) => m.name),
          tags: [...new Set(machines.flatMap((m) => m.tags))].sort(),
        }),
      );
    return matched;
  };
  for (const pattern of wanted) for (const m of matching(pattern, pattern)) picked.add(m);
  for (const pattern of patterns)
    if (pattern.startsWith("!")) for (const m of matching(pattern.slice(1), pattern)) picked.delete(m);
  return picked;
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
