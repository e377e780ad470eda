/**
 * Links and addresses: systemd.network(5), systemd.netdev(5); `networkctl reload` configures anew the links whose files
 * differ. networkd reads its own settings, networkd.conf(5), at its start only.
 */
import type { UnitName } from "../../paths.ts";
import type { Rule } from "./rule.ts";

export const networkd: readonly Rule[] = [
  { path: /^lib\/systemd\/network\/[^/]+\.network(\.d\/[^/]+\.conf)?$/, trigger: "networkd", reads: "all" },
  {
    path: /^lib\/systemd\/network\/[^/]+\.netdev(\.d\/[^/]+\.conf)?$/,
    trigger: "networkd",
    reads: "all",
    stays: "its device stays until the next boot; `networkctl delete` removes it",
  },
  {
    path: /^lib\/systemd\/networkd\.conf\.d\/[^/]+\.conf$/,
    unit: "systemd-networkd.service" as UnitName,
    action: "restart",
    why: "reads its own settings at start only",
  },
];
