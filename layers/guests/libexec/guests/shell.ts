/**
 * A shell in a container, or a command: `shell.mjs NAME [COMMAND…]`. Joins all its namespaces, so it is the guest's root;
 * the guest's limits and system call filter do not hold for it. Ends as the command does.
 */
import { spawnSync } from "node:child_process";
import { formatDiagnostic, problem } from "labctl/diagnostics.ts";
import { guestUnit } from "labctl/guests/drop-in.ts";
import { findGuest } from "labctl/guests/places.ts";
import { leaderOf, showUnits } from "labctl/guests/unit-calls.ts";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LOGIN = ["/bin/sh", "-c", "cd; exec $(command -v bash || echo sh) -l"];

const [, , name = "", ...command] = process.argv;
process.exitCode = enter(name, command);

function enter(name: string, command: readonly string[]): number {
  const found = findGuest(name);
  if (!found.ok) {
    for (const each of found.problems) process.stderr.write(`${formatDiagnostic(each)}\n`);
    return 1;
  }
  const { guest } = found.value;
  const [shown] = showUnits([guestUnit(guest)], ["MainPID"]);
  const leader = leaderOf(Number(shown?.get("MainPID") ?? 0));
  if (guest.kind !== "container" || leader === undefined) {
    const refused = problem("guest-shell", `guest \`${name}\` is no container that runs`, {
      help: guest.kind === "vm" ? "`labctl guest console` shows a virtual machine's" : "start it first",
    });
    process.stderr.write(`${formatDiagnostic(refused)}\n`);
    return 1;
  }
  const clean = ["env", "-i", `TERM=${process.env.TERM ?? "dumb"}`, PATH, "HOME=/root", "USER=root"];
  const words = ["--target", String(leader), "--all", "--", ...clean, ...(command.length > 0 ? command : LOGIN)];
  return spawnSync("nsenter", words, { stdio: "inherit" }).status ?? 1;
}
