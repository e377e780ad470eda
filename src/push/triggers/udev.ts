/** Device rules: udev(7); systemd.link(5) files are read by udev, too, and not by networkd. */
import type { Rule } from "./rule.ts";

const counts = "counts from each device's next event on; `udevadm trigger` makes one";

export const udev: readonly Rule[] = [
  { path: /^lib\/udev\/rules\.d\/[^/]+\.rules$/, trigger: "udev", reads: "all", counts },
  {
    path: /^lib\/systemd\/network\/[^/]+\.link(\.d\/[^/]+\.conf)?$/,
    trigger: "udev",
    reads: "all",
    counts,
  },
];
