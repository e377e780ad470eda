/**
 * The guests of this machine, for `labctl guest` and for who sits at it. Reads its options as one JSON object from its
 * standard input, and answers with one on its standard output:
 *
 *     guest.mjs start|stop|enable|disable|pin|unpin|rm NAME      options: {"definition": {…}} for start
 *     guest.mjs list
 *
 * `{"ok":true, …}`, or `{"ok":false,"problems":[…]}` with exit status 1. Each verb can be killed anywhere and run again.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Diagnostic, problem, type Result } from "labctl/diagnostics.ts";
import {
  DROP_IN,
  guestDropIn,
  guestNetDropIn,
  guestNetUnit,
  guestRootDropIn,
  guestRootUnit,
  guestUnit,
} from "labctl/guests/drop-in.ts";
import { removeFork } from "labctl/guests/fork.ts";
import { hostEffects } from "labctl/guests/fork-effects.ts";
import { GUEST_KINDS, GUEST_NAME, type Guest } from "labctl/guests/guest.ts";
import { forgetKits } from "labctl/guests/kit.ts";
import { guestText, parseGuest } from "labctl/guests/parse-guest.ts";
import { PHASE_PROPERTIES, phasesOf } from "labctl/guests/phases.ts";
import {
  DECLARED_GUESTS,
  type FoundGuest,
  findGuest,
  folderProblem,
  GUEST_RUN,
  GUEST_STATE,
  handMadeFile,
  NETWORKS,
  readEnv,
} from "labctl/guests/places.ts";
import { problemsOfEnd, Refusal, settled } from "labctl/guests/refusal.ts";
import { startFailure } from "labctl/guests/start-failure.ts";
import { makeKits } from "labctl/guests/start-kits.ts";
import { bornUs, leaderOf, nowUs, showUnits, systemctl } from "labctl/guests/unit-calls.ts";
import { firstInstructionUs, preparedUs } from "labctl/guests/vm-states.ts";
import type { NetworkMode } from "labctl/ipam/wish.ts";

const UNITS = "/etc/systemd/system";
/** Networks that were started for a guest, and that nobody declared: a file each. */
const BORROWED = join(GUEST_RUN, "networks");
/** Of a guest, by its kind and its image: a tree or a disk. */
const ROOTS: readonly string[] = ["root", "disk.raw", "disk.qcow2"];

interface Options {
  /** A definition as its file has it. Undefined: the guest is there already. */
  readonly definition?: object;
}

const [, , verb, name = ""] = process.argv;
const startedUs = nowUs();
try {
  process.stdout.write(`${JSON.stringify({ ok: true, ...(await run(verb)) })}\n`);
} catch (error) {
  const problems = problemsOfEnd(error, "guest");
  process.stdout.write(`${JSON.stringify({ ok: false, problems })}\n`);
  process.exitCode = 1;
}

async function run(verb: string | undefined): Promise<object> {
  switch (verb) {
    case "start":
      return start(options());
    case "stop":
      return stop(settled(findGuest(name)));
    case "rm":
      return remove();
    case "list":
      return { guests: list() };
    case "enable":
    case "disable":
      return enable(handMade(`autostart = ${verb === "enable" ? "yes" : "no"}`), verb === "enable");
    case "pin":
    case "unpin":
      return pin(handMade(`pinned = ${verb === "pin" ? "yes" : "no"}`), verb === "pin");
    default:
      throw new Refusal(problem("usage", `\`${verb ?? ""}\` is no verb of guest.mjs`));
  }
}

function options(): Options {
  const text = readFileSync(0, "utf8").trim();
  return text === "" ? {} : (JSON.parse(text) as Options);
}

