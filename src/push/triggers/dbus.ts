/**
 * The system bus: services that it starts on demand, and who may do what, below share/dbus-1 (dbus-daemon(1)). Its
 * reload reads both again; it is never restarted, since nothing on a machine survives that.
 */
import type { Rule } from "./rule.ts";

export const dbus: readonly Rule[] = [
  {
    path: /^share\/dbus-1\/(system-services\/[^/]+\.service|system\.d\/[^/]+\.conf)$/,
    trigger: "dbus",
    reads: "all",
  },
];
