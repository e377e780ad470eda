/** Interpreters by file type: binfmt.d(5). All are registered anew, so one that went is gone. */
import type { Rule } from "./rule.ts";

export const binfmt: readonly Rule[] = [
  { path: /^lib\/binfmt\.d\/[^/]+\.conf$/, trigger: "binfmt", reads: "all" },
];