async function start({ definition }: Options): Promise<object> {
  if (definition !== undefined) define(settled(parseGuest(JSON.stringify(definition), "the definition")));
  const { guest, declared } = settled(findGuest(name));
  const unit = guestUnit(guest);
  if (!declared) writeDropIns(guest);
  const units = unitsOf(guest);
  const wasActive = borrowNetwork(guest);
  if (!wasActive) await makeKits(guest);
  const requestUs = nowUs();
  const done = systemctl("start", unit);
  const readyUs = nowUs();
  if (!done.ok) {
    const why = startFailure(guest, units, done.said);
    // Removed meanwhile, it would stand among the failed units for ever.
    if (!findGuest(name).ok) systemctl("reset-failed", ...ownUnits({ name }, [guest.kind]));
    throw new Refusal(why);
  }
  const shown = showUnits(units, [...PHASE_PROPERTIES, "MainPID", "StatusText"]);
  const main = Number(shown.find((u) => u.get("Id") === unit)?.get("MainPID") ?? 0);
  const leader = main > 0 ? leaderOf(main) : undefined;
  return {
    guest: row(name),
    warnings: rootWarnings(),
    ...(wasActive ? { wasActive } : {}),
    totalMs: Math.round((readyUs - startedUs) / 1000),
    requestMs: Math.round((readyUs - requestUs) / 1000),
    phases: phasesOf(shown, requestUs, {
      preparedUs: guest.kind === "vm" ? preparedUs(name) : undefined,
      bornUs: guest.kind === "vm" ? firstInstructionUs(name) : leader === undefined ? undefined : bornUs(leader),
      readyUs: readyAt(shown.find((u) => u.get("Id") === unit)?.get("StatusText")),
    }),
  };
}

/** When the guest said READY: the launcher notes it. */
function readyAt(_status: string | undefined): number | undefined {
  const text = readEnv(join(GUEST_RUN, name, "ready.env"))?.get("READY_US");
  return text === undefined ? undefined : Number(text);
}

/** What guest-root@ said aloud. */
function rootWarnings(): readonly Diagnostic[] {
  const file = join(GUEST_RUN, "roots", `${name}.warnings`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Diagnostic[]) : [];
}

/** Keeps the definition of a guest that is made by hand. */
function define(guest: Guest): void {
  if (guest.name !== name) throw new Refusal(problem("guest-name", `the definition is of guest \`${guest.name}\``));
  const strange = folderProblem(name);
  if (strange) throw new Refusal(strange);
  const found = findGuest(name);
  if (found.ok && found.value.declared)
    throw new Refusal(
      problem("guest-declared", `guest \`${name}\` is declared in machine.ini`, {
        help: "start it without --image and the like, or choose another name",
      }),
    );
  const text = guestText(guest);
  if (found.ok && guestText(found.value.guest) === text) return;
  if (found.ok) {
    const before = found.value.guest;
    if (isRunning(before))
      throw new Refusal(
        problem("guest-runs", `guest \`${name}\` runs, and is defined otherwise`, {
          notes: ["nothing was changed"],
          help: `stop it first: labctl guest stop MACHINE ${name}`,
        }),
      );
    // One that never came up, as when its image is not known, has nothing to lose.
    if ((before.image !== guest.image || before.kind !== guest.kind) && hasRoot(name))
      throw new Refusal(
        problem("guest-exists", `guest \`${name}\` was made from image \`${before.image}\` as a ${before.kind}`, {
          notes: ["nothing was changed"],
          help: `remove it first, with all that is in it: labctl guest rm MACHINE ${name}`,
        }),
      );
  }
  write(handMadeFile(name), text);
}

function hasRoot(name: string): boolean {
  return ROOTS.some((part) => existsSync(join(GUEST_STATE, name, part)));
}

/** Says whether the guest runs, and remembers that its network is started for it. */
function borrowNetwork(guest: Guest): boolean {
  const network = guest.network;
  const shown = showUnits([guestUnit(guest), ...(network === undefined ? [] : [`bridge@${network}.service`])], [
    "ActiveState",
  ]);
  const [own, bridge] = shown.map((u) => u.get("ActiveState"));
  if (network !== undefined && bridge === "inactive" && !isDeclaredNetwork(network)) write(join(BORROWED, network), "");
  return own === "active";
}

