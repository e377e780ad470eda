/**
 * Every way in which booting disposable machines can be refused or fail, and its one wording.
 * This file must not find out anything itself, nor print.
 */

import { type Diagnostic, problem, warning } from "../diagnostics.ts";
import type { AbsPath } from "../paths.ts";
import type { CheckEnd } from "./machine-checks.ts";

export type TwinProblem =
  | { readonly kind: "host-not-linux"; readonly platform: string }
  | { readonly kind: "host-not-root"; readonly uid: number }
  | { readonly kind: "host-program-missing"; readonly program: string; readonly debianPackage: string }
  | { readonly kind: "host-namespaces-refused"; readonly output: string }
  | { readonly kind: "host-cgroup2-refused"; readonly output: string }
  | { readonly kind: "host-loop-missing" }
  | { readonly kind: "host-copy-on-write-missing" }
  | {
      readonly kind: "host-disk-short";
      readonly folder: string;
      readonly freeBytes: number;
      readonly neededBytes: number;
    }
  | { readonly kind: "host-null-damaged" }
  | {
      readonly kind: "image-build-failed";
      readonly suite: string;
      readonly mirror: string;
      readonly lastLines: readonly string[];
    }
  | { readonly kind: "image-lock-failed"; readonly file: AbsPath; readonly output: string }
  | { readonly kind: "bed-outside-namespaces" }
  | {
      readonly kind: "bed-step-failed";
      readonly step: string;
      readonly argv: readonly string[];
      readonly output: string;
    }
  | { readonly kind: "machine-name-unusable"; readonly name: string; readonly why: string }
  | {
      readonly kind: "machine-address-unusable";
      readonly name: string;
      readonly address: string;
      readonly why: string;
    }
  | {
      readonly kind: "machine-ended-early";
      readonly name: string;
      readonly status: string;
      readonly console: readonly string[];
    }
  | {
      readonly kind: "machine-not-ready";
      readonly name: string;
      readonly timeoutMs: number;
      readonly missing: string;
      readonly console: readonly string[];
    }
  | { readonly kind: "machine-still-running"; readonly name: string }
  | { readonly kind: "machine-call-failed"; readonly name: string; readonly why: string }
  | { readonly kind: "twin-check-failed"; readonly machine: string; readonly check: CheckEnd }
  | {
      readonly kind: "twin-unit-failed";
      readonly machine: string;
      readonly unit: string;
      readonly log: readonly string[];
    }
  | {
      readonly kind: "twin-other-generation";
      readonly machine: string;
      readonly wanted: string;
      readonly found: string;
    };

