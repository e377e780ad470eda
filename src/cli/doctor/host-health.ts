/**
 * What of this host is not as labctl wants it, each with what to do. Facts are read by one function and judged by another.
 * Installs and changes nothing.
 */
import { accessSync, constants, existsSync } from "node:fs";
import { homedir } from "node:os";
import { dirname } from "node:path";
import { type Diagnostic, problem, warning } from "../../diagnostics.ts";
import { findProgram } from "../../lint/program.ts";
import { cacheFolder } from "../../paths.ts";
import { type HostFacts, judgeHost, readHostFacts } from "../../twin/host-support.ts";

/** Oldest Node.js that labctl runs on; package.json says the same. */
const OLDEST_NODE: readonly [number, number] = [20, 19];

/** Program → Debian package; a push needs those. */
const NEEDED: Readonly<Record<string, string>> = { ssh: "openssh-client", rsync: "rsync", git: "git" };

/** Program → Debian package; `labctl verify` leaves out what each would check. */
const CHECKERS: Readonly<Record<string, string>> = {
  "systemd-analyze": "systemd",
  shellcheck: "shellcheck",
  nginx: "nginx-light",
  nft: "nftables",
  sshd: "openssh-server",
  visudo: "sudo",
};

export interface HostHealth {
  /** `20.20.2`. */
  readonly node: string;
  /** A file of certificates that each start of Node.js reads; undefined: none. */
  readonly extraCertificates: string | undefined;
  /** Of the programs above, those that are not there. */
  readonly programsMissing: readonly string[];
  /** Undefined: it can be written. */
  readonly cacheClosed: string | undefined;
  readonly twin: HostFacts;
}

/** Effects: those of `readHostFacts`. */
export function readHostHealth(env: NodeJS.ProcessEnv): HostHealth {
  const cache = cacheFolder(env, homedir());
  return {
    node: process.versions.node,
    extraCertificates: env.NODE_EXTRA_CA_CERTS,
    programsMissing: [...Object.keys(NEEDED), ...Object.keys(CHECKERS)].filter(
      (name) => findProgram(name) === undefined,
    ),
    cacheClosed: isWritable(cache) ? undefined : cache,
    twin: readHostFacts(),
  };
}

/** Errors: what no push can do without. Warnings: what something works less well without. Pure. */
export function judgeHealth(health: HostHealth): Diagnostic[] {
  const { node, programsMissing, twin } = health;
  const out: Diagnostic[] = [];
  const [major = 0, minor = 0] = node.split(".").map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]))
    out.push(
      problem("doctor-node-old", `Node.js ${node} is older than ${OLDEST_NODE.join(".")}`, {
        help: "install a newer one; nodejs.org says how",
      }),
    );
  for (const [program, debianPackage] of Object.entries(NEEDED))
    if (programsMissing.includes(program))
      out.push(
        problem("doctor-program-missing", `program \`${program}\` is not installed`, {
          help: `apt-get install --no-install-recommends ${debianPackage}`,
        }),
      );
  const checkers = Object.keys(CHECKERS).filter((name) => programsMissing.includes(name));
  if (checkers.length > 0)
    out.push(
      warning("doctor-checkers-missing", `\`labctl verify\` can't ask ${checkers.join(", ")}`, {
        notes: ["what they would check is left out, and said so"],
        help: `apt-get install --no-install-recommends ${checkers.map((name) => CHECKERS[name]).join(" ")}`,
      }),
    );
  if (health.cacheClosed !== undefined)
    out.push(
      warning("doctor-cache-closed", `the cache folder ${health.cacheClosed} can't be written`, {
        help: "make it writable, or set XDG_CACHE_HOME",
      }),
    );
  if (health.extraCertificates !== undefined)
    out.push(
      warning("doctor-slow-start", "NODE_EXTRA_CA_CERTS makes each start of labctl slower", {
        notes: [
          `it names ${health.extraCertificates}, which Node.js reads each time; labctl asks no server by https`,
        ],
        help: "unset it where you call labctl",
      }),
    );
  return [...out, ...judgeTwin(twin)];
}

/** Whoever is no root, or not on Linux, asked for no twin: that is no fault of the host. */
function judgeTwin(facts: HostFacts): Diagnostic[] {
  if (facts.platform !== "linux" || facts.uid !== 0) return [];
  const judged = judgeHost(facts);
  const notes = (d: Diagnostic): readonly string[] => [
    ...d.notes,
    "`labctl twin` needs it, and nothing else does",
  ];
  return judged.ok
    ? [...judged.warnings]
    : judged.problems.map((d) => ({ ...d, severity: "warning" as const, notes: notes(d) }));
}

/** The folder, or the nearest one above it that is there. */
function isWritable(folder: string): boolean {
  let at = folder;
  while (!existsSync(at) && at !== dirname(at)) at = dirname(at);
  try {
    accessSync(at, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
