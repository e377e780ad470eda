/** Users and groups: sysusers.d(5). They are only ever added, so a file that went asks for nothing. */
import type { Rule } from "./rule.ts";

export const sysusers: readonly Rule[] = [
  {
    path: /^lib\/sysusers\.d\/[^/]+\.conf$/,
    trigger: "sysusers",
    reads: "files",
    stays: "its users and groups stay, since files may belong to them; `userdel` removes one",
  },
];
