/**
 * Names that systemd accepts as values: enumerations, signals, capabilities, system call groups; those of systemd 252
 * and 257 together. Sources: the string tables of systemd 257, capability.h, systemd.exec(5). Data only.
 */

export interface ValueNames {
  readonly names: readonly string[];
  readonly orBoolean: boolean;
}

const list = (text: string): string[] => text.trim().split(/\s+/);
const only = (text: string): ValueNames => ({ names: list(text), orBoolean: false });
const orBoolean = (text: string): ValueNames => ({ names: list(text), orBoolean: true });

const INPUT = "null tty tty-force tty-fail socket data";

/** By the name that the key table uses. */
export const ENUMS: Readonly<Record<string, ValueNames>> = {
  Type: only("simple exec forking oneshot dbus notify notify-reload idle"),
  ExitType: only("main cgroup"),
  Restart: only("no always on-success on-failure on-abnormal on-watchdog on-abort"),
  RestartMode: only("normal direct debug"),
  NotifyAccess: only("none main exec all"),
  KillMode: only("control-group process mixed none"),
  OOMPolicy: only("continue stop kill"),
  TimeoutMode: only("terminate abort kill"),
  ProtectSystem: orBoolean("full strict"),
  ProtectHome: orBoolean("read-only tmpfs"),
  ProtectControlGroups: orBoolean("private strict"),
  ProtectHostname: orBoolean("private"),
  ProtectProc: only("default noaccess invisible ptraceable"),
  ProcSubset: only("all pid"),
  PrivateTmp: orBoolean("disconnected"),
  PrivateUsers: orBoolean("self identity full"),
  KeyringMode: only("inherit private shared"),
  UtmpMode: only("init login user"),
  Preserve: orBoolean("restart"),
  DevicePolicy: only("auto closed strict"),
  JobMode: only(
    "fail replace replace-irreversibly lenient isolate flush ignore-dependencies ignore-requirements triggering restart-dependencies",
  ),
  Action: only(
    "none reboot reboot-force reboot-immediate poweroff poweroff-force poweroff-immediate exit exit-force kexec kexec-force halt halt-force halt-immediate soft-reboot soft-reboot-force",
  ),
  CollectMode: only("inactive inactive-or-failed"),
  IOSchedulingClass: only("none realtime best-effort idle 0 1 2 3"),
  CPUSchedulingPolicy: only("other batch idle fifo rr ext 0 1 2 3 5 7"),
  Level: only("emerg alert crit err warning notice info debug 0 1 2 3 4 5 6 7"),
  Facility: only(
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp local0 local1 local2 local3 local4 local5 local6 local7",
  ),
  ManagedOOM: only("auto kill"),
  ManagedOOMPreference: only("none omit avoid"),
  BindIPv6Only: only("default both ipv6-only"),
  SocketProtocol: only("udplite sctp mptcp"),
  Timestamping: only("off us usec µs μs ns nsec"),
  MemoryPressureWatch: orBoolean("auto on off skip"),
  Personality: only("x86 x86-64 arm arm64 arm-be arm64-be ppc ppc-le ppc64 ppc64-le s390 s390x"),
  // Prefixes such as `file:` are cut off before the comparison.
  Input: only(INPUT),
  Output: only("inherit null tty journal journal+console kmsg kmsg+console socket syslog syslog+console"),
};

export const CAPABILITIES: readonly string[] = list(`
  CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE CAP_BLOCK_SUSPEND CAP_BPF CAP_CHECKPOINT_RESTORE CAP_CHOWN
  CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_IPC_LOCK CAP_IPC_OWNER CAP_KILL CAP_LEASE
  CAP_LINUX_IMMUTABLE CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_MKNOD CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_BROADCAST
  CAP_NET_RAW CAP_PERFMON CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYSLOG CAP_SYS_ADMIN CAP_SYS_BOOT
  CAP_SYS_CHROOT CAP_SYS_MODULE CAP_SYS_NICE CAP_SYS_PACCT CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_RESOURCE
  CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_WAKE_ALARM`);

export const SYSCALL_GROUPS: readonly string[] = list(`
  @aio @basic-io @chown @clock @cpu-emulation @debug @default @file-system @io-event @ipc @keyring @known @memlock
  @module @mount @network-io @obsolete @pkey @privileged @process @raw-io @reboot @resources @sandbox @setuid @signal
  @swap @sync @system-service @timer`);

const SIGNALS = new Set(
  list(`HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN
    TTOU URG XCPU XFSZ VTALRM PROF WINCH IO POLL PWR SYS`),
);

/** With or without `SIG`, a number, or a real-time signal such as `SIGRTMIN+3`. Pure. */
export function isSignal(text: string): boolean {
  const name = text.replace(/^SIG/, "");
  if (/^[0-9]+$/.test(name)) return Number(name) >= 1 && Number(name) <= 64;
  return SIGNALS.has(name) || /^RTM(IN(\+[0-9]+)?|AX(-[0-9]+)?)$/.test(name);
}
