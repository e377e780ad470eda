/** What happens during a push, for whoever prints it; one closed union. Types only. */
import type { Diagnostic } from "../diagnostics.ts";
import type { PushPlan } from "./plan.ts";

export type PushEvent =
  | { readonly kind: "connected"; readonly label: string; readonly ms: number }
  | { readonly kind: "warning"; readonly diagnostic: Diagnostic }
  | { readonly kind: "recovered"; readonly what: string }
  | {
      readonly kind: "planned";
      readonly plan: PushPlan;
      /** Units that had failed before anything was done. */
      readonly failedUnits: readonly string[];
      readonly ms: number;
    }
  | { readonly kind: "packages"; readonly names: readonly string[]; readonly ms: number }
  | { readonly kind: "pruned"; readonly names: readonly string[]; readonly ms: number }
  | { readonly kind: "staged"; readonly files: number; readonly bytes: number; readonly ms: number }
  | { readonly kind: "committing"; readonly number: number }
  | { readonly kind: "committed"; readonly ms: number }
  | { readonly kind: "reloaded"; readonly ms: number }
  | {
      readonly kind: "trigger";
      readonly name: string;
      readonly ok: boolean;
      readonly ms: number;
      readonly detail: string;
    }
  | {
      readonly kind: "unit";
      readonly action: string;
      readonly unit: string;
      readonly ok: boolean;
      readonly ms: number;
      readonly detail: string;
    }
  | { readonly kind: "check"; readonly name: string; readonly verdict: string; readonly ms: number }
  /** A line that a check or a failed unit printed. */
  | { readonly kind: "output"; readonly line: string }
  | { readonly kind: "note"; readonly text: string }
  /** The machine ended a verb that changes something with this word, which says in which state it is left. */
  | { readonly kind: "refused"; readonly done: string }
  | { readonly kind: "confirmed"; readonly ms: number };

export type OnPushEvent = (event: PushEvent) => void;

/** How a push ended well. */
export interface PushOutcome {
  readonly plan: PushPlan;
  /** False: there was nothing to do. */
  readonly changed: boolean;
  /** The number of the generation that stands now. */
  readonly generation: number;
  readonly totalMs: number;
}
