import assert from "node:assert/strict";
import test from "node:test";
import {
  A,
  DOWN,
  decide,
  fileRow,
  RELOADABLE,
  RELOADS,
  service,
  testRows,
  UP,
  verdicts,
} from "./decision-table.ts";

testRows([
  fileRow(
    "a replaced bound file restarts, though the unit could reload",
    "BindReadOnlyPaths=/usr/local/etc/a:/etc/a",
    "etc/a",
    RELOADABLE,
    ["restart a.service"],
  ),
  fileRow(
    "a file beside the bound one does nothing",
    "BindReadOnlyPaths=/usr/local/etc/a:/etc/a",
    "etc/ab",
    RELOADABLE,
    [],
  ),
  fileRow(
    "a file below a bound folder reloads",
    "BindReadOnlyPaths=/usr/local/etc/a:/etc/a",
    "etc/a/x",
    RELOADABLE,
    ["reload a.service"],
  ),
  fileRow(
    "a file below a bound folder restarts what can't reload",
    "BindReadOnlyPaths=/usr/local/etc/a:/etc/a",
    "etc/a/x",
    UP,
    ["restart a.service"],
  ),
  fileRow("a bound file of a stopped unit does nothing", "BindPaths=/usr/local/etc/a", "etc/a", DOWN, [
    "none a.service",
  ]),
  fileRow("ReloadOn= reloads", "", "etc/a", RELOADABLE, ["reload a.service"], RELOADS),
  fileRow("ReloadOn= restarts what can't reload", "", "etc/a", UP, ["restart a.service"], RELOADS),
  fileRow(
    "ReloadOn= of a folder takes what is below it",
    "",
    "etc/a/b/c",
    RELOADABLE,
    ["reload a.service"],
    RELOADS,
  ),
  fileRow(
    "RestartOn= restarts",
    "",
    "etc/a",
    RELOADABLE,
    ["restart a.service"],
    "[X-Labctl]\nRestartOn=/usr/local/etc/*",
  ),
  fileRow(
    "reload and restart together restart",
    "EnvironmentFile=/usr/local/etc/a",
    "etc/a",
    RELOADABLE,
    ["restart a.service"],
    RELOADS,
  ),
  fileRow("an environment file restarts", "EnvironmentFile=/usr/local/etc/a", "etc/a", RELOADABLE, [
    "restart a.service",
  ]),
  fileRow("a credential restarts", "LoadCredential=k:/usr/local/etc/a", "etc/a", RELOADABLE, [
    "restart a.service",
  ]),
  fileRow("a program restarts", "ExecStartPre=/usr/local/bin/a", "bin/a", RELOADABLE, ["restart a.service"]),
  fileRow("a program that only stops the unit does nothing", "ExecStop=/usr/local/bin/a", "bin/a", UP, [
    "none a.service",
  ]),
  fileRow(
    "configuration in an argument reloads",
    "ExecStart=/usr/bin/b -c /usr/local/etc/a",
    "etc/a",
    RELOADABLE,
    ["reload a.service"],
  ),
  fileRow(
    "a file that no unit names does nothing",
    "ExecStart=/usr/bin/b -c /usr/local/etc/a",
    "etc/b",
    UP,
    [],
  ),

  fileRow(
    "OnChange=none leaves a stale bind alone",
    "BindPaths=/usr/local/etc/a",
    "etc/a",
    RELOADABLE,
    ["none a.service"],
    "[X-Labctl]\nOnChange=none",
  ),
  fileRow(
    "OnChange=reload can't satisfy a stale bind",
    "BindPaths=/usr/local/etc/a",
    "etc/a",
    RELOADABLE,
    ["restart a.service"],
    "[X-Labctl]\nOnChange=reload",
  ),
  fileRow(
    "OnChange=reload reloads for a program",
    "ExecStart=/usr/local/bin/a",
    "bin/a",
    RELOADABLE,
    ["reload a.service"],
    "[X-Labctl]\nOnChange=reload",
  ),
  fileRow(
    "OnChange=restart restarts for configuration",
    "",
    "etc/a",
    RELOADABLE,
    ["restart a.service"],
    `${RELOADS}\nOnChange=restart`,
  ),
  fileRow(
    "a unit that refuses manual stops is left",
    "ExecStart=/usr/local/bin/a",
    "bin/a",
    UP,
    ["none a.service"],
    "[Unit]\nRefuseManualStop=yes",
  ),
]);

test("a changed mode alone leaves a bound file's unit alone", () => {
  const files = { ...service("BindPaths=/usr/local/etc/a"), "etc/a": "1" };
  assert.deepEqual(verdicts(decide(files, files, UP, ["etc/a", A])), ["none a.service"]);
});
