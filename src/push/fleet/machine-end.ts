/** What became of one machine during a push to several, and in which state it was left. Must not know how it is shown. */
import type { Diagnostic } from "../../diagnostics.ts";
import type { PushEvent } from "../push-event.ts";

/** The state of a machine after a push to it failed. */
export type Left =
  | "unchanged"
  /** The machine took the change back, tree and units. */
  | "taken-back"
  /** Nobody confirmed: the machine takes the change back by itself when its time is up. */
  | "takes-back"
  /** The change stands; what failed came after it. */
  | "stands"
  /** The files are new, unit actions are still to be done. */
  | "pending"
  /** Between two generations, or out of sight: its next contact or boot settles it. */
  | "unsettled";

export type MachineEnd =
  | { readonly kind: "done"; readonly generation: number; readonly before: number | undefined }
  /** It runs what it shall run already. */
  | { readonly kind: "unchanged"; readonly generation: number }
  /** A dry run: only looked at. */
  | { readonly kind: "planned"; readonly changes: boolean }
  | { readonly kind: "failed"; readonly problems: readonly Diagnostic[]; readonly left: Left }
  /** Its wave failed, and it runs again what it ran before. */
  | {
      readonly kind: "reverted";
      /** The generation that was taken back. */
      readonly from: number;
      /** The generation whose tree is back; undefined: nothing of labctl's was there before. */
      readonly to: number | undefined;
      /** Why it failed itself; empty: only others of its wave did. */
      readonly problems: readonly Diagnostic[];
    }
  /** Its wave failed, and it could not be brought back: `generation` still stands. */
  | { readonly kind: "not-reverted"; readonly generation: number; readonly problems: readonly Diagnostic[] }
  /** Nothing was sent to it. */
  | { readonly kind: "untouched"; readonly why: "failures" | "interrupted" };

/** True if the machine is as it was asked for. Pure. */
export function endedWell(end: MachineEnd): boolean {
  return end.kind === "done" || end.kind === "unchanged" || end.kind === "planned";
}

/** True if something went wrong on the machine, or it was brought back. Pure. */
export function endedBadly(end: MachineEnd): boolean {
  return end.kind === "failed" || end.kind === "reverted" || end.kind === "not-reverted";
}

const LEFT_BY_DONE: Readonly<Record<string, Left>> = {
  "failed-unchanged": "unchanged",
  "failed-reverted": "taken-back",
  reverted: "taken-back",
  "failed-pending": "pending",
  "failed-half": "unsettled",
};

/** Follows a push's events, to tell afterwards in which state a failure left the machine. */
export class LeftTracker {
  #sent = false;
  #committed = false;
  #left: Left | undefined;

  see(event: PushEvent): void {
    if (event.kind === "committing") this.#sent = true;
    if (event.kind === "committed") this.#committed = true;
    if (event.kind === "refused") this.#left = LEFT_BY_DONE[event.done];
  }

  /** In which state a push that failed with these problems left the machine. */
  left(problems: readonly Diagnostic[]): Left {
    const codes = problems.map((p) => p.code);
    if (codes.includes("not-waiting")) return "taken-back";
    if (this.#left !== undefined) return this.#left;
    if (codes.includes("not-confirmed")) return "takes-back";
    if (!this.#sent) return "unchanged";
    return this.#committed && codes.includes("interrupted") ? "takes-back" : "unsettled";
  }
}
