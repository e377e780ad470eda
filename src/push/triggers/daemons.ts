/** The smaller daemons of systemd, each of which reads one folder at its start, and some when they reload. */
import type { UnitName } from "../../paths.ts";
import type { Rule } from "./rule.ts";

export const daemons: readonly Rule[] = [
  // timesyncd.conf(5)
  atStart("timesyncd"),
  // logind.conf(5): logind keeps its sessions over a restart.
  atStart("logind"),
  // oomd.conf(5)
  atStart("oomd"),
];

function atStart(name: string): Rule {
  return {
    path: new RegExp(`^lib/systemd/${name}\\.conf\\.d/[^/]+\\.conf$`),
    unit: `systemd-${name}.service` as UnitName,
    // logind reloads from 254 on.
    action: "either",
    why: "has it as its configuration",
  };
}
