import assert from "node:assert/strict";
import test from "node:test";
import { compareSettings, formatSettingChange } from "../../src/units/compare.ts";
import { parseUnitFile } from "../../src/units/unit-file.ts";
import type { UnitType } from "../../src/units/unit-name.ts";
import { mergeSettings, type Settings } from "../../src/units/unit-set.ts";

const settings = (text: string): Settings => mergeSettings([{ path: "x", file: parseUnitFile(text) }]);

type Row = readonly [what: string, before: string, after: string, type?: UnitType];

const RESTART: readonly Row[] = [
  ["quotes that join two arguments", "[Service]\nExecStart=/a b c", '[Service]\nExecStart=/a "b c"'],
  ["a backslash in an argument", "[Service]\nExecStart=/a \\d", "[Service]\nExecStart=/a d"],
  [
    "calendar lines that swap their days",
    "[Timer]\nOnCalendar=Mon 1:00\nOnCalendar=Tue 2:00",
    "[Timer]\nOnCalendar=Mon 2:00\nOnCalendar=Tue 1:00",
    "timer",
  ],
  ["the words of a credential", "[Service]\nSetCredential=a:b c", "[Service]\nSetCredential=a:c b"],
  ["a changed program", "[Service]\nExecStart=/a", "[Service]\nExecStart=/b"],
  ["an added argument", "[Service]\nExecStart=/a", "[Service]\nExecStart=/a -v"],
  [
    "the order of ExecStartPre=",
    "[Service]\nExecStartPre=/a\nExecStartPre=/b",
    "[Service]\nExecStartPre=/b\nExecStartPre=/a",
  ],
  ["another user", "[Service]\nUser=a", "[Service]\nUser=b"],
  ["a user whose name looks like a boolean", "[Service]\nUser=yes", "[Service]\nUser=on"],
  ["a removed key", "[Service]\nNice=1", "[Service]\n"],
  ["a key of an unknown name", "[Service]\n", "[Service]\nBrandNew=1"],
  ["an added sandbox key", "[Service]\n", "[Service]\nProtectSystem=strict"],
  ["a strict sandbox made weaker", "[Service]\nProtectSystem=strict", "[Service]\nProtectSystem=yes"],
  ["another bind", "[Service]\nBindPaths=/a:/b", "[Service]\nBindPaths=/c:/b"],
  ["an environment variable", "[Service]\nEnvironment=A=1", "[Service]\nEnvironment=A=2"],
  ["an environment file", "[Service]\nEnvironmentFile=/a", "[Service]\nEnvironmentFile=/b"],
  [
    "the order of environment files",
    "[Service]\nEnvironmentFile=/a\nEnvironmentFile=/b",
    "[Service]\nEnvironmentFile=/b\nEnvironmentFile=/a",
  ],
  [
    "a system call filter",
    "[Service]\nSystemCallFilter=@system-service",
    "[Service]\nSystemCallFilter=@basic-io",
  ],
  [
    "the order of an inverted filter",
    "[Service]\nSystemCallFilter=a\nSystemCallFilter=~a",
    "[Service]\nSystemCallFilter=~a\nSystemCallFilter=a",
  ],
  [
    "the watchdog, whose interval the process read at its start",
    "[Service]\nWatchdogSec=1",
    "[Service]\nWatchdogSec=2",
  ],
  ["the service type", "[Service]\nType=simple", "[Service]\nType=notify"],
  ["another slice", "[Service]\nSlice=a.slice", "[Service]\nSlice=b.slice"],
  ["delegation", "[Service]\n", "[Service]\nDelegate=yes"],
  ["a resource limit of the process", "[Service]\nLimitNOFILE=1", "[Service]\nLimitNOFILE=2"],
  ["namespaces to join", "[Unit]\n", "[Unit]\nJoinsNamespaceOf=a.service"],
  ["a timer's calendar", "[Timer]\nOnCalendar=daily", "[Timer]\nOnCalendar=weekly", "timer"],
  ["a socket's address", "[Socket]\nListenStream=80", "[Socket]\nListenStream=81", "socket"],
  [
    "the order of a socket's addresses",
    "[Socket]\nListenStream=1\nListenDatagram=2\nListenStream=3",
    "[Socket]\nListenStream=3\nListenDatagram=2\nListenStream=1",
    "socket",
  ],
  ["what is mounted", "[Mount]\nWhat=/a", "[Mount]\nWhat=/b", "mount"],
];

