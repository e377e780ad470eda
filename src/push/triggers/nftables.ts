/**
 * The firewall: Debian's nftables.service reads /etc/nftables.conf, until a drop-in of the tree makes it read
 * /usr/local/etc/nftables.conf, which includes /usr/local/etc/nftables.d/*. A reload runs `nft -f`, which takes the
 * whole set or nothing: a table that went is gone if the main file begins with `flush ruleset` or destroys it.
 */
import type { UnitName } from "../../paths.ts";
import type { Rule } from "./rule.ts";

const READS_THE_TREE = /\/usr\/local\/etc\/nftables\b/;

export const nftables: readonly Rule[] = [
  {
    path: /^etc\/nftables(\.conf|\.d\/[^/]+\.(nft|conf))$/,
    unit: "nftables.service" as UnitName,
    action: "reload",
    why: "loads the rule set",
    reads: (unit) =>
      [...unit.settings.values()].some((setting) =>
        setting.values.some((entry) => READS_THE_TREE.test(entry.value)),
      ),
  },
];
