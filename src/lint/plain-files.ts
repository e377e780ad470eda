/**
 * Checks by our own reader for what is no unit: JSON, sysctl, tmpfiles, definitions of images, and the configuration of
 * systemd's daemons. Pure but for the trees' own reading. Sources: sysctl.d(5), tmpfiles.d(5), journald.conf(5), timesyncd.conf(5),
 * resolved.conf(5), logind.conf(5) of systemd 252 and 257.
 */
import { basename } from "node:path";
import { type Diagnostic, problem } from "../diagnostics.ts";
import { readJson } from "../facts/json-reader.ts";
import { IMAGE_NAME } from "../guests/guest.ts";
import { parseDefinition } from "../images/definition.ts";
import { describeImageProblem } from "../images/problems.ts";
import { nearest } from "../suggestion.ts";
import { describeUnitFault } from "../units/lint/problems.ts";
import { unitFileDiagnostic } from "../units/problems.ts";
import { parseUnitFile } from "../units/unit-file.ts";
import { type Check, type Found, uniqueFiles } from "./check.ts";

type Rule = (path: string, text: string) => readonly Diagnostic[];

const RULES: readonly (readonly [pattern: RegExp, rule: Rule])[] = [
  [/\.json$/, lintJson],
  [/^lib\/sysctl\.d\/[^/]+\.conf$/, lintSysctl],
  [/^lib\/tmpfiles\.d\/[^/]+\.conf$/, lintTmpfiles],
  [/^lib\/systemd\/[a-z-]+\.conf\.d\/[^/]+\.conf$/, lintDaemonConfig],
  [/^etc\/images\/[^/]+\.ini$/, lintImage],
  [/^lib\/systemd\/network\/.+\.(network|netdev|link|conf)$/, lintDaemonConfig],
];

export const plainFiles: Check = {
  name: "plain files",
  plan: (trees) => {
    const found: Found[] = [];
    for (const { tree, path } of uniqueFiles(trees, (path) => RULES.some(([p]) => p.test(path)))) {
      const text = tree.read(path as never);
      if (text === undefined) continue;
      for (const [pattern, rule] of RULES)
        if (pattern.test(path)) found.push(...rule(path, text).map((diagnostic) => ({ tree, diagnostic })));
    }
    return found.length === 0 ? [] : [async () => ({ found })];
  },
};

function lintJson(path: string, text: string): Diagnostic[] {
  const reading = readJson(text);
  if (reading.ok) return [];
  const before = text.slice(0, reading.offset).split("\n");
  const place = { file: path, line: before.length, column: (before.at(-1) ?? "").length + 1 };
  return [problem("json-syntax", `no JSON: ${reading.message}`, { place, help: "correct the file" })];
}

/** As the machine's program reads it. */
function lintImage(path: string, text: string): readonly Diagnostic[] {
  const name = basename(path, ".ini");
  const read = parseDefinition(text, name, path);
  const named = IMAGE_NAME.test(name) ? [] : [describeImageProblem({ kind: "image-name", name })];
  return [...named, ...(read.ok ? read.warnings : read.problems)];
}

