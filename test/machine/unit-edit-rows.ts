/**
 * Edits of one service each: fifty that mean nothing to a running service, and fifty that do. `U` in a path is the
 * unit's name; `unit` is its file, `NN-x.conf` a drop-in of its own, any other path is relative to the tree.
 */
import type { Files } from "../temporary-repository.ts";

export type Action = "restart" | "reload";
type Edit = readonly [what: string, before: string | Files, after: string | Files];

const BASE = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n";
/** A service with these further lines. */
const s = (lines: string): string => `${BASE}${lines}\n`;
const labctl = (line: string): string => s(`[X-Labctl]\n${line}`);

export const INERT: readonly Edit[] = [
  ["a comment", s(""), s("# nothing")],
  ["the other comment sign", s(""), s("; nothing")],
  ["a comment at the top", s(""), `# nothing\n\n${s("")}`],
  ["blank lines", s("Nice=1"), s("\n\nNice=1\n\n")],
  ["blanks at the end of a line", s("Nice=1"), s("Nice=1  \t")],
  ["blanks around the equals sign", s("Nice=1"), s("Nice = 1")],
  ["a blank before the key", s("Nice=1"), s("  Nice=1")],
  ["other line ends", s("Nice=1"), s("Nice=1").replaceAll("\n", "\r\n")],
  ["a byte order mark", s("Nice=1"), `\ufeff${s("Nice=1")}`],
  ["keys in another order", s("Nice=1\nUMask=0077"), s("UMask=0077\nNice=1")],
  ["sections in another order", `[Unit]\nAfter=a.target\n${s("")}`, `${s("")}[Unit]\nAfter=a.target\n`],
  ["a section in two parts", s("Nice=1"), s("[Unit]\nAfter=a.target\n[Service]\nNice=1")],
  ["a continuation line", s("Environment=A=1 B=2"), s("Environment=A=1 \\\n  B=2")],
  ["a comment within a continuation", s("Environment=A=1 B=2"), s("Environment=A=1 \\\n# not this\n  B=2")],
  ["a single value twice", s("Nice=1"), s("Nice=2\nNice=1")],
  ["an overridden value", s("Nice=2\nNice=1"), s("Nice=3\nNice=1")],
  [
    "a list that is reset to the same",
    s("ExecStartPre=/bin/true"),
    s("ExecStartPre=/bin/false\nExecStartPre=\nExecStartPre=/bin/true"),
  ],
  ["moved into a drop-in", s("Nice=1"), { unit: s(""), "10-x.conf": "[Service]\nNice=1\n" }],
  ["moved out of a drop-in", { unit: s(""), "10-x.conf": "[Service]\nNice=1\n" }, { unit: s("Nice=1") }],
  [
    "a drop-in in two parts",
    { unit: s(""), "10-x.conf": "[Service]\nNice=1\nUMask=0077\n" },
    { unit: s(""), "10-x.conf": "[Service]\nNice=1\n", "20-y.conf": "[Service]\nUMask=0077\n" },
  ],
  [
    "two drop-ins made one",
    { unit: s(""), "10-x.conf": "[Service]\nNice=1\n", "20-y.conf": "[Service]\nUMask=0077\n" },
    { unit: s(""), "20-y.conf": "[Service]\nUMask=0077\nNice=1\n" },
  ],
  [
    "a drop-in by another name",
    { unit: s(""), "10-x.conf": "[Service]\nNice=1\n" },
    { unit: s(""), "30-x.conf": "[Service]\nNice=1\n" },
  ],
  ["a drop-in that says nothing", s("Nice=1"), { unit: s("Nice=1"), "10-x.conf": "# nothing yet\n" }],
  ["a drop-in that says the same", s("Nice=1"), { unit: s("Nice=1"), "10-x.conf": "[Service]\nNice=1\n" }],
  ["yes and true", s("LockPersonality=yes"), s("LockPersonality=true")],
  ["no and off", s("PrivateTmp=no"), s("PrivateTmp=off")],
  ["a minute and sixty seconds", s("TimeoutStopSec=1min"), s("TimeoutStopSec=60s")],
  ["seconds without their unit", s("TimeoutStopSec=60s"), s("TimeoutStopSec=60")],
  ["a fraction of a second", s("RestartSec=100ms"), s("RestartSec=0.1")],
  ["gigabytes and megabytes", s("LimitCORE=1G"), s("LimitCORE=1024M")],
  ["one limit and both", s("LimitNOFILE=1000"), s("LimitNOFILE=1000:1000")],
  ["an octal mode", s("UMask=0022"), s("UMask=022")],
  ["a signal by another name", s("KillSignal=SIGTERM"), s("KillSignal=15")],
  ["quotes around a variable", s("Environment=A=1"), s('Environment="A=1"')],
  ["variables in another order", s("Environment=A=1 B=2"), s("Environment=B=2 A=1")],
  ["variables in two lines", s("Environment=A=1 B=2"), s("Environment=A=1\nEnvironment=B=2")],
  ["a variable set twice", s("Environment=A=1"), s("Environment=A=0 A=1")],
  ["blanks between arguments", s("ExecStartPre=/bin/echo a b"), s("ExecStartPre=/bin/echo   a  b")],
  ["quotes around an argument", s("ExecStartPre=/bin/echo a b"), s("ExecStartPre=/bin/echo 'a' \"b\"")],
  ["an escaped blank", s("ExecStartPre=/bin/echo 'a b'"), s("ExecStartPre=/bin/echo a\\x20b")],
  ["paths in another order", s("ReadOnlyPaths=/srv /mnt"), s("ReadOnlyPaths=/mnt /srv")],
  ["slashes that mean nothing", s("WorkingDirectory=/var/tmp"), s("WorkingDirectory=//var/tmp/")],
  [
    "capabilities in another order",
    s("CapabilityBoundingSet=CAP_KILL CAP_CHOWN"),
    s("CapabilityBoundingSet=CAP_CHOWN CAP_KILL"),
  ],
  [
    "system calls in two lines",
    s("SystemCallFilter=@system-service @mount"),
    s("SystemCallFilter=@mount\nSystemCallFilter=@system-service"),
  ],
  [
    "address families in another order",
    s("RestrictAddressFamilies=AF_INET AF_UNIX"),
    s("RestrictAddressFamilies=AF_UNIX AF_INET"),
  ],
  ["what it comes after", s(""), s("[Unit]\nAfter=a.target b.target")],
  [
    "a description and documentation",
    s(""),
    s("[Unit]\nDescription=other words\nDocumentation=man:sleep(1)"),
  ],
  ["[Install]", s(""), s("[Install]\nWantedBy=a.target\nAlias=zzz-U.service")],
  ["sections and keys of others", s(""), s("X-Note=1\n[X-Other]\nKey=1")],
  ["when it restarts, and how often", s(""), s("Restart=always\nRestartSec=3\n[Unit]\nStartLimitBurst=50")],
  ["how it stops", s(""), s("ExecStop=/bin/true\nKillMode=mixed\nTimeoutStopSec=7")],
  ["limits of its cgroup", s(""), s("MemoryMax=1G\nCPUWeight=50\nTasksMax=99")],
  [
    "a file's mode alone",
    { unit: s("EnvironmentFile=/usr/local/etc/U.env"), "etc/U.env": { text: "A=1\n", mode: 0o644 } },
    { unit: s("EnvironmentFile=/usr/local/etc/U.env"), "etc/U.env": { text: "A=1\n", mode: 0o755 } },
  ],
];

