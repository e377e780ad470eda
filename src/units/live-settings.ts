/**
 * Which settings of a running unit take effect without a restart: a table, each row with its reason and its source
 * in systemd. What is not listed needs a restart; so does every row whose effect could not be read in the source.
 * Must not know how settings are compared.
 */
import type { UnitType } from "./unit-name.ts";

interface LiveRow {
  readonly section: RegExp;
  readonly key: RegExp;
  /** Why a daemon-reload is enough. */
  readonly reason: string;
}

/** Sections that hold settings of a cgroup, systemd.resource-control(5). */
const CGROUP_SECTION = /^(Service|Socket|Mount|Swap|Slice|Scope)$/;

const ROWS: readonly LiveRow[] = [
  {
    section: /^Install$/,
    key: /./,
    reason: "only `systemctl enable` reads [Install] (systemd.unit(5))",
  },
  {
    section: /^X-/,
    key: /./,
    reason: "systemd ignores X- sections (systemd.unit(5))",
  },
  {
    section: /./,
    key: /^X-/,
    reason: "systemd ignores X- keys (systemd.unit(5))",
  },
  {
    section: /^Unit$/,
    // JoinsNamespaceOf= decides at start whose namespaces a process gets, so it is left out.
    key: new RegExp(
      "^(Description|Documentation|SourcePath|After|Before|Wants|Requires|Requisite|BindsTo|BindTo|Upholds|PartOf|" +
        "Conflicts|OnFailure|OnSuccess|OnFailureJobMode|OnSuccessJobMode|OnFailureIsolate|Propagate.*|ReloadPropagatedFrom|" +
        "Propagates.*|StopPropagatedFrom|RequiresMountsFor|WantsMountsFor|DefaultDependencies|IgnoreOnIsolate|" +
        "StopWhenUnneeded|RefuseManualStart|RefuseManualStop|AllowIsolate|CollectMode|SurviveFinalKillSignal|" +
        "StartLimit.*|FailureAction.*|SuccessAction.*|JobTimeout.*|JobRunningTimeoutSec|RebootArgument|" +
        "Condition.*|Assert.*)$",
    ),
    reason:
      "read when a later job or state change is decided; daemon-reload loads it anew (unit.c, job.c, transaction.c)",
  },
  {
    section: /^Service$/,
    key: /^(Restart|RestartSec|RestartSteps|RestartMaxDelaySec|RestartMode|SuccessExitStatus|RestartPreventExitStatus|RestartForceExitStatus|RemainAfterExit|GuessMainPID)$/,
    reason: "read when the main process exits (service_shall_restart(), service_enter_dead() in service.c)",
  },
  {
    section: /^(Service|Socket|Mount|Swap|Scope)$/,
    key: /^(KillMode|KillSignal|RestartKillSignal|FinalKillSignal|SendSIGHUP|SendSIGKILL|WatchdogSignal)$/,
    reason: "read when the unit is killed (unit_kill_context() in unit.c)",
  },
  {
    section: /^Service$/,
    key: /^(TimeoutStopSec|TimeoutAbortSec|TimeoutStopFailureMode|TimeoutStartSec|TimeoutStartFailureMode|TimeoutSec|RuntimeMaxSec|RuntimeRandomizedExtraSec)$/,
    reason:
      "timers are armed anew from the loaded values after a reload (service_coldplug_timeout() in service.c)",
  },
  {
    section: /^Service$/,
    key: /^(ExecReload|ExecReloadPost|ExecStop|ExecStopPost|ReloadSignal|ExecCondition)$/,
    reason: "a command or signal of a later job (service_enter_reload(), service_enter_stop() in service.c)",
  },
  {
    section: /^Socket$/,
    key: /^(MaxConnections|MaxConnectionsPerSource|TriggerLimitIntervalSec|TriggerLimitBurst|PollLimitIntervalSec|PollLimitBurst|RemoveOnStop|ExecStopPre|ExecStopPost)$/,
    reason: "read at each connection, or when the socket stops (socket_enter_running() in socket.c)",
  },
  {
    section: CGROUP_SECTION,
    // Slice=, Delegate=, DisableControllers=, ManagedOOM*, the BPF programs and network-interface rules are left
    // out: they are set up at start, or their path through a reload could not be settled from the source.
    key: new RegExp(
      "^(CPUAccounting|CPUWeight|StartupCPUWeight|CPUShares|StartupCPUShares|CPUQuota|CPUQuotaPeriodSec|AllowedCPUs|" +
        "StartupAllowedCPUs|AllowedMemoryNodes|StartupAllowedMemoryNodes|MemoryAccounting|MemoryMin|MemoryLow|MemoryHigh|" +
        "MemoryMax|MemorySwapMax|MemoryZSwapMax|MemoryLimit|DefaultMemoryMin|DefaultMemoryLow|TasksAccounting|TasksMax|" +
        "IOAccounting|IOWeight|StartupIOWeight|IODeviceWeight|IOReadBandwidthMax|IOWriteBandwidthMax|IOReadIOPSMax|" +
        "IOWriteIOPSMax|IODeviceLatencyTargetSec|BlockIO.*|IPAccounting|IPAddressAllow|IPAddressDeny|DeviceAllow)$",
    ),
    reason:
      "daemon-reload marks the whole cgroup state invalid and realises it again (unit_invalidate_cgroup(u, _CGROUP_MASK_ALL) at the end of unit_deserialize(), unit-serialize.c)",
  },
];

/**
 * Unit types that are never restarted for a changed setting, with the reason. The choice follows NixOS's
 * switch-to-configuration-ng (`cannot_be_restarted_directly`, `handle_modified_unit`): slices and paths take their
 * settings at daemon-reload, and restarting a target would do nothing for it but disturb what is part of it.
 * It leaves changed sockets alone too; labctl restarts them, since Listen= changes would otherwise never arrive.
 */
const LIVE_TYPES: Readonly<Partial<Record<UnitType, string>>> = {
  target: "a target has nothing of its own to restart",
  slice: "a slice's limits are realised again at daemon-reload",
  path: "a path unit's watches are set up again at daemon-reload (path_coldplug() in path.c)",
  scope: "a scope's processes were not started by systemd, and it can't start them again",
  device: "a device unit follows the kernel's device",
};

/** Why a daemon-reload applies the setting to a running unit of this type; undefined: it needs a restart. Pure. */
export function liveReason(type: UnitType, section: string, key: string): string | undefined {
  const row = ROWS.find((candidate) => candidate.section.test(section) && candidate.key.test(key));
  return row?.reason ?? LIVE_TYPES[type];
}
