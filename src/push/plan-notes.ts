/** What a push leaves undone, in a sentence each, so that nobody has to find out: the end of a plan. Pure. */
import { classifyPath } from "../units/unit-path.ts";
import type { FileChange } from "./tree-diff.ts";
import { leftBehind } from "./triggers/index.ts";

/** Sentences for a set of changes; empty where all that changed also takes effect. Pure. */
export function planNotes(changes: readonly FileChange[]): string[] {
  return [...leftBehind(changes), ...userUnits(changes)];
}

/** Managers of users come and go with their logins, and labctl has no business in anyone's session. */
function userUnits(changes: readonly FileChange[]): string[] {
  const paths = changes.filter((c) => c.change !== "attributes" && classifyPath(c.path)?.scope === "user");
  const [first] = paths;
  if (!first) return [];
  const more = paths.length > 1 ? ` and ${paths.length - 1} more` : "";
  return [
    `${first.path}${more} is for user managers: one that runs takes it after \`systemctl --user daemon-reload\`, ` +
      "or at its user's next login",
  ];
}
