/**
 * Decides what happens to each unit when one tree replaces another: exact actions, each with its reason. Pure but
 * for reads through the two sets' views. Must not know how a machine is asked, nor how actions are carried out.
 *
 * `[X-Labctl] OnChange=` in a unit overrides what a change leads to while it runs: `restart` (also where a reload
 * would do), `reload` (where a restart would be due; but a stale bind still restarts, since no reload can see the new
 * file), `none` (leave it alone, even with a stale bind). It has no say over starting and stopping.
 */
import { compareBytes, type UnitName } from "../paths.ts";
import { definitionsChanged } from "./affected.ts";
import { withConsequences } from "./consequences.ts";
import { type Demand, definitionDemand, filesOf, referenceDemands } from "./demands.ts";
import { whyNeverRestarted } from "./never-restarted.ts";
import { labctlSetting, triggeredUnits } from "./references.ts";
import {
  type Action,
  type ChangedPath,
  isRunning,
  type LiveUnit,
  type UnitAction,
  type UnitDecision,
} from "./unit-change.ts";
import { isTemplate, splitUnitName, templateOf, unitType } from "./unit-name.ts";
import { type Unit, type UnitSet, valuesOf } from "./unit-set.ts";

export interface DecisionInput {
  readonly before: UnitSet;
  readonly after: UnitSet;
  /** In the order in which causes are to be listed. */
  readonly changed: readonly ChangedPath[];
  /** By the name that was asked for; a unit that the machine never loaded is absent. */
  readonly live: ReadonlyMap<UnitName, LiveUnit>;
  /** ActiveState of every loaded unit, by name; empty where nobody asked. */
  readonly states?: ReadonlyMap<string, string>;
}

/** Reasons beyond this many are counted, not spelled out. */
const SPELLED = 3;

/** The whole decision, in stable order. Units that no change concerns are not listed. */
export function decideActions(input: DecisionInput): UnitDecision {
  const { before, after, changed, live } = input;
  if (changed.length === 0) return { daemonReload: false, actions: [] };
  const names = new Set<UnitName>();
  for (const name of [...before.names, ...after.names, ...live.keys()]) {
    if (isTemplate(name)) continue;
    names.add(name);
    names.add(after.canonical(name));
  }
  const actions = new Map<UnitName, UnitAction>();
  let definitions = definitionsChanged(before, after, changed);
  for (const name of [...names].sort(compareBytes)) {
    const verdict = decideUnit(input, name);
    if (verdict.action) actions.set(name, verdict.action);
    definitions ||= verdict.definition;
  }
  for (const action of coupledServices(input, actions)) actions.set(action.unit, action);
  const { states = new Map() } = input;
  const all = withConsequences({ before, after, live, states }, actions);
  return { daemonReload: definitions, actions: [...all.values()].sort(byOrder) };
}

/** Nothing can hold the address meanwhile. A service that restarts behind its socket loses no connection. */
const REFUSES = "; connections are refused for a moment, until it listens again";

interface Verdict {
  readonly action: UnitAction | undefined;
  /** True if the unit's own definition means something else than before. */
  readonly definition: boolean;
}