/** Each line `[-]name = value`; a line `-name` takes names out of a pattern. */
function lintSysctl(path: string, text: string): Diagnostic[] {
  return text.split("\n").flatMap((raw, i) => {
    const line = raw.trim();
    if (
      line === "" ||
      /^[#;]/.test(line) ||
      /^-?[\w./*?[\]:-]+\s*=/.test(line) ||
      /^-[\w./*?[\]-]+$/.test(line)
    )
      return [];
    return [
      problem("sysctl-syntax", "line is no `name = value`; systemd-sysctl ignores it", {
        place: { file: path, line: i + 1 },
        notes: [`found: ${line}`],
        help: "write `name = value`, or `#` before a comment",
      }),
    ];
  });
}

const TMPFILES_TYPES = "f w d D e v q Q p L c b C x X r R z Z t T h H a A m F".split(" ");

/** Type, path, mode: the rest depends on the type. */
function lintTmpfiles(path: string, text: string): Diagnostic[] {
  return text.split("\n").flatMap((raw, i) => {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) return [];
    const [type = "", target = "", mode = "-"] = line.split(/\s+/);
    const refuse = (message: string, help: string): Diagnostic[] => [
      problem("tmpfiles-syntax", `${message}; systemd-tmpfiles ignores the line`, {
        place: { file: path, line: i + 1 },
        notes: [`found: ${line}`],
        help,
      }),
    ];
    if (!TMPFILES_TYPES.includes(type.charAt(0)) || !/^.[!+\-=~^$?]*$/.test(type))
      return refuse(`\`${type}\` is no type of line`, `types: ${TMPFILES_TYPES.join(" ")}`);
    if (!/^["']?[/%]/.test(target)) return refuse(`\`${target}\` is no absolute path`, "begin it with `/`");
    if (!/^(-|[~:]{0,2}[0-7]{3,5})$/.test(mode))
      return refuse(`\`${mode}\` is no mode`, "write it like 0755, or `-`");
    return [];
  });
}

const words = (text: string): string[] => text.trim().split(/\s+/);

/** Section and keys of daemons, by the folder's name without `.conf.d`. */
const DAEMON_KEYS: Readonly<Record<string, readonly [section: string, keys: readonly string[]]>> = {
  journald: [
    "Journal",
    words(`Audit Compress ForwardToConsole ForwardToKMsg ForwardToSocket ForwardToSyslog ForwardToWall LineMax
      MaxFileSec MaxLevelConsole MaxLevelKMsg MaxLevelSocket MaxLevelStore MaxLevelSyslog MaxLevelWall
      MaxRetentionSec RateLimitBurst RateLimitInterval RateLimitIntervalSec ReadKMsg RuntimeKeepFree
      RuntimeMaxFileSize RuntimeMaxFiles RuntimeMaxUse Seal SplitMode Storage SyncIntervalSec SystemKeepFree
      SystemMaxFileSize SystemMaxFiles SystemMaxUse TTYPath`),
  ],
  timesyncd: [
    "Time",
    words(`ConnectionRetrySec FallbackNTP NTP PollIntervalMaxSec PollIntervalMinSec RootDistanceMaxSec
      SaveIntervalSec Servers`),
  ],
  resolved: [
    "Resolve",
    words(`Cache CacheFromLocalhost DNS DNSOverTLS DNSSEC DNSStubListener DNSStubListenerExtra Domains FallbackDNS
      LLMNR MulticastDNS ReadEtcHosts ResolveUnicastSingleLabel StaleRetentionSec`),
  ],
  logind: [
    "Login",
    words(`DesignatedMaintenanceTime HandleHibernateKey HandleHibernateKeyLongPress HandleLidSwitch
      HandleLidSwitchDocked HandleLidSwitchExternalPower HandlePowerKey HandlePowerKeyLongPress HandleRebootKey
      HandleRebootKeyLongPress HandleSecureAttentionKey HandleSuspendKey HandleSuspendKeyLongPress
      HibernateKeyIgnoreInhibited HoldoffTimeoutSec IdleAction IdleActionSec InhibitDelayMaxSec InhibitorsMax
      KillExcludeUsers KillOnlyUsers KillUserProcesses LidSwitchIgnoreInhibited NAutoVTs PowerKeyIgnoreInhibited
      RebootKeyIgnoreInhibited RemoveIPC ReserveVT RuntimeDirectoryInodesMax RuntimeDirectorySize SessionsMax
      SleepOperation StopIdleSessionSec SuspendKeyIgnoreInhibited UserStopDelaySec UserTasksMax`),
  ],
};

/** Syntax for all; sections and keys for the daemons of the table. */
function lintDaemonConfig(path: string, text: string): Diagnostic[] {
  const file = parseUnitFile(text);
  const out = file.problems.map((found) => unitFileDiagnostic(found, path));
  const [section, keys] = DAEMON_KEYS[/^lib\/systemd\/([a-z-]+)\.conf\.d\//.exec(path)?.[1] ?? ""] ?? [];
  if (section === undefined || keys === undefined) return out;
  for (const a of file.assignments) {
    const place = { file: path, line: a.line };
    if (a.section !== section)
      out.push(describeUnitFault({ kind: "unknown-section", section: a.section, near: section }, place));
    else if (!keys.includes(a.key))
      out.push(
        describeUnitFault(
          { kind: "unknown-key", section, key: a.key, near: nearest(a.key, keys), elsewhere: [] },
          place,
        ),
      );
  }
  return out;
}
