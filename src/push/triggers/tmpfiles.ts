/**
 * Folders, links and permissions: tmpfiles.d(5), `systemd-tmpfiles --create` of the changed files alone; the lines of
 * other files are left to the boot. What a file made may hold data, so nothing is removed with it.
 */
import type { Rule } from "./rule.ts";

export const tmpfiles: readonly Rule[] = [
  {
    path: /^lib\/tmpfiles\.d\/[^/]+\.conf$/,
    trigger: "tmpfiles",
    reads: "files",
    stays: "what it made stays, since it may hold data",
  },
];