function decideUnit(input: DecisionInput, name: UnitName): Verdict {
  const { before, after, changed } = input;
  const was = before.unit(name);
  const is = after.unit(name);
  const live = liveOf(input, was, is);
  const own = new Set<string>([...filesOf(was), ...filesOf(is), ...linkPaths(was), ...linkPaths(is)]);
  const causes = unique(changed.filter((entry) => own.has(entry.path)).map((entry) => entry.cause));
  const say = (action: Action, reason: string): Verdict => ({
    action: { unit: name, action, reason, causes },
    definition: true,
  });
  const sayGone = (reason: string): Verdict => {
    if (isRunning(live)) {
      // Its processes may end as a failure when they are told to stop.
      return { action: { unit: name, action: "stop", reason, causes, forget: true }, definition: true };
    }
    const state = live?.activeState === "failed" ? "it had failed" : "it was not running";
    const enabled = /^(enabled|linked)/.test(live?.unitFileState ?? "");
    const forget = live?.activeState === "failed" || enabled ? { forget: true } : {};
    return {
      action: { unit: name, action: "none", reason: `${reason}; ${state}`, causes, ...forget },
      definition: true,
    };
  };

  const lost = was.fragment !== undefined && was.fragment.kind !== "masked" && is.fragment === undefined;
  const hidden = is.fragment?.kind === "masked" && was.fragment?.kind !== "masked";
  if (is.fragment?.kind === "alias") {
    const took = was.fragment?.kind === "file" && isRunning(live);
    return took
      ? say("restart", `is now another name of ${is.fragment.of}`)
      : { action: undefined, definition: false };
  }
  if (was.fragment?.kind === "alias" && is.fragment === undefined)
    return { action: undefined, definition: true };
  if (hidden) return sayGone("is masked now");
  if (lost && !live?.vendorFragment) {
    const gone = `${was.fragment?.path} was removed, and no other unit file stands behind it`;
    if (unitType(name) === "slice" && isRunning(live))
      return say("none", `${gone}; the slice stays for the units in it, without its settings`);
    return sayGone(gone);
  }
  if (isDroppedInstance(was, is, live)) {
    return say("stop", `is an instance that nothing in the tree mentions any more`);
  }
  if (is.fragment?.kind === "masked") return { action: undefined, definition: false };

  const appeared =
    is.fragment !== undefined && (was.fragment === undefined || was.fragment.kind === "masked");
  const known = new Set(was.wantedBy.map((link) => link.path));
  const gained = appeared ? is.wantedBy : is.wantedBy.filter((link) => !known.has(link.path));
  if (!isRunning(live)) {
    const starter = gained.find((link) => startsNow(input, link.by, 0));
    if (starter && isYes(is, "RefuseManualStart"))
      return say("none", `is new, and refuses a start by hand (RefuseManualStart=): ${starter.by} starts it`);
    if (starter)
      return say("start", `is ${appeared ? "new" : "newly pulled in"}, and ${starter.by} ${starter.how} it`);
    if (appeared && live?.loadState !== "loaded")
      return say("none", `is new, and ${whoStarts(input, is, gained[0]?.by)}`);
  }
  if (isRunning(live) && (lost || appeared)) {
    const why = lost
      ? `${was.fragment?.path} was removed, so the file outside the tree counts again`
      : `${is.fragment?.path} now counts instead of the file outside the tree`;
    return say("restart", why);
  }
  return weigh(input, was, is, live);
}

/** Weighs all demands on a unit that exists before and after, and lists it only if there are any. */
function weigh(input: DecisionInput, was: Unit, is: Unit, live: LiveUnit | undefined): Verdict {
  const { before, after, changed } = input;
  const definition = definitionDemand(was, is, changed);
  const demands = [...(definition ? [definition] : []), ...referenceDemands(is, before, after, changed)];
  if (demands.length === 0) return { action: undefined, definition: false };
  const say = (action: Action, reason: string, from: readonly Demand[]): Verdict => {
    const place = from.find((demand) => demand.place)?.place;
    const causes = unique(from.flatMap((demand) => demand.causes));
    return {
      action: { unit: is.name, action, reason, causes, ...(place ? { place } : {}) },
      definition: definition !== undefined,
    };
  };

  if (live === undefined || !isRunning(live)) {
    const state = live === undefined || live.activeState === "" ? "not loaded" : live.activeState;
    const starter = triggersOf(input, is.name);
    return say(
      "none",
      `is ${state} and stays so${starter ? `; ${starter} starts it when it is due` : ""}`,
      demands,
    );
  }
  const restarts = demands.filter((demand) => demand.wish === "restart");
  const reloads = demands.filter((demand) => demand.wish === "reload");
  if (restarts.length + reloads.length === 0) return say("none", reasons(demands), demands);

  const override = labctlSetting(is.settings, "OnChange")?.value;
  const wanted = restarts.length > 0 ? restarts : reloads;
  if (override === "none")
    return say("none", `OnChange=none leaves it alone, though it ${reasons(wanted)}`, wanted);
  if (servesOneConnection(input, is.name)) {
    return say("none", `serves one connection; the next one takes the change: ${reasons(wanted)}`, wanted);
  }
  if (isBootStep(input, is, live) && override !== "restart") {
    return say(
      "none",
      `has run already, and a setting for all is no reason to run it again: ${reasons(wanted)}`,
      wanted,
    );
  }
  if (isOneshotMidway(is, live)) {
    return say(
      "none",
      `is a oneshot in the middle of a run; the next run takes the change: ${reasons(wanted)}`,
      wanted,
    );
  }
  const canReload = canReloadAfter(was, is, live);
  const stale = restarts.some((demand) => demand.staleBind);
  if (canReload && !stale && override === "reload")
    return say("reload", `${reasons(wanted)} (OnChange=reload)`, wanted);
  if (canReload && restarts.length === 0 && override !== "restart")
    return say("reload", reasons(wanted), wanted);
  const never = override === "restart" ? undefined : whyNeverRestarted(is.name);
  if (never)
    return say(
      "none",
      `is not restarted, since ${never}; the next boot takes it: ${reasons(wanted)}`,
      wanted,
    );
  if (isYes(is, "RefuseManualStop")) {
    return say("none", `refuses a restart by hand (RefuseManualStop=), though it ${reasons(wanted)}`, wanted);
  }
  if (is.name === "-.mount")
    return say("none", `the root file system is never unmounted: ${reasons(wanted)}`, wanted);
  const shut = whyNotOpened(input, is);
  if (shut) return say("none", `would not open again, since ${shut}: ${reasons(wanted)}`, wanted);
  const gap = unitType(is.name) === "socket" ? REFUSES : "";
  if (restarts.length > 0) return say("restart", reasons(restarts) + gap, restarts);
  return say(
    "restart",
    `${reasons(reloads)} (${canReload ? "OnChange=restart" : "it can't reload"})`,
    reloads,
  );
}