function writeDropIns(guest: Guest): void {
  const mode = modeOf(guest.network);
  const texts: [string, string][] = [
    [guestUnit(guest), guestDropIn(guest, mode)],
    [guestRootUnit(guest), guestRootDropIn(guest)],
    [guestNetUnit(guest), guestNetDropIn(guest, mode)],
  ];
  const changed = texts.filter(([unit, text]) => put(join(UNITS, `${unit}.d`, DROP_IN), text));
  if (changed.length === 0) return;
  // A unit that is not loaded reads its files when it is; a reload of everything costs more than all the rest.
  const stale = showUnits(
    changed.map(([unit]) => unit),
    ["NeedDaemonReload"],
  );
  if (stale.some((u) => u.get("NeedDaemonReload") === "yes")) systemctl("daemon-reload");
}

function unitsOf(guest: Guest): string[] {
  const { network } = guest;
  const links = network === undefined ? [] : [`ip@${network}.service`, `bridge@${network}.service`, `bridge-dhcp@${network}.service`];
  return [`image@${guest.image}.service`, ...links, guestNetUnit(guest), guestRootUnit(guest), guestUnit(guest)];
}

function stop({ guest }: FoundGuest): object {
  const unit = guestUnit(guest);
  const before = nowUs();
  const done = systemctl("stop", unit);
  if (!done.ok) throw new Refusal(problem("guest-stop", `guest \`${name}\` did not stop`, { notes: done.said.split("\n") }));
  const [shown] = showUnits([unit], ["Result"]);
  const killed = shown?.get("Result") === "timeout";
  if (killed) systemctl("reset-failed", unit);
  if (guest.ephemeral) giveBackNetwork(guest.network);
  return { stopMs: Math.round((nowUs() - before) / 1000), killed };
}