const RELOAD_ONLY: readonly Row[] = [
  [
    "devices that swap their rights",
    "[Service]\nDeviceAllow=/dev/a r\nDeviceAllow=/dev/b rw",
    "[Service]\nDeviceAllow=/dev/a rw\nDeviceAllow=/dev/b r",
  ],
  ["an escaped unit name", "[Unit]\nAfter=a\\x2db.mount", "[Unit]\nAfter=ax2db.mount"],
  ["[Install]", "[Install]\nWantedBy=a.target", "[Install]\nWantedBy=b.target"],
  ["the description", "[Unit]\nDescription=a", "[Unit]\nDescription=b"],
  ["documentation", "[Unit]\nDocumentation=man:a", "[Unit]\n"],
  ["ordering", "[Unit]\nAfter=a.service", "[Unit]\nAfter=b.service"],
  ["requirements", "[Unit]\n", "[Unit]\nRequires=b.service"],
  ["conditions", "[Unit]\nConditionPathExists=/a", "[Unit]\nConditionPathExists=/b"],
  ["assertions", "[Unit]\n", "[Unit]\nAssertPathExists=/b"],
  ["the failure handler", "[Unit]\n", "[Unit]\nOnFailure=x@%n.service"],
  ["the start limit", "[Unit]\nStartLimitBurst=1", "[Unit]\nStartLimitBurst=2"],
  ["refusing manual stops", "[Unit]\n", "[Unit]\nRefuseManualStop=yes"],
  ["labctl's own section", "[X-Labctl]\nReloadOn=/usr/local/a", "[X-Labctl]\nReloadOn=/usr/local/b"],
  ["an X- key in another section", "[Service]\nX-Foo=1", "[Service]\nX-Foo=2"],
  ["restart policy", "[Service]\nRestart=no", "[Service]\nRestart=always"],
  ["the pause before a restart", "[Service]\nRestartSec=1", "[Service]\nRestartSec=2"],
  ["the stop timeout", "[Service]\nTimeoutStopSec=1", "[Service]\nTimeoutStopSec=2"],
  ["the kill signal", "[Service]\nKillSignal=SIGTERM", "[Service]\nKillSignal=SIGINT"],
  ["the kill mode", "[Service]\nKillMode=mixed", "[Service]\n"],
  ["the reload command", "[Service]\nExecReload=/a", "[Service]\nExecReload=/b"],
  ["the stop command", "[Service]\nExecStop=/a", "[Service]\nExecStop=/b"],
  ["memory", "[Service]\nMemoryMax=1G", "[Service]\nMemoryMax=2G"],
  ["CPU weight", "[Service]\nCPUWeight=1", "[Service]\nCPUWeight=2"],
  ["the number of tasks", "[Service]\nTasksMax=1", "[Service]\nTasksMax=2"],
  ["IO weight", "[Service]\nIOWeight=1", "[Service]\nIOWeight=2"],
  ["allowed addresses", "[Service]\nIPAddressDeny=any", "[Service]\n"],
  ["a slice's limit", "[Slice]\nMemoryMax=1G", "[Slice]\nMemoryMax=2G", "slice"],
  ["a watched path", "[Path]\nPathChanged=/a", "[Path]\nPathChanged=/b", "path"],
  ["a socket's connection limit", "[Socket]\nMaxConnections=1", "[Socket]\nMaxConnections=2", "socket"],
];

const SAME: readonly Row[] = [
  [
    "the order of timers",
    "[Timer]\nOnCalendar=Mon\nOnCalendar=Tue",
    "[Timer]\nOnCalendar=Tue\nOnCalendar=Mon",
    "timer",
  ],
  ["comments and blanks", "[Service]\nNice=1", "# c\n\n[Service]\n; d\nNice = 1\n"],
  ["the order of keys", "[Service]\nNice=1\nUser=a", "[Service]\nUser=a\nNice=1"],
  [
    "the order of sections",
    "[Unit]\nDescription=a\n[Service]\nNice=1",
    "[Service]\nNice=1\n[Unit]\nDescription=a",
  ],
  ["an earlier value that is overridden anyway", "[Service]\nNice=1\nNice=3", "[Service]\nNice=2\nNice=3"],
  ["a reset of what was never set", "[Service]\nNice=1", "[Service]\nNice=\nNice=1"],
  ["the order of dependencies", "[Unit]\nAfter=a b", "[Unit]\nAfter=b\nAfter=a"],
  ["a dependency named twice", "[Unit]\nAfter=a", "[Unit]\nAfter=a a"],
  ["the order of writable paths", "[Service]\nReadWritePaths=/a /b", "[Service]\nReadWritePaths=/b /a"],
  [
    "the order within a plain filter",
    "[Service]\nSystemCallFilter=a b",
    "[Service]\nSystemCallFilter=b\nSystemCallFilter=a",
  ],
  ["spellings of a boolean", "[Service]\nPrivateTmp=yes", "[Service]\nPrivateTmp=true"],
  ["spellings of a time span", "[Service]\nTimeoutStartSec=90", "[Service]\nTimeoutStartSec=1min 30s"],
  ["blanks between arguments", "[Service]\nExecStart=/a  b", "[Service]\nExecStart=/a \\\n  b"],
  ["a variable set twice", "[Service]\nEnvironment=A=1 A=2", '[Service]\nEnvironment="A=2"'],
  [
    "the order of different variables",
    "[Service]\nEnvironment=A=1 B=2",
    "[Service]\nEnvironment=B=2\nEnvironment=A=1",
  ],
  ["CRLF", "[Service]\nNice=1\n", "[Service]\r\nNice=1\r\n"],
];

for (const [kind, rows] of [
  ["restart", RESTART],
  ["daemon-reload", RELOAD_ONLY],
  ["same", SAME],
] as const) {
  for (const [what, before, after, type = "service"] of rows) {
    test(`${kind}: ${what}`, () => {
      assert.equal(compareSettings(settings(before), settings(after), type).kind, kind);
      assert.equal(compareSettings(settings(after), settings(before), type).kind, kind, "backwards");
      assert.equal(compareSettings(settings(before), settings(before), type).kind, "same", "control");
    });
  }
}

test("a change that needs a restart is listed without those that ride along", () => {
  const result = compareSettings(
    settings("[Unit]\nDescription=a\n[Service]\nUser=a\n"),
    settings("[Unit]\nDescription=b\n[Service]\n\nUser=b\n"),
    "service",
  );
  assert.deepEqual(result, {
    kind: "restart",
    settings: [
      { section: "Service", key: "User", before: ["a"], after: ["b"], place: { file: "x", line: 5 } },
    ],
  });
  assert.equal(
    result.kind === "restart" && result.settings[0] && formatSettingChange(result.settings[0]),
    "Service.User: a -> b",
  );
});
