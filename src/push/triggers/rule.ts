/** The shapes of a rule: which changed paths concern a subsystem, and what it is told. Types only. */
import type { UnitName } from "../../paths.ts";
import type { Unit } from "../../units/unit-set.ts";

/** Programs and daemons that the remote program knows how to tell (src/push/remote/triggers.sh, where their order is). */
export type TriggerName =
  | "sysusers"
  | "tmpfiles"
  | "modules-load"
  | "sysctl"
  | "udev"
  | "binfmt"
  | "networkd"
  | "dbus";

interface Place {
  /** Relative to /usr/local: the files that the subsystem reads. Anything else in its folder is not its business. */
  readonly path: RegExp;
}

/** A subsystem that is told to read its folder. */
export interface TriggerRule extends Place {
  readonly trigger: TriggerName;
  /**
   * files: it is handed the files that are new or changed, and not told where files only went away. all: it reads its
   * whole folder again, since one file can change what another one says.
   */
  readonly reads: "files" | "all";
  /** For people, after the reason: when it counts. Undefined: at once. */
  readonly counts?: string;
  /** For people: what stays behind when a file goes. Undefined: nothing does. */
  readonly stays?: string;
}

/** A daemon that takes its folder by a restart or a reload of its unit, if it runs; the plan lists the unit. */
export interface DaemonRule extends Place {
  readonly unit: UnitName;
  /** either: a reload where the unit can, which newer versions of it can. */
  readonly action: "restart" | "reload" | "either";
  /** For people, before the changed path. */
  readonly why: string;
  /** False: the unit, as the new tree has it, does not read this folder after all. Undefined: it always does. */
  readonly reads?: (unit: Unit) => boolean;
}

/**
 * One family. A rule answers to a change of bytes: none of these formats is compared by meaning, so a comment counts.
 * Another mode or owner does not. Order is that of the remote program, not of a list.
 */
export type Rule = TriggerRule | DaemonRule;