/** Removes a guest with all that is in it; the definition goes last, so that a second run knows what to do. */
async function remove(): Promise<object> {
  if (!GUEST_NAME.test(name)) throw new Refusal(...problemsOf(findGuest(name)));
  const found = findGuest(name);
  const folder = join(GUEST_STATE, name);
  // What is no folder of ours is not emptied.
  if (!found.ok && (!existsSync(folder) || folderProblem(name))) throw new Refusal(...found.problems);
  const guest = found.ok ? found.value.guest : undefined;
  if (found.ok && found.value.guest.pinned) {
    const how = found.value.declared
      ? "set `pinned = no` in its section of machine.ini and push"
      : `labctl guest unpin MACHINE ${name}`;
    throw new Refusal(
      problem("guest-pinned", `guest \`${name}\` is pinned, and a pinned guest can't be removed`, {
        notes: ["nothing was changed"],
        help: how,
      }),
    );
  }
  const kinds = guest ? [guest.kind] : GUEST_KINDS;
  const units = ownUnits({ name }, kinds);
  systemctl("stop", ...units);
  for (const kind of kinds) unlink(guestUnit({ name, kind }));
  for (const part of ROOTS) settled(await removeFork(hostEffects, join(folder, part)));
  const declared = found.ok && found.value.declared;
  if (!declared) for (const unit of units) rmSync(join(UNITS, `${unit}.d`), { recursive: true, force: true });
  for (const file of entries(folder)) if (file !== "guest.json") rmSync(join(folder, file), { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
  forgetKits(name);
  // Its image's, too, which may never have been there.
  systemctl("reset-failed", ...units, ...(guest ? [`image@${guest.image}.service`] : []));
  giveBackNetwork(guest?.network);
  return { removed: name, declared };
}

/** Those that are there for this guest alone. */
function ownUnits(guest: Pick<Guest, "name">, kinds: readonly Guest["kind"][]): string[] {
  return [...kinds.map((kind) => guestUnit({ ...guest, kind })), guestRootUnit(guest), guestNetUnit(guest)];
}

/** Stops a network that was started for guests only, once none of them runs. */
function giveBackNetwork(network: string | undefined): void {
  if (network === undefined || !existsSync(join(BORROWED, network))) return;
  const users = entries(GUEST_RUN).filter(
    (file) => file.endsWith(".env") && readEnv(join(GUEST_RUN, file))?.get("GUEST_NETWORK") === network,
  );
  if (users.length > 0) return;
  // A guest that just begins to start wins.
  const done = systemctl("stop", "--job-mode=fail", `bridge@${network}.service`);
  if (done.ok) rmSync(join(BORROWED, network), { force: true });
}

async function enable({ guest }: FoundGuest, on: boolean): Promise<object> {
  write(handMadeFile(name), guestText({ ...guest, autostart: on }));
  writeDropIns(guest);
  if (on) await makeKits({ ...guest, autostart: on });
  if (!on) unlink(guestUnit(guest));
  else {
    const done = systemctl("enable", "--quiet", guestUnit(guest));
    if (!done.ok) throw new Refusal(problem("guest-enable", `guest \`${name}\` can't be enabled`, { notes: [done.said] }));
  }
  return { guest: row(name) };
}

function unlink(unit: string): void {
  if (existsSync(join(UNITS, "machines.target.wants", unit))) systemctl("disable", "--quiet", unit);
}

function pin({ guest }: FoundGuest, on: boolean): object {
  const pinned = { ...guest, pinned: on };
  settled(parseGuest(guestText(pinned), handMadeFile(name)));
  write(handMadeFile(name), guestText(pinned));
  return { guest: row(name) };
}

/** A guest that was made by hand; `how` is what machine.ini has to say instead. */
function handMade(how: string): FoundGuest {
  const found = settled(findGuest(name));
  if (!found.declared) return found;
  throw new Refusal(
    problem("guest-declared", `guest \`${name}\` is declared in machine.ini`, {
      help: `write \`${how}\` into its section there and push`,
    }),
  );
}

function list(): object[] {
  const declared = entries(DECLARED_GUESTS).flatMap((file) => (file.endsWith(".json") ? [file.slice(0, -5)] : []));
  const kept = entries(GUEST_STATE).filter((entry) => GUEST_NAME.test(entry));
  const names = [...new Set([...declared, ...kept])].sort();
  const units = names.flatMap((each) => {
    const found = findGuest(each);
    return found.ok ? [guestUnit(found.value.guest)] : [];
  });
  const states = new Map(showUnits(units, ["ActiveState"]).map((u) => [u.get("Id"), u.get("ActiveState")]));
  return names.map((each) => row(each, states));
}

/** What a list says of one guest. */
function row(name: string, states?: ReadonlyMap<string | undefined, string | undefined>): object {
  const found = findGuest(name);
  // Its definition is gone from machine.ini, or it can't be read.
  if (!found.ok) return { name, state: "left over", problems: found.problems };
  const { guest, declared } = found.value;
  const unit = guestUnit(guest);
  const env = readEnv(join(GUEST_RUN, `${name}.env`));
  const state = states ? states.get(unit) : showUnits([unit], ["ActiveState"])[0]?.get("ActiveState");
  return {
    ...{ name, kind: guest.kind, image: guest.image, network: guest.network, state, declared },
    ...{ autostart: guest.autostart, pinned: guest.pinned, ephemeral: guest.ephemeral },
    ...{ ipv4: env?.get("GUEST_IP4"), ipv6: env?.get("GUEST_IP6"), fullName: env?.get("GUEST_FULL_NAME") },
  };
}

function isRunning(guest: Guest): boolean {
  const [shown] = showUnits([guestUnit(guest)], ["ActiveState"]);
  return ["active", "activating", "deactivating"].includes(shown?.get("ActiveState") ?? "");
}

function networks(): Readonly<Record<string, { readonly mode?: NetworkMode }>> {
  if (!existsSync(NETWORKS)) return {};
  return (JSON.parse(readFileSync(NETWORKS, "utf8")) as { networks: Record<string, { mode?: NetworkMode }> }).networks;
}

function isDeclaredNetwork(network: string): boolean {
  return Object.hasOwn(networks(), network);
}

function modeOf(network: string | undefined): NetworkMode {
  return (network !== undefined && isDeclaredNetwork(network) ? networks()[network]?.mode : undefined) ?? "nat";
}

function entries(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** True if the file had another text, or was not there. */
function put(file: string, text: string): boolean {
  if (existsSync(file) && readFileSync(file, "utf8") === text) return false;
  write(file, text);
  return true;
}

/** Whole or not at all. */
function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.draft`, text);
  renameSync(`${file}.draft`, file);
}

function problemsOf(result: Result<unknown>): readonly Diagnostic[] {
  return result.ok ? [] : result.problems;
}
