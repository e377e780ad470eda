/**
 * How systemd combines several assignments of one key, and when two values mean the same. Derived from
 * `systemd --dump-configuration-items` (252), load-fragment-gperf.gperf.in and the parsers in load-fragment.c.
 * A key that no table names takes its last value. Must not know files or units.
 */
import { splitWords } from "./quoted-words.ts";
import { canonicalPath, canonicalSpelling } from "./value-spelling.ts";

/**
 * single: the last assignment counts.
 * set: words accumulate, their order has no meaning.
 * lines: assignments accumulate, each is kept whole, their order has no meaning.
 * sequence: assignments accumulate in order, each is kept whole.
 * filter: words accumulate; an assignment that begins with `~` inverts, so order counts once one does.
 * environment: `A=1` words accumulate, the last one of a name counts.
 */
export type SettingKind = "single" | "set" | "lines" | "sequence" | "filter" | "environment";

const words = (text: string): string[] => text.trim().split(/\s+/);

const SET = new Set([
  ...words(`After Before Requires Requisite Wants BindsTo BindTo Upholds Conflicts OnSuccess OnFailure
    PropagatesReloadTo PropagateReloadTo ReloadPropagatedFrom PropagateReloadFrom PropagatesStopTo
    StopPropagatedFrom PartOf JoinsNamespaceOf RequiresMountsFor WantsMountsFor Documentation`),
  ...words("WantedBy RequiredBy UpheldBy Also Alias Sockets"),
  ...words(`ReadWritePaths ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths ReadWriteDirectories
    ReadOnlyDirectories InaccessibleDirectories ExtensionDirectories ExtensionImages TemporaryFileSystem BindPaths
    BindReadOnlyPaths MountImages RuntimeDirectory StateDirectory CacheDirectory LogsDirectory
    ConfigurationDirectory SupplementaryGroups PassEnvironment UnsetEnvironment 
    LogExtraFields
    CPUAffinity AllowedCPUs AllowedMemoryNodes StartupAllowedCPUs
    StartupAllowedMemoryNodes NUMAMask SecureBits SystemCallArchitectures RootImageOptions NFTSet`),
  ...words(`IPAddressAllow IPAddressDeny IPIngressFilterPath IPEgressFilterPath SocketBindAllow
    SocketBindDeny DisableControllers Delegate`),
  ...words("SuccessExitStatus RestartPreventExitStatus RestartForceExitStatus Symlinks"),
  // labctl's own, in [X-Labctl].
  ...words("ReloadOn RestartOn"),
]);

const LINES = new Set([
  ...words("OnActiveSec OnBootSec OnStartupSec OnUnitActiveSec OnUnitInactiveSec OnCalendar"),
  ...words("PathExists PathExistsGlob PathChanged PathModified DirectoryNotEmpty"),
  ...words("LoadCredential LoadCredentialEncrypted SetCredential SetCredentialEncrypted ImportCredential"),
  // A device and its value, a type and its program: the words of one line belong together.
  ...words(`DeviceAllow IODeviceWeight IODeviceLatencyTargetSec IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax
    IOWriteIOPSMax BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth BPFProgram OpenFile
    LogFilterPatterns`),
]);

const SEQUENCE = new Set([
  ...words(
    "ExecCondition ExecStartPre ExecStart ExecStartPost ExecReload ExecReloadPost ExecStop ExecStopPre",
  ),
  ...words(
    "ExecStopPost ExecMount ExecUnmount EnvironmentFile StandardInputText StandardInputData ExecSearchPath",
  ),
  // The order of sockets is the order of file descriptors that the service gets.
  ...words(`ListenStream ListenDatagram ListenSequentialPacket ListenFIFO ListenSpecial ListenNetlink
    ListenMessageQueue ListenUSBFunction`),
]);

const FILTER = new Set(
  words(`SystemCallFilter SystemCallLog RestrictAddressFamilies RestrictNamespaces RestrictFileSystems
    RestrictNetworkInterfaces CapabilityBoundingSet AmbientCapabilities DelegateNamespaces`),
);

/** An empty assignment is ignored for dependencies: systemd.unit(5), "dependencies … cannot be reset". */
const NOT_RESETTABLE = new Set(
  words(`After Before Requires Requisite Wants BindsTo BindTo Upholds Conflicts OnSuccess OnFailure
    PropagatesReloadTo PropagateReloadTo ReloadPropagatedFrom PropagateReloadFrom PropagatesStopTo
    StopPropagatedFrom PartOf JoinsNamespaceOf RequiresMountsFor WantsMountsFor`),
);