/** An instance exists by being mentioned: the link that pulled it in is gone, and nobody enabled it by hand. */
function isDroppedInstance(was: Unit, is: Unit, live: LiveUnit | undefined): boolean {
  return (
    isRunning(live) &&
    templateOf(is.name) !== undefined &&
    was.fragment?.kind === "file" &&
    was.wantedBy.length > 0 &&
    is.wantedBy.length === 0 &&
    !/^(enabled|linked)/.test(live?.unitFileState ?? "")
  );
}

/** A oneshot of the system that ran, and of which the tree has nothing of its own: only a drop-in for its whole type. */
function isBootStep(input: DecisionInput, is: Unit, live: LiveUnit): boolean {
  const own = [...is.dropIns, ...input.before.unit(is.name).dropIns].filter(
    (path) => !path.includes(`/${unitType(is.name)}.d/`),
  );
  return (
    live.type === "oneshot" && live.subState === "exited" && is.fragment === undefined && own.length === 0
  );
}

/** systemd starts an instance of an Accept=yes socket for each connection, and can't start one without. */
function servesOneConnection(input: DecisionInput, name: UnitName): boolean {
  const template = templateOf(name);
  if (template === undefined) return false;
  // `sshd@3-10.0.0.1:22-10.0.0.2:40000.service`: instance_from_socket() in systemd's socket.c.
  if (/^\d+-(\d+-\d+|.+:\d+-.+:\d+)(_|$)/.test(splitUnitName(name).instance ?? "")) return true;
  return input.after.names.some(
    (each) => each.endsWith(".socket") && triggeredUnits(input.after.unit(each)).includes(template),
  );
}

/** systemd refuses to start a socket whose service runs, so that service restarts in the same call. */
function coupledServices(input: DecisionInput, actions: ReadonlyMap<UnitName, UnitAction>): UnitAction[] {
  const out: UnitAction[] = [];
  for (const action of actions.values()) {
    if (action.action !== "restart" || unitType(action.unit) !== "socket") continue;
    for (const service of triggeredUnits(input.after.unit(action.unit))) {
      const own = actions.get(service)?.action;
      if (own === "restart" || own === "stop" || !isRunning(input.live.get(service))) continue;
      const reason = `${action.unit} restarts, and systemd opens a socket only while its service is stopped`;
      out.push({ unit: service, action: "restart", reason, causes: action.causes });
    }
  }
  return out;
}

