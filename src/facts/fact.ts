/** What a fact is, and where its value came from. Types only. */
import type { Place } from "../diagnostics.ts";
import type { FactName } from "../paths.ts";

export type FactValue =
  | string
  | number
  | boolean
  | null
  | readonly FactValue[]
  | { readonly [key: string]: FactValue };

/** The five levels, lowest first; there are no others (DESIGN: facts have exactly this precedence). */
export const FACT_LEVELS = ["default", "probed", "all", "machine", "argument"] as const;
export type FactLevel = (typeof FACT_LEVELS)[number];

export interface FactOrigin {
  readonly level: FactLevel;
  /** Undefined for `--fact`. */
  readonly place?: Place;
  readonly value: FactValue;
}

export interface Fact {
  readonly name: FactName;
  readonly value: FactValue;
  readonly origin: FactOrigin;
  /** Lower origins that lost, nearest first. */
  readonly overridden: readonly FactOrigin[];
}

/** All facts of one machine. */
export type FactSet = ReadonlyMap<FactName, Fact>;

/** Where a fact was looked for, one phrase a level, for the message about an unset one. */
export type FactSearch = readonly string[];
