/**
 * The shapes of a decision about units: what goes in besides the two unit sets, and what comes out. Data only.
 */
import { type Place, printable } from "../diagnostics.ts";
import type { RelPath, UnitName } from "../paths.ts";

export interface ChangedPath {
  readonly path: RelPath;
  /** attributes: only mode or owner differ; contents and inode stay. changed: a new inode by rename. */
  readonly change: "added" | "changed" | "removed" | "attributes";
  /** For people: what made it change, e.g. `fact WEB_PORT in layers/web/…`. */
  readonly cause: string;
}

/** A unit as the machine reports it before anything changes; `systemctl show` names in brackets. */
export interface LiveUnit {
  readonly name: UnitName;
  /** `loaded`, `not-found`, `masked`, `bad-setting`, `error` … [LoadState] */
  readonly loadState: string;
  /** `active`, `reloading`, `activating`, `deactivating`, `inactive`, `failed` … [ActiveState] */
  readonly activeState: string;
  readonly subState: string;
  /** `enabled`, `static`, `masked` … [UnitFileState]; empty if systemd has no file for it. */
  readonly unitFileState: string;
  readonly canReload: boolean;
  /** The number of `systemctl --version`. */
  readonly systemdVersion: number;
  /** `oneshot`, `notify` … [Type]; undefined for units that are no services. */
  readonly type?: string;
  /**
   * True if a unit file of this name stands in a search path outside /usr/local, so that the unit outlives the
   * tree's own file. Undefined: not looked, taken as false.
   */
  readonly vendorFragment?: boolean;
  /** Units that stop or restart when this one does, by systemd's own account. Undefined: not asked, taken as none. */
  readonly dependents?: readonly UnitName[];
}

export type Action = "start" | "stop" | "reload" | "restart" | "rebind" | "none";

export interface UnitAction {
  readonly unit: UnitName;
  /** `none` is listed where something the unit depends on changed and it is left alone all the same. */
  readonly action: Action;
  /** One line, without the unit's name; reads on after `restart nginx.service: `. */
  readonly reason: string;
  /** The causes of the changed paths behind it, without repetition, in the order of the changes. */
  readonly causes: readonly string[];
  /** systemd does it by itself along with another action, and would refuse to be asked for it. */
  readonly implied?: boolean;
  /** The action is for a unit that may not run: then nothing happens, least of all a start. */
  readonly onlyIfRunning?: boolean;
  /**
   * The unit is gone for good: what `systemctl enable` made for it goes, and so does its failed state, which would else
   * be listed for ever. Stands beside any action.
   */
  readonly forget?: boolean;
  /** The line of a unit file that makes the connection; undefined where no line does. */
  readonly place?: Place;
}

export interface UnitDecision {
  /** True: run `systemctl daemon-reload` before the actions. */
  readonly daemonReload: boolean;
  /** Stops first, then restarts, reloads, starts and nones; sockets first in each, then by name. */
  readonly actions: readonly UnitAction[];
}

/** True while the unit holds processes or resources that a restart or a stop concerns. Pure. */
export function isRunning(live: LiveUnit | undefined): boolean {
  return live !== undefined && isRunningState(live.activeState);
}

/** The same for an ActiveState alone. Pure. */
export function isRunningState(activeState: string): boolean {
  return /^(active|reloading|refreshing|activating)$/.test(activeState);
}

/** `restart nginx.service: binds …`, one printable line. Pure. */
export function formatAction(action: UnitAction): string {
  return printable(`${action.action} ${action.unit}: ${action.reason}`);
}
