/**
 * What a machine says of itself when it is compared with what was pushed: reads the answer of the remote program's
 * `verify`. The text is a machine's and untrusted: what makes no sense makes the whole answer none. Pure.
 */
import { gunzipSync } from "node:zlib";
import type { GenerationId, UnitName } from "../../paths.ts";
import { PROTOCOL } from "../probe.ts";
import type { RemoteRecord } from "../records.ts";

/** A path that labctl put on the machine, as it is now. Times are seconds since 1970, by the machine's clock. */
export interface LivePath {
  /** `f`, `d`, `l`, and find's letters for what can't be in a tree. */
  readonly type: string;
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
  readonly sizeBytes: number;
  readonly changedAtS: number;
  /** Someone may have written it since labctl put it; false: other attributes, or a link to it, explain that it differs. */
  readonly written: boolean;
  /** Empty but for links; blanks stand for tabs and newlines. */
  readonly target: string;
}

/** `systemctl show` of one unit. Times are seconds since 1970; undefined: never. */
export interface LiveService {
  readonly name: UnitName;
  /** All its names, its own included. */
  readonly names: readonly string[];
  readonly loadState: string;
  readonly activeState: string;
  readonly subState: string;
  readonly unitFileState: string;
  readonly fragmentPath: string;
  readonly needsReload: boolean;
  /** Empty for units that are no services. */
  readonly type: string;
  readonly remainAfterExit: boolean;
  readonly result: string;
  /** A condition kept it from starting the last time. */
  readonly conditionFailed: boolean;
  /** When what runs now was started. */
  readonly startedAtS: number | undefined;
  /** The last change of state; a reload counts as one. */
  readonly changedAtS: number | undefined;
}

/** A bind of a running unit behind which it sees something else than the tree has. */
export interface LiveBind {
  readonly unit: string;
  /** Relative to /usr/local. */
  readonly source: string;
  /** Absolute, in the unit's own view. */
  readonly target: string;
  /** `absent`: nothing is mounted there. */
  readonly sees: "other" | "absent";
}

/** A unit file, drop-in or not, of a unit that systemd wants to read anew; absolute. */
export interface LiveUnitFile {
  readonly unit: string;
  readonly path: string;
  readonly changedAtS: number;
}

export interface LiveExtra {
  readonly path: string;
  readonly type: string;
}

export interface LiveAnswer {
  /** Undefined: nothing was ever pushed. */
  readonly generation: { readonly number: number; readonly id: GenerationId } | undefined;
  /** A push is at work, with who holds the lock, or was broken off half-way; nothing else is known then. */
  readonly busy: { readonly why: "push" | "interrupted"; readonly holder: string } | undefined;
  /** Unit actions of an interrupted push are still to be done. */
  readonly pending: boolean;
  /** A generation that waits for its confirmation. */
  readonly unconfirmed: number | undefined;
  /** labctl's own records of what it put there are gone. */
  readonly recordsLost: boolean;
  /** By path; undefined: absent. */
  readonly differing: ReadonlyMap<string, LivePath | undefined>;
  /** So many more paths differ than were listed. */
  readonly differingCut: number;
  readonly extras: readonly LiveExtra[];
  /** By every name that was asked for, and the unit's own. */
  readonly units: ReadonlyMap<UnitName, LiveService>;
  readonly failed: readonly string[];
  readonly binds: readonly LiveBind[];
  readonly unitFiles: readonly LiveUnitFile[];
  /** When systemd last read its unit files; undefined: it does not say. */
  readonly unitsLoadedAtS: number | undefined;
  /** Sent because the machine's generation is not the one that the asker knows; unchecked. */
  readonly manifestText: string | undefined;
}

/** A manifest of 50,000 entries has some 20 MB. */
const MAX_MANIFEST_BYTES = 256 << 20;
const NUMBER = /^\d{1,20}(\.\d{1,12})?$/;

/** Undefined if the answer is none of ours, or any part of it makes no sense. Pure. */
export function readLiveAnswer(records: readonly RemoteRecord[]): LiveAnswer | undefined {
  const first = (name: string): readonly string[] | undefined => records.find((r) => r.name === name)?.fields;
  const all = (name: string): readonly (readonly string[])[] =>
    records.filter((r) => r.name === name).map((r) => r.fields);
  const data = (name: string): Buffer | undefined =>
    records.find((r) => r.name === "data" && r.fields[0] === name)?.data;
  if (first("labctl")?.[0] !== PROTOCOL || first("done")?.[0] !== "ok") return undefined;
  const [number = "", id = ""] = first("generation") ?? [];
  if (!/^(0|[1-9]\d{0,8})$/.test(number) || (number !== "0" && !/^[0-9a-f]{64}$/.test(id))) return undefined;
  const generation = number === "0" ? undefined : { number: Number(number), id: id as GenerationId };
  const [why, holder = ""] = first("busy") ?? [];
  const differing = readDiffering(all("differs"));
  const extras = readExtras(data("extras.base64"));
  const binds = all("bind").map(readBind);
  const unitFiles = all("unit-file").map(readUnitFile);
  const packed = data("manifest.gz.base64");
  const manifestText = packed ? unpack(packed) : undefined;
  if (!differing || !extras || binds.includes(undefined) || unitFiles.includes(undefined)) return undefined;
  if ((packed && manifestText === undefined) || (why !== undefined && !/^(push|interrupted)$/.test(why)))
    return undefined;
  const [drift = "unknown", count = "0"] = first("drift") ?? [];
  const undo = first("undo")?.[0] ?? "no";
  return {
    generation,
    busy: why === undefined ? undefined : { why: why as "push" | "interrupted", holder },
    pending: first("pending")?.[0] === "yes",
    unconfirmed: /^[1-9]\d{0,8}$/.test(undo) ? Number(undo) : undefined,
    recordsLost: drift === "unknown",
    differing,
    differingCut: drift === "changed" ? Math.max(0, (Number(count) || 0) - differing.size) : 0,
    extras,
    units: readServices(data("units")?.toString("utf8") ?? ""),
    failed: all("failed").map((f) => f[0] ?? ""),
    binds: binds as LiveBind[],
    unitFiles: unitFiles as LiveUnitFile[],
    unitsLoadedAtS: readTime(first("loaded-at")?.[0]),
    manifestText,
  };
}

