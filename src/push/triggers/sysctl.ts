/**
 * Kernel settings: sysctl.d(5). All files are read, because a later one may set the same key. A key that no file of the
 * tree sets any more goes back to what it was before labctl first set it; the remote program remembers that.
 */
import type { Rule } from "./rule.ts";

export const sysctl: readonly Rule[] = [
  { path: /^lib\/sysctl\.d\/[^/]+\.conf$/, trigger: "sysctl", reads: "all" },
];