type RealEdit = readonly [what: string, action: Action, before: string | Files, after: string | Files];

/** A unit whose text stays, and a file that it refers to. */
function file(
  what: string,
  action: Action,
  unit: string,
  path: string,
  before: string | null = "1\n",
  after: string | null = "2\n",
): RealEdit {
  const with_ = (text: string | null): Files => ({
    unit,
    ...(text === null ? {} : { [path]: { text, mode: 0o755 } }),
  });
  return [what, action, with_(before), with_(after)];
}
const line = (what: string, before: string, after: string): RealEdit => [
  what,
  "restart",
  s(before),
  s(after),
];
const SCRIPT = "#!/bin/sh\nexec sleep infinity\n";

export const REAL: readonly RealEdit[] = [
  ["an argument", "restart", BASE, BASE.replace("infinity", "100d")],
  ["a program", "restart", BASE, BASE.replace("/bin/sleep", "/usr/bin/sleep")],
  line("a value", "Nice=1", "Nice=2"),
  line("a value taken back", "Nice=1", ""),
  line("a comment sign before a setting", "Nice=1", "#Nice=1"),
  line("a setting that was a comment", "#Nice=1", "Nice=1"),
  line("a continuation that swallows the next line", "Environment=A=1\nNice=1", "Environment=A=1 \\\nNice=1"),
  line("a setting in the wrong section", "Nice=1", "[Unit]\nNice=1"),
  line("a variable", "Environment=A=1", "Environment=A=2"),
  line("one more variable", "Environment=A=1", "Environment=A=1 B=2"),
  line("a variable's blank", "Environment=A=1", "Environment='A=1 '"),
  line("variables reset", "Environment=A=1", "Environment=A=1\nEnvironment="),
  line("the order in which a variable is set", "Environment=A=1 A=2", "Environment=A=2 A=1"),
  line("an argument of two words", "ExecStartPre=/bin/echo a b", "ExecStartPre=/bin/echo 'a b'"),
  line("a command before the start", "", "ExecStartPre=/bin/true"),
  line(
    "the order of commands",
    "ExecStartPre=/bin/true\nExecStartPre=/bin/echo",
    "ExecStartPre=/bin/echo\nExecStartPre=/bin/true",
  ),
  line("whether a failure counts", "ExecStartPre=/bin/true", "ExecStartPre=-/bin/true"),
  line("a command after the start", "", "ExecStartPost=/bin/true"),
  ["a drop-in", "restart", s(""), { unit: s(""), "10-x.conf": "[Service]\nNice=1\n" }],
  ["a drop-in taken away", "restart", { unit: s(""), "10-x.conf": "[Service]\nNice=1\n" }, { unit: s("") }],
  [
    "which drop-in wins",
    "restart",
    { unit: s(""), "10-x.conf": "[Service]\nNice=1\n", "20-y.conf": "[Service]\nNice=2\n" },
    { unit: s(""), "30-x.conf": "[Service]\nNice=1\n", "20-y.conf": "[Service]\nNice=2\n" },
  ],
  [
    "a drop-in without .conf",
    "restart",
    { unit: s(""), "10-x.conf": "[Service]\nNice=1\n" },
    { unit: s(""), "10-x": "[Service]\nNice=1\n" },
  ],
  [
    "a reset in a drop-in",
    "restart",
    { unit: s("ExecStartPre=/bin/true"), "10-x.conf": "# no\n" },
    { unit: s("ExecStartPre=/bin/true"), "10-x.conf": "[Service]\nExecStartPre=\n" },
  ],
  line("another user", "", "User=nobody"),
  line("one more group", "", "SupplementaryGroups=adm"),
  line("a mask", "UMask=0022", "UMask=0077"),
  line("a limit", "LimitNOFILE=1000", "LimitNOFILE=1001"),
  line("a working folder", "", "WorkingDirectory=/var/tmp"),
  line("a runtime folder", "", "RuntimeDirectory=zoo-real"),
  line("a sandbox", "", "ProtectSystem=strict"),
  line("a weaker sandbox", "ProtectSystem=full", "ProtectSystem=yes"),
  line("a private folder", "PrivateTmp=no", "PrivateTmp=yes"),
  line("a read-only path", "ReadOnlyPaths=/srv", "ReadOnlyPaths=/srv /mnt"),
  line("a hidden path", "", "InaccessiblePaths=/mnt"),
  line("capabilities", "CapabilityBoundingSet=CAP_KILL", "CapabilityBoundingSet=~CAP_KILL"),
  line("a system call", "SystemCallFilter=@system-service", "SystemCallFilter=@system-service @mount"),
  line(
    "an inverted filter's order",
    "SystemCallFilter=@system-service\nSystemCallFilter=~@resources",
    "SystemCallFilter=~@resources\nSystemCallFilter=@system-service",
  ),
  line("address families", "RestrictAddressFamilies=AF_INET AF_UNIX", "RestrictAddressFamilies=AF_UNIX"),
  line("where its output goes", "", "StandardOutput=null"),
  line("its name in the journal", "", "SyslogIdentifier=other"),
  line("its slice", "", "Slice=real.slice"),
  line("its type", "", "Type=exec"),
  line(
    "a slack in nanoseconds, which a bare number is",
    "TimerSlackNSec=50000000",
    "TimerSlackNSec=50000000us",
  ),
  file(
    "an environment file",
    "restart",
    s("EnvironmentFile=/usr/local/etc/U.env"),
    "etc/U.env",
    "A=1\n",
    "A=2\n",
  ),
  file(
    "an optional environment file that comes",
    "restart",
    s("EnvironmentFile=-/usr/local/etc/U.env"),
    "etc/U.env",
    null,
    "A=2\n",
  ),
  file("a bound file", "restart", s("BindReadOnlyPaths=/usr/local/etc/U.conf:/run/U.conf"), "etc/U.conf"),
  file("a credential", "restart", s("LoadCredential=x:/usr/local/etc/U.key"), "etc/U.key"),
  file("what RestartOn= names", "restart", labctl("RestartOn=/usr/local/etc/U.key"), "etc/U.key"),
  file(
    "its own script",
    "restart",
    BASE.replace("/bin/sleep infinity", "/usr/local/libexec/U"),
    "libexec/U",
    SCRIPT,
    `${SCRIPT}#\n`,
  ),
  file("a file in a bound folder", "reload", s("BindReadOnlyPaths=/usr/local/etc/U.d:/run/U.d"), "etc/U.d/a"),
  file("what ReloadOn= names", "reload", labctl("ReloadOn=/usr/local/etc/U.d"), "etc/U.d/a"),
  file(
    "a file that comes where ReloadOn= names",
    "reload",
    labctl("ReloadOn=/usr/local/etc/U.d"),
    "etc/U.d/a",
    null,
  ),
  file(
    "a file that goes where ReloadOn= names",
    "reload",
    labctl("ReloadOn=/usr/local/etc/U.d/*.conf"),
    "etc/U.d/a.conf",
    "1\n",
    null,
  ),
  file(
    "a configuration file of its command line",
    "reload",
    "[Service]\nExecStart=/bin/sh -c 'exec sleep infinity' sh --config=/usr/local/etc/U.conf\nExecReload=/bin/true\n",
    "etc/U.conf",
  ),
];
