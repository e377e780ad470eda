/**
 * Where this host gets Debian packages from, read from its own apt configuration, so that an image builds wherever
 * `apt-get install` works. Must not know what is built.
 */
import { spawnSync } from "node:child_process";

/** Debian's own default. */
const DEBIAN_MIRROR = "http://deb.debian.org/debian";

/**
 * The Debian archive to build from: LABCTL_DEBIAN_MIRROR of `env`, else the first one in the host's apt sources,
 * else Debian's default (on hosts that are not Debian, or without apt). Effects: asks apt-get.
 */
export function mirrorOf(env: NodeJS.ProcessEnv): string {
  const chosen = env.LABCTL_DEBIAN_MIRROR;
  if (chosen) return chosen;
  const format = ["--format", "$(REPO_URI)", "Created-By: Packages"];
  const asked = spawnSync("apt-get", ["indextargets", ...format], { encoding: "utf8" });
  return pickMirror((asked.stdout ?? "").split("\n"));
}

/**
 * The first archive whose path ends in `/debian`, which every mirror of the main archive keeps (and the security
 * archive and other vendors' do not), without its last slash. Pure.
 */
export function pickMirror(uris: readonly string[]): string {
  const found = uris.find((uri) => /^https?:\/\/.*\/debian\/?$/.test(uri));
  return found ? found.replace(/\/$/, "") : DEBIAN_MIRROR;
}

/** The host's proxy and certificate settings as apt.conf lines; empty if there are none. Effects: asks apt-config. */
export function proxyOptions(): string[] {
  const asked = spawnSync("apt-config", ["dump"], { encoding: "utf8" });
  return pickProxyOptions((asked.stdout ?? "").split("\n"));
}

/** Of `apt-config dump`'s lines those that say how to reach a mirror, without the last semicolon. Pure. */
export function pickProxyOptions(lines: readonly string[]): string[] {
  const wanted =
    /^Acquire::https?::(\S+::)?(Proxy|Proxy-Auto-Detect|CAInfo|CAPath|Verify-Peer|Verify-Host)(::\S+)? "[^"]+";$/i;
  return lines.filter((line) => wanted.test(line)).map((line) => line.slice(0, -1));
}
