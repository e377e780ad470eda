/**
 * What a machine said when it was last looked at, kept so that the next push can be planned without asking. A belief: the
 * commit names it, and the machine refuses where anything is otherwise (docs/decisions/0022). Must not know how a plan is
 * made. Pure.
 */
import type { GenerationId } from "../paths.ts";
import { isRunningState } from "../units/unit-change.ts";
import type { PushPlan } from "./plan.ts";
import { type Probe, readUnits } from "./probe.ts";

/** As JSON it is a file of the repository's cache; nothing in it is secret. */
export interface Look {
  readonly generation: { readonly number: number; readonly id: GenerationId };
  readonly pushedBy: Probe["pushedBy"];
  readonly host: string;
  readonly systemdVersion: number;
  readonly packagesStamp: string;
  /** Installed then, of those that layers asked for. */
  readonly packages: readonly string[];
  readonly ownPackages: readonly string[];
  /** A block of `systemctl show`, by the name that was asked for. */
  readonly units: Readonly<Record<string, string>>;
  /** ActiveState of every unit that was loaded. */
  readonly states: Readonly<Record<string, string>>;
}

/** What a plan from memory relies on; the machine has to agree. */
export interface Seen {
  readonly look: Look;
  /** In the order in which `systemctl show` is to be asked. */
  readonly units: readonly string[];
  /** Further units whose state the plan depends on: true where they ran. */
  readonly runs: ReadonlyMap<string, boolean>;
}

/** What the remote program takes as a unit's name; patterns are none. */
const UNIT = /^(?!-)[A-Za-z0-9:_.@\\-]{1,255}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: a line of an operation can't hold them
const CONTROL = /[\0-\x09\x0b-\x1f\x7f]/;

/**
 * The look to keep after a probe that asked about `units` and `packages`; what an older one of the same generation knows
 * of further units stays. Undefined where the machine is in a state that a push has to mention; drift it puts right.
 */
export function takeLook(
  probe: Probe,
  units: readonly string[],
  packages: readonly string[],
  older: Look | undefined,
): Look | undefined {
  const { generation, packagesStamp, shown } = probe;
  const isCalm =
    !probe.pending &&
    probe.undo === undefined &&
    probe.notWritable === undefined &&
    probe.hasRsync &&
    probe.missingPackages.size === 0 &&
    probe.recovered.length === 0 &&
    probe.damaged.length === 0;
  // Without Debian's package manager nothing tells that packages came and went.
  const isStamped = packagesStamp !== undefined && packagesStamp !== "none";
  if (!isCalm || generation === undefined || !isStamped) return undefined;
  const former = older?.generation.id === generation.id ? older : undefined;
  // Such a question tells of failed units only.
  if (units.length === 0) return former;
  const blocks = shown.split("\n\n");
  if (blocks.length !== units.length || !units.every((u) => UNIT.test(u)) || CONTROL.test(shown))
    return undefined;
  return {
    generation,
    pushedBy: probe.pushedBy,
    host: probe.host,
    systemdVersion: probe.systemdVersion,
    packagesStamp,
    packages,
    ownPackages: [...probe.ownPackages],
    units: { ...former?.units, ...Object.fromEntries(units.map((unit, i) => [unit, blocks[i] ?? ""])) },
    states: Object.fromEntries(probe.states),
  };
}

/** What a look is worth once this plan was carried out; undefined: nothing, other units run now. */
export function lookAfter(look: Look, plan: PushPlan, generation: Look["generation"]): Look | undefined {
  const others = plan.units.some((u) => u.action === "start" || u.action === "stop" || u.forget === true);
  const packages = plan.packages.length > 0 || (plan.prunePackages && plan.unneeded.length > 0);
  return others || packages || plan.pending ? undefined : { ...look, generation };
}

/** What the look says as an answer to a question about these units; undefined where it does not know one of them. */
export function recallProbe(
  look: Look,
  units: readonly string[],
  packages: readonly string[],
  states: ReadonlyMap<string, string>,
): Probe | undefined {
  const blocks = units.map((unit) => look.units[unit]);
  const isKnown = blocks.every((b) => b !== undefined) && packages.every((p) => look.packages.includes(p));
  if (!isKnown) return undefined;
  const shown = blocks.join("\n\n");
  return {
    host: look.host,
    pushedBy: look.pushedBy,
    generation: look.generation,
    manifest: undefined,
    pending: false,
    left: [],
    undo: undefined,
    notWritable: undefined,
    hasRsync: true,
    freeBytes: 0,
    systemdVersion: look.systemdVersion,
    drifted: new Set(),
    driftUnknown: false,
    fingerprint: undefined,
    packagesStamp: look.packagesStamp,
    missingPackages: new Set(),
    ownPackages: new Set(look.ownPackages),
    failedUnits: [],
    shown,
    units: readUnits(shown, look.systemdVersion, new Set(units)),
    states,
    recovered: [],
    driftCut: false,
    damaged: [],
  };
}

/** A map that remembers which keys were asked for, and whether they ran. */
export class ConsultedStates extends Map<string, string> {
  readonly runs = new Map<string, boolean>();

  override get(unit: string): string | undefined {
    const state = super.get(unit);
    this.runs.set(unit, isRunningState(state ?? ""));
    return state;
  }
}

/** As operations of the commit (docs/remote-protocol.md). */
export function seenLines({ look, units, runs }: Seen): string[] {
  return [
    `seen\t${look.generation.id}\t${look.packagesStamp}`,
    ...(units.length === 0
      ? []
      : units
          .map((unit) => look.units[unit] ?? "")
          .join("\n\n")
          .split("\n")
          .map((line) => `saw\t${line}`)),
    ...[...runs].map(([unit, did]) => `seen-${did ? "runs" : "rests"}\t${unit}`),
  ];
}

/** Undefined where the text is damaged, or of another labctl. */
export function parseLook(text: string | undefined): Look | undefined {
  if (text === undefined) return undefined;
  try {
    const look = JSON.parse(text) as Look;
    const isWhole =
      Number.isInteger(look.generation.number) &&
      look.generation.number > 0 &&
      look.generation.number < 1e9 &&
      /^[0-9a-f]{64}$/.test(look.generation.id) &&
      typeof look.packagesStamp === "string" &&
      // It becomes a part of a line.
      /^[\x20-\x7e]+$/.test(look.packagesStamp) &&
      typeof look.systemdVersion === "number" &&
      typeof look.host === "string" &&
      [look.packages, look.ownPackages].every((list) => list.every((word) => typeof word === "string")) &&
      [look.units, look.states].every((by) =>
        Object.values(by).every((v) => typeof v === "string" && !CONTROL.test(v)),
      );
    return isWhole ? look : undefined;
  } catch {
    return undefined;
  }
}