/** A socket that runs goes on without its service; systemd refuses to start one. Undefined: it has one, as far as is known. */
function whyNotOpened({ before, after, live }: DecisionInput, is: Unit): string | undefined {
  if (unitType(is.name) !== "socket") return undefined;
  for (const service of triggeredUnits(is)) {
    const was = before.unit(service).fragment?.kind;
    const now = after.unit(service).fragment?.kind;
    const found = live.get(service);
    if (now === "masked" || (found?.loadState === "masked" && was !== "masked"))
      return `${service} is masked`;
    const outside = found?.vendorFragment === true || (was === undefined && found?.loadState !== "not-found");
    if (now === undefined && !outside) return `${service} is not there`;
  }
  return undefined;
}

function liveOf(input: DecisionInput, was: Unit, is: Unit): LiveUnit | undefined {
  // What the machine says of a name that was an alias, it says of the other unit.
  if (was.fragment?.kind === "alias") return undefined;
  const names = [is.name, ...is.aliases.filter((alias) => was.aliases.includes(alias))];
  return names.map((name) => input.live.get(name)).find((found) => found !== undefined);
}

/** Whether the unit that pulls in is up, or comes up with this very change. */
function startsNow(input: DecisionInput, by: UnitName, depth: number): boolean {
  const live = input.live.get(by);
  if (live) return isRunning(live);
  const fragment = input.after.unit(by).fragment;
  // A target of the system that nobody asked about is taken as up.
  if (fragment === undefined) return true;
  return depth < 5 && input.after.unit(by).wantedBy.some((link) => startsNow(input, link.by, depth + 1));
}

function whoStarts(input: DecisionInput, unit: Unit, by: UnitName | undefined): string {
  const trigger = triggersOf(input, unit.name);
  if (trigger) return `${trigger} starts it when it is due`;
  return by ? `${by}, which pulls it in, is not active` : "nothing in the tree starts it";
}

/** The first socket, timer or path unit of the tree that starts `name`; undefined if there is none. */
function triggersOf(input: DecisionInput, name: UnitName): UnitName | undefined {
  return input.after.names.find(
    (each) => /\.(socket|timer|path)$/.test(each) && triggeredUnits(input.after.unit(each)).includes(name),
  );
}

/** After the daemon-reload: an ExecReload= that came or went counts already. */
function canReloadAfter(was: Unit, is: Unit, live: LiveUnit): boolean {
  const has = (unit: Unit): boolean =>
    valuesOf(unit.settings, "Service", "ExecReload").length > 0 ||
    valuesOf(unit.settings, "Service", "Type").at(-1)?.value === "notify-reload";
  return has(is) || (live.canReload && !has(was));
}

function isOneshotMidway(is: Unit, live: LiveUnit): boolean {
  const type = valuesOf(is.settings, "Service", "Type").at(-1)?.value ?? live.type;
  // `auto-restart` is the pause of a unit that failed: nothing runs that a restart could cut short.
  return type === "oneshot" && live.activeState === "activating" && live.subState !== "auto-restart";
}

function reasons(demands: readonly Demand[]): string {
  const texts = unique(demands.map((demand) => demand.why));
  const more = texts.length - SPELLED;
  return texts.slice(0, SPELLED).join("; ") + (more > 0 ? `; and ${more} more` : "");
}

/** A boolean of [Unit], as systemd.syntax(7) writes them. */
function isYes(unit: Unit, key: string): boolean {
  return /^(1|yes|y|true|t|on)$/i.test(valuesOf(unit.settings, "Unit", key).at(-1)?.value ?? "no");
}

function linkPaths(unit: Unit): string[] {
  return unit.wantedBy.map((link) => link.path);
}

function unique<T>(list: readonly T[]): T[] {
  return [...new Set(list)];
}

const ORDER: readonly Action[] = ["stop", "restart", "rebind", "reload", "start", "none"];

/** Compares as a decision lists its actions: stops first, then restarts, reloads, starts, nones; sockets first in each. Pure. */
export function byOrder(a: UnitAction, b: UnitAction): number {
  const socket = (action: UnitAction): number => (unitType(action.unit) === "socket" ? 0 : 1);
  return (
    ORDER.indexOf(a.action) - ORDER.indexOf(b.action) || socket(a) - socket(b) || compareBytes(a.unit, b.unit)
  );
}