/** Words a problem; the code is its kind. Pure. */
export function describeProblem(p: TwinProblem): Diagnostic {
  switch (p.kind) {
    case "host-not-linux":
      return problem(p.kind, `machines boot on Linux only; this is ${p.platform}`, {
        help: "run this on a Linux host, or use `labctl build` alone, which needs no machine",
      });
    case "host-not-root":
      return problem(p.kind, `booting machines needs root; this is user ${p.uid}`, {
        notes: ["namespaces, loop devices and the machines' own users are set up by root"],
        help: "run the same command with sudo, or use `labctl build` alone, which needs no root",
      });
    case "host-program-missing":
      return problem(p.kind, `program \`${p.program}\` is not installed`, {
        help: `apt-get install --no-install-recommends ${p.debianPackage}`,
      });
    case "host-namespaces-refused":
      return problem(p.kind, "this host refuses new pid, network and mount namespaces", {
        notes: outputNotes(p.output),
        help: "in a container, give it all capabilities (`--privileged`); else use a virtual machine",
      });
    case "host-cgroup2-refused":
      return problem(p.kind, "cgroup2 can't be mounted in a private mount namespace", {
        notes: outputNotes(p.output),
        help: "in a container, give it all capabilities (`--privileged`); the kernel needs CONFIG_CGROUPS",
      });
    case "host-loop-missing":
      return problem(p.kind, "there is no /dev/loop-control, so no disk image can be mounted", {
        help: "run `modprobe loop` on the host; in a container, pass /dev/loop-control and /dev/loop* in",
      });
    case "host-copy-on-write-missing":
      return problem(p.kind, "neither btrfs nor overlay is in /proc/filesystems", {
        notes: ["machines share one root file system, each with its own changes on top"],
        help: "run `modprobe btrfs` (best) or `modprobe overlay` on the host",
      });
    case "host-disk-short":
      return problem(
        p.kind,
        `${megabytes(p.freeBytes)} free in ${p.folder}, ${megabytes(p.neededBytes)} needed`,
        {
          help: "free some space, or point TMPDIR at a folder on a larger disk",
        },
      );
    case "host-null-damaged":
      return problem(p.kind, "/dev/null is no longer the null device on this host", {
        notes: ["something that ran in the namespaces replaced it"],
        help: "as root: rm -f /dev/null && mknod -m 666 /dev/null c 1 3",
      });
    case "image-build-failed":
      return problem(p.kind, `the ${p.suite} image could not be built from ${p.mirror}`, {
        notes: [...p.lastLines.map((line) => `mmdebstrap: ${line}`), "nothing was kept of it"],
        help: "check that this host reaches its Debian mirror (`apt-get update`), or set LABCTL_DEBIAN_MIRROR",
      });
    case "image-lock-failed":
      return problem(p.kind, `the lock ${p.file} could not be taken`, {
        notes: outputNotes(p.output),
        help: "check that the cache folder is writable, or set XDG_CACHE_HOME",
      });
    case "bed-outside-namespaces":
      return problem(p.kind, "machines boot inside private namespaces only; this process is outside", {
        notes: ["nothing was changed on the host"],
        help: "start the program through `runInNamespaces`",
      });
    case "bed-step-failed":
      return problem(p.kind, `could not ${p.step}`, {
        notes: [`command: ${p.argv.join(" ")}`, ...outputNotes(p.output)],
        help: "`labctl doctor` and the host's `dmesg` may say more",
      });
    case "machine-name-unusable":
      return problem(p.kind, `\`${p.name}\` can't name a machine: ${p.why}`, {
        help: "use letters, digits and `-`, at most 63, first and last a letter or digit",
      });
    case "machine-address-unusable":
      return problem(p.kind, `address ${p.address} can't be machine \`${p.name}\`'s: ${p.why}`, {
        help: "leave the address out, or choose a free one from 10.97.0.2 to 10.97.0.254",
      });
    case "machine-ended-early":
      return problem(p.kind, `machine \`${p.name}\` ended before it was ready (${p.status})`, {
        notes: consoleNotes(p.console),
        help: "the last console lines say what it was doing",
      });
    case "machine-not-ready":
      return problem(p.kind, `machine \`${p.name}\` was not ready after ${p.timeoutMs / 1000} s`, {
        notes: [`still missing: ${p.missing}`, ...consoleNotes(p.console), "the machine was switched off"],
        help: "a loaded host may need a longer deadline; else the last console lines say where it hangs",
      });
    case "machine-still-running":
      return problem(p.kind, `machine \`${p.name}\` is running`, { help: "stop or kill it first" });
    case "machine-call-failed":
      return problem(p.kind, `a program in ${p.name} could not be run: ${p.why}`, {
        help: "the host may be short of memory or processes; `dmesg` may say more",
      });
    case "twin-check-failed": {
      const { name, verdict, how, output } = p.check;
      const end = verdict === "timeout" ? "did not end in time" : "failed";
      return problem(p.kind, `check \`${name}\` ${end} in the twin of \`${p.machine}\``, {
        notes: [...(how === undefined ? [] : [how]), ...output.map((line) => `said: ${line}`)],
        help: `\`labctl twin ${p.machine} --shell\` looks around in it`,
      });
    }
    case "twin-unit-failed":
      return problem(p.kind, `unit \`${p.unit}\` failed in the twin of \`${p.machine}\``, {
        notes: p.log.map((line) => `said: ${line}`),
        help: `\`labctl twin ${p.machine} -- systemctl status ${p.unit}\``,
      });
    case "twin-other-generation":
      return problem(p.kind, `the twin of \`${p.machine}\` runs ${p.found || "no generation"}`, {
        notes: [`the build is ${p.wanted}`, "something in the twin changed labctl's own files"],
        help: "look for a unit or check that writes to /usr/local",
      });
    default:
      return p satisfies never;
  }
}

/** Said where the secrets of a machine can't be opened by whoever makes its twin. Pure. */
export function twinSecretsWarning(
  machine: string,
  secrets: readonly string[],
  why: readonly Diagnostic[],
): Diagnostic {
  return warning("twin-secrets-missing", `the twin of \`${machine}\` has none of its secrets`, {
    notes: [
      ...why.map((p) => p.message),
      `missing: ${secrets.join(", ")}`,
      "units that load them fail in it, or go without",
    ],
    ...(why[0]?.help === undefined ? {} : { help: why[0].help }),
  });
}

/** Said aloud where machines run on overlayfs instead of btrfs. Pure. */
export function overlayWarning(): Diagnostic {
  return warning("host-btrfs-missing", "this host has no btrfs; machines run on overlayfs instead", {
    notes: ["snapshots inside machines do not work there"],
    help: "run `modprobe btrfs` on the host and install btrfs-progs",
  });
}

/** Several lines of a program's output, empty ones dropped. Pure. */
function outputNotes(output: string): string[] {
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  return lines.slice(-8).map((line) => `said: ${line}`);
}

function consoleNotes(lines: readonly string[]): string[] {
  return lines.length === 0 ? ["console: (empty)"] : lines.map((line) => `console: ${line}`);
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1e6)} MB`;
}
