/**
 * Compares a unit's merged settings before and after by what they mean to systemd: comments, blanks, order where it
 * has no meaning, and other spellings of one value are no change. Must not know machines or files.
 */
import type { Place } from "../diagnostics.ts";
import { compareBytes } from "../paths.ts";
import { liveReason } from "./live-settings.ts";
import { canonicalValue } from "./setting-kinds.ts";
import type { UnitType } from "./unit-name.ts";
import type { Setting, Settings } from "./unit-set.ts";

export interface SettingChange {
  readonly section: string;
  readonly key: string;
  /** Effective values in merge order; empty: it was not set. */
  readonly before: readonly string[];
  /** Likewise; empty: it is no longer set. */
  readonly after: readonly string[];
  /** Where the last new value stands; for one that went away, where the last old value stood. */
  readonly place: Place;
}

export type Comparison =
  | { readonly kind: "same" }
  /** Every change takes effect at daemon-reload. */
  | { readonly kind: "daemon-reload"; readonly settings: readonly SettingChange[] }
  /** `settings` are those that need the restart; the others ride along. */
  | { readonly kind: "restart"; readonly settings: readonly SettingChange[] };

/** What a change from `before` to `after` asks of a running unit of this type. Changes are sorted by key. Pure. */
export function compareSettings(before: Settings, after: Settings, type: UnitType): Comparison {
  const changes = changedSettings(before, after);
  if (changes.length === 0) return { kind: "same" };
  const hard = changes.filter((change) => liveReason(type, change.section, change.key) === undefined);
  return hard.length > 0 ? { kind: "restart", settings: hard } : { kind: "daemon-reload", settings: changes };
}

/** Every setting whose meaning differs, sorted by section and key. Pure. */
export function changedSettings(before: Settings, after: Settings): SettingChange[] {
  const out: SettingChange[] = [];
  for (const id of [...new Set([...before.keys(), ...after.keys()])].sort(compareBytes)) {
    const was = before.get(id);
    const is = after.get(id);
    const named = is ?? was;
    if (!named || meaning(was) === meaning(is)) continue;
    const place = (is ?? was)?.values.at(-1)?.place ?? { file: "" };
    out.push({ section: named.section, key: named.key, before: texts(was), after: texts(is), place });
  }
  return out;
}

/** `Service.User: www-data -> nginx`, on one line; unset is `(unset)`. Pure. */
export function formatSettingChange(change: SettingChange): string {
  const show = (values: readonly string[]): string => (values.length === 0 ? "(unset)" : values.join("; "));
  return `${change.section}.${change.key}: ${show(change.before)} -> ${show(change.after)}`;
}

function meaning(setting: Setting | undefined): string | undefined {
  return setting && canonicalValue(setting.section, setting.key, texts(setting));
}

function texts(setting: Setting | undefined): string[] {
  return setting?.values.map((entry) => entry.value) ?? [];
}
