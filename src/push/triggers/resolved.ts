/** Names: resolved.conf(5), systemd.dnssd(5). Many machines do without resolved, or have it switched off. */
import type { UnitName } from "../../paths.ts";
import type { Rule } from "./rule.ts";

export const resolved: readonly Rule[] = [
  {
    path: /^lib\/systemd\/(resolved\.conf\.d\/[^/]+\.conf|dnssd\/[^/]+\.dnssd(\.d\/[^/]+\.conf)?)$/,
    unit: "systemd-resolved.service" as UnitName,
    // From 257 on it reloads, and keeps what it has cached.
    action: "either",
    why: "has it as its configuration",
  },
];
