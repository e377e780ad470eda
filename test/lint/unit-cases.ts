/** Broken units: syntax, names, values, references. Data only. */
import { file, type LintCase, line, program, SYSTEM, service } from "./case.ts";

const timer = (text: string): string => `[Unit]\nDescription=x\n[Timer]\n${text}\n`;
const probe = `${SYSTEM}/probe.service`;
const withTimer = (text: string, at?: string): Record<string, string> => ({
  [`${SYSTEM}/probe.timer`]: timer(text),
  [at ?? probe]: service(),
});

const SYNTAX: readonly LintCase[] = [
  line("a misspelled key", "Restrt=always", "Restart=always", "unit-unknown-key", "did you mean `Restart`?"),
  line(
    "a key of another section",
    "After=network.target",
    "RestartSec=1",
    "unit-unknown-key",
    "belongs in [Unit]",
  ),
  line(
    "a section that no unit has",
    "[Instal]",
    "[Install]",
    "unit-unknown-section",
    "did you mean `Install`?",
  ),
  line(
    "a section of another type of unit",
    "[Timer]\nOnBootSec=1",
    "[X-Notes]\nAnything=1",
    "unit-unknown-section",
  ),
  line("a section that is nearly labctl's", "[X-Labctrl]", "[X-Labctl]", "unit-unknown-section", "X-Labctl"),
  line("a line without an equals sign", "Restart always", "Restart=always", "unit-missing-equals"),
  line("a line without a key", "=always", "# =always", "unit-missing-key"),
  line("an open header", "[Install", "[Install]", "unit-bad-header"),
  line("an open continuation", "Environment=A=1 \\", "Environment=A=1", "unit-open-continuation"),
  file(
    "a setting before any section",
    probe,
    `Restart=no\n${service()}`,
    service("Restart=no"),
    "unit-outside-section",
    1,
  ),
  line("a boolean that is none", "PrivateDevices=yep", "PrivateDevices=yes", "unit-bad-value"),
  line("a time span that is none", "TimeoutStopSec=10 parsecs", "TimeoutStopSec=1min 30s", "unit-bad-value"),
  line(
    "an enumeration's unknown name",
    "Restart=on-failur",
    "Restart=on-failure",
    "unit-bad-value",
    "`on-failure`",
  ),
  line("a service type that does not exist", "Type=notfy", "Type=notify", "unit-bad-value", "`notify`"),
  line(
    "ProtectSystem with a slip",
    "ProtectSystem=stict",
    "ProtectSystem=strict",
    "unit-bad-value",
    "`strict`",
  ),
  line(
    "ProtectHome with a slip",
    "ProtectHome=readonly",
    "ProtectHome=read-only",
    "unit-bad-value",
    "`read-only`",
  ),
  line("a mode with an eight", "UMask=0088", "UMask=0077", "unit-bad-value"),
  line("a signal that does not exist", "KillSignal=SIGFOO", "KillSignal=SIGRTMIN+3", "unit-bad-value"),
  line("a nice value out of range", "Nice=40", "Nice=-5", "unit-bad-value"),
  line("a size with a wrong unit", "MemoryMax=512 MiBs", "MemoryMax=512M", "unit-bad-value"),
  line("a limit that is none", "LimitNOFILE=many", "LimitNOFILE=1024:4096", "unit-bad-value"),
  line("a percentage without its sign", "CPUQuota=50", "CPUQuota=50%", "unit-bad-value"),
  line("a weight out of range", "CPUWeight=0", "CPUWeight=100", "unit-bad-value"),
  line("an OOM score out of range", "OOMScoreAdjust=2000", "OOMScoreAdjust=-900", "unit-bad-value"),
  line("a number of tasks that is none", "TasksMax=few", "TasksMax=40%", "unit-bad-value"),
  line(
    "a capability that does not exist",
    "AmbientCapabilities=CAP_NET_BIND",
    "AmbientCapabilities=CAP_NET_BIND_SERVICE",
    "unit-bad-value",
  ),
  line(
    "a system call group that does not exist",
    "SystemCallFilter=@system-services",
    "SystemCallFilter=@system-service",
    "unit-bad-value",
    "`@system-service`",
  ),
  line(
    "an address family that is none",
    "RestrictAddressFamilies=INET",
    "RestrictAddressFamilies=AF_INET",
    "unit-bad-value",
  ),
  line("a relative working directory", "WorkingDirectory=srv", "WorkingDirectory=/srv", "unit-bad-value"),
  line(
    "a relative path in a list",
    "ReadWritePaths=/srv data",
    "ReadWritePaths=/srv -/data",
    "unit-bad-value",
  ),
  line(
    "an absolute state directory",
    "StateDirectory=/var/lib/x",
    "StateDirectory=local/x",
    "unit-bad-value",
  ),
  line("an environment without a name", "Environment=A=1 B", "Environment=A=1 B=2", "unit-bad-value"),
  line("a relative program", "ExecReload=bin/true", "ExecReload=true", "unit-bad-value"),
  line(
    "a relative environment file",
    "EnvironmentFile=x.env",
    "EnvironmentFile=/etc/default/x",
    "unit-bad-value",
  ),
  file(
    "a unit's name without its type",
    probe,
    service().replace("Description=x", "Wants=network"),
    service().replace("Description=x", "Wants=network.target"),
    "unit-bad-value",
    2,
  ),
  file(
    "a condition on a relative path",
    probe,
    service().replace("Description=x", "ConditionPathExists=!etc/x"),
    service().replace("Description=x", "ConditionPathExists=!/etc/x"),
    "unit-bad-value",
    2,
  ),
  {
    name: "a calendar expression with a bad word",
    bad: withTimer("OnCalendar=sometimes"),
    good: withTimer("OnCalendar=Mon..Fri *-*-* 03:00:00"),
    expect: ["unit-bad-value", `${SYSTEM}/probe.timer`, 4],
  },
  {
    name: "a port out of range",
    bad: { [probe]: service(), [`${SYSTEM}/probe.socket`]: "[Socket]\nListenStream=70000\n" },
    good: { [probe]: service(), [`${SYSTEM}/probe.socket`]: "[Socket]\nListenStream=[::1]:8080\n" },
    expect: ["unit-bad-value", `${SYSTEM}/probe.socket`, 2],
  },
  line(
    "a key that labctl's section lacks",
    "[X-Labctl]\nReloadIn=/usr/local/etc/ssh",
    "[X-Labctl]\nReloadOn=/usr/local/etc/ssh",
    "unit-unknown-key",
  ),
  line(
    "OnChange with an unknown word",
    "[X-Labctl]\nOnChange=retsart",
    "[X-Labctl]\nOnChange=restart",
    "unit-bad-value",
    "`restart`",
  ),
  line(
    "a trigger outside the tree",
    "[X-Labctl]\nReloadOn=/etc/ssh",
    "[X-Labctl]\nReloadOn=/usr/local/etc/ssh",
    "unit-stray-trigger",
  ),
  line(
    "a trigger that is not in the tree",
    "[X-Labctl]\nRestartOn=/usr/local/etc/shs",
    "[X-Labctl]\nRestartOn=/usr/local/etc/ssh",
    "missing-trigger",
  ),
];