/** Keys whose empty assignment resets the whole family, not just the key itself. */
const FAMILIES: readonly (readonly [section: string, pattern: RegExp])[] = [
  ["Unit", /^Condition/],
  ["Unit", /^Assert/],
  ["Socket", /^Listen/],
  ["Timer", /^On(Active|Boot|Startup|UnitActive|UnitInactive)Sec$|^OnCalendar$/],
  ["Path", /^(PathExists|PathExistsGlob|PathChanged|PathModified|DirectoryNotEmpty)$/],
];

/** Older names, systemd's gperf table: both assign the same. */
const OLD_NAMES: Readonly<Record<string, string>> = {
  BindTo: "BindsTo",
  PropagateReloadTo: "PropagatesReloadTo",
  PropagateReloadFrom: "ReloadPropagatedFrom",
  ReadWriteDirectories: "ReadWritePaths",
  ReadOnlyDirectories: "ReadOnlyPaths",
  InaccessibleDirectories: "InaccessiblePaths",
  StartLimitInterval: "StartLimitIntervalSec",
};

/**
 * The section and the keys that an assignment sets: itself but for older names, and for `TimeoutSec=` of a service,
 * which stands for two. Pure.
 */
export function meantKeys(section: string, key: string): { section: string; keys: readonly string[] } {
  const now = OLD_NAMES[key] ?? key;
  if (section === "Service" && key === "TimeoutSec")
    return { section, keys: ["TimeoutStartSec", "TimeoutStopSec"] };
  if (
    section === "Service" &&
    /^(StartLimit(Interval(Sec)?|Burst|Action)|FailureAction|RebootArgument)$/.test(key)
  )
    return { section: "Unit", keys: [now] };
  return { section, keys: [now] };
}

/** How several assignments of a key combine. Pure. */
export function settingKind(section: string, key: string): SettingKind {
  if (section.startsWith("X-")) return key === "ReloadOn" || key === "RestartOn" ? "set" : "single";
  // All must hold, so their order says nothing.
  if (section === "Unit" && /^(Condition|Assert)/.test(key)) return "lines";
  if (key === "Environment") return "environment";
  if (SEQUENCE.has(key)) return "sequence";
  if (LINES.has(key)) return "lines";
  if (FILTER.has(key)) return "filter";
  // [Mount] Options= and the like are plain strings even where another section has a list of that name.
  return SET.has(key) ? "set" : "single";
}

/** True if an empty assignment of `reset` clears what was assigned to `key` in the same section. Pure. */
export function isResetBy(section: string, key: string, reset: string): boolean {
  if (NOT_RESETTABLE.has(reset)) return false;
  if (key === reset) return true;
  return FAMILIES.some(([own, family]) => own === section && family.test(key) && family.test(reset));
}

/**
 * A text that is equal for two lists of values exactly if they mean the same. Values are in merge order, without
 * the empty ones; an empty list gives the empty text. Pure.
 */
export function canonicalValue(section: string, key: string, values: readonly string[]): string {
  const kind = settingKind(section, key);
  switch (kind) {
    case "single":
      return canonicalSpelling(section, key, values.at(-1) ?? "");
    case "set":
      return JSON.stringify(
        [...new Set(values.flatMap((value) => splitWords(value, "keep").map(canonicalPath)))].sort(),
      );
    case "lines":
      return JSON.stringify([...new Set(values)].sort());
    case "sequence":
      return JSON.stringify(values.map((value) => splitWords(value, "decode")));
    case "filter": {
      const lines = values.map((value) => [...new Set(splitWords(value, "keep"))].sort());
      const inverts = values.some((value) => value.startsWith("~"));
      if (!inverts) return JSON.stringify([[...new Set(lines.flat())].sort()]);
      // The same line once more adds and takes away nothing.
      return JSON.stringify(lines.filter((line, i) => `${line}` !== `${lines[i - 1]}`));
    }
    case "environment": {
      const byName = new Map<string, string>();
      for (const word of values.flatMap((value) => splitWords(value, "decode"))) {
        byName.set(word.split("=", 1)[0] ?? "", word);
      }
      return JSON.stringify([...byName.values()].sort());
    }
  }
}