function unpack(packed: Buffer): string | undefined {
  try {
    return gunzipSync(Buffer.from(packed.toString("latin1"), "base64"), {
      maxOutputLength: MAX_MANIFEST_BYTES,
    }).toString("utf8");
  } catch {
    return undefined;
  }
}

function readDiffering(list: readonly (readonly string[])[]): Map<string, LivePath | undefined> | undefined {
  const out = new Map<string, LivePath | undefined>();
  for (const [path = "", ...rest] of list) {
    const [type = "", mode = "", owner = "", group = "", size = "", changed = "", written = "", target = ""] =
      rest;
    if (rest.length === 1 && type === "absent") {
      out.set(path, undefined);
      continue;
    }
    const sound =
      /^[a-zA-Z?]$/.test(type) && /^[0-7]{1,5}$/.test(mode) && NUMBER.test(size) && NUMBER.test(changed);
    if (!sound || !/^(yes|no)$/.test(written)) return undefined;
    out.set(path, {
      type,
      mode: Number.parseInt(mode, 8),
      owner,
      group,
      sizeBytes: Number(size),
      changedAtS: Number(changed),
      written: written === "yes",
      target,
    });
  }
  return out;
}

/** Names are bytes that end with NUL; what is no UTF-8 in them is shown with replacement characters. */
function readExtras(packed: Buffer | undefined): LiveExtra[] | undefined {
  if (!packed) return [];
  const text = Buffer.from(packed.toString("latin1"), "base64").toString("utf8");
  const items = text.split("\0");
  if (items.pop() !== "") return undefined;
  return items.map((item) => ({ type: item.slice(0, 1), path: item.slice(1) }));
}

function readBind([unit = "", sees = "", source = "", target = ""]: readonly string[]): LiveBind | undefined {
  if (unit === "" || source === "" || (sees !== "other" && sees !== "absent")) return undefined;
  return { unit, sees, source, target };
}

function readUnitFile([unit = "", changed = "", path = ""]: readonly string[]): LiveUnitFile | undefined {
  return unit !== "" && path.startsWith("/") && NUMBER.test(changed)
    ? { unit, path, changedAtS: Number(changed) }
    : undefined;
}

/** `Sat 2026-11-21 09:36:24.197291 UTC`, as `--timestamp=us+utc` has it; `n/a`, nothing and all else: undefined. Pure. */
export function readTime(text: string | undefined): number | undefined {
  const [, day, time, fraction] =
    /(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2})(\.\d+)? UTC$/.exec(text ?? "") ?? [];
  if (day === undefined) return undefined;
  const ms = Date.parse(`${day}T${time}Z`);
  return Number.isNaN(ms) ? undefined : ms / 1000 + Number(`0${fraction ?? ""}`);
}

/** Blocks of `systemctl show`, one a unit, separated by blank lines. */
function readServices(text: string): Map<UnitName, LiveService> {
  const out = new Map<UnitName, LiveService>();
  for (const block of text.split("\n\n")) {
    const values = new Map<string, string>();
    for (const line of block.split("\n")) {
      const at = line.indexOf("=");
      if (at > 0) values.set(line.slice(0, at), line.slice(at + 1));
    }
    const value = (key: string): string => values.get(key) ?? "";
    const name = value("Id");
    if (name === "") continue;
    const names = [...new Set([name, ...value("Names").split(" ").filter(Boolean)])];
    // With a main process its own start counts: systemd may have started it again by itself.
    const process = value("MainPID") !== "0" ? readTime(value("ExecMainStartTimestamp")) : undefined;
    const service: LiveService = {
      name: name as UnitName,
      names,
      loadState: value("LoadState"),
      activeState: value("ActiveState"),
      subState: value("SubState"),
      unitFileState: value("UnitFileState"),
      fragmentPath: value("FragmentPath"),
      needsReload: value("NeedDaemonReload") === "yes",
      type: value("Type"),
      remainAfterExit: value("RemainAfterExit") === "yes",
      result: value("Result"),
      conditionFailed:
        value("ConditionResult") === "no" && readTime(value("ConditionTimestamp")) !== undefined,
      startedAtS: process ?? readTime(value("InactiveExitTimestamp")),
      changedAtS: readTime(value("StateChangeTimestamp")),
    };
    for (const each of names) out.set(each as UnitName, service);
  }
  return out;
}
