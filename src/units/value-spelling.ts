/**
 * One spelling for all spellings of a single value that systemd reads as the same: booleans, time spans, sizes, modes,
 * signals, paths. What a key takes is in the key table; a kind that is not here keeps its text. Sources: parse-util.c,
 * time-util.c and path-util.c of systemd. Pure.
 */
import { constants } from "node:os";
import { sectionKeys } from "./lint/key-table.ts";
import { ENUMS } from "./lint/value-names.ts";

/** Equal texts for two values of a key exactly if they are spellings of one value, as far as this file knows. Pure. */
export function canonicalSpelling(section: string, key: string, value: string): string {
  // With a specifier in it the value is only known on the machine.
  if (value.includes("%") && !/^[0-9.]+%$/.test(value)) return value;
  if (key === "TimerSlackNSec") return canonicalSpan(value, "ns");
  const kind = sectionKeys(section)?.get(key)?.kind ?? "free";
  switch (kind) {
    case "boolean":
      return canonicalBoolean(value);
    case "span":
      return canonicalSpan(value);
    case "mode":
      return /^[0-7]+$/.test(value) ? Number.parseInt(value, 8).toString(8) : value;
    case "unsigned":
    case "integer":
    case "nice":
    case "oom-score":
    case "weight":
    case "io-priority":
    case "tasks":
      // safe_atou() takes base 0: a number that begins with 0 is octal.
      if (/^0[0-7]{1,14}$/.test(value)) return `${Number.parseInt(value, 8)}`;
      return /^[-+]?(0|[1-9][0-9]{0,14})$/.test(value) ? `${Number(value)}` : value;
    case "size":
    case "memory":
      return canonicalSize(value);
    case "limit":
      return canonicalLimit(key, value);
    case "signal":
      return canonicalSignal(value);
    case "path":
    case "working-directory":
    case "listen":
      return canonicalPath(value);
    default:
      return kind.startsWith("enum:") && ENUMS[kind.slice(5)]?.orBoolean ? canonicalBoolean(value) : value;
  }
}

function canonicalBoolean(value: string): string {
  if (/^(1|yes|y|true|t|on)$/i.test(value)) return "yes";
  return /^(0|no|n|false|f|off)$/i.test(value) ? "no" : value;
}

/** Slashes that repeat or stand at the end, and `.` components, mean nothing: path_simplify(). Pure. */
export function canonicalPath(value: string): string {
  const [, prefix = "", path = ""] = /^([-+]*)(\/.*)$/.exec(value) ?? [];
  if (path === "") return value;
  return `${prefix}/${path
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/")}`;
}

const SIZE_UNITS = "KMGTPE";

/** Bytes, by 1024; each part of `1G 512M` counts, parse_size(). */
function canonicalSize(value: string): string {
  const match = /^([0-9]+)(?:\.([0-9]+))?\s*([KMGTPE]?)B?$/.exec(value);
  if (!match) return value;
  const factor = 1024n ** BigInt(match[3] === "" ? 0 : SIZE_UNITS.indexOf(match[3] ?? "") + 1);
  const digits = match[2] ?? "";
  const fraction = digits === "" ? 0n : (BigInt(digits) * factor) / 10n ** BigInt(digits.length);
  return `${BigInt(match[1] ?? "0") * factor + fraction}`;
}

const SIZE_LIMIT = /^Limit(FSIZE|DATA|STACK|CORE|RSS|AS|MEMLOCK|MSGQUEUE)$/;

/** `1000` is both the soft and the hard limit. Limits of time and priority have spellings of their own, left alone. */
function canonicalLimit(key: string, value: string): string {
  if (/^Limit(CPU|RTTIME|NICE)$/.test(key)) return value;
  const [soft = "", hard = soft] = value.split(":").map(SIZE_LIMIT.test(key) ? canonicalSize : String);
  return `${soft}:${hard}`;
}

function canonicalSignal(value: string): string {
  const name = value.replace(/^SIG/, "");
  const number = (constants.signals as Readonly<Record<string, number>>)[`SIG${name}`];
  return number === undefined ? name : `${number}`;
}

const NANOSECONDS: Readonly<Record<string, bigint>> = (() => {
  const usec = 1000n;
  const sec = 1_000_000n * usec;
  const out: Record<string, bigint> = { ns: 1n, nsec: 1n };
  const table: readonly (readonly [names: string, size: bigint])[] = [
    ["us usec µs μs", usec],
    ["ms msec", 1000n * usec],
    ["s sec second seconds", sec],
    ["m min minute minutes", 60n * sec],
    ["h hr hour hours", 3600n * sec],
    ["d day days", 86_400n * sec],
    ["w week weeks", 604_800n * sec],
    ["M month months", 2_629_800n * sec],
    ["y year years", 31_557_600n * sec],
  ];
  for (const [names, size] of table) for (const name of names.split(" ")) out[name] = size;
  return out;
})();

/** A plain time span of systemd.time(7); the text itself where it is anything else. A bare number is in `bare`. */
function canonicalSpan(value: string, bare = "s"): string {
  let rest = value.trim();
  if (rest === "") return value;
  let total = 0n;
  while (rest !== "") {
    const part = /^([0-9]+|(?=\.[0-9]))(?:\.([0-9]+))?\s*([a-zA-Zµμ]*)\s*/.exec(rest);
    const unit = NANOSECONDS[part?.[3] || bare];
    if (!part || unit === undefined) return value;
    const digits = part[2] ?? "";
    const fraction = digits === "" ? 0n : (BigInt(digits) * unit) / 10n ** BigInt(digits.length);
    total += BigInt(part[1] || "0") * unit + fraction;
    rest = rest.slice(part[0].length);
  }
  return `${total}ns`;
}