/** Where two lines stand for one, the second is the wrong one. */
export const SYNTAX_CASES: readonly LintCase[] = SYNTAX.map((c) => {
  const second = Object.values(c.bad).some((text) => /\[X-Labctl\]\n\w/.test(String(text)));
  return second ? { ...c, expect: [c.expect[0], c.expect[1], 6] } : c;
});

const exec = "libexec/probe/run";
const starts = (path: string, ...more: string[]): string =>
  ["[Service]", `ExecStart=/usr/local/${path}`, ...more, ""].join("\n");

export const REFERENCE_CASES: readonly LintCase[] = [
  {
    name: "a program that is not in the tree",
    bad: { [probe]: starts("libexec/probe/rum"), [exec]: program() },
    good: { [probe]: starts(exec), [exec]: program() },
    expect: ["missing-file", probe, 2],
    help: "/usr/local/libexec/probe/run",
  },
  {
    name: "a program that is not executable",
    bad: { [probe]: starts(exec), [exec]: "#!/bin/sh\nexit 0\n" },
    good: { [probe]: starts(exec), [exec]: program() },
    expect: ["mode-not-executable", exec],
  },
  {
    name: "a program without a first line",
    bad: { [probe]: starts(exec), [exec]: program("exit 0\n") },
    good: { [probe]: starts(exec), [exec]: program("#!/bin/sh\nexit 0\n") },
    expect: ["exec-format", exec, 1],
  },
  {
    name: "a script for an interpreter that is not in the tree",
    bad: { [probe]: service("ExecReload=/bin/bash /usr/local/libexec/probe/reload") },
    good: {
      [probe]: service("ExecReload=/bin/bash /usr/local/libexec/probe/reload"),
      "libexec/probe/reload": "# read by bash, so no executable bit\nexit 0\n",
    },
    expect: ["missing-file", probe, 5],
  },
  line(
    "an environment file that is not in the tree",
    "EnvironmentFile=/usr/local/etc/probe.env",
    "EnvironmentFile=-/usr/local/etc/probe.env",
    "missing-file",
  ),
  line(
    "a bind whose source is not in the tree",
    "BindReadOnlyPaths=/usr/local/etc/probe:/etc/probe",
    "BindReadOnlyPaths=-/usr/local/etc/probe:/etc/probe",
    "missing-file",
  ),
  line(
    "a credential that is not in the tree",
    "LoadCredential=key:/usr/local/etc/key",
    "LoadCredential=key:/etc/key",
    "missing-file",
  ),
  {
    name: "configuration in an argument that is not in the tree",
    bad: {
      [probe]: "[Service]\nExecStart=/usr/sbin/probed --config=/usr/local/etc/probed.cnf\n",
      "etc/probed.conf": "",
    },
    good: {
      [probe]: "[Service]\nExecStart=/usr/sbin/probed --config=/usr/local/etc/probed.conf\n",
      "etc/probed.conf": "",
    },
    expect: ["missing-file", probe, 2],
  },
  {
    name: "a unit that only nearly is one of the tree",
    bad: {
      [probe]: service().replace("Description=x", "Requires=ledgr.service"),
      [`${SYSTEM}/ledger.service`]: service(),
    },
    good: {
      [probe]: service().replace("Description=x", "Requires=ledger.service"),
      [`${SYSTEM}/ledger.service`]: service(),
    },
    expect: ["missing-unit", probe, 2],
    help: "`ledger.service`",
  },
  {
    name: "a template as a dependency",
    bad: {
      [probe]: service().replace("Description=x", "Wants=ledger@.service"),
      [`${SYSTEM}/ledger@.service`]: service(),
    },
    good: {
      [probe]: service().replace("Description=x", "Wants=ledger@a.service"),
      [`${SYSTEM}/ledger@.service`]: service(),
    },
    expect: ["template-unit", probe, 2],
  },
  {
    name: "a timer whose service nobody has",
    bad: withTimer("OnCalendar=daily", `${SYSTEM}/prube.service`),
    good: withTimer("OnCalendar=daily"),
    expect: ["missing-unit", `${SYSTEM}/probe.timer`],
    help: "`prube.service`",
  },
  {
    name: "a drop-in for a unit nobody has",
    bad: { [`${SYSTEM}/ngnix.service.d/10-x.conf`]: "[Service]\nNice=1\n" },
    good: { [`${SYSTEM}/nginx.service.d/10-x.conf`]: "[Service]\nNice=1\n" },
    packages: "nginx-light",
    expect: ["dropin-no-unit", `${SYSTEM}/ngnix.service.d/10-x.conf`],
    help: "`nginx.service`",
  },
  {
    name: "a pulling link to a unit nobody has",
    bad: {
      [probe]: service(),
      [`${SYSTEM}/multi-user.target.wants/prob.service`]: { link: "/etc/elsewhere" },
    },
    good: {
      [probe]: service(),
      [`${SYSTEM}/multi-user.target.wants/probe.service`]: { link: "../probe.service" },
    },
    expect: ["missing-unit", `${SYSTEM}/multi-user.target.wants/prob.service`],
  },
  file("a service without ExecStart=", probe, "[Service]\nType=simple\n", service(), "unit-no-exec"),
  line(
    "two ExecStart= without oneshot",
    "ExecStart=/bin/false",
    "ExecStart=\nExecStart=/bin/false",
    "unit-many-exec",
  ),
  {
    name: "a timer that waits for nothing",
    bad: withTimer("Persistent=yes"),
    good: withTimer("OnBootSec=1min"),
    expect: ["unit-no-trigger", `${SYSTEM}/probe.timer`],
  },
];
