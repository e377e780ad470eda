/** What a machine says about itself before a push: reads the answer of the remote program's `probe`. Pure. */
import { gunzipSync } from "node:zlib";
import { type Manifest, parseManifest } from "../build/manifest.ts";
import type { GenerationId, UnitName } from "../paths.ts";
import type { LiveUnit } from "../units/unit-change.ts";
import { isUnitName } from "../units/unit-name.ts";
import type { RemoteRecord } from "./records.ts";

/** The remote program's protocol that this side speaks. */
export const PROTOCOL = "1";

/** A manifest of 50,000 entries has some 20 MB; a machine that claims more is answering nonsense. */
const MAX_MANIFEST_BYTES = 256 << 20;

/** Who made a machine's current generation. */
export interface PushedBy {
  /** As its pusher named it; never empty. */
  readonly repository: string;
  /** `user@host`; empty: unknown. */
  readonly by: string;
  /** Seconds since 1970 by the machine's clock; 0: unknown. */
  readonly time: number;
}

export interface Probe {
  readonly host: string;
  /** Undefined: never pushed, or by a labctl or from a repository without an identity. */
  readonly pushedBy: PushedBy | undefined;
  /** Undefined: nothing was ever pushed. */
  readonly generation: { readonly number: number; readonly id: GenerationId } | undefined;
  /** Sent because the machine's generation is not the one that the pusher knows. */
  readonly manifest: Manifest | undefined;
  readonly pending: boolean;
  /** What an interrupted push left undone: the operations, in words. Empty: nothing. */
  readonly left: readonly (readonly string[])[];
  /** An unconfirmed generation waits: its number and the seconds left. */
  readonly undo: { readonly number: number; readonly secondsLeft: number } | undefined;
  /** Undefined: writable; otherwise why not. */
  readonly notWritable: string | undefined;
  readonly hasRsync: boolean;
  readonly freeBytes: number;
  /** 0 where there is no systemd. */
  readonly systemdVersion: number;
  /** Paths that differ from what was pushed; `driftUnknown` where nothing was recorded to compare with. */
  readonly drifted: ReadonlySet<string>;
  readonly driftUnknown: boolean;
  /** Hash of what the machine's files look like, where it was asked for and anything was ever pushed. */
  readonly fingerprint: string | undefined;
  /** Another text after anything was installed or removed. Undefined: the machine did not say. */
  readonly packagesStamp: string | undefined;
  readonly missingPackages: ReadonlySet<string>;
  /** Packages that labctl itself installed, at some time, because a layer asked for them. */
  readonly ownPackages: ReadonlySet<string>;
  readonly failedUnits: readonly string[];
  /** What `systemctl show` printed of the units that were asked about: a block each, a blank line between. */
  readonly shown: string;
  /** The same, read. */
  readonly units: ReadonlyMap<UnitName, LiveUnit>;
  /** ActiveState of every unit that systemd has loaded; empty if no unit was asked for. */
  readonly states: ReadonlyMap<string, string>;
  /** Something was interrupted before, and the probe put it right: what the remote program said of it. */
  readonly recovered: readonly string[];
  /** More paths drifted than the machine listed. */
  readonly driftCut: boolean;
  /** What is wrong with labctl's own files there and could not be mended, `NAME WHY` each. */
  readonly damaged: readonly string[];
}

