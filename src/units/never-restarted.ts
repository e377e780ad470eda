/**
 * Units that a change of settings never restarts, since people and other services would be cut off: a drop-in for all
 * services reaches them too. `OnChange=restart` in the unit asks for it all the same. Data only.
 */
import type { UnitName } from "../paths.ts";

const ROWS: readonly (readonly [name: RegExp, why: string])[] = [
  [/^dbus(-broker)?\.service$/, "nothing on a machine survives a restart of the bus"],
  [/^user(-runtime-dir)?@/, "a restart would end a user's session"],
  [
    /^(console-getty|(serial-|container-)?getty@|autovt@|display-manager|gdm|sddm|lightdm)/,
    "a restart would end whoever is logged in there",
  ],
];

/** Why, as the rest of a sentence that begins with `is not restarted:`; undefined: it may be. Pure. */
export function whyNeverRestarted(name: UnitName): string | undefined {
  return ROWS.find(([pattern]) => pattern.test(name))?.[1];
}
