/** Kernel modules: modules-load.d(5). A container has its host's kernel and loads none. */
import type { Rule } from "./rule.ts";

export const modulesLoad: readonly Rule[] = [
  {
    path: /^lib\/modules-load\.d\/[^/]+\.conf$/,
    trigger: "modules-load",
    reads: "files",
    stays: "its modules stay loaded until the next boot",
  },
];
