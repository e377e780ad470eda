/**
 * A shell in a container, or a command: `shell.mjs NAME [COMMAND…]`. The guest's root runs it, within the guest's limits,
 * and it ends with the guest. Where the guest's systemd answers on its bus, it is a unit of the guest's own, so the guest's
 * filter of system calls holds, too; else it joins the namespaces from outside. Ends as the command does.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { type Diagnostic, formatDiagnostic, problem } from "labctl/diagnostics.ts";
import { guestUnit } from "labctl/guests/drop-in.ts";
import { findGuest } from "labctl/guests/places.ts";
import { leaderOf, showUnits } from "labctl/guests/unit-calls.ts";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LOGIN = ["/bin/sh", "-c", "cd; exec $(command -v bash || echo sh) -l"];
const CGROUPS = "/sys/fs/cgroup";

/** In the guest's cgroup, $0, from then on; the rest of the words is what it becomes. */
const JOIN = `echo $$ >"$0/cgroup.procs" || echo 'warning[guest-shell] the limits of the guest do not hold for this' >&2
exec "$@"`;

/**
 * In the guest: $1 says how a unit is joined to the terminal, the rest is what runs. A guest that still boots has no bus,
 * and one that is stuck does not answer.
 */
const RUN = `how=$1; shift
if [ -S /run/dbus/system_bus_socket ] && busctl --timeout=3 get-property org.freedesktop.systemd1 \\
  /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Version >/dev/null 2>&1; then
  exec systemd-run --quiet --wait --collect "$how" --service-type=exec --property=DefaultDependencies=no \\
    --description='labctl guest shell' -- "$@"
fi
exec "$@"`;

const [, , name = "", ...command] = process.argv;
process.exitCode = enter(name, command);

function enter(name: string, command: readonly string[]): number {
  const found = findGuest(name);
  if (!found.ok) return refuse(found.problems);
  const { guest } = found.value;
  const [shown] = showUnits([guestUnit(guest)], ["MainPID", "ControlGroup"]);
  const leader = leaderOf(Number(shown?.get("MainPID") ?? 0));
  if (guest.kind !== "container" || leader === undefined)
    return refuse([
      problem("guest-shell", `guest \`${name}\` is no container that runs`, {
        help: guest.kind === "vm" ? "`labctl guest console` shows a virtual machine's" : "start it first",
      }),
    ]);
  // Colours and title of the terminal are its owner's.
  const clean = ["env", "-i", `TERM=${process.env.TERM ?? "dumb"}`, PATH, "HOME=/root", "USER=root"];
  const how = process.stdin.isTTY && process.stdout.isTTY ? "--pty" : "--pipe";
  const words = [...clean, ...(command.length > 0 ? command : LOGIN)];
  const inGuest = [...clean, "SYSTEMD_TINT_BACKGROUND=0", "SYSTEMD_ADJUST_TERMINAL_TITLE=0", "sh", "-c", RUN, "sh", how, ...words];
  const argv = [payloadOf(shown?.get("ControlGroup") ?? ""), "nsenter", "--target", String(leader), "--all", "--", ...inGuest];
  const { status, signal } = spawnSync("/bin/sh", ["-c", JOIN, ...argv], { stdio: "inherit" });
  return status ?? 128 + (signal ? constants.signals[signal] : 0);
}

/** Where the guest's first process is: below what systemd-nspawn keeps for the guest, in a leaf, for only leaves have processes. */
function payloadOf(controlGroup: string): string {
  const payload = join(CGROUPS, controlGroup, "payload");
  const init = join(payload, "init.scope");
  return existsSync(init) ? init : payload;
}

function refuse(problems: readonly Diagnostic[]): number {
  for (const each of problems) process.stderr.write(`${formatDiagnostic(each)}\n`);
  return 1;
}
