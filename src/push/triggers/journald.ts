/** The journal: journald.conf(5). A restart keeps everyone's streams, which systemd holds meanwhile. */
import type { UnitName } from "../../paths.ts";
import type { Rule } from "./rule.ts";

export const journald: readonly Rule[] = [
  {
    path: /^lib\/systemd\/journald\.conf\.d\/[^/]+\.conf$/,
    unit: "systemd-journald.service" as UnitName,
    action: "restart",
    why: "reads its configuration at start only",
  },
];