/** Undefined if the answer is none of ours. `asked`: the unit names in the question; a unit is listed under those and its own. Pure. */
export function readProbe(records: readonly RemoteRecord[], asked: ReadonlySet<string>): Probe | undefined {
  const first = (name: string): readonly string[] | undefined => records.find((r) => r.name === name)?.fields;
  const all = (name: string): (readonly string[])[] =>
    records.filter((r) => r.name === name).map((r) => r.fields);
  const data = (name: string): Buffer | undefined =>
    records.find((r) => r.name === "data" && r.fields[0] === name)?.data;
  if (first("labctl")?.[0] !== PROTOCOL || first("done")?.[0] !== "ok") return undefined;
  const [number = "0", id = ""] = first("generation") ?? [];
  const undo = first("undo") ?? ["no"];
  const writable = first("writable") ?? ["no", "no answer"];
  const drift = first("drift") ?? ["unknown"];
  const systemdVersion = Number(first("systemd")?.[0]) || 0;
  const [time = "", by = "", repository = ""] = first("repository") ?? [];
  const packed = data("manifest.gz.base64");
  const drifted = new Set(all("drifted").map((f) => f[0] ?? ""));
  const shown = data("units")?.toString("utf8") ?? "";
  return {
    host: first("host")?.[0] ?? "",
    generation:
      /^[1-9]\d{0,8}$/.test(number) && /^[0-9a-f]{64}$/.test(id)
        ? { number: Number(number), id: id as GenerationId }
        : undefined,
    manifest: packed ? manifestOf(packed) : undefined,
    pushedBy: repository === "" ? undefined : { repository, by, time: clockTime(time) },
    pending: first("pending")?.[0] === "yes",
    left: all("left"),
    undo:
      undo[0] === "no"
        ? undefined
        : { number: Number(undo[0]) || Number(number) || 0, secondsLeft: Number(undo[1]) || 0 },
    notWritable: writable[0] === "yes" ? undefined : (writable[1] ?? "unknown reason"),
    hasRsync: first("rsync")?.[0] === "yes",
    freeBytes: Number(first("free")?.[0]) || 0,
    systemdVersion,
    drifted,
    driftUnknown: drift[0] === "unknown",
    driftCut: drift[0] === "changed" && Number(drift[1]) > drifted.size,
    fingerprint: first("fingerprint")?.[0],
    packagesStamp: first("packages-stamp")?.[0],
    missingPackages: new Set(
      all("package").flatMap(([name, state]) => (name && state === "missing" ? [name] : [])),
    ),
    ownPackages: new Set(all("ours").map((f) => f[0] ?? "")),
    failedUnits: all("failed").map((f) => f[0] ?? ""),
    shown,
    units: readUnits(shown, systemdVersion, asked),
    states: readStates(data("states")?.toString("latin1") ?? ""),
    recovered: all("recovered").map((f) => f.join(" ")),
    damaged: all("damaged").map((f) => f.join(" ")),
  };
}

/** Seconds that a date can show; 0 for nonsense. Pure. */
function clockTime(text: string): number {
  return /^\d{1,11}$/.test(text) ? Number(text) : 0;
}

/** The text of a manifest as the remote program packs it; undefined if it is none. Pure. */
export function unpackManifest(packed: Buffer): string | undefined {
  try {
    const text = gunzipSync(Buffer.from(packed.toString("latin1"), "base64"), {
      maxOutputLength: MAX_MANIFEST_BYTES,
    });
    return text.toString("utf8");
  } catch {
    return undefined;
  }
}

/** Lines of a name and a state. */
function readStates(text: string): Map<string, string> {
  return new Map(text.split("\n").map((line) => line.split(" ", 2) as [string, string]));
}

/** Undefined where there is no text, or none that a manifest could have. */
function manifestOf(packed: Buffer): Manifest | undefined {
  const text = unpackManifest(packed);
  return text === undefined ? undefined : parseManifest(text);
}

/** Blocks of `systemctl show`, one a unit, separated by blank lines; listed under the names asked for, and its own. Pure. */
export function readUnits(
  text: string,
  systemdVersion: number,
  asked: ReadonlySet<string>,
): Map<UnitName, LiveUnit> {
  const out = new Map<UnitName, LiveUnit>();
  for (const block of text.split("\n\n")) {
    const values = new Map<string, string>();
    for (const line of block.split("\n")) {
      const at = line.indexOf("=");
      if (at > 0) values.set(line.slice(0, at), line.slice(at + 1));
    }
    const id = values.get("Id");
    if (!id) continue;
    const fragment = values.get("FragmentPath") ?? "";
    const type = values.get("Type");
    const dependents = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"].flatMap((key) =>
      namesIn(values.get(key) ?? "").filter(isUnitName),
    );
    const unit = (name: string): LiveUnit => ({
      name: name as UnitName,
      loadState: values.get("LoadState") ?? "",
      activeState: values.get("ActiveState") ?? "",
      subState: values.get("SubState") ?? "",
      unitFileState: values.get("UnitFileState") ?? "",
      canReload: values.get("CanReload") === "yes",
      systemdVersion,
      ...(type ? { type } : {}),
      ...(dependents.length > 0 ? { dependents } : {}),
      vendorFragment: fragment !== "" && !fragment.startsWith("/usr/local/"),
    });
    const names = namesIn(values.get("Names") ?? "").filter((name) => asked.has(name));
    for (const name of new Set([id, ...names])) out.set(name as UnitName, unit(name));
  }
  return out;
}

/** As systemctl lists them; one with an escape in it, as `a\x2db.service`, as a shell would want it: in quotes, each backslash twice. */
function namesIn(list: string): string[] {
  return list
    .split(" ")
    .map((word) => (/^".*"$/.test(word) ? word.slice(1, -1).replace(/\\(.)/g, "$1") : word));
}
